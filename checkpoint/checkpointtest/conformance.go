package checkpointtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// Conformance checks the contract of checkpoint.Objects and the election of a leader on storages that fresh makes: each call gives
// an empty one.
func Conformance(t *testing.T, fresh func(t *testing.T) checkpoint.Storage) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, o checkpoint.Objects)
	}{
		{"PutGet", putGet}, {"PutNeverOverwrites", putNeverOverwrites}, {"PutRace", putRace}, {"PutChecksSize", putChecksSize},
		{"Swap", swap}, {"SwapRace", swapRace}, {"SwapLosesNoUpdate", swapLosesNoUpdate}, {"ListAndDelete", listAndDelete},
		{"Ranges", ranges}, {"RangesAtOnce", rangesAtOnce}, {"Names", names}, {"Cancelled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := fresh(t).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.run(t, o)
		})
	}
	t.Run("Election", func(t *testing.T) { election(t, fresh(t)) })
	t.Run("Parts", func(t *testing.T) { parts(t, fresh(t)) })
	t.Run("Journal", func(t *testing.T) { journal(t, fresh(t)) })
}

func put(ctx context.Context, o checkpoint.Objects, name string, data []byte) error {
	return o.Put(ctx, name, bytes.NewReader(data), int64(len(data)))
}

func get(t *testing.T, o checkpoint.Objects, name string) ([]byte, string) {
	t.Helper()
	body, tag, err := o.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	return data, tag
}

func want(t *testing.T, o checkpoint.Objects, name string, data []byte) {
	t.Helper()
	if got, _ := get(t, o, name); !bytes.Equal(got, data) {
		t.Fatalf("object %q has %d bytes %.40q, want %d bytes %.40q", name, len(got), got, len(data), data)
	}
}

func putGet(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	for i, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("0123456789abcdef"), 600_000)} {
		name := fmt.Sprintf("data/%d", i)
		body := bytes.NewReader(data)
		// A body that was read before, as it is at a second try.
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Fatal(err)
		}
		if err := o.Put(ctx, name, body, int64(len(data))); err != nil {
			t.Fatalf("Put of %d bytes: %v", len(data), err)
		}
		want(t, o, name, data)
	}
	if _, _, err := o.Get(ctx, "data/none"); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Fatalf("Get of a missing object: %v, want ErrNotFound", err)
	}
	if _, _, err := o.Get(ctx, "none"); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Fatalf("Get of a missing object: %v, want ErrNotFound", err)
	}
}

func putNeverOverwrites(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	if err := put(ctx, o, "data/a", []byte("first")); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"second", "first"} {
		if err := put(ctx, o, "data/a", []byte(again)); !errors.Is(err, checkpoint.ErrExists) {
			t.Fatalf("second Put: %v, want ErrExists", err)
		}
	}
	want(t, o, "data/a", []byte("first"))
	if err := o.Delete(ctx, "data/a"); err != nil {
		t.Fatal(err)
	}
	if err := put(ctx, o, "data/a", []byte("third")); err != nil {
		t.Fatalf("Put after Delete: %v", err)
	}
	want(t, o, "data/a", []byte("third"))
}

const racers = 8

// race runs f in racers goroutines at once and returns the numbers of those that succeeded. Other errors than loser fail the test;
// one that leaves the outcome open is none.
func race(t *testing.T, loser error, f func(i int) error) []int {
	t.Helper()
	errs := make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	var won []int
	for i, err := range errs {
		switch {
		case err == nil:
			won = append(won, i)
		case !errors.Is(err, loser) && !errors.Is(err, checkpoint.ErrTransient):
			t.Fatalf("racer %d: %v, want %v", i, err, loser)
		}
	}
	return won
}

func putRace(t *testing.T, o checkpoint.Objects) {
	for round := range 10 {
		name := fmt.Sprintf("data/race-%d", round)
		won := race(t, checkpoint.ErrExists, func(i int) error { return put(t.Context(), o, name, fmt.Appendf(nil, "racer %d", i)) })
		if len(won) != 1 {
			t.Fatalf("round %d: %d of %d concurrent Puts succeeded, want 1", round, len(won), racers)
		}
		want(t, o, name, fmt.Appendf(nil, "racer %d", won[0]))
	}
}

func putChecksSize(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	if err := o.Put(ctx, "data/short", strings.NewReader("abc"), 4); err == nil {
		t.Fatal("Put of 3 bytes as 4 succeeded")
	}
	if _, _, err := o.Get(ctx, "data/short"); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Fatalf("after a failed Put, Get: %v, want ErrNotFound", err)
	}
	if list, err := o.List(ctx, "data/"); err != nil || len(list) > 0 {
		t.Fatalf("after a failed Put, List: %v, %v, want none", list, err)
	}
}

func swap(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	if _, err := o.Swap(ctx, "HEAD", "no-such-tag", []byte("x")); !errors.Is(err, checkpoint.ErrConflict) {
		t.Fatalf("Swap of a missing object with a tag: %v, want ErrConflict", err)
	}
	tag1, err := o.Swap(ctx, "HEAD", "", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if data, tag := get(t, o, "HEAD"); string(data) != "one" || tag != tag1 {
		t.Fatalf("Get gives %q with tag %q, want \"one\" with %q", data, tag, tag1)
	}
	if _, err := o.Swap(ctx, "HEAD", "", []byte("x")); !errors.Is(err, checkpoint.ErrConflict) {
		t.Fatalf("Swap of an existing object with the empty tag: %v, want ErrConflict", err)
	}
	tag2, err := o.Swap(ctx, "HEAD", tag1, []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	if tag2 == tag1 {
		t.Fatalf("tag %q did not change", tag1)
	}
	if _, err := o.Swap(ctx, "HEAD", tag1, []byte("x")); !errors.Is(err, checkpoint.ErrConflict) {
		t.Fatalf("Swap with an old tag: %v, want ErrConflict", err)
	}
	want(t, o, "HEAD", []byte("two"))
}

func swapRace(t *testing.T, o checkpoint.Objects) {
	tag := ""
	for round := range 10 {
		won := race(t, checkpoint.ErrConflict, func(i int) error {
			_, err := o.Swap(t.Context(), "HEAD", tag, fmt.Appendf(nil, "round %d racer %d", round, i))
			return err
		})
		if len(won) != 1 {
			t.Fatalf("round %d: %d of %d concurrent Swaps succeeded, want 1", round, len(won), racers)
		}
		want(t, o, "HEAD", fmt.Appendf(nil, "round %d racer %d", round, won[0]))
		_, tag = get(t, o, "HEAD")
	}
}

// swapLosesNoUpdate lets all racers extend one object: each addition has to be there once.
func swapLosesNoUpdate(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	if _, err := o.Swap(ctx, "HEAD", "", []byte("begin")); err != nil {
		t.Fatal(err)
	}
	const each = 5
	won := race(t, nil, func(i int) error {
		for n := 0; n < each; {
			body, tag, err := o.Get(ctx, "HEAD")
			if err != nil {
				return err
			}
			data, err := io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err != nil {
				return err
			}
			_, err = o.Swap(ctx, "HEAD", tag, fmt.Appendf(data, " %d.%d", i, n))
			switch {
			case err == nil:
				n++
			case !errors.Is(err, checkpoint.ErrConflict):
				return err
			}
		}
		return nil
	})
	if len(won) != racers {
		t.Fatalf("%d of %d writers came through", len(won), racers)
	}
	data, _ := get(t, o, "HEAD")
	words := strings.Fields(string(data))[1:]
	slices.Sort(words)
	if n := len(slices.Compact(words)); n != racers*each {
		t.Fatalf("%d of %d updates are there", n, racers*each)
	}
}

func listAndDelete(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	if list, err := o.List(ctx, "data/"); err != nil || len(list) != 0 {
		t.Fatalf("List of nothing: %v, %v", list, err)
	}
	for _, n := range []string{"data/b", "data/a-2", "data/a-1", "ckpt/a-1", "data2/x"} {
		if err := put(ctx, o, n, []byte(n)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(prefix string, want ...string) {
		t.Helper()
		got, err := o.List(ctx, prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("List(%q): %v, %v, want %v", prefix, got, err, want)
		}
	}
	check("data/", "data/a-1", "data/a-2", "data/b")
	check("data/a", "data/a-1", "data/a-2")
	check("ckpt/", "ckpt/a-1")
	check("none/")
	for range 2 { // the second time there is none
		if err := o.Delete(ctx, "data/a-1"); err != nil {
			t.Fatal(err)
		}
	}
	check("data/", "data/a-2", "data/b")
	if _, _, err := o.Get(ctx, "data/a-1"); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Fatalf("Get after Delete: %v, want ErrNotFound", err)
	}
}

func names(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	// The forms that the journal uses, the longest included.
	for _, n := range []string{"ckpt/1-2-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "data/999999999999999999-999999999999999999-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "tmp/probe-1-0-X"} {
		if err := put(ctx, o, n, []byte(n)); err != nil {
			t.Fatalf("Put(%q): %v", n, err)
		}
		want(t, o, n, []byte(n))
	}
}

func cancelled(t *testing.T, o checkpoint.Objects) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := put(ctx, o, "data/x", []byte("x")); err == nil {
		t.Fatal("Put with a cancelled context succeeded")
	}
}

// election lets several leaders begin at once: their epochs differ, and only the one with the highest can complete a checkpoint.
func election(t *testing.T, st checkpoint.Storage) {
	for round := range 3 {
		journals := make([]*checkpoint.Journal, racers)
		won := race(t, checkpoint.ErrFenced, func(i int) (err error) {
			journals[i], err = checkpoint.Lead(t.Context(), st, nil)
			return err
		})
		if len(won) == 0 {
			t.Fatalf("round %d: nobody leads", round)
		}
		slices.SortFunc(won, func(a, b int) int { return int(journals[a].Epoch() - journals[b].Epoch()) })
		for n, i := range won {
			j := journals[i]
			if n > 0 && j.Epoch() == journals[won[n-1]].Epoch() {
				t.Fatalf("round %d: two leaders of epoch %d", round, j.Epoch())
			}
			m := &checkpoint.Manifest{ID: int64(round + 1), Epoch: j.Epoch(), MaxParallelism: 1}
			err := j.Complete(t.Context(), m)
			if last := n == len(won)-1; last && err != nil || !last && !errors.Is(err, checkpoint.ErrFenced) {
				t.Fatalf("round %d: leader %d of %d, epoch %d: Complete: %v", round, n+1, len(won), j.Epoch(), err)
			}
		}
	}
}

// journal goes through the life of a storage: files, checkpoints, a savepoint, pruning and a restart.
func journal(t *testing.T, st checkpoint.Storage) {
	ctx := t.Context()
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id := int64(1); id <= 5; id++ {
		f, err := j.Files(id).Write(ctx, state.GroupRange{Start: 0, End: 4}, 0, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "state of %d", id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		m := &checkpoint.Manifest{ID: id, Epoch: j.Epoch(), MaxParallelism: 4, Operators: []checkpoint.OperatorState{{UID: "op", Parallelism: 1,
			Subtasks: []checkpoint.SubtaskState{{Groups: state.GroupRange{Start: 0, End: 4}, Files: []state.File{f}}}}}}
		if id == 2 {
			_, err = j.Savepoint(ctx, m)
		} else {
			err = j.Complete(ctx, m)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Prune(ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkpoint.Verify(ctx, st); err != nil {
		t.Fatal(err)
	}
	o, err := st.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Two retained checkpoints and one savepoint, with one file each.
	for prefix, n := range map[string]int{"ckpt/": 3, "data/": 3, "probe-": 0, "tmp/": 0} {
		if list, err := o.List(ctx, prefix); err != nil || len(list) != n {
			t.Errorf("%d objects under %q, want %d: %v, %v", len(list), prefix, n, list, err)
		}
	}
	j2, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m := j2.Latest(); m == nil || m.ID != 5 || j2.NextID() != 6 || j2.Epoch() != 2 {
		t.Fatalf("after a restart: latest %+v, next id %d, epoch %d", m, j2.NextID(), j2.Epoch())
	}
	r, err := j2.Files(6).Read(ctx, j2.Latest().Operators[0].Subtasks[0].Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "state of 5" {
		t.Fatalf("state is %q, %v", data, err)
	}
}
