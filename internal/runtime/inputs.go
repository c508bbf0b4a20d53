package runtime

import "github.com/millrace-io/millrace/internal/watermark"

// inputs merges the watermarks of all channels of a task: first those of each input of its head, then, if it has two, those of the inputs.
type inputs struct {
	channels []channel
	valves   []*watermark.Valve
	// both is nil for a head with one input.
	both *watermark.Combiner
}

// channel is where one channel of the task belongs: a channel of one input.
type channel struct{ input, index int }

func newInputs(head *Node, subtask int) *inputs {
	in := &inputs{}
	size := []int{0}
	if head.TwoInputs {
		size, in.both = []int{0, 0}, watermark.NewCombiner(2)
	}
	for _, e := range head.Inputs {
		input := 0
		if head.TwoInputs {
			input = e.Input
		}
		for range fanIn(e, subtask) {
			in.channels = append(in.channels, channel{input, size[input]})
			size[input]++
		}
	}
	for _, n := range size {
		in.valves = append(in.valves, watermark.NewValve(n))
	}
	return in
}

// watermark takes a watermark of one channel and returns what comes of it for the operator.
func (in *inputs) watermark(ch int, ms int64) watermark.Merged {
	c := in.channels[ch]
	return in.combine(c.input, in.valves[c.input].Watermark(c.index, ms))
}

// setIdle takes the idleness of one channel.
func (in *inputs) setIdle(ch int, idle bool) watermark.Merged {
	c := in.channels[ch]
	return in.combine(c.input, in.valves[c.input].SetIdle(c.index, idle))
}

func (in *inputs) combine(input int, m watermark.Merged) watermark.Merged {
	if in.both == nil {
		return m
	}
	var out watermark.Merged
	if m.Rose {
		out = in.both.Watermark(input, m.MS)
	}
	if m.Changed {
		idle := in.both.SetIdle(input, m.Idle)
		if idle.Rose {
			out.MS, out.Rose = idle.MS, true
		}
		if idle.Changed {
			out.Idle, out.Changed = idle.Idle, true
		}
	}
	return out
}
