// Package serde turns values of Go types into bytes and back: on edges between processes, in state, in topics and in files.
//
// # Codecs
//
// For chooses the codec of a type: written by hand for strings, bytes, integers, floats and times, else derived by Avro. Both give the
// encoding of the Avro specification, so all that the program stores or sends can be read by any Avro tool.
//
// A codec by reflection is made in three steps, each of which reports all its faults: the deriver makes a schema of the Go type; the
// binder matches a schema (the derived one, or the one of WithSchema) with the memory of the Go type; the compilers turn both into
// closures over offsets. Nothing is looked up by name after that, Append allocates nothing but for maps, and Decode allocates what
// the value holds: all strings of a value of up to 4 KiB share one copy.
//
// # Generated codecs
//
// `millrace gen -type Order,Payment`, as a go:generate line of a package, writes code that does the same without closures, two to three times as
// fast. It is found by a method AvroCodec of the type and used for data of the type's own schema, by For, Avro, Confluent and SingleObject; a value
// that it refuses goes through the derived codec, so errors are the same. Code that was generated for another form of the type is a *StaleError.
// The codec of a type that only holds such types, as []Order or *Order, is derived: name a type for it, and list that too.
// Types Reader, Shape and Generated and the functions Append… and Read… are there for generated code.
//
// # Evolution
//
// A decoder is always compiled from a writer's schema to the reader's: data of the own schema is the case that both are the same. So
// Resolve, Evolve, Confluent and SingleObject share one path, and names, aliases, defaults and promotions cost nothing per value. Check
// compares two schemas without Go types; what passes it resolves.
//
// # Limits
//
// Input is never trusted. Lengths and counts are checked against the bytes that are left; memory grows with what was read; items
// without bytes are at most 65,536 in a value; records nest at most 1,000 deep, in encoding too; booleans are 0 or 1; decimals and
// times must fit their types; trailing bytes are an error. Fixed types have at most 1 MiB.
//
// # Not obvious
//
//   - A time is cut to the unit of its schema (milliseconds by default) and comes back in UTC: Append and Decode of time.Now() give
//     another value. Append of what was decoded gives the same bytes.
//   - uint64 and uint are decimals, as Avro has no unsigned integers: a long would fail on, or falsify, the upper half.
//   - Resolution is stricter than the specification where that reads wrong values without a word: milliseconds as microseconds, and
//     decimals of another scale.
//   - The schema of a codec keeps logical types, defaults and aliases; the Parsing Canonical Form, which drops them, is used for
//     fingerprints only. Otherwise a change of a unit would go unseen.
//   - Values are encoded from a pooled copy, as closures make their argument escape: the copy is cleared before it goes back.
//   - hamba/avro is the other implementation in the tests, which compare encodings, canonical forms and verdicts on compatibility with it.
//     The codecs do not use it: its schema resolution ends the process on recursive schemas, it takes records that are cut off between two fields, and
//     it allocates on each encoding.
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
