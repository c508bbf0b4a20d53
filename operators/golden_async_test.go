package operators_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/millrace-io/millrace/operators"
)

var _ = claimGolden(goldenFamily{name: "async_wait", subject: asyncSubject})

// asyncScript is the service that the cases call: a call ends when the case says so.
type asyncScript struct {
	mu   sync.Mutex
	open map[int64]func([]asyncAnswer, error) // the newest call for each value
}

// asyncAnswer is what a call gives: its record's key and a text.
type asyncAnswer struct{ key, text string }

func (s *asyncScript) call(_ context.Context, r goldenRecord, done func([]asyncAnswer, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[r.Value] = func(out []asyncAnswer, err error) {
		for i := range out {
			out[i].key = r.Key
		}
		done(out, err)
	}
}

// complete ends the call for the step's value.
func (s *asyncScript) complete(step goldenStep) bool {
	if step.Op != "complete" {
		return false
	}
	s.mu.Lock()
	done := s.open[step.number()]
	s.mu.Unlock()
	if done == nil {
		panic(goldenFault(fmt.Sprintf("nobody has called for %s", step.Value)))
	}
	var out []asyncAnswer
	for _, text := range step.Results {
		out = append(out, asyncAnswer{text: text})
	}
	done(out, nil)
	return true
}

// asyncSubject is the async step of a case. The vectors want a restore to forget the completions before it and to begin all timeouts again, so that one
// which the case does not ask for changes what follows.
func asyncSubject(c goldenCase) (goldenSubject, error) {
	var p struct {
		Mode    string
		Timeout int64
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	if p.Mode != "ordered" && p.Mode != "unordered" {
		return nil, fmt.Errorf("mode %q", p.Mode)
	}
	script := &asyncScript{open: map[int64]func([]asyncAnswer, error){}}
	stage := operators.AsyncCallback(operators.AsyncOptions[goldenRecord, asyncAnswer]{
		Capacity: 10_000, Unordered: p.Mode == "unordered", Timeout: ms(p.Timeout),
		OnTimeout: func(r goldenRecord) ([]asyncAnswer, error) {
			return []asyncAnswer{{r.Key, fmt.Sprint("timeout:", r.Value)}}, nil
		},
	}, script.call)
	return oneInput(stage, func(v asyncAnswer, o *goldenOutput) { o.Key, o.Value = v.key, v.text }).single().ops(script.complete).
		onlyAskedRestores("it forgets what was completed, and begins timeouts again"), nil
}
