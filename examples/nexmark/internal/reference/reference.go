// Package reference computes the results of the Nexmark queries straight from their definitions: plain passes over the whole input with maps
// and sorted slices, no streaming, no watermarks, no library. It is the oracle of the example's tests and of examples/nexmark/compare, so
// it has a generator and a hash of its own and imports nothing but the standard library: a mistake in package gen or digest shows as
// another digest, instead of being made on both sides.
//
// The vectors in testdata were made by an implementation in Go and one on Flink 2.3 that share no code.
package reference

import (
	"fmt"
)

// Result is the final table that a query leaves: what a digest sink adds up to, retractions taken off.
type Result struct {
	Count  int64  // rows
	Digest uint64 // sum of the hashes of the rows, modulo 2^64
}

// String is the digest in 16 hexadecimal digits and the number of rows.
func (r Result) String() string { return fmt.Sprintf("%016x (%d rows)", r.Digest, r.Count) }

// queries has each query's definition; "gen" is the events themselves.
var queries = []struct {
	name string
	run  func(input, *table)
}{
	{"gen", everyEvent}, {"q0", q0}, {"q1", q1}, {"q2", q2}, {"q3", q3}, {"q4", q4}, {"q5", q5}, {"q7", q7}, {"q8", q8}, {"q9", q9}, {"q11", q11},
	{"q17", q17}, {"q18", q18}, {"q19", q19}, {"q20", q20},
}

// Queries returns the names that Compute takes: "gen", then the queries in the order of their numbers. The caller owns the slice.
func Queries() []string {
	names := make([]string, len(queries))
	for i, q := range queries {
		names[i] = q.name
	}
	return names
}

// Compute returns the result of a query over events 0 ≤ n < events of the given seed. It takes about 0.1 CPU seconds per million events and
// query, and memory for the query's final state alone: events are generated anew for each pass. Not for measuring: it is the definition, not
// the floor. The error says that the query is unknown or the number of events negative.
func Compute(query string, events int64, seed uint64) (Result, error) {
	if events < 0 {
		return Result{}, fmt.Errorf("reference: %d events, want 0 or more", events)
	}
	for _, q := range queries {
		if q.name == query {
			var t table
			q.run(input{events: uint64(events), s: mix(seed + gamma)}, &t)
			return Result(t), nil
		}
	}
	return Result{}, fmt.Errorf("reference: unknown query %q, want one of %v", query, Queries())
}
