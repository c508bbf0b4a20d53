package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

func testSnapshotRestore(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(500)
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, keys)
	want := contents(t, o, keys)
	var files Files
	handles := snapshot(t, o, &files)
	back := start(t, declare(nil), newBackend(t), 0, 1)
	must(t, back.Restore(context.Background(), files.From(handles)))
	equal(t, "restored state", contents(t, back, keys), want)
	equal(t, "restored timers", drain(back), drain(o))
	if len(want) != len(keys) {
		t.Fatalf("%d keys have state, want %d", len(want), len(keys))
	}
}

func testRescale(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(600)
	one := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, one, keys)
	want := contents(t, one, keys)
	var files Files
	handles := snapshot(t, one, &files)
	wantTimers := drain(one)
	sort.Strings(wantTimers)
	for _, parallelism := range []int{3, 2} {
		var next []state.File
		got := map[string]string{}
		var timers []string
		for i := range parallelism {
			o := start(t, declare(nil), newBackend(t), i, parallelism)
			must(t, o.Restore(context.Background(), files.From(handles)))
			for k, v := range contents(t, o, owned(o, keys, i, parallelism)) {
				got[k] = v
			}
			next = append(next, snapshot(t, o, &files)...)
			timers = append(timers, drain(o)...)
		}
		sort.Strings(timers)
		equal(t, fmt.Sprintf("state at parallelism %d", parallelism), got, want)
		equal(t, fmt.Sprintf("timers at parallelism %d", parallelism), timers, wantTimers)
		handles = next
	}
}

// owned are the keys of one subtask.
func owned(o *operator, keys []string, subtask, parallelism int) (mine []string) {
	r := state.RangeOf(subtask, parallelism, state.DefaultMaxParallelism)
	for _, k := range keys {
		if r.Contains(state.GroupOf(o.hash(k), state.DefaultMaxParallelism)) {
			mine = append(mine, k)
		}
	}
	return mine
}

func testCrossBackend(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(300)
	var files Files
	source := start(t, declare(nil), memstate.New(), 0, 1)
	fill(t, source, keys)
	want := contents(t, source, keys)
	handles := snapshot(t, source, &files)
	here := start(t, declare(nil), newBackend(t), 0, 1)
	must(t, here.Restore(context.Background(), files.From(handles)))
	equal(t, "state from memory", contents(t, here, keys), want)
	// What is appended after the change of backend comes after what was there.
	must(t, here.at(keys[3]).list.Append("last"))
	handles = snapshot(t, here, &files)
	back := start(t, declare(nil), memstate.New(), 0, 1)
	must(t, back.Restore(context.Background(), files.From(handles)))
	list := get[[]string](t)(back.at(keys[3]).list.Values())
	equal(t, "list", list, []string{"e0", keys[3], "e1", keys[3], "e2", keys[3], "last"})
	must(t, back.at(keys[3]).list.Set(list[:len(list)-1]))
	equal(t, "state back in memory", contents(t, back, keys), want)
	equal(t, "timers back in memory", drain(back), drain(source))
}

func testUndeclared(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(20)
	var files Files
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, keys)
	handles := snapshot(t, o, &files)
	small := func() (*state.Keyed[string], *state.Value[int64]) {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		v := s.Value[int64]("value")
		open(t, s, newBackend(t))
		return s, v
	}
	s, _ := small()
	err := s.Restore(context.Background(), dropping(files.From(handles), []string{"text", "ref", "mean", "timers"}))
	var u *state.UndeclaredStateError
	if !errors.As(err, &u) {
		t.Fatalf("restore with undeclared states: %v, want an UndeclaredStateError", err)
	}
	equal(t, "undeclared states", u.Names, []string{"list", "sum", "table"})
	s, v := small()
	must(t, s.Restore(context.Background(), dropping(files.From(handles), []string{"text", "ref", "mean", "timers", "list", "sum", "table"})))
	s.SetCurrent(keys[7], o.hash(keys[7]))
	equal(t, "value", get[int64](t)(v.Get()), int64(7))
}

// testSnapshotIsAnImage writes to the state between the barrier and the end of the upload, in the middle of it too.
func testSnapshotIsAnImage(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(400)
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, keys)
	want := contents(t, o, keys)
	image := get[state.Snapshot](t)(o.Snapshot())
	wantTimers := drain(o) // after the barrier
	overwrite(t, o, keys[:100])
	var files Files
	busy := &between{Operator: o, do: func(i int) {
		if i += 100; i < len(keys) {
			overwrite(t, o, keys[i:i+1])
		}
	}}
	handles := get[[]state.File](t)(Store(busy, image, &files))
	overwrite(t, o, keys)
	back := start(t, declare(nil), newBackend(t), 0, 1)
	must(t, back.Restore(context.Background(), files.From(handles)))
	equal(t, "state in the image", contents(t, back, keys), want)
	equal(t, "timers in the image", drain(back), wantTimers)
}

// between is an operator that works between two pieces of background work.
type between struct {
	state.Operator
	do func(i int)
	n  int
}

func (b *between) Background(time.Duration) (bool, error) {
	more, err := b.Operator.Background(time.Microsecond)
	b.do(b.n)
	b.n++
	return more || b.n < 400, err
}

// overwrite changes everything that keys have.
func overwrite(t testing.TB, o *operator, keys []string) {
	t.Helper()
	for i, k := range keys {
		o.at(k)
		must(t, o.value.Set(-1))
		must(t, o.text.Clear())
		r, err := o.ref.Get()
		must(t, err)
		if len(r) > 0 {
			r[0] = "changed in place"
			must(t, o.ref.Set(r))
		}
		must(t, o.list.Append("later"))
		must(t, o.table.Range(func(mk string, _ int64) error { return o.table.Put(mk, -7) }))
		must(t, o.table.Put("later", 1))
		must(t, o.sum.Add(1000))
		if i%2 == 0 {
			must(t, o.mean.Clear())
		}
		o.timers.Register(state.EventTime, 123_456)
		must(t, o.at(k+" is new").value.Set(1))
	}
}

// testSnapshotsOverlap has several images open at once, with and without writes between their barriers, released in any order.
func testSnapshotsOverlap(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	keys := names(120)
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, keys)
	var files Files
	var images []state.Snapshot
	var wants []map[string]string
	take := func() {
		wants = append(wants, contents(t, o, keys))
		images = append(images, get[state.Snapshot](t)(o.Snapshot()))
	}
	take()
	// No write, and no read either, which would already count as one for values with references.
	images = append(images, get[state.Snapshot](t)(o.Snapshot()))
	wants = append(wants, wants[0])
	overwrite(t, o, keys[:40])
	take()
	overwrite(t, o, keys[20:60])
	take()
	for _, i := range []int{2, 0, 3, 1} {
		handles := get[[]state.File](t)(Store(o, images[i], &files))
		back := start(t, declare(nil), newBackend(t), 0, 1)
		must(t, back.Restore(context.Background(), files.From(handles)))
		equal(t, fmt.Sprintf("state in image %d", i), contents(t, back, keys), wants[i])
	}
	image := get[state.Snapshot](t)(o.Snapshot())
	image.Release() // never written
	overwrite(t, o, keys)
	image.Release() // twice does no harm
}

// testCloseBeforeRelease tears the operator down while a snapshot is being kept, as a failing job does.
func testCloseBeforeRelease(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	o := declare(nil)
	must(t, o.Open(newBackend(t), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt()}))
	fill(t, o, names(30))
	image := get[state.Snapshot](t)(o.Snapshot())
	must(t, o.Close())
	must(t, o.Close())
	var files Files
	// Either the image does not need what was closed, or Write says so; it never waits for what nobody does any more.
	w, err := image.Write(context.Background(), &files)
	if err == nil && len(w.Files) != 1 || err != nil && !strings.Contains(err.Error(), `operator "op"`) {
		t.Fatalf("Write after Close: %v, %v", w, err)
	}
	image.Release()
	if _, err := o.Snapshot(); err == nil {
		t.Fatal("Snapshot after Close succeeds")
	}
}

func testMismatches(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	var files Files
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, names(20))
	handles := snapshot(t, o, &files)
	others := []string{"text", "ref", "list", "table", "sum", "mean", "timers"}
	for _, c := range []struct {
		name string
		make func() state.Operator
		want []string // in the message
	}{
		{"kind", func() state.Operator {
			s := state.NewKeyed(serde.MustFor[string](), state.Config{})
			s.List[int64]("value")
			return s
		}, []string{`"value"`, "value state", "list state"}},
		{"key schema", func() state.Operator {
			s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
			s.Value[int64]("value")
			return s
		}, []string{`"value"`, "key schema", `"string"`, `"long"`}},
		{"value schema", func() state.Operator {
			s := state.NewKeyed(serde.MustFor[string](), state.Config{})
			s.Value[bool]("value")
			return s
		}, []string{`"value"`, `"long"`, `"boolean"`}},
		{"opaque value schema", func() state.Operator {
			s := state.NewKeyed(serde.MustFor[string](), state.Config{})
			s.Value[int64]("value", state.Codec[int64](opaque{}))
			return s
		}, []string{`"value"`, `"long"`, "opaque:mine"}},
		{"max parallelism", func() state.Operator {
			s := state.NewKeyed(serde.MustFor[string](), state.Config{MaxParallelism: 64})
			s.Value[int64]("value")
			return s
		}, []string{`"value"`, "key group", "another number of key groups"}},
	} {
		op := c.make()
		groups := state.GroupRange{End: 64}
		must(t, op.Open(newBackend(t), state.OpenOptions{UID: "op", Groups: groups, Attempt: attempt()}))
		err := op.Restore(context.Background(), dropping(files.From(handles), others))
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error is %v, want one with %q", c.name, err, w)
			}
		}
		must(t, op.Close())
	}
}

// opaque is a codec that is not Avro.
type opaque struct{}

func (opaque) Append(dst []byte, v int64) ([]byte, error) { return append(dst, byte(v)), nil }
func (opaque) Decode(src []byte, v *int64) error          { *v = int64(src[0]); return nil }
func (opaque) Schema() string                             { return "opaque:mine" }

type before struct {
	A int64 `avro:"a"`
}

type after struct {
	A int64  `avro:"a"`
	B string `avro:"b,default=none"`
}

// testEvolution restores values whose type has gained a field.
func testEvolution(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	named := serde.WithName("evolving")
	was, err := serde.Avro[before](named)
	must(t, err)
	var files Files
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	v := s.Value[before]("v", state.Codec(was))
	l := s.List[before]("l", state.Codec(was))
	open(t, s, newBackend(t))
	s.SetCurrent("k", 0)
	must(t, v.Set(before{1}))
	must(t, l.Append(before{2}, before{3}))
	handles := snapshot(t, s, &files)
	is, err := serde.Avro[after](named)
	must(t, err)
	s = state.NewKeyed(serde.MustFor[string](), state.Config{})
	w := s.Value[after]("v", state.Codec(is))
	x := s.List[after]("l", state.Codec(is))
	open(t, s, newBackend(t))
	must(t, s.Restore(context.Background(), files.From(handles)))
	s.SetCurrent("k", 0)
	equal(t, "value", get[after](t)(w.Get()), after{1, "none"})
	equal(t, "list", get[[]after](t)(x.Values()), []after{{2, "none"}, {3, "none"}})
}

// fussy is a codec that refuses negative numbers, both ways.
type fussy struct{}

func (fussy) Append(dst []byte, v int64) ([]byte, error) {
	if v < 0 {
		return dst, errors.New("fussy refuses")
	}
	return append(dst, byte(v)), nil
}

func (fussy) Decode(src []byte, v *int64) error {
	if len(src) != 1 || src[0] == 77 {
		return errors.New("fussy refuses")
	}
	*v = int64(src[0])
	return nil
}

func (fussy) Schema() string { return "opaque:fussy" }

// testCodecErrors checks that a codec's error fails the snapshot or the restore and names the state.
func testCodecErrors(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	var files Files
	makeOne := func() (*state.Keyed[string], *state.Value[int64]) {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		v := s.Value[int64]("fussy-state", state.Codec[int64](fussy{}))
		open(t, s, newBackend(t))
		s.SetCurrent("k", 0)
		return s, v
	}
	s, v := makeOne()
	must(t, v.Set(1)) // measured, then not
	err := v.Set(-1)
	if err == nil {
		var image state.Snapshot
		if image, err = s.Snapshot(); err == nil {
			_, err = Store(s, image, &files)
		}
	}
	if err == nil || !strings.Contains(err.Error(), `"fussy-state"`) || !strings.Contains(err.Error(), "fussy refuses") {
		t.Fatalf("the error of a snapshot whose codec refuses is %v", err)
	}
	s, v = makeOne()
	must(t, v.Set(77))
	handles := snapshot(t, s, &files)
	s, v = makeOne()
	err = s.Restore(context.Background(), files.From(handles))
	if err == nil { // a store decodes on the first access
		s.SetCurrent("k", 0)
		_, err = v.Get()
	}
	if err == nil || !strings.Contains(err.Error(), `"fussy-state"`) || !strings.Contains(err.Error(), "fussy refuses") {
		t.Fatalf("the error of a value whose codec refuses is %v", err)
	}
}

// testDamage flips every byte of a small snapshot, and cuts it at every length: each is an error that names the file.
func testDamage(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	var files Files
	o := start(t, declare(nil), newBackend(t), 0, 1)
	fill(t, o, names(3))
	handles := snapshot(t, o, &files)
	if handles[0].Kind != state.FileEntries {
		return // who stores tables checks what it reads
	}
	name := handles[0].Name
	good, _ := files.Bytes(name)
	check := func(what string, content []byte) {
		files.Replace(name, content)
		s := declare(nil)
		must(t, s.Open(memstate.New(), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt()}))
		err := s.Restore(context.Background(), files.From(handles))
		var c *state.CorruptError
		if !errors.As(err, &c) || c.File != name || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "offset") {
			t.Fatalf("%s: the error of Restore is %v, want a CorruptError that names %q", what, err, name)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("bit flipped in byte %d", i), bad)
	}
	for n := range good {
		check(fmt.Sprintf("cut to %d bytes", n), good[:n])
	}
	check("one byte too many", append(bytes.Clone(good), 0))
}
