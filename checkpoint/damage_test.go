package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

var damagePositions = flag.Int("damage.positions", 400, "bits that are flipped in each kind of file, one at a time; 10000 for the whole measurement")

// damaged is a storage in memory in which one object at a time is not what was written.
type damaged struct {
	st    *checkpointtest.Memory
	j     *checkpoint.Journal
	kinds map[string]string     // name of an object by kind of file
	files map[string]state.File // handle by name, of objects with state
}

// newDamaged makes a storage with a small manifest as the newest and a large, compressed one as a savepoint, which names objects of one and of
// several chunks.
func newDamaged(t *testing.T) *damaged {
	t.Helper()
	st := checkpointtest.NewMemory("damaged")
	d := &damaged{st: st, j: leading(t, st), kinds: map[string]string{"HEAD": "HEAD"}, files: map[string]state.File{}}
	large := manifest(d.j.Epoch(), 1)
	for range 200 {
		f := writeObject(t, d.j.Files(1), random(30), 1000)
		large.Operators[0].Subtasks[0].Files = append(large.Operators[0].Subtasks[0].Files, f)
	}
	small := manifest(d.j.Epoch(), 2)
	for kind, size := range map[string]int{"object of less than a chunk": 3_000, "object of several chunks": 200_000, "object that is read in parts": 400_000} {
		f := writeObject(t, d.j.Files(1), random(size), 0)
		d.kinds[kind], d.files[f.Name] = f.Name, f
		for _, m := range []*checkpoint.Manifest{large, small} {
			m.Operators[0].Subtasks[0].Files = append(m.Operators[0].Subtasks[0].Files, f)
		}
	}
	if _, err := d.j.Savepoint(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if err := d.j.Complete(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	d.kinds["manifest, compressed"], d.kinds["manifest"] = d.j.Savepoints()[0].Name, d.j.Checkpoints()[1].Name
	return d
}

// content is a copy of the object's bytes.
func (d *damaged) content(name string) (data []byte) {
	d.st.Change(name, func(b []byte) []byte {
		data = bytes.Clone(b)
		return b
	})
	return data
}

// found is the error of everybody who needs the object, restores and verification: each is a CorruptError that names it, and the place is
// within the bytes that are named, unless at is negative.
func (d *damaged) found(ctx context.Context, name string, at int64) error {
	errs := map[string]error{}
	report, err := checkpoint.VerifyFrom(ctx, d.st, "", nil)
	if err == nil {
		err = report.Err()
	}
	errs["verification"] = err
	f, isState := d.files[name]
	switch {
	case isState:
		_, errs["read"] = readAll(ctx, d.j.Files(1), f)
		errs["part"] = d.readAround(ctx, f, at)
	case name == d.kinds["manifest, compressed"]:
		_, _, errs["load"] = checkpoint.LoadFrom(ctx, d.st, name)
		if errors.Is(errs["load"], checkpoint.ErrNotFound) {
			delete(errs, "load") // no HEAD says that it should be there
		}
	default:
		_, errs["lead"] = checkpoint.Lead(ctx, d.st, nil)
	}
	for who, err := range errs {
		var c *checkpoint.CorruptError
		if !errors.As(err, &c) || !errors.Is(err, checkpoint.ErrCorrupt) || !strings.HasSuffix(c.Object, name) || !strings.Contains(err.Error(), name) {
			return fmt.Errorf("%s: %v, want a CorruptError that names %s", who, err, name)
		}
		if at >= 0 && (at < c.Offset || at >= c.Offset+c.Length) {
			return fmt.Errorf("%s: %v, want a place that includes %d", who, err, at)
		}
		if at >= 0 && isState && c.Length > 65536 {
			return fmt.Errorf("%s: %v, want a place of one chunk", who, err)
		}
	}
	return nil
}

// readAround opens the object and reads ten bytes around at, or in the middle.
func (d *damaged) readAround(ctx context.Context, f state.File, at int64) error {
	o, err := d.j.Files(1).Open(ctx, f)
	if err != nil {
		return err
	}
	if at < 0 {
		at = f.Size / 2
	}
	off := min(max(at-5, 0), f.Size-10)
	return errors.Join(o.ReadAt(ctx, make([]byte, 10), off), o.Close())
}

// Every flip of a bit, at sampled positions of every kind of file, is found by restore and by verification, with the object and the place.
func TestFlips(t *testing.T) {
	d := newDamaged(t)
	seed := rand.Uint64()
	for kind, name := range d.kinds {
		t.Run(kind, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			data := d.content(name)
			bits := 8 * len(data)
			n := min(*damagePositions, bits)
			for i := range n {
				bit := r.IntN(bits)
				switch {
				case n == bits:
					bit = i // all of them
				case i < 8*28:
					bit = bits - 1 - i // the whole end of the table of checksums
				}
				flip := func(b []byte) []byte {
					b[bit/8] ^= 1 << (bit % 8)
					return b
				}
				d.st.Change(name, flip)
				if err := d.found(t.Context(), name, int64(bit/8)); err != nil {
					t.Fatalf("seed %d: bit %d of byte %d of %d: %v", seed, bit%8, bit/8, len(data), err)
				}
				d.st.Change(name, flip)
			}
			t.Logf("%d bits of %d flipped, one at a time", n, bits)
		})
	}
	if err := checkpoint.Verify(t.Context(), d.st); err != nil {
		t.Errorf("after the flips: %v", err)
	}
}

// An object that is cut off, longer, gone, or another valid object of its kind is found likewise.
func TestOtherDamage(t *testing.T) {
	d := newDamaged(t)
	other := newDamaged(t)
	for kind, name := range d.kinds {
		data := d.content(name)
		check := func(what string, at int64, now []byte) {
			t.Helper()
			d.st.Change(name, func([]byte) []byte { return now })
			if err := d.found(t.Context(), name, at); err != nil {
				t.Errorf("%s, %s: %v", kind, what, err)
			}
			if !d.st.Change(name, func([]byte) []byte { return bytes.Clone(data) }) {
				if err := d.st.Put(t.Context(), name, bytes.NewReader(data), int64(len(data))); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, n := range []int{0, 1, len(data) / 3, len(data) / 2, len(data) - 30, len(data) - 1} {
			check(fmt.Sprintf("cut off at %d of %d", n, len(data)), -1, append([]byte{}, data[:n]...))
		}
		check("a byte more", -1, append(bytes.Clone(data), 0))
		if kind == "HEAD" {
			continue // it is not known beforehand what HEAD says, or whether there is one
		}
		check("gone", -1, nil)
		check("other object", -1, other.content(other.kinds[map[string]string{"manifest": "manifest, compressed",
			"manifest, compressed": "manifest"}[kind]]))
		check("other object of its kind and size", -1, foreignContent(t, d, name))
	}
	if err := checkpoint.Verify(t.Context(), d.st); err != nil {
		t.Errorf("after the damage: %v", err)
	}
}

// foreignContent is the content of another object that is as long as name and right in itself.
func foreignContent(t *testing.T, d *damaged, name string) []byte {
	t.Helper()
	f, isState := d.files[name]
	if isState {
		content := random(int(f.Size))
		content[0] ^= 1
		return d.content(writeObject(t, d.j.Files(1), content, 0).Name)
	}
	// The manifest of a checkpoint of another leader, which differs in its names alone.
	o := newDamaged(t)
	for kind, n := range d.kinds {
		if n == name {
			return o.content(o.kinds[kind])
		}
	}
	t.Fatalf("%s is of no kind", name)
	return nil
}

// A report has every damaged chunk, and says what needs it.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	for name, st := range map[string]checkpoint.Storage{"memory": checkpointtest.NewMemory("report"), "dir": checkpoint.Dir(dir)} {
		j := leading(t, st)
		f := writeObject(t, j.Files(1), random(1_500_000), 0)
		g := writeObject(t, j.Files(1), random(100), 0)
		h := writeObject(t, j.Files(1), random(100), 1000)
		if err := j.Complete(t.Context(), manifest(1, 1, f, g, h)); err != nil {
			t.Fatal(err)
		}
		var last checkpoint.Progress
		calls := 0
		verify := func() *checkpoint.Report {
			report, err := checkpoint.VerifyFrom(t.Context(), st, j.Checkpoints()[0].Name, func(p checkpoint.Progress) { last, calls = p, calls+1 })
			if err != nil {
				t.Fatal(err)
			}
			return report
		}
		if r := verify(); r.Err() != nil || r.Checkpoints != 1 || r.Objects != 3 || r.Bytes != 1_500_200 {
			t.Errorf("%s: report of what is right: %+v", name, r)
		}
		if want := (checkpoint.Progress{Objects: 3, AllObjects: 3, Bytes: 1_500_200, AllBytes: 1_500_200}); last != want || calls != 3 {
			t.Errorf("%s: progress is %+v after %d calls", name, last, calls)
		}
		flip := func(b []byte) []byte {
			b[0] ^= 1
			b[20*65536] ^= 128
			return b
		}
		if m, ok := st.(*checkpointtest.Memory); ok {
			m.Change(f.Name, flip)
			m.Change(g.Name, func([]byte) []byte { return nil })
		} else {
			rewrite(t, filepath.Join(dir, f.Name), flip)
			if err := os.Remove(filepath.Join(dir, g.Name)); err != nil {
				t.Fatal(err)
			}
		}
		r := verify()
		var got []string
		for _, x := range r.Faults {
			got = append(got, fmt.Sprintf("%s %d+%d %s", x.Object[strings.LastIndex(x.Object, "data/"):], x.Offset, x.Length, x.Needed))
		}
		needed := ` checkpoint 1, uid "op", subtask 0`
		want := map[string]bool{f.Name + " 0+65536" + needed: true, f.Name + " 1310720+65536" + needed: true, g.Name + " 0+100" + needed: true}
		for _, x := range got {
			if !want[x] {
				t.Errorf("%s: fault %s", name, x)
			}
		}
		if len(got) != len(want) || r.Objects != 3 || !errors.Is(r.Err(), checkpoint.ErrCorrupt) {
			t.Errorf("%s: %d faults %v, want %v", name, len(got), got, want)
		}
	}
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyWithoutStorage(t *testing.T) {
	st := checkpointtest.NewMemory("none")
	leading(t, st)
	for _, name := range []string{"ckpt/1-1-NONE", "HEAD", "data/1-1-X"} {
		if r, err := checkpoint.VerifyFrom(t.Context(), st, name, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("VerifyFrom of %q: %+v, %v, want an error that names it", name, r, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := checkpoint.VerifyFrom(ctx, st, "", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("VerifyFrom with a context that has ended: %v", err)
	}
}

// What has the right checksums of chunks and another SHA-256 than the manifest says is found at the end.
func TestOtherSHA256(t *testing.T) {
	st := checkpointtest.NewMemory("sha")
	j := leading(t, st)
	var files []state.File
	for _, size := range []int{100, 100_000, 400_000} {
		f := writeObject(t, j.Files(1), random(size), 0)
		f.SHA256 = strings.Repeat("0", 64)
		if _, err := readAll(t.Context(), j.Files(1), f); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("%d bytes: %v, want a CorruptError about the SHA-256", size, err)
		}
		files = append(files, f)
	}
	if err := j.Complete(t.Context(), manifest(1, 1, files...)); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.VerifyFrom(t.Context(), st, "", nil)
	if err != nil || len(r.Faults) != len(files) {
		t.Errorf("%d faults, %v, want %d", len(r.Faults), err, len(files))
	}
}

// Without HEAD a checkpoint can still be read by its name, and the name has to be its own.
func TestLoadWithoutHead(t *testing.T) {
	d := newDamaged(t)
	d.st.Change("HEAD", func([]byte) []byte { return nil })
	old, newest := d.kinds["manifest, compressed"], d.kinds["manifest"]
	if m, _, err := checkpoint.LoadFrom(t.Context(), d.st, newest); err != nil || m.ID != 2 {
		t.Errorf("LoadFrom: %+v, %v", m, err)
	}
	other := d.content(old)
	d.st.Change(newest, func([]byte) []byte { return other })
	if _, _, err := checkpoint.LoadFrom(t.Context(), d.st, newest); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), newest) {
		t.Errorf("LoadFrom of another checkpoint's manifest: %v, want a CorruptError", err)
	}
}
