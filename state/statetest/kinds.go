package statetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

func testKinds(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := start(t, declare(nil), newBackend(t), 0, 1)
	o.at("a")
	equal(t, "CurrentKey", o.CurrentKey(), "a")
	equal(t, "absent value", get[int64](t)(o.value.Get()), int64(0))
	if _, ok, err := o.value.Lookup(); ok || err != nil {
		t.Fatalf("Lookup of an absent value: %v, %v", ok, err)
	}
	must(t, o.value.Set(0)) // zero is a value, too
	if _, ok, _ := o.value.Lookup(); !ok {
		t.Fatal("a value set to zero is absent")
	}
	must(t, o.value.Set(5))
	must(t, o.list.Append("x", "y"))
	must(t, o.list.Append())
	must(t, o.list.Append("z"))
	equal(t, "list", get[[]string](t)(o.list.Values()), []string{"x", "y", "z"})
	equal(t, "list length", get[int](t)(o.list.Len()), 3)
	must(t, o.list.Set([]string{"w"}))
	must(t, o.list.Append("v"))
	equal(t, "list after Set", get[[]string](t)(o.list.Values()), []string{"w", "v"})
	must(t, o.list.Set(nil))
	equal(t, "list after an empty Set", get[int](t)(o.list.Len()), 0)
	must(t, o.table.Put("k", 1))
	must(t, o.table.Put("k", 2))
	must(t, o.table.Put("l", 3))
	must(t, o.table.Remove("absent"))
	equal(t, "map length", get[int](t)(o.table.Len()), 2)
	v, ok, err := o.table.Get("k")
	must(t, err)
	equal(t, "map entry", []any{v, ok}, []any{int64(2), true})
	must(t, o.table.Remove("k"))
	if _, ok, _ := o.table.Get("k"); ok {
		t.Fatal("a removed map entry is still there")
	}
	if _, ok, err := o.sum.Get(); ok || err != nil {
		t.Fatalf("an untouched reducing state has a value: %v, %v", ok, err)
	}
	must(t, o.sum.Add(3))
	must(t, o.sum.Add(4))
	x, _, err := o.sum.Get()
	must(t, err)
	equal(t, "sum", x, int64(7))
	must(t, o.mean.Add(1))
	must(t, o.mean.Add(2))
	f, _, err := o.mean.Get()
	must(t, err)
	equal(t, "mean", f, 1.5)
	equal(t, "contents", contents(t, o, []string{"a", "b"}), map[string]string{"a": "value=5 table=[l:3] sum=7 mean=1.5"})
}

func testManyKeys(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	hash := serde.HashOf(serde.MustFor[int64]())
	v := s.Value[int64]("v")
	l := s.List[int64]("l")
	m := s.Map[int64, int64]("m")
	open(t, s, newBackend(t))
	const keys, rounds = 5000, 3
	for r := range int64(rounds) {
		for k := range int64(keys) {
			s.SetCurrent(k, hash(k))
			n, err := v.Get()
			must(t, err)
			must(t, v.Set(n+k))
			if k%5 == 0 {
				must(t, l.Append(r, k))
				must(t, m.Put(r%2, r*k))
			}
		}
	}
	for k := range int64(keys) {
		s.SetCurrent(k, hash(k))
		if n := get[int64](t)(v.Get()); n != rounds*k {
			t.Fatalf("value of key %d is %d, want %d", k, n, rounds*k)
		}
		if k%5 != 0 {
			continue
		}
		equal(t, fmt.Sprintf("list of key %d", k), get[[]int64](t)(l.Values()), []int64{0, k, 1, k, 2, k})
		x, _, err := m.Get(0)
		must(t, err)
		equal(t, fmt.Sprintf("map entry of key %d", k), x, 2*k)
	}
}

func testClearAndReuse(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(200)
	o := start(t, declare(nil), newBackend(t), 0, 1)
	clearAll := func() {
		for _, k := range keys {
			o.at(k)
			for _, clear := range []func() error{o.value.Clear, o.text.Clear, o.ref.Clear, o.list.Clear, o.table.Clear, o.sum.Clear, o.mean.Clear} {
				must(t, clear())
			}
		}
	}
	clearAll() // nothing there yet
	fill(t, o, keys)
	want := contents(t, o, keys)
	clearAll()
	equal(t, "state after Clear", contents(t, o, keys), map[string]string{})
	fill(t, o, keys)
	equal(t, "state after Clear and the same writes again", contents(t, o, keys), want)
	var files Files
	snapshot(t, o, &files) // on a store: everything is written back
	clearAll()             // without a read before, but for what the cache still has
	equal(t, "state after a blind Clear", contents(t, o, keys), map[string]string{})
	drain(o)
	must(t, files.Entries(snapshot(t, o, &files), func(e state.Entry) error {
		return fmt.Errorf("the snapshot of an empty state has an entry of state %d", e.State)
	}))
}

func testMapOrderAndChange(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	m := s.Map[string, int]("m")
	open(t, s, newBackend(t))
	s.SetCurrent("k", 1<<40)
	// By encoding: the length comes first, so "b" is before "aa".
	for i, k := range []string{"c", "aa", "b", "", "aaa"} {
		must(t, m.Put(k, i))
	}
	visit := func(each func(string)) (order []string) {
		must(t, m.Range(func(k string, _ int) error {
			order = append(order, k)
			if each != nil {
				each(k)
			}
			return nil
		}))
		return order
	}
	equal(t, "order", visit(nil), []string{"", "b", "c", "aa", "aaa"})
	must(t, m.Remove("c"))
	must(t, m.Put("d", 9))
	must(t, m.Put("c", 10))
	equal(t, "order after changes", visit(nil), []string{"", "b", "c", "d", "aa", "aaa"})
	got := visit(func(k string) {
		if k == "b" {
			must(t, m.Remove("c"))
			must(t, m.Put("e", 1))
			must(t, m.Put("d", 77))
			equal(t, "order within Range", visit(nil), []string{"", "b", "d", "e", "aa", "aaa"})
		}
	})
	equal(t, "visited while changed", got, []string{"", "b", "d", "aa", "aaa"})
	equal(t, "order at the end", visit(nil), []string{"", "b", "d", "e", "aa", "aaa"})
	stop := errors.New("stop")
	n := 0
	if err := m.Range(func(string, int) error { n++; return stop }); err != stop || n != 1 {
		t.Fatalf("Range returns %v after %d calls, want the error of its function after one", err, n)
	}
	visit(func(k string) { must(t, m.Remove(k)) })
	equal(t, "length after all were removed", get[int](t)(m.Len()), 0)
}

func testListChangeWhileRange(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := start(t, declare(nil), newBackend(t), 0, 1)
	o.at("k")
	must(t, o.list.Append("a", "b", "c"))
	var seen []string
	must(t, o.list.Range(func(v string) error {
		seen = append(seen, v)
		must(t, o.list.Append(v+v))
		if v == "b" {
			must(t, o.list.Set([]string{"new"}))
		}
		return nil
	}))
	equal(t, "visited", seen, []string{"a", "b", "c"})
	equal(t, "list", get[[]string](t)(o.list.Values()), []string{"new", "cc"})
	values := get[[]string](t)(o.list.Values())
	values[0] = "changed by the caller"
	equal(t, "list", get[[]string](t)(o.list.Values()), []string{"new", "cc"})
	given := []string{"x"}
	must(t, o.list.Set(given))
	given[0] = "changed by the caller"
	equal(t, "list", get[[]string](t)(o.list.Values()), []string{"x"})
	stop := errors.New("stop")
	if err := o.list.Range(func(string) error { return stop }); err != stop {
		t.Fatalf("Range returns %v, want the error of its function", err)
	}
}

// testReferences changes a value through the reference that Get gave, between Get and Set, around snapshots.
func testReferences(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := start(t, declare(nil), newBackend(t), 0, 1)
	keys := names(100)
	var files Files
	images := map[int]state.Snapshot{}
	for round := range 4 {
		for _, k := range keys {
			o.at(k)
			v := get[[]string](t)(o.ref.Get())
			if len(v) == 0 {
				v = []string{""}
			}
			v[0] = fmt.Sprintf("%s round %d", k, round)
			must(t, o.ref.Set(v))
		}
		images[round] = get[state.Snapshot](t)(o.Snapshot())
	}
	for round, image := range images {
		handles := get[[]state.File](t)(Store(o, image, &files))
		back := start(t, declare(nil), newBackend(t), 0, 1)
		must(t, back.Restore(t.Context(), files.From(handles)))
		for _, k := range keys {
			equal(t, "value in the image", get[[]string](t)(back.at(k).ref.Get()), []string{fmt.Sprintf("%s round %d", k, round)})
		}
	}
}

func testTimers(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := start(t, declare(nil), newBackend(t), 0, 1)
	tm := o.timers
	next := func(d state.Domain) string {
		ts, ok := tm.Next(d)
		return fmt.Sprint(ts, ok)
	}
	pop := func(upTo int64) string {
		key, hash, ts, ok := tm.PopDue(state.EventTime, upTo)
		if !ok {
			return "none"
		}
		equal(t, "hash", hash, o.hash(key))
		return fmt.Sprint(ts, key)
	}
	equal(t, "Next of none", next(state.EventTime), "0 false")
	o.at("b")
	for _, ts := range []int64{100, 50, 100, -5, 1 << 62, -1 << 62} {
		tm.Register(state.EventTime, ts)
	}
	o.at("a")
	tm.Register(state.EventTime, 100)
	tm.Register(state.ProcessingTime, 7)
	equal(t, "Next", next(state.EventTime), fmt.Sprint(int64(-1<<62), true))
	equal(t, "Next", next(state.ProcessingTime), "7 true")
	equal(t, "pop", pop(-6), fmt.Sprint(int64(-1<<62), "b"))
	equal(t, "pop", pop(-6), "none")
	equal(t, "pop", pop(99), "-5b")
	o.at("b")
	tm.Delete(state.EventTime, 50)
	tm.Delete(state.EventTime, 51) // not there
	equal(t, "Next after Delete", next(state.EventTime), "100 true")
	equal(t, "pop", pop(99), "none")
	equal(t, "pop", pop(100), "100a") // by key
	tm.Register(state.EventTime, -50) // the past
	tm.Register(state.EventTime, 20)
	o.at("c")
	tm.Register(state.EventTime, -50)
	equal(t, "Next", next(state.EventTime), "-50 true")
	equal(t, "pop", pop(100), "-50b")
	equal(t, "pop", pop(100), "-50c")
	tm.Register(state.EventTime, -50) // again, after it fired
	tm.Register(state.EventTime, 100)
	tm.Delete(state.EventTime, 100)
	equal(t, "pop", pop(100), "-50c")
	equal(t, "pop", pop(100), "20b")
	equal(t, "pop", pop(100), "100b")
	equal(t, "pop", pop(100), "none")
	tm.Register(state.EventTime, 300)
	tm.Delete(state.EventTime, 300)
	tm.Register(state.EventTime, 300)
	tm.Register(state.EventTime, 400)
	tm.Delete(state.EventTime, 400)
	equal(t, "pop", pop(1000), "300c")
	equal(t, "pop", pop(1000), "none")
	equal(t, "Next", next(state.EventTime), fmt.Sprint(int64(1<<62), true))
}

// testTimersRestore checks that timers fire in the same order after a restore, however they were registered.
func testTimersRestore(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(50)
	a := start(t, declare(nil), newBackend(t), 0, 1)
	b := start(t, declare(nil), newBackend(t), 0, 1)
	for i := range 6000 {
		ts := int64(i * 7919 % 997 * 10)
		a.at(keys[i%len(keys)]).timers.Register(state.EventTime, ts)
		if i%3 == 0 {
			a.timers.Delete(state.EventTime, int64(i*31%997*10))
		}
	}
	// b gets the same set from a snapshot that was taken in the middle of firing.
	for range 500 {
		a.timers.PopDue(state.EventTime, 4000)
	}
	a.at(keys[0]).timers.Register(state.EventTime, 1)
	a.timers.Register(state.EventTime, 10_000)
	a.timers.Register(state.EventTime, 10_000)
	var files Files
	image := get[state.Snapshot](t)(a.Snapshot())
	want := drain(a)
	handles := get[[]state.File](t)(Store(a, image, &files))
	must(t, b.Restore(t.Context(), files.From(handles)))
	got := drain(b)
	equal(t, "number of timers", len(got), len(want))
	equal(t, "timers", got, want)
	if len(want) < 1000 {
		t.Fatalf("only %d timers, the test is void", len(want))
	}
}

// testBlindWrites writes and removes, without a read, what was written back and evicted long ago: the old value must not come back.
func testBlindWrites(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := start(t, declare(nil), newBackend(t), 0, 1)
	crowd := func() {
		for i := range 1500 {
			must(t, o.at(fmt.Sprint("crowd", i)).value.Set(1))
			must(t, o.table.Put("x", 1))
		}
	}
	o.at("k")
	must(t, o.value.Set(1))
	must(t, o.table.Put("old", 1))
	must(t, o.table.Put("kept", 1))
	must(t, o.list.Append("old"))
	crowd()
	o.at("k")
	must(t, o.value.Set(2))
	must(t, o.value.Clear())
	must(t, o.table.Put("old", 2))
	must(t, o.table.Remove("old"))
	must(t, o.list.Append("new"))
	crowd()
	equal(t, "state", contents(t, o, []string{"k"}), map[string]string{"k": "list=[old new] table=[kept:1]"})
}
