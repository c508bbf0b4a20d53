package runtime

import "github.com/millrace-io/millrace/operators"

// valve merges the watermarks of a task's inputs: the smallest over the active ones, never going back. An idle input does not count.
type valve struct {
	marks []int64
	idle  []bool
	out   int64
	// allIdle is what was last passed on.
	allIdle bool
}

func newValve(channels int) *valve {
	v := &valve{marks: make([]int64, channels), idle: make([]bool, channels), out: operators.NoWatermark}
	for i := range v.marks {
		v.marks[i] = operators.NoWatermark
	}
	return v
}

// watermark takes a watermark of one input; ok says that the merged one rose to ms.
func (v *valve) watermark(channel int, mark int64) (ms int64, ok bool) {
	if mark > v.marks[channel] {
		v.marks[channel] = mark
	}
	return v.merge()
}

// setIdle takes the idleness of one input. ok says that the merged watermark rose to ms; changed, that the task's own idleness did
// change.
func (v *valve) setIdle(channel int, idle bool) (ms int64, ok, changed bool) {
	v.idle[channel] = idle
	all := true
	for _, i := range v.idle {
		all = all && i
	}
	changed = all != v.allIdle
	v.allIdle = all
	if idle {
		ms, ok = v.merge()
	}
	return ms, ok, changed
}

// merge computes the smallest watermark of the active inputs; with none active, the largest of all, for then nothing is left that
// could hold it back. EndOfTime is the exception: it needs every input, since an idle one may still wake and have records, and after
// EndOfTime no timer would ever fire for them.
func (v *valve) merge() (int64, bool) {
	low, high, active, ended := operators.EndOfTime, operators.NoWatermark, false, true
	for i, m := range v.marks {
		if m < operators.EndOfTime {
			high, ended = max(high, m), false
		}
		if !v.idle[i] {
			active = true
			low = min(low, m)
		}
	}
	if !ended && (!active || low == operators.EndOfTime) {
		low = high
	}
	if low <= v.out {
		return 0, false
	}
	v.out = low
	return low, true
}
