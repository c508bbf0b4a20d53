package state

import (
	"reflect"
	"slices"

	"github.com/millrace-io/millrace/serde"
)

// Reads is what a program can read of one state beyond what the schemas of its Descriptor say. The zero value stands for codecs of package
// serde and no migrations.
type Reads struct {
	Key, Sub, Value Reading
	// HashedByEncoding says that the hash of an operator key is that of its encoding, not of its Go value; see serde.HashOf.
	HashedByEncoding bool
}

// Reading is what one codec can read beyond its own schema.
type Reading struct {
	// Rigid says that the codec reads its own schema only: it was written by hand and has no method Resolve.
	Rigid bool
	// Migrates are the schemas from which migrations lead to the declared type, those with fewer steps first.
	Migrates []string
}

// The ways to read data of another schema.
type way int

const (
	noWay       way = iota
	bySelf          // the schemas are equal
	byAvro          // Avro resolution
	byMigration     // one or more functions, behind Avro resolution where the first does not begin with the schema itself
)

// way is how data of the schema writer is read by a program whose own schema is reader; i is the index of the migration.
func (r *Reading) way(reader, writer string) (w way, i int) {
	if reader == writer {
		return bySelf, 0
	}
	if i := slices.Index(r.Migrates, writer); i >= 0 {
		return byMigration, i
	}
	if !r.Rigid && resolves(reader, writer) {
		return byAvro, 0
	}
	for i, schema := range r.Migrates {
		if resolves(schema, writer) {
			return byMigration, i
		}
	}
	return noWay, 0
}

// resolves reports whether Avro resolution reads every value.
func resolves(reader, writer string) bool {
	return len(serde.Check(reader, writer)) == 0
}

// hashedByEncoding reports whether serde.HashOf takes the encoding of keys of the kind.
func hashedByEncoding(k reflect.Kind) bool {
	return k != reflect.String && (k < reflect.Int || k > reflect.Uint64) && k != reflect.Float32 && k != reflect.Float64
}
