package watermark

// Combiner merges the watermarks of an operator's inputs, each of which has been merged over its channels already. The combined one is the
// least over the inputs that are not idle; when all are idle, the newest of all. It never goes back. An input that sends a watermark is
// active.
//
// Source: Flink CombinedWatermarkStatus. It differs in one thing, as Valve does: EndOfTime comes out when it has come on every input. In
// Flink an input that has ended lets EndOfTime out while the others are idle, and what they bring later is late for ever.
type Combiner struct {
	inputs []combined
	out    int64
	idle   bool
}

type combined struct {
	mark int64
	idle bool
}

// NewCombiner makes the combiner of the given number of inputs, all active and without watermark.
func NewCombiner(inputs int) *Combiner {
	c := &Combiner{inputs: make([]combined, inputs), out: None}
	for i := range c.inputs {
		c.inputs[i].mark = None
	}
	return c
}

// Watermark takes a watermark of one input.
func (c *Combiner) Watermark(input int, mark int64) (m Merged) {
	in := &c.inputs[input]
	in.idle = false
	if mark <= in.mark {
		return m
	}
	was := c.idle
	in.mark = mark
	m.MS, m.Rose = c.merge()
	if mark == EndOfTime { // it no longer counts: the others may all be idle
		m.Idle, m.Changed = c.idle, c.idle != was
	}
	return m
}

// SetIdle takes the idleness of one input.
func (c *Combiner) SetIdle(input int, idle bool) (m Merged) {
	was := c.idle
	c.inputs[input].idle = idle
	m.MS, m.Rose = c.merge()
	m.Idle, m.Changed = c.idle, c.idle != was
	return m
}

// merge computes the combined watermark and idleness; rose says that the watermark is above the last.
func (c *Combiner) merge() (ms int64, rose bool) {
	low, high, idle, ended := EndOfTime, None, true, true
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.mark == EndOfTime {
			continue
		}
		ended, high = false, max(high, in.mark)
		if !in.idle {
			low, idle = min(low, in.mark), false
		}
	}
	c.idle = idle && !ended
	if c.idle {
		low = high
	}
	if low <= c.out {
		return c.out, false
	}
	c.out = low
	return low, true
}
