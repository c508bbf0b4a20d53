package operators_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

var _ = claimGolden(
	goldenFamily{name: "window_tumbling", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_sliding", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_session", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_global", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_trigger", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_evictor", operator: "window", subject: windowSubject},
	goldenFamily{name: "window_processing_time", operator: "window", subject: windowSubject},
)

// goldenAssigner is how the vectors describe where records go.
type goldenAssigner struct {
	Type                     string
	Size, Slide, Offset, Gap int64
	GapBase                  int64 `json:"gap_base"`
	GapMod                   int64 `json:"gap_mod"`
	GapMul                   int64 `json:"gap_mul"`
}

// spec is the windows of the vectors over records of T.
func goldenWindows[T any](a goldenAssigner, value func(T) int64) (operators.WindowSpec[T], error) {
	domain, processing := strings.CutSuffix(a.Type, "_processing")
	var w operators.Windows
	switch strings.TrimSuffix(domain, "_event") {
	case "tumbling":
		w = operators.Tumbling(ms(a.Size)).WithOffset(ms(a.Offset))
	case "sliding":
		w = operators.Sliding(ms(a.Size), ms(a.Slide)).WithOffset(ms(a.Offset))
	case "session":
		w = operators.Session(ms(a.Gap))
	case "session_event_dynamic":
		return operators.SessionBy(func(v T) time.Duration {
			return ms(a.GapBase + ((value(v)%a.GapMod+a.GapMod)%a.GapMod)*a.GapMul)
		}), nil
	case "global":
		w = operators.Global()
	default:
		return operators.WindowSpec[T]{}, fmt.Errorf("nobody knows the assigner %q", a.Type)
	}
	if processing {
		w = w.InProcessingTime()
	}
	return operators.SpecOf[T](w), nil
}

type goldenTrigger struct {
	Type                   string
	N, Interval, Threshold int64
	Purging                bool
}

func (g goldenTrigger) trigger() (t operators.Trigger[goldenRecord], err error) {
	switch g.Type {
	case "default":
	case "event_time":
		t = operators.EventTimeTrigger[goldenRecord]()
	case "processing_time":
		t = operators.ProcessingTimeTrigger[goldenRecord]()
	case "count":
		t = operators.CountTrigger[goldenRecord](g.N)
	case "continuous_event_time":
		t = operators.ContinuousEventTimeTrigger[goldenRecord](ms(g.Interval))
	case "continuous_processing_time":
		t = operators.ContinuousProcessingTimeTrigger[goldenRecord](ms(g.Interval))
	case "delta":
		t = operators.DeltaTrigger(float64(g.Threshold), func(reference, r goldenRecord) float64 { return float64(r.Value - reference.Value) })
	default:
		return t, fmt.Errorf("nobody knows the trigger %q", g.Type)
	}
	if g.Purging {
		t = t.Purging()
	}
	return t, nil
}

type goldenEvictor struct {
	Type               string
	N, Size, Threshold int64
	When               string
}

func (g *goldenEvictor) evictor() (e operators.Evictor[goldenRecord], err error) {
	if g == nil {
		return e, nil
	}
	switch g.Type {
	case "count":
		e = operators.CountEvictor[goldenRecord](int(g.N))
	case "time":
		e = operators.TimeEvictor[goldenRecord](ms(g.Size))
	case "delta":
		e = operators.DeltaEvictor(float64(g.Threshold), func(r, last goldenRecord) float64 { return float64(last.Value - r.Value) })
	default:
		return e, fmt.Errorf("nobody knows the evictor %q", g.Type)
	}
	switch g.When {
	case "before":
	case "after":
		e = e.AfterFunction()
	default:
		return e, fmt.Errorf("nobody knows the moment %q of an evictor", g.When)
	}
	return e, nil
}

// windowAnswer is what the windows of the vectors emit.
type windowAnswer struct {
	key    string
	window operators.Window
	value  any
}

func windowAnswerOf[V any](k string, w operators.Window, v V) windowAnswer {
	return windowAnswer{k, w, v}
}

func (a windowAnswer) render(o *goldenOutput) {
	o.Key, o.Value = a.key, a.value
	if a.window != operators.Everything {
		o.Window = &[2]int64{a.window.StartMS, a.window.EndMS}
	}
}

func windowSubject(c goldenCase) (goldenSubject, error) {
	var p struct {
		Assigner        goldenAssigner
		Trigger         goldenTrigger
		Function        string
		AllowedLateness int64 `json:"allowed_lateness"`
		Evictor         *goldenEvictor
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	spec, err := goldenWindows(p.Assigner, func(r goldenRecord) int64 { return r.Value })
	if err != nil {
		return nil, err
	}
	if spec.Trigger, err = p.Trigger.trigger(); err != nil {
		return nil, err
	}
	if spec.Evictor, err = p.Evictor.evictor(); err != nil {
		return nil, err
	}
	spec.AllowedLateness = ms(p.AllowedLateness)
	stage, err := windowFunction(spec, p.Function)
	if err != nil {
		return nil, err
	}
	return oneInput(stage, windowAnswer.render).late(), nil
}

// number is the aggregate of one number, which does not depend on the order of records.
func number(add func(acc, v int64) int64, create int64) state.Aggregate[goldenRecord, int64, any] {
	return state.Aggregate[goldenRecord, int64, any]{
		Create:      func() int64 { return create },
		Add:         func(acc int64, r goldenRecord) int64 { return add(acc, r.Value) },
		Merge:       add,
		Result:      func(acc int64) any { return acc },
		Commutative: true,
	}
}

type sumCount struct{ Sum, N int64 }

func windowFunction(spec operators.WindowSpec[goldenRecord], function string) (operators.Stage[goldenRecord, windowAnswer], error) {
	switch function {
	case "sum":
		return operators.WindowAggregate(goldenKey, nil, spec, number(func(a, b int64) int64 { return a + b }, 0), windowAnswerOf), nil
	case "max":
		return operators.WindowAggregate(goldenKey, nil, spec, number(func(a, b int64) int64 { return max(a, b) }, -1<<63), windowAnswerOf), nil
	case "min":
		return operators.WindowAggregate(goldenKey, nil, spec, number(func(a, b int64) int64 { return min(a, b) }, 1<<63-1), windowAnswerOf), nil
	case "count":
		return operators.WindowAggregate(goldenKey, nil, spec, operators.Count[goldenRecord](), windowAnswerOf), nil
	case "avg":
		return operators.WindowAggregate(goldenKey, nil, spec, state.Aggregate[goldenRecord, sumCount, any]{
			Add:         func(a sumCount, r goldenRecord) sumCount { return sumCount{a.Sum + r.Value, a.N + 1} },
			Merge:       func(a, b sumCount) sumCount { return sumCount{a.Sum + b.Sum, a.N + b.N} },
			Result:      func(a sumCount) any { return a.Sum / a.N },
			Commutative: true,
		}, windowAnswerOf), nil
	case "concat":
		return operators.WindowAggregate(goldenKey, nil, spec, state.Aggregate[goldenRecord, string, any]{
			Add: func(a string, r goldenRecord) string {
				if a != "" {
					a += ","
				}
				return a + strconv.FormatInt(r.Value, 10)
			},
			Merge:  func(a, b string) string { return a + "," + b },
			Result: func(a string) any { return a },
		}, windowAnswerOf), nil
	case "reduce_sum":
		return windowReduction(spec, func(a, b goldenRecord) goldenRecord { a.Value += b.Value; return a }), nil
	case "reduce_last":
		return windowReduction(spec, func(_, b goldenRecord) goldenRecord { return b }), nil
	}
	return windowList(spec, function)
}

func windowReduction(spec operators.WindowSpec[goldenRecord], f func(a, b goldenRecord) goldenRecord) operators.Stage[goldenRecord, windowAnswer] {
	return operators.WindowReduce(goldenKey, nil, spec, f, func(k string, w operators.Window, r goldenRecord) windowAnswer { return windowAnswerOf(k, w, r.Value) })
}

// windowList are the functions that see all records.
func windowList(spec operators.WindowSpec[goldenRecord], function string) (operators.Stage[goldenRecord, windowAnswer], error) {
	if !slices.Contains([]string{"list", "list_sorted", "list_state"}, function) {
		return nil, fmt.Errorf("nobody knows the function %q", function)
	}
	type ctx = *operators.WindowCtx[string, windowAnswer]
	return operators.WindowProcess(goldenKey, nil, spec, func(f *operators.WindowFunc[string, []goldenRecord, windowAnswer]) {
		prefix := func() (string, error) { return "", nil }
		if function == "list_state" {
			prefix = countFires(f)
		}
		f.OnFire(func(c ctx, rs []goldenRecord) error {
			text, err := prefix()
			if err != nil {
				return err
			}
			var values []int64
			for _, r := range rs {
				values = append(values, r.Value)
			}
			if function == "list_sorted" {
				slices.Sort(values)
			}
			for i, v := range values {
				if i > 0 {
					text += ","
				}
				text += strconv.FormatInt(v, 10)
			}
			return c.Emit(windowAnswerOf(c.Key(), c.Window(), text))
		})
	}), nil
}

// countFires counts the results of the window and of the key, in state.
func countFires(f *operators.WindowFunc[string, []goldenRecord, windowAnswer]) func() (string, error) {
	add := func(a, b int64) int64 { return a + b }
	ofWindow, ofKey := f.WindowValue("fires", add), f.Value[int64]("all fires")
	return func() (string, error) {
		w, err := ofWindow.Get()
		if err != nil {
			return "", err
		}
		k, err := ofKey.Get()
		if err != nil {
			return "", err
		}
		if err := ofWindow.Set(w + 1); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d/%d:", w+1, k+1), ofKey.Set(k + 1)
	}
}
