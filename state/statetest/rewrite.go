package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// job is one operator, with keys of K, in all its subtasks.
type job[K comparable] struct {
	codec       serde.Serde[K]
	parallelism int
	maxPar      int
	subtasks    []*jobSubtask[K]
}

type jobSubtask[K comparable] struct {
	*state.Keyed[K]
	count  *state.Value[int64]
	list   *state.List[string]
	parts  *state.Map[int32, string]
	timers *state.Timers[K]
}

// newJob opens all subtasks; declare may change each before it is opened.
func newJob[K comparable](t *testing.T, newBackend func(*testing.T) state.Backend, codec serde.Serde[K], parallelism, maxPar int, declare func(*state.Keyed[K])) *job[K] {
	t.Helper()
	j := &job[K]{codec: codec, parallelism: parallelism, maxPar: maxPar}
	for i := range parallelism {
		s := state.NewKeyed(codec, state.Config{MaxParallelism: maxPar})
		o := &jobSubtask[K]{Keyed: s, count: s.Value[int64]("count"), list: s.List[string]("list"),
			parts: s.Map[int32, string]("parts"), timers: s.Timers("timers")}
		if declare != nil {
			declare(s)
		}
		must(t, s.Open(newBackend(t), state.OpenOptions{UID: "job", Subtask: i, Groups: state.RangeOf(i, parallelism, maxPar), Attempt: attempt()}))
		t.Cleanup(func() { must(t, s.Close()) })
		j.subtasks = append(j.subtasks, o)
	}
	return j
}

// at is the subtask that owns key, which is made current.
func (j *job[K]) at(key K) *jobSubtask[K] {
	h := serde.HashOf(j.codec)(key)
	o := j.subtasks[state.SubtaskOf(state.GroupOf(h, j.maxPar), j.parallelism, j.maxPar)]
	o.SetCurrent(key, h)
	return o
}

// put gives key what belongs to the number n.
func (j *job[K]) put(t *testing.T, key K, n int64) {
	t.Helper()
	o := j.at(key)
	must(t, o.count.Set(n))
	must(t, o.list.Append(fmt.Sprint("a", n), fmt.Sprint("b", n)))
	must(t, o.parts.Put(int32(n), fmt.Sprint("p", n)))
	must(t, o.parts.Put(int32(n)+1, "q"))
	o.timers.Register(state.EventTime, n)
}

// dump is everything that key has, as text.
func (j *job[K]) dump(t *testing.T, key K) string {
	t.Helper()
	o := j.at(key)
	n := get[int64](t)(o.count.Get())
	s := fmt.Sprint(n, get[[]string](t)(o.list.Values()))
	must(t, o.parts.Range(func(k int32, v string) error {
		s += fmt.Sprint(" ", k, v)
		return nil
	}))
	return s
}

// dumpOf is what dump gives for a key with the number n.
func dumpOf(n int64) string {
	return fmt.Sprintf("%d [a%d b%d] %dp%d %dq", n, n, n, n, n, n+1)
}

// snapshot stores all subtasks.
func (j *job[K]) snapshot(t *testing.T, files *Files) (handles []state.File) {
	t.Helper()
	for _, o := range j.subtasks {
		handles = append(handles, snapshot(t, o, files)...)
	}
	return handles
}

// restore gives every subtask the files of all.
func (j *job[K]) restore(r state.Restore) error {
	var errs []error
	for _, o := range j.subtasks {
		errs = append(errs, o.Restore(context.Background(), r))
	}
	return errors.Join(errs...)
}

// check compares everything with want: the number of each key.
func (j *job[K]) check(t *testing.T, want map[K]int64) {
	t.Helper()
	for key, n := range want {
		if got := j.dump(t, key); got != dumpOf(n) {
			t.Fatalf("key %v has %s, want %s", key, got, dumpOf(n))
		}
	}
	var keys int
	due := map[K]int64{}
	for _, o := range j.subtasks {
		must(t, o.EachKey(o.count, func(K, uint64) error { keys++; return nil }))
		for {
			key, hash, at, ok := o.timers.PopDue(state.EventTime, 1<<60)
			if !ok {
				break
			}
			if hash != serde.HashOf(j.codec)(key) {
				t.Fatalf("timer of %v has hash %x", key, hash)
			}
			due[key] = at
		}
	}
	if keys != len(want) {
		t.Fatalf("%d keys have a count, want %d", keys, len(want))
	}
	equal(t, "timers", due, want)
}

// testMaxParallelism restores at another number of key groups, also another number of subtasks.
func testMaxParallelism(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	codec := serde.MustFor[string]()
	want := map[string]int64{}
	was := newJob(t, newBackend, codec, 3, 128, nil)
	for i, k := range names(200) {
		was.put(t, k, int64(10*i))
		want[k] = int64(10 * i)
	}
	var files Files
	handles := was.snapshot(t, &files)
	for _, to := range [][2]int{{2, 32}, {5, 1024}, {1, 1}} {
		is := newJob(t, newBackend, codec, to[0], to[1], nil)
		must(t, is.restore(files.of(128, handles)))
		is.check(t, want)
		again := newJob(t, newBackend, codec, 3, 128, nil)
		var back Files
		must(t, again.restore(back.of(to[1], is.snapshotAgain(t, want, &back))))
		again.check(t, want)
	}
	is := newJob(t, newBackend, codec, 1, 64, nil)
	if err := is.restore(files.From(handles)); err == nil || !strings.Contains(err.Error(), "another number of key groups") {
		t.Errorf("files of 128 key groups as if they had 64: %v", err)
	}
}

// snapshotAgain registers the timers that check has taken and stores everything.
func (j *job[K]) snapshotAgain(t *testing.T, want map[K]int64, files *Files) []state.File {
	t.Helper()
	for k, n := range want {
		j.at(k).timers.Register(state.EventTime, n)
	}
	return j.snapshot(t, files)
}

type pointV1 struct {
	_ struct{} `avro:"Point"`
	X int32    `avro:"x"`
	Y string   `avro:"y"`
}

type pointV2 struct {
	_    struct{} `avro:"Point"`
	Zone string   `avro:"zone,default=eu"`
	Name string   `avro:"name,alias=y"`
	X    int64    `avro:"x"`
}

// evolveKeys writes with keys of A and restores with keys of B, twice: over other parallelisms, and once more with the same program. become is
// the key of B that a key of A is.
func evolveKeys[A, B comparable](t *testing.T, newBackend func(*testing.T) state.Backend, was serde.Serde[A], is serde.Serde[B], keys []A, become func(A) B, declare func(*state.Keyed[B])) {
	t.Helper()
	old := newJob(t, newBackend, was, 3, 128, nil)
	want := map[B]int64{}
	for i, k := range keys {
		old.put(t, k, int64(10*i))
		want[become(k)] = int64(10 * i)
	}
	var files Files
	handles := old.snapshot(t, &files)
	now := newJob(t, newBackend, is, 2, 128, declare)
	must(t, now.restore(files.From(handles)))
	now.check(t, want)
	handles = now.snapshotAgain(t, want, &files)
	again := newJob(t, newBackend, is, 3, 128, nil) // without migrations: the keys are new ones
	must(t, again.restore(files.From(handles)))
	again.check(t, want)
}

// testKeys restores states whose operator key has another schema.
func testKeys(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	var ints []int32
	var points []pointV1
	var flat []uint16
	for i := range 150 {
		ints = append(ints, int32(i*i-40))
		points, flat = append(points, pointV1{X: int32(i), Y: fmt.Sprint(i % 7)}), append(flat, uint16(i))
	}
	t.Run("int to long", func(t *testing.T) {
		evolveKeys(t, newBackend, serde.MustFor[int32](), serde.MustFor[int64](), ints, func(k int32) int64 { return int64(k) }, nil)
	})
	t.Run("int to double", func(t *testing.T) {
		evolveKeys(t, newBackend, serde.MustFor[int32](), serde.MustFor[float64](), ints, func(k int32) float64 { return float64(k) }, nil)
	})
	t.Run("record", func(t *testing.T) {
		evolveKeys(t, newBackend, serde.MustFor[pointV1](), serde.MustFor[pointV2](), points,
			func(k pointV1) pointV2 { return pointV2{Zone: "eu", Name: k.Y, X: int64(k.X)} }, nil)
	})
	t.Run("enum", func(t *testing.T) {
		enum := func(symbols string) serde.Serde[string] {
			return get[serde.Serde[string]](t)(serde.Avro[string](serde.WithSchema(`{"type":"enum","name":"E","symbols":[` + symbols + `]}`)))
		}
		evolveKeys(t, newBackend, enum(`"A","B","C"`), enum(`"C","X","A","B"`), []string{"A", "B", "C"}, func(k string) string { return k }, nil)
	})
	t.Run("migration", func(t *testing.T) {
		evolveKeys(t, newBackend, serde.MustFor[uint16](), serde.MustFor[string](), flat, func(k uint16) string { return fmt.Sprint("n", k) },
			func(s *state.Keyed[string]) {
				s.MigrateKey(func(k uint16) (string, error) { return fmt.Sprint("n", k), nil })
			})
	})
	t.Run("migration in two steps", func(t *testing.T) {
		evolveKeys(t, newBackend, serde.MustFor[uint16](), serde.MustFor[string](), flat, func(k uint16) string { return fmt.Sprint("n", k) },
			func(s *state.Keyed[string]) {
				s.MigrateKey(func(k pointV1) (string, error) { return k.Y, nil })
				s.MigrateKey(func(k uint16) (pointV1, error) { return pointV1{Y: fmt.Sprint("n", k)}, nil })
			})
	})
}

// testKeysMeet checks that two keys that become one are an error that names both, in whichever subtasks they were.
func testKeysMeet(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	type short struct {
		_ struct{} `avro:"Point"`
		Y string   `avro:"y"`
	}
	old := newJob(t, newBackend, serde.MustFor[pointV1](), 4, 128, nil)
	for i := range 40 {
		old.put(t, pointV1{X: int32(i), Y: fmt.Sprint("y", i)}, int64(i))
	}
	var files Files
	fine := old.snapshot(t, &files)
	now := newJob(t, newBackend, serde.MustFor[short](), 2, 128, nil)
	must(t, now.restore(files.From(fine)))
	if got := now.dump(t, short{Y: "y7"}); got != dumpOf(7) {
		t.Fatalf("key that lost a field has %s", got)
	}
	old.put(t, pointV1{X: 77, Y: "y7"}, 77)
	handles := old.snapshot(t, &files)
	var met *state.KeyCollisionError
	err := newJob(t, newBackend, serde.MustFor[short](), 2, 128, nil).restore(files.From(handles))
	if !errors.As(err, &met) || met.Part != state.PartKey || met.Now != `{"y":"y7"}` {
		t.Fatalf("restore of two keys that become one: %v", err)
	}
	both := []string{met.First, met.Second}
	slices.Sort(both)
	equal(t, "the keys that meet", both, []string{`{"x":7,"y":"y7"}`, `{"x":77,"y":"y7"}`})
	if !strings.Contains(err.Error(), both[0]) || !strings.Contains(err.Error(), both[1]) {
		t.Errorf("%v does not name both keys", err)
	}
	// A migration may make two keys one as well, and which is no less wrong.
	text := newJob(t, newBackend, serde.MustFor[string](), 3, 128, func(s *state.Keyed[string]) {
		s.MigrateKey(func(k pointV1) (string, error) { return k.Y, nil })
	})
	if err := text.restore(files.From(handles)); !errors.As(err, &met) || met.Now != `"y7"` {
		t.Errorf("migration of two keys to one: %v", err)
	}
}

// testMapKeys restores map states whose map keys have another schema.
func testMapKeys(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	write := func(keys ...pointV1) (*Files, []state.File) {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		m := s.Map[pointV1, int64]("m")
		open(t, s, newBackend(t))
		for _, k := range []string{"one", "two"} {
			s.SetCurrent(k, serde.HashOf(serde.MustFor[string]())(k))
			for i, p := range keys {
				must(t, m.Put(p, int64(i)))
			}
		}
		files := &Files{}
		return files, snapshot(t, s, files)
	}
	files, handles := write(pointV1{X: 1, Y: "a"}, pointV1{X: 2, Y: "b"}, pointV1{X: 1, Y: "b"})
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	m := s.Map[pointV2, int64]("m")
	open(t, s, newBackend(t))
	must(t, s.Restore(context.Background(), files.From(handles)))
	for _, k := range []string{"one", "two"} {
		s.SetCurrent(k, serde.HashOf(serde.MustFor[string]())(k))
		got := map[pointV2]int64{}
		must(t, m.Range(func(k pointV2, v int64) error { got[k] = v; return nil }))
		equal(t, "map", got, map[pointV2]int64{{Zone: "eu", Name: "a", X: 1}: 0, {Zone: "eu", Name: "b", X: 2}: 1, {Zone: "eu", Name: "b", X: 1}: 2})
		if v, ok, err := m.Get(pointV2{Zone: "eu", Name: "b", X: 2}); v != 1 || !ok || err != nil {
			t.Errorf("entry by its new key: %d, %v, %v", v, ok, err)
		}
	}
	s = state.NewKeyed(serde.MustFor[string](), state.Config{})
	s.Map[string, int64]("m", state.MigrateMapKey(func(p pointV1) (string, error) { return p.Y, nil }))
	open(t, s, newBackend(t))
	var met *state.KeyCollisionError
	if err := s.Restore(context.Background(), files.From(handles)); !errors.As(err, &met) || met.Part != state.PartSub || met.Now != `"b"` ||
		!strings.Contains(err.Error(), `{"x":2,"y":"b"}`) || !strings.Contains(err.Error(), `{"x":1,"y":"b"}`) {
		t.Errorf("two map keys that become one: %v", err)
	}
	files, handles = write(pointV1{X: 1, Y: "a"}, pointV1{X: 2, Y: "b"})
	s = state.NewKeyed(serde.MustFor[string](), state.Config{})
	n := s.Map[string, int64]("m", state.MigrateMapKey(func(p pointV1) (string, error) { return p.Y, nil }))
	open(t, s, newBackend(t))
	must(t, s.Restore(context.Background(), files.From(handles)))
	s.SetCurrent("two", serde.HashOf(serde.MustFor[string]())("two"))
	if v, ok, err := n.Get("b"); v != 1 || !ok || err != nil {
		t.Errorf("entry by its migrated key: %d, %v, %v", v, ok, err)
	}
}
