package savepoint_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/state"
)

// damaged is a portable savepoint in a directory, to be damaged.
type damaged struct {
	dir   string
	files []string // paths, the manifest among them
	whole map[string][]byte
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	d := &damaged{dir: filepath.Join(t.TempDir(), "sp", "x"), whole: map[string][]byte{}}
	accounts := drawAccounts(rand.New(rand.NewPCG(4, 4)), 400)
	write(t, native(t, accounts), checkpoint.Under(checkpoint.Dir(filepath.Dir(filepath.Dir(d.dir))), "sp/x"), savepoint.Options{Codec: state.RowsNone})
	paths, err := filepath.Glob(filepath.Join(d.dir, "*"))
	if err != nil || len(paths) < 8 {
		t.Fatalf("files %q, %v", paths, err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		d.files, d.whole[p] = append(d.files, p), data
	}
	return d
}

func (d *damaged) put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// readAll reads every entry, as a restore does.
func readAll(t *testing.T, uri string) error {
	t.Helper()
	s, err := savepoint.Open(t.Context(), uri)
	if err != nil {
		return err
	}
	for _, uid := range s.UIDs() {
		if err := s.Entries(t.Context(), uid, func(*savepoint.Entry) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

var damagePositions = flag.Int("damage.positions", 300, "how many bits are flipped, one after the other, over all files of a savepoint")

// TestFlippedBits: every flipped bit, in any file, is found by Verify and by a restore, which name the file; in a container file with the place.
func TestFlippedBits(t *testing.T) {
	d := newDamaged(t)
	r := rand.New(rand.NewPCG(11, 12))
	for n := range *damagePositions {
		path := d.files[n%len(d.files)]
		data := append([]byte(nil), d.whole[path]...)
		at := r.IntN(len(data))
		data[at] ^= 1 << r.IntN(8)
		d.put(t, path, data)
		v, err := savepoint.Verify(t.Context(), d.dir, nil)
		if err != nil {
			// A manifest of another kind or version is not read at all.
			v = &savepoint.Verification{Faults: []checkpoint.Fault{{Object: path, Err: err}}}
		}
		if len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Error(), filepath.Base(path)) {
			t.Fatalf("bit flipped at %d of %s: faults %v, want one that names the file", at, path, v.Faults)
		}
		f := v.Faults[0]
		if isRows := strings.HasSuffix(path, ".avro"); isRows && (f.Offset > int64(at) || f.Offset+f.Length <= int64(at) || f.Length > 64<<10) {
			t.Fatalf("bit flipped at %d of %s: fault at %d of %d bytes", at, path, f.Offset, f.Length)
		}
		if err := readAll(t, d.dir); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Fatalf("bit flipped at %d of %s: a restore says %v, want an error that names the file", at, path, err)
		}
		d.put(t, path, d.whole[path])
	}
	if v, err := savepoint.Verify(t.Context(), d.dir, nil); err != nil || len(v.Faults) > 0 || v.Entries < 400 {
		t.Errorf("the whole savepoint: %v, %v with %d entries", v.Faults, err, v.Entries)
	}
}

// TestDamagedFiles: a file that is missing, cut off, longer, or another one.
func TestDamagedFiles(t *testing.T) {
	d := newDamaged(t)
	for i, path := range d.files {
		data, other := d.whole[path], d.whole[d.files[(i+1)%len(d.files)]]
		isRows := strings.HasSuffix(path, ".avro")
		tests := []struct {
			name       string
			damage     func()
			restoreToo bool
		}{
			{"missing", func() { _ = os.Remove(path) }, true},
			{"cut off", func() { d.put(t, path, data[:len(data)-1]) }, true},
			{"empty", func() { d.put(t, path, nil) }, true},
			{"longer", func() { d.put(t, path, append(append([]byte(nil), data...), 0)) }, !isRows},
			{"another", func() { d.put(t, path, other) }, true},
		}
		for _, tt := range tests {
			tt.damage()
			v, err := savepoint.Verify(t.Context(), d.dir, nil)
			if isRows && (err != nil || len(v.Faults) == 0 || !errors.Is(v.Faults[0], checkpoint.ErrCorrupt) || !strings.Contains(v.Faults[0].Error(), filepath.Base(path))) {
				t.Errorf("%s %s: %+v, %v, want a fault that names it", path, tt.name, v, err)
			}
			if !isRows && err == nil && len(v.Faults) == 0 {
				t.Errorf("%s %s is not found", path, tt.name)
			}
			if err := readAll(t, d.dir); tt.restoreToo && err == nil {
				t.Errorf("%s %s: a restore does not see it", path, tt.name)
			}
			d.put(t, path, data)
		}
	}
}

// TestVerifyLooksAtEntries: what checksums cannot see, an entry that does not belong to the savepoint.
func TestVerifyLooksAtEntries(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	m, _ := takeCheckpoint(t, checkpoint.Dir(dir), map[string]*account{"a": {sum: 5}}, 1, 4)
	j, err := checkpoint.Lead(ctx, checkpoint.Dir(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.ID, m.Epoch = j.NextID(), j.Epoch()
	for i := range m.Operators[0].States {
		if d := &m.Operators[0].States[i]; d.Name == "sum" {
			d.Name = "sun"
		}
	}
	if err := j.Complete(ctx, m); err != nil {
		t.Fatal(err)
	}
	if v, err := savepoint.Verify(ctx, dir, nil); err != nil || len(v.Faults) != 1 || !strings.Contains(v.Faults[0].Error(), `"sum"`) {
		t.Errorf("faults %v, %v, want one about state sum, which the manifest does not name", v.Faults, err)
	}
}

// TestInspect: the figures of a checkpoint and of its savepoint are those of the model.
func TestInspect(t *testing.T) {
	accounts := drawAccounts(rand.New(rand.NewPCG(6, 6)), 100)
	want := map[string]int64{"limits": 3}
	for _, a := range accounts {
		if a.profile != nil {
			want["profile"]++
		}
		if a.last != nil {
			want["last"]++
		}
		want["sum"]++
		want["recent"] += int64(len(a.recent))
		want["days"] += int64(len(a.days))
		want["timers"] += int64(len(a.event) + len(a.clock))
	}
	s := native(t, accounts)
	p := write(t, s, checkpoint.Dir(t.TempDir()), savepoint.Options{})
	for _, x := range []struct {
		s     *savepoint.Savepoint
		form  string
		count bool
	}{{s, "checkpoint", true}, {p, "portable savepoint", false}, {s, "checkpoint", false}} {
		sum, err := x.s.Inspect(t.Context(), x.count, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, st := range sum.Operators[0].States {
			got[st.Name] = st.Entries
			if st.Broadcast != (st.Name == "limits") && st.Entries >= 0 {
				t.Errorf("state %s: broadcast is %v", st.Name, st.Broadcast)
			}
		}
		if counted := x.count || x.form != "checkpoint"; counted && !reflect.DeepEqual(got, want) || !counted && got["sum"] != -1 {
			t.Errorf("%s: entries %v, want %v", x.form, got, want)
		}
		if sum.Form != x.form || sum.Job != "job" || sum.Created != time.UnixMilli(nowMS).UTC() || *sum.Operators[0].WatermarkMS != 998 ||
			sum.Operators[1].Committables != 2 || sum.Operators[1].WatermarkMS != nil || len(sum.Operators[2].Splits) != 3 {
			t.Errorf("%+v", sum)
		}
	}
}

// TestWriteFails: a storage that fails leaves no savepoint, and a second one at one place is refused.
func TestWriteFails(t *testing.T) {
	s := native(t, drawAccounts(rand.New(rand.NewPCG(8, 8)), 50))
	dir := t.TempDir()
	write(t, s, checkpoint.Dir(dir), savepoint.Options{})
	if _, err := s.Write(t.Context(), checkpoint.Dir(dir), savepoint.Options{}); !errors.Is(err, checkpoint.ErrExists) {
		t.Errorf("a second savepoint at one place: %v, want %v", err, checkpoint.ErrExists)
	}
	for n := 1; ; n++ {
		dir := t.TempDir()
		st := &failing{Storage: checkpoint.Dir(dir)}
		st.after.Store(int64(n))
		_, err := s.Write(t.Context(), st, savepoint.Options{FileBytes: 2000})
		if err == nil {
			if n < 8 {
				t.Errorf("it takes %d writes, want some more", n)
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("write %d fails: %v, want %v", n, err, errDisk)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*.avro"))
		if _, _, err := checkpoint.LoadSavepoint(t.Context(), checkpoint.Dir(dir)); !errors.Is(err, checkpoint.ErrNotFound) || len(left) > 0 {
			t.Fatalf("write %d fails: a savepoint is there (%v) or files are left: %q", n, err, left)
		}
	}
}

var errDisk = errors.New("the disk is full")

// failing is a storage whose n-th write fails.
type failing struct {
	checkpoint.Storage
	after atomic.Int64
}

func (f *failing) Open(ctx context.Context) (checkpoint.Objects, error) {
	o, err := f.Storage.Open(ctx)
	return &failingObjects{Objects: o, f: f}, err
}

type failingObjects struct {
	checkpoint.Objects
	f *failing
}

func (f *failingObjects) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if f.f.after.Add(-1) == 0 {
		return fmt.Errorf("%s: %w", name, errDisk)
	}
	return f.Objects.Put(ctx, name, body, size)
}
