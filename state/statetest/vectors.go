package statetest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// ttlVectors are what keyed state of Apache Flink 2.3.0 answered, with its heap backend in its own operator test harness, under
// time-to-live without background clean-up: the recorded cases without TTL and those with NeverReturnExpired. One case per line:
// do is a command on the state of key, want its answer; clock sets the processing time in ms; restore is a snapshot that is restored
// into so many instances.
//
//go:embed testdata/state_ttl.jsonl
var ttlVectors []byte

type ttlCase struct {
	ID     string `json:"id"`
	TTL    int64  `json:"ttl"` // ms, 0 for none
	OnRead bool   `json:"on_read"`
	Steps  []struct {
		Key     string `json:"key"`
		Do      string `json:"do"`
		Want    string `json:"want"`
		Clock   int64  `json:"clock"`
		Restore int    `json:"restore"`
	} `json:"steps"`
}

// ttlOperator has the five states of the vectors.
type ttlOperator struct {
	*state.Keyed[string]
	value *state.Value[int64]
	list  *state.List[int64]
	table *state.Map[string, int64]
	sum   *state.Reducing[int64]
	text  *state.Aggregating[int64, string]
}

func newTTLOperator(c *clock, ttlMS int64, onRead bool) *ttlOperator {
	var opts []state.Option
	if ttlMS > 0 {
		opts = append(opts, state.TTL(time.Duration(ttlMS)*time.Millisecond))
		if onRead {
			opts = append(opts, state.TTLOnRead())
		}
	}
	s := state.NewKeyed(serde.MustFor[string](), state.Config{Now: c.Now})
	return &ttlOperator{
		Keyed: s,
		value: s.Value[int64]("value", opts...),
		list:  s.List[int64]("list", opts...),
		table: s.Map[string, int64]("map", opts...),
		sum:   s.Reducing("reducing", func(a, b int64) int64 { return a + b }, opts...),
		text: s.Aggregating("aggregating", state.Aggregate[int64, string, string]{
			Create: func() string { return "<" },
			Add:    func(a string, v int64) string { return fmt.Sprintf("%s%d;", a, v) },
			Result: func(a string) string { return a + ">" },
		}, opts...),
	}
}

func testTTLVectors(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	hash := serde.HashOf(serde.MustFor[string]())
	d := json.NewDecoder(bytes.NewReader(ttlVectors))
	cases, steps := 0, 0
	for d.More() {
		var v ttlCase
		must(t, d.Decode(&v))
		cases++
		t.Run(v.ID, func(t *testing.T) {
			c := &clock{time.UnixMilli(0)}
			ops := startTTL(t, newBackend(t), c, v, 1, nil, nil)
			var files Files
			for i, s := range v.Steps {
				switch {
				case s.Restore > 0:
					var handles []state.File
					for _, o := range ops {
						handles = append(handles, snapshot(t, o, &files)...)
					}
					ops = startTTL(t, newBackend(t), c, v, s.Restore, &files, handles)
				case s.Do == "":
					c.now = time.UnixMilli(s.Clock)
				case s.Do == "map.is_empty" && v.TTL > 0:
					// Flink looks at what is stored, expired or not; millrace has no call that shows an expired entry.
				default:
					steps++
					h := hash(s.Key)
					o := ops[state.SubtaskOf(state.GroupOf(h, state.DefaultMaxParallelism), len(ops), state.DefaultMaxParallelism)]
					o.SetCurrent(s.Key, h)
					if got := get[string](t)(o.do(s.Do)); got != s.Want {
						t.Fatalf("step %d at %d ms: %q on key %q answers %q, Flink %q", i, c.now.UnixMilli(), s.Do, s.Key, got, s.Want)
					}
				}
			}
		})
	}
	if cases < 30 || steps < 1000 {
		t.Fatalf("only %d cases with %d steps", cases, steps)
	}
}

func startTTL(t *testing.T, b state.Backend, c *clock, v ttlCase, parallelism int, files *Files, handles []state.File) (ops []*ttlOperator) {
	for i := range parallelism {
		o := newTTLOperator(c, v.TTL, v.OnRead)
		must(t, o.Open(b, state.OpenOptions{UID: "op", Subtask: i, Groups: state.RangeOf(i, parallelism, state.DefaultMaxParallelism), Attempt: attempt()}))
		t.Cleanup(func() { must(t, o.Close()) })
		if files != nil {
			must(t, o.Restore(context.Background(), files, handles, nil))
		}
		ops = append(ops, o)
	}
	return ops
}

// do runs one command of the vectors.
func (o *ttlOperator) do(command string) (string, error) {
	name, arg, _ := strings.Cut(command, " ")
	kind, verb, _ := strings.Cut(name, ".")
	switch kind {
	case "value":
		return o.doValue(verb, arg)
	case "list":
		return o.doList(verb, arg)
	case "map":
		return o.doMap(verb, arg)
	case "reducing":
		switch verb {
		case "get":
			v, ok, err := o.sum.Get()
			return shown(v, ok, err)
		case "add":
			return done(o.sum.Add(number(arg)))
		case "clear":
			return done(o.sum.Clear())
		}
	case "aggregating":
		switch verb {
		case "get":
			v, ok, err := o.text.Get()
			return shown(v, ok, err)
		case "add":
			return done(o.text.Add(number(arg)))
		case "clear":
			return done(o.text.Clear())
		}
	}
	return "", fmt.Errorf("unknown command %q", command)
}

func (o *ttlOperator) doValue(verb, arg string) (string, error) {
	switch verb {
	case "get":
		v, ok, err := o.value.Lookup()
		return shown(v, ok, err)
	case "set":
		return done(o.value.Set(number(arg)))
	case "clear":
		return done(o.value.Clear())
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}

func (o *ttlOperator) doList(verb, arg string) (string, error) {
	switch verb {
	case "get":
		vs, err := o.list.Values()
		parts := []string{}
		for _, v := range vs {
			parts = append(parts, fmt.Sprint(v))
		}
		return "[" + strings.Join(parts, ",") + "]", err
	case "add", "add_all":
		return done(o.list.Append(numbers(arg)...))
	case "update":
		return done(o.list.Set(numbers(arg)))
	case "clear":
		return done(o.list.Clear())
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}

func (o *ttlOperator) doMap(verb, arg string) (string, error) {
	switch verb {
	case "get":
		v, ok, err := o.table.Get(arg)
		return shown(v, ok, err)
	case "contains":
		_, ok, err := o.table.Get(arg)
		return fmt.Sprint(ok), err
	case "put":
		k, v, _ := strings.Cut(arg, " ")
		return done(o.table.Put(k, number(v)))
	case "remove":
		return done(o.table.Remove(arg))
	case "is_empty":
		n, err := o.table.Len()
		return fmt.Sprint(n == 0), err
	case "entries":
		var parts []string
		err := o.table.Range(func(k string, v int64) error {
			parts = append(parts, fmt.Sprintf("%s=%d", k, v))
			return nil
		})
		return "{" + strings.Join(parts, ",") + "}", err
	case "clear":
		return done(o.table.Clear())
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}

func shown[T any](v T, ok bool, err error) (string, error) {
	if !ok {
		return "null", err
	}
	return fmt.Sprint(v), err
}

func done(err error) (string, error) { return "ok", err }

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err) // the vectors are part of this package
	}
	return n
}

func numbers(s string) (ns []int64) {
	for _, p := range strings.Split(s, ",") {
		ns = append(ns, number(p))
	}
	return ns
}
