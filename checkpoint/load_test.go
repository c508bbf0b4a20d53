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
	f, err := j.Files(1).Write(ctx, state.GroupRange{Start: 0, End: 8}, func(w io.Writer) error {
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
