package state

import (
	"fmt"
	"reflect"

	"github.com/millrace-io/millrace/serde"
)

// resolver decodes the values of one state, whichever program wrote them: a stored value carries the id of its schema, an index of
// Descriptor.Schemas, and each id has a decoder that is made once, before the first record.
type resolver[V any] struct {
	codec serde.Serde[V]
	// written is the id of the codec's own schema, with which every value is written.
	written int
	// versions are the decoders by schema id; nil while the own schema is the only one.
	versions []version[V]
	// chains are the ways by migrations, shorter ones first.
	chains []chain
}

// evolve takes codec and migrations of the state d and notes in reads what the resolver can read.
func (r *resolver[V]) evolve(codec serde.Serde[V], steps []migration, d *Descriptor, reads *Reading) (err error) {
	r.codec = codec
	if r.chains, err = chainsTo(reflect.TypeFor[V](), codec.Schema(), steps); err != nil {
		return fmt.Errorf("state: %s state %q: %w", d.Kind, d.Name, err)
	}
	*reads = r.reading()
	return nil
}

// reading is what the resolver can read beyond its codec's own schema.
func (r *resolver[V]) reading() Reading {
	_, supple := r.codec.(interface {
		Resolve(writerSchema string) (serde.Serde[V], error)
	})
	out := Reading{Rigid: !supple}
	for _, c := range r.chains {
		out.Migrates = append(out.Migrates, c.schema())
	}
	return out
}

// version is one schema of stored values.
type version[V any] struct {
	schema string
	codec  serde.Serde[V] // reads data of schema
}

// adopt makes values of all the given schemas, by their ids, readable; the codec's own must be among them. None means the own alone.
func (r *resolver[V]) adopt(schemas []string) error {
	r.written, r.versions = 0, nil
	mine := -1
	for i, schema := range schemas {
		if schema == r.codec.Schema() {
			mine = i
		}
		if _, err := r.add(schema); err != nil {
			return fmt.Errorf("values of schema %s: %w", schema, err)
		}
	}
	if mine < 0 && len(schemas) > 0 {
		return fmt.Errorf("the schemas of stored values lack the one that is written now, %s", r.codec.Schema())
	}
	r.written = max(mine, 0)
	return nil
}

// resolve is the id under which decode reads values of schema. Values of a schema that adopt has not seen are never stored as they are, so
// their ids stay within this process.
func (r *resolver[V]) resolve(schema string) (id int, err error) {
	if r.versions == nil {
		if schema == r.codec.Schema() {
			return 0, nil
		}
		r.versions = []version[V]{{r.codec.Schema(), r.codec}}
	}
	for i := range r.versions {
		if r.versions[i].schema == schema {
			return i, nil
		}
	}
	return r.add(schema)
}

func (r *resolver[V]) add(schema string) (id int, err error) {
	codec, err := r.reader(schema)
	if err != nil {
		return 0, err
	}
	r.versions = append(r.versions, version[V]{schema, codec})
	return len(r.versions) - 1, nil
}

// reader is a codec whose Decode reads data of schema.
func (r *resolver[V]) reader(schema string) (serde.Serde[V], error) {
	if schema == r.codec.Schema() {
		return r.codec, nil
	}
	reads := r.reading()
	how, i := reads.way(r.codec.Schema(), schema)
	if how != byMigration {
		// What Avro judges value by value is refused before a job starts, not here.
		return serde.Evolve(r.codec, schema)
	}
	c := r.chains[i]
	read, err := c[0].reader(schema)
	if err != nil {
		return nil, err
	}
	return &migrated[V]{r.codec, read, c}, nil
}

// decode decodes a value that carries the given schema id into *v, which must be zero.
func (r *resolver[V]) decode(src []byte, schema int, v *V) error {
	if schema == r.written {
		return r.codec.Decode(src, v)
	}
	if uint(schema) >= uint(len(r.versions)) {
		return fmt.Errorf("%w: schema id %d of a value; the state has %d", errCorrupt, schema, max(len(r.versions), 1))
	}
	return r.versions[schema].codec.Decode(src, v)
}

// recodeValue appends the value of schema id schema as this program writes it.
func (r *resolver[V]) recodeValue(dst []byte, value []byte, schema int) ([]byte, error) {
	if schema == r.written {
		return append(dst, value...), nil
	}
	var v V
	if err := r.decode(value, schema, &v); err != nil {
		return dst, err
	}
	return r.codec.Append(dst, v)
}
