package runtime

import "github.com/millrace-io/millrace/operators"

// valve merges the watermarks of a task's inputs. The merged one is the least over the inputs that count, and never goes back. An input
// counts while it is active and aligned: one that was idle counts again once its watermark has caught up with the merged one, so
// that an input that wakes with old records does not hold the others back. An input that has ended (EndOfTime) no longer counts.
//
// Source: Flink StatusWatermarkValve. It differs in one thing: EndOfTime comes out when it has come on every input. In Flink the active
// inputs decide alone, and records of an idle one that wakes are then late for ever.
type valve struct {
	inputs []valveInput
	out    int64
	idle   bool // what was last passed on
}

type valveInput struct {
	mark       int64
	idle       bool
	catchingUp bool // active again, not yet aligned
}

// merged is what comes out: first the watermark, then the idleness.
type merged struct {
	ms            int64
	rose          bool // the watermark rose to ms
	idle, changed bool // the idleness has become idle
}

func newValve(channels int) *valve {
	v := &valve{inputs: make([]valveInput, channels), out: operators.NoWatermark}
	for i := range v.inputs {
		v.inputs[i].mark = operators.NoWatermark
	}
	return v
}

func (in *valveInput) ended() bool { return in.mark == operators.EndOfTime }

// watermark takes a watermark of one input. One of an idle input, or not above the input's last, changes nothing.
func (v *valve) watermark(channel int, mark int64) merged {
	in := &v.inputs[channel]
	if in.idle || mark <= in.mark {
		return merged{}
	}
	in.mark = mark
	if mark >= v.out {
		in.catchingUp = false
	}
	return v.merge(in.ended())
}

// setIdle takes the idleness of one input.
func (v *valve) setIdle(channel int, idle bool) merged {
	in := &v.inputs[channel]
	if in.idle == idle || in.ended() {
		return merged{}
	}
	in.idle = idle
	in.catchingUp = !idle && in.mark < v.out
	// With no input left that could hold the watermark back the newest counts, if the one that leaves was what held it back.
	return v.merge(idle && in.mark == v.out)
}

// merge computes what comes out; newest says that the newest watermark of all inputs comes out when none is active.
func (v *valve) merge(newest bool) (m merged) {
	low, high, active, counting, ended := operators.EndOfTime, operators.NoWatermark, false, false, true
	for i := range v.inputs {
		in := &v.inputs[i]
		if in.ended() {
			continue
		}
		ended, high = false, max(high, in.mark)
		active = active || !in.idle
		if !in.idle && !in.catchingUp {
			low, counting = min(low, in.mark), true
		}
	}
	if !ended && !active && newest {
		low, counting = high, true
	}
	if (ended || counting) && low > v.out {
		v.out = low
		m.ms, m.rose = low, true
	}
	if idle := !ended && !active; idle != v.idle {
		v.idle = idle
		m.idle, m.changed = idle, true
	}
	return m
}
