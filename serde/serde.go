// Package serde turns values of Go types into bytes and back: on edges between processes, in state, in topics and in files.
package serde

// Serde encodes and decodes values of T.
//
// Contract:
//  1. Append followed by Decode gives a value equal to the first; Append of equal values gives equal bytes unless T holds a map.
//  2. Decode never panics, whatever src holds, never keeps src, and reports trailing bytes as an error.
//  3. A Serde is immutable and may be used from many goroutines at once.
type Serde[T any] interface {
	// Append appends the encoding of v to dst and returns the extended slice; dst is unchanged in length on error.
	Append(dst []byte, v T) ([]byte, error)
	// Decode reads the one value that src holds, whole, into v. *v must be the zero value of T.
	Decode(src []byte, v *T) error
	// Schema is the Avro schema (canonical JSON) of the encoding, or "opaque:<name>" for one that is not Avro. It is kept beside
	// stored data, and compared when a savepoint is started by another program.
	Schema() string
}
