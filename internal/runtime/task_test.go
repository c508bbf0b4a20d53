package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// rig is one task of one operator with the given number of inputs, driven by hand; what the operator sees is in trace.
type rig struct {
	t       *task
	op      *op
	inputs  []*exchange.Writer[int]
	push    []func(int) error
	trace   []string
	mu      sync.Mutex // uploads report beside the task
	reports []any
}

func (r *rig) note(format string, args ...any) error {
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
	return nil
}

func newRig(t *testing.T, inputs int) *rig {
	t.Helper()
	r := &rig{}
	c := &operators.Context{TimestampMS: connectors.NoTimestamp, Split: -1}
	r.op = &op{node: &Node{UID: "step"}}
	r.t = &task{
		chain: &chain{name: "step", parallelism: 1}, ctx: t.Context(), now: time.Now, box: newMailbox(), opctx: c,
		queue: exchange.NewQueue(inputs), inputs: oneInput(inputs), ended: make([]bool, inputs), ops: []*op{r.op},
		report: func(ev any) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.reports = append(r.reports, ev)
		},
	}
	r.t.align.blocked = make([]bool, inputs)
	r.op.task = operators.NewTask(operators.TaskConfig{UID: "step", Name: "step", Context: c, Parallelism: 1, MaxParallelism: 128, Now: time.Now,
		EmitWatermark: r.op.forwardWatermark, EmitIdle: r.op.forwardIdle})
	r.op.task.OnBarrier(func(_ context.Context, id int64) error { return r.note("barrier %d", id) })
	r.op.task.OnWatermark(func(ms int64) error { return r.note("watermark %d", ms) })
	r.op.task.OnIdleness(func(idle bool) error { return r.note("idle %v", idle) })
	r.op.task.OnEnd(func() error { return r.note("end") })
	for i := range inputs {
		e := exchange.NewEdge[int](r.t.queue, i)
		e.Attach(c, func(v int) error { return r.note("%d", v) })
		w := exchange.NewWriter(t.Context(), &operators.Context{}, []*exchange.Edge[int]{e})
		r.inputs = append(r.inputs, w)
		r.push = append(r.push, exchange.ToOne(w, 0))
	}
	return r
}

// send makes the given input send one thing, a record or a control element, and gives the delivery to the task as its loop would.
func (r *rig) send(t *testing.T, input int, what any) {
	t.Helper()
	var err error
	switch x := what.(type) {
	case int:
		if err = r.push[input](x); err == nil {
			err = r.inputs[input].Flush()
		}
	case exchange.Control:
		err = r.inputs[input].Control(x)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.unhold(t)
	if err := r.t.take(<-r.t.queue.C); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) unhold(t *testing.T) {
	t.Helper()
	for d := r.t.unhold(); d != nil; d = r.t.unhold() {
		if err := r.t.take(d); err != nil {
			t.Fatal(err)
		}
	}
}

// interleave calls f with every order in which inputs that send n things each can be heard.
func interleave(inputs, n int, f func(order []int)) int {
	left := slices.Repeat([]int{n}, inputs)
	var order []int
	count := 0
	var step func()
	step = func() {
		if len(order) == inputs*n {
			count++
			f(order)
			return
		}
		for i := range left {
			if left[i] > 0 {
				left[i]--
				order = append(order, i)
				step()
				order = order[:len(order)-1]
				left[i]++
			}
		}
	}
	step()
	return count
}

// TestAlignmentNeverMixes hears barriers in every order: at the checkpoint the operator has seen every record in front of the barrier and none
// behind it, and each input's records in their order.
func TestAlignmentNeverMixes(t *testing.T) {
	b := func(id int64) exchange.Control { return exchange.Control{Kind: exchange.Barrier, Value: id} }
	for _, c := range []struct {
		inputs, orders int
		script         func(in int) []any
	}{
		{2, 924, func(in int) []any { return []any{10 + in, b(1), 20 + in, 30 + in, b(2), 40 + in} }},
		{3, 1680, func(in int) []any { return []any{10 + in, b(1), 20 + in} }},
		{3, 1680, func(in int) []any { return []any{b(1), 20 + in, b(2)} }},
	} {
		n := interleave(c.inputs, len(c.script(0)), func(order []int) {
			r, at := newRig(t, c.inputs), make([]int, c.inputs)
			for _, in := range order {
				r.send(t, in, c.script(in)[at[in]])
				at[in]++
			}
			r.unhold(t)
			r.t.uploads.Wait()
			epoch, last, seen := int64(1), map[int]int{}, 0
			for _, x := range r.trace {
				var v int
				if _, err := fmt.Sscan(x, &v); err != nil {
					if x != fmt.Sprint("barrier ", epoch) {
						t.Fatalf("order %v: %q at epoch %d", order, x, epoch)
					}
					epoch++
					continue
				}
				if want := map[int]int64{1: 1, 2: 2, 3: 2, 4: 3}[v/10]; want != epoch {
					t.Fatalf("order %v: record %d at epoch %d: %q", order, v, epoch, r.trace)
				}
				if in := v % 10; v <= last[in] {
					t.Fatalf("order %v: record %d after %d", order, v, last[in])
				}
				last[v%10] = v
				seen++
			}
			records := 0
			for _, x := range c.script(0) {
				if _, ok := x.(int); ok {
					records++
				}
			}
			if seen != records*c.inputs || len(r.t.align.held) != 0 || len(r.reports) != int(epoch)-1 {
				t.Fatalf("order %v: %d records, %d held, %d reports: %q", order, seen, len(r.t.align.held), len(r.reports), r.trace)
			}
		})
		if n != c.orders {
			t.Errorf("%d orders, want %d", n, c.orders)
		}
	}
}

// TestEndOfInput: the operators drain when the last input has ended, after EndOfTime, once; checkpoints still pass.
func TestEndOfInput(t *testing.T) {
	r := newRig(t, 2)
	end := []any{exchange.Control{Kind: exchange.Watermark, Value: operators.EndOfTime}, exchange.Control{Kind: exchange.End}}
	for _, x := range append([]any{1}, end...) {
		r.send(t, 0, x)
	}
	if got := strings.Join(r.trace, ", "); got != "1" {
		t.Fatalf("after one end: %s", got)
	}
	for _, x := range append([]any{2}, end...) {
		r.send(t, 1, x)
	}
	for in := range 2 {
		r.send(t, in, exchange.Control{Kind: exchange.Barrier, Value: 7})
	}
	r.t.uploads.Wait()
	want := fmt.Sprintf("1, 2, watermark %d, end, barrier 7", operators.EndOfTime)
	if got := strings.Join(r.trace, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, ok := r.reports[0].(endedEvent); !ok || len(r.reports) != 2 {
		t.Errorf("reports: %v", r.reports)
	}
}

// TestNoTimerAfterTheEnd: a processing-time timer that is pending when the input ends never fires; behind End nothing may be emitted.
func TestNoTimerAfterTheEnd(t *testing.T) {
	r := newRig(t, 1)
	r.op.task.UseTimers(func() (int64, bool) { return 1, true }, func(int64) error { return r.note("timer") })
	r.t.timers = []*op{r.op}
	if err := r.t.fireTimers(); err != nil || !slices.Equal(r.trace, []string{"timer"}) {
		t.Fatalf("before the end: %v, %v", r.trace, err)
	}
	r.send(t, 0, exchange.Control{Kind: exchange.End})
	if err := r.t.fireTimers(); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.t.nextTimer(); ok || !slices.Equal(r.trace, []string{"timer", "end"}) {
		t.Errorf("next timer %v, trace %v", ok, r.trace)
	}
}

// TestNothingBehindAStop: a source whose barrier of a stop has gone out takes no split and does not end its input, or windows would fire
// whose output no checkpoint holds.
func TestNothingBehindAStop(t *testing.T) {
	r := newRig(t, 0)
	d := newSourceDriver()
	d.task, d.op, d.reader, r.t.source = r.t, r.op, &idleReader{wake: make(chan struct{}, 1)}, d
	r.op.node.Source = &Source{}
	r.t.stopped = true
	for _, l := range []letter{splitsLetter{splits: []connectors.Split{{ID: "late"}}}, splitsLetter{last: true}, triggerLetter{id: 9, drain: true}} {
		if err := d.receive(l); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.trace) > 0 || len(r.reports) > 0 || d.live != 0 {
		t.Errorf("after %v: %d splits, reports %v", r.trace, d.live, r.reports)
	}
}

// idleReader is a reader that never has anything.
type idleReader struct {
	wake   chan struct{}
	closed bool
}

func (r *idleReader) AddSplits([]connectors.Split) error    { return nil }
func (r *idleReader) poll(int) (connectors.Status, error)   { return connectors.Idle, nil }
func (r *idleReader) Wake() <-chan struct{}                 { return r.wake }
func (r *idleReader) Snapshot() ([]connectors.Split, error) { return nil, nil }
func (r *idleReader) CheckpointCompleted(int64)             {}
func (r *idleReader) Close() error                          { r.closed = true; panic("the reader panics in Close") }

// TestCloseGoesOn: a reader that panics in Close does not leave the operators open, and one whose OnOpen failed is closed, those behind
// it are not.
func TestCloseGoesOn(t *testing.T) {
	r := newRig(t, 0)
	second := &op{node: &Node{Name: "second"}, task: operators.NewTask(operators.TaskConfig{Name: "second"})}
	r.t.ops = append(r.t.ops, second)
	rd := &idleReader{}
	r.t.source = &sourceDriver{reader: rd}
	broken := errors.New("cannot open")
	r.op.task.OnOpen(func(context.Context) error { return broken })
	r.op.task.OnClose(func() error { return r.note("close") })
	second.task.OnClose(func() error { return r.note("close of a step that was never opened") })
	if err := r.t.run(func() error { return nil }); !errors.Is(err, broken) {
		t.Errorf("run returned %v", err)
	}
	if err := r.t.close(); err == nil || !strings.Contains(err.Error(), "panics in Close") {
		t.Errorf("close returned %v", err)
	}
	if got := strings.Join(r.trace, ", "); got != "close" || !rd.closed {
		t.Errorf("trace %q, reader closed %v", got, rd.closed)
	}
}

// TestRestoredWatermarkIsRepeated to the tasks behind, and OnEnd of an operator that had ended does not run again.
func TestRestoredWatermarkIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, next := newRig(t, 1), newRig(t, 1)
		r.t.ctx = ctx
		r.op.outputs = []exchange.Output{next.inputs[0]}
		a := &attempt{cfg: &Config{MaxParallelism: 128}, restored: &checkpoint.RestorePlan{Operators: []checkpoint.OperatorRestore{
			{UID: "step", Known: true, Subtasks: []checkpoint.SubtaskRestore{{WatermarkMS: operators.EndOfTime}}}}}}
		done := make(chan error, 1)
		go func() { done <- r.t.run(func() error { return a.openState(ctx, r.t) }) }()
		d := <-next.t.queue.C
		if got, want := d.Control(), (exchange.Control{Kind: exchange.Watermark, Value: operators.EndOfTime}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if err := r.inputs[0].Control(exchange.Control{Kind: exchange.End}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		<-done
		if len(r.trace) != 0 {
			t.Errorf("an operator that had ended saw %v", r.trace)
		}
		if r.t.mark.Load() != operators.EndOfTime {
			t.Errorf("the metrics show watermark %d", r.t.mark.Load())
		}
	})
}

// TestSourceForgetsItsWatermark: a source whose input had ended says so again itself, after the splits that it got back, if any.
func TestSourceForgetsItsWatermark(t *testing.T) {
	r := newRig(t, 0)
	r.op.node.Source = &Source{}
	a := &attempt{cfg: &Config{MaxParallelism: 128}, restored: &checkpoint.RestorePlan{Operators: []checkpoint.OperatorRestore{
		{UID: "step", Known: true, Subtasks: []checkpoint.SubtaskRestore{{WatermarkMS: operators.EndOfTime}}}}}}
	if err := a.openState(t.Context(), r.t); err != nil || r.op.task.Watermark() != operators.NoWatermark {
		t.Errorf("watermark %d, %v", r.op.task.Watermark(), err)
	}
}

// oneInput is the inputs of a head with one input of n channels.
func oneInput(n int) *inputs {
	head := &Node{Parallelism: 1}
	head.Inputs = []*Edge{{Kind: Hash, From: &Node{Parallelism: n}, To: head}}
	return newInputs(head, 0)
}
