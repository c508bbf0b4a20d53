package codegen_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// codecs are the three ways of one type.
type codecs[T any] struct {
	// serde uses generated code, derived never does: a schema that is given is bound by reflection.
	serde, derived serde.Serde[T]
	// generated is the generated code alone, without the derived codec behind it.
	generated serde.Generated[T]
}

func codecsOf[T any](t testing.TB) codecs[T] {
	t.Helper()
	s, err := serde.For[T]()
	if err != nil {
		t.Fatal(err)
	}
	d, err := serde.Avro[T](serde.WithSchema(s.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	if serde.IsDerived(s) || !serde.IsDerived(d) {
		t.Fatalf("%T: generated code is not used, or where it should not be", s)
	}
	m, ok := any(new(T)).(interface{ AvroCodec() serde.GeneratedCodec })
	if !ok {
		t.Fatalf("%T has no generated code", *new(T))
	}
	return codecs[T]{s, d, m.AvroCodec().(serde.Generated[T])}
}

// encode compares the encodings of v, and returns it, or nil if v cannot be encoded.
func (c codecs[T]) encode(t testing.TB, v T) []byte {
	t.Helper()
	prefix := []byte("before")
	want, wantErr := c.derived.Append(prefix, v)
	got, ok := c.generated.Append(prefix, v)
	if ok != (wantErr == nil) || (ok && !bytes.Equal(got, want)) {
		t.Fatalf("generated code gives %x, %v\nthe derived codec  %x, %v\nfor %+v", got, ok, want, wantErr, v)
	}
	both, err := c.serde.Append(prefix, v)
	if !bytes.Equal(both, want) || text(err) != text(wantErr) {
		t.Fatalf("codec gives %x, %v\nwant        %x, %v", both, err, want, wantErr)
	}
	if wantErr != nil {
		return nil
	}
	return want[len(prefix):]
}

// decode compares what is read from src, in all ways.
func (c codecs[T]) decode(t testing.TB, src []byte) bool {
	t.Helper()
	var want T
	wantErr := c.derived.Decode(src, &want)
	same := func(how string, got T, err error) {
		t.Helper()
		if text(err) != text(wantErr) || (err == nil && !c.equal(got, want)) {
			t.Fatalf("%x\n%s: %+v, %v\nwant %+v, %v", src, how, got, err, want, wantErr)
		}
	}
	var alone T
	if ok := c.generated.Decode(src, "", &alone); ok != (wantErr == nil) || (ok && !c.equal(alone, want)) {
		t.Fatalf("%x\ngenerated code gives %v %+v\nwant %v, %+v", src, ok, alone, wantErr, want)
	}
	var plain, shared T
	same("Decode", plain, c.serde.Decode(src, &plain))
	same("DecodeShared", shared, c.serde.(serde.SharedDecoder[T]).DecodeShared(src, string(src), &shared))
	return wantErr == nil
}

// equal reports whether two values are the same; damage makes numbers that are not equal to themselves, which have the same bytes.
func (c codecs[T]) equal(a, b T) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, errA := c.derived.Append(nil, a)
	y, errB := c.derived.Append(nil, b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSameAsDerived: for random values, some of them out of range, generated code and the derived codec give the same bytes and errors; for
// the bytes, whole and damaged, the same values and errors.
func TestSameAsDerived(t *testing.T) {
	t.Run("Event", same[fixture.Event])
	t.Run("Everything", same[fixture.Everything])
	t.Run("Tree", same[fixture.Tree])
	t.Run("Numbers", same[fixture.Numbers])
	t.Run("Names", same[fixture.Names])
	t.Run("Bag", same[fixture.Bag])
	t.Run("Bags", same[fixture.Bags])
	t.Run("Rank", same[fixture.Rank])
	t.Run("Token", same[fixture.Token])
	t.Run("Choice", same[fixture.Choice])
	t.Run("Embeds", same[fixture.Embeds])
	t.Run("Empty", same[fixture.Empty])
}

func same[T any](t *testing.T) {
	c := codecsOf[T](t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := random{Rand: rand.New(rand.NewPCG(seed, 0))}
	good := 0
	for i := range 400 {
		rnd.faults = i % 2 * 4
		var v T
		rnd.fill(reflect.ValueOf(&v).Elem(), "", 0)
		src := c.encode(t, v)
		if src == nil {
			continue
		}
		if !c.decode(t, src) {
			t.Fatalf("an encoding is refused: %x", src)
		}
		good++
		for range 20 {
			c.decode(t, damage(rnd, src))
		}
	}
	if good < 150 {
		t.Errorf("only %d of 400 values could be encoded", good)
	}
}

// damage changes a copy of src.
func damage(r random, src []byte) []byte {
	b := bytes.Clone(src)
	for range 1 + r.IntN(2) {
		at := 0
		if len(b) > 0 {
			at = r.IntN(len(b))
		}
		switch r.IntN(5) {
		case 0:
			b = b[:at]
		case 1:
			b = append(b, byte(r.IntN(256)))
		case 2:
			b = append(b[:at:at], append([]byte{byte(r.IntN(256))}, b[at:]...)...)
		default:
			if len(b) > 0 {
				b[at] = byte(r.integer())
			}
		}
	}
	return b
}
