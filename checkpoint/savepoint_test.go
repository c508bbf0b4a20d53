package checkpoint

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/state"
)

// TestSavepointStorages: where the savepoint that an address names may lie.
func TestSavepointStorages(t *testing.T) {
	abs, err := filepath.Abs("sp/x")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		uri  string
		want []string // the first two parts of the URL, up to the query
	}{
		{"/var/ckpt/sp/monday", []string{"file:///var/ckpt/sp/monday", "file:///var/ckpt/sp/monday"}},
		{"/var/ckpt/sp/monday/", []string{"file:///var/ckpt/sp/monday", "file:///var/ckpt/sp/monday"}},
		{"/var/ckpt/sp/monday/manifest.json", []string{"file:///var/ckpt/sp/monday", "file:///var/ckpt/sp/monday"}},
		{"file:///backup/monday", []string{"file:///backup/monday"}},
		{"sp/x", []string{"file://" + abs}},
		{"s3://bucket/job/sp/7-1?endpoint=http://127.0.0.1:9&region=r", []string{"s3://bucket/job/sp/7-1", "s3://bucket/job/sp/7-1"}},
		{"s3://bucket/sp/7-1?endpoint=http://127.0.0.1:9", []string{"s3://bucket/sp/7-1", "s3://bucket/sp/7-1"}},
		{"s3://sp/x?endpoint=http://127.0.0.1:9", []string{"s3://sp/x"}},
	}
	for _, tt := range tests {
		got, err := savepointStorages(tt.uri)
		if err != nil || len(got) != len(tt.want) {
			t.Errorf("%s: %d storages, %v, want %q", tt.uri, len(got), err, tt.want)
			continue
		}
		for i := range got {
			if base, _, _ := strings.Cut(got[i].URL(), "?"); base != tt.want[i] {
				t.Errorf("%s: storage %d is %s, want %s", tt.uri, i, got[i].URL(), tt.want[i])
			}
			if strings.Contains(tt.uri, "endpoint") != strings.Contains(got[i].URL(), "endpoint") {
				t.Errorf("%s: storage %d is %s, want the same query", tt.uri, i, got[i].URL())
			}
		}
	}
	if _, err := savepointStorages("ftp://x/sp/y"); err == nil {
		t.Error("ftp is a storage")
	}
}

// TestUnder: a folder is a storage of its own, and a job's clean-up does not touch it.
func TestUnder(t *testing.T) {
	ctx := t.Context()
	root := Dir(t.TempDir())
	w, err := CreateSavepoint(ctx, Under(root, "sp/a"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f := w.Create("op.s")
	if _, err := io.WriteString(f, strings.Repeat("rows ", 1<<15)); err != nil || f.Size() != 5<<15 {
		t.Fatal(f.Size(), err)
	}
	h, err := f.Finish(ctx, state.File{Groups: state.GroupRange{End: 4}, Rows: &state.Rows{State: "s"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadSavepoint(ctx, Under(root, "sp/a")); !errors.Is(err, ErrNotFound) {
		t.Errorf("before Complete there is a savepoint: %v", err)
	}
	m := &Manifest{ID: 1, Epoch: 1, MaxParallelism: 4, Operators: []OperatorState{{UID: "op", Parallelism: 1, Subtasks: []SubtaskState{
		{Groups: state.GroupRange{End: 4}, Files: []state.File{h}}}}}}
	uri, err := w.Complete(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	j, err := Lead(ctx, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Complete(ctx, &Manifest{ID: j.NextID(), Epoch: j.Epoch(), MaxParallelism: 4}); err != nil {
			t.Fatal(err)
		}
		if err := j.Prune(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	back, files, err := Load(ctx, uri)
	if err != nil || !back.Savepoint || len(back.Operators) != 1 {
		t.Fatalf("Load(%s) = %+v, %v", uri, back, err)
	}
	if err := readThrough(ctx, files, back.Operators[0].Subtasks[0].Files[0]); err != nil {
		t.Error(err)
	}
	if latest, _, err := Load(ctx, root.URL()); err != nil || latest.Savepoint || latest.ID != 2 {
		t.Errorf("the storage itself stands for %+v, %v, want checkpoint 2", latest, err)
	}
	if _, err := CreateSavepoint(ctx, Under(root, "sp/a"), nil); !errors.Is(err, ErrExists) {
		t.Errorf("a second savepoint: %v, want %v", err, ErrExists)
	}
	if _, err := CreateSavepoint(ctx, Under(root, "../x"), nil); err == nil {
		t.Error("a folder outside of the storage is taken")
	}
}
