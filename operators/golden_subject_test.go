package operators_test

import (
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// goldenSubject is the operator of a case. A family describes it once, by oneInput or twoInputs, and every driver runs it: the harness
// with state in memory and in Pebble, with restores that nobody asked for, and a whole job.
type goldenSubject interface {
	traits() *goldenTraits
	// open hosts one subtask in a harness.
	open(t operatortest.TB, o operatortest.Options) goldenHost
	// wire adds the operator to a graph, behind the streams in, and the taps behind it.
	wire(in []dataflow.Stream[goldenRecord], clock *goldenClock, tap *goldenTap)
}

// goldenTraits is what the drivers must know of an operator.
type goldenTraits struct {
	inputs       int
	unkeyed      bool
	broadcast    bool // input 1 goes to all subtasks
	oneWatermark bool // the watermarks of the steps are those of all inputs
	onlyAsked    string
	op           func(goldenStep) bool
}

// watermarkInputs are the inputs on which the watermark of a step comes.
func (t *goldenTraits) watermarkInputs(input int) []int {
	if t.oneWatermark {
		return []int{0, 1}
	}
	return []int{input}
}

// traits implements goldenSubject.
func (t *goldenTraits) traits() *goldenTraits { return t }

// goldenHost is one subtask of a subject in a harness.
type goldenHost interface {
	owner(input int, r goldenRecord) int
	process(input int, r goldenRecord, tsMS int64)
	watermark(input int, ms int64)
	idle(input int, idle bool)
	advance(ms int64)
	woken()
	end()
	snapshot() *operatortest.Snapshot
	close()
	outputs() []goldenOutput
}

// goldenOne is a subject with one input, partitioned by the record's key unless unkeyed is called.
type goldenOne[Out any] struct {
	goldenTraits
	stage  operators.Stage[goldenRecord, Out]
	render func(Out, *goldenOutput)
	sides  []oneSide[Out]
}

// oneSide is a side output: what it is called in the vectors, and how each driver gets at it.
type oneSide[Out any] struct {
	take func(h *operatortest.Harness[goldenRecord, Out]) []goldenOutput
	tap  func(out dataflow.Stream[Out], tap *goldenTap)
}

// oneInput makes the subject of an operator with one input: render sets Key, Value and Window of o from a record of the main output; kind and
// timestamp are set already.
func oneInput[Out any](stage operators.Stage[goldenRecord, Out], render func(v Out, o *goldenOutput)) *goldenOne[Out] {
	return &goldenOne[Out]{goldenTraits: goldenTraits{inputs: 1}, stage: stage, render: render}
}

// side has the side output tag appear as outputs of kind "side:<name>". One that a family does not name is never compared, so name them all.
func (g *goldenOne[Out]) side[S any](name string, tag operators.Tag[S], render func(v S, o *goldenOutput)) *goldenOne[Out] {
	g.sides = append(g.sides, oneSide[Out]{
		take: func(h *operatortest.Harness[goldenRecord, Out]) []goldenOutput {
			return sideOutputs(name, h.SideOutput(tag), render)
		},
		tap: func(out dataflow.Stream[Out], tap *goldenTap) {
			out.SideOutput(tag).Transform("", tapped(tap, "side:"+name, false, render))
		},
	})
	return g
}

// late is side for records that come too late.
func (g *goldenOne[Out]) late() *goldenOne[Out] {
	return g.side("late", operators.LateRecords[goldenRecord](), renderRecord)
}

// single says that the input is not partitioned by key: the operator runs in one subtask, also after restores.
func (g *goldenOne[Out]) single() *goldenOne[Out] {
	g.unkeyed = true
	return g
}

// ops has f do the steps of the family's own; f returns false for one that it does not know. Behind it the operator is told that it was woken.
func (g *goldenOne[Out]) ops(f func(s goldenStep) bool) *goldenOne[Out] {
	g.op = f
	return g
}

// onlyAskedRestores says why a restore changes what the operator puts out later, as in "it begins timeouts again": the drivers then restore
// only where the case says so.
func (g *goldenOne[Out]) onlyAskedRestores(why string) *goldenOne[Out] {
	g.onlyAsked = why
	return g
}

func renderRecord(r goldenRecord, o *goldenOutput) {
	o.Key, o.Value = r.Key, r.Value
	if r.Text != "" {
		o.Value = r.Text
	}
}

func sideOutputs[S any](name string, elements []operatortest.Element[S], render func(S, *goldenOutput)) []goldenOutput {
	var out []goldenOutput
	for _, e := range elements {
		o := goldenElement(e, render)
		o.Kind = "side:" + name
		out = append(out, o)
	}
	return out
}

// goldenElement turns an element into the form of the vectors.
func goldenElement[T any](e operatortest.Element[T], record func(v T, o *goldenOutput)) goldenOutput {
	o := goldenOutput{Kind: string(e.Kind)}
	if e.TimestampMS != connectors.NoTimestamp && e.Kind != operatortest.Idle && e.Kind != operatortest.Active {
		o.TS = &e.TimestampMS
	}
	if e.Kind == operatortest.Record {
		record(e.Value, &o)
	}
	return o
}

func (g *goldenOne[Out]) open(t operatortest.TB, o operatortest.Options) goldenHost {
	h := operatortest.New(t, g.stage, o)
	if !g.unkeyed {
		h.KeyBy(goldenKey, nil)
	}
	return &oneHost[Out]{h, g}
}

func (g *goldenOne[Out]) wire(in []dataflow.Stream[goldenRecord], clock *goldenClock, tap *goldenTap) {
	var out dataflow.Stream[Out]
	if g.unkeyed {
		out = in[0].Transform("operator", held(clock, g.stage)).NewChain()
	} else {
		out = in[0].KeyBy(goldenKey).Transform("operator", held(clock, g.stage))
	}
	out.Transform("", tapped(tap, "record", true, g.render))
	for _, s := range g.sides {
		s.tap(out, tap)
	}
}

// oneHost implements goldenHost.
type oneHost[Out any] struct {
	h *operatortest.Harness[goldenRecord, Out]
	g *goldenOne[Out]
}

func (o *oneHost[Out]) owner(_ int, r goldenRecord) int {
	if o.g.unkeyed {
		return 0
	}
	return o.h.Owner(r)
}

func (o *oneHost[Out]) process(_ int, r goldenRecord, tsMS int64) { o.h.Process(r, tsMS) }
func (o *oneHost[Out]) watermark(_ int, ms int64)                 { o.h.Watermark(ms) }
func (o *oneHost[Out]) idle(_ int, idle bool)                     { o.h.Idle(idle) }
func (o *oneHost[Out]) advance(ms int64)                          { o.h.AdvanceProcessingTime(ms) }
func (o *oneHost[Out]) end()                                      { o.h.EndInput() }
func (o *oneHost[Out]) snapshot() *operatortest.Snapshot          { return o.h.Snapshot() }
func (o *oneHost[Out]) close()                                    { o.h.Close() }

func (o *oneHost[Out]) woken() { wokenUp(o.h) }

// wokenUp tells an operator that it was woken.
func wokenUp[In, Out any](h *operatortest.Harness[In, Out]) {
	for _, f := range h.Task().Hooks().Woken {
		if err := f(); err != nil {
			panic(goldenFault(err.Error()))
		}
	}
}

func (o *oneHost[Out]) outputs() []goldenOutput {
	var out []goldenOutput
	for _, e := range o.h.Outputs() {
		out = append(out, goldenElement(e, o.g.render))
	}
	for _, s := range o.g.sides {
		out = append(out, s.take(o.h)...)
	}
	return out
}
