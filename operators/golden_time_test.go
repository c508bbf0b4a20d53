package operators_test

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/internal/watermark/watermarktest"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

var _ = claimGolden(
	goldenFamily{name: "assign_watermarks", replay: assignGolden,
		why: "the vectors know the periodic look alone; a job also emits as soon as its input runs dry"},
	goldenFamily{name: "watermark_generator", replay: generatorGolden,
		why: "a generator is a part of Timestamps; what it says reaches a graph through a multiplexer"},
	goldenFamily{name: "watermark_multiplexer", replay: multiplexerGolden, why: "a multiplexer is a part of Timestamps"},
	goldenFamily{name: "watermark_valve", replay: valveGolden, why: "a valve is a part of the runtime"},
)

// stepRunner is a goldenRunner that is a function.
type stepRunner func(s goldenStep) []goldenOutput

func (f stepRunner) step(s goldenStep) []goldenOutput { return f(s) }

func watermarkOutput(ms int64) goldenOutput { return goldenOutput{Kind: "watermark", TS: &ms} }

// assignGolden hosts Timestamps as it stands behind something else than a source.
func assignGolden(t operatortest.TB, c goldenCase) (goldenRunner, error) {
	var p struct {
		Bound, Interval int64
		IdleTimeout     *int64 `json:"idle_timeout"`
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	w := operators.BoundedOutOfOrderness[int64](ms(p.Bound)).WithTimestamp(time.UnixMilli).WithInterval(ms(p.Interval)).WithoutIdleness()
	if p.IdleTimeout != nil {
		w = w.WithIdleness(ms(*p.IdleTimeout))
	}
	h := operatortest.New(t, operators.Timestamps(w), operatortest.Options{})
	return stepRunner(func(s goldenStep) []goldenOutput {
		switch s.Op {
		case "record":
			h.Process(s.number(), s.tsMS())
		case "watermark":
			h.Watermark(*s.TS)
		case "idle", "active":
			h.Idle(s.Op == "idle")
		case "processing_time":
			h.AdvanceProcessingTime(*s.TS)
		default:
			badStep(s)
		}
		var out []goldenOutput
		for _, e := range h.Outputs() {
			out = append(out, goldenElement(e, func(v int64, o *goldenOutput) { o.Value = v }))
		}
		return out
	}), nil
}

// generatorGolden puts the two parts together of which Timestamps makes a split's watermarks.
func generatorGolden(_ operatortest.TB, c goldenCase) (goldenRunner, error) {
	var p struct {
		Type        string
		Bound       int64
		IdleTimeout *int64 `json:"idle_timeout"`
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	if p.Type != "bounded_out_of_orderness" && (p.Type != "monotonous" || p.Bound != 0) {
		return nil, fmt.Errorf("nobody knows the generator %q with bound %d", p.Type, p.Bound)
	}
	g := watermark.NewBounded(p.Bound)
	var timer watermark.IdleTimer
	var nowMS int64
	idle := false
	return stepRunner(func(s goldenStep) []goldenOutput {
		switch s.Op {
		case "record":
			g.See(s.tsMS())
			timer.Seen()
			idle = false
		case "processing_time":
			nowMS = *s.TS
		case "periodic":
			if p.IdleTimeout == nil || !timer.Idle(nowMS, *p.IdleTimeout) {
				return []goldenOutput{watermarkOutput(g.Watermark())}
			}
			if was := idle; !was {
				idle = true
				return []goldenOutput{{Kind: "idle"}}
			}
		default:
			badStep(s)
		}
		return nil
	}), nil
}

func multiplexerGolden(_ operatortest.TB, c goldenCase) (goldenRunner, error) {
	if err := c.decodeParams(&struct{}{}); err != nil {
		return nil, err
	}
	m := watermark.NewMultiplexer()
	numbers := map[string]int{}
	number := func(split string) int {
		if _, ok := numbers[split]; !ok {
			numbers[split] = len(numbers)
		}
		return numbers[split]
	}
	return stepRunner(func(s goldenStep) []goldenOutput {
		var out watermark.Merged
		switch idle := s.Op == "idle"; s.Op {
		case "register":
			m.Register(number(s.Split))
		case "unregister":
			m.Unregister(number(s.Split))
		case "periodic":
			out = m.Update()
		case "watermark":
			if s.Deferred {
				m.WatermarkLater(number(s.Split), *s.TS)
			} else {
				out = m.Watermark(number(s.Split), *s.TS)
			}
		case "idle", "active":
			if s.Deferred {
				m.SetIdleLater(number(s.Split), idle)
			} else {
				out = m.SetIdle(number(s.Split), idle)
			}
		default:
			badStep(s)
		}
		out.Changed = out.Idle // said at every update
		return mergedOutputs(out)
	}), nil
}

func mergedOutputs(m watermark.Merged) (out []goldenOutput) {
	if m.Rose {
		out = append(out, watermarkOutput(m.MS))
	}
	if m.Changed {
		out = append(out, goldenOutput{Kind: map[bool]string{true: "idle", false: "active"}[m.Idle]})
	}
	return out
}

func valveChannels(c goldenCase) (int, error) {
	var p struct{ Channels int }
	err := c.decodeParams(&p)
	return p.Channels, err
}

func valveGolden(_ operatortest.TB, c goldenCase) (goldenRunner, error) {
	n, err := valveChannels(c)
	if err != nil {
		return nil, err
	}
	v := watermark.NewValve(n)
	return stepRunner(func(s goldenStep) []goldenOutput {
		switch s.Op {
		case "watermark":
			return mergedOutputs(v.Watermark(s.Input, *s.TS))
		case "idle", "active":
			return mergedOutputs(v.SetIdle(s.Input, s.Op == "idle"))
		}
		badStep(s)
		return nil
	}), nil
}

// endOfTimeNeedsAll puts in the place of what Flink expects what the slow model of the valve does, from the step on at which a channel is at
// EndOfTime while another that is not is idle. Up to there Flink's own expectations stand.
func endOfTimeNeedsAll(c goldenCase) (expect [][]goldenOutput, changed bool) {
	n, err := valveChannels(c)
	if err != nil {
		return c.Expect, false // the runner says so
	}
	ended, idle := make([]bool, n), make([]bool, n)
	differs := func() bool { // an idle channel that has not ended, beside one that has
		open := false
		for i := range n {
			open = open || idle[i] && !ended[i]
		}
		return open && slices.Contains(ended, true)
	}
	var events []watermarktest.Event
	from := len(c.Steps)
	for i, s := range c.Steps {
		e := watermarktest.Event{From: s.Input}
		switch s.Op {
		case "watermark":
			e.MS = *s.TS
			ended[s.Input] = ended[s.Input] || !idle[s.Input] && e.MS == operators.EndOfTime
		case "idle":
			e.Kind, idle[s.Input] = watermarktest.Idle, true
		case "active":
			e.Kind, idle[s.Input] = watermarktest.Active, false
		}
		events = append(events, e)
		if differs() {
			from = min(from, i)
		}
	}
	expect = slices.Clone(c.Expect)
	for i, texts := range watermarktest.Valve(n, events) {
		if i < from {
			continue
		}
		want := make([]goldenOutput, 0, len(texts))
		for _, text := range texts {
			want = append(want, modelOutput(text))
		}
		changed = changed || !slices.Equal(goldenTexts(want), goldenTexts(expect[i]))
		expect[i] = want
	}
	return expect, changed
}

func modelOutput(text string) goldenOutput {
	if text == "end" {
		return watermarkOutput(operators.EndOfTime)
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return watermarkOutput(ms)
	}
	return goldenOutput{Kind: text}
}
