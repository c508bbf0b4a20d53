package operators_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// TestPanesOfAWindow compares windows of few panes, which are one value of state, and of many, which are an entry each, with a count of the records in
// each window, over records out of order and a restore.
func TestPanesOfAWindow(t *testing.T) {
	for _, slides := range []int64{1, 5, 16, 17, 40} {
		const slideMS, lagMS, lastMS = 5, 30, 600
		windows := operators.Sliding(time.Duration(slides)*slideMS*time.Millisecond, slideMS*time.Millisecond)
		h := windowed(t, windows, operatortest.Options{})
		r := rand.New(rand.NewPCG(1, uint64(slides)))
		sums := map[string]map[int64]int64{"a": {}, "b": {}} // by start of the window
		var got []operatortest.Element[string]
		for ms := int64(lagMS); ms < lastMS; ms++ {
			o := order{[]string{"a", "b"}[r.IntN(2)], r.Int64N(100)}
			at := ms - r.Int64N(lagMS)
			h.Process(o, at)
			for start := at / slideMS * slideMS; start > at-slides*slideMS; start -= slideMS {
				sums[o.Who][start] += o.N
			}
			if ms%7 == 0 {
				h.Watermark(ms - lagMS)
			}
			if ms == lastMS/2 {
				got = append(got, h.Outputs()...)
				h = windowed(t, windows, operatortest.Options{From: []*operatortest.Snapshot{h.Snapshot()}})
			}
		}
		h.EndInput()
		results := map[string]int{}
		for _, e := range append(got, h.Outputs()...) {
			if e.Kind == operatortest.Record {
				results[e.String()]++
			}
		}
		for key, of := range sums {
			for start, n := range of {
				end := start + slides*slideMS
				if line := fmt.Sprintf("%s[%d,%d)=%d@%d", key, start, end, n, end-1); results[line] != 1 {
					t.Errorf("%d panes: %q came %d times, want once", slides, line, results[line])
				}
			}
		}
		if len(results) != len(sums["a"])+len(sums["b"]) {
			t.Errorf("%d panes: %d different results, want %d", slides, len(results), len(sums["a"])+len(sums["b"]))
		}
	}
}
