package operators_test

import (
	"context"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// BenchmarkAsync is one record through a step whose calls are over at once: what the step itself costs. "callback" ends each call before its function
// returns, "blocking" on the goroutines of the step; the results are made once.
func BenchmarkAsync(b *testing.B) {
	result := []int64{1}
	callback := func(_ context.Context, _ benchRecord, done func([]int64, error)) { done(result, nil) }
	blocking := func(context.Context, benchRecord) ([]int64, error) { return result, nil }
	type options = operators.AsyncOptions[benchRecord, int64]
	for _, c := range []struct {
		name  string
		stage operators.Stage[benchRecord, int64]
	}{
		{"callback/ordered", operators.AsyncCallback(options{}, callback)},
		{"callback/unordered", operators.AsyncCallback(options{Unordered: true}, callback)},
		{"callback/timeout", operators.AsyncCallback(options{Timeout: time.Minute}, callback)},
		{"callback/keyed", operators.AsyncKeyedCallback(benchKey, nil, options{}, callback)},
		{"blocking/ordered", operators.Async(options{}, blocking)},
		{"blocking/unordered", operators.Async(options{Unordered: true}, blocking)},
		{"blocking/timeout", operators.Async(options{Timeout: time.Minute}, blocking)},
		{"blocking/keyed", operators.AsyncKeyed(benchKey, nil, options{}, blocking)},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := operatortest.New(b, c.stage, operatortest.Options{Discard: true}).KeyBy(benchKey, nil)
			b.ReportAllocs()
			for n := int64(0); b.Loop(); n++ {
				h.Process(scattered(n), n)
			}
			h.EndInput()
		})
	}
}
