package exchange

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// eight is a record of 8 fields, with strings of 17, 19 and 21 bytes.
type eight struct {
	A, B       int64
	S1, S2, S3 string
	F          float64
	I          int32
	OK         bool
}

var sample = eight{A: 1_700_000_000_000, B: 42, S1: "customer-00000017", S2: "decision-0000000019", S3: "policy-00000000000021", F: 3.25, I: 7, OK: true}

// eightCodec is what a generator writes for eight.
type eightCodec struct{}

func (eightCodec) Append(dst []byte, v eight) ([]byte, error) {
	dst = binary.AppendVarint(binary.AppendVarint(dst, v.A), v.B)
	for _, s := range [3]string{v.S1, v.S2, v.S3} {
		dst = append(binary.AppendVarint(dst, int64(len(s))), s...)
	}
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.F))
	dst = binary.AppendVarint(dst, int64(v.I))
	if v.OK {
		return append(dst, 1), nil
	}
	return append(dst, 0), nil
}

func (c eightCodec) Decode(src []byte, v *eight) error { return c.DecodeShared(src, string(src), v) }

func (eightCodec) DecodeShared(src []byte, text string, v *eight) error {
	pos := 0
	long := func() int64 {
		n, k := varint(src, pos)
		pos += k
		return n
	}
	short := func() string {
		n := int(long())
		pos += n
		return text[pos-n : pos]
	}
	v.A, v.B = long(), long()
	v.S1, v.S2, v.S3 = short(), short(), short()
	v.F = math.Float64frombits(binary.LittleEndian.Uint64(src[pos:]))
	pos += 8
	v.I = int32(long())
	v.OK = src[pos] == 1
	if pos+1 != len(src) {
		return errors.New("bytes follow")
	}
	return nil
}

func (eightCodec) Schema() string { return "opaque:eight" }

// BenchmarkEdge is the cost of one record from one task to another: a sender on its own goroutine, a receiver that adds numbers up; within the process and
// over the loopback interface, both ends counted. cpu-ns/record is that of the whole process, user and system.
func BenchmarkEdge(b *testing.B) {
	ints := func(v int64) int64 { return v }
	text := strings.Clone("a record of some bytes")
	length := func(v string) int64 { return int64(len(v)) }
	fields := func(v eight) int64 { return v.A + int64(len(v.S3)) }
	b.Run("int64", func(b *testing.B) { benchEdge(b, 1, ints) })
	b.Run("string", func(b *testing.B) { benchEdge(b, text, length) })
	b.Run("fields", func(b *testing.B) { benchEdge(b, sample, fields) })
	b.Run("int64-tcp", func(b *testing.B) { benchFar(b, 1, serde.MustFor[int64](), ints) })
	b.Run("string-tcp", func(b *testing.B) { benchFar(b, text, serde.MustFor[string](), length) })
	b.Run("fields-tcp", func(b *testing.B) { benchFar(b, sample, serde.Serde[eight](eightCodec{}), fields) })
	b.Run("fields-tcp-derived", func(b *testing.B) { benchFar(b, sample, serde.MustFor[eight](), fields) })
}

func benchEdge[T any](b *testing.B, v T, weigh func(T) int64) {
	q := NewQueue(1)
	e := NewEdge[T](q, 0)
	var sum int64
	e.Attach(&operators.Context{}, func(v T) error { sum += weigh(v); return nil })
	bench(b, v, NewWriter(context.Background(), &operators.Context{}, []*Edge[T]{e}), q, &sum)
}

func benchFar[T any](b *testing.B, v T, codec serde.Serde[T], weigh func(T) int64) {
	f := newFar(b, b.Context(), 1, overTCP(), codec)
	var sum int64
	f.in.TimestampMS = 1_700_000_000_000
	f.receivers[0].Attach(&operators.Context{}, func(v T) error { sum += weigh(v); return nil })
	bench(b, v, f.w, f.queues[0], &sum)
}

func bench[T any](b *testing.B, v T, w *Writer[T], q *Queue, sum *int64) {
	send := ByKey(w, func(T) int { return 7 }, func(k int) uint64 { return uint64(k) * 0x9e3779b97f4a7c15 }, 128)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	go func() {
		for range b.N {
			if err := send(v); err != nil {
				panic(err)
			}
		}
		if err := w.Control(Control{Kind: End}); err != nil {
			panic(err)
		}
	}()
	for {
		d := <-q.C
		if err := d.Deliver(0, d.Len()); err != nil {
			b.Fatal(err)
		}
		end := d.Control().Kind == End
		d.Release()
		if end {
			break
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/record")
	if *sum == 0 {
		b.Fatal("nothing arrived")
	}
}

// cpuTime is what the process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
