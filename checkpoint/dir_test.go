package checkpoint_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

// TestMain lets the test binary be the second process of TestDirTwoProcesses.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CHECKPOINT_TEST_COUNT_IN"); dir != "" {
		if err := countIn(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const counts = 40

// countIn adds 1 to the object "counter" of the directory, counts times.
func countIn(ctx context.Context, dir string) error {
	o, err := checkpoint.Dir(dir).Open(ctx)
	if err != nil {
		return err
	}
	for n := 0; n < counts; {
		var data []byte
		body, tag, err := o.Get(ctx, "counter")
		if err == nil {
			if data, err = io.ReadAll(body); err != nil {
				return err
			}
		} else if !errors.Is(err, checkpoint.ErrNotFound) {
			return err
		}
		text, _, _ := strings.Cut(string(data), " ")
		was, _ := strconv.Atoi(text)
		// The process id makes equal counts of two processes different contents.
		_, err = o.Swap(ctx, "counter", tag, fmt.Appendf(nil, "%d %d", was+1, os.Getpid()))
		switch {
		case err == nil:
			n++
		case !errors.Is(err, checkpoint.ErrConflict):
			return err
		}
	}
	return nil
}

// The lock and the comparison hold between processes: no update of one is lost to another.
func TestDirTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	cmds := make([]*exec.Cmd, 3)
	for i := range cmds {
		cmds[i] = exec.Command(os.Args[0])
		cmds[i].Env = append(os.Environ(), "CHECKPOINT_TEST_COUNT_IN="+dir)
		cmds[i].Stderr = os.Stderr
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cmds {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "counter"))
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := strings.Cut(string(data), " "); got != strconv.Itoa(len(cmds)*counts) {
		t.Fatalf("counter is %s, want %d", got, len(cmds)*counts)
	}
}

// A process that dies while it writes leaves files in tmp: the next leader's prune removes those of epochs that are over, and a write of
// HEAD those of earlier writes of HEAD. What somebody may still be writing stays.
func TestDirRemovesTemporaryFiles(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	l := &life{st: checkpoint.Dir(dir)}
	if err := l.run(t, 1); err != nil { // epoch 1, id 1
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{"1-2-A-B": false, "HEAD-X": false, "probe-1-0-A-B": false, "2-9-A-B": true, "3-1-A-B": true, "mine": true} {
		if err := os.WriteFile(filepath.Join(dir, "tmp", name), []byte(fmt.Sprint(stays)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, err := checkpoint.Lead(ctx, l.st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Prune(ctx, 1); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 3 {
		t.Errorf("%d temporary files are left, want 3", len(left))
	}
	for _, e := range left {
		if b, err := os.ReadFile(filepath.Join(dir, "tmp", e.Name())); err != nil || string(b) != "true" {
			t.Errorf("%s: %s, %v", e.Name(), b, err)
		}
	}
}

func TestDirErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", file, filepath.Join(file, "below")} {
		_, err := checkpoint.Lead(t.Context(), checkpoint.Dir(path), nil)
		if err == nil || path != "" && !strings.Contains(err.Error(), file) {
			t.Errorf("Lead of Dir(%q): %v, want an error that names it", path, err)
		}
	}
	o, err := checkpoint.Dir(t.TempDir()).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../b", "a//b", "a b", "a\x00", `a\b`, "ä"} {
		if err := o.Put(t.Context(), name, strings.NewReader(""), 0); err == nil {
			t.Errorf("Put(%q) succeeded", name)
		}
		if err := o.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete(%q) succeeded", name)
		}
	}
}

// A state file that is too large for memory goes through a temporary file, and nothing is left of that. A directory has room of its
// own for it: TMPDIR may be small, or memory.
func TestLargeStateFile(t *testing.T) {
	dir := t.TempDir()
	t.Run("dir", func(t *testing.T) {
		t.Setenv("TMPDIR", filepath.Join(dir, "none"))
		largeFile(t, checkpoint.Dir(filepath.Join(dir, "store")), filepath.Join(dir, "store", "tmp"))
	})
	t.Run("others", func(t *testing.T) {
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		largeFile(t, checkpointtest.NewMemory("large"), temp)
	})
}

func largeFile(t *testing.T, st checkpoint.Storage, temp string) {
	ctx := t.Context()
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("0123456789abcdef"), 64)
	const lines = 20_000 // 20 MB
	f, err := j.Files(1).Write(ctx, state.GroupRange{End: 1}, 0, func(w io.Writer) error {
		b := bufio.NewWriterSize(w, 100_000)
		for range lines {
			if _, err := b.Write(line); err != nil {
				return err
			}
		}
		return b.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.Size != lines*int64(len(line)) {
		t.Fatalf("size is %d", f.Size)
	}
	r, err := j.Files(1).Read(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(line))
	for i := range lines {
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, line) {
			t.Fatalf("line %d: %q, %v", i, got, err)
		}
	}
	if n, err := r.Read(got); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %d bytes, %v", n, err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Fatalf("temporary directory holds %v, %v", left, err)
	}
}

// A fill that fails leaves no object.
func TestFailedFill(t *testing.T) {
	ctx := t.Context()
	st := checkpointtest.NewMemory("fill")
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := errors.New("mine")
	if _, err := j.Files(1).Write(ctx, state.GroupRange{}, 0, func(w io.Writer) error {
		_, _ = w.Write([]byte("half"))
		return mine
	}); !errors.Is(err, mine) {
		t.Fatalf("Write: %v", err)
	}
	if n := st.Names(); len(n) != 1 {
		t.Fatalf("objects: %v, want HEAD only", n)
	}
}

// An outage is sat out for a minute with growing pauses, and not longer; the end of the context ends it at once.
func TestRetryTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := checkpointtest.NewMemory("retry")
		j, err := checkpoint.Lead(t.Context(), st, nil)
		if err != nil {
			t.Fatal(err)
		}
		var at []time.Duration
		start := time.Now()
		st.SetFault(func(c checkpointtest.Call) checkpointtest.Fault {
			if c.Op == "put" {
				at = append(at, time.Since(start))
			}
			return checkpointtest.Fail
		})
		err = j.Complete(t.Context(), manifest(1, 1))
		if took := time.Since(start); err == nil || took > time.Minute || took < 50*time.Second {
			t.Errorf("gave up after %v with %v, want just under a minute", took, err)
		}
		for i := 1; i < len(at); i++ {
			nominal := min(50*time.Millisecond<<(i-1), 5*time.Second)
			if pause := at[i] - at[i-1]; pause < nominal/2 || pause > nominal {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, nominal/2, nominal)
			}
		}
		if len(at) < 15 || len(at) > 40 {
			t.Errorf("%d tries", len(at))
		}
		// The manifest was never named: the checkpoint is not complete, and the journal goes on.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start = time.Now()
		if err := j.Complete(ctx, manifest(1, 1)); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("with a deadline of 3 s: %v after %v", err, time.Since(start))
		}
		st.SetFault(nil)
		if err := j.Complete(t.Context(), manifest(1, 1)); err != nil {
			t.Error(err)
		}
	})
}
