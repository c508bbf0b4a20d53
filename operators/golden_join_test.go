package operators_test

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

var _ = claimGolden(
	goldenFamily{name: "co_process", subject: coProcessSubject},
	goldenFamily{name: "broadcast_state", operator: "broadcast", subject: broadcastSubject},
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
