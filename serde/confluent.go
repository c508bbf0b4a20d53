package serde

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ConfluentOptions set how a Confluent codec uses its registry.
type ConfluentOptions struct {
	// AutoRegister registers the schema of the codec when the subject does not have it, after a check against the mode of the subject.
	// Default: off, as in production a schema is registered by a deployment, not by whichever process starts first.
	AutoRegister bool
	// Avro are options of the derived schema.
	Avro []AvroOption
	// Timeout of all that one value asks of the registry. Default 10 s. It is spent within Append and Decode, on the task's goroutine,
	// and for the first value of each schema only.
	Timeout time.Duration
}

// ConfluentSerde is a Serde of the Confluent wire format. It is made by Confluent.
type ConfluentSerde[T any] struct {
	reg     Registry
	subject string
	o       ConfluentOptions
	own     *avroSerde[T]
	id      atomic.Int64 // of the own schema plus 1; 0 until known
	decode  sync.Map     // schema id → decoding[T]
}

// decoding is what is known of a writer's schema: how to read it, or why it cannot be read.
type decoding[T any] struct {
	codec *avroSerde[T]
	err   error
}

// Confluent makes a Serde whose Append writes 0x00, the id of T's schema in subject and the Avro body, and whose Decode reads data of
// any schema in the registry that resolves into T. It asks the registry nothing yet; Prepare does, so that a job fails at its start
// and not at the first record.
//
// Decode fails with ErrUnknownSchema for an id that the registry does not have and with an Incompatibility for one that does not
// resolve: the record is at fault. It fails with ErrUnavailable when the registry does not answer about an id that is not known yet:
// the record is not at fault, and the caller tries again.
func Confluent[T any](reg Registry, subject string, o ConfluentOptions) (*ConfluentSerde[T], error) {
	var errs []error
	if reg == nil {
		errs = append(errs, errors.New("serde: Confluent needs a registry, not nil"))
	}
	if subject == "" {
		errs = append(errs, errors.New(`serde: Confluent needs a subject, for a topic's values "topic-value"`))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("serde: ConfluentOptions.Timeout is %v, want 0 (10s) or more", o.Timeout))
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	own, err := newAvro[T](o.Avro)
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return &ConfluentSerde[T]{reg: reg, subject: subject, o: o, own: own}, nil
}

// Schema is "opaque:confluent:" and the subject: the bytes are no plain Avro.
func (s *ConfluentSerde[T]) Schema() string { return opaque + "confluent:" + s.subject }

// AvroSchema is the schema that Append writes with.
func (s *ConfluentSerde[T]) AvroSchema() string { return s.own.schema }

// Prepare finds the id of the own schema, and registers it first if AutoRegister is set. An *IncompatibleError names the fields that
// keep it from being registered. Append calls Prepare when nobody did.
func (s *ConfluentSerde[T]) Prepare(ctx context.Context) error {
	if s.id.Load() != 0 {
		return nil
	}
	id, err := s.reg.IDOf(ctx, s.subject, s.own.schema)
	if errors.Is(err, ErrUnknownSchema) {
		id, err = s.register(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("serde: schema of %v: %w", s.own.bound.typ, err)
	}
	s.id.Store(int64(id) + 1)
	return nil
}

func (s *ConfluentSerde[T]) register(ctx context.Context, unknown error) (int, error) {
	if err := CheckSubject(ctx, s.reg, s.subject, s.own.schema); err != nil {
		return 0, err
	}
	if !s.o.AutoRegister {
		return 0, fmt.Errorf("%w; register it before the start, or set ConfluentOptions.AutoRegister: %s", unknown, s.own.schema)
	}
	return s.reg.Register(ctx, s.subject, s.own.schema)
}

// Append appends the framed encoding of v.
func (s *ConfluentSerde[T]) Append(dst []byte, v T) ([]byte, error) {
	if s.id.Load() == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
		defer cancel()
		if err := s.Prepare(ctx); err != nil {
			return dst, err
		}
	}
	out, err := s.own.Append(AppendWireHeader(dst, int(s.id.Load()-1)), v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Decode reads a framed value of any schema that resolves into T.
func (s *ConfluentSerde[T]) Decode(src []byte, v *T) error {
	id, body, err := ParseWireHeader(src)
	if err != nil {
		return fmt.Errorf("serde: decode %v: %w", s.own.bound.typ, err)
	}
	return s.DecodeBody(id, body, v)
}

// DecodeBody reads a bare Avro body whose schema id came another way, as in a record header (ParseHeaderID).
func (s *ConfluentSerde[T]) DecodeBody(id int, body []byte, v *T) error {
	known, ok := s.decode.Load(id)
	if !ok {
		d, err := s.resolve(id)
		if err != nil {
			return fmt.Errorf("serde: decode %v: %w", s.own.bound.typ, err)
		}
		known, _ = s.decode.LoadOrStore(id, d)
	}
	d := known.(decoding[T])
	if d.err != nil {
		return fmt.Errorf("serde: decode %v: schema id %d: %w", s.own.bound.typ, id, d.err)
	}
	return d.codec.Decode(body, v)
}

// resolve fetches a writer's schema. An error is one of the fetch, which may be gone the next time; a schema that does not resolve
// never will, so that is part of the result.
func (s *ConfluentSerde[T]) resolve(id int) (decoding[T], error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Timeout)
	defer cancel()
	schema, err := s.reg.SchemaByID(ctx, id)
	if err != nil {
		return decoding[T]{}, err
	}
	codec, err := s.own.resolve(schema)
	return decoding[T]{codec: codec, err: err}, nil
}

// derived implements IsDerived.
func (s *ConfluentSerde[T]) derived() bool { return s.own.derived() }
