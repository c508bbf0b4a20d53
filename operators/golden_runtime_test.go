package operators_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
)

// goldenClock is the processing time of a job under test, ms. It stands still between the steps, and so do the timers: one that is set for a
// time not after the clock waits for the next step, as the vectors say, where a job of one's own fires it at once.
type goldenClock struct {
	ms   atomic.Int64
	open atomic.Bool // timers that are due may fire
}

// set moves the clock, in a synctest bubble, and lets the tasks' wake-up timers fire: they were set when the clock read less, so that much
// virtual time must pass.
func (c *goldenClock) set(ms int64) {
	old := c.ms.Swap(ms)
	c.open.Store(true)
	time.Sleep(time.Duration(ms-old+2) * time.Millisecond)
	synctest.Wait()
	c.open.Store(false)
}

// hold puts the clock's rule for timers between the task and the timers that the operator has declared.
func (c *goldenClock) hold(t *operators.Task) {
	h := t.Hooks()
	next := h.NextTimer
	if next == nil {
		return
	}
	h.NextTimer = func() (int64, bool) {
		due, ok := next()
		if now := c.ms.Load(); ok && due <= now && !c.open.Load() {
			due = now + 1
		}
		return due, ok
	}
}

func held[In, Out any](c *goldenClock, stage operators.Stage[In, Out]) operators.Stage[In, Out] {
	return func(t *operators.Task, emit func(Out) error) (func(In) error, error) {
		push, err := stage(t, emit)
		c.hold(t)
		return push, err
	}
}

// goldenTap notes what passes through a point of the job, by subtask.
type goldenTap struct {
	mu  sync.Mutex
	out [][]goldenOutput
}

func (g *goldenTap) note(subtask int, o goldenOutput) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out[subtask] = append(g.out[subtask], o)
}

// take returns what has come since the last call, for parallelism subtasks.
func (g *goldenTap) take(parallelism int) [][]goldenOutput {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.out
	g.out = make([][]goldenOutput, parallelism)
	return out
}

// tapped notes the records of a stream as outputs of the given kind and, with control, its watermarks and idleness.
func tapped[T any](g *goldenTap, kind string, control bool, render func(T, *goldenOutput)) operators.Stage[T, T] {
	return func(t *operators.Task, emit func(T) error) (func(T) error, error) {
		if control {
			t.OnWatermark(func(ms int64) error {
				g.note(t.Subtask(), goldenOutput{Kind: "watermark", TS: &ms})
				return nil
			})
			t.OnIdleness(func(idle bool) error {
				g.note(t.Subtask(), goldenOutput{Kind: map[bool]string{true: "idle", false: "active"}[idle]})
				return nil
			})
		}
		return func(v T) error {
			o := goldenOutput{Kind: kind}
			if ms := t.Context().TimestampMS; ms != connectors.NoTimestamp {
				o.TS = &ms
			}
			render(v, &o)
			g.note(t.Subtask(), o)
			return emit(v)
		}, nil
	}
}

// scriptItem is one element that a script source has its stage put into the job.
type scriptItem struct {
	op   string
	rec  goldenRecord
	tsMS int64
}

// scriptSource is a source with one split whose records the test gives while the job runs. It has no position: the test gives each record to one
// job only.
type scriptSource struct {
	mu    sync.Mutex
	items []scriptItem
	ended bool
	wake  chan struct{}
}

func newScriptSource() *scriptSource { return &scriptSource{wake: make(chan struct{}, 1)} }

func (s *scriptSource) give(i scriptItem) {
	s.mu.Lock()
	s.items = append(s.items, i)
	s.mu.Unlock()
	s.signal()
}

func (s *scriptSource) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.signal()
}

func (s *scriptSource) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Validate implements connectors.Source.
func (s *scriptSource) Validate() error { return nil }

// NewEnumerator implements connectors.Source.
func (s *scriptSource) NewEnumerator(_ connectors.Context, restored []byte) (connectors.Enumerator, error) {
	return &scriptEnumerator{s: s, assigned: len(restored) > 0}, nil
}

// NewReader implements connectors.Source.
func (s *scriptSource) NewReader(connectors.Context) (connectors.Reader[scriptItem], error) {
	return &scriptReader{s: s}, nil
}

type scriptEnumerator struct {
	s        *scriptSource
	assigned bool
}

func (e *scriptEnumerator) Discover(context.Context) (time.Duration, error) { return 0, nil }
func (e *scriptEnumerator) Finished(string)                                 {}
func (e *scriptEnumerator) Close() error                                    { return nil }

func (e *scriptEnumerator) Assign() []connectors.Split {
	if e.assigned {
		return nil
	}
	e.assigned = true
	return []connectors.Split{{ID: "script", Position: []byte{0}}}
}

func (e *scriptEnumerator) Done() bool {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.s.ended
}

func (e *scriptEnumerator) Snapshot() ([]byte, error) {
	if e.assigned {
		return []byte{1}, nil
	}
	return nil, nil
}

type scriptReader struct {
	s      *scriptSource
	splits []connectors.Split
}

func (r *scriptReader) AddSplits(splits []connectors.Split) error {
	r.splits = append(r.splits, splits...)
	r.s.signal()
	return nil
}

func (r *scriptReader) Poll(out connectors.Output[scriptItem], _ int) (connectors.Status, error) {
	if len(r.splits) == 0 {
		return connectors.Idle, nil
	}
	r.s.mu.Lock()
	items, ended := r.s.items, r.s.ended
	r.s.items = nil
	r.s.mu.Unlock()
	for _, i := range items {
		if err := out.Emit(i, i.tsMS, connectors.Coordinates{Split: "script"}); err != nil {
			return connectors.Idle, err
		}
	}
	if ended {
		r.splits = nil
		return connectors.Idle, out.Finished("script")
	}
	return connectors.Idle, nil
}

func (r *scriptReader) Wake() <-chan struct{}                 { return r.s.wake }
func (r *scriptReader) Snapshot() ([]connectors.Split, error) { return r.splits, nil }
func (r *scriptReader) CheckpointCompleted(int64)             {}
func (r *scriptReader) Close() error                          { return nil }

// scripted turns the items of a script source into records, watermarks and idleness.
func scripted(t *operators.Task, emit func(goldenRecord) error) (func(scriptItem) error, error) {
	t.OwnWatermarks()
	return func(i scriptItem) error {
		switch i.op {
		case "record":
			return emit(i.rec)
		case "watermark":
			return t.EmitWatermark(i.tsMS)
		}
		return t.EmitIdle(i.op == "idle")
	}, nil
}

// jobGroup drives a whole job as one logical operator: script sources, the exchange, the subject and the tap.
type jobGroup struct {
	ctx         context.Context
	subject     goldenSubject
	backend     string
	store       *checkpointtest.Memory
	clock       *goldenClock
	tap         *goldenTap
	sources     []*scriptSource
	inputs      []inputSoFar
	job         *dataflow.Job
	parallelism int
	seq         int64
}

func newJobGroup(ctx context.Context, subject goldenSubject, backend string) *jobGroup {
	g := &jobGroup{ctx: ctx, subject: subject, backend: backend, store: checkpointtest.NewMemory("golden"), clock: &goldenClock{}, tap: &goldenTap{}}
	g.forget()
	return g
}

// forget has the inputs say nothing of what they have said so far.
func (g *jobGroup) forget() {
	g.inputs = nil
	for range g.subject.traits().inputs {
		g.inputs = append(g.inputs, inputSoFar{watermark: operators.NoWatermark})
	}
}

// start runs the job from its last savepoint, if there is one.
func (g *jobGroup) start(parallelism int) error {
	if g.subject.traits().unkeyed {
		parallelism = 1
	}
	g.parallelism = parallelism
	g.tap.take(parallelism)
	graph := dataflow.New("golden")
	g.sources = nil
	var in []dataflow.Stream[goldenRecord]
	for i := range g.inputs {
		s := newScriptSource()
		g.sources = append(g.sources, s)
		in = append(in, graph.From(fmt.Sprint("script-", i), s).Parallelism(1).Transform("", scripted).Parallelism(1))
	}
	g.subject.wire(in, g.clock, g.tap)
	var err error
	g.job, err = graph.Start(g.ctx, dataflow.Options{
		Parallelism: parallelism, State: goldenBackends[g.backend](), Checkpoint: checkpoint.Every(10_000*time.Hour, g.store),
		Restart: dataflow.Restart{Never: true}, Now: func() time.Time { return time.UnixMilli(g.clock.ms.Load()) },
	})
	return err
}

// restart stops the job with a savepoint and goes on from there in parallelism subtasks.
func (g *jobGroup) restart(parallelism int, forget bool) error {
	if _, err := g.job.Stop(g.ctx, false); err != nil {
		return err
	}
	if forget {
		g.forget()
		if err := forgetWatermarks(g.ctx, g.store); err != nil {
			return err
		}
	}
	if err := g.start(parallelism); err != nil {
		return err
	}
	// The inputs say again how far they are, as a source does that reads on.
	for i, in := range g.inputs {
		if in.watermark != operators.NoWatermark {
			g.sources[i].give(scriptItem{op: "watermark", tsMS: in.watermark})
		}
		if in.idle {
			g.sources[i].give(scriptItem{op: "idle"})
		}
	}
	synctest.Wait()
	for _, os := range g.tap.take(g.parallelism) {
		for _, o := range os {
			if !o.control() || forget {
				return fmt.Errorf("the restore alone put out %v", o)
			}
		}
	}
	return nil
}

// forgetWatermarks adds a copy of the newest checkpoint in which no operator has a watermark: that is what Flink's state is.
func forgetWatermarks(ctx context.Context, st checkpoint.Storage) error {
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		return err
	}
	m := *j.Latest()
	m.ID, m.Epoch = j.NextID(), j.Epoch()
	for _, o := range m.Operators {
		for i := range o.Subtasks {
			o.Subtasks[i].WatermarkMS = operators.NoWatermark
		}
	}
	return j.Complete(ctx, &m)
}

// step does one step, lets the job come to rest and returns what each subtask put out.
func (g *jobGroup) step(s goldenStep) ([][]goldenOutput, error) {
	silent := false
	traits := g.subject.traits()
	switch s.Op {
	case "record":
		g.seq++
		g.sources[s.Input].give(scriptItem{op: "record", rec: s.record(g.seq), tsMS: s.tsMS()})
	case "watermark":
		for _, i := range traits.watermarkInputs(s.Input) {
			if g.inputs[i].idle { // the valve of a job's input ignores the watermarks of idle channels
				g.sources[i].give(scriptItem{op: "active"})
			}
			g.inputs[i] = inputSoFar{watermark: max(g.inputs[i].watermark, *s.TS)}
			g.sources[i].give(scriptItem{op: "watermark", tsMS: *s.TS})
		}
	case "idle", "active":
		g.inputs[s.Input].idle = s.Op == "idle"
		g.sources[s.Input].give(scriptItem{op: s.Op})
	case "processing_time":
		g.clock.set(*s.TS)
	case "end_input":
		for i, in := range g.inputs {
			silent = silent || in.watermark != operators.EndOfTime
			g.sources[i].end()
		}
	case "snapshot_restore":
		if err := g.restart(other(g.parallelism), true); err != nil {
			return nil, err
		}
	default:
		if traits.op == nil || !traits.op(s) {
			badStep(s)
		}
	}
	synctest.Wait()
	out := g.tap.take(g.parallelism)
	for i := range out {
		out[i] = keepOutputs(out[i], func(o goldenOutput) bool { return !silent || o.Kind != "watermark" })
	}
	select {
	case <-g.job.Done():
		if err := g.job.Wait(); err != nil {
			return nil, err
		}
	default:
	}
	return out, nil
}

// other is the other one of the two parallelisms at which jobs run.
func other(parallelism int) int {
	if parallelism == 1 {
		return 3
	}
	return 1
}

// replayJob replays a case in a job that begins with parallelism subtasks. Before one step, drawn from the case's id, it is stopped with a
// savepoint and goes on at another parallelism; and so it does at each restore of the case.
func replayJob(t *testing.T, subject goldenSubject, c goldenCase, backend string, parallelism int) (err error) {
	synctest.Test(t, func(t *testing.T) {
		err = withCase(t, func(*caseTB) error {
			over := errors.New("the case is over")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(over)
			g := newJobGroup(ctx, subject, backend)
			if err := g.start(parallelism); err != nil {
				return err
			}
			defer func() {
				cancel(over)
				if e := g.job.Wait(); e != nil && !errors.Is(e, over) && err == nil {
					err = e
				}
			}()
			synctest.Wait()
			restartAt := 1 + goldenRandom(c.ID).IntN(max(1, len(c.Steps)-1))
			return replayGolden(c, func(i int, s goldenStep) [][]goldenOutput {
				var out [][]goldenOutput
				var err error
				if i == restartAt && s.Op != "end_input" && mayRestore(subject, g.inputs) {
					err = g.restart(other(g.parallelism), false)
				}
				if err == nil {
					out, err = g.step(s)
				}
				if err != nil {
					panic(goldenFault(err.Error()))
				}
				return out
			})
		})
	})
	return err
}

// TestGoldenJobs replays every family that is an operator through whole jobs, on the runtime's own exchanges, clock and checkpoints. With
// -short that is one case in four, drawn from the cases' ids.
func TestGoldenJobs(t *testing.T) {
	eachGolden(t, func(t *testing.T, f goldenFamily, cases []goldenCase) {
		if f.replay != nil {
			t.Logf("%s: no operator of a graph: %s", f.name, f.why)
			return
		}
		ran, applied := 0, map[string]int{}
		for _, c := range cases {
			if testing.Short() && ran > 0 && goldenRandom(c.ID).IntN(4) != 0 {
				continue
			}
			ran++
			replayOn(t, true, f, applyGoldenRules(goldenRules, f.name, c, applied))
		}
		t.Logf("%s: %d of %d cases replayed in jobs that begin in 1 and in 3 subtasks%s", f.name, ran, len(cases), f.onlyAsked(cases[0]))
		logRules(t, applied)
	})
}
