package operators

import (
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// paned reports whether windows may share accumulators, as far as the windows are concerned: a pane knows neither triggers nor evictors, nor
// whether a window that it is part of has given its result.
func (s WindowSpec[T]) paned() bool {
	return s.aligned() && s.trigger() == nil && !s.Evictor.set() && s.latenessMS() == 0
}

// pane is the length of the longest slices of which all windows are made, ms.
func (w Windows) pane() int64 {
	a, b := w.Size.Milliseconds(), w.Slide.Milliseconds()
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// panes is a window aggregation in one subtask that keeps one accumulator for each key and pane. A pane that has records has one timer
// pending, at the last ms of the first window that holds it and has not fired; when that fires, the timer goes on to the next window.
type panes[K comparable, T, Acc, R, Out any] struct {
	agg    state.Aggregate[T, Acc, R]
	result func(K, Window, R) Out
	late   func(T) error
	domain state.Domain
	state  paneTable[Acc]

	// Windows that have fired may take records again: in processing time those of the very ms at which it fired, in event time after a
	// restore without watermark. Such a window must not show the panes that it shares with later windows again. fired is the end of the last window
	// that fired, while panes of it are left; again holds, by start, what came after that.
	fired  *state.Value[int64]
	again  paneMap[Acc]
	forgot bool

	pane, size, slide, offset, reach int64
}

// paneStage is WindowAggregate with panes.
func paneStage[K comparable, T, Acc, R, Out any](key func(T) K, codec serde.Serde[K], s WindowSpec[T], agg state.Aggregate[T, Acc, R], result func(K, Window, R) Out) Stage[T, Out] {
	return func(t *Task, emit func(Out) error) (func(T) error, error) {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if agg.Add == nil || agg.Result == nil {
			return nil, errNoAggregate
		}
		oneSubtask[K](t)
		w := s.Windows
		p := &panes[K, T, Acc, R, Out]{agg: agg, result: result, pane: w.pane(), reach: w.reach(),
			size: w.Size.Milliseconds(), slide: w.Slide.Milliseconds(), offset: w.Offset.Milliseconds()}
		t.UserFuncs(agg.Create, agg.Add, agg.Merge, agg.Result, result)
		p.late = counted(t, SideOutput(t, LateRecords[T]()))
		if s.eventTime() {
			t.NeedsWatermarks("windows of event time")
		} else {
			p.domain, p.forgot = state.ProcessingTime, true
		}
		push, err := Process(key, codec, func(b *Keyed[K, T, Out]) {
			p.state = newPaneTable[K, T, Acc, Out](b, "panes of "+w.describe(), max(p.size/p.pane, 1))
			if p.size > p.slide {
				p.fired = b.Value[int64]("last window of " + w.describe())
				p.again = paneMap[Acc]{b.Map[int64, Acc]("reopened windows of " + w.describe())}
			}
			b.onRecord = p.onRecord
			b.onEvent, b.onProc = p.onTimer, p.onTimer
		})(t, emit)
		if err != nil {
			return nil, err
		}
		watchForRestore(t, func() { p.forgot = true })
		return push, nil
	}
}

func (p *panes[K, T, Acc, R, Out]) onRecord(c *Ctx[K, Out], v T) error {
	at := c.TimestampMS()
	watermark := c.WatermarkMS()
	if p.domain == state.ProcessingTime {
		at, watermark = c.Now().UnixMilli(), NoWatermark
	} else if at == connectors.NoTimestamp {
		return errNoTimestamp()
	}
	if !inReach(at, p.reach) {
		return errTooFar(at)
	}
	last := floor(at, p.slide, p.offset)
	if at-last >= p.size { // between two windows
		if at <= watermark {
			return c.note(p.late(v))
		}
		return nil
	}
	first := last - (p.size-1-(at-last))/p.slide*p.slide // the first window that takes the record
	if first+p.size-1 <= watermark {
		if last+p.size-1 <= watermark {
			return c.note(p.late(v))
		}
		first = floor(watermark+1-p.size, p.slide, p.offset) + p.slide
	}
	if p.forgot && p.fired != nil {
		var err error
		if first, err = p.reopen(c, v, first, last); err != nil || first > last {
			return err
		}
	}
	return p.add(c, p.state, floor(at, p.pane, p.offset), first, v)
}

// add folds v into the accumulator of m at start. When that is the first, the window that begins at window must fire.
func (p *panes[K, T, Acc, R, Out]) add(c *Ctx[K, Out], m paneTable[Acc], start, window int64, v T) error {
	if err := m.load(); err != nil {
		return err
	}
	acc, ok, err := m.get(start)
	if err != nil {
		return err
	}
	if !ok {
		c.timers.Register(p.domain, window+p.size-1)
		if p.agg.Create != nil {
			acc = p.agg.Create()
		}
	}
	if err := m.put(start, p.agg.Add(acc, v)); err != nil {
		return err
	}
	return m.save()
}

// reopen adds v to the windows from first to last that have fired, and returns the first that has not.
func (p *panes[K, T, Acc, R, Out]) reopen(c *Ctx[K, Out], v T, first, last int64) (int64, error) {
	fired, ok, err := p.fired.Lookup()
	if err != nil || !ok {
		return first, err
	}
	for ; first <= last && first+p.size <= fired; first += p.slide {
		if err := p.add(c, p.again, first, first, v); err != nil {
			return 0, err
		}
	}
	return first, nil
}

// onTimer fires the window whose last ms is at.
func (p *panes[K, T, Acc, R, Out]) onTimer(c *Ctx[K, Out], at time.Time) error {
	win := Window{StartMS: at.UnixMilli() + 1 - p.size, EndMS: at.UnixMilli() + 1}
	if floor(win.StartMS, p.slide, p.offset) != win.StartMS {
		return nil // a timer of other windows, which this step had before and whose state was dropped
	}
	c.t.Context().TimestampMS = win.LastMS()
	if p.forgot && p.fired != nil {
		if fired, ok, err := p.fired.Lookup(); err != nil || ok && win.EndMS <= fired {
			return p.fireAgain(c, win, err)
		}
	}
	if err := p.state.load(); err != nil {
		return err
	}
	var sum Acc
	have, more := false, false
	for pane := win.StartMS; pane < win.EndMS; pane += p.pane {
		acc, ok, err := p.state.get(pane)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if pane >= win.StartMS+p.slide {
			more = true
		}
		if have {
			sum = p.agg.Merge(sum, acc)
		} else {
			sum, have = acc, true
		}
	}
	if have {
		if err := c.Emit(p.result(c.Key(), win, p.agg.Result(sum))); err != nil {
			return err
		}
	}
	return p.slideOn(c, win, more)
}

// slideOn drops the panes of win that no later window holds. more: there are others, which the next window fires.
func (p *panes[K, T, Acc, R, Out]) slideOn(c *Ctx[K, Out], win Window, more bool) error {
	for pane := win.StartMS; pane < min(win.StartMS+p.slide, win.EndMS); pane += p.pane {
		if err := p.state.remove(pane); err != nil {
			return err
		}
	}
	if err := p.state.save(); err != nil {
		return err
	}
	switch {
	case p.fired == nil:
		return nil
	case !more:
		return p.fired.Clear()
	}
	c.timers.Register(p.domain, win.LastMS()+p.slide)
	return p.fired.Set(win.EndMS)
}

// fireAgain fires a window that has fired before with what came since.
func (p *panes[K, T, Acc, R, Out]) fireAgain(c *Ctx[K, Out], win Window, err error) error {
	if err != nil {
		return err
	}
	acc, ok, err := p.again.get(win.StartMS)
	if err != nil || !ok {
		return err
	}
	if err := c.Emit(p.result(c.Key(), win, p.agg.Result(acc))); err != nil {
		return err
	}
	return p.again.remove(win.StartMS)
}
