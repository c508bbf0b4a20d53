package exchange

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// TestSlowReceiverOnSharedConnection: a receiver that takes nothing, with all its credit and overdraft under way, keeps no other edge of the connection waiting.
func TestSlowReceiverOnSharedConnection(t *testing.T) {
	f := newFar(t, t.Context(), 2, overTCP(), serde.MustFor[int]())
	alarm := NewQueue(0).Alarm
	f.w.Heed(alarm)
	slow, fast := ToOne(f.w, 0), ToOne(f.w, 1)
	fill(t, slow)
	alarm.Raise()
	for i := range overdraft * BatchRecords {
		if err := slow(i); err != nil {
			t.Fatal(err)
		}
	}
	alarm.Lower()
	const n = 100 * BatchRecords
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := fast(i); err != nil {
				sent <- err
				return
			}
		}
		sent <- f.w.Barrier(Control{Barrier, 1}, time.Now().Add(time.Hour))
	}()
	if _, err := f.receive(1, Barrier); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if len(f.seen[1]) != n || len(f.seen[0]) != 0 {
		t.Errorf("%d records of the fast receiver, %d of the slow one, want %d and 0", len(f.seen[1]), len(f.seen[0]), n)
	}
	if _, err := f.receive(0, Barrier); err != nil || len(f.seen[0]) != (Credits+overdraft)*BatchRecords {
		t.Errorf("the slow one: %d records, %v", len(f.seen[0]), err)
	}
}

// TestRemoteCredit: what a sender gets rid of without a receiver is what it does within the process: its credit; the overdraft during an alarm; barriers
// without credit, up to two, announced to the receiver; and all of it comes back.
func TestRemoteCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f, alarm := newFar(t, ctx, 1, overPipes(), serde.MustFor[int]()), NewQueue(0).Alarm
		f.w.Heed(alarm)
		send := ToOne(f.w, 0)
		fill(t, send)
		for id := int64(1); id <= spareBarriers; id++ {
			if err := f.w.Barrier(Control{Barrier, id}, time.Now().Add(time.Duration(id)*time.Minute)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if due := time.Until(f.queues[0].Due(id)); due != time.Duration(id)*time.Minute {
				t.Errorf("barrier %d is due in %v", id, due)
			}
		}
		sent, done := 0, make(chan error, 1)
		go func() {
			for {
				if err := send(sent); err != nil {
					done <- err
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		if n := len(f.queues[0].C); sent != 0 || n != Credits+spareBarriers {
			t.Fatalf("%d records without credit, %d batches in the queue", sent, n)
		}
		time.Sleep(3 * time.Second)
		if _, _, waits := f.w.Waiting(); !waits || f.w.BlockedNanos() != int64(3*time.Second) {
			t.Errorf("waits %v, for %d ns, want 3 s", waits, f.w.BlockedNanos())
		}
		alarm.Raise()
		synctest.Wait()
		if sent != overdraft*BatchRecords {
			t.Errorf("%d records during the alarm, want %d", sent, overdraft*BatchRecords)
		}
		for range Credits + overdraft + spareBarriers {
			(<-f.queues[0].C).Release()
		}
		synctest.Wait()
		if want := (overdraft + Credits + overdraft) * BatchRecords; sent != want {
			t.Errorf("%d records, want %d: as many batches as were released", sent, want)
		}
		cancel()
		<-done
	})
}

// TestBrokenConnection: both sides hear of it, with the peer, and so do senders; nothing keeps running.
func TestBrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which waits for all goroutines
		f := newFar(t, t.Context(), 1, overPipes(), serde.MustFor[int]())
		_ = f.near.conn.Close()
		for range 2 {
			var lost *PeerError
			if err := <-f.failures; !errors.As(err, &lost) || !errors.Is(err, errLost) || !strings.Contains(err.Error(), `process "`+lost.Peer+`"`) {
				t.Errorf("%v", err)
			}
		}
		synctest.Wait()
		if err := f.w.Control(Control{Watermark, 1}); !errors.Is(err, errLost) {
			t.Errorf("a sender hears %v", err)
		}
	})
}

// TestCloseTellsWhy: the peer of a side that closes has its reason.
func TestCloseTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, t.Context(), 1, overPipes(), serde.MustFor[int]())
		f.near.Close("disk full")
		if err := <-f.failures; err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("got %v", err)
		}
	})
}

// refusals notes who was refused.
type refusals struct {
	mu   sync.Mutex
	errs []error
}

func (r *refusals) note(_ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// TestStrangersAreRefused and keep the expected caller from nothing: one that says nothing, one of another protocol, one of another attempt.
func TestStrangersAreRefused(t *testing.T) {
	tcp, r := overTCP(), &refusals{}
	tcp.Refused = r.note
	dial := tcp.Dial
	tcp.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		for _, says := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if _, err := c.Write([]byte(says)); err != nil {
				return nil, err
			}
			if says != "" {
				var answer bytes.Buffer
				if _, err := answer.ReadFrom(c); err != nil || !strings.Contains(answer.String(), "something else is at this address") {
					t.Errorf("answer %q, %v", answer.String(), err)
				}
			}
		}
		return dial(ctx, network, addr)
	}
	f := newFar(t, t.Context(), 1, tcp, serde.MustFor[int]())
	if err := f.w.Control(Control{Kind: End}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.receive(0, End); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) != 1 || !strings.Contains(r.errs[0].Error(), `"GET / HTTP/1.1`) {
		t.Errorf("refused: %v", r.errs)
	}
	near, there := NewLink(Identity{"job", "1", "a", "b"}), NewLink(Identity{"job", "2", "b", "a"})
	err := overTCP().Loop(t.Context(), near, there, func(error) {})
	if err == nil || !strings.Contains(err.Error(), "has not heard of a restart") {
		t.Errorf("another attempt: %v", err)
	}
}

// TestRemoteSteadyStateAllocatesNothing: neither side allocates once it has run; strings take one allocation a batch, at the receiver.
func TestRemoteSteadyStateAllocatesNothing(t *testing.T) {
	if n := allocations(t, serde.MustFor[int64](), 7); n != 0 {
		t.Errorf("int64: %v allocations for 12 batches, want 0", n)
	}
	if n := allocations(t, serde.MustFor[string](), "record"); n != 12 {
		t.Errorf("string: %v allocations for 12 batches, want 12", n)
	}
}

func allocations[T any](t *testing.T, codec serde.Serde[T], v T) float64 {
	f := newFar(t, t.Context(), 1, overTCP(), codec)
	f.receivers[0].Attach(&operators.Context{}, func(T) error { return nil })
	send, round := ToOne(f.w, 0), make(chan bool)
	defer close(round)
	go func() {
		for range round {
			for range 12 * BatchRecords {
				if err := send(v); err != nil {
					panic(err)
				}
			}
			if err := f.w.Control(Control{Watermark, 1}); err != nil {
				panic(err)
			}
		}
	}()
	step := func() {
		round <- true
		for {
			d := <-f.queues[0].C
			if err := d.Deliver(0, d.Len()); err != nil {
				panic(err)
			}
			c := d.Control()
			d.Release()
			if c.Kind == Watermark {
				return
			}
		}
	}
	for range 20 {
		step()
	}
	return testing.AllocsPerRun(100, step)
}

// TestRemoteRecord: what a checkpoint stores of a batch from another process is what it would store of one within the process.
func TestRemoteRecord(t *testing.T) {
	near, there := newFan[string](t.Context(), 1), newFar(t, t.Context(), 1, overTCP(), serde.MustFor[string]())
	near.w.edges[0].SetCodec(serde.MustFor[string]())
	for _, f := range []*fan[string]{near, there.fan} {
		for i, v := range []string{"", "a", strings.Repeat("long", 100), strings.Repeat("longer", 5000)} {
			f.in.TimestampMS, f.in.KeyHash, f.in.At.Sequence = int64(-i*i*1000), uint64(i), "seq"
			if err := ToOne(f.w, 0)(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	a, b := <-near.queues[0].C, <-there.queues[0].C
	for from := range a.Len() + 1 {
		want, err := a.Record(nil, from)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Record(nil, from); err != nil || !bytes.Equal(got, want) {
			t.Errorf("from %d: %x, %v, want %x", from, got, err, want)
		}
		if from == 2 { // also when a part was delivered
			if err := b.Deliver(0, from); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// brittle is a codec that fails for some values.
type brittle struct{ serde.Serde[int] }

func (b brittle) Append(dst []byte, v int) ([]byte, error) {
	if v == 13 {
		return dst, errors.New("no thirteen")
	}
	return b.Serde.Append(dst, v)
}

func (b brittle) Decode(src []byte, v *int) error {
	if err := b.Serde.Decode(src, v); err != nil || *v != 17 {
		return err
	}
	return errors.New("no seventeen")
}

// TestCodecErrors name the edge, the record and where it comes from.
func TestCodecErrors(t *testing.T) {
	f := newFar(t, t.Context(), 1, overTCP(), serde.Serde[int](brittle{serde.MustFor[int]()}))
	send := ToOne(f.w, 0)
	f.in.At.UID, f.in.At.Split, f.in.At.Offset = "src", "s", 5
	for _, v := range []int{1, 17} {
		if err := send(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	d := <-f.queues[0].C
	check := func(err error, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
	check(d.Deliver(0, 2), `process "a"`, `edge "edge" 0 → 0`, "record 1", "src/s@5", "no seventeen", "at byte ")
	d.Release()
	if err := send(13); err != nil {
		t.Fatal(err)
	}
	check(f.w.Flush(), `edge "edge" 0 → 0`, "record 0", "src/s@5", "no thirteen")
}
