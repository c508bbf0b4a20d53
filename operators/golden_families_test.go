package operators_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

var _ = claimGolden(
	goldenFamily{name: "keyed_reduce", subject: reduceSubject},
	goldenFamily{name: "timers_event", operator: "process_timers", subject: timersSubject},
	goldenFamily{name: "timers_processing", operator: "process_timers", subject: timersSubject},
	goldenFamily{name: "timers_mixed", operator: "process_timers", subject: timersSubject},
)

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

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func reduceSubject(c goldenCase) (goldenSubject, error) {
	stage := operators.Reduce(goldenKey, nil, func(a, b goldenRecord) goldenRecord {
		return goldenRecord{Key: a.Key, Value: a.Value*31 + b.Value}
	})
	return oneInput(stage, renderRecord), c.decodeParams(&struct{}{})
}

// fired is what the scripted timer function emits.
type fired struct{ key, text string }

func timersSubject(c goldenCase) (goldenSubject, error) {
	var p struct{ Time string } // the steps say the same
	return oneInput(operators.Process(goldenKey, nil, timerScript), func(v fired, o *goldenOutput) {
		o.Key, o.Value = v.key, v.text
	}), c.decodeParams(&p)
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
		if err := c.Emit(fired{c.Key(), fmt.Sprintf("element#%d@%d", n, c.WatermarkMS())}); err != nil {
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
	fire := func(c ctx, on, text string) error {
		n, err := next()
		if err != nil {
			return err
		}
		if err := c.Emit(fired{c.Key(), fmt.Sprintf(text, n)}); err != nil {
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
		return fire(c, fmt.Sprint("on ", at.UnixMilli()), fmt.Sprintf("event:%d#%%d@%d", at.UnixMilli(), c.WatermarkMS()))
	})
	b.OnProcessingTimer(func(c ctx, at time.Time) error {
		return fire(c, fmt.Sprint("onp ", at.UnixMilli()), fmt.Sprintf("processing:%d#%%d@%d", at.UnixMilli(), c.Now().UnixMilli()))
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
