package watermark

import (
	"math"
	"sync/atomic"
)

// Group holds back those of its members that are more than a given drift ahead of the least one. A member is one subtask of a source; it is
// used by its own goroutine, and the group by all of them, without lock: each publishes one number and reads those of the others. Members
// join before the first of them runs.
//
// Source: the idea of Flink's watermark alignment (SourceCoordinator); there a coordinator announces the least watermark at an interval, here a
// member that is held back is woken as soon as the least one is high enough.
type Group struct {
	members []*Member
	waiting atomic.Int32
}

// Member is one member of a Group.
type Member struct {
	group *Group
	wake  func()
	// mark is what it has published: EndOfTime while it does not count.
	mark atomic.Int64
	// until is the least watermark of the group for which it waits, EndOfTime − 1 at most; None while it does not wait.
	until atomic.Int64
	_     [64]byte // a member's numbers change often: they lie on a cache line of their own
}

// Join adds a member, which counts as being at the beginning of time until it publishes something else. wake is called, by the goroutine of whoever has published, when what the
// member waits for has come; it must not block.
func (g *Group) Join(wake func()) *Member {
	m := &Member{group: g, wake: wake}
	m.mark.Store(None)
	m.until.Store(None)
	g.members = append(g.members, m)
	return m
}

// Least is the least watermark of the members that count; EndOfTime if none does.
func (g *Group) Least() int64 {
	low := EndOfTime
	for _, m := range g.members {
		low = min(low, m.mark.Load())
	}
	return low
}

// Least is that of the group. Any goroutine may ask.
func (m *Member) Least() int64 { return m.group.Least() }

// Mark is what the member has published, EndOfTime if it does not count. Any goroutine may ask.
func (m *Member) Mark() int64 { return m.mark.Load() }

// Publish says how far the member is; EndOfTime: it does not count. Members that wait for it are woken, this one too.
func (m *Member) Publish(mark int64) {
	was := m.mark.Load()
	if mark == was {
		return
	}
	m.mark.Store(mark)
	if mark < was || m.group.waiting.Load() == 0 {
		return
	}
	least := m.group.Least()
	for _, o := range m.group.members {
		if u := o.until.Load(); u != None && least >= u {
			o.wake()
		}
	}
}

// Wait has the member woken when the least watermark of the group is least or higher. It returns false if it is so already; the member then
// does not wait. It replaces what the member waited for before.
func (m *Member) Wait(least int64) bool {
	if m.until.Swap(min(max(least, None+1), EndOfTime-1)) == None {
		m.group.waiting.Add(1)
	}
	// What is published from here on finds the member waiting.
	if m.group.Least() < least {
		return true
	}
	m.Go()
	return false
}

// Go says that the member waits no more.
func (m *Member) Go() {
	if m.until.Swap(None) != None {
		m.group.waiting.Add(-1)
	}
}

// Limit is how far a member of a group whose least watermark is least may be: least + drift, without wrapping round.
func Limit(least, driftMS int64) int64 {
	if least > math.MaxInt64-driftMS {
		return EndOfTime
	}
	return least + driftMS
}
