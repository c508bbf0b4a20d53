package exchange

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// got is what a receiver has seen of one record.
type got[T any] struct {
	value T
	ts    int64
	hash  uint64
	at    connectors.Coordinates
}

// fan is one sender with n receivers, each with its own context and list.
type fan[T any] struct {
	in     *operators.Context
	w      *Writer[T]
	queues []*Queue
	seen   [][]got[T]
}

func newFan[T any](ctx context.Context, n int) *fan[T] {
	f := &fan[T]{in: &operators.Context{}, seen: make([][]got[T], n)}
	edges := make([]*Edge[T], n)
	for r := range n {
		q, c := NewQueue(1), &operators.Context{}
		edges[r] = NewEdge[T](q, 0)
		edges[r].Attach(c, func(v T) error {
			f.seen[r] = append(f.seen[r], got[T]{v, c.TimestampMS, c.KeyHash, c.At})
			return nil
		})
		f.queues = append(f.queues, q)
	}
	f.w = NewWriter(ctx, f.in, edges)
	return f
}

// drain delivers and releases all that waits at receiver r, and returns the control elements.
func (f *fan[T]) drain(t *testing.T, r int) (controls []Control) {
	t.Helper()
	for {
		select {
		case d := <-f.queues[r].C:
			if err := d.Deliver(0, d.Len()); err != nil {
				t.Fatal(err)
			}
			if c := d.Control(); c.Kind != None {
				controls = append(controls, c)
			}
			d.Release()
		default:
			return controls
		}
	}
}

// TestRecordsKeepOrderTimeHashAndOrigin sends more than a batch and checks what travels beside each record; the origin is that of the first
// record of its batch.
func TestRecordsKeepOrderTimeHashAndOrigin(t *testing.T) {
	f := newFan[int](t.Context(), 1)
	send := ToOne(f.w, 0)
	const n = BatchRecords + 10
	for i := range n {
		f.in.TimestampMS, f.in.KeyHash, f.in.At = int64(1000+i), uint64(i*3), connectors.Coordinates{Split: "s", Offset: int64(i)}
		if err := send(i); err != nil {
			t.Fatal(err)
		}
	}
	f.drain(t, 0)
	if len(f.seen[0]) != BatchRecords {
		t.Fatalf("%d records before the flush, want one full batch of %d", len(f.seen[0]), BatchRecords)
	}
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	f.drain(t, 0)
	if len(f.seen[0]) != n {
		t.Fatalf("%d records, want %d", len(f.seen[0]), n)
	}
	for i, g := range f.seen[0] {
		first := int64(i / BatchRecords * BatchRecords)
		want := got[int]{i, int64(1000 + i), uint64(i * 3), connectors.Coordinates{Split: "s", Offset: first}}
		if g != want {
			t.Fatalf("record %d: %+v, want %+v", i, g, want)
		}
	}
	if f.w.Records() != n {
		t.Errorf("Records is %d, want %d", f.w.Records(), n)
	}
}

// TestControlIsTheTail: a control element comes after all records sent before it and before those sent after it, at every receiver.
func TestControlIsTheTail(t *testing.T) {
	f := newFan[int](t.Context(), 3)
	send := Rebalance(f.w, 0)
	for i := range 10 {
		if err := send(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.w.Control(Control{Watermark, 7}); err != nil {
		t.Fatal(err)
	}
	if err := f.w.Control(Control{Barrier, 1}); err != nil {
		t.Fatal(err)
	}
	if err := send(99); err != nil {
		t.Fatal(err)
	}
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	after := 0
	for r := range 3 {
		var trace []string
		for len(f.queues[r].C) > 0 {
			d := <-f.queues[r].C
			if d.Len() > 0 {
				trace = append(trace, fmt.Sprint("records ", d.Len()))
			}
			if c := d.Control(); c.Kind != None {
				trace = append(trace, fmt.Sprint(c.Kind, " ", c.Value))
			}
			d.Release()
		}
		want := []string{"1 7", "3 1"}
		if r == 0 {
			want = append([]string{"records 10"}, want...)
		}
		if len(trace) > len(want) && trace[len(want)] == "records 1" {
			after++
			trace = trace[:len(want)]
		}
		if !slices.Equal(trace, want) {
			t.Errorf("receiver %d: %q, want %q", r, trace, want)
		}
	}
	if after != 1 {
		t.Errorf("the record behind the barrier came %d times behind it, want 1", after)
	}
}

// TestCreditBoundsWhatIsUnderWay: without a receiver a sender gets rid of Credits batches and no more, waits, and goes on as soon as one
// comes back; the time of the wait is counted while it lasts.
func TestCreditBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFan[int](t.Context(), 1)
		send := ToOne(f.w, 0)
		const total = (Credits + 2) * BatchRecords
		sent := 0
		finished := make(chan error, 1)
		go func() {
			for i := range total {
				if err := send(i); err != nil {
					finished <- err
					return
				}
				sent = i + 1
			}
			finished <- f.w.Flush()
		}()
		synctest.Wait()
		if sent != Credits*BatchRecords {
			t.Fatalf("%d records sent without a receiver, want %d", sent, Credits*BatchRecords)
		}
		time.Sleep(3 * time.Second)
		if got := time.Duration(f.w.BlockedNanos()); got != 3*time.Second {
			t.Errorf("blocked for %v while it waits, want 3s", got)
		}
		d := <-f.queues[0].C
		d.Release()
		synctest.Wait()
		if sent != (Credits+1)*BatchRecords {
			t.Errorf("%d records sent after one batch came back, want %d", sent, (Credits+1)*BatchRecords)
		}
		time.Sleep(time.Second)
		for range Credits + 1 {
			d := <-f.queues[0].C
			d.Release()
		}
		if err := <-finished; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := time.Duration(f.w.BlockedNanos()); got != 4*time.Second {
			t.Errorf("blocked for %v in all, want 4s", got)
		}
		if made := f.w.edges[0].made; made != Credits {
			t.Errorf("%d batches were made, want %d", made, Credits)
		}
	})
}

// TestOneSlowReceiverDoesNotBlockTheOthers: credit belongs to an edge, so a queue that nobody empties costs its own edge alone.
func TestOneSlowReceiverDoesNotBlockTheOthers(t *testing.T) {
	f := newFan[int](t.Context(), 2)
	slow, fast := ToOne(f.w, 0), ToOne(f.w, 1)
	for i := range Credits * BatchRecords {
		if err := slow(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 * BatchRecords {
		if err := fast(i); err != nil {
			t.Fatal(err)
		}
		f.drain(t, 1)
	}
	if len(f.seen[1]) != 20*BatchRecords {
		t.Errorf("the fast receiver has %d records, want %d", len(f.seen[1]), 20*BatchRecords)
	}
}

// TestCancelEndsTheWaitForCredit: for records and for control elements, with the context's cause.
func TestCancelEndsTheWaitForCredit(t *testing.T) {
	gone := errors.New("the attempt has failed")
	for _, what := range []string{"record", "control"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				f := newFan[int](ctx, 1)
				for range Credits {
					if err := f.w.Control(Control{Watermark, 1}); err != nil {
						t.Fatal(err)
					}
				}
				result := make(chan error, 1)
				go func() {
					if what == "record" {
						result <- ToOne(f.w, 0)(1)
					} else {
						result <- f.w.Control(Control{Barrier, 1})
					}
				}()
				synctest.Wait()
				select {
				case err := <-result:
					t.Fatalf("returned %v without credit", err)
				default:
				}
				cancel(gone)
				if err := <-result; !errors.Is(err, gone) {
					t.Errorf("got %v, want the cause", err)
				}
			})
		})
	}
}

// TestByKeySendsToTheOwnerOfTheKeyGroup compares the receiver of random hashes with state.SubtaskOf, which decides where state is.
func TestByKeySendsToTheOwnerOfTheKeyGroup(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{1, 2, 3, 7, 128} {
		const maxParallelism = 128
		f := newFan[uint64](t.Context(), n)
		send := ByKey(f.w, func(v uint64) uint64 { return v }, func(k uint64) uint64 { return k }, maxParallelism)
		total := 0
		for range 2000 {
			h := rng.Uint64()
			want := state.SubtaskOf(state.GroupOf(h, maxParallelism), n, maxParallelism)
			before := len(f.seen[want])
			if err := send(h); err != nil {
				t.Fatal(err)
			}
			if err := f.w.Flush(); err != nil {
				t.Fatal(err)
			}
			f.drain(t, want)
			if len(f.seen[want]) != before+1 || f.seen[want][before].value != h || f.seen[want][before].hash != h {
				t.Fatalf("%d receivers: hash %#x did not come to %d with its hash", n, h, want)
			}
			total++
		}
	}
}

// TestRebalanceSpreadsBatches: whole batches go round, and so do those that a flush sends early.
func TestRebalanceSpreadsBatches(t *testing.T) {
	f := newFan[int](t.Context(), 3)
	send := Rebalance(f.w, 0)
	for i := range 6 * BatchRecords {
		if err := send(i); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		if err := send(0); err != nil {
			t.Fatal(err)
		}
		if err := f.w.Flush(); err != nil {
			t.Fatal(err)
		}
		for r := range 3 {
			f.drain(t, r)
		}
	}
	for r := range 3 {
		if len(f.seen[r]) != 2*BatchRecords+2 {
			t.Errorf("receiver %d has %d records, want %d", r, len(f.seen[r]), 2*BatchRecords+2)
		}
	}
}

// TestReleasedBatchesKeepNothingAlive: values with pointers are cleared when their batch goes back.
func TestReleasedBatchesKeepNothingAlive(t *testing.T) {
	f := newFan[*int](t.Context(), 1)
	send := ToOne(f.w, 0)
	for i := range 5 {
		if err := send(&i); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	d := <-f.queues[0].C
	b := d.(*batch[*int])
	if b.values[:cap(b.values)][4] == nil {
		t.Fatal("the batch does not hold its last record")
	}
	d.Release()
	for i, v := range b.values[:cap(b.values)] {
		if v != nil {
			t.Errorf("place %d still holds a record", i)
		}
	}
}

func TestHoldsPointers(t *testing.T) {
	type flat struct {
		A int64
		B [4]float32
		C struct{ D bool }
	}
	type deep struct {
		A int64
		B [2]struct{ S string }
	}
	for name, c := range map[string]struct{ got, want bool }{
		"int": {holdsPointers[int](), false}, "flat struct": {holdsPointers[flat](), false}, "array": {holdsPointers[[3]uint8](), false},
		"empty array of strings": {holdsPointers[[0]string](), false}, "struct{}": {holdsPointers[struct{}](), false},
		"string": {holdsPointers[string](), true}, "deep struct": {holdsPointers[deep](), true}, "slice": {holdsPointers[[]int](), true},
		"any": {holdsPointers[any](), true}, "map": {holdsPointers[map[int]int](), true}, "func": {holdsPointers[func()](), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// TestBatchSizeByBytes: the batches of a large record hold fewer of them, at least one; records without size cost none.
func TestBatchSizeByBytes(t *testing.T) {
	q := NewQueue(4)
	if n := NewEdge[[1024]byte](q, 0).size; n != 64 {
		t.Errorf("1 KiB records: %d a batch, want 64 (64 KiB)", n)
	}
	if n := NewEdge[[1 << 20]byte](q, 1).size; n != 1 {
		t.Errorf("1 MiB records: %d a batch, want 1", n)
	}
	if n := NewEdge[struct{}](q, 2).size; n != BatchRecords {
		t.Errorf("empty records: %d a batch, want %d", n, BatchRecords)
	}
	if n := NewEdge[int64](q, 3).size; n != BatchRecords {
		t.Errorf("8 byte records: %d a batch, want %d", n, BatchRecords)
	}
}

// TestDeliverStopsAtTheFirstError and gives it back unchanged.
func TestDeliverStopsAtTheFirstError(t *testing.T) {
	boom := errors.New("boom")
	q, n := NewQueue(1), 0
	e := NewEdge[int](q, 0)
	e.Attach(&operators.Context{}, func(v int) error {
		n++
		if v == 2 {
			return boom
		}
		return nil
	})
	w := NewWriter(t.Context(), &operators.Context{}, []*Edge[int]{e})
	for i := range 5 {
		if err := ToOne(w, 0)(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := (<-q.C).Deliver(0, 5); err != boom || n != 3 {
		t.Errorf("got %v after %d records, want boom after 3", err, n)
	}
}

// TestSteadyStateAllocatesNothing: once the batches of an edge exist, sending, delivering and releasing allocate nothing.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	q := NewQueue(1)
	e := NewEdge[string](q, 0)
	sum := 0
	e.Attach(&operators.Context{}, func(v string) error { sum += len(v); return nil })
	w := NewWriter(t.Context(), &operators.Context{}, []*Edge[string]{e})
	send := ByKey(w, func(v string) int { return len(v) }, func(k int) uint64 { return uint64(k) }, 128)
	round := func() {
		for range 2*BatchRecords + 3 {
			if err := send("record"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Control(Control{Watermark, 1}); err != nil {
			t.Fatal(err)
		}
		for len(q.C) > 0 {
			d := <-q.C
			if err := d.Deliver(0, d.Len()); err != nil {
				t.Fatal(err)
			}
			d.Release()
		}
	}
	for range 2 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d records, want 0", n, 2*BatchRecords+3)
	}
	if sum == 0 {
		t.Fatal("nothing was delivered")
	}
}

// TestPrefetchSeesTheHashesBeforeTheirRecords: in order, each once, in parts of at most prefetchRecords; small batches are not worth it.
func TestPrefetchSeesTheHashesBeforeTheirRecords(t *testing.T) {
	q := NewQueue(1)
	e := NewEdge[int](q, 0)
	c := &operators.Context{}
	var ahead, seen []uint64
	e.Attach(c, func(int) error {
		if len(ahead) <= len(seen) || ahead[len(seen)] != c.KeyHash {
			t.Fatalf("record %d comes before its hash", len(seen))
		}
		seen = append(seen, c.KeyHash)
		return nil
	})
	e.Prefetch(func(h []uint64) {
		if len(h) > prefetchRecords || len(ahead) != len(seen) {
			t.Fatalf("%d hashes at once, %d records still to come", len(h), len(ahead)-len(seen))
		}
		ahead = append(ahead, h...)
	})
	w := NewWriter(t.Context(), &operators.Context{}, []*Edge[int]{e})
	send := ByKey(w, func(v int) int { return v }, func(v int) uint64 { return uint64(v) * 0x9e3779b97f4a7c15 }, 128)
	for v := range 150 {
		if err := send(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	d := <-q.C
	if err := d.Deliver(0, d.Len()); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 150 {
		t.Errorf("%d records, want 150", len(seen))
	}
}
