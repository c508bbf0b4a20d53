package operators_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

var goldenFamilies = []goldenFamily{
	{name: "window_tumbling", start: startWindow, keyed: true},
	{name: "window_sliding", start: startWindow, keyed: true},
	{name: "keyed_reduce", start: startReduce, keyed: true},
	{name: "timers_event", start: startTimers, keyed: true},
	{name: "timers_processing", start: startTimers, keyed: true},
	{name: "timers_mixed", start: startTimers, keyed: true},
	{name: "assign_watermarks", start: startAssign},
	{name: "watermark_generator", start: startGenerator, project: onlyGrowing},
}

// goldenRecord is a record of the keyed families. Seq is the order of arrival.
type goldenRecord struct {
	Key   string
	Value int64
	Text  string
	Seq   int64
}

// keyedGolden drives all subtasks of a keyed operator as one logical operator.
type keyedGolden[Out any] struct {
	group  *group[goldenRecord, Out]
	seq    int64
	record func(v Out, o *goldenOutput)
	text   bool
	ended  bool // the watermark EndOfTime has come
	order  func(operatortest.Element[Out]) int64
}

func newKeyedGolden[Out any](t *testing.T, stage operators.Stage[goldenRecord, Out], text bool, record func(Out, *goldenOutput)) *keyedGolden[Out] {
	return &keyedGolden[Out]{record: record, text: text, order: goldenOrder[Out],
		group: newGroup(t, stage, goldenKey, operatortest.Options{ForgetWatermark: true})}
}

// goldenOrder is the time by which the outputs of several subtasks are merged in one step.
func goldenOrder[Out any](e operatortest.Element[Out]) int64 {
	if f, ok := any(e.Value).(fired); ok && f.atMS != 0 {
		return f.atMS
	}
	return e.TimestampMS
}

func goldenKey(r goldenRecord) string { return r.Key }

func (k *keyedGolden[Out]) step(s goldenStep) []goldenOutput {
	g, silent := k.group, false
	switch s.Op {
	case "record":
		k.seq++
		r := goldenRecord{Key: s.Key, Seq: k.seq}
		if k.text {
			r.Text = s.text()
		} else {
			r.Value = s.number()
		}
		g.process(r, s.tsMS())
	case "watermark":
		g.each(func(h *operatortest.Harness[goldenRecord, Out]) { h.Watermark(*s.TS) })
		k.ended = *s.TS == operators.EndOfTime
	case "processing_time":
		g.each(func(h *operatortest.Harness[goldenRecord, Out]) { h.AdvanceProcessingTime(*s.TS) })
		g.o.NowMS = *s.TS
	case "end_input":
		g.each(func(h *operatortest.Harness[goldenRecord, Out]) { h.EndInput() })
		// The harness passes EndOfTime on before the end, as a job does; the cases of processing time leave it out.
		silent = !k.ended
	case "snapshot_restore":
		g.restore(max(s.NewParallelism, 1))
	default:
		panic("golden step " + s.Op)
	}
	var out []goldenOutput
	for _, e := range g.outputs(k.order) {
		if !silent || e.Kind != operatortest.Watermark {
			out = append(out, goldenElement(e, k.record))
		}
	}
	for _, h := range g.subtasks {
		for _, e := range h.SideOutput(operators.LateRecords[goldenRecord]()) {
			o := goldenElement(e, func(v goldenRecord, o *goldenOutput) { o.Key, o.Value = v.Key, v.Value })
			o.Kind = "side:late"
			out = append(out, o)
		}
	}
	return out
}

// rescale implements rescaler. What the restore itself emits, the repeated watermark, is no output of the case.
func (k *keyedGolden[Out]) rescale(n int, b state.Backend) {
	k.group.o.State, k.group.o.ForgetWatermark = b, false
	k.group.restore(n)
	k.group.o.ForgetWatermark = true
	k.group.outputs(k.order)
	k.order = func(operatortest.Element[Out]) int64 { return 0 } // one subtask after the other: keys are compared one by one
}

// tally is an accumulator for all functions of the window families.
type tally struct {
	Sum, N, Min, Max int64
	Items            []tallied // in the order of arrival
}

type tallied struct{ Seq, Value int64 }

func tallyAggregate(function string) (state.Aggregate[goldenRecord, tally, any], bool) {
	results := map[string]func(tally) any{
		"sum":         func(a tally) any { return a.Sum },
		"reduce_sum":  func(a tally) any { return a.Sum },
		"count":       func(a tally) any { return a.N },
		"min":         func(a tally) any { return a.Min },
		"max":         func(a tally) any { return a.Max },
		"avg":         func(a tally) any { return a.Sum / a.N },
		"reduce_last": func(a tally) any { return a.Items[len(a.Items)-1].Value },
		"list":        joined,
		"concat":      joined,
		"list_sorted": func(a tally) any {
			a.Items = slices.SortedFunc(slices.Values(a.Items), func(x, y tallied) int { return cmp.Compare(x.Value, y.Value) })
			return joined(a)
		},
	}
	result, ok := results[function]
	return state.Aggregate[goldenRecord, tally, any]{
		Add: func(a tally, r goldenRecord) tally {
			return mergeTally(a, tally{r.Value, 1, r.Value, r.Value, []tallied{{r.Seq, r.Value}}})
		},
		Merge:  mergeTally,
		Result: result,
	}, ok
}

func mergeTally(a, b tally) tally {
	if a.N == 0 {
		return b
	}
	items := slices.Concat(a.Items, b.Items)
	slices.SortFunc(items, func(x, y tallied) int { return cmp.Compare(x.Seq, y.Seq) })
	return tally{a.Sum + b.Sum, a.N + b.N, min(a.Min, b.Min), max(a.Max, b.Max), items}
}

func joined(a tally) any {
	var parts []string
	for _, i := range a.Items {
		parts = append(parts, strconv.FormatInt(i.Value, 10))
	}
	return strings.Join(parts, ",")
}

// windowResult is what the windows of the golden cases emit.
type windowResult struct {
	key    string
	window operators.Window
	value  any
}

func startWindow(t *testing.T, c goldenCase) (goldenRunner, string) {
	p := c.Params
	if p.Trigger.Type != "default" && p.Trigger.Type != "event_time" {
		return nil, "trigger " + p.Trigger.Type
	}
	if p.AllowedLateness != 0 {
		return nil, "allowed lateness"
	}
	agg, ok := tallyAggregate(p.Function)
	if !ok {
		return nil, "window function " + p.Function
	}
	w := operators.Windows{Size: ms(p.Assigner.Size), Slide: ms(p.Assigner.Slide), Offset: ms(p.Assigner.Offset)}
	if p.Assigner.Type == "tumbling_event" {
		w.Slide = w.Size
	}
	stage := operators.WindowAggregate(goldenKey, nil, w, agg, func(k string, w operators.Window, v any) windowResult {
		return windowResult{k, w, v}
	})
	return newKeyedGolden(t, stage, false, func(v windowResult, o *goldenOutput) {
		o.Key, o.Value, o.Window = v.key, v.value, &[2]int64{v.window.StartMS, v.window.EndMS}
	}), ""
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func startReduce(t *testing.T, _ goldenCase) (goldenRunner, string) {
	stage := operators.Reduce(goldenKey, nil, func(a, b goldenRecord) goldenRecord {
		return goldenRecord{Key: a.Key, Value: a.Value*31 + b.Value}
	})
	return newKeyedGolden(t, stage, false, func(v goldenRecord, o *goldenOutput) { o.Key, o.Value = v.Key, v.Value }), ""
}

// fired is what the scripted timer function emits.
type fired struct {
	key, text string
	atMS      int64 // of a timer of processing time
}

func startTimers(t *testing.T, _ goldenCase) (goldenRunner, string) {
	return newKeyedGolden(t, operators.Process(goldenKey, nil, timerScript), true, func(v fired, o *goldenOutput) {
		o.Key, o.Value = v.key, v.text
	}), ""
}

// timerScript is the keyed function of the timer families: records are scripts.
func timerScript(b *operators.Keyed[string, goldenRecord, fired]) {
	type ctx = *operators.Ctx[string, fired]
	count := b.Value[int64]("n")
	stored := b.Map[string, string]("stored")
	next := func() (int64, error) {
		n, err := count.Get()
		if err != nil {
			return 0, err
		}
		return n + 1, count.Set(n + 1)
	}
	b.OnRecord(func(c ctx, r goldenRecord) error {
		n, err := next()
		if err != nil {
			return err
		}
		if err := c.Emit(fired{c.Key(), fmt.Sprintf("element#%d@%d", n, c.WatermarkMS()), 0}); err != nil {
			return err
		}
		for command := range strings.SplitSeq(r.Text, ";") {
			words := strings.Fields(command)
			switch words[0] {
			case "on", "onp":
				if err := stored.Put(words[0]+" "+words[1], words[2]+" "+words[3]); err != nil {
					return err
				}
			default:
				runTimerCommand(c, words)
			}
		}
		return nil
	})
	fire := func(c ctx, on, text string, atMS int64) error {
		n, err := next()
		if err != nil {
			return err
		}
		if err := c.Emit(fired{c.Key(), fmt.Sprintf(text, n), atMS}); err != nil {
			return err
		}
		command, ok, err := stored.Get(on)
		if err != nil || !ok {
			return err
		}
		runTimerCommand(c, strings.Fields(command))
		return stored.Remove(on)
	}
	b.OnTimer(func(c ctx, at time.Time) error {
		return fire(c, fmt.Sprint("on ", at.UnixMilli()), fmt.Sprintf("event:%d#%%d@%d", at.UnixMilli(), c.WatermarkMS()), 0)
	})
	b.OnProcessingTimer(func(c ctx, at time.Time) error {
		return fire(c, fmt.Sprint("onp ", at.UnixMilli()), fmt.Sprintf("processing:%d#%%d@%d", at.UnixMilli(), c.Now().UnixMilli()), at.UnixMilli())
	})
}

func runTimerCommand(c *operators.Ctx[string, fired], words []string) {
	if words[0] == "none" {
		return
	}
	n, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		panic(err)
	}
	at := time.UnixMilli(n)
	switch words[0] {
	case "reg":
		c.TimerAt(at)
	case "del":
		c.DeleteTimer(at)
	case "regp":
		c.ProcessingTimerAt(at)
	case "delp":
		c.DeleteProcessingTimer(at)
	default:
		panic("timer command " + words[0])
	}
}

// watermarkGolden drives Timestamps. Flink looks at its generator when a timer of processing time fires; here that is the moment
// when the input runs dry.
type watermarkGolden struct {
	h        *operatortest.Harness[int64, int64]
	interval int64 // 0: the case says when
	dueMS    int64
}

const noIdleTimeout = "idle timeout: Flink measures it in periodic calls from the first without records, Watermarks.IdleAfter from the last record"

func startAssign(t *testing.T, c goldenCase) (goldenRunner, string) {
	p := c.Params
	if p.IdleTimeout != nil {
		return nil, noIdleTimeout
	}
	if slices.ContainsFunc(c.Steps, func(s goldenStep) bool { return s.Op == "idle" }) {
		return nil, "idle input: Flink's operator swallows it, Timestamps passes it on"
	}
	w := operators.Watermarks[int64]{OutOfOrderness: ms(p.Bound), Timestamp: time.UnixMilli}
	return &watermarkGolden{h: operatortest.New(t, operators.Timestamps(w), operatortest.Options{}), interval: p.Interval, dueMS: p.Interval}, ""
}

func startGenerator(t *testing.T, c goldenCase) (goldenRunner, string) {
	p := c.Params
	if p.IdleTimeout != nil {
		return nil, noIdleTimeout
	}
	w := operators.Watermarks[int64]{OutOfOrderness: ms(p.Bound)}
	return &watermarkGolden{h: operatortest.New(t, operators.Timestamps(w), operatortest.Options{})}, ""
}

func (w *watermarkGolden) step(s goldenStep) []goldenOutput {
	switch s.Op {
	case "record":
		w.h.Process(s.number(), s.tsMS())
		if w.interval == 0 {
			w.h.Records() // the generator alone passes no records on
		}
	case "watermark":
		w.h.Watermark(*s.TS)
	case "idle", "active":
		w.h.Idle(s.Op == "idle")
	case "processing_time":
		w.h.AdvanceProcessingTime(*s.TS)
		if w.interval > 0 && *s.TS >= w.dueMS {
			w.h.Dry()
			w.dueMS = *s.TS + w.interval
		}
	case "periodic":
		w.h.Dry()
	default:
		panic("golden step " + s.Op)
	}
	var out []goldenOutput
	for _, e := range w.h.Outputs() {
		out = append(out, goldenElement(e, func(v int64, o *goldenOutput) { o.Value = v }))
	}
	return out
}
