package codegen_test

import (
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// plainEvent has the fields of fixture.Event and no generated code.
type plainEvent fixture.Event

var sample = fixture.Event{
	A: 1_700_000_000_000, B: 42, S1: "customer-00000017", S2: "decision-0000000019", S3: "policy-00000000000021", F: 3.25, I: 7, OK: true,
}

func BenchmarkGenerated(b *testing.B) { benchmark(b, serde.MustFor[fixture.Event](), sample) }

func BenchmarkDerived(b *testing.B) { benchmark(b, serde.MustFor[plainEvent](), plainEvent(sample)) }

func benchmark[T any](b *testing.B, s serde.Serde[T], v T) {
	src, err := s.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 256)
		for b.Loop() {
			if buf, err = s.Append(buf[:0], v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		out := new(T)
		for b.Loop() {
			if err := s.Decode(src, out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode-shared", func(b *testing.B) {
		b.ReportAllocs()
		d, text, out := s.(serde.SharedDecoder[T]), string(src), new(T)
		for b.Loop() {
			if err := d.DecodeShared(src, text, out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
