package statetest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// ttlRules are the options of all states of one run of the time-to-live model.
type ttlRules struct {
	ttl                         int64 // ms
	event, onRead, shown, quiet bool  // quiet: no clean-up in the background
}

func (r ttlRules) options() []state.Option {
	opts := []state.Option{state.TTL(time.Duration(r.ttl) * time.Millisecond)}
	if r.event {
		opts[0] = state.EventTimeTTL(time.Duration(r.ttl) * time.Millisecond)
	}
	if r.onRead {
		opts = append(opts, state.TTLOnRead())
	}
	if r.shown {
		opts = append(opts, state.ReturnExpiredIfNotCleanedUp())
	}
	if r.quiet {
		opts = append(opts, state.DisableCleanupInBackground())
	}
	return opts
}

// ttlClock is the time of the model: the wall clock, the watermark and the timestamp of the current record, with math.MinInt64 for none.
type ttlClock struct {
	now                  int64
	timestamp, watermark int64
}

func (c *ttlClock) Now() time.Time            { return time.UnixMilli(c.now) }
func (c *ttlClock) eventTime() (int64, int64) { return c.timestamp, c.watermark }

// brief is an entry of the model; without a stamp it does not expire.
type brief struct {
	v       string
	expires *int64
}

// briefKey is what the model stores under one key: whatever was put and not removed yet, expired or not.
type briefKey struct {
	value, ref, sum, text *brief
	list                  []brief
	table                 map[string]brief
}

// ttlModel keeps everything as plain values and looks at each entry at each access.
type ttlModel struct {
	rules ttlRules
	clock *ttlClock
	keys  map[string]*briefKey
}

func (m *ttlModel) at(key string) *briefKey {
	if m.keys[key] == nil {
		m.keys[key] = &briefKey{table: map[string]brief{}}
	}
	return m.keys[key]
}

func (m *ttlModel) expired(b *brief) bool {
	if b.expires == nil {
		return false
	}
	if m.rules.event {
		return m.clock.watermark != math.MinInt64 && *b.expires <= m.clock.watermark
	}
	return *b.expires <= m.clock.now
}

// touched is b with a new stamp. Event time never takes life away.
func (m *ttlModel) touched(b brief) brief {
	at := m.clock.now
	if m.rules.event {
		at = m.clock.timestamp
		if at == math.MinInt64 {
			at = m.clock.watermark
		}
		if at == math.MinInt64 {
			return b
		}
		if b.expires != nil && *b.expires >= at+m.rules.ttl {
			return b
		}
	}
	b.expires = new(at + m.rules.ttl)
	return b
}

// get reads a single value and returns what is left of it.
func (m *ttlModel) get(b *brief) (answer string, left *brief) {
	switch {
	case b == nil:
		return "none", nil
	case m.expired(b) && m.rules.shown:
		return b.v, nil
	case m.expired(b):
		return "none", nil
	case m.rules.onRead:
		return b.v, new(m.touched(*b))
	}
	return b.v, b
}

// set writes a single value.
func (m *ttlModel) set(b *brief, v string) *brief {
	if b == nil {
		return new(m.touched(brief{v: v}))
	}
	return new(m.touched(brief{v, b.expires}))
}

// add folds v into a value.
func (m *ttlModel) add(b *brief, first string, fold func(old string) string) *brief {
	if b == nil || m.expired(b) && !m.rules.shown {
		return new(m.touched(brief{v: first}))
	}
	if m.expired(b) {
		b = &brief{v: b.v}
	}
	return m.set(b, fold(b.v))
}

func (m *ttlModel) elements(k *briefKey) string {
	var seen, live []brief
	for _, b := range k.list {
		if !m.expired(&b) {
			live = append(live, b)
		}
		if !m.expired(&b) || m.rules.shown {
			seen = append(seen, b)
		}
	}
	if len(live) == 0 {
		k.list = nil
	} else if m.rules.onRead {
		k.list = nil
		for _, b := range live {
			k.list = append(k.list, m.touched(b))
		}
	}
	var vs []string
	for _, b := range seen {
		vs = append(vs, b.v)
	}
	return fmt.Sprintf("%q", vs)
}

func (m *ttlModel) entry(k *briefKey, name string) string {
	b, ok := k.table[name]
	if !ok {
		return "none"
	}
	answer, left := m.get(&b)
	if left == nil {
		delete(k.table, name)
	} else {
		k.table[name] = *left
	}
	return answer
}

func (m *ttlModel) entries(k *briefKey) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(k.table)) {
		if v := m.entry(k, name); v != "none" {
			all = append(all, name+"="+v)
		}
	}
	return fmt.Sprint(all)
}

// stampAll gives entries without a stamp the one that a restore gives them.
func (m *ttlModel) stampAll() {
	stamp := func(b brief) brief {
		if b.expires == nil {
			b = m.touched(b)
		}
		return b
	}
	for _, k := range m.keys {
		for _, b := range []*brief{k.value, k.ref, k.sum, k.text} {
			if b != nil {
				*b = stamp(*b)
			}
		}
		for i, b := range k.list {
			k.list[i] = stamp(b)
		}
		for name, b := range k.table {
			k.table[name] = stamp(b)
		}
	}
}

// ttlStates are the states under test.
type ttlStates struct {
	*state.Keyed[string]
	value *state.Value[string]
	ref   *state.Value[[]string]
	list  *state.List[string]
	table *state.Map[string, string]
	sum   *state.Reducing[string]
	text  *state.Aggregating[string, string]
}

func newTTLStates(r ttlRules, c *ttlClock) *ttlStates {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{Now: c.Now, EventTime: c.eventTime})
	opts := r.options()
	return &ttlStates{
		Keyed: s,
		value: s.Value[string]("value", opts...),
		ref:   s.Value[[]string]("ref", opts...),
		list:  s.List[string]("list", opts...),
		table: s.Map[string, string]("table", opts...),
		sum:   s.Reducing("sum", func(a, b string) string { return a + b }, opts...),
		text: s.Aggregating("text", state.Aggregate[string, string, string]{
			Create: func() string { return "<" },
			Add:    func(a, v string) string { return a + v },
			Result: func(a string) string { return a + ">" },
		}, opts...),
	}
}

// ttlRun drives the states of all subtasks and the model with the same commands.
type ttlRun struct {
	rules    ttlRules
	backends []func() state.Backend
	hash     func(string) uint64
	clock    *ttlClock
	m        *ttlModel
	ops      []*ttlStates
	files    Files
}

// ttlKeys are few, so that much happens to each of them.
var ttlKeys = []string{"", "a\x00"}

func testTTLModel(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	rapid.Check(t, func(rt *rapid.T) {
		rules := ttlRules{ttl: rapid.Int64Range(1, 60).Draw(rt, "ttl"), event: rapid.Bool().Draw(rt, "event time"), onRead: rapid.Bool().Draw(rt, "on read"),
			quiet: rapid.Bool().Draw(rt, "no clean-up")}
		// With clean-up nobody can say how long an expired entry shows.
		rules.shown = rules.quiet && rapid.IntRange(0, 3).Draw(rt, "return expired") > 0
		clock := &ttlClock{now: rapid.Int64Range(1, 1000).Draw(rt, "now"), timestamp: math.MinInt64, watermark: math.MinInt64}
		r := &ttlRun{rules: rules, clock: clock, hash: serde.HashOf(serde.MustFor[string]()),
			backends: []func() state.Backend{func() state.Backend { return newBackend(t) }, memstate.New},
			m:        &ttlModel{rules: rules, clock: clock, keys: map[string]*briefKey{}}}
		r.ops = r.start(rt, 0, 1)
		defer func() { closeTTL(rt, r.ops) }()
		rt.Repeat(map[string]func(*rapid.T){
			"value": r.changeValue, "ref": r.changeRef, "list": r.changeList, "table": r.changeTable, "sum": r.changeSum, "text": r.changeText,
			"list again": r.changeList, "table again": r.changeTable, "look": r.look,
			"time":    r.passTime,
			"crowd":   r.crowd,
			"restore": r.restore,
		})
		for _, key := range ttlKeys {
			r.readAll(rt, key)
		}
	})
}

func closeTTL(t *rapid.T, ops []*ttlStates) {
	for _, o := range ops {
		must(t, o.Close())
	}
}

func (r *ttlRun) start(t *rapid.T, backend, parallelism int) (ops []*ttlStates) {
	b := r.backends[backend]()
	for i := range parallelism {
		o := newTTLStates(r.rules, r.clock)
		must(t, o.Open(b, state.OpenOptions{UID: "ttl", Subtask: i, Groups: state.RangeOf(i, parallelism, state.DefaultMaxParallelism), Attempt: attempt()}))
		ops = append(ops, o)
	}
	return ops
}

func (r *ttlRun) of(key string) *ttlStates {
	h := r.hash(key)
	o := r.ops[state.SubtaskOf(state.GroupOf(h, state.DefaultMaxParallelism), len(r.ops), state.DefaultMaxParallelism)]
	o.SetCurrent(key, h)
	return o
}

func (r *ttlRun) draw(t *rapid.T) (*ttlStates, *briefKey) {
	key := rapid.SampledFrom(ttlKeys).Draw(t, "key")
	return r.of(key), r.m.at(key)
}

// same fails unless got, which a state answered, is want.
func same(t *rapid.T, what string, got string, ok bool, err error, want string) {
	t.Helper()
	must(t, err)
	if !ok {
		got = "none"
	}
	if got != want {
		t.Fatalf("%s is %s, want %s", what, got, want)
	}
}

// passTime moves the clocks. Timestamps are around the watermark, far from it, or absent; after a watermark the host cleans up.
func (r *ttlRun) passTime(t *rapid.T) {
	r.clock.now += rapid.Int64Range(0, 40).Draw(t, "ms")
	from := max(r.clock.watermark, -100)
	r.clock.timestamp = rapid.OneOf(rapid.Just(int64(math.MinInt64)), rapid.Int64Range(from-80, from+80), rapid.Int64Range(-1e6, 1e6)).Draw(t, "timestamp")
	if rapid.Bool().Draw(t, "watermark") {
		r.clock.watermark = from + rapid.Int64Range(0, 40).Draw(t, "forward")
		for _, o := range r.ops {
			must(t, o.CleanUp())
		}
	}
}

func (r *ttlRun) changeValue(t *rapid.T) {
	o, k := r.draw(t)
	switch rapid.IntRange(0, 4).Draw(t, "verb") {
	case 0:
		must(t, o.value.Clear())
		k.value = nil
	case 1, 2:
		r.readValue(t, o, k)
	default:
		w := word(t)
		must(t, o.value.Set(w))
		k.value = r.m.set(k.value, w)
	}
}

func (r *ttlRun) readValue(t *rapid.T, o *ttlStates, k *briefKey) {
	want, left := r.m.get(k.value)
	k.value = left
	got, ok, err := o.value.Lookup()
	same(t, "value", got, ok, err, want)
}

// changeRef changes the slice that it was given, between Lookup and Set.
func (r *ttlRun) changeRef(t *rapid.T) {
	o, k := r.draw(t)
	v := r.readRef(t, o, k)
	switch rapid.IntRange(0, 3).Draw(t, "verb") {
	case 0:
		must(t, o.ref.Clear())
		k.ref = nil
	case 1:
	default:
		if len(v) > 2 {
			v[0] = word(t)
		} else {
			v = append(v, word(t))
		}
		must(t, o.ref.Set(v))
		k.ref = r.m.set(k.ref, strings.Join(v, ","))
	}
}

func (r *ttlRun) readRef(t *rapid.T, o *ttlStates, k *briefKey) []string {
	want, left := r.m.get(k.ref)
	k.ref = left
	v, ok, err := o.ref.Lookup()
	same(t, "ref", strings.Join(v, ","), ok, err, want)
	return v
}

func (r *ttlRun) changeList(t *rapid.T) {
	o, k := r.draw(t)
	switch rapid.IntRange(0, 7).Draw(t, "verb") {
	case 0:
		must(t, o.list.Clear())
		k.list = nil
	case 1:
		must(t, o.list.Set([]string{"s", "t"}))
		k.list = []brief{r.m.touched(brief{v: "s"}), r.m.touched(brief{v: "t"})}
	case 2, 3:
		r.readList(t, o, k)
	default:
		w := word(t)
		must(t, o.list.Append(w))
		k.list = append(k.list, r.m.touched(brief{v: w}))
	}
}

func (r *ttlRun) readList(t *rapid.T, o *ttlStates, k *briefKey) {
	want := r.m.elements(k)
	vs, err := o.list.Values()
	same(t, "list", fmt.Sprintf("%q", vs), true, err, want)
}

func (r *ttlRun) changeTable(t *rapid.T) {
	o, k := r.draw(t)
	w := word(t)
	switch rapid.IntRange(0, 9).Draw(t, "verb") {
	case 0:
		must(t, o.table.Clear())
		clear(k.table)
	case 1:
		must(t, o.table.Remove(w))
		delete(k.table, w)
	case 2, 3:
		want := r.m.entry(k, w)
		got, ok, err := o.table.Get(w)
		same(t, "entry", got, ok, err, want)
	case 4:
		r.readTable(t, o, k)
	case 5:
		r.measureTable(t, o, k)
	default:
		v := word(t) + "!"
		must(t, o.table.Put(w, v))
		old := k.table[w]
		k.table[w] = r.m.touched(brief{v, old.expires})
	}
}

func (r *ttlRun) readTable(t *rapid.T, o *ttlStates, k *briefKey) {
	want := r.m.entries(k)
	var all []string
	err := o.table.Range(func(name, v string) error {
		all = append(all, name+"="+v)
		return nil
	})
	slices.Sort(all)
	same(t, "table", fmt.Sprint(all), true, err, want)
}

// measureTable compares Len, which counts what a reader sees, and IsEmpty, which looks at what is stored.
func (r *ttlRun) measureTable(t *rapid.T, o *ttlStates, k *briefKey) {
	if r.rules.quiet {
		empty, err := o.table.IsEmpty()
		same(t, "IsEmpty", fmt.Sprint(empty), true, err, fmt.Sprint(len(k.table) == 0))
	}
	if !r.rules.shown {
		maps.DeleteFunc(k.table, func(_ string, b brief) bool { return r.m.expired(&b) })
	}
	n, err := o.table.Len()
	same(t, "Len", fmt.Sprint(n), true, err, fmt.Sprint(len(k.table)))
}

func (r *ttlRun) changeSum(t *rapid.T) {
	o, k := r.draw(t)
	switch rapid.IntRange(0, 4).Draw(t, "verb") {
	case 0:
		must(t, o.sum.Clear())
		k.sum = nil
	case 1:
		want, left := r.m.get(k.sum)
		k.sum = left
		got, ok, err := o.sum.Get()
		same(t, "sum", got, ok, err, want)
	default:
		must(t, o.sum.Add("+"))
		k.sum = r.m.add(k.sum, "+", func(old string) string { return old + "+" })
	}
}

func (r *ttlRun) changeText(t *rapid.T) {
	o, k := r.draw(t)
	switch rapid.IntRange(0, 4).Draw(t, "verb") {
	case 0:
		must(t, o.text.Clear())
		k.text = nil
	case 1:
		want, left := r.m.get(k.text)
		if want != "none" {
			want += ">"
		}
		k.text = left
		got, ok, err := o.text.Get()
		same(t, "text", got, ok, err, want)
	default:
		must(t, o.text.Add("x"))
		k.text = r.m.add(k.text, "<x", func(old string) string { return old + "x" })
	}
}

// look reads everything twice: the first time may have removed what it returned.
func (r *ttlRun) look(t *rapid.T) {
	key := rapid.SampledFrom(ttlKeys).Draw(t, "key")
	r.readAll(t, key)
	r.readAll(t, key)
}

func (r *ttlRun) readAll(t *rapid.T, key string) {
	o, k := r.of(key), r.m.at(key)
	r.readValue(t, o, k)
	r.readRef(t, o, k)
	r.readList(t, o, k)
	r.readTable(t, o, k)
}

// crowd writes so many other keys that a small cache has room for nothing else.
func (r *ttlRun) crowd(t *rapid.T) {
	for i := range 60 {
		o := r.of(fmt.Sprint("crowd", i))
		must(t, o.value.Set("crowd"))
		must(t, o.table.Put("x", "crowd"))
		must(t, o.value.Clear())
		must(t, o.table.Clear())
	}
}

// restore goes on from a snapshot. In a state file nothing has expired unless nothing cleans up.
func (r *ttlRun) restore(t *rapid.T) {
	var handles []state.File
	for _, o := range r.ops {
		s, err := o.Snapshot()
		must(t, err)
		h, err := Store(o, s, &r.files)
		must(t, err)
		handles = append(handles, h...)
	}
	tables := false
	for _, h := range handles {
		if h.Kind != state.FileEntries {
			tables = true
			continue
		}
		err := r.files.Entries([]state.File{h}, func(e state.Entry) error {
			b := &brief{}
			switch {
			case e.ExpiresMS != 0 && r.rules.event:
				b.expires = new(e.ExpiresMS - 1<<54)
			case e.ExpiresMS != 0:
				b.expires = &e.ExpiresMS
			}
			if !r.rules.quiet && r.m.expired(b) {
				return fmt.Errorf("the snapshot holds an entry that expired at %d", e.ExpiresMS)
			}
			return nil
		})
		must(t, err)
	}
	closeTTL(t, r.ops)
	r.clock.timestamp = math.MinInt64 // there is no record
	backend := rapid.IntRange(0, 1).Draw(t, "backend")
	if !tables || backend == 1 { // else they are attached as they are
		r.m.stampAll()
	}
	r.ops = r.start(t, backend, rapid.IntRange(1, 3).Draw(t, "parallelism"))
	for _, o := range r.ops {
		must(t, o.Restore(context.Background(), r.files.From(handles)))
	}
}
