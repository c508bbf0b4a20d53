package operators_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// goldenFault is the panic that says what is wrong with a case or with what the operator did; it ends the case alone.
type goldenFault string

// caseTB is the operatortest.TB of one case: a failure ends the case, and its clean-up runs when the case is over.
type caseTB struct {
	ctx      context.Context
	cleanups []func()
}

// Helper implements operatortest.TB.
func (*caseTB) Helper() {}

// Fatalf implements operatortest.TB.
func (*caseTB) Fatalf(format string, args ...any) { panic(goldenFault(fmt.Sprintf(format, args...))) }

// Cleanup implements operatortest.TB.
func (c *caseTB) Cleanup(f func()) { c.cleanups = append(c.cleanups, f) }

// Context implements operatortest.TB.
func (c *caseTB) Context() context.Context { return c.ctx }

// withCase runs f for one case and returns its goldenFault, or any other panic, as an error: the other cases go on.
func withCase(t *testing.T, f func(t *caseTB) error) (err error) {
	tb := &caseTB{ctx: t.Context()}
	defer func() {
		for i := len(tb.cleanups) - 1; i >= 0; i-- {
			tb.cleanups[i]()
		}
	}()
	defer func() {
		switch v := recover().(type) {
		case nil:
		case goldenFault:
			err = errors.New(string(v))
		default:
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f(tb)
}

// goldenRunner replays a case of a family that is no operator.
type goldenRunner interface {
	// step does one step and returns what came out of it. A step that it does not know is a badStep.
	step(s goldenStep) []goldenOutput
}

// badStep ends the case at a step that nobody knows.
func badStep(s goldenStep) {
	panic(goldenFault(fmt.Sprintf("nobody knows the op %q", s.Op)))
}

// goldenBackends are the state backends of the harness driver.
var goldenBackends = map[string]func() state.Backend{
	"memory": func() state.Backend { return memstate.New() },
	"pebble": func() state.Backend {
		return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
	},
}

// harnessGroup drives all subtasks of a subject, each in a harness of its own, as one logical operator.
type harnessGroup struct {
	t       operatortest.TB
	subject goldenSubject
	o       operatortest.Options
	hosts   []goldenHost
	seq     int64
	inputs  []inputSoFar
}

// inputSoFar is what an input has said of its progress.
type inputSoFar struct {
	watermark int64
	idle      bool
}

func newHarnessGroup(t operatortest.TB, subject goldenSubject, backend state.Backend) *harnessGroup {
	g := &harnessGroup{t: t, subject: subject, o: operatortest.Options{State: backend}}
	g.start(1, nil)
	return g
}

func (g *harnessGroup) start(parallelism int, from []*operatortest.Snapshot) {
	g.hosts = nil
	if g.o.ForgetWatermark || from == nil {
		g.inputs = nil
		for range g.subject.traits().inputs {
			g.inputs = append(g.inputs, inputSoFar{watermark: operators.NoWatermark})
		}
	}
	for i := range parallelism {
		o := g.o
		o.Subtask, o.Parallelism, o.From = i, parallelism, from
		g.hosts = append(g.hosts, g.subject.open(g.t, o))
	}
}

func (g *harnessGroup) restore(parallelism int) {
	if g.subject.traits().unkeyed {
		parallelism = 1
	}
	var from []*operatortest.Snapshot
	for _, h := range g.hosts {
		from = append(from, h.snapshot())
		h.close()
	}
	g.start(parallelism, from)
}

// rescale goes on from a snapshot in parallelism subtasks as a job does: the operator's watermark stays, and the inputs say again how far
// they are. What comes out of that has come out before.
func (g *harnessGroup) rescale(parallelism int) {
	g.o.ForgetWatermark = false
	g.restore(parallelism)
	for i, in := range g.inputs {
		if in.watermark != operators.NoWatermark {
			g.each(func(h goldenHost) { h.watermark(i, in.watermark) })
		}
		if in.idle {
			g.each(func(h goldenHost) { h.idle(i, true) })
		}
	}
	for _, h := range g.hosts {
		for _, o := range h.outputs() {
			if !o.control() {
				g.t.Fatalf("the restore alone put out %v", o)
			}
		}
	}
}

func (g *harnessGroup) each(f func(goldenHost)) {
	for _, h := range g.hosts {
		f(h)
	}
}

// step does one step and returns what each subtask put out.
func (g *harnessGroup) step(s goldenStep) [][]goldenOutput {
	silent := false
	switch s.Op {
	case "record":
		g.seq++
		g.record(s)
	case "watermark":
		for _, i := range g.subject.traits().watermarkInputs(s.Input) {
			g.inputs[i] = inputSoFar{watermark: max(g.inputs[i].watermark, *s.TS)}
			g.each(func(h goldenHost) { h.watermark(i, *s.TS) })
		}
	case "idle", "active":
		g.inputs[s.Input].idle = s.Op == "idle"
		g.each(func(h goldenHost) { h.idle(s.Input, s.Op == "idle") })
	case "processing_time":
		g.o.NowMS = *s.TS
		g.each(func(h goldenHost) { h.advance(*s.TS) })
	case "end_input":
		// The harness passes EndOfTime on before the end, as a job does; the cases of processing time leave it out.
		for _, in := range g.inputs {
			silent = silent || in.watermark != operators.EndOfTime
		}
		g.each(func(h goldenHost) { h.end() })
	case "snapshot_restore":
		g.o.ForgetWatermark = true
		g.restore(max(s.NewParallelism, 1))
	default:
		if op := g.subject.traits().op; op == nil || !op(s) {
			badStep(s)
		}
		g.each(goldenHost.woken)
	}
	var out [][]goldenOutput
	for _, h := range g.hosts {
		out = append(out, keepOutputs(h.outputs(), func(o goldenOutput) bool { return !silent || o.Kind != "watermark" }))
	}
	return out
}

func (g *harnessGroup) record(s goldenStep) {
	r := s.record(g.seq)
	if s.Input == 1 && g.subject.traits().broadcast {
		g.each(func(h goldenHost) { h.process(1, r, s.tsMS()) })
		return
	}
	g.hosts[g.hosts[0].owner(s.Input, r)].process(s.Input, r, s.tsMS())
}

// goldenSeed is where the restores come that no case asks for. MILLRACE_GOLDEN_SEED gives another; default 0.
var goldenSeed = sync.OnceValue(func() uint64 {
	text := os.Getenv("MILLRACE_GOLDEN_SEED")
	if text == "" {
		return 0
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("MILLRACE_GOLDEN_SEED is %q, want a number of 0 or more", text))
	}
	return seed
})

// goldenRandom decides all that is random about a case. It is made of the case's id and the seed, so that a failure comes back.
func goldenRandom(id string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(id))
	return rand.New(rand.NewPCG(h.Sum64(), goldenSeed()))
}

// replayHarness replays a case in the harness. With rescale, it is taken to other parallelisms before some steps, without leave.
func replayHarness(t *testing.T, subject goldenSubject, c goldenCase, backend string, rescale bool) error {
	return withCase(t, func(tb *caseTB) error {
		g := newHarnessGroup(tb, subject, goldenBackends[backend]())
		random := goldenRandom(c.ID)
		return replayGolden(c, func(i int, s goldenStep) [][]goldenOutput {
			if rescale && i > 0 && mayRestore(subject, g.inputs) && random.IntN(len(c.Steps)) < 3 {
				g.rescale(1 + random.IntN(4))
			}
			return g.step(s)
		})
	})
}

// mayRestore says whether the drivers may restore of their own accord now. An operator whose watermark is EndOfTime has ended, to a restore, and its
// timers of processing time no longer fire; in the vectors they do, until the input ends.
func mayRestore(s goldenSubject, inputs []inputSoFar) bool {
	return s.traits().onlyAsked == "" && !slices.ContainsFunc(inputs, func(in inputSoFar) bool { return in.watermark == operators.EndOfTime })
}

// replayRunner replays a case of a family that is no operator.
func replayRunner(t *testing.T, f goldenFamily, c goldenCase) error {
	return withCase(t, func(tb *caseTB) error {
		r, err := f.replay(tb, c)
		if err == nil {
			err = c.lookedAt()
		}
		if err != nil {
			return err
		}
		return replayGolden(c, func(_ int, s goldenStep) [][]goldenOutput { return [][]goldenOutput{r.step(s)} })
	})
}

// replayGolden does the steps and compares what comes out of each. A panic says at which step it came.
func replayGolden(c goldenCase, do func(i int, s goldenStep) [][]goldenOutput) error {
	i := 0
	at := func() string {
		s := c.Steps[i]
		return fmt.Sprintf("step %d, %s %q %s of input %d at %d", i, s.Op, s.Key, s.Value, s.Input, s.tsMS())
	}
	defer func() {
		switch v := recover().(type) {
		case nil:
		case goldenFault:
			panic(goldenFault(at() + ": " + string(v)))
		default:
			panic(goldenFault(fmt.Sprintf("%s: panic: %v\n%s", at(), v, debug.Stack())))
		}
	}()
	for i = range c.Steps {
		if err := compareGolden(c, c.Expect[i], do(i, c.Steps[i])); err != nil {
			return fmt.Errorf("%s: %w", at(), err)
		}
	}
	return nil
}
