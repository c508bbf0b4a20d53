package operators_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/operators"
)

var _ = claimGolden(
	goldenFamily{name: "keyed_reduce", subject: reduceSubject},
	goldenFamily{name: "timers_event", operator: "process_timers", subject: timersSubject},
	goldenFamily{name: "timers_processing", operator: "process_timers", subject: timersSubject},
	goldenFamily{name: "timers_mixed", operator: "process_timers", subject: timersSubject},
)

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
