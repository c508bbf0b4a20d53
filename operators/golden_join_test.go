package operators_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

var _ = claimGolden(
	goldenFamily{name: "co_process", subject: coProcessSubject},
	goldenFamily{name: "broadcast_state", operator: "broadcast", subject: broadcastSubject},
	goldenFamily{name: "interval_join", subject: intervalSubject},
	goldenFamily{name: "window_join", subject: windowJoinSubject},
	goldenFamily{name: "window_cogroup", subject: windowJoinSubject},
)

// keyedText is a text that an operator emits for a key.
type keyedText struct{ key, text string }

func renderKeyedText(v keyedText, o *goldenOutput) { o.Key, o.Value = v.key, v.text }

// coProcessSubject sums the first input until a timer ends the sum; the second asks for it.
func coProcessSubject(c goldenCase) (goldenSubject, error) {
	var p struct{ Delay int64 }
	err := c.decodeParams(&p)
	type ctx = *operators.Ctx[string, keyedText]
	return twoInputs(operators.CoProcess(goldenKey, goldenKey, nil, func(b *operators.CoKeyed[string, goldenRecord, goldenRecord, keyedText]) {
		sum, armed := b.Value[int64]("sum"), b.Value[int64]("armed")
		b.OnFirst(func(c ctx, r goldenRecord) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			if err := sum.Set(n + r.Value); err != nil {
				return err
			}
			due := c.TimestampMS() + p.Delay
			at, isArmed, err := armed.Lookup()
			if err != nil || isArmed && due <= at {
				return err
			}
			if isArmed {
				c.DeleteTimer(time.UnixMilli(at))
			}
			c.TimerAt(time.UnixMilli(due))
			return armed.Set(due)
		})
		b.OnSecond(func(c ctx, r goldenRecord) error {
			text, err := valueText(sum, "none")
			if err != nil {
				return err
			}
			return c.Emit(keyedText{c.Key(), fmt.Sprintf("query:%d=%s@%d", r.Value, text, c.WatermarkMS())})
		})
		b.OnTimer(func(c ctx, at time.Time) error {
			text, err := valueText(sum, "none")
			if err != nil {
				return err
			}
			if err := c.Emit(keyedText{c.Key(), fmt.Sprintf("expire:%d=%s", at.UnixMilli(), text)}); err != nil {
				return err
			}
			if err := sum.Clear(); err != nil {
				return err
			}
			return armed.Clear()
		})
	}), renderKeyedText), err
}

// valueText is the value of s, or none.
func valueText(s *state.Value[int64], none string) (string, error) {
	v, ok, err := s.Lookup()
	if !ok {
		return none, err
	}
	return fmt.Sprint(v), err
}

// broadcastSubject keeps rules by key and sums of the keyed input.
func broadcastSubject(c goldenCase) (goldenSubject, error) {
	err := c.decodeParams(&struct{}{})
	return twoInputs(operators.KeyedBroadcastProcess(goldenKey, nil, sumsUnderRules), renderKeyedText).broadcastInput1(), err
}

func sumsUnderRules(b *operators.KeyedBroadcast[string, goldenRecord, goldenRecord, keyedText]) {
	type ctx = *operators.Ctx[string, keyedText]
	sum := b.Value[int64]("sum")
	rules := b.Broadcast[string, int64]("rules")
	b.OnRecord(func(c ctx, r goldenRecord) error {
		n, err := sum.Get()
		if err != nil {
			return err
		}
		if err := sum.Set(n + r.Value); err != nil {
			return err
		}
		count, total, own := 0, int64(0), "null"
		err = rules.Range(func(k string, v int64) error {
			count++
			total += v
			if k == r.Key {
				own = fmt.Sprint(v)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if r.Value%7 == 0 {
			c.TimerAt(time.UnixMilli(c.TimestampMS() + 100))
		}
		return c.Emit(keyedText{c.Key(), fmt.Sprintf("sum=%d rules=%d total=%d own=%s wm=%d", n+r.Value, count, total, own, c.WatermarkMS())})
	})
	b.OnTimer(func(c ctx, at time.Time) error {
		count, err := rules.Len()
		if err != nil {
			return err
		}
		return c.Emit(keyedText{c.Key(), fmt.Sprintf("timer:%d rules=%d", at.UnixMilli(), count)})
	})
	b.OnBroadcast(func(c *operators.KeyedBroadcastCtx[string, keyedText], r goldenRecord) error {
		if r.Value == 0 {
			return rules.Remove(c, r.Key)
		}
		if err := rules.Put(c, r.Key, r.Value); err != nil || r.Value != -1 {
			return err
		}
		return c.ForEachKey(sum, func(c ctx) error {
			n, err := sum.Get()
			if err != nil {
				return err
			}
			return c.Emit(keyedText{c.Key(), fmt.Sprintf("visit=%d", n)})
		})
	})
}

// intervalSubject joins both inputs by time.
func intervalSubject(c goldenCase) (goldenSubject, error) {
	var p struct {
		Lower, Upper   int64
		LowerInclusive bool `json:"lower_inclusive"`
		UpperInclusive bool `json:"upper_inclusive"`
	}
	err := c.decodeParams(&p)
	between := operators.Interval{Lower: ms(p.Lower), Upper: ms(p.Upper), ExclusiveLower: !p.LowerInclusive, ExclusiveUpper: !p.UpperInclusive}
	type ctx = *operators.JoinCtx[string, keyedText]
	stage := operators.IntervalJoinProcess(goldenKey, goldenKey, nil, between, operators.JoinCodecs[goldenRecord, goldenRecord]{}, func(c ctx, l, r goldenRecord) error {
		return c.Emit(keyedText{c.Key(), fmt.Sprintf("%d|%d@%d|%d", l.Value, r.Value, c.LeftMS(), c.RightMS())})
	})
	return twoInputs(stage, renderKeyedText).
		side("left_late", operators.LateLeft[goldenRecord](), renderRecord).
		side("right_late", operators.LateRight[goldenRecord](), renderRecord), err
}

// windowJoinSubject pairs or lists the records of both inputs in windows.
func windowJoinSubject(c goldenCase) (goldenSubject, error) {
	type either = operators.Either[goldenRecord, goldenRecord]
	var p struct {
		Kind, Function  string
		Assigner        goldenAssigner
		AllowedLateness int64 `json:"allowed_lateness"`
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	spec, err := goldenWindows(p.Assigner, func(e either) int64 {
		if e.First != nil {
			return e.First.Value
		}
		return e.Second.Value
	})
	if err != nil {
		return nil, err
	}
	spec.AllowedLateness = ms(p.AllowedLateness)
	switch p.Kind + " " + p.Function {
	case "join pair":
		type pair struct{ first, second goldenRecord }
		stage := operators.WindowJoin(goldenKey, goldenKey, nil, spec, func(a, b goldenRecord) pair { return pair{a, b} })
		return twoInputs(stage, func(v pair, o *goldenOutput) {
			o.Key, o.Value = v.first.Key, fmt.Sprintf("%d|%d", v.first.Value, v.second.Value)
		}).commonWatermark(), nil
	case "cogroup pair_lists", "cogroup pair_lists_sorted":
		stage := operators.WindowCoGroup(goldenKey, goldenKey, nil, spec, func(c *operators.WindowCtx[string, keyedText], first, second []goldenRecord) error {
			return c.Emit(keyedText{c.Key(), listText(first, p.Function) + "|" + listText(second, p.Function)})
		})
		return twoInputs(stage, renderKeyedText).commonWatermark(), nil
	}
	return nil, fmt.Errorf("nobody knows the %s function %q", p.Kind, p.Function)
}

// listText is the values of rs, joined, in the order of arrival or sorted as function says.
func listText(rs []goldenRecord, function string) string {
	var values []int64
	for _, r := range rs {
		values = append(values, r.Value)
	}
	if strings.HasSuffix(function, "_sorted") {
		slices.Sort(values)
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(values), "[]"), " ", ",")
}
