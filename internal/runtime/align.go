package runtime

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/watermark"
	"github.com/millrace-io/millrace/operators"
)

// aligner holds the splits of one source subtask back that are too far ahead of the least watermark of their group. It is used by the task's
// goroutine, once before each poll and once after it; the group is all that tasks share, and has no lock.
//
// Nothing is held back for ever: the least watermark of the group belongs to a split that is not held back, since it is not ahead; when that
// one is idle or finished it does not count. A task whose reader is not polled still takes its letters, so barriers, a stop and a drain pass.
type aligner struct {
	d      *sourceDriver
	spec   *operators.SplitAlignment
	member *watermark.Member
	// pauser is nil for a reader that can only be held as a whole.
	pauser connectors.SplitPauser
	splits []alignedSplit // those of the driver that are not finished, in no order
	stale  bool           // the driver has others
	paused int
	// told is what was last made visible to other goroutines.
	told atomic.Pointer[heldSplits]
}

type alignedSplit struct {
	id     string
	number int
	mark   int64
	counts bool
	paused bool
}

// heldSplits are the splits held back since a time; never changed.
type heldSplits struct {
	ids   []string
	since time.Time
}

// align has the splits of the source held back if an operator of its chain asks for it.
func (a *attempt) align(t *task) {
	for _, o := range t.ops {
		spec := o.hooks().Alignment
		if spec == nil || t.source == nil || t.source.align != nil {
			continue
		}
		g := a.groups[spec.Group]
		if g == nil {
			g = &watermark.Group{}
			a.groups[spec.Group] = g
		}
		t.source.align = &aligner{d: t.source, spec: spec, member: g.Join(t.box.signal)}
		if r, ok := t.source.reader.(interface{ pauser() connectors.SplitPauser }); ok {
			t.source.align.pauser = r.pauser()
		}
	}
}

// publish tells the group how far this subtask is.
func (a *aligner) publish() {
	if a.stale {
		a.renew()
	}
	own := operators.EndOfTime
	if len(a.splits) == 0 && !a.d.placed {
		own = operators.NoWatermark // or others would run away before the first splits of this source are found
	}
	for i := range a.splits {
		s := &a.splits[i]
		if s.mark, s.counts = a.spec.Mark(s.number); s.counts {
			own = min(own, s.mark)
		}
	}
	a.member.Publish(own)
}

// renew takes the driver's splits over.
func (a *aligner) renew() {
	a.stale = false
	was := a.splits
	a.splits, a.paused = nil, 0
	for id, number := range a.d.index {
		s := alignedSplit{id: id, number: number}
		if i := slices.IndexFunc(was, func(w alignedSplit) bool { return w.id == id }); i >= 0 && was[i].paused {
			s.paused = true
			a.paused++
		}
		a.splits = append(a.splits, s)
	}
}

// hold decides which splits are held back from now on, and reports whether none may be read.
func (a *aligner) hold() (bool, error) {
	for {
		a.publish()
		limit := watermark.Limit(a.member.Least(), a.spec.MaxDriftMS)
		if err := a.apply(limit); err != nil {
			return false, err
		}
		if a.paused == 0 {
			a.member.Go()
			return false, nil
		}
		until := operators.EndOfTime
		for i := range a.splits {
			if s := &a.splits[i]; s.paused {
				until = min(until, s.mark-a.spec.MaxDriftMS) // cannot wrap round: mark is above limit
			}
		}
		if a.member.Wait(until) {
			return a.paused == len(a.splits), nil
		}
	}
}

// apply holds back the splits that are beyond limit and lets the others go.
func (a *aligner) apply(limit int64) error {
	whole := a.pauser == nil && a.allBeyond(limit)
	var pause, resume []string
	for i := range a.splits {
		s := &a.splits[i]
		want := whole
		if a.pauser != nil {
			want = s.counts && s.mark > limit
		}
		if want == s.paused {
			continue
		}
		s.paused = want
		event := operators.SplitResumed
		if want {
			a.paused++
			pause, event = append(pause, s.id), operators.SplitPaused
		} else {
			a.paused--
			resume = append(resume, s.id)
		}
		if err := a.d.tell(s.number, event); err != nil {
			return err
		}
	}
	if len(pause)+len(resume) == 0 {
		return nil
	}
	a.tell()
	if a.pauser == nil {
		return nil
	}
	return a.pauser.PauseSplits(pause, resume)
}

// allBeyond reports whether every split that counts, and there is one, is beyond limit.
func (a *aligner) allBeyond(limit int64) bool {
	beyond := false
	for i := range a.splits {
		if s := &a.splits[i]; s.counts {
			if s.mark <= limit {
				return false
			}
			beyond = true
		}
	}
	return beyond
}

// tell makes what is held back visible.
func (a *aligner) tell() {
	held := &heldSplits{since: a.d.task.now()}
	if was := a.told.Load(); was != nil && len(was.ids) > 0 {
		held.since = was.since
	}
	for _, s := range a.splits {
		if s.paused {
			held.ids = append(held.ids, s.id)
		}
	}
	slices.Sort(held.ids)
	a.told.Store(held)
}

// end says that the subtask counts no more.
func (a *aligner) end() {
	a.member.Go()
	a.member.Publish(operators.EndOfTime)
	a.told.Store(&heldSplits{})
}

// Alignment is the state of watermark alignment of one source subtask.
type Alignment struct {
	// UID of the source, and which subtask of it.
	UID     string
	Subtask int
	// Group and MaxDrift as given.
	Group    string
	MaxDrift time.Duration
	// WatermarkMS is the least watermark of the subtask's splits that count, GroupMS that of the group, both Unix ms: NoWatermark if one of the
	// splits has shown none yet, EndOfTime if no split counts.
	WatermarkMS, GroupMS int64
	// Paused are the splits that are held back, sorted; Since is when the first of them was, the zero time if none is.
	Paused []string
	Since  time.Time
}

// DriftMS is how far the subtask is ahead of its group; 0 while none of its splits counts or the group has shown no watermark.
func (a Alignment) DriftMS() int64 {
	if a.WatermarkMS == operators.EndOfTime || a.GroupMS == operators.NoWatermark {
		return 0
	}
	return a.WatermarkMS - a.GroupMS
}

// alignment is the state of the task's alignment; ok is false if it has none. Any goroutine may ask.
func (t *task) alignment() (al Alignment, ok bool) {
	if t.source == nil || t.source.align == nil {
		return al, false
	}
	a := t.source.align
	al = Alignment{UID: t.source.op.node.UID, Subtask: t.subtask, Group: a.spec.Group, MaxDrift: time.Duration(a.spec.MaxDriftMS) * time.Millisecond,
		WatermarkMS: a.member.Mark(), GroupMS: a.member.Least()}
	if held := a.told.Load(); held != nil && len(held.ids) > 0 {
		al.Paused, al.Since = slices.Clone(held.ids), held.since
	}
	return al, true
}

// Alignments is the state of every source subtask of the running attempt that is aligned with others.
func (j *Job) Alignments() []Alignment {
	var out []Alignment
	for _, t := range j.tasks() {
		if a, ok := t.alignment(); ok {
			out = append(out, a)
		}
	}
	return out
}

// heldUp is the time for which the task has waited for room downstream.
func (t *task) heldUp() time.Duration {
	var n int64
	for _, o := range t.ops {
		for _, out := range o.outputs {
			n += out.BlockedNanos()
		}
	}
	return time.Duration(n)
}
