package watermark

// Valve merges the watermarks of the channels of one input. The merged one is the least over the inputs that count, and never goes back. An input
// counts while it is active and aligned: one that was idle counts again once its watermark has caught up with the merged one, so
// that an input that wakes with old records does not hold the others back. An input that has ended (EndOfTime) no longer counts.
//
// Source: Flink StatusWatermarkValve. It differs in one thing, and only from the moment when an input has ended while another that has not is
// idle: EndOfTime comes out when it has come on every input. In Flink the active inputs decide alone, and records of an idle one that
// wakes are then late for ever.
type Valve struct {
	inputs []valveInput
	out    int64
	idle   bool // what was last passed on
}

type valveInput struct {
	mark       int64
	idle       bool
	catchingUp bool // active again, not yet aligned
}

// NewValve makes the valve of the given number of channels, all active and without watermark.
func NewValve(channels int) *Valve {
	v := &Valve{inputs: make([]valveInput, channels), out: None}
	for i := range v.inputs {
		v.inputs[i].mark = None
	}
	return v
}

func (in *valveInput) ended() bool { return in.mark == EndOfTime }

// Watermark takes a watermark of one input. One of an idle input, or not above the input's last, changes nothing.
func (v *Valve) Watermark(channel int, mark int64) Merged {
	in := &v.inputs[channel]
	if in.idle || mark <= in.mark {
		return Merged{}
	}
	in.mark = mark
	if mark >= v.out {
		in.catchingUp = false
	}
	return v.merge(in.ended())
}

// SetIdle takes the idleness of one input.
func (v *Valve) SetIdle(channel int, idle bool) Merged {
	in := &v.inputs[channel]
	if in.idle == idle {
		return Merged{}
	}
	in.idle = idle
	in.catchingUp = !idle && in.mark < v.out
	// With no input left that could hold the watermark back the newest counts, if the one that leaves was what held it back.
	return v.merge(idle && in.mark == v.out)
}

// merge computes what comes out; newest says that the newest watermark of all inputs comes out when none is active.
func (v *Valve) merge(newest bool) (m Merged) {
	low, high, active, counting, ended, endedActive := EndOfTime, None, false, false, true, false
	for i := range v.inputs {
		in := &v.inputs[i]
		if in.ended() {
			endedActive = endedActive || !in.idle
			continue
		}
		ended, high = false, max(high, in.mark)
		active = active || !in.idle
		if !in.idle && !in.catchingUp {
			low, counting = min(low, in.mark), true
		}
	}
	if ended {
		active = endedActive
	} else if !active && newest {
		low, counting = high, true
	}
	if (ended || counting) && low > v.out {
		v.out = low
		m.MS, m.Rose = low, true
	}
	if idle := !active; idle != v.idle {
		v.idle = idle
		m.Idle, m.Changed = idle, true
	}
	return m
}
