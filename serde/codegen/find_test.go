package codegen_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// stale is a type whose code was generated for an earlier form of it.
type stale struct{ A int64 }

func (*stale) AvroCodec() serde.GeneratedCodec {
	return serde.Generated[stale]{Fingerprint: "0000000000000000",
		Append: func(dst []byte, _ stale) ([]byte, bool) { return append(dst, 'x'), true },
		Decode: func([]byte, string, *stale) bool { return true }}
}

// TestStaleCodeIsRefused: no way to a codec leads past the fingerprint.
func TestStaleCodeIsRefused(t *testing.T) {
	_, byFor := serde.For[stale]()
	_, byAvro := serde.Avro[stale](serde.WithName("other"))
	_, bySchemaOf := serde.SchemaOf[stale]()
	_, byResolve := serde.Resolve[stale](`{"type":"record","name":"stale","fields":[{"name":"A","type":"long"}]}`)
	_, byConfluent := serde.Confluent[stale](&registry{}, "s", serde.ConfluentOptions{})
	_, bySingle := serde.SingleObject[stale](nil)
	for i, err := range []error{byFor, byAvro, bySchemaOf, byResolve, byConfluent, bySingle} {
		var e *serde.StaleError
		if !errors.As(err, &e) || e.Type != reflect.TypeFor[stale]() || !strings.Contains(err.Error(), "run go generate in package") {
			t.Errorf("way %d: %v, want a *StaleError that says what to do", i, err)
		}
	}
	// A schema that is given has nothing to do with generated code.
	if s, err := serde.Avro[stale](serde.WithSchema(`{"type":"record","name":"s","fields":[{"name":"A","type":"int"}]}`)); err != nil || !serde.IsDerived(s) {
		t.Errorf("with a schema: %v", err)
	}
}

// TestFingerprint: whatever changes bytes or the code for them changes the fingerprint, and nothing else does.
func TestFingerprint(t *testing.T) {
	of := func(v any) string {
		s, err := serde.ShapeOf(reflect.TypeOf(v))
		if err != nil {
			t.Fatal(err)
		}
		return s.Fingerprint()
	}
	type base = struct {
		A int64  `avro:"a"`
		B int64  `avro:"b"`
		C string `avro:"c,enum=X|Y"`
		D *int64 `avro:"d"`
	}
	want := of(base{})
	for name, v := range map[string]any{
		"tags exchanged with the fields": struct {
			B int64  `avro:"a"`
			A int64  `avro:"b"`
			C string `avro:"c,enum=X|Y"`
			D *int64 `avro:"d"`
		}{},
		"other Go type of the same long": struct {
			A int32  `avro:"a,long"`
			B int64  `avro:"b"`
			C string `avro:"c,enum=X|Y"`
			D *int64 `avro:"d"`
		}{},
		"symbols in another order": struct {
			A int64  `avro:"a"`
			B int64  `avro:"b"`
			C string `avro:"c,enum=Y|X"`
			D *int64 `avro:"d"`
		}{},
		"branches turned about by a default": struct {
			A int64  `avro:"a"`
			B int64  `avro:"b"`
			C string `avro:"c,enum=X|Y"`
			D *int64 `avro:"d,default=1"`
		}{},
		"field added": struct {
			A int64  `avro:"a"`
			B int64  `avro:"b"`
			C string `avro:"c,enum=X|Y"`
			D *int64 `avro:"d"`
			E bool
		}{},
		"embedded": struct{ Embedded }{},
	} {
		if of(v) == want {
			t.Errorf("%s: the fingerprint is the same", name)
		}
	}
	same := struct {
		_ struct{} `avro:"othername,alias=old"`
		A int64    `avro:"a,alias=first,default=5"`
		B int64    `avro:"b"`
		C string   `avro:"c,enum=X|Y,enum-default=X"`
		D *int64   `avro:"d"`
	}{}
	if of(same) != want {
		t.Error("names, aliases and defaults, which change no byte, change the fingerprint")
	}
	type number = struct {
		T fixture.Tree
	}
	if first, again := of(number{}), of(number{}); first != again || first == want {
		t.Error("the fingerprint of a recursive type is not its own")
	}
}

// Embedded has the fields of a struct that embeds nothing.
type Embedded struct {
	A int64  `avro:"a"`
	B int64  `avro:"b"`
	C string `avro:"c,enum=X|Y"`
	D *int64 `avro:"d"`
}

// TestSchemaIsTheDerivedOne compares with a type of the same fields that has no generated code.
func TestSchemaIsTheDerivedOne(t *testing.T) {
	got := serde.MustFor[fixture.Event]()
	want, err := serde.Avro[plainEvent](serde.WithName("Event"))
	if err != nil || got.Schema() != want.Schema() || !serde.IsDerived(want) {
		t.Errorf("schema %s, %v\nwant   %s", got.Schema(), err, want.Schema())
	}
	renamed, err := serde.Avro[fixture.Event](serde.WithName("a.b.C"), serde.WithAliases("D"))
	if err != nil || serde.IsDerived(renamed) || !strings.HasPrefix(renamed.Schema(), `{"name":"a.b.C","type":"record"`) {
		t.Errorf("%v, derived %v, schema %s", err, serde.IsDerived(renamed), renamed.Schema())
	}
}

// TestHashIsTheDerivedOne: generated code changes no key group.
func TestHashIsTheDerivedOne(t *testing.T) {
	c := codecsOf[fixture.Event](t)
	if got, want := serde.HashOf(c.serde)(sample), serde.HashOf(c.derived)(sample); got != want || got == 0 {
		t.Errorf("hash %x, want %x", got, want)
	}
}

// TestEmbeddedMethodIsNotTaken: a struct has the methods of what it embeds, and another encoding.
func TestEmbeddedMethodIsNotTaken(t *testing.T) {
	s := serde.MustFor[fixture.Unlisted]()
	if !serde.IsDerived(s) {
		t.Fatal("the codec of the embedded struct is used for the outer one")
	}
	src, err := s.Append(nil, fixture.Unlisted{Event: sample, More: "more"})
	if err != nil || !bytes.HasSuffix(src, []byte("\x08more")) {
		t.Errorf("%x, %v", src, err)
	}
	if _, ok := any(new(nilEmbedded)).(interface{ AvroCodec() serde.GeneratedCodec }); !ok || !serde.IsDerived(serde.MustFor[nilEmbedded]()) {
		t.Error("a struct that embeds a pointer to one that embeds one with a codec")
	}
}

type nilEmbedded struct{ *fixture.Unlisted }

// TestEventByHand: the bytes by the Avro specification, written down by hand, and those of hamba/avro.
func TestEventByHand(t *testing.T) {
	v := fixture.Event{A: -64, B: 64, S1: "foo", S2: "", S3: "é", F: 1, I: -2, OK: true}
	want := "7f" + "8001" + "06666f6f" + "00" + "04c3a9" + "000000000000f03f" + "03" + "01"
	s := serde.MustFor[fixture.Event]()
	got, err := s.Append(nil, v)
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x, %v, want %s", got, err, want)
	}
	theirs, err := avro.Marshal(avro.MustParse(s.Schema()), &v)
	if err != nil || !bytes.Equal(theirs, got) {
		t.Errorf("hamba writes %x, %v", theirs, err)
	}
	var back fixture.Event
	if err := s.Decode(got, &back); err != nil || back != v {
		t.Errorf("read back %+v, %v", back, err)
	}
}

// registry knows one schema, by id 1 and 2.
type registry struct {
	serde.Registry
	schema string
}

func (r *registry) SchemaByID(context.Context, int) (string, error)   { return r.schema, nil }
func (r *registry) IDOf(context.Context, string, string) (int, error) { return 1, nil }

// TestEvolution: with generated code, data of an older schema is read by the derived codec as before, by every way that leads to it.
func TestEvolution(t *testing.T) {
	s := serde.MustFor[fixture.Event]()
	const old = `{"type":"record","name":"Event","fields":[{"name":"i","type":"int"},{"name":"gone","type":"string"},{"name":"a","type":"int"},{"name":"b","type":"long"},` +
		`{"name":"s1","type":"string"},{"name":"s2","type":"string"},{"name":"s3","type":"string"},{"name":"f","type":"float"},{"name":"ok","type":"boolean"}]}`
	src := []byte("\x0e\x02x\x04\x06\x02p\x02q\x02r\x00\x00\x80\x3f\x01") // by hand: i 7, gone "x", a 2, b 3, "p", "q", "r", f 1, ok
	want := fixture.Event{A: 2, B: 3, S1: "p", S2: "q", S3: "r", F: 1, I: 7, OK: true}
	evolved, err := serde.Evolve(s, old)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := serde.Confluent[fixture.Event](&registry{schema: old}, "s", serde.ConfluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := s.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	var byEvolve, byConfluent fixture.Event
	errEvolve, errConfluent := evolved.Decode(src, &byEvolve), conf.DecodeBody(2, src, &byConfluent)
	if errEvolve != nil || byEvolve != want || errConfluent != nil || byConfluent != want {
		t.Errorf("Evolve %+v, %v\nConfluent %+v, %v", byEvolve, errEvolve, byConfluent, errConfluent)
	}
	if got, err := evolved.Append(nil, want); err != nil || !bytes.Equal(got, own) || evolved.Schema() != s.Schema() {
		t.Errorf("the evolved codec writes %x, %v, want %x of its own schema", got, err, own)
	}
	if err := evolved.Decode(own, new(fixture.Event)); err == nil {
		t.Error("the codec of the old schema reads the new one")
	}
	if framed, err := conf.Append(nil, want); err != nil || !bytes.Equal(framed, append([]byte{0, 0, 0, 0, 1}, own...)) {
		t.Errorf("Confluent writes %x, %v", framed, err)
	}
	// The same schema, written otherwise: data of it is read by generated code.
	spaced := strings.ReplaceAll(s.Schema(), ",", " ,\n")
	again, err := serde.Evolve(s, spaced)
	if err != nil || serde.IsDerived(again) {
		t.Fatalf("derived %v, %v", serde.IsDerived(again), err)
	}
	var back fixture.Event
	if err := again.Decode(own, &back); err != nil || back != want {
		t.Errorf("%+v, %v", back, err)
	}
}

// marked has a codec that leaves a mark on what it reads.
type marked struct{ A int64 }

func (*marked) AvroCodec() serde.GeneratedCodec {
	shape, err := serde.ShapeOf(reflect.TypeFor[marked]())
	if err != nil {
		panic(err)
	}
	return serde.Generated[marked]{Fingerprint: shape.Fingerprint(),
		Append: func(dst []byte, _ marked) ([]byte, bool) { return append(dst, 2), true },
		Decode: func(_ []byte, _ string, v *marked) bool { v.A = -99; return true }}
}

// TestWhereGeneratedCodeReads: it reads data of the own schema, whichever way a codec is found, and never any other.
func TestWhereGeneratedCodeReads(t *testing.T) {
	s := serde.MustFor[marked]()
	const wider = `{"type":"record","name":"marked","fields":[{"name":"A","type":"int"}]}`
	read := func(c serde.Serde[marked], err error) int64 {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var v marked
		if err := c.Decode([]byte{2}, &v); err != nil {
			t.Fatal(err)
		}
		return v.A
	}
	if got := read(serde.Evolve(s, strings.ReplaceAll(s.Schema(), ",", ", "))); got != -99 {
		t.Errorf("the same schema, written otherwise: %d", got)
	}
	if got := read(serde.Resolve[marked](s.Schema())); got != -99 {
		t.Errorf("the same schema, by Resolve: %d", got)
	}
	if got := read(serde.Resolve[marked](wider)); got != 1 {
		t.Errorf("another schema is read as %d", got)
	}
	conf, err := serde.Confluent[marked](&registry{schema: wider}, "s", serde.ConfluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var v marked
	if err := conf.DecodeBody(2, []byte{2}, &v); err != nil || v.A != 1 {
		t.Errorf("another schema of a registry is read as %d, %v", v.A, err)
	}
}
