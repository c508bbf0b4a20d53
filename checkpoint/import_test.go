package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

// foreign makes a storage with a savepoint: two subtasks with a table each of which they own a half, a delta inline, a state file and
// broadcast state. It gives the content by name.
func foreign(t *testing.T, st checkpoint.Storage) (m *checkpoint.Manifest, from state.Files, content map[string][]byte) {
	t.Helper()
	j := leading(t, st)
	files := j.Files(7)
	content = map[string][]byte{}
	write := func(kind state.FileKind, size, inline int) state.File {
		data := random(size)
		h := writeObject(t, files, data, inline)
		h.Kind = kind
		content[h.Name] = data
		return h
	}
	shared, big := write(state.FileBase, 200_000, 0), write(state.FileBase, 9<<20, 0)
	shared.Level, big.Level = 6, 5
	m = &checkpoint.Manifest{ID: 7, Epoch: j.Epoch(), MaxParallelism: 4, Operators: []checkpoint.OperatorState{{UID: "op", Parallelism: 2,
		Subtasks: []checkpoint.SubtaskState{{Groups: state.GroupRange{End: 2}, Pending: []string{big.Name}}, {Groups: state.GroupRange{Start: 2, End: 4}}}}}}
	for i := range m.Operators[0].Subtasks {
		s := &m.Operators[0].Subtasks[i]
		shared.Groups, shared.Lo, shared.Hi = s.Groups, []byte{0, byte(2 * i)}, []byte{0, byte(2*i + 2)}
		delta := write(state.FileDelta, 70_000+i, 0)
		s.Files = []state.File{shared, delta, write(state.FileDelta, 50, 1000), write(state.FileEntries, 300+i, 0)}
		s.Broadcast = []state.File{write(state.FileEntries, 40_000, 0)}
	}
	m.Operators[0].Subtasks[1].Files = append(m.Operators[0].Subtasks[1].Files, big)
	uri, err := j.Savepoint(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	name := uri[strings.LastIndex(uri, "/ckpt/")+1:]
	name, _, _ = strings.Cut(name, "?")
	m, from, err = checkpoint.LoadFrom(t.Context(), st, name)
	if err != nil {
		t.Fatal(err)
	}
	return m, from, content
}

// eachFile pairs the files of two manifests of one form.
func eachFile(t *testing.T, a, b *checkpoint.Manifest, do func(a, b state.File)) {
	t.Helper()
	for i, o := range a.Operators {
		for k, s := range o.Subtasks {
			s2 := b.Operators[i].Subtasks[k]
			if len(s.Files) != len(s2.Files) || len(s.Broadcast) != len(s2.Broadcast) {
				t.Fatalf("files differ: %+v and %+v", s, s2)
			}
			for n := range s.Files {
				do(s.Files[n], s2.Files[n])
			}
			for n := range s.Broadcast {
				do(s.Broadcast[n], s2.Broadcast[n])
			}
		}
	}
}

// checkImport compares the imported checkpoint with the one that it was made from.
func checkImport(t *testing.T, j *checkpoint.Journal, m, got *checkpoint.Manifest, files state.Files, content map[string][]byte) {
	t.Helper()
	own := j.Files(1)
	eachFile(t, m, got, func(old, now state.File) {
		table := old.Name != "" && old.Kind != state.FileEntries
		if data, err := readAll(t.Context(), files, now); err != nil || !bytes.Equal(data, content[old.Name]) && old.Name != "" {
			t.Errorf("read of %s, which was %s: %d bytes, %v", now.Name, old.Name, len(data), err)
		}
		if table {
			if data, err := readAll(t.Context(), own, now); err != nil || !bytes.Equal(data, content[old.Name]) {
				t.Errorf("%s, which was %s, is not in the own storage: %v", now.Name, old.Name, err)
			}
			if now.Name == old.Name {
				t.Errorf("table %s has kept its name", old.Name)
			}
			now.Name = old.Name
		}
		if !reflect.DeepEqual(now, old) {
			t.Errorf("handle was %+v and is %+v", old, now)
		}
	})
}

func TestImport(t *testing.T) {
	s3 := newFakeS3()
	dir := t.TempDir()
	for _, c := range []struct {
		name     string
		from, to checkpoint.Storage
	}{
		{"memory to memory", checkpointtest.NewMemory("from"), checkpointtest.NewMemory("to")},
		{"dir to dir", checkpoint.Dir(filepath.Join(dir, "from")), checkpoint.Dir(filepath.Join(dir, "to"))},
		{"memory to dir", checkpointtest.NewMemory("from2"), checkpoint.Dir(filepath.Join(dir, "to2"))},
		{"s3 to s3", s3.storage("a"), s3.storage("b")},
		{"s3 to another s3", newFakeS3().storage("a"), s3.storage("c")},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			m, from, content := foreign(t, c.from)
			j := leading(t, c.to)
			var calls []int64
			got, files, err := j.Import(ctx, m, from, func(done, total int64) {
				if total != 200_000+70_000+70_001+9<<20 {
					t.Errorf("%d bytes in all", total)
				}
				calls = append(calls, done)
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(calls) != 4 || calls[3] != 200_000+70_000+70_001+9<<20 {
				t.Errorf("progress was %v", calls)
			}
			checkImport(t, j, m, got, files, content)
			// The job goes on: the first checkpoint names what was imported, and nothing else of it stays.
			first := manifest(j.Epoch(), 8, got.Operators[0].Subtasks[1].Files[0], got.Operators[0].Subtasks[1].Files[1])
			if err := j.Complete(ctx, first); err != nil {
				t.Fatal(err)
			}
			if err := j.Prune(ctx, 1); err != nil {
				t.Fatal(err)
			}
			if err := checkpoint.Verify(ctx, c.to); err != nil {
				t.Error(err)
			}
			if err := checkpoint.Verify(ctx, c.from); err != nil {
				t.Error(err)
			}
			o, err := c.to.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if names, err := o.List(ctx, "data/"); err != nil || len(names) != 2 {
				t.Errorf("own objects are %v, %v, want the two that the checkpoint names", names, err)
			}
		})
	}
	if s3.copies != 4 { // those within one store: the other one finds nothing to copy, and they are read and written
		t.Errorf("the store has copied %d objects, want 4", s3.copies)
	}
	if names, err := os.ReadDir(filepath.Join(dir, "to", "tmp")); err != nil || len(names) != 0 {
		t.Errorf("temporary files %v, %v", names, err)
	}
}

// Files of the own storage, and checkpoints without tables, are not copied.
func TestImportOfNothing(t *testing.T) {
	st := checkpointtest.NewMemory("own")
	m, from, _ := foreign(t, st)
	j := leading(t, st)
	before := len(st.Names())
	if got, files, err := j.Import(t.Context(), m, from, nil); err != nil || got != m || files != from || len(st.Names()) != before {
		t.Errorf("import from the own storage: %v, %d objects more", err, len(st.Names())-before)
	}
	other := leading(t, checkpointtest.NewMemory("other"))
	m.Operators[0].Subtasks[0].Files = m.Operators[0].Subtasks[0].Files[2:]
	m.Operators[0].Subtasks[1].Files = m.Operators[0].Subtasks[1].Files[2:4]
	if got, files, err := other.Import(t.Context(), m, from, nil); err != nil || got != m || files != from {
		t.Errorf("import of no tables: %v", err)
	}
}

// A damaged or missing table ends the import with its name; the old storage and the old manifest stay as they were.
func TestImportOfDamage(t *testing.T) {
	for _, what := range []string{"flip", "loss"} {
		st := checkpointtest.NewMemory("from")
		m, from, _ := foreign(t, st)
		name := m.Operators[0].Subtasks[1].Files[1].Name
		st.Change(name, func(b []byte) []byte {
			if what == "loss" {
				return nil
			}
			b[100] ^= 1
			return b
		})
		to := checkpointtest.NewMemory("to")
		j := leading(t, to)
		_, _, err := j.Import(t.Context(), m, from, nil)
		if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), name) || m.Operators[0].Subtasks[1].Files[1].Name != name {
			t.Errorf("%s: %v, want a CorruptError of %s", what, err, name)
		}
		if err := j.Complete(t.Context(), manifest(j.Epoch(), 1)); err != nil {
			t.Fatal(err)
		}
		if err := j.Prune(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if names, err := to.List(t.Context(), "data/"); err != nil || len(names) != 0 {
			t.Errorf("%s: objects of the failed import are left over: %v, %v", what, names, err)
		}
	}
	// In directories the damage goes along, and is found where it is read: names tell the copy.
	dir := t.TempDir()
	m, from, _ := foreign(t, checkpoint.Dir(filepath.Join(dir, "from")))
	old := m.Operators[0].Subtasks[1].Files[1]
	if err := os.Truncate(filepath.Join(dir, "from", old.Name), 1000); err != nil {
		t.Fatal(err)
	}
	_, _, err := leading(t, checkpoint.Dir(filepath.Join(dir, "to"))).Import(t.Context(), m, from, nil)
	if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), old.Name) {
		t.Errorf("truncated: %v, want a CorruptError", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := leading(t, checkpointtest.NewMemory("x")).Import(ctx, m, from, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("import with a context that has ended: %v", err)
	}
}

// A table that has no checksums of chunks gets some.
func TestImportWithoutSums(t *testing.T) {
	st := checkpointtest.NewMemory("from")
	j := leading(t, st)
	content := random(100_000)
	h := writeObject(t, j.Files(1), content, 0)
	if err := st.Put(t.Context(), "data/1-1-PLAIN", bytes.NewReader(content), h.Size); err != nil {
		t.Fatal(err)
	}
	sums := h.Sums
	h.Name, h.Sums, h.Kind = "data/1-1-PLAIN", "", state.FileDelta
	m := manifest(1, 1, h)
	if err := j.Complete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, from, err := checkpoint.LoadFrom(t.Context(), st, "")
	if err != nil {
		t.Fatal(err)
	}
	to := leading(t, checkpointtest.NewMemory("to"))
	got, files, err := to.Import(t.Context(), m, from, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := got.Operators[0].Subtasks[0].Files[0]
	o, err := files.Open(t.Context(), f)
	if err != nil || f.Sums != sums || o.Local() {
		t.Fatalf("%+v, %v, want the checksums %s, by which parts of it are read", f, err, sums)
	}
	p := make([]byte, 1000)
	if err := o.ReadAt(t.Context(), p, 70_000); err != nil || !bytes.Equal(p, content[70_000:71_000]) {
		t.Error(err)
	}
}
