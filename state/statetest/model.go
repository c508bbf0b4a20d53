package statetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// modelTTL is the time to live of the states in the model that have one.
const modelTTL = 100 * time.Millisecond

// stamped is a value that may expire.
type stamped struct {
	v       string
	expires int64
}

// modelKey is what the model holds for one key: plain Go values and nothing clever.
type modelKey struct {
	value   *int64
	ref     []string
	mortal  *stamped
	list    []string
	mortals []stamped
	table   map[string]int64
	fading  map[string]stamped // renewed on read
	sum     *int64
}

type modelTimer struct {
	domain state.Domain
	key    string
	ts     int64
}

// model is the whole state as plain Go values.
type model struct {
	keys   map[string]*modelKey
	timers map[modelTimer]bool
}

func newModel() *model { return &model{keys: map[string]*modelKey{}, timers: map[modelTimer]bool{}} }

func (m *model) at(key string) *modelKey {
	if m.keys[key] == nil {
		m.keys[key] = &modelKey{table: map[string]int64{}, fading: map[string]stamped{}}
	}
	return m.keys[key]
}

// clone is a deep copy; values behind pointers are never changed.
func (m *model) clone() *model {
	c := newModel()
	c.timers = maps.Clone(m.timers)
	for key, k := range m.keys {
		d := *k
		d.ref, d.list, d.mortals = slices.Clone(k.ref), slices.Clone(k.list), slices.Clone(k.mortals)
		d.table, d.fading = maps.Clone(k.table), maps.Clone(k.fading)
		c.keys[key] = &d
	}
	return c
}

// modelOperator has the states of the model.
type modelOperator struct {
	*state.Keyed[string]
	value   *state.Value[int64]
	ref     *state.Value[[]string]
	mortal  *state.Value[string]
	list    *state.List[string]
	mortals *state.List[string]
	table   *state.Map[string, int64]
	fading  *state.Map[string, string]
	sum     *state.Reducing[int64]
	timers  *state.Timers[string]
}

func newModelOperator(now func() time.Time) *modelOperator {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{Now: now})
	ttl := state.TTL(modelTTL)
	return &modelOperator{
		Keyed:   s,
		timers:  s.Timers("timers"),
		value:   s.Value[int64]("value"),
		ref:     s.Value[[]string]("ref"),
		mortal:  s.Value[string]("mortal", ttl),
		list:    s.List[string]("list"),
		mortals: s.List[string]("mortals", ttl),
		table:   s.Map[string, int64]("table"),
		fading:  s.Map[string, string]("fading", ttl, state.TTLOnRead()),
		sum:     s.Reducing("sum", func(a, b int64) int64 { return a + b }),
	}
}

// modelRun drives the operators of all subtasks and the model with the same operations.
type modelRun struct {
	t        *rapid.T
	backends []func() state.Backend
	hash     func(string) uint64
	codec    serde.Serde[string]
	clock    *clock
	m        *model
	ops      []*modelOperator
	images   []modelImage
	files    Files
}

// modelImage is a snapshot of all subtasks that has not been stored yet, with what must be in it.
type modelImage struct {
	ops   []*modelOperator
	parts []state.Snapshot
	m     *model
}

func testModel(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	rapid.Check(t, func(rt *rapid.T) {
		codec := serde.MustFor[string]()
		r := &modelRun{
			t: rt, codec: codec, hash: serde.HashOf(codec), clock: newClock(), m: newModel(),
			backends: []func() state.Backend{func() state.Backend { return newBackend(t) }, memstate.New},
		}
		defer r.close()
		r.ops = r.start(0, 1)
		rt.Repeat(map[string]func(*rapid.T){
			"value":   r.changeValue,
			"ref":     r.changeRef,
			"mortal":  r.changeMortal,
			"list":    r.changeList,
			"mortals": r.changeMortals,
			"table":   r.changeTable,
			"fading":  r.changeFading,
			"sum":     r.changeSum,
			"timer":   r.changeTimer,
			"pop":     r.popTimers,
			"clock": func(rt *rapid.T) {
				r.clock.advance(time.Duration(rapid.IntRange(1, 70).Draw(rt, "ms")) * time.Millisecond)
			},
			"bulk":     r.bulk,
			"snapshot": r.takeImage,
			"store":    r.storeImage,
			"check":    func(rt *rapid.T) { r.check(rt, r.ops, r.m, "state") },
		})
		r.check(rt, r.ops, r.m, "state at the end")
	})
}

func (r *modelRun) close() {
	r.drop()
	closeAll(r.t, r.ops)
}

// drop forgets the images that are not stored.
func (r *modelRun) drop() {
	for _, image := range r.images {
		for _, p := range image.parts {
			p.Release()
		}
	}
	r.images = nil
}

func closeAll(t *rapid.T, ops []*modelOperator) {
	for _, o := range ops {
		must(t, o.Close())
	}
}

// start opens operators on one of the backends.
func (r *modelRun) start(backend, parallelism int) (ops []*modelOperator) {
	b := r.backends[backend]()
	for i := range parallelism {
		o := newModelOperator(r.clock.Now)
		must(r.t, o.Open(b, state.OpenOptions{UID: "model", Subtask: i, Groups: state.RangeOf(i, parallelism, state.DefaultMaxParallelism), Attempt: attempt()}))
		ops = append(ops, o)
	}
	return ops
}

// of is the operator that owns key, with key current.
func (r *modelRun) of(ops []*modelOperator, key string) *modelOperator {
	h := r.hash(key)
	o := ops[state.SubtaskOf(state.GroupOf(h, state.DefaultMaxParallelism), len(ops), state.DefaultMaxParallelism)]
	o.SetCurrent(key, h)
	return o
}

var modelKeys = []string{"", "a", "a\x00", "a\x00\x01", "b", "ba", "\x00", "long long long long long long long key"}

func (r *modelRun) draw(t *rapid.T) (*modelOperator, *modelKey) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	return r.of(r.ops, key), r.m.at(key)
}

func (r *modelRun) now() int64     { return r.clock.now.UnixMilli() }
func (r *modelRun) expires() int64 { return r.now() + modelTTL.Milliseconds() }

func word(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "x", "yy", "zzz"}).Draw(t, "word")
}

func (r *modelRun) changeValue(t *rapid.T) {
	o, k := r.draw(t)
	switch rapid.IntRange(0, 2).Draw(t, "verb") {
	case 0:
		must(t, o.value.Clear())
		k.value = nil
	default:
		v, ok, err := o.value.Lookup()
		must(t, err)
		if ok != (k.value != nil) || ok && v != *k.value {
			t.Fatalf("value is %d %v, want %v", v, ok, k.value)
		}
		v++
		must(t, o.value.Set(v))
		k.value = &v
	}
}

func (r *modelRun) changeRef(t *rapid.T) {
	o, k := r.draw(t)
	v, err := o.ref.Get()
	must(t, err)
	if !slices.Equal(v, k.ref) {
		t.Fatalf("ref is %q, want %q", v, k.ref)
	}
	w := word(t)
	switch {
	case w == "":
		must(t, o.ref.Clear())
		k.ref = nil
	case len(v) > 2: // in place
		v[1] = w
		must(t, o.ref.Set(v))
		k.ref[1] = w
	default:
		must(t, o.ref.Set(append(v, w)))
		k.ref = append(k.ref, w)
	}
}

func (r *modelRun) changeMortal(t *rapid.T) {
	o, k := r.draw(t)
	w := word(t)
	if w == "" {
		must(t, o.mortal.Clear())
		k.mortal = nil
		return
	}
	must(t, o.mortal.Set(w))
	k.mortal = &stamped{w, r.expires()}
}

func (r *modelRun) changeList(t *rapid.T) {
	o, k := r.draw(t)
	ws := rapid.SliceOfN(rapid.SampledFrom([]string{"p", "q"}), 0, 4).Draw(t, "words")
	switch rapid.IntRange(0, 5).Draw(t, "verb") {
	case 0:
		must(t, o.list.Clear())
		k.list = nil
	case 1:
		must(t, o.list.Set(ws))
		k.list = slices.Clone(ws)
	default:
		must(t, o.list.Append(ws...))
		k.list = append(k.list, ws...)
	}
}

func (r *modelRun) changeMortals(t *rapid.T) {
	o, k := r.draw(t)
	w := word(t)
	switch rapid.IntRange(0, 5).Draw(t, "verb") {
	case 0:
		must(t, o.mortals.Clear())
		k.mortals = nil
	case 1:
		must(t, o.mortals.Set([]string{w, w}))
		k.mortals = []stamped{{w, r.expires()}, {w, r.expires()}}
	default:
		must(t, o.mortals.Append(w))
		k.mortals = append(k.mortals, stamped{w, r.expires()})
	}
}

func (r *modelRun) changeTable(t *rapid.T) {
	o, k := r.draw(t)
	w := word(t)
	switch rapid.IntRange(0, 7).Draw(t, "verb") {
	case 0:
		must(t, o.table.Clear())
		clear(k.table)
	case 1, 2:
		must(t, o.table.Remove(w))
		delete(k.table, w)
	case 3:
		v, ok, err := o.table.Get(w)
		must(t, err)
		if want, exists := k.table[w]; ok != exists || v != want {
			t.Fatalf("entry %q is %d %v, want %d %v", w, v, ok, want, exists)
		}
	default:
		v := rapid.Int64Range(0, 9).Draw(t, "v")
		must(t, o.table.Put(w, v))
		k.table[w] = v
	}
}

func (r *modelRun) changeFading(t *rapid.T) {
	o, k := r.draw(t)
	w := word(t)
	switch rapid.IntRange(0, 5).Draw(t, "verb") {
	case 0:
		must(t, o.fading.Remove(w))
		delete(k.fading, w)
	case 1, 2:
		v, ok, err := o.fading.Get(w)
		must(t, err)
		want, exists := k.fading[w]
		exists = exists && want.expires > r.now()
		if ok != exists || ok && v != want.v {
			t.Fatalf("entry %q is %q %v, want %q %v", w, v, ok, want.v, exists)
		}
		if exists {
			k.fading[w] = stamped{want.v, r.expires()}
		}
	default:
		must(t, o.fading.Put(w, w+w))
		k.fading[w] = stamped{w + w, r.expires()}
	}
}

func (r *modelRun) changeSum(t *rapid.T) {
	o, k := r.draw(t)
	n := rapid.Int64Range(-1, 5).Draw(t, "n")
	if n < 0 {
		must(t, o.sum.Clear())
		k.sum = nil
		return
	}
	must(t, o.sum.Add(n))
	if k.sum != nil {
		n += *k.sum
	}
	k.sum = &n
}

// bulk gives many other keys a value and takes it away again, which fills and empties a small cache.
func (r *modelRun) bulk(t *rapid.T) {
	for i := range 60 {
		o := r.of(r.ops, fmt.Sprint("bulk", i))
		must(t, o.value.Set(int64(i)))
		must(t, o.table.Put("x", 1))
		must(t, o.value.Clear())
		must(t, o.table.Clear())
	}
}

func (r *modelRun) changeTimer(t *rapid.T) {
	key := rapid.SampledFrom(modelKeys).Draw(t, "key")
	o := r.of(r.ops, key)
	d := rapid.SampledFrom([]state.Domain{state.EventTime, state.ProcessingTime}).Draw(t, "domain")
	ts := rapid.OneOf(rapid.Int64Range(-4, 40), rapid.Int64()).Draw(t, "ts")
	tm := modelTimer{d, key, ts}
	if rapid.IntRange(0, 3).Draw(t, "verb") == 0 {
		o.timers.Delete(d, ts)
		delete(r.m.timers, tm)
		return
	}
	o.timers.Register(d, ts)
	r.m.timers[tm] = true
}

// earliest is the timer of subtask i that must come first, or false.
func (r *modelRun) earliest(m *model, d state.Domain, i, parallelism int) (first modelTimer, ok bool) {
	var firstKey []byte
	owned := state.RangeOf(i, parallelism, state.DefaultMaxParallelism)
	for tm := range m.timers {
		if tm.domain != d || !owned.Contains(state.GroupOf(r.hash(tm.key), state.DefaultMaxParallelism)) {
			continue
		}
		key, err := r.codec.Append(nil, tm.key)
		must(r.t, err)
		if !ok || tm.ts < first.ts || tm.ts == first.ts && bytes.Compare(key, firstKey) < 0 {
			first, firstKey, ok = tm, key, true
		}
	}
	return first, ok
}

func (r *modelRun) popTimers(t *rapid.T) {
	d := rapid.SampledFrom([]state.Domain{state.EventTime, state.ProcessingTime}).Draw(t, "domain")
	upTo := rapid.Int64Range(-5, 41).Draw(t, "up to")
	n := rapid.IntRange(1, 6).Draw(t, "n")
	for i, o := range r.ops {
		for range n {
			r.popOne(t, r.m, o, d, upTo, i, len(r.ops))
		}
	}
}

func (r *modelRun) popOne(t *rapid.T, m *model, o *modelOperator, d state.Domain, upTo int64, i, parallelism int) bool {
	want, exists := r.earliest(m, d, i, parallelism)
	if ts, ok := o.timers.Next(d); ok != exists || ok && ts != want.ts {
		t.Fatalf("Next of subtask %d is %d %v, want %d %v", i, ts, ok, want.ts, exists)
	}
	due := exists && want.ts <= upTo
	key, hash, ts, ok := o.timers.PopDue(d, upTo)
	if ok != due || ok && (key != want.key || ts != want.ts || hash != r.hash(key)) {
		t.Fatalf("PopDue of subtask %d up to %d is %q %d %v, want %q %d %v", i, upTo, key, ts, ok, want.key, want.ts, due)
	}
	if ok {
		delete(m.timers, want)
	}
	return ok
}

func (r *modelRun) takeImage(t *rapid.T) {
	if len(r.images) == 3 {
		return
	}
	image := modelImage{ops: r.ops, m: r.m.clone()}
	for _, o := range r.ops {
		s, err := o.Snapshot()
		must(t, err)
		image.parts = append(image.parts, s)
	}
	r.images = append(r.images, image)
}

// storeImage stores one of the pending images, restores it with any parallelism on any backend, checks it, and goes on with it
// instead of the running operators in one case of two.
func (r *modelRun) storeImage(t *rapid.T) {
	if len(r.images) == 0 {
		return
	}
	i := rapid.IntRange(0, len(r.images)-1).Draw(t, "image")
	image := r.images[i]
	r.images = slices.Delete(r.images, i, i+1)
	var parts [][]state.File
	for i, p := range image.parts {
		h, err := Store(image.ops[i], p, &r.files)
		must(t, err)
		parts = append(parts, h)
	}
	if len(parts) > 1 {
		parts = rapid.Permutation(parts).Draw(t, "order of subtasks") // it means nothing
	}
	handles := slices.Concat(parts...)
	ops := r.start(rapid.IntRange(0, 1).Draw(t, "backend"), rapid.IntRange(1, 4).Draw(t, "parallelism"))
	for _, o := range ops {
		must(t, o.Restore(context.Background(), r.files.From(handles)))
	}
	// Some background work is left undone.
	for _, o := range r.ops {
		_, err := o.Background(time.Duration(rapid.IntRange(0, 30).Draw(t, "µs")) * time.Microsecond)
		must(t, err)
	}
	if rapid.Bool().Draw(t, "restart") {
		old := r.ops
		r.ops, r.m = ops, image.m
		r.drop()
		closeAll(t, old)
	} else {
		defer closeAll(t, ops)
	}
	r.check(t, ops, image.m, "restored state")
}

// check compares everything. It renews what is renewed on read.
func (r *modelRun) check(t *rapid.T, ops []*modelOperator, m *model, what string) {
	for key, k := range m.keys {
		o := r.of(ops, key)
		if got, want := r.observed(t, o), r.expected(k); got != want {
			t.Fatalf("%s of key %q is\n%s\nwant\n%s", what, key, got, want)
		}
		for w, v := range k.fading {
			if v.expires > r.now() {
				k.fading[w] = stamped{v.v, r.expires()}
			}
		}
	}
	for i, o := range ops {
		for _, d := range []state.Domain{state.EventTime, state.ProcessingTime} {
			want, exists := r.earliest(m, d, i, len(ops))
			if ts, ok := o.timers.Next(d); ok != exists || ok && ts != want.ts {
				t.Fatalf("%s: Next of subtask %d is %d %v, want %d %v", what, i, ts, ok, want.ts, exists)
			}
		}
	}
}

// expected is what observed must say.
func (r *modelRun) expected(k *modelKey) string {
	mortal := "none"
	if k.mortal != nil && k.mortal.expires > r.now() {
		mortal = k.mortal.v
	}
	var mortals []string
	for _, e := range k.mortals {
		if e.expires > r.now() {
			mortals = append(mortals, e.v)
		}
	}
	fading := map[string]string{}
	for w, e := range k.fading {
		if e.expires > r.now() {
			fading[w] = e.v
		}
	}
	return fmt.Sprintf("value %s ref %q mortal %s list %q mortals %q table %v fading %v sum %s",
		number64(k.value), k.ref, mortal, k.list, mortals, k.table, fading, number64(k.sum))
}

func number64(p *int64) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprint(*p)
}

// observed is what the current key of o holds, as text.
func (r *modelRun) observed(t *rapid.T, o *modelOperator) string {
	pointer := func(v int64, ok bool, err error) *int64 {
		must(t, err)
		if !ok {
			return nil
		}
		return &v
	}
	mortal := "none"
	if v, ok, err := o.mortal.Lookup(); ok || err != nil {
		must(t, err)
		mortal = v
	}
	ref, err := o.ref.Get()
	must(t, err)
	list, err := o.list.Values()
	must(t, err)
	mortals, err := o.mortals.Values()
	must(t, err)
	table, fading := map[string]int64{}, map[string]string{}
	must(t, o.table.Range(func(k string, v int64) error { table[k] = v; return nil }))
	must(t, o.fading.Range(func(k, v string) error { fading[k] = v; return nil }))
	n, err := o.table.Len()
	must(t, err)
	f, err := o.fading.Len()
	must(t, err)
	l, err := o.mortals.Len()
	must(t, err)
	if n != len(table) || f != len(fading) || l != len(mortals) {
		t.Fatalf("Len of table, fading and mortals is %d, %d and %d, want %d, %d and %d", n, f, l, len(table), len(fading), len(mortals))
	}
	return fmt.Sprintf("value %s ref %q mortal %s list %q mortals %q table %v fading %v sum %s",
		number64(pointer(o.value.Lookup())), ref, mortal, list, mortals, table, fading, number64(pointer(o.sum.Get())))
}
