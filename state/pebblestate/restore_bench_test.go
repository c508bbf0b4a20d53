package pebblestate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// The benchmarks of this file are the figures of docs/BENCHMARKS.md about tables and restores. CPU time is that of the whole process.

const (
	benchKeyBytes   = 13 // group, state, domain, number: the address of a timer
	benchValueBytes = 200
	benchTableBytes = 8 << 20
)

func benchKey(dst []byte, group int, n uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst[:0], uint16(group))
	dst = binary.BigEndian.AppendUint16(dst, 1)
	return binary.BigEndian.AppendUint64(append(dst, 0), n)
}

// benchValue fills v: half random.
func benchValue(v []byte, random *rand.ChaCha8) {
	_, _ = random.Read(v[9 : 9+(len(v)-9)/2])
}

// processCPU is the CPU time that the process has used so far.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bulk is a base of n keys over 128 groups and deltas of some keys each, as objects of a storage.
type bulk struct {
	files    *remoteFiles
	handles  []state.File
	perGroup uint64
	logical  int64
	latest   []uint64 // the hash of the newest entry of each key
}

// digest is the sum of the hashes of all entries that a store restored from everything must have.
func (k *bulk) digest() (sum uint64) {
	for _, h := range k.latest {
		sum += h
	}
	return sum
}

// hashEntry is the hash of one entry.
func hashEntry(key, value []byte) uint64 { return xxh3.HashSeed(value, xxh3.Hash(key)) }

// newBulk writes tables as the last level of a store has them, deltas on top. Those of the subtasks of old stand together.
func newBulk(b *testing.B, keys, deltas, perDelta, old int) *bulk {
	b.Helper()
	k := &bulk{files: &remoteFiles{}, perGroup: uint64(keys / 128), logical: int64(keys) * (benchKeyBytes + benchValueBytes)}
	k.latest = make([]uint64, 128*k.perGroup)
	random := rand.NewChaCha8([32]byte{1})
	value := make([]byte, benchValueBytes)
	key := make([]byte, 0, benchKeyBytes)
	for subtask := range old {
		groups := state.RangeOf(subtask, old, 128)
		w := &tableWriter{b: b, k: k}
		for g := groups.Start; g < groups.End; g++ {
			for i := range k.perGroup {
				benchValue(value, random)
				w.set(benchKey(key, g, i), value)
			}
		}
		w.end(state.FileBase, groups)
		numbers := rand.New(random)
		for range deltas {
			for g := groups.Start; g < groups.End; g++ {
				last := uint64(0)
				for range perDelta / (groups.End - groups.Start) {
					last += 1 + numbers.Uint64N(2*k.perGroup*uint64(groups.End-groups.Start)/uint64(perDelta))
					if last >= k.perGroup {
						break
					}
					benchValue(value, random)
					w.set(benchKey(key, g, last), value)
				}
			}
			w.end(state.FileDelta, groups)
		}
	}
	return k
}

// repeated are the handles, and before them copies of those of the base under other names and key groups.
func (k *bulk) repeated(b *testing.B, copies int) []state.File {
	b.Helper()
	var more []state.File
	for c := 1; c < copies; c++ {
		for _, h := range k.handles {
			if h.Kind == state.FileDelta {
				continue
			}
			content, err := k.files.get(h.Name)
			if err != nil {
				b.Fatal(err)
			}
			h.Name = k.files.put(content)
			h.Groups = state.GroupRange{Start: h.Groups.Start + 128*c, End: h.Groups.End + 128*c}
			h.Lo, h.Hi = bytes.Clone(h.Lo), bytes.Clone(h.Hi)
			binary.BigEndian.PutUint16(h.Lo, uint16(h.Groups.Start))
			binary.BigEndian.PutUint16(h.Hi, uint16(h.Groups.End-1))
			more = append(more, h)
		}
	}
	return append(more, k.handles...)
}

// tableWriter writes tables of some MB.
type tableWriter struct {
	b     *testing.B
	k     *bulk
	fs    *vfs.MemFS
	w     *sst.Writer
	first []byte
	last  []byte
	bytes int
}

func (t *tableWriter) set(key, value []byte) {
	if t.w == nil {
		t.fs = vfs.NewMem()
		f, err := t.fs.Create("t", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.b.Fatal(err)
		}
		t.w, t.first, t.bytes = sst.NewWriter(objstorageprovider.NewFileWritable(f)), bytes.Clone(key), 0
	}
	if err := t.w.Set(key, value); err != nil {
		t.b.Fatal(err)
	}
	t.k.latest[uint64(binary.BigEndian.Uint16(key))*t.k.perGroup+binary.BigEndian.Uint64(key[5:])] = hashEntry(key, value)
	t.last = append(t.last[:0], key...)
	if t.bytes += len(value) * 6 / 10; t.bytes > benchTableBytes {
		t.end(state.FileBase, state.GroupRange{})
	}
}

func (t *tableWriter) end(kind state.FileKind, groups state.GroupRange) {
	if t.w == nil {
		return
	}
	size, err := t.w.Close()
	if err != nil {
		t.b.Fatal(err)
	}
	f, err := t.fs.Open("t")
	if err != nil {
		t.b.Fatal(err)
	}
	content := make([]byte, size)
	if _, err := f.ReadAt(content, 0); err != nil && err != io.EOF {
		t.b.Fatal(err)
	}
	h := state.File{Name: t.k.files.put(content), Size: size, Kind: kind, Groups: groups}
	if kind == state.FileBase {
		h.Level, h.Lo, h.Hi = 6, t.first, append(bytes.Clone(t.last), 0)
		h.Groups = state.GroupRange{Start: int(binary.BigEndian.Uint16(t.first)), End: int(binary.BigEndian.Uint16(t.last)) + 1}
	}
	t.k.handles = append(t.k.handles, h)
	t.w = nil
}

// BenchmarkTable is the cost of writing the changes of an epoch, already sorted, to a table.
func BenchmarkTable(b *testing.B) {
	const entries = 100_000
	s := openStore(b, pebblestate.Options{Dir: b.TempDir()}, "1")
	random := rand.NewChaCha8([32]byte{1})
	values := make([]byte, entries*benchValueBytes)
	for i := range entries {
		benchValue(values[i*benchValueBytes:][:benchValueBytes], random)
	}
	var size int64
	key := make([]byte, 0, benchKeyBytes)
	b.ReportAllocs()
	start := processCPU()
	for b.Loop() {
		t, err := s.NewTable()
		if err != nil {
			b.Fatal(err)
		}
		for i := range entries {
			c := state.Change{Kind: state.ChangeSet, Key: benchKey(key, i>>10, uint64(i)), Value: values[i*benchValueBytes:][:benchValueBytes]}
			if err := t.Add(c); err != nil {
				b.Fatal(err)
			}
		}
		if size, err = t.Finish(); err != nil {
			b.Fatal(err)
		}
		if err := t.Remove(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processCPU()-start)/float64(b.N)/entries, "cpu-ns/entry")
	b.ReportMetric(float64(size)/entries, "B/entry")
	b.StopTimer()
	mustClose(b, s)
}

// BenchmarkReadEntries is the cost of reading a base and 16 deltas as one, without a store.
func BenchmarkReadEntries(b *testing.B) {
	k := newBulk(b, 1_000_000, 16, 10_000, 1)
	r := state.Restore{Files: k.files, Handles: k.handles, States: []state.Descriptor{{Name: "v", ID: 1, Kind: state.KindTimers}}}
	b.SetBytes(k.logical)
	start := processCPU()
	for b.Loop() {
		n := 0
		if _, err := state.ReadEntries(context.Background(), r, state.GroupRange{End: 128}, func([]state.Descriptor, state.Entry) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
		if n != int(k.perGroup)*128 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(k.logical)/1e6*float64(b.N)/(processCPU()-start).Seconds(), "MB/cpu-s")
}

// BenchmarkRestore is the time until a restored store answers: from a storage with 10 ms and 100 MB/s for each request, and nothing of it on the local disk. The
// larger size repeats the objects of the smaller one under other names and key groups.
func BenchmarkRestore(b *testing.B) {
	for _, size := range []struct {
		name   string
		copies int
		deltas int
	}{{"1GB", 1, 16}, {"1GB,64 deltas", 1, 64}, {"5GB", 5, 16}} {
		b.Run(size.name, func(b *testing.B) {
			k := newBulk(b, 5_000_000, size.deltas, 10_000, 1)
			k.files.latency, k.files.bytesPerSec = 10*time.Millisecond, 100e6
			handles := k.repeated(b, size.copies)
			var ready, first time.Duration
			var gets []time.Duration
			var spent time.Duration
			for b.Loop() {
				dir := b.TempDir()
				random := rand.New(rand.NewPCG(1, uint64(b.N)))
				k.files.requests.Store(0)
				start := processCPU()
				begin := time.Now()
				s := openStore(b, pebblestate.Options{Dir: dir}, "1")
				if err := s.Attach(context.Background(), k.files, handles, groupAddress(0), groupAddress(128*size.copies)); err != nil {
					b.Fatal(err)
				}
				ready += time.Since(begin)
				spent += processCPU() - start
				b.ReportMetric(float64(k.files.requests.Load()), "requests-before-ready")
				for i := range 300 {
					at := time.Now()
					_, ok, err := s.Get(nil, benchKey(nil, random.IntN(128), random.Uint64N(k.perGroup)))
					if err != nil || !ok {
						b.Fatal(ok, err)
					}
					if i == 0 {
						first += time.Since(begin)
					} else {
						gets = append(gets, time.Since(at))
					}
				}
				mustClose(b, s)
			}
			slices.Sort(gets)
			n := float64(b.N)
			b.ReportMetric(ready.Seconds()*1e3/n, "ready-ms")
			b.ReportMetric(first.Seconds()*1e3/n, "first-record-ms")
			b.ReportMetric(spent.Seconds()*1e3/n, "cpu-ms-to-ready")
			b.ReportMetric(gets[len(gets)/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(gets[len(gets)*99/100].Seconds()*1e3, "p99-ms")
			b.ReportMetric(float64(len(handles)), "files")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRescale is the time until all subtasks of a new parallelism answer, for 2 GB of two or three old ones. Afterwards everything that they have is read
// and compared by a digest of keys and values with what was written.
func BenchmarkRescale(b *testing.B) {
	for _, c := range []struct{ from, to int }{{2, 3}, {3, 2}} {
		b.Run(fmt.Sprintf("%dto%d", c.from, c.to), func(b *testing.B) {
			k := newBulk(b, 10_000_000, 4, 10_000, c.from)
			var ready, spent time.Duration
			for b.Loop() {
				dir := b.TempDir()
				k.files.latency, k.files.bytesPerSec = 10*time.Millisecond, 100e6
				start, begin := processCPU(), time.Now()
				stores := make([]state.Store, c.to)
				for i := range stores {
					groups := state.RangeOf(i, c.to, 128)
					var err error
					if stores[i], err = pebblestate.New(pebblestate.Options{Dir: dir}).Open(state.OpenOptions{UID: "op", Subtask: i, Groups: groups}); err != nil {
						b.Fatal(err)
					}
					if err := stores[i].Attach(context.Background(), k.files, k.handles, groupAddress(groups.Start), groupAddress(groups.End)); err != nil {
						b.Fatal(err)
					}
				}
				ready += time.Since(begin)
				spent += processCPU() - start
				b.StopTimer()
				n, sum := uint64(0), uint64(0)
				for i, s := range stores {
					groups := state.RangeOf(i, c.to, 128)
					k.files.latency, k.files.bytesPerSec = 0, 0
					if err := s.Scan(groupAddress(groups.Start), groupAddress(groups.End), func(key, value []byte) (bool, error) {
						n, sum = n+1, sum+hashEntry(key, value)
						return true, nil
					}); err != nil {
						b.Fatal(err)
					}
					mustClose(b, s)
				}
				if n != 128*k.perGroup || sum != k.digest() {
					b.Fatalf("%d entries with digest %x, want %d with %x", n, sum, 128*k.perGroup, k.digest())
				}
				b.StartTimer()
			}
			gb := float64(k.logical) / 1e9
			b.ReportMetric(ready.Seconds()/float64(b.N)/gb, "s/GB")
			b.ReportMetric(spent.Seconds()/float64(b.N)/gb, "cpu-s/GB")
			b.ReportMetric(float64(len(k.handles)), "files")
		})
	}
}
