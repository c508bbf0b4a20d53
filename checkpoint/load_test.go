package checkpoint

import (
	"bytes"
	"io"
	"testing"

	"github.com/millrace-io/millrace/state"
)

// A checkpoint that was completed is what the next leader and Load see, files included.
func TestCompleteThenLead(t *testing.T) {
	ctx := t.Context()
	st := Dir(t.TempDir())
	j, err := Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if j.Epoch() != 1 || j.Latest() != nil || j.NextID() != 1 {
		t.Fatalf("fresh storage: epoch %d, latest %v, next id %d", j.Epoch(), j.Latest(), j.NextID())
	}
	content := bytes.Repeat([]byte("state"), 1000)
	f, err := j.Files(1).Write(ctx, state.GroupRange{Start: 0, End: 8}, 0, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{ID: 1, Epoch: 1, Job: "job", MaxParallelism: 8, Operators: []OperatorState{{UID: "op", Parallelism: 1,
		Subtasks: []SubtaskState{{Groups: state.GroupRange{Start: 0, End: 8}, Files: []state.File{f}}}}}}
	uri, err := j.Savepoint(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	j2, err := Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if j2.Epoch() != 2 || j2.NextID() != 2 || j2.Latest() == nil || j2.Latest().ID != 1 {
		t.Fatalf("second leader: epoch %d, latest %v, next id %d", j2.Epoch(), j2.Latest(), j2.NextID())
	}
	got, files, err := Load(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	r, err := files.Read(ctx, got.Operators[0].Subtasks[0].Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, content) {
		t.Fatalf("read %d bytes, %v", len(b), err)
	}
}

func TestSplitURL(t *testing.T) {
	for _, c := range [][3]string{
		{"file:///var/ckpt/ckpt/1-2-ABC", "file:///var/ckpt", "ckpt/1-2-ABC"},
		{"/var/ckpt/1-2-ABC", "/var", "ckpt/1-2-ABC"},
		{"dir/ckpt/1-2-ABC", "dir", "ckpt/1-2-ABC"},
		{"ckpt/1-2-ABC", ".", "ckpt/1-2-ABC"},
		{"s3://b/ckpt/1-2-ABC?endpoint=x", "s3://b?endpoint=x", "ckpt/1-2-ABC"},
		{"s3://b/p/q/ckpt/1-2-ABC", "s3://b/p/q", "ckpt/1-2-ABC"},
		{"file:///ckpt/1-2-ABC", "file:///", "ckpt/1-2-ABC"},
		{"/var/ckpt", "/var/ckpt", ""},
		{"/var/ckpt/other", "/var/ckpt/other", ""},
		{"/var/1-2-ABC", "/var/1-2-ABC", ""},
		{"s3://b/p?endpoint=x", "s3://b/p?endpoint=x", ""},
	} {
		if st, name := splitURL(c[0]); st != c[1] || name != c[2] {
			t.Errorf("splitURL(%q) = %q, %q, want %q, %q", c[0], st, name, c[1], c[2])
		}
	}
}

// By the URL of a storage, of an older checkpoint and of a savepoint that is no longer among the retained ones.
func TestLoadByURL(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	j, err := Lead(ctx, Dir(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(ctx, dir); err == nil {
		t.Error("Load of a storage without a checkpoint succeeded")
	}
	var saved string
	for id := int64(1); id <= 4; id++ {
		m := &Manifest{ID: id, Epoch: 1, MaxParallelism: 8}
		if id == 1 {
			saved, err = j.Savepoint(ctx, m)
		} else {
			err = j.Complete(ctx, m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Prune(ctx, 2); err != nil {
		t.Fatal(err)
	}
	list := j.Checkpoints()
	for uri, id := range map[string]int64{dir: 4, "file://" + dir: 4, saved: 1, j.URL(list[0]): 3, dir + "/" + list[1].Name: 4} {
		m, files, err := Load(ctx, uri)
		if err != nil || m.ID != id {
			t.Errorf("Load(%q): %+v, %v, want id %d", uri, m, err, id)
			continue
		}
		if _, err := files.Write(ctx, state.GroupRange{}, 0, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("Load(%q): files can be written", uri)
		}
	}
	if _, _, err := Load(ctx, dir+"/ckpt/1-2-GONE"); err == nil {
		t.Error("Load of a pruned checkpoint succeeded")
	}
	if err := j.DropSavepoint(ctx, saved); err != nil {
		t.Fatal(err)
	}
	if err := j.DropSavepoint(ctx, saved); err == nil {
		t.Error("second DropSavepoint succeeded")
	}
	if err := j.Prune(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(ctx, saved); err == nil {
		t.Error("Load of a dropped savepoint succeeded")
	}
	if len(j.Savepoints()) != 0 || len(j.Checkpoints()) != 2 {
		t.Errorf("savepoints %v, checkpoints %v", j.Savepoints(), j.Checkpoints())
	}
}
