package operators

// stateClock is the event time by which an operator's keyed state expires (state.EventTimeTTL). It is the operator's watermark, except while
// the timers of a new watermark fire: then it goes with them, from timer to timer, so that what a timer finds in state does not depend on how
// far apart watermarks are. A job that reads its whole input in one go, with one watermark at the end, has the results of one that ran
// for months.
type stateClock struct {
	t  *Task
	ms int64
}

// read implements state.Config.EventTime. Before the first watermark it is the one that was restored, if any.
func (c *stateClock) read() (timestampMS, watermarkMS int64) {
	if c.ms == NoWatermark {
		return c.t.cfg.Context.TimestampMS, c.t.watermark
	}
	return c.t.cfg.Context.TimestampMS, c.ms
}

// reach moves the clock forward.
func (c *stateClock) reach(ms int64) { c.ms = max(c.ms, ms) }
