package pebblestate_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// The benchmarks of this file are the figures of docs/BENCHMARKS.md about state that is larger than memory. Each reports CPU time of the
// whole process, compactions and garbage collector included, because wall time means little on a busy machine.

// row is a value of 200 bytes, half of them random.
type row struct {
	Count int64
	Body  [192]byte
}

func newRow(rng *rand.Rand) (r row) {
	for i := 0; i < len(r.Body)/2; i += 8 {
		binary.LittleEndian.PutUint64(r.Body[i:], rng.Uint64())
	}
	return r
}

// rows is keyed state of one row for each key.
type rows struct {
	*state.Keyed[int64]
	value *state.Value[row]
	hash  func(int64) uint64
}

func openRows(b *testing.B, back state.Backend) *rows {
	b.Helper()
	s := state.NewKeyed(serde.MustFor[int64](), state.Config{})
	r := &rows{Keyed: s, value: s.Value[row]("row"), hash: serde.HashOf(serde.MustFor[int64]())}
	must(b, s.Open(back, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
	return r
}

// update is one read-modify-write.
func (r *rows) update(b *testing.B, key int64) {
	r.SetCurrent(key, r.hash(key))
	v, err := r.value.Get()
	if err == nil {
		v.Count++
		err = r.value.Set(v)
	}
	must(b, err)
}

func (r *rows) fill(b *testing.B, keys int64) {
	rng := rand.New(rand.NewPCG(1, 2))
	for k := range keys {
		r.SetCurrent(k, r.hash(k))
		must(b, r.value.Set(newRow(rng)))
	}
}

// rssMB is the memory of this process in MB, now and at its peak; 0 where the system does not tell.
func rssMB(field string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field+":" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}

// BenchmarkReadModifyWrite is one read-modify-write of 200 bytes over 1 M keys, Zipf 1.1: in the memory backend, on Pebble with everything in the
// cache, with a tenth of the keys in the cache, and with Pebble's own Get and Set under the same options; 256 MB of
// block cache in both.
func BenchmarkReadModifyWrite(b *testing.B) {
	const keys = 1_000_000
	const slot = 430 // bytes of a cached row with its slot, about
	const blockCache = 256 << 20
	back := map[string]state.Backend{
		"memory":        memstate.New(),
		"pebble/fits":   pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: 4 * keys * slot}),
		"pebble/tenth":  pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: keys * slot / 10, BlockCacheBytes: blockCache}),
		"pebble/getset": nil,
	}
	for _, name := range []string{"memory", "pebble/fits", "pebble/tenth", "pebble/getset"} {
		b.Run(name, func(b *testing.B) {
			update := getSet(b)
			if back[name] != nil {
				r := openRows(b, back[name])
				r.fill(b, keys)
				update = func(k int64) { r.update(b, k) }
				defer func() { must(b, r.Close()) }()
			}
			zipf := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, keys-1)
			for range keys { // what is hot is in the cache
				update(int64(zipf.Uint64()) * 7919 % keys)
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			before := processCPU()
			for range b.N {
				update(int64(zipf.Uint64()) * 7919 % keys)
			}
			b.ReportMetric(float64(processCPU()-before)/float64(b.N), "cpu-ns/op")
			b.StopTimer()
		})
	}
}

// getSet is a read-modify-write without a cache of values: Pebble as the backend opens it.
func getSet(b *testing.B) func(int64) {
	if !strings.HasSuffix(b.Name(), "getset") {
		return nil
	}
	o := &pebble.Options{DisableWAL: true, FormatMajorVersion: pebble.FormatNewest, MemTableSize: 16 << 20, CacheSize: 256 << 20, Logger: quiet{}}
	for i := range o.Levels {
		o.Levels[i].BlockSize, o.Levels[i].FilterPolicy = 8<<10, bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(b.TempDir(), o)
	must(b, err)
	b.Cleanup(func() { must(b, db.Close()) })
	codec, rng := serde.MustFor[row](), rand.New(rand.NewPCG(1, 2))
	var key [12]byte
	var buf []byte
	set := func(k int64, v row) {
		binary.BigEndian.PutUint64(key[4:], uint64(k)*0x9e3779b97f4a7c15)
		buf, err = codec.Append(buf[:0], v)
		must(b, err)
		must(b, db.Set(key[:], buf, pebble.NoSync))
	}
	for k := range int64(1_000_000) {
		set(k, newRow(rng))
	}
	return func(k int64) {
		binary.BigEndian.PutUint64(key[4:], uint64(k)*0x9e3779b97f4a7c15)
		var v row
		data, closer, err := db.Get(key[:])
		must(b, err)
		must(b, codec.Decode(data, &v))
		must(b, closer.Close())
		v.Count++
		set(k, v)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// tally is a state.Files that keeps no content, only how many bytes were stored.
type tally struct {
	nowhere
	bytes *atomic.Int64
}

func (t tally) Write(_ context.Context, groups state.GroupRange, _ int, fill func(io.Writer) error) (state.File, error) {
	var n counting
	err := fill(&n)
	t.bytes.Add(int64(n))
	return state.File{Name: fmt.Sprintf("data/1-1-%d", t.bytes.Load()), Size: int64(n), Groups: groups}, err
}

func (t tally) Later() state.Files { return t }

// checkpoint takes one, as a task does it that has nothing else to do. pause is what the barrier took.
func (r *rows) checkpoint(b *testing.B, files state.Files) (pause time.Duration, w state.Written) {
	start := time.Now()
	image, err := r.Snapshot()
	pause = time.Since(start)
	must(b, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, err = image.Write(context.Background(), files)
	}()
	for {
		select {
		case <-done:
			must(b, err)
			image.Release()
			return pause, w
		default:
			_, err := r.Background(50 * time.Microsecond)
			must(b, err)
		}
	}
}

// BenchmarkCheckpoint is the pause of the task at a barrier, with 10 000 and 1 000 000 changed keys, over 1 and 5 GB of state, and the bytes that the
// checkpoint has stored, against the encoded entries that had changed.
func BenchmarkCheckpoint(b *testing.B) {
	for _, gb := range []int64{1, 5} {
		for _, changed := range []int64{10_000, 1_000_000} {
			b.Run(fmt.Sprintf("state=%dGB/changed=%d", gb, changed), func(b *testing.B) {
				const entry = 200 + 14 + 9 // value, address, head
				keys := gb << 30 / entry
				r := openRows(b, pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: 512 << 20}))
				r.fill(b, keys)
				files := tally{bytes: new(atomic.Int64)}
				r.checkpoint(b, files) // everything
				var pauses []time.Duration
				var delta, base int64
				rng := rand.New(rand.NewPCG(5, 6))
				b.ResetTimer()
				for range b.N {
					for range changed {
						r.update(b, rng.Int64N(keys))
					}
					pause, w := r.checkpoint(b, files)
					pauses = append(pauses, pause)
					delta, base = delta+w.Bytes, base+w.BaseBytes
				}
				b.StopTimer()
				slices.Sort(pauses)
				b.ReportMetric(float64(pauses[len(pauses)/2].Microseconds()), "p50-pause-µs")
				b.ReportMetric(float64(pauses[len(pauses)*99/100].Microseconds()), "p99-pause-µs")
				b.ReportMetric(float64(pauses[len(pauses)-1].Microseconds()), "max-pause-µs")
				b.ReportMetric(float64(delta)/float64(b.N)/float64(changed*entry), "bytes/changed-byte")
				b.ReportMetric(float64(base)/float64(b.N)/float64(changed*entry), "base-bytes/changed-byte")
				must(b, r.Close())
			})
		}
	}
}

// BenchmarkRateDuringCheckpoint is the rate of updates of a task while a checkpoint of 1 % of the keys is under way, against that between the checkpoints
// of the same run. A checkpoint begins as soon as every one of these keys has changed some 25 times; what it leaves to the task gets a tenth of its time, as
// internal/runtime gives it. The base is made before.
func BenchmarkRateDuringCheckpoint(b *testing.B) {
	const keys, every, step = 2_000_000, 500_000, 256
	r := openRows(b, pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: 1 << 30}))
	r.fill(b, keys)
	files := tally{bytes: new(atomic.Int64)}
	r.baseFirst(b, files)
	rng := rand.New(rand.NewPCG(5, 6))
	var during, between rate
	var saved time.Duration
	var image state.Snapshot
	var done chan error
	b.ResetTimer()
	before, last, taken := processCPU(), time.Now(), 0
	for i := 0; i < b.N; i += step {
		for range step {
			r.update(b, rng.Int64N(keys/100))
		}
		if saved += time.Since(last) / 9; saved >= 50*time.Microsecond {
			_, err := r.Background(saved)
			must(b, err)
			saved = 0
		}
		at := &between
		if done != nil {
			at = &during
		}
		last = at.add(step, last)
		select {
		case err := <-done:
			must(b, err)
			image.Release()
			done = nil
		default:
		}
		if done == nil && i/every >= taken {
			var err error
			image, err = r.Snapshot()
			must(b, err)
			done = make(chan error, 1)
			go func(image state.Snapshot, done chan error) {
				_, err := image.Write(context.Background(), files)
				done <- err
			}(image, done)
			taken++
		}
	}
	b.ReportMetric(float64(b.N)/(processCPU()-before).Seconds()/1e6, "M-updates/cpu-s")
	b.ReportMetric(during.perSecond()/1e6, "M-updates/s-during")
	b.ReportMetric(between.perSecond()/1e6, "M-updates/s-between")
	b.ReportMetric(during.perSecond()/between.perSecond(), "during/between")
	b.ReportMetric(during.time.Seconds()/(during.time+between.time).Seconds(), "share-of-time-during")
	b.ReportMetric(float64(taken), "checkpoints")
	b.StopTimer()
	must(b, r.Close())
}

// rate is a number of updates and the time they took.
type rate struct {
	n    int
	time time.Duration
}

// add counts n updates since last, and returns the time now.
func (r *rate) add(n int, last time.Time) time.Time {
	now := time.Now()
	r.n, r.time = r.n+n, r.time+now.Sub(last)
	return now
}

func (r *rate) perSecond() float64 { return float64(r.n) / max(r.time.Seconds(), 1e-9) }

// baseFirst takes checkpoints until one builds on a base, with nothing of it left to do.
func (r *rows) baseFirst(b *testing.B, files state.Files) {
	for range 10_000 {
		_, w := r.checkpoint(b, files)
		if slices.ContainsFunc(w.Files, func(f state.File) bool { return f.Kind == state.FileBase }) {
			return
		}
		for k := range int64(10_000) { // time for the base, which is uploaded meanwhile
			r.update(b, k)
		}
	}
	b.Fatal("no base was made")
}

// BenchmarkMemory is the memory of a process whose state is 20 times the cache: random updates with a checkpoint now and then.
func BenchmarkMemory(b *testing.B) {
	const cache = 64 << 20
	keys := int64(20 * cache / 220)
	r := openRows(b, pebblestate.New(pebblestate.Options{Dir: b.TempDir(), CacheBytes: cache}))
	r.fill(b, keys)
	files := tally{bytes: new(atomic.Int64)}
	r.checkpoint(b, files)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.05, 1, uint64(keys-1))
	b.ResetTimer()
	for i := range b.N {
		r.update(b, int64(zipf.Uint64())*7919%keys)
		if i%300_000 == 299_999 {
			r.checkpoint(b, files)
		}
	}
	b.StopTimer()
	b.ReportMetric(rssMB("VmRSS"), "MB-now")
	b.ReportMetric(rssMB("VmHWM"), "MB-peak")
	b.ReportMetric(cache>>20, "MB-cache")
	must(b, r.Close())
}
