package digest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
)

// TestRow checks the values that SPEC.md, section 3, gives.
func TestRow(t *testing.T) {
	for _, c := range []struct {
		i    int64
		s    string
		want uint64
	}{{1, "abc", 0xe4166f1217b64ce8}, {0, "", 0xde43376b9e92e3e4}, {-1, "abcdefgh", 0xada4ddf4ce2c3734}} {
		if got := digest.NewRow().Int(c.i).String(c.s).Hash(); got != c.want {
			t.Errorf("hash of (%d, %q) is %016x, want %016x", c.i, c.s, got, c.want)
		}
	}
}

// TestRetract checks that a row that is taken back leaves nothing but its count of rows.
func TestRetract(t *testing.T) {
	var s digest.Sum
	s.Add(10)
	s.Add(7)
	s.Retract(10)
	if want := (digest.Sum{Digest: 7, Count: 1, Rows: 3}); s != want {
		t.Errorf("sum is %+v, want %+v", s, want)
	}
	if got, want := s.String(), "0000000000000007 of 1 rows"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

// TestConformance runs the suite that every sink passes. Rows are told apart by bits of the digest: one that counts twice or not at all shows.
func TestConformance(t *testing.T) {
	const rows = 40 // some histories write more, 64 at most
	connectortest.TestSink(t, connectortest.SinkSuite[int]{
		New: func(*testing.T) (func() connectors.Sink[int], func() []string) {
			total := digest.NewTotal(nil)
			sink := digest.Sink[int]{Hash: func(i int) uint64 { return 1 << i }, Total: total}
			return func() connectors.Sink[int] { return sink }, func() []string { return bits(total.Sum()) }
		},
		Record: func(i int) int { return i }, ID: func(i int) string { return fmt.Sprint(i) }, Records: rows, ExactlyOnce: true, Bubble: true,
	})
}

// bits are the rows of the sum, or what is wrong with it.
func bits(s digest.Sum) (ids []string) {
	for i := range 64 {
		if s.Digest>>i&1 == 1 {
			ids = append(ids, fmt.Sprint(i))
		}
	}
	if s.Count != int64(len(ids)) || s.Rows != s.Count {
		ids = append(ids, fmt.Sprintf("a sum that contradicts itself: %+v", s))
	}
	return slices.Clip(ids)
}

// BenchmarkRow hashes a row as long as that of a bid.
func BenchmarkRow(b *testing.B) {
	extra := fmt.Sprintf("%068d", 1)
	var sum uint64
	b.ReportAllocs()
	for i := range int64(b.N) {
		sum += digest.NewRow().Int(i).Int(i).Int(i).Int(i).String(extra).Hash()
	}
	if sum == 1 {
		b.Fatal("unreachable")
	}
}
