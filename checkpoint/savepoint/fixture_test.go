package savepoint_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// fixture is a savepoint as the first release that has portable ones writes it. Every later release must read it: it is never written again. A release
// that changes the format adds one of its own, by -write-fixture and its name.
const fixture = "v1"

var writeFixture = flag.String("write-fixture", "", "write a savepoint of this release into testdata under the name")

// fixtureAccounts are what the fixture holds. They are drawn by math/rand/v2's PCG, whose numbers Go promises not to change.
func fixtureAccounts() map[string]*account { return drawAccounts(rand.New(rand.NewPCG(2026, 11)), 40) }

func TestWriteFixture(t *testing.T) {
	if *writeFixture == "" {
		t.Skip("writes nothing without -write-fixture")
	}
	b := native(t, fixtureAccounts()).Edit()
	declareHistory(t, b)
	write(t, b, checkpoint.Under(checkpoint.Dir("testdata"), *writeFixture), savepoint.Options{})
}

// declareHistory adds the operator "history" with a list whose elements were written with two schemas in turn: 0, 1, 2, … for each of 20 keys.
func declareHistory(t *testing.T, b *savepoint.Builder) {
	t.Helper()
	d, err := savepoint.NewState("history", state.KindList, "", savepoint.Codecs[string, int64]{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Schemas = []string{`"int"`, `"long"`}
	b.Declare("history", d)
	for k := range 20 {
		key := fmt.Sprint("key ", k)
		e := savepoint.Entry{Entry: state.Entry{Hash: hashOf(key)}}
		if e.Key, err = serde.MustFor[string]().Append(nil, key); err != nil {
			t.Fatal(err)
		}
		for i := range k {
			e.Sub, e.Value, e.Schema = binary.BigEndian.AppendUint64(nil, uint64(3*i)), binary.AppendVarint(nil, int64(i)), d.Schemas[i%2]
			b.Set("history", "history", e)
		}
	}
}

// checkHistory reads what declareHistory has made, by types and by a restore.
func checkHistory(t *testing.T, s *savepoint.Savepoint) {
	t.Helper()
	d, err := s.Descriptor("history", "history")
	if err != nil || len(d.Schemas) != 2 {
		t.Fatalf("%+v, %v", d, err)
	}
	next := map[string]int64{}
	err = savepoint.Values(t.Context(), s, "history", "history", savepoint.Codecs[string, int64]{}, func(r savepoint.Row[string, int64]) error {
		if r.Value != next[r.Key] {
			t.Errorf("%s: element %d comes for %d", r.Key, r.Value, next[r.Key])
		}
		next[r.Key]++
		return nil
	})
	if err != nil || len(next) != 19 || next["key 19"] != 19 {
		t.Errorf("read %v, %v", next, err)
	}
	m, files, err := checkpoint.Load(t.Context(), s.URI())
	if err != nil {
		t.Fatal(err)
	}
	op := m.Operators[slices.IndexFunc(m.Operators, func(o checkpoint.OperatorState) bool { return o.UID == "history" })]
	k := state.NewKeyed[string](nil, state.Config{MaxParallelism: 16})
	list := k.List[int64]("history")
	open(t, k, state.GroupRange{End: 16})
	if err := k.Restore(t.Context(), state.Restore{Files: files, Handles: op.Subtasks[0].Files, States: op.States, MaxParallelism: m.MaxParallelism}); err != nil {
		t.Fatal(err)
	}
	k.SetCurrent("key 5", hashOf("key 5"))
	if vs, err := list.Values(); err != nil || !slices.Equal(vs, []int64{0, 1, 2, 3, 4}) {
		t.Errorf("restored %v, %v, want 0 to 4 in order", vs, err)
	}
}

// TestSeveralSchemas: elements of one list that were written with two schemas keep their order, though they stand in two files.
func TestSeveralSchemas(t *testing.T) {
	b := savepoint.NewBuilder("job", 16)
	declareHistory(t, b)
	s := write(t, b, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	if n := len(s.Manifest().Operators[0].Subtasks[0].Files); n != 2 {
		t.Errorf("%d files, want one for each schema", n)
	}
	checkHistory(t, s)
	checkHistory(t, write(t, s, checkpoint.Dir(t.TempDir()), savepoint.Options{}))
}

// TestFixture reads the savepoint of an earlier release and starts an operator from it: all kinds of state, timers, times to live, broadcast state, positions,
// committables and watermarks.
func TestFixture(t *testing.T) {
	dir := t.TempDir() // opening a storage makes a folder in it
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", fixture))); err != nil {
		t.Fatal(err)
	}
	v, err := savepoint.Verify(t.Context(), dir, nil)
	if err != nil || len(v.Faults) > 0 || v.Objects != 9 {
		t.Fatalf("%+v, %v", v, err)
	}
	s, err := savepoint.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Portable() || s.Manifest().Version > checkpoint.FormatVersion {
		t.Errorf("portable %v, version %d", s.Portable(), s.Manifest().Version)
	}
	rest := *s.Manifest()
	rest.Operators = slices.DeleteFunc(slices.Clone(rest.Operators), func(o checkpoint.OperatorState) bool { return o.UID == "history" })
	compareRest(t, &rest)
	restored(t, dir, fixtureAccounts(), 2, 16)
	restored(t, dir, fixtureAccounts(), 3, 50)
	checkHistory(t, s)
	want := dump(t, native(t, fixtureAccounts()))
	got := slices.DeleteFunc(dump(t, s), func(line string) bool { return strings.HasPrefix(line, "history ") })
	if !slices.Equal(got, want) {
		t.Errorf("the fixture holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
