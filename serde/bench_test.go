package serde

import (
	"fmt"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
)

// event has the shape of the codec measurements in the design: 2 long, 3 strings of 17, 19 and 21 bytes, double, int, bool.
type event struct {
	A  int64   `avro:"a"`
	B  int64   `avro:"b"`
	S1 string  `avro:"s1"`
	S2 string  `avro:"s2"`
	S3 string  `avro:"s3"`
	F  float64 `avro:"f"`
	I  int32   `avro:"i"`
	OK bool    `avro:"ok"`
}

var sample = event{
	A: 1_700_000_000_000, B: 42, S1: "customer-00000017", S2: "decision-0000000019", S3: "policy-00000000000021", F: 3.25, I: 7, OK: true,
}

func BenchmarkEvent(b *testing.B) {
	s := mustAvro[event](b)
	data, err := s.Append(nil, sample)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 256)
		for b.Loop() {
			if buf, err = s.Append(buf[:0], sample); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v event
			if err := s.Decode(data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	hs := avro.MustParse(s.Schema())
	b.Run("hamba-append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := avro.Marshal(hs, &sample); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hamba-decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v event
			if err := avro.Unmarshal(hs, data, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchScalar[T comparable](b *testing.B, v T) {
	s := MustFor[T]()
	data, err := s.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(fmt.Sprintf("append-%T", v), func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 64)
		for b.Loop() {
			if buf, err = s.Append(buf[:0], v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(fmt.Sprintf("decode-%T", v), func(b *testing.B) {
		b.ReportAllocs()
		var out T
		for b.Loop() {
			if err := s.Decode(data, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
	hash := HashOf(s)
	b.Run(fmt.Sprintf("hash-%T", v), func(b *testing.B) {
		b.ReportAllocs()
		var sum uint64
		for b.Loop() {
			sum += hash(v)
		}
	})
}

func BenchmarkScalars(b *testing.B) {
	benchScalar(b, int64(1<<40))
	benchScalar(b, "customer-0000000000000024")
	benchScalar(b, time.UnixMilli(1).UTC())
	benchScalar(b, uint64(7))
}

// BenchmarkHashOf hashes a key of two numbers.
func BenchmarkHashOf(b *testing.B) {
	type pair struct{ Bidder, Auction int64 }
	hash := HashOf(MustFor[pair]())
	var sum uint64
	b.ReportAllocs()
	for i := range int64(b.N) {
		sum += hash(pair{i, 7 * i})
	}
	if sum == 1 {
		b.Fatal("unreachable")
	}
}
