package statetest

import (
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// stored is the codec of a program whose types are long gone: values are their own encodings.
type stored string

func (s stored) Append(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (s stored) Schema() string                       { return string(s) }
func (s stored) Decode(src []byte, v *[]byte) error {
	*v = slices.Clone(src)
	return nil
}

// pair is a schema that values were written with and what a program with another schema must find.
// Origin of all data: encoded by hand from the writer's schema, by the section "Binary Encoding" of the Avro specification 1.12; of all
// expectations: the section "Schema Resolution".
type pair struct {
	name, writer, data string
	reader             string
	// check restores values of the writer into states of the reader.
	check func(t *testing.T, p pair, newBackend func(t *testing.T) state.Backend)
}

// rec is a record schema named R.
func rec(fields ...string) string { return named("R", fields...) }

func named(name string, fields ...string) string {
	return fmt.Sprintf(`{"type":"record","name":%q,"fields":[%s]}`, name, strings.Join(fields, ","))
}

// fld is a field; more are further attributes as JSON.
func fld(name, typ string, more ...string) string {
	return fmt.Sprintf(`{"name":%q,"type":%s%s}`, name, typ, strings.Join(append([]string{""}, more...), ","))
}

func def(json string) string { return `"default":` + json }
func aliases(names ...string) string {
	return fmt.Sprintf(`"aliases":["%s"]`, strings.Join(names, `","`))
}

// writePair stores the pair's value in three kinds of state and returns the files.
func writePair(t *testing.T, p pair, b state.Backend, files *Files) []state.File {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(p.data, " ", ""))
	must(t, err)
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	was := state.Codec[[]byte](stored(p.writer))
	v, l, m := s.Value[[]byte]("v", was), s.List[[]byte]("l", was), s.Map[string, []byte]("m", was)
	open(t, s, b)
	s.SetCurrent("k", 0)
	must(t, v.Set(data))
	must(t, l.Append(data, data))
	must(t, m.Put("e", data))
	return snapshot(t, s, files)
}

// boxed is a codec of T as a codec of any value: the states of all pairs are of one type then. Each further type of a state costs the compiler a
// second and 50 MB.
type boxed[T any] struct{ of serde.Serde[T] }

func (b boxed[T]) Append(dst []byte, v any) ([]byte, error) { return b.of.Append(dst, v.(T)) }
func (b boxed[T]) Schema() string                           { return b.of.Schema() }

func (b boxed[T]) Decode(src []byte, v *any) error {
	var x T
	err := b.of.Decode(src, &x)
	*v = x
	return err
}

func (b boxed[T]) Resolve(writerSchema string) (serde.Serde[any], error) {
	of, err := serde.Evolve(b.of, writerSchema)
	if err != nil {
		return nil, err
	}
	return boxed[T]{of}, nil
}

// readPair restores the files into states of T.
func readPair[T any](t *testing.T, p pair, b state.Backend, files *Files, handles []state.File) (*state.Value[any], *state.List[any], *state.Map[string, any], error) {
	t.Helper()
	codec, err := serde.Avro[T](serde.WithSchema(p.reader))
	must(t, err)
	return restorePair(t, boxed[T]{codec}, b, files, handles)
}

func restorePair(t *testing.T, codec serde.Serde[any], b state.Backend, files *Files, handles []state.File) (*state.Value[any], *state.List[any], *state.Map[string, any], error) {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{})
	is := state.Codec(codec)
	v, l, m := s.Value[any]("v", is), s.List[any]("l", is), s.Map[string, any]("m", is)
	open(t, s, b)
	err := s.Restore(context.Background(), files.From(handles))
	s.SetCurrent("k", 0)
	return v, l, m, err
}

// reads is the check that the value is found as want, in every kind of state, and that it is still after another snapshot and restore.
func reads[T any](want T) func(*testing.T, pair, func(*testing.T) state.Backend) {
	return func(t *testing.T, p pair, newBackend func(*testing.T) state.Backend) {
		c := state.Compare(state.Descriptor{Kind: state.KindValue, Value: p.writer}, state.Descriptor{Kind: state.KindValue, Value: p.reader})
		if len(c.Mismatches) > 0 || p.writer != p.reader && len(c.Evolutions) == 0 {
			t.Errorf("Compare finds %v, and the evolutions %v", c.Mismatches, c.Evolutions)
		}
		var files Files
		handles := writePair(t, p, newBackend(t), &files)
		for _, again := range []bool{false, true} {
			v, l, m, err := readPair[T](t, p, newBackend(t), &files, handles)
			must(t, err)
			got, ok, err := v.Lookup()
			if err != nil || !ok || !reflect.DeepEqual(got, want) {
				t.Fatalf("value is %+v (%v), %v, want %+v; second restore: %v", got, ok, err, want, again)
			}
			equal(t, "list", get[[]any](t)(l.Values()), []any{want, want})
			got, ok, err = m.Get("e")
			if err != nil || !ok || !reflect.DeepEqual(got, want) {
				t.Fatalf("map entry is %+v (%v), %v, want %+v", got, ok, err, want)
			}
		}
	}
}

// refuses is the check that the state is refused for the rule at the path before it is restored, and by the restore, which names state and field.
func refuses[T any](rule, path string) func(*testing.T, pair, func(*testing.T) state.Backend) {
	return func(t *testing.T, p pair, newBackend func(*testing.T) state.Backend) {
		c := state.Compare(state.Descriptor{Kind: state.KindValue, Value: p.writer}, state.Descriptor{Kind: state.KindValue, Value: p.reader})
		if len(c.Mismatches) != 1 || c.Mismatches[0].Part != state.PartValue ||
			!slices.ContainsFunc(c.Mismatches[0].Reasons, func(i serde.Incompatibility) bool { return i.Rule == rule && i.Path == path }) {
			t.Errorf("Compare finds %v, want rule %q at %q", c.Mismatches, rule, path)
		}
		var files Files
		handles := writePair(t, p, newBackend(t), &files)
		_, _, _, err := readPair[T](t, p, newBackend(t), &files, handles)
		where := "field " + path + ":"
		if path == "" {
			where = "outermost type:"
		}
		if err == nil || !strings.Contains(err.Error(), where) || !strings.Contains(err.Error(), `"v"`) {
			t.Errorf("restore gives %v, want the state's name and %q", err, where)
		}
	}
}

// perValue is the check that the schemas are refused for the rule before a job starts, since not every value can be read, while a restore judges
// each value: this one is read as want, or, when ok is false, is an error.
func perValue[T any](rule string, want T, ok bool) func(*testing.T, pair, func(*testing.T) state.Backend) {
	return func(t *testing.T, p pair, newBackend func(*testing.T) state.Backend) {
		c := state.Compare(state.Descriptor{Kind: state.KindValue, Value: p.writer}, state.Descriptor{Kind: state.KindValue, Value: p.reader})
		if len(c.Mismatches) != 1 || c.Mismatches[0].Reasons[0].Rule != rule {
			t.Errorf("Compare finds %v, want the rule %q", c.Mismatches, rule)
		}
		var files Files
		handles := writePair(t, p, newBackend(t), &files)
		v, _, _, err := readPair[T](t, p, newBackend(t), &files, handles)
		var got any
		if err == nil {
			got, err = v.Get()
		}
		if ok && (err != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("value is %+v, %v, want %+v", got, err, want)
		}
		if !ok && (err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(rule, "enum ")) || !strings.Contains(err.Error(), `"v"`)) {
			t.Errorf("value is %+v, %v, want an error about its %s", got, err, rule)
		}
	}
}

// testPairs restores values of many schemas into states of others.
func testPairs(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	pairs := slices.Concat(promotionPairs(), defaultPairs(), fieldPairs(), aliasPairs(), unionPairs(), enumPairs(), nestedPairs(), recursivePairs(), refusedPairs())
	names := map[string]bool{}
	for _, p := range pairs {
		if names[p.name] {
			t.Fatalf("two pairs are called %q", p.name)
		}
		names[p.name] = true
		t.Run(p.name, func(t *testing.T) { p.check(t, p, newBackend) })
	}
	if len(pairs) < 50 {
		t.Errorf("%d pairs, want at least 50", len(pairs))
	}
}
