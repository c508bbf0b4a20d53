package state_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// TestDeclarationFaults checks that every fault is reported, all at once, and that Open refuses.
func TestDeclarationFaults(t *testing.T) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{MaxParallelism: 40000})
	s.Value[int64]("n")
	s.List[int64]("n")
	s.Value[chan int]("channel")
	s.Map[chan int, int64]("channel-key")
	s.Value[int64]("short", state.TTL(time.Microsecond))
	s.Value[int64]("read", state.TTLOnRead())
	s.Value[int64]("keyed", state.KeyCodec(serde.MustFor[string]()))
	s.Value[int64]("other-codec", state.Codec(serde.MustFor[string]()))
	s.Reducing[int64]("no-reduce", nil)
	s.Aggregating("no-add", state.Aggregate[int64, int64, int64]{})
	s.Value[int64]("")
	err := s.Err()
	for _, want := range []string{
		"40000", `"n" is declared twice`, `"channel"`, `key of map state "channel-key"`, `"short" has TTL 1µs`, `"read" has TTLOnRead without TTL`,
		`"keyed" has a KeyCodec`, `"other-codec"`, `"no-reduce" has no reduce function`, `"no-add" has no Aggregate.Add`, `"no-add" has no Aggregate.Result`,
		"has no name",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q:\n%v", want, err)
		}
	}
	if got := s.Open(memstate.New(), state.OpenOptions{}); got == nil {
		t.Error("Open of faulty declarations succeeds")
	}
}

// TestNilCodecs takes nil for "derive it".
func TestNilCodecs(t *testing.T) {
	s := state.NewKeyed[int64](nil, state.Config{})
	s.Map[string, bool]("m", state.Codec[bool](nil), state.KeyCodec[string](nil))
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	d := s.Descriptors()[0]
	if d.Key != `"long"` || d.Sub != `"string"` || d.Value != `"boolean"` || d.Kind != state.KindMap || d.Name != "m" {
		t.Errorf("descriptor %+v", d)
	}
	if err := state.NewKeyed[chan int](nil, state.Config{}).Err(); err == nil {
		t.Error("a key without codec is accepted")
	}
}

func TestOpenFaults(t *testing.T) {
	for _, g := range []state.GroupRange{{Start: -1, End: 3}, {Start: 5, End: 4}, {Start: 0, End: 129}} {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		if err := s.Open(memstate.New(), state.OpenOptions{UID: "op", Groups: g}); err == nil {
			t.Errorf("groups %v are accepted", g)
		}
	}
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	if _, err := s.Snapshot(); err == nil {
		t.Error("Snapshot before Open succeeds")
	}
	if err := s.Restore(t.Context(), state.Restore{Files: nil, Handles: nil}); err == nil {
		t.Error("Restore before Open succeeds")
	}
	open(t, s, memstate.New())
	if err := s.Open(memstate.New(), state.OpenOptions{}); err == nil {
		t.Error("a second Open succeeds")
	}
	s.Value[int64]("late")
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), `"late" is declared after Open`) {
		t.Errorf("a declaration after Open: %v", err)
	}
}

// TestForeignGroup is a broken exchange: it must not be taken for an empty state.
func TestForeignGroup(t *testing.T) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	if err := s.Open(memstate.New(), state.OpenOptions{Groups: state.GroupRange{Start: 64, End: 128}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "key group 2") || !strings.Contains(p, "[64,128)") {
			t.Errorf("panic %q, want one that names group and range", p)
		}
	}()
	s.SetCurrent("k", 0x0500000000000000)
	t.Error("a record of a foreign key group is accepted")
}

// TestNoAllocations checks the record path: reading and writing what is there allocates nothing.
func TestNoAllocations(t *testing.T) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	v := s.Value[int64]("v")
	d := s.Value[int64]("d", state.TTL(time.Hour))
	m := s.Map[int64, int64]("m")
	r := s.Reducing("r", func(a, b int64) int64 { return a + b })
	l := s.List[int64]("l")
	tm := s.Timers("t")
	open(t, s, memstate.New())
	keys := []string{"a", "b", "c"}
	var hash uint64
	round := func() {
		for _, k := range keys {
			hash += 1 << 57
			s.SetCurrent(k, hash)
			n, err := v.Get()
			check(t, err, v.Set(n+1), d.Set(n))
			_, err = d.Get()
			check(t, err, m.Put(n%2, n), r.Add(1))
			_, _, err = m.Get(1)
			check(t, err, l.Range(func(int64) error { return nil }))
			tm.Register(state.EventTime, 1000)
		}
	}
	for range 1000 {
		round()
	}
	hash = 0
	if n := testing.AllocsPerRun(100, round); n > 0 {
		t.Errorf("%v allocations in a round over present keys, want 0", n)
	}
}

// TestStateError tells errors of the state from those of the user's function.
func TestStateError(t *testing.T) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	m := s.Map[int64, int64]("m", state.KeyCodec[int64](refuser{}))
	open(t, s, memstate.New())
	s.SetCurrent("k", 0)
	check(t, m.Put(1, 1))
	err := m.Range(func(int64, int64) error { return nil })
	var e *state.Error
	if !errors.As(err, &e) || e.State != "m" || e.Kind != state.KindMap || !errors.Is(err, errRefused) {
		t.Errorf("error %v, want a state.Error of m with the codec's error within", err)
	}
}

var errRefused = errors.New("refused")

type refuser struct{}

func (refuser) Append(dst []byte, _ int64) ([]byte, error) { return dst, errRefused }
func (refuser) Decode([]byte, *int64) error                { return errRefused }
func (refuser) Schema() string                             { return "opaque:refuser" }
