package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"pgregory.net/rapid"
)

// inline keeps all content in the handles.
type inline struct{ state.Files }

func (inline) Write(_ context.Context, groups state.GroupRange, _ int, fill func(io.Writer) error) (state.File, error) {
	var b bytes.Buffer
	err := fill(&b)
	return state.File{Inline: b.Bytes(), Size: int64(b.Len()), Groups: groups}, err
}

// crossing is a task with several inputs whose barriers may be overtaken, driven by hand.
type crossing struct {
	t      *task
	op     *op
	send   []func(int) error
	inputs []*exchange.Writer[int]
	trace  []int         // records, and minus the ids of barriers
	acks   chan ackEvent // as many as there are
	head   *Node
}

func newCrossing(ctx context.Context, kinds ...EdgeKind) *crossing {
	x := &crossing{head: &Node{UID: "step", Parallelism: 1}, acks: make(chan ackEvent, 100)}
	c := &operators.Context{TimestampMS: connectors.NoTimestamp, Split: -1}
	codec, err := Types[int]{}.codecOf(nil)
	if err != nil {
		panic(err)
	}
	for i, k := range kinds {
		from := &Node{UID: fmt.Sprint("from-", i), Parallelism: 1}
		x.head.Inputs = append(x.head.Inputs, &Edge{From: from, To: x.head, Input: i, Kind: k, name: fmt.Sprint(i), codec: codec})
	}
	x.op = &op{node: x.head}
	x.t = &task{chain: &chain{name: "step", parallelism: 1, nodes: []*Node{x.head}}, ctx: ctx, now: time.Now, box: newMailbox(), opctx: c,
		queue: exchange.NewQueue(len(kinds)), inputs: newInputs(x.head, 0), ended: make([]bool, len(kinds)), ops: []*op{x.op},
		files: func(int64) state.Files { return inline{} },
		report: func(ev any) {
			if a, ok := ev.(ackEvent); ok {
				x.acks <- a
			}
		}}
	x.t.align.blocked = make([]bool, len(kinds))
	x.t.vitals.open(len(kinds))
	x.t.over = newOvertaking(x.head, 0, true)
	x.op.task = operators.NewTask(operators.TaskConfig{UID: "step", Name: "step", Context: c, Parallelism: 1, MaxParallelism: 128, Now: time.Now})
	x.op.task.OnBarrier(func(_ context.Context, id int64) error { x.trace = append(x.trace, -int(id)); return nil })
	for i := range kinds {
		e := exchange.NewEdge[int](x.t.queue, i)
		e.Attach(c, func(v int) error { x.trace = append(x.trace, v); return nil })
		e.SetCodec(codec.serde.(serde.Serde[int]))
		w := exchange.NewWriter(ctx, &operators.Context{}, []*exchange.Edge[int]{e})
		x.inputs, x.send = append(x.inputs, w), append(x.send, exchange.ToOne(w, 0))
	}
	return x
}

// step does what the task's loop does in one turn, and reports whether there was anything to do.
func (x *crossing) step() (bool, error) {
	t := x.t
	if t.queue.Alarm.Raised() {
		if err := t.attend(); err != nil {
			return true, err
		}
	}
	d := t.unhold()
	if d == nil {
		select {
		case d = <-t.queue.C:
			t.pulled(d)
		default:
			return false, nil
		}
	}
	err := t.take(d)
	if err == nil && t.over.waits {
		err = t.attend()
	}
	return true, err
}

// recordedIn are the records in flight of an acknowledgement, by input.
func recordedIn(t interface{ Fatal(...any) }, a ackEvent) map[int][]int {
	out := map[int][]int{}
	for _, c := range a.channels {
		var in, n int
		fmt.Sscan(c.Edge, &in)
		replay := exchange.NewReplay(&operators.Context{}, func(v int) error { out[in] = append(out[in], v); return nil }, nil, serde.MustFor[int](), nil)
		err := readChannel(bytes.NewReader(c.File.Inline), "x", c.File.Size, func(b []byte) error {
			k, err := replay.Batch(b)
			n += k
			return err
		})
		if err != nil || int64(n) != c.Records || c.Receivers != 1 {
			t.Fatal(c, n, err)
		}
	}
	return out
}

// TestOvertakingLosesNothing: whatever the order in which senders send, barriers become due and the task works, each checkpoint has what the task had
// seen together with what it recorded: of each input exactly the records in front of its barrier. Checkpoints may overlap, some are aligned.
func TestOvertakingLosesNothing(t *testing.T) {
	overtaken := 0
	rapid.Check(t, func(t *rapid.T) {
		n, checkpoints := rapid.IntRange(1, 4).Draw(t, "inputs"), rapid.IntRange(1, 4).Draw(t, "checkpoints")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		x := newCrossing(ctx, slices.Repeat([]EdgeKind{Hash}, n)...)
		x.t.over.pace.stride = rapid.IntRange(1, 4).Draw(t, "stride")
		savepoint := make([]bool, checkpoints+1)
		for id := range savepoint {
			savepoint[id] = rapid.IntRange(0, 3).Draw(t, "savepoint") == 0
		}
		id, sent := make([]int, n), make([]int, n) // the last barrier and record of each sender
		front := make([][]int, n)                  // records in front of barrier i+1
		do := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for moves := rapid.IntRange(0, 60).Draw(t, "moves"); moves > 0; moves-- {
			in := rapid.IntRange(0, n-1).Draw(t, "input")
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what <= 1 && x.t.queued() < 3: // with credit in any case: nobody waits here
				for range rapid.IntRange(1, 5).Draw(t, "records") {
					do(x.send[in](in*1000 + sent[in]))
					sent[in]++
				}
				do(x.inputs[in].Flush())
			case what == 2 && id[in] < checkpoints && x.t.queued() < 3:
				id[in]++
				front[in] = append(front[in], sent[in])
				c := exchange.Control{Kind: exchange.Barrier, Value: int64(id[in])}
				if savepoint[id[in]] {
					do(x.inputs[in].Control(c))
				} else {
					due := time.Hour
					if rapid.Bool().Draw(t, "due") {
						due = -time.Hour
					}
					do(x.inputs[in].Barrier(c, time.Now().Add(due)))
				}
			default:
				_, err := x.step()
				do(err)
			}
		}
		x.finish(t, id, front, sent, checkpoints)
		overtaken += int(x.t.vitals.overtaken.Load())
	})
	if overtaken == 0 {
		t.Error("nothing was ever overtaken")
	}
}

// finish sends the barriers that are left, lets the task work everything off, and checks what each checkpoint has.
func (x *crossing) finish(t *rapid.T, id []int, front [][]int, sent []int, checkpoints int) {
	for {
		for {
			worked, err := x.step()
			if err != nil {
				t.Fatal(err)
			}
			if !worked {
				break
			}
		}
		in := slices.Index(id, slices.Min(id)) // the last one first: the others have no credit until it comes
		if id[in] == checkpoints {
			break
		}
		id[in]++
		front[in] = append(front[in], sent[in])
		if err := x.inputs[in].Control(exchange.Control{Kind: exchange.Barrier, Value: int64(id[in])}); err != nil {
			t.Fatal(err)
		}
	}
	x.t.uploads.Wait()
	close(x.acks)
	taken := 0
	for a := range x.acks {
		taken++
		at := slices.Index(x.trace, -int(a.id))
		in := recordedIn(t, a)
		for i := range id {
			var got, want []int
			for _, v := range x.trace[:at] {
				if v >= i*1000 && v < (i+1)*1000 {
					got = append(got, v)
				}
			}
			for v := range front[i][a.id-1] {
				want = append(want, i*1000+v)
			}
			if got = append(got, in[i]...); !slices.Equal(got, want) {
				t.Fatalf("checkpoint %d, input %d: state and recorded records hold %v, want %v (recorded %v, trace %v)", a.id, i, got, want, in[i], x.trace)
			}
		}
	}
	if len(x.t.align.held) > 0 || len(x.t.over.recordings) > 0 || taken != checkpoints {
		t.Fatalf("%d held, %d recordings, %d checkpoints of %d", len(x.t.align.held), len(x.t.over.recordings), taken, checkpoints)
	}
}

// TestRecordingOfACheckpointThatWasGivenUp is dropped when the barrier of a later one shows that its own will not come.
func TestRecordingOfACheckpointThatWasGivenUp(t *testing.T) {
	x := newCrossing(t.Context(), Hash, Hash)
	run := func() {
		t.Helper()
		for worked := true; worked; {
			var err error
			if worked, err = x.step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	barrier := func(in int, id int64) {
		t.Helper()
		if err := x.inputs[in].Barrier(exchange.Control{Kind: exchange.Barrier, Value: id}, now); err != nil {
			t.Fatal(err)
		}
		run()
	}
	barrier(0, 1) // overtaken on input 1, whose sender never sends it
	if len(x.t.over.recordings) != 1 {
		t.Fatalf("%d recordings, want 1", len(x.t.over.recordings))
	}
	barrier(0, 2)
	barrier(1, 2)
	x.t.uploads.Wait()
	close(x.acks)
	var ids []int64
	for a := range x.acks {
		ids = append(ids, a.id)
	}
	if !slices.Equal(ids, []int64{2}) || len(x.t.over.recordings) > 0 {
		t.Errorf("acknowledged %v, %d recordings left, want checkpoint 2 alone", ids, len(x.t.over.recordings))
	}
}

// TestChannelFilesAreChecked: a file of records in flight that is not whole, or something else, is an error that names the object.
func TestChannelFilesAreChecked(t *testing.T) {
	good := append([]byte(channelMagic), 3, 'a', 'b', 'c', 0, 1, 'd')
	var got []string
	collect := func(b []byte) error { got = append(got, string(b)); return nil }
	if err := readChannel(bytes.NewReader(good), "x", int64(len(good)), collect); err != nil || !slices.Equal(got, []string{"abc", "", "d"}) {
		t.Fatalf("%q, %v", got, err)
	}
	for _, n := range []int{0, 3, len(channelMagic) + 1, len(channelMagic) + 3, len(good) - 1} {
		err := readChannel(bytes.NewReader(good[:n]), "the object", int64(n), func([]byte) error { return nil })
		var c *checkpoint.CorruptError
		if !errors.As(err, &c) || c.Object != "the object" {
			t.Errorf("%d bytes of %d: %v", n, len(good), err)
		}
	}
	bad := append([]byte(channelMagic), 0xff, 0xff, 0xff, 0xff, 0xff, 1)
	if err := readChannel(bytes.NewReader(bad), "x", int64(len(bad)), collect); err == nil || !strings.Contains(err.Error(), "in a file of") {
		t.Errorf("a batch longer than the file: %v", err)
	}
	broken := errors.New("broken")
	if err := readChannel(io.MultiReader(bytes.NewReader(good[:9]), errReader{broken}), "x", 100, collect); !errors.Is(err, broken) {
		t.Errorf("an error of the storage became %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestEdgeNames: by uids, and by place where a step has none; two edges never share a name.
func TestEdgeNames(t *testing.T) {
	src, m, keyed, u := &Node{UID: "src", Source: &Source{}}, node("map@x.go:1", 0), &Node{UID: "keyed"}, node("union@x.go:2", 0)
	link(src, m, Forward)
	link(m, keyed, Hash)
	link(keyed, u, Forward)
	link(m, u, RoundRobin)
	out := &Node{UID: "out", NewChain: true}
	link(u, out, Forward)
	late := &Node{UID: "late"}
	late.Inputs = []*Edge{{From: keyed, Port: "late", To: late, Kind: Forward}}
	keyed.Outputs = append(keyed.Outputs, late.Inputs[0])
	p, err := NewPlan("p", []*Node{src, m, keyed, u, out, late}, 2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			got = append(got, e.name)
		}
	}
	want := []string{"src → src/0", "src/0 → keyed by key", "keyed → keyed/0#0 by key", "src/0 → keyed/0#1", "keyed/0 → out", "keyed:late → late by key"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q,\nwant %q", got, want)
	}
}

// TestShares: after a change of parallelism every record in flight goes to exactly one subtask, those by key to its owner.
func TestShares(t *testing.T) {
	states := func(receivers int) (cs []checkpoint.ChannelState) {
		for to := range receivers {
			cs = append(cs, checkpoint.ChannelState{To: to, Receivers: receivers})
		}
		return cs
	}
	for _, c := range []struct {
		kind  EdgeKind
		keyed bool
		n     int
	}{{Hash, true, 2}, {Hash, true, 4}, {RoundRobin, false, 3}, {Forward, true, 2}, {Forward, false, 2}, {RoundRobin, false, 2}, {RoundRobin, false, 4}, {Random, false, 2}, {Local, false, 5}, {Global, false, 2}} {
		const batches, perBatch = 5, 7
		taken := map[[3]int]int{} // file, batch, record
		for subtask := range c.n {
			all := states(3)
			sh := shareOf(&Edge{Kind: c.kind, keyed: c.keyed, To: &Node{Parallelism: c.n}}, all, subtask, 128)
			n := 0
			for _, f := range sh.files {
				for b := range batches {
					n++
					if sh.of > 0 && (n-1)%sh.of != sh.nth {
						continue
					}
					for r := range perBatch {
						hash := spread(f.To, b, r)
						if sh.keep == nil || sh.keep(hash) {
							taken[[3]int{f.To, b, r}]++
							if c.keyed && state.SubtaskOf(state.GroupOf(hash, 128), c.n, 128) != subtask {
								t.Errorf("%+v: subtask %d takes a record of another", c, subtask)
							}
						}
					}
				}
			}
		}
		if want := 3 * batches * perBatch; len(taken) != want {
			t.Errorf("%+v: %d records taken, want %d", c, len(taken), want)
		}
		for r, n := range taken {
			if n != 1 {
				t.Errorf("%+v: record %v taken %d times", c, r, n)
			}
		}
	}
}

// spread spreads its arguments over all hashes.
func spread(xs ...int) (h uint64) {
	for _, x := range xs {
		h = (h + uint64(x) + 1) * 0x9e3779b97f4a7c15
	}
	return h
}
