package savepoint_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// event is a value with strings, an array and a map, of about 124 bytes.
type event struct {
	Customer string            `avro:"customer"`
	Amount   int64             `avro:"amount"`
	Tags     []string          `avro:"tags"`
	Labels   map[string]string `avro:"labels"`
	Note     string            `avro:"note"`
}

// benchCheckpoint is a checkpoint with n values of a subtask.
func benchCheckpoint(b *testing.B, n int) *savepoint.Savepoint {
	b.Helper()
	k := state.NewKeyed[string](nil, state.Config{})
	v := k.Value[event]("events")
	if err := k.Open(memstate.New(), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: 128}}); err != nil {
		b.Fatal(err)
	}
	hash, r := serde.HashOf(serde.MustFor[string]()), rand.New(rand.NewPCG(1, 1))
	for i := range n {
		key := fmt.Sprintf("customer-%08d", i)
		k.SetCurrent(key, hash(key))
		e := event{Customer: key, Amount: r.Int64N(1e6), Tags: []string{"new", "gold", fmt.Sprint(r.IntN(100))}, Labels: map[string]string{"country": "NL", "city": "Utrecht"},
			Note: fmt.Sprintf("order %d of %d, shipped", r.IntN(1e6), r.IntN(1e6))}
		if err := v.Set(e); err != nil {
			b.Fatal(err)
		}
	}
	j, err := checkpoint.Lead(context.Background(), checkpoint.Dir(b.TempDir()), nil)
	if err != nil {
		b.Fatal(err)
	}
	m := &checkpoint.Manifest{Version: checkpoint.FormatVersion, ID: 1, Epoch: j.Epoch(), MaxParallelism: 128, Operators: []checkpoint.OperatorState{
		{UID: "op", Parallelism: 1, States: state.Assign(nil, k.Descriptors(), nil), Subtasks: []checkpoint.SubtaskState{
			{Groups: state.GroupRange{End: 128}, Files: stored(b, k, j.Files(1))}}}}}
	if err := j.Complete(context.Background(), m); err != nil {
		b.Fatal(err)
	}
	return savepoint.From("bench", m, j.Files(1))
}

// cpu gives a function that reports the size of what was done in MB for each second of CPU time since the call: wall times mean little on a busy machine.
func cpu(b *testing.B) (report func(bytes int64)) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func(bytes int64) { b.ReportMetric(float64(bytes)/1e6/(used()-start).Seconds(), "MB/cpu-s") }
}

// rowsBytes is the size of the rows of a savepoint before compression.
func rowsBytes(s *savepoint.Savepoint) (n int64) {
	for _, f := range s.Manifest().Operators[0].Subtasks[0].Files {
		n += f.Rows.Bytes
	}
	return n
}

const benchEntries = 400_000

// BenchmarkWrite makes a savepoint of a checkpoint on the memory backend; MB are of rows before compression.
func BenchmarkWrite(b *testing.B) {
	s := benchCheckpoint(b, benchEntries)
	for _, codec := range []state.RowsCodec{state.RowsZstandard, state.RowsDeflate, state.RowsNone} {
		b.Run(string(codec), func(b *testing.B) {
			b.ReportAllocs()
			var done int64
			report := cpu(b)
			for b.Loop() {
				var p savepoint.Progress
				_, err := s.Write(context.Background(), checkpoint.Dir(b.TempDir()), savepoint.Options{Codec: codec, Progress: func(now savepoint.Progress) { p = now }})
				if err != nil {
					b.Fatal(err)
				}
				done += p.Bytes
			}
			report(done)
		})
	}
}

// BenchmarkRead reads every entry of a savepoint.
func BenchmarkRead(b *testing.B) {
	from := benchCheckpoint(b, benchEntries)
	for _, codec := range []state.RowsCodec{state.RowsZstandard, state.RowsDeflate, state.RowsNone} {
		s := write(b, from, checkpoint.Dir(b.TempDir()), savepoint.Options{Codec: codec})
		b.Run(string(codec), func(b *testing.B) {
			b.ReportAllocs()
			var done int64
			report := cpu(b)
			for b.Loop() {
				done += rowsBytes(s)
				n := 0
				if err := s.Entries(context.Background(), "op", func(*savepoint.Entry) error { n++; return nil }); err != nil || n != benchEntries {
					b.Fatal(n, err)
				}
			}
			report(done)
		})
	}
}

// BenchmarkRestore loads a savepoint into an operator on the memory backend.
func BenchmarkRestore(b *testing.B) {
	s := write(b, benchCheckpoint(b, benchEntries), checkpoint.Dir(b.TempDir()), savepoint.Options{})
	m, files, err := checkpoint.Load(context.Background(), s.URI())
	if err != nil {
		b.Fatal(err)
	}
	op := m.Operators[0]
	b.ReportAllocs()
	var done int64
	report := cpu(b)
	for b.Loop() {
		k := state.NewKeyed[string](nil, state.Config{})
		k.Value[event]("events")
		if err := k.Open(memstate.New(), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: 128}}); err != nil {
			b.Fatal(err)
		}
		if err := k.Restore(context.Background(), state.Restore{Files: files, Handles: op.Subtasks[0].Files, States: op.States}); err != nil {
			b.Fatal(err)
		}
		done += rowsBytes(s)
	}
	report(done)
}
