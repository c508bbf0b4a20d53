package operators

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAsyncTimers compares the heap with a list that is sorted at each look.
func TestAsyncTimers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h asyncTimers[int, int]
		var all []*asyncElement[int, int]
		for i := range rapid.IntRange(1, 300).Draw(t, "steps") {
			var e *asyncElement[int, int]
			if n := len(all); n > 0 && rapid.IntRange(0, 2).Draw(t, "old") > 0 {
				e = all[rapid.IntRange(0, n-1).Draw(t, "which")]
				if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
					h.remove(e)
					h.remove(e) // again, as for one that has no time
					all = slices.DeleteFunc(all, func(o *asyncElement[int, int]) bool { return o == e })
					e = nil
				}
			} else {
				e = &asyncElement[int, int]{timer: -1, begun: uint64(i)}
				all = append(all, e)
			}
			if e != nil {
				h.set(e, rapid.Int64Range(0, 30).Draw(t, "due"))
			}
			ms, ok := h.next()
			if ok != (len(all) > 0) || len(h.heap) != len(all) {
				t.Fatalf("%d timers, want %d", len(h.heap), len(all))
			}
			for i := 1; i < len(h.heap); i++ {
				if h.less(i, (i-1)/2) || h.heap[i].timer != i {
					t.Fatalf("the heap is none at %d", i)
				}
			}
			if !ok {
				continue
			}
			first := slices.MinFunc(all, func(a, b *asyncElement[int, int]) int {
				return cmp.Or(cmp.Compare(a.dueMS, b.dueMS), cmp.Compare(a.begun, b.begun))
			})
			if h.heap[0] != first || ms != first.dueMS {
				t.Fatalf("the first is due at %d, want %d", ms, first.dueMS)
			}
		}
	})
}
