package why

import (
	"fmt"
	"math"
	"time"
)

// index is the place of a step in the chain of a task.
func (t *Task) index(step string) int {
	for i := range t.Operators {
		if t.Operators[i].Step == step {
			return i
		}
	}
	return -1
}

// operator is the step's part of a task, nil if the task does not run it.
func (t *Task) operator(step string) *Operator {
	if i := t.index(step); i >= 0 {
		return &t.Operators[i]
	}
	return nil
}

// holding is since when an operator that holds something back has done so: since it last passed a watermark on, if it does not say.
func (o *Operator) holding() time.Time {
	if o.HoldsSince.IsZero() {
		return o.Since
	}
	return o.HoldsSince
}

// waitsForTime reports whether results of the operator come with watermarks.
func (f *finder) waitsForTime(o *Operator) bool {
	return o.NextEventTimer != nil || f.steps[o.Step] != nil && f.steps[o.Step].NeedsWatermarks != ""
}

// watermark is the cause when the step waits for a watermark that does not come.
func (f *finder) watermark(t *Task, step string) *Cause {
	o := t.operator(step)
	if o == nil || o.Watermark == EndOfInput {
		return nil
	}
	if o.Holds != "" && f.age(o.holding()) >= quiet {
		return f.callsOut(t, *o, o.Holds, o.holding())
	}
	if !f.waitsForTime(o) || f.age(o.Since) < quiet || t.Records == 0 && o.NextEventTimer == nil {
		return nil
	}
	return f.heldBy(t, step, Place{step, t.Subtask}, o.Watermark)
}

// heldBy follows what holds back the watermark of a step in task t; asked and mark are those that the question is about.
func (f *finder) heldBy(t *Task, step string, asked Place, mark Watermark) *Cause {
	if !f.first(t.Place, "watermark of "+step) {
		return nil
	}
	for i := t.index(step); i >= 0; i-- {
		o := &t.Operators[i]
		if o.Holds != "" && f.age(o.holding()) >= moment {
			return f.callsOut(t, *o, o.Holds, o.holding())
		}
		if s := f.steps[o.Step]; s != nil && s.MakesWatermarks {
			return f.maker(t, o, asked, mark)
		}
	}
	if len(t.Channels) == 0 {
		return &Cause{Kind: NoWatermarks, Step: t.Step, Subtask: t.Subtask, Since: t.Began,
			Text:   fmt.Sprintf("%s has watermark %s: source %q makes none", asked, mark, t.Step),
			Remedy: "call Timestamps on its stream"}
	}
	ch := holder(t.Channels)
	if ch == nil {
		return f.allIdle(t, asked, mark)
	}
	f.note("%s has watermark %s for %s: input %d waits for subtask %d of step %q, at %s", Place{step, t.Subtask}, t.mark(step), f.span(ch.Since), ch.Input,
		ch.Subtask, ch.Step, ch.Watermark)
	u := f.sender(*ch)
	if u == nil {
		return nil
	}
	if c := f.stopped(u, ch.Step); c != nil {
		return c
	}
	if u.Activity == Blocked && u.For != nil && *u.For != t.Place {
		if c := f.downstream(u); c != nil {
			return c
		}
	}
	return f.heldBy(u, ch.Step, asked, mark)
}

func (t *Task) mark(step string) Watermark {
	if o := t.operator(step); o != nil {
		return o.Watermark
	}
	return NoWatermark
}

// holder is the channel with the least watermark among those that count, nil if none does.
func holder(channels []Channel) *Channel {
	var low *Channel
	for i := range channels {
		c := &channels[i]
		if c.Ended || c.Idle || c.Watermark == EndOfInput {
			continue
		}
		if low == nil || c.Watermark < low.Watermark {
			low = c
		}
	}
	return low
}

func (f *finder) allIdle(t *Task, asked Place, mark Watermark) *Cause {
	c := &Cause{Kind: AllIdle, Step: t.Step, Subtask: t.Subtask, Since: time.Time{}}
	for _, ch := range t.Channels {
		c.Since = later(c.Since, ch.IdleSince)
	}
	c.Text = fmt.Sprintf("%s has watermark %s: every input of %s is idle for %s or more, and time stands still while no source has records", asked, mark, t.Place,
		f.span(c.Since))
	c.Remedy = "the results come with the next records; look at the producers"
	return c
}

// maker is the cause that lies in the step o, which makes the watermarks, or in what it reads.
func (f *finder) maker(t *Task, o *Operator, asked Place, mark Watermark) *Cause {
	held := fmt.Sprintf("%s has watermark %s: ", asked, mark)
	c := &Cause{Step: t.Step, Subtask: t.Subtask, Since: o.Since}
	source := f.steps[t.Step] != nil && f.steps[t.Step].Source
	if source {
		if found := f.alignment(t, asked.Step); found != nil {
			return found
		}
	}
	if source && t.Answered {
		if s := slowest(t.Splits); s != nil {
			return f.split(t, o, s, held)
		}
		if len(t.Splits) == 0 {
			s := f.silent(t, later(t.LastRecord, t.Began))
			s.Text = held + s.Text
			return s
		}
		return f.allIdle(t, asked, mark)
	}
	last := later(t.LastRecord, t.Began)
	if f.age(last) >= quiet {
		c.Kind, c.Since = SilentSource, last
		c.Text = fmt.Sprintf("%sstep %q, which makes the watermarks, has had no record for %s", held, o.Step, f.span(last))
		c.Remedy = "look at what comes before it, or give it Watermarks.IdleAfter"
		if ch := holder(t.Channels); ch != nil {
			if u := f.sender(*ch); u != nil {
				if found := f.starved(t, o.Step); found != nil {
					return found
				}
			}
		}
		return c
	}
	return f.noneMade(t, o, held, "")
}

// noneMade is the cause that records come and no watermark is made of them.
func (f *finder) noneMade(t *Task, o *Operator, held, split string) *Cause {
	c := &Cause{Kind: NoWatermarks, Step: o.Step, Subtask: t.Subtask, Split: split, Since: o.Since}
	where := fmt.Sprintf("step %q, subtask %d", o.Step, t.Subtask)
	if split != "" {
		where = fmt.Sprintf("source %q, subtask %d, split %q", t.Step, t.Subtask, split)
		c.Step = t.Step
	}
	c.Text = fmt.Sprintf("%srecords come from %s, the last %s ago, but no higher watermark has been made of them for %s", held, where, f.span(t.LastRecord),
		f.span(o.Since))
	c.Remedy = "look at the watermark strategy and at the timestamps: do they advance, does a punctuated strategy ever see its mark?"
	return c
}

// slowest is the split that holds the watermark back, nil if none counts.
func slowest(splits []Split) *Split {
	var low *Split
	for i := range splits {
		s := &splits[i]
		if !s.Idle && (low == nil || s.Watermark < low.Watermark) {
			low = s
		}
	}
	return low
}

// split is the cause that lies in the split with the least time.
func (f *finder) split(t *Task, o *Operator, s *Split, held string) *Cause {
	last := s.LastRecord
	if last.IsZero() {
		last = s.Since
	}
	if f.age(last) < quiet {
		return f.noneMade(t, o, held, s.ID)
	}
	c := &Cause{Kind: SilentSplit, Step: t.Step, Subtask: t.Subtask, Split: s.ID, Since: last}
	what := fmt.Sprintf("no record for %s", f.span(last))
	if s.LastRecord.IsZero() {
		what = fmt.Sprintf("no record in the %s since it was assigned", f.span(last))
	}
	c.Text = fmt.Sprintf("%sit is held back by source %q, subtask %d, split %q: %s", held, t.Step, t.Subtask, s.ID, what)
	c.Remedy = "give it an idle timeout (Watermarks.IdleAfter), or look at the producer"
	return c
}

// alignment is the cause when watermark alignment has paused what the task reads: it goes on to whom that waits for.
func (f *finder) alignment(t *Task, step string) *Cause {
	a := t.Alignment
	if a == nil || len(a.Paused) == 0 || f.age(a.Since) < long || !f.first(t.Place, "alignment") {
		return nil
	}
	c := &Cause{Kind: Aligned, Step: t.Step, Subtask: t.Subtask, Since: a.Since}
	if len(a.Paused) == 1 {
		c.Split = a.Paused[0]
	}
	c.Text = fmt.Sprintf("source %q, subtask %d has had %d of its splits paused for %s by watermark alignment: at %s it is more than %v ahead of group %q, which is at %s",
		t.Step, t.Subtask, len(a.Paused), f.span(a.Since), a.Watermark, a.MaxDrift, a.Group, a.GroupWatermark)
	c.Remedy = "look at the slowest source of the group, or allow a larger drift"
	if a.Slowest == nil {
		return c
	}
	c.Text += fmt.Sprintf(" because of %s", *a.Slowest)
	slow := f.tasks[*a.Slowest]
	if slow == nil || slow == t {
		return c
	}
	f.note("%s", c.Text)
	if found := f.stopped(slow, slow.Step); found != nil {
		return found
	}
	for i := range slow.Operators {
		if s := f.steps[slow.Operators[i].Step]; s != nil && s.MakesWatermarks {
			if found := f.maker(slow, &slow.Operators[i], Place{step, t.Subtask}, slow.Operators[i].Watermark); found != nil && found.Kind != NoWatermarks {
				return found
			}
		}
	}
	f.trail = f.trail[:len(f.trail)-1]
	return c
}

const (
	// unitMS is 1973: seconds since 1970 taken for milliseconds lie before it, for any time before the year 5000.
	unitMS = 3 * 365 * 24 * 3600 * 1000
	// aheadMS is how far a timestamp may be in the future without being a fault.
	aheadMS = 3600 * 1000
)

// unit is the cause when timestamps are near 1970.
func (f *finder) unit(t *Task, step string) *Cause {
	o := t.operator(step)
	if o == nil || !f.waitsForTime(o) || o.Watermark <= 0 || o.Watermark >= unitMS {
		return nil
	}
	where, split := f.origin(t, step, func(s Split) bool { return s.Watermark > 0 && s.Watermark < unitMS })
	c := &Cause{Kind: TimestampUnit, Step: where.Step, Subtask: where.Subtask, Split: split, Since: o.Since}
	c.Text = fmt.Sprintf("step %q, subtask %d has watermark %s, near 1970: %s gives timestamps in seconds where milliseconds are expected", step, t.Subtask,
		o.Watermark, name(where, split))
	c.Remedy = "make the times by time.Unix(seconds, 0), or time.UnixMilli, in Watermarks.Timestamp or in the source"
	return c
}

func name(p Place, split string) string {
	if split == "" {
		return p.String()
	}
	return fmt.Sprintf("source %q, subtask %d, split %q", p.Step, p.Subtask, split)
}

// late is the cause when most records of the step come too late.
func (f *finder) late(t *Task, step string) *Cause {
	o := t.operator(step)
	if o == nil || o.Late == 0 || 2*o.Late < t.Records {
		return nil
	}
	now := Watermark(f.s.At.UnixMilli())
	c := &Cause{Kind: AllLate, Step: step, Subtask: t.Subtask, Since: o.Since}
	c.Text = fmt.Sprintf("%d of %d records of step %q, subtask %d came too late: they are behind its watermark %s", o.Late, t.Records, step, t.Subtask, o.Watermark)
	c.Remedy = "expect more disorder (Watermarks.OutOfOrderness), allow lateness, or take them from the side output for late records"
	if o.Watermark != EndOfInput && o.Watermark > now && o.Watermark-now > aheadMS {
		where, split := f.origin(t, step, func(s Split) bool { return s.Watermark >= o.Watermark && s.Watermark != math.MaxInt64 })
		c.Kind, c.Step, c.Subtask, c.Split = FarAhead, where.Step, where.Subtask, split
		c.Text += fmt.Sprintf(", which a record of %s stamped in the future has set", name(where, split))
		c.Remedy = "let a record with a time far ahead be refused where timestamps are made, and start again from a savepoint taken before it"
	}
	return c
}

// origin is the source, and of its splits the one for which is holds, from which the watermark of a step comes; the step itself if none is found.
func (f *finder) origin(t *Task, step string, is func(Split) bool) (Place, string) {
	seen := map[Place]bool{}
	var search func(t *Task) (Place, string, bool)
	search = func(t *Task) (Place, string, bool) {
		if t == nil || seen[t.Place] {
			return Place{}, "", false
		}
		seen[t.Place] = true
		for _, s := range t.Splits {
			if is(s) {
				return t.Place, s.ID, true
			}
		}
		for _, ch := range t.Channels {
			if p, s, ok := search(f.sender(ch)); ok {
				return p, s, true
			}
		}
		return Place{}, "", false
	}
	if p, s, ok := search(t); ok {
		return p, s
	}
	return Place{step, t.Subtask}, ""
}
