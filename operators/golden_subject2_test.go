package operators_test

import (
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// goldenTwo is a subject with two inputs, both partitioned by the record's key.
type goldenTwo[Out any] struct {
	goldenTraits
	stage  operators.Stage2[goldenRecord, goldenRecord, Out]
	render func(Out, *goldenOutput)
	sides  []twoSide[Out]
}

type goldenEither = operatortest.Either[goldenRecord, goldenRecord]

type twoSide[Out any] struct {
	take func(h *operatortest.Harness[goldenEither, Out]) []goldenOutput
	tap  func(out dataflow.Stream[Out], tap *goldenTap)
}

// twoInputs is oneInput for an operator with two inputs.
func twoInputs[Out any](stage operators.Stage2[goldenRecord, goldenRecord, Out], render func(v Out, o *goldenOutput)) *goldenTwo[Out] {
	return &goldenTwo[Out]{goldenTraits: goldenTraits{inputs: 2}, stage: stage, render: render}
}

// side is goldenOne.side.
func (g *goldenTwo[Out]) side[S any](name string, tag operators.Tag[S], render func(v S, o *goldenOutput)) *goldenTwo[Out] {
	g.sides = append(g.sides, twoSide[Out]{
		take: func(h *operatortest.Harness[goldenEither, Out]) []goldenOutput {
			return sideOutputs(name, h.SideOutput(tag), render)
		},
		tap: func(out dataflow.Stream[Out], tap *goldenTap) {
			out.SideOutput(tag).Transform("", tapped(tap, "side:"+name, false, render))
		},
	})
	return g
}

// broadcastInput1 says that every subtask takes every record of input 1.
func (g *goldenTwo[Out]) broadcastInput1() *goldenTwo[Out] {
	g.broadcast = true
	return g
}

// commonWatermark says that the steps give the watermark of both inputs as one.
func (g *goldenTwo[Out]) commonWatermark() *goldenTwo[Out] {
	g.oneWatermark = true
	return g
}

func (g *goldenTwo[Out]) open(t operatortest.TB, o operatortest.Options) goldenHost {
	h := operatortest.New2(t, g.stage, o)
	key1 := goldenKey
	if g.broadcast {
		key1 = nil
	}
	return &twoHost[Out]{h.KeyBy(goldenKey, key1, nil), g}
}

func (g *goldenTwo[Out]) wire(in []dataflow.Stream[goldenRecord], clock *goldenClock, tap *goldenTap) {
	stage := func(t *operators.Task, emit func(Out) error) (func(goldenRecord) error, func(goldenRecord) error, error) {
		a, b, err := g.stage(t, emit)
		clock.hold(t)
		return a, b, err
	}
	var out dataflow.Stream[Out]
	if g.broadcast {
		out = in[0].KeyBy(goldenKey).TransformBroadcast("operator", in[1], stage)
	} else {
		out = in[0].KeyBy(goldenKey).Transform2("operator", in[1].KeyBy(goldenKey), stage)
	}
	out.Transform("", tapped(tap, "record", true, g.render))
	for _, s := range g.sides {
		s.tap(out, tap)
	}
}

// twoHost implements goldenHost.
type twoHost[Out any] struct {
	h *operatortest.Harness2[goldenRecord, goldenRecord, Out]
	g *goldenTwo[Out]
}

func (o *twoHost[Out]) owner(input int, r goldenRecord) int {
	if input == 0 {
		return o.h.OwnerA(r)
	}
	return o.h.OwnerB(r)
}

func (o *twoHost[Out]) process(input int, r goldenRecord, tsMS int64) {
	if input == 0 {
		o.h.ProcessA(r, tsMS)
	} else {
		o.h.ProcessB(r, tsMS)
	}
}

func (o *twoHost[Out]) watermark(input int, ms int64)    { o.h.Watermark(input, ms) }
func (o *twoHost[Out]) idle(input int, idle bool)        { o.h.Idle(input, idle) }
func (o *twoHost[Out]) advance(ms int64)                 { o.h.AdvanceProcessingTime(ms) }
func (o *twoHost[Out]) woken()                           { wokenUp(o.h.Harness) }
func (o *twoHost[Out]) end()                             { o.h.EndInput() }
func (o *twoHost[Out]) snapshot() *operatortest.Snapshot { return o.h.Snapshot() }
func (o *twoHost[Out]) close()                           { o.h.Close() }

func (o *twoHost[Out]) outputs() []goldenOutput {
	var out []goldenOutput
	for _, e := range o.h.Outputs() {
		out = append(out, goldenElement(e, o.g.render))
	}
	for _, s := range o.g.sides {
		out = append(out, s.take(o.h.Harness)...)
	}
	return out
}
