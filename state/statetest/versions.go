package statetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Six versions of one type; each can be read by all after it.
type (
	profileV1 struct {
		_     struct{} `avro:"Profile"`
		ID    string   `avro:"id"`
		Score int32    `avro:"score"`
	}
	profileV2 struct {
		_     struct{} `avro:"Profile"`
		ID    string   `avro:"id"`
		Score int32    `avro:"score"`
		Limit float64  `avro:"limit,default=2.5"`
	}
	profileV3 struct {
		_     struct{} `avro:"Profile"`
		Tags  []string `avro:"tags,default=[\"none\"]"`
		Score int64    `avro:"score"`
		ID    string   `avro:"id"`
		Limit float64  `avro:"limit,default=2.5"`
	}
	profileV4 struct {
		_     struct{} `avro:"Profile"`
		Name  string   `avro:"name,alias=id"`
		Score int64    `avro:"score"`
		Tags  []string `avro:"tags,default=[\"none\"]"`
		Limit float64  `avro:"limit,default=2.5"`
		Level string   `avro:"level,enum=LOW|HIGH,default=LOW"`
	}
	homeV5 struct {
		City string `avro:"city,default=?"`
	}
	profileV5 struct {
		_     struct{} `avro:"Profile"`
		Name  string   `avro:"name,alias=id"`
		Score int64    `avro:"score"`
		Tags  []string `avro:"tags,default=[\"none\"]"`
		Level string   `avro:"level,enum=LOW|HIGH,default=LOW"`
		Home  *homeV5  `avro:"home"`
	}
	profileV6 struct {
		_      struct{}         `avro:"Profile"`
		Name   string           `avro:"name,alias=id"`
		Score  float64          `avro:"score"`
		Tags   []string         `avro:"tags,default=[\"none\"]"`
		Level  string           `avro:"level,enum=NONE|LOW|HIGH,default=LOW"`
		Home   *homeV5          `avro:"home"`
		Parent *profileV6       `avro:"parent"`
		Notes  map[string]int32 `avro:"notes,default={}"`
	}
)

// history is what the next program goes on from.
type history struct {
	files   *Files
	handles []state.File
	states  []state.Descriptor
}

// version is one program: it goes on from h, finds want, and writes the value of its own under one key.
func version[T any](t *testing.T, b state.Backend, h history, want map[string]T, key string, v T) history {
	t.Helper()
	codec := serde.MustFor[string]()
	s := state.NewKeyed(codec, state.Config{})
	value, list := s.Value[T]("profile"), s.List[T]("all")
	assigned := state.Assign(h.states, s.Descriptors(), nil)
	must(t, s.Open(b, state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt(), States: assigned}))
	t.Cleanup(func() { must(t, s.Close()) })
	if h.handles != nil {
		must(t, s.Restore(context.Background(), state.Restore{Files: h.files, Handles: h.handles, States: h.states}))
	}
	at := func(k string) { s.SetCurrent(k, serde.HashOf(codec)(k)) }
	for k, w := range want {
		at(k)
		got, ok, err := value.Lookup()
		if err != nil || !ok {
			t.Fatalf("profile of %s in %T: %v, %v", k, v, ok, err)
		}
		equal(t, fmt.Sprintf("profile of %s in %T", k, v), got, w)
	}
	at(key)
	must(t, value.Set(v))
	at("everyone")
	must(t, list.Append(v))
	if n := get[int](t)(list.Len()); n != len(want)+1 {
		t.Fatalf("%d profiles in the list, want %d", n, len(want)+1)
	}
	if all := get[[]T](t)(list.Values()); len(want) == 5 { // the last: elements of six schemas in one list
		for i, k := range []string{"k1", "k2", "k3", "k4", "k5"} {
			equal(t, "element of "+k, all[i], want[k])
		}
	}
	next := history{files: h.files, states: assigned}
	next.handles = snapshot(t, s, h.files)
	return next
}

// testSixVersions runs six programs after one another, each with the next version of a type and each writing one value: the last reads what the
// first has written, and one state holds values of all six.
func testSixVersions(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	h := history{files: &Files{}}
	h = version(t, newBackend(t), h, nil, "k1", profileV1{ID: "a", Score: 1})
	h = version(t, newBackend(t), h, map[string]profileV2{"k1": {ID: "a", Score: 1, Limit: 2.5}}, "k2", profileV2{ID: "b", Score: 2, Limit: 20})
	none := []string{"none"}
	h = version(t, newBackend(t), h, map[string]profileV3{"k1": {ID: "a", Score: 1, Limit: 2.5, Tags: none}, "k2": {ID: "b", Score: 2, Limit: 20, Tags: none}},
		"k3", profileV3{ID: "c", Score: 1 << 40, Limit: 30, Tags: []string{"x"}})
	h = version(t, newBackend(t), h, map[string]profileV4{
		"k1": {Name: "a", Score: 1, Limit: 2.5, Tags: none, Level: "LOW"}, "k2": {Name: "b", Score: 2, Limit: 20, Tags: none, Level: "LOW"},
		"k3": {Name: "c", Score: 1 << 40, Limit: 30, Tags: []string{"x"}, Level: "LOW"}},
		"k4", profileV4{Name: "d", Score: 4, Level: "HIGH"})
	h = version(t, newBackend(t), h, map[string]profileV5{
		"k1": {Name: "a", Score: 1, Tags: none, Level: "LOW"}, "k2": {Name: "b", Score: 2, Tags: none, Level: "LOW"},
		"k3": {Name: "c", Score: 1 << 40, Tags: []string{"x"}, Level: "LOW"}, "k4": {Name: "d", Score: 4, Level: "HIGH"}},
		"k5", profileV5{Name: "e", Score: 5, Level: "LOW", Home: &homeV5{City: "Rome"}})
	six := map[string]profileV6{
		"k1": {Name: "a", Score: 1, Tags: none, Level: "LOW"}, "k2": {Name: "b", Score: 2, Tags: none, Level: "LOW"},
		"k3": {Name: "c", Score: 1 << 40, Tags: []string{"x"}, Level: "LOW"}, "k4": {Name: "d", Score: 4, Level: "HIGH"},
		"k5": {Name: "e", Score: 5, Level: "LOW", Home: &homeV5{City: "Rome"}}}
	own := profileV6{Name: "f", Score: 6.5, Level: "NONE", Parent: &profileV6{Name: "g", Level: "HIGH", Notes: map[string]int32{"n": 1}}}
	h = version(t, newBackend(t), h, six, "k6", own)
	for _, d := range h.states {
		if len(d.Schemas) != 6 {
			t.Errorf("state %s has %d schemas, want six", d.Name, len(d.Schemas))
		}
	}
}

// priceText is what a price was; price is what it is.
type priceText struct {
	_    struct{} `avro:"Price"`
	Text string   `avro:"text"`
}

type priceCents struct {
	_     struct{} `avro:"Price"`
	Cents int64    `avro:"cents"`
}

type price struct {
	_        struct{} `avro:"Price"`
	Cents    int64    `avro:"cents"`
	Currency string   `avro:"currency"`
}

func centsOf(p priceText) (priceCents, error) {
	whole, part, _ := strings.Cut(p.Text, ".")
	n, err := strconv.ParseInt(whole+part, 10, 64)
	return priceCents{Cents: n}, err
}

func euros(p priceCents) (price, error) { return price{Cents: p.Cents, Currency: "EUR"}, nil }

// testMigrations restores values through typed functions.
func testMigrations(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	write := func(text string) history {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		v, l := s.Value[priceText]("v"), s.List[priceText]("l")
		h := history{files: &Files{}, states: state.Assign(nil, s.Descriptors(), nil)}
		must(t, s.Open(newBackend(t), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt(), States: h.states}))
		t.Cleanup(func() { must(t, s.Close()) })
		s.SetCurrent("k", 0)
		must(t, v.Set(priceText{Text: text}))
		must(t, l.Append(priceText{Text: text}))
		h.handles = snapshot(t, s, h.files)
		return h
	}
	read := func(h history, opts ...state.Option) (*state.Value[price], *state.List[price], error) {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		v, l := s.Value[price]("v", opts...), s.List[price]("l", opts...)
		must(t, s.Open(newBackend(t), state.OpenOptions{UID: "op", Groups: state.GroupRange{End: state.DefaultMaxParallelism}, Attempt: attempt(),
			States: state.Assign(h.states, s.Descriptors(), nil)}))
		t.Cleanup(func() { must(t, s.Close()) })
		err := s.Restore(context.Background(), state.Restore{Files: h.files, Handles: h.handles, States: h.states})
		s.SetCurrent("k", 0)
		return v, l, err
	}
	direct := state.Migrate(func(p priceText) (price, error) {
		c, err := centsOf(p)
		return price{Cents: c.Cents, Currency: "USD"}, err
	})
	for _, c := range []struct {
		name string
		opts []state.Option
		want price
	}{
		{"one step", []state.Option{direct}, price{Cents: 1250, Currency: "USD"}},
		{"two steps", []state.Option{state.Migrate(euros), state.Migrate(centsOf)}, price{Cents: 1250, Currency: "EUR"}},
		{"the shorter way", []state.Option{state.Migrate(euros), state.Migrate(centsOf), direct}, price{Cents: 1250, Currency: "USD"}},
	} {
		v, l, err := read(write("12.50"), c.opts...)
		must(t, err)
		equal(t, c.name, get[price](t)(v.Get()), c.want)
		equal(t, c.name+" in a list", get[[]price](t)(l.Values()), []price{c.want})
	}
	refusal := errors.New("unreadable")
	v, _, err := read(write("x"), state.Migrate(func(priceText) (price, error) { return price{}, refusal }))
	if err == nil {
		_, err = v.Get()
	}
	if !errors.Is(err, refusal) || !strings.Contains(err.Error(), `"v"`) {
		t.Errorf("error of a migration: %v", err)
	}
	for _, c := range []struct {
		name string
		opts []state.Option
		want string
	}{
		{"no way", []state.Option{state.Migrate(centsOf)}, "is part of no way to statetest.price"},
		{"two of one", []state.Option{direct, direct}, "several migrations lead from statetest.priceText"},
		{"from itself", []state.Option{state.Migrate(func(p price) (price, error) { return p, nil })}, "is part of no way"},
		{"nil", []state.Option{state.Migrate[priceText, price](nil)}, "no function"},
		{"no codec", []state.Option{state.Migrate(func(chan int) (price, error) { return price{}, nil })}, "chan int"},
		{"map key of a value", []state.Option{state.MigrateMapKey(centsOf)}, "only a map state"},
	} {
		s := state.NewKeyed(serde.MustFor[string](), state.Config{})
		s.Value[price]("v", c.opts...)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"v"`) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
