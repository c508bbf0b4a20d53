package state

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/millrace-io/millrace/serde"
)

// Migrate reads values that were stored as an Old by f, for changes that Avro resolution cannot make: another type, a unit, one field split
// into two. It is used for stored values whose schema is that of Old's codec, and for those that Avro resolves to it where it does not
// resolve them to the declared type. old is Old's codec as it was; without it the one that package serde derives, whose schema has the name of
// the Go type Old in it: a codec made with serde.WithName, or a tag, gives the old name.
//
// New is the type of the state, or the Old of another Migrate of the same state: steps are composed, and of several ways the shortest is taken.
// A value is migrated whenever it is read, and is stored as the new type when it is next written. f must be pure: it may run any number of
// times for one value, in any subtask. It owns its argument; its error fails the read.
func Migrate[Old, New any](f func(Old) (New, error), old ...serde.Serde[Old]) Option {
	m := newMigration(f, old)
	return func(o *options) { o.values = append(o.values, m) }
}

// MigrateMapKey is Migrate for the keys of a map state. Two keys of one map must not become one: that fails the restore.
func MigrateMapKey[Old, New any](f func(Old) (New, error), old ...serde.Serde[Old]) Option {
	m := newMigration(f, old)
	return func(o *options) { o.mapKeys = append(o.mapKeys, m) }
}

// MigrateKey is Migrate for the keys of the operator: New is K, or the Old of another MigrateKey. Every entry is then read and written
// again by the restore, as keys may belong to other key groups. Two keys must not become one: that fails the restore. It is called before
// Open.
func (s *Keyed[K]) MigrateKey[Old, New any](f func(Old) (New, error), old ...serde.Serde[Old]) {
	s.keySteps = append(s.keySteps, newMigration(f, old))
	if s.codec != nil {
		s.keyReads.chains, s.keyFault = chainsTo(reflect.TypeFor[K](), s.codec.Schema(), s.keySteps)
	}
}

// migration is one typed step. Values pass through any: steps run for old values only.
type migration struct {
	from, to reflect.Type
	schema   string // of from's codec
	// reader makes the decoder of data of a schema as a value of from.
	reader func(schema string) (func(src []byte) (any, error), error)
	apply  func(any) (any, error)
	fault  error
}

func newMigration[Old, New any](f func(Old) (New, error), old []serde.Serde[Old]) migration {
	m := migration{from: reflect.TypeFor[Old](), to: reflect.TypeFor[New]()}
	var codec serde.Serde[Old]
	if len(old) == 0 {
		codec, m.fault = derive[Old]()
	} else if codec = old[0]; codec == nil || len(old) > 1 {
		m.fault = errors.New("it takes one codec of the old type, or none")
	}
	if f == nil {
		m.fault = errors.New("it has no function")
	}
	if m.fault != nil {
		m.fault = fmt.Errorf("migration of %v to %v: %w", m.from, m.to, m.fault)
		return m
	}
	m.schema = codec.Schema()
	m.reader = func(schema string) (func([]byte) (any, error), error) {
		c, err := serde.Evolve(codec, schema)
		if err != nil {
			return nil, err
		}
		return func(src []byte) (any, error) {
			var v Old
			err := c.Decode(src, &v)
			return v, err
		}, nil
	}
	m.apply = func(v any) (any, error) {
		was, ok := v.(Old)
		if !ok && v != nil { // nil: Old is an interface type
			return nil, fmt.Errorf("a value of type %T, want %v", v, m.from)
		}
		out, err := f(was)
		if err != nil {
			return nil, fmt.Errorf("migration of %v to %v: %w", m.from, m.to, err)
		}
		return out, nil
	}
	return m
}

// chain is a way from stored values to the declared type.
type chain []migration

// schema is that of the values it begins with.
func (c chain) schema() string { return c[0].schema }

// chainsTo are the shortest ways by steps to the type to, whose own schema is own; shorter ones first.
func chainsTo(to reflect.Type, own string, steps []migration) ([]chain, error) {
	var faults []error
	for _, m := range steps {
		if m.fault != nil {
			faults = append(faults, m.fault)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	var chains []chain
	done := map[reflect.Type]bool{to: true}
	for last := []chain{nil}; len(last) > 0; {
		found := map[reflect.Type]int{}
		var next []chain
		for _, c := range last {
			goal := to
			if c != nil {
				goal = c[0].from
			}
			for _, m := range steps {
				if m.to == goal && !done[m.from] {
					found[m.from]++
					next = append(next, append(chain{m}, c...))
				}
			}
		}
		for _, c := range next {
			from := c[0].from
			if found[from] > 1 && !done[from] {
				faults = append(faults, fmt.Errorf("several migrations lead from %v to %v in %d steps; leave one", from, to, len(c)))
			}
			done[from] = true
		}
		chains = append(chains, next...)
		last = next
	}
	for i, c := range chains {
		if slices.ContainsFunc(chains[:i], func(o chain) bool { return o[0].from != c[0].from && o.schema() == c.schema() }) {
			faults = append(faults, fmt.Errorf("two migrations begin with the schema %s, of which one can run", c.schema()))
		}
		if c.schema() == own {
			faults = append(faults, fmt.Errorf("migration of %v to %v would never run: its old schema is the one that is written now, %s; give the old type's codec", c[0].from, c[0].to, own))
		}
	}
	for _, m := range steps {
		if !done[m.from] || !done[m.to] || m.from == to {
			faults = append(faults, fmt.Errorf("migration of %v to %v is part of no way to %v, the declared type", m.from, m.to, to))
		}
	}
	return chains, errors.Join(faults...)
}

// migrated reads old values of a T by a chain; it writes what the declared codec writes.
type migrated[T any] struct {
	serde.Serde[T]
	read  func(src []byte) (any, error)
	chain chain
}

// Decode reads an old value and runs the steps.
func (m *migrated[T]) Decode(src []byte, v *T) error {
	x, err := m.read(src)
	for i := 0; err == nil && i < len(m.chain); i++ {
		x, err = m.chain[i].apply(x)
	}
	if err != nil {
		return err
	}
	out, ok := x.(T)
	if !ok && x != nil {
		return fmt.Errorf("a migration gave a %T, want %v", x, reflect.TypeFor[T]())
	}
	*v = out
	return nil
}
