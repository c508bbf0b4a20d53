package checkpoint_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

func readFile(ctx context.Context, st checkpoint.Storage, f state.File) error {
	_, files, err := checkpoint.LoadFrom(ctx, st, "")
	if err != nil {
		return err
	}
	r, err := files.Read(ctx, f)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

func TestMissingHead(t *testing.T) {
	st := checkpointtest.NewMemory("missing")
	if err := (&life{st: st}).run(t, 2); err != nil {
		t.Fatal(err)
	}
	st.Change("HEAD", func([]byte) []byte { return nil })
	_, err := checkpoint.Lead(t.Context(), st, nil)
	if !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), "HEAD") {
		t.Fatalf("Lead of a storage that has lost HEAD: %v, want a CorruptError", err)
	}
}

// A manifest that HEAD names but that is the valid manifest of another checkpoint is not taken for the right one.
func TestSwappedManifests(t *testing.T) {
	st := checkpointtest.NewMemory("swapped")
	j, err := checkpoint.Lead(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(2) {
		if err := j.Complete(t.Context(), manifest(1, id+1)); err != nil {
			t.Fatal(err)
		}
	}
	list := j.Checkpoints()
	var old []byte
	st.Change(list[0].Name, func(b []byte) []byte {
		old = b
		return b
	})
	st.Change(list[1].Name, func([]byte) []byte { return old })
	if _, err := checkpoint.Lead(t.Context(), st, nil); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), list[1].Name) {
		t.Fatalf("Lead: %v, want a CorruptError that names %s", err, list[1].Name)
	}
}

// A file handle in a manifest never leads out of the storage.
func TestReadRefusesForeignNames(t *testing.T) {
	st := checkpointtest.NewMemory("names")
	j, err := checkpoint.Lead(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "HEAD", "../etc/passwd", "data/../HEAD", "data/x", "/data/1-1-a", "ckpt/1-1-A"} {
		if _, err := j.Files(1).Read(t.Context(), state.File{Name: name}); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("Read(%q): %v, want a CorruptError", name, err)
		}
	}
}

func TestCompleteRefuses(t *testing.T) {
	ctx := t.Context()
	st := checkpointtest.NewMemory("refuses")
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Complete(ctx, manifest(1, 4)); err != nil {
		t.Fatal(err)
	}
	bad := manifest(1, 5)
	bad.Operators[0].Subtasks[0].Groups.End = 3
	for what, m := range map[string]*checkpoint.Manifest{
		"id": manifest(1, 4), "older id": manifest(1, 3), "epoch": manifest(2, 5), "old epoch": manifest(0, 5), "groups": bad,
	} {
		if err := j.Complete(ctx, m); err == nil {
			t.Errorf("Complete with a wrong %s succeeded", what)
		}
	}
	// None of them broke the journal.
	if err := j.Complete(ctx, manifest(1, 5)); err != nil {
		t.Fatal(err)
	}
	if j.Latest().ID != 5 || j.NextID() != 6 {
		t.Fatalf("latest is %d, next %d", j.Latest().ID, j.NextID())
	}
}

// careless is a store that ignores conditions, as several S3 look-alikes do.
type careless struct {
	*checkpointtest.Memory
	put, create, match bool // which condition is ignored
}

func (c careless) Open(context.Context) (checkpoint.Objects, error) { return c, nil }

func (c careless) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if c.put {
		if err := c.Delete(ctx, name); err != nil {
			return err
		}
	}
	return c.Memory.Put(ctx, name, body, size)
}

func (c careless) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	if c.create && tag == "" || c.match && tag != "" {
		if err := c.Delete(ctx, name); err != nil {
			return "", err
		}
		return c.Memory.Swap(ctx, name, "", data)
	}
	return c.Memory.Swap(ctx, name, tag, data)
}

func TestStoreWithoutConditionsIsRefused(t *testing.T) {
	for what, st := range map[string]careless{
		"If-None-Match": {Memory: checkpointtest.NewMemory("a"), put: true}, "If-None-Match of HEAD": {Memory: checkpointtest.NewMemory("b"), create: true},
		"If-Match": {Memory: checkpointtest.NewMemory("c"), match: true},
	} {
		_, err := checkpoint.Lead(t.Context(), st, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot hold checkpoints") || !strings.Contains(err.Error(), st.URL()) {
			t.Errorf("store that ignores %s: %v, want a refusal", what, err)
		}
		if st.Change("HEAD", func(b []byte) []byte { return b }) {
			t.Errorf("store that ignores %s: HEAD was written", what)
		}
	}
}
