package state

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	gomaps "maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/serde"
)

// mapStore is a Store that is as simple as can be: what tables it is given is in the test.
type mapStore struct {
	m       map[string]string
	cache   int64 // bytes of the budget
	failing bool
	ranges  int // range deletions so far
	points  int // and other changes
}

func (s *mapStore) Get(dst, key []byte) ([]byte, bool, error) {
	v, ok := s.m[string(key)]
	return append(dst, v...), ok, nil
}

func (s *mapStore) Scan(lo, hi []byte, fn func(key, value []byte) (bool, error)) error {
	if s.failing {
		return io.ErrUnexpectedEOF
	}
	for _, k := range slices.Sorted(gomaps.Keys(s.m)) {
		if k < string(lo) || hi != nil && k >= string(hi) {
			continue
		}
		if more, err := fn([]byte(k), []byte(s.m[k])); err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *mapStore) Apply(changes []Change) error {
	for _, c := range changes {
		switch c.Kind {
		case ChangeSet:
			s.m[string(c.Key)] = string(c.Value)
			s.points++
		case ChangeDelete:
			delete(s.m, string(c.Key))
			s.points++
		case ChangeDeleteRange:
			gomaps.DeleteFunc(s.m, func(k, _ string) bool { return k >= string(c.Key) && k < string(c.End) })
			s.ranges++
		}
	}
	return nil
}

// Add is a Change from a deltaRun, in a table: it must come in ascending order.
func (s *mapStore) Add(c Change) error { return s.Apply([]Change{c}) }

func (s *mapStore) NewTable() (Table, error) { return nil, io.ErrUnexpectedEOF }
func (s *mapStore) Attach(context.Context, Files, []File, []byte, []byte) error {
	return io.ErrUnexpectedEOF
}
func (s *mapStore) Base(context.Context, []byte, []byte, func(context.Context, GroupRange, func(io.Writer) error) (File, error)) ([]File, error) {
	return nil, io.ErrUnexpectedEOF
}
func (s *mapStore) Budget() *Budget { return NewBudget(s.cache) }
func (s *mapStore) Close() error    { return nil }

// mapBackend opens one mapStore.
type mapBackend struct{ s *mapStore }

func (b mapBackend) Name() string                    { return "map" }
func (b mapBackend) Validate() error                 { return nil }
func (b mapBackend) Open(OpenOptions) (Store, error) { return b.s, nil }

// tailTimer is a timer of the model.
type tailTimer struct {
	d   Domain
	ts  int64
	key string
}

// tailSubtask is timers above a mapStore, and what has been made of their checkpoints.
type tailSubtask struct {
	*Keyed[string]
	t      *Timers[string]
	store  *mapStore
	bases  []tailBase
	deltas [][]Change // by epoch
	// A base that is being made, and the epoch in which it was begun; swept says that the store may be listed.
	making, swept bool
	since         int
	epoch         int // the number of the current one
	draining      bool
	group         int // that is being drained
}

// tailBase is a base for the deltas from epoch since on. Since it was listed in epoch listed, no checkpoint before that may use it.
type tailBase struct {
	since   int
	listed  int
	content map[string]string
}

// tailCheckpoint is what a restore of one checkpoint reads of one subtask.
type tailCheckpoint struct {
	base   map[string]string
	deltas [][]Change
}

// tailRun is a random history.
type tailRun struct {
	t       *rapid.T
	groups  int
	thin    int // length of a log that is thinned, and fired timers of which the store hears
	hash    func(string) uint64
	codec   serde.Serde[string]
	ops     []*tailSubtask
	pending map[tailTimer]bool
	now     int64
	// frozen is what was pending at the last barrier, saved the checkpoint before, if it is complete.
	frozen    map[tailTimer]bool
	saved     map[tailTimer]bool
	savedFrom []tailCheckpoint
}

var tailKeys = []string{"", "a", "b", "ab", "a\x00", "\xff", "\xff\xff", "customer 1", "customer 2", "x", "y", "z", "zz", "zzz", "p", "q"}

func (r *tailRun) start(parallelism int) (ops []*tailSubtask) {
	for i := range parallelism {
		s := &tailSubtask{Keyed: NewKeyed(r.codec, Config{MaxParallelism: r.groups}), store: &mapStore{m: map[string]string{}}, bases: []tailBase{{}}}
		s.t = s.Timers("timers")
		if err := s.Open(mapBackend{s.store}, OpenOptions{UID: "op", Subtask: i, Groups: RangeOf(i, parallelism, r.groups)}); err != nil {
			r.t.Fatal(err)
		}
		s.t.tail.thin, s.t.tail.tellAt = r.thin, r.thin
		ops = append(ops, s)
	}
	return ops
}

func (r *tailRun) member(s *tailSubtask) *timerMember[string] { return (*timerMember[string])(s.t) }

func (r *tailRun) of(key string) *tailSubtask {
	h := r.hash(key)
	s := r.ops[SubtaskOf(GroupOf(h, r.groups), len(r.ops), r.groups)]
	s.SetCurrent(key, h)
	return s
}

func (r *tailRun) time() int64 {
	switch rapid.IntRange(0, 9).Draw(r.t, "how far") {
	case 0:
		return r.now - rapid.Int64Range(0, 20).Draw(r.t, "ago")
	case 1:
		return rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64, math.MaxInt64 - 1}).Draw(r.t, "extreme")
	case 2, 3:
		return r.now + 50 // many at one time
	default:
		return r.now + rapid.Int64Range(0, 100).Draw(r.t, "ahead")
	}
}

// register registers, and sometimes deletes, some timers.
func (r *tailRun) register() {
	for range rapid.IntRange(1, 60).Draw(r.t, "timers") {
		tm := tailTimer{Domain(rapid.IntRange(0, 3).Draw(r.t, "domain") / 3), r.time(), rapid.SampledFrom(tailKeys).Draw(r.t, "key")}
		s := r.of(tm.key)
		s.t.Register(tm.d, tm.ts)
		r.pending[tm] = true
	}
}

func (r *tailRun) remove() {
	all := slices.SortedFunc(gomaps.Keys(r.pending), r.compare)
	for range rapid.IntRange(1, 30).Draw(r.t, "deletions") {
		tm := tailTimer{EventTime, r.time(), rapid.SampledFrom(tailKeys).Draw(r.t, "key")}
		if len(all) > 0 && rapid.IntRange(0, 5).Draw(r.t, "any") > 0 {
			tm = rapid.SampledFrom(all).Draw(r.t, "timer")
		}
		r.of(tm.key).t.Delete(tm.d, tm.ts)
		delete(r.pending, tm)
		if rapid.IntRange(0, 3).Draw(r.t, "again") == 0 {
			r.of(tm.key).t.Register(tm.d, tm.ts)
			r.pending[tm] = true
		}
	}
}

func (r *tailRun) compare(a, b tailTimer) int {
	if c := cmp.Compare(a.d, b.d); c != 0 {
		return c
	}
	if c := cmp.Compare(a.ts, b.ts); c != 0 {
		return c
	}
	x, _ := r.codec.Append(nil, a.key)
	y, _ := r.codec.Append(nil, b.key)
	return bytes.Compare(x, y)
}

// fire pops at all subtasks what is due, or a part of it.
func (r *tailRun) fire() {
	d := Domain(rapid.IntRange(0, 1).Draw(r.t, "domain"))
	if rapid.IntRange(0, 10).Draw(r.t, "no progress") > 0 {
		r.now += rapid.Int64Range(0, 60).Draw(r.t, "progress")
	}
	upTo := r.now
	if rapid.IntRange(0, 30).Draw(r.t, "all") == 0 {
		upTo = math.MaxInt64
	}
	limit := rapid.IntRange(0, 100).Draw(r.t, "at most")
	for i := range r.ops {
		r.fireAt(r.ops, r.pending, i, d, upTo, limit)
	}
}

func (r *tailRun) fireAt(ops []*tailSubtask, pending map[tailTimer]bool, i int, d Domain, upTo int64, limit int) {
	var order []tailTimer
	for tm := range pending {
		if tm.d == d && SubtaskOf(GroupOf(r.hash(tm.key), r.groups), len(ops), r.groups) == i {
			order = append(order, tm)
		}
	}
	slices.SortFunc(order, r.compare)
	for n := range limit {
		ts, ok := ops[i].t.Next(d)
		if n >= len(order) && ok || n < len(order) && (!ok || ts != order[n].ts) {
			r.t.Fatalf("Next of subtask %d is %d %v, want the first of %v", i, ts, ok, order[min(n, len(order)):])
		}
		key, hash, ts, ok := ops[i].t.PopDue(d, upTo)
		due := n < len(order) && order[n].ts <= upTo
		if ok != due || ok && (tailTimer{d, ts, key} != order[n] || hash != r.hash(key)) {
			r.t.Fatalf("PopDue number %d of subtask %d up to %d is %q %d %v, want the first of %v", n, i, upTo, key, ts, ok, order[min(n, len(order)):])
		}
		if !ok {
			break
		}
		delete(pending, order[n])
	}
	if err := ops[i].t.Err(); err != nil {
		r.t.Fatal(err)
	}
}

// piece is an allowance for up to n entries.
func piece(n uint) *allowance {
	return &allowance{n: allowanceEntries - n, every: allowanceEntries, now: time.Now}
}

// background lets every subtask drain and sweep a little.
func (r *tailRun) background() {
	for _, s := range r.ops {
		if s.draining {
			r.drain(s, rapid.UintRange(1, allowanceEntries-1).Draw(r.t, "entries"))
		}
		if s.making && !s.swept {
			done, err := r.member(s).sweep(0, nil, piece(rapid.UintRange(1, allowanceEntries-1).Draw(r.t, "entries")))
			if err != nil {
				r.t.Fatal(err)
			}
			s.swept = done
		} else if s.making && rapid.Bool().Draw(r.t, "list the base") {
			s.bases, s.making = append(s.bases, tailBase{s.since, s.epoch, gomaps.Clone(s.store.m)}), false
		}
	}
	for _, s := range r.ops {
		if s.draining {
			return
		}
	}
	if r.frozen != nil { // the checkpoint is complete
		r.saved, r.frozen, r.savedFrom = r.frozen, nil, nil
		for _, s := range r.ops {
			i := len(s.bases) - 1
			for s.bases[i].listed >= s.epoch {
				i--
			}
			r.savedFrom = append(r.savedFrom, tailCheckpoint{s.bases[i].content, s.deltas[s.bases[i].since:]})
		}
	}
}

func (r *tailRun) drain(s *tailSubtask, entries uint) {
	for s.group < int(s.span) {
		done, err := r.member(s).drain(s.group, piece(entries))
		if err != nil {
			r.t.Fatal(err)
		}
		if !done {
			return
		}
		s.group++
	}
	table := &orderedChanges{t: r.t}
	for g := range int(s.span) {
		if run := s.take(s.parity^1, g); run != nil {
			if err := run.emit(table); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	s.deltas = append(s.deltas, table.changes)
	s.draining = false
	s.epochs.frozen = 0
}

// orderedChanges is a table, which must be given its changes in order.
type orderedChanges struct {
	t       *rapid.T
	changes []Change
}

func (o *orderedChanges) Add(c Change) error {
	if n := len(o.changes); n > 0 && bytes.Compare(o.changes[n-1].Key, c.Key) >= 0 {
		o.t.Fatalf("%x comes after %x", c.Key, o.changes[n-1].Key)
	}
	o.changes = append(o.changes, Change{c.Kind, bytes.Clone(c.Key), bytes.Clone(c.Value), bytes.Clone(c.End)})
	return nil
}

// apply makes the changes of a table: a range deletion touches none of the others.
func applyTable(m map[string]string, changes []Change) {
	for _, ranges := range []bool{true, false} {
		for _, c := range changes {
			if ranges == (c.Kind == ChangeDeleteRange) {
				_ = (&mapStore{m: m}).Apply([]Change{c})
			}
		}
	}
}

// barrier begins a new epoch at all subtasks, and now and then a base.
func (r *tailRun) barrier() {
	for _, s := range r.ops {
		for s.draining {
			r.drain(s, allowanceEntries-1)
		}
	}
	r.background()
	for _, s := range r.ops {
		s.epochs.flip()
		r.member(s).flip()
		s.draining, s.group = true, 0
		s.epoch++
		if !s.making && rapid.IntRange(0, 2).Draw(r.t, "new base") == 0 {
			s.making, s.swept, s.since = true, false, s.epoch
		}
	}
	r.frozen = gomaps.Clone(r.pending)
}

// restore starts from the last complete checkpoint with any parallelism.
func (r *tailRun) restore() {
	if r.saved == nil {
		return
	}
	ops := r.start(rapid.IntRange(1, 3).Draw(r.t, "parallelism"))
	for _, s := range ops {
		for _, c := range r.savedFrom {
			m := map[string]string{}
			gomaps.Copy(m, c.base)
			for _, d := range c.deltas {
				applyTable(m, d)
			}
			for k, v := range m {
				if s.groups.Contains(int(k[0])<<8 | int(k[1])) {
					s.store.m[k] = v
				}
			}
		}
		s.bases[0].content = gomaps.Clone(s.store.m)
		if err := r.member(s).attached(); err != nil {
			r.t.Fatal(err)
		}
	}
	if rapid.Bool().Draw(r.t, "only look") {
		pending := gomaps.Clone(r.saved)
		for i := range ops {
			r.fireAt(ops, pending, i, EventTime, math.MaxInt64, math.MaxInt)
			r.fireAt(ops, pending, i, ProcessingTime, math.MaxInt64, math.MaxInt)
		}
		return
	}
	r.ops, r.pending, r.saved, r.frozen = ops, gomaps.Clone(r.saved), nil, nil
}

// TestTimersAboveStore drives timers above a store, which may keep few of them in memory, and a plain set with the same random histories of
// registrations, deletions, firings, barriers, bases and restores with any parallelism.
func TestTimersAboveStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		codec := serde.MustFor[string]()
		r := &tailRun{t: t, codec: codec, hash: serde.HashOf(codec), pending: map[tailTimer]bool{}}
		r.groups = rapid.SampledFrom([]int{4, 16, 128}).Draw(t, "key groups")
		r.thin = rapid.SampledFrom([]int{4, 32, thinTimers}).Draw(t, "patience")
		r.ops = r.start(rapid.IntRange(1, 3).Draw(t, "parallelism"))
		steps := map[string]func(*rapid.T){}
		for name, step := range map[string]func(){"register": r.register, "register more": r.register, "remove": r.remove, "fire": r.fire,
			"background": r.background, "background more": r.background, "barrier": r.barrier, "restore": r.restore} {
			steps[name] = func(t *rapid.T) { r.t = t; step() }
		}
		t.Repeat(steps)
		for i := range r.ops {
			r.fireAt(r.ops, r.pending, i, EventTime, math.MaxInt64, math.MaxInt)
			r.fireAt(r.ops, r.pending, i, ProcessingTime, math.MaxInt64, math.MaxInt)
		}
	})
}

// BenchmarkTimersAboveStore is BenchmarkTimers above a store that is never needed, with and without the log of an epoch.
func BenchmarkTimersAboveStore(b *testing.B) {
	for _, epochs := range []bool{false, true} {
		b.Run(fmt.Sprintf("snapshots=%v", epochs), func(b *testing.B) {
			codec := serde.MustFor[int64]()
			hash := serde.HashOf(codec)
			s := NewKeyed(codec, Config{})
			timers := s.Timers("timers")
			o := OpenOptions{UID: "op", Groups: GroupRange{End: DefaultMaxParallelism}, NoSnapshots: !epochs}
			if err := s.Open(mapBackend{&mapStore{m: map[string]string{}, cache: 1 << 32}}, o); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var now int64
			x := uint64(1)
			for i := 0; b.Loop(); i++ {
				x = x*6364136223846793005 + 1442695040888963407
				k := int64(x>>33) % 100_000
				s.SetCurrent(k, hash(k))
				timers.Register(EventTime, now+int64(x>>20)%200_000)
				if i%10 == 9 {
					now += 20
					for {
						if _, _, _, ok := timers.PopDue(EventTime, now); !ok {
							break
						}
					}
				}
				if epochs && i%1_000_000 == 999_999 {
					s.epochs.flip()
					(*timerMember[int64])(timers).flip()
					for g := range DefaultMaxParallelism {
						if _, err := (*timerMember[int64])(timers).drain(g, nil); err != nil {
							b.Fatal(err)
						}
						s.take(s.parity^1, g)
					}
				}
			}
		})
	}
}
