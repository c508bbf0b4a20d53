package operators_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

var _ = claimGolden(
	goldenFamily{name: "state_ttl", subject: ttlSubject},
	goldenFamily{name: "key_groups", replay: keyGroupReplay, why: "how keys are assigned to subtasks is no operator"},
)

// ownHash is the rule of the family key_groups.
func ownHash(c goldenCase) (expect [][]goldenOutput, changed bool) {
	for _, step := range c.Expect {
		step = slices.Clone(step)
		for i := range step {
			changed = changed || step[i].Hash != nil
			step[i].Hash, step[i].Murmur = nil, nil
		}
		expect = append(expect, step)
	}
	return expect, changed
}

// answered is what the commands on state emit.
type answered struct{ key, text string }

func renderAnswer(v answered, o *goldenOutput) { o.Key, o.Value = v.key, v.text }

// ttlSubject has five states of one key; the records are commands on them. The vectors were made without background clean-up.
func ttlSubject(c goldenCase) (goldenSubject, error) {
	var p struct {
		TTL                *int64
		Update, Visibility string
	}
	if err := c.decodeParams(&p); err != nil {
		return nil, err
	}
	opts := []state.Option{}
	if p.TTL != nil {
		opts = append(opts, state.TTL(ms(*p.TTL)), state.DisableCleanupInBackground())
		switch p.Update {
		case "on_create_and_write":
		case "on_read_and_write":
			opts = append(opts, state.TTLOnRead())
		default:
			return nil, fmt.Errorf("update %q", p.Update)
		}
		switch p.Visibility {
		case "never_return_expired":
		case "return_expired_if_not_cleaned_up":
			opts = append(opts, state.ReturnExpiredIfNotCleanedUp())
		default:
			return nil, fmt.Errorf("visibility %q", p.Visibility)
		}
	}
	return oneInput(operators.Process(goldenKey, nil, func(b *operators.Keyed[string, goldenRecord, answered]) {
		s := newCommandedStates(b, opts)
		b.OnRecord(func(c *operators.Ctx[string, answered], r goldenRecord) error {
			text, err := s.do(r.Text)
			if err != nil {
				return err
			}
			return c.Emit(answered{c.Key(), text})
		})
	}), renderAnswer), nil
}

// commandedStates are the states of the family state_ttl.
type commandedStates struct {
	value *state.Value[int64]
	list  *state.List[int64]
	table *state.Map[string, int64]
	sum   *state.Reducing[int64]
	text  *state.Aggregating[int64, string]
}

func newCommandedStates(b *operators.Keyed[string, goldenRecord, answered], opts []state.Option) *commandedStates {
	return &commandedStates{
		value: b.Value[int64]("value", opts...),
		list:  b.List[int64]("list", opts...),
		table: b.Map[string, int64]("map", opts...),
		sum:   b.Reducing("reducing", func(a, b int64) int64 { return a + b }, opts...),
		text: b.Aggregating("aggregating", state.Aggregate[int64, string, string]{
			Create: func() string { return "<" },
			Add:    func(a string, v int64) string { return fmt.Sprintf("%s%d;", a, v) },
			Result: func(a string) string { return a + ">" },
		}, opts...),
	}
}

// do runs one command and returns its result as text.
func (s *commandedStates) do(command string) (string, error) {
	name, arg, _ := strings.Cut(command, " ")
	kind, verb, _ := strings.Cut(name, ".")
	switch kind {
	case "value":
		switch verb {
		case "get":
			return answer(s.value.Lookup())
		case "set":
			return "ok", s.value.Set(goldenInt(arg))
		case "clear":
			return "ok", s.value.Clear()
		}
	case "list":
		return s.doList(verb, arg)
	case "map":
		return s.doMap(verb, arg)
	case "reducing":
		switch verb {
		case "get":
			return answer(s.sum.Get())
		case "add":
			return "ok", s.sum.Add(goldenInt(arg))
		case "clear":
			return "ok", s.sum.Clear()
		}
	case "aggregating":
		switch verb {
		case "get":
			return answer(s.text.Get())
		case "add":
			return "ok", s.text.Add(goldenInt(arg))
		case "clear":
			return "ok", s.text.Clear()
		}
	}
	return "", fmt.Errorf("unknown command %q", command)
}

func (s *commandedStates) doList(verb, arg string) (string, error) {
	var ns []int64
	if arg != "" {
		for n := range strings.SplitSeq(arg, ",") {
			ns = append(ns, goldenInt(n))
		}
	}
	switch verb {
	case "get":
		vs, err := s.list.Values()
		parts := []string{}
		for _, v := range vs {
			parts = append(parts, fmt.Sprint(v))
		}
		return "[" + strings.Join(parts, ",") + "]", err
	case "add", "add_all":
		return "ok", s.list.Append(ns...)
	case "update":
		return "ok", s.list.Set(ns)
	case "clear":
		return "ok", s.list.Clear()
	}
	return "", fmt.Errorf("unknown command on a list %q", verb)
}

func (s *commandedStates) doMap(verb, arg string) (string, error) {
	switch verb {
	case "get":
		return answer(s.table.Get(arg))
	case "contains":
		_, ok, err := s.table.Get(arg)
		return fmt.Sprint(ok), err
	case "put":
		k, v, _ := strings.Cut(arg, " ")
		return "ok", s.table.Put(k, goldenInt(v))
	case "remove":
		return "ok", s.table.Remove(arg)
	case "is_empty":
		empty, err := s.table.IsEmpty()
		return fmt.Sprint(empty), err
	case "entries":
		var parts []string
		err := s.table.Range(func(k string, v int64) error {
			parts = append(parts, fmt.Sprintf("%s=%d", k, v))
			return nil
		})
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}", err
	case "clear":
		return "ok", s.table.Clear()
	}
	return "", fmt.Errorf("unknown command on a map %q", verb)
}

func answer[T any](v T, ok bool, err error) (string, error) {
	if !ok {
		return "null", err
	}
	return fmt.Sprint(v), err
}

func goldenInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(goldenFault(err.Error()))
	}
	return n
}

// keyGroups answers with the functions that the exchange, the state and the restore share. The key group of a key is Flink's, read off the
// expected output: see the rule "own hash".
type keyGroups struct{ expect [][]goldenOutput }

func keyGroupReplay(_ operatortest.TB, c goldenCase) (goldenRunner, error) {
	return &keyGroups{c.Expect}, c.decodeParams(&struct{}{})
}

func (g *keyGroups) step(s goldenStep) []goldenOutput {
	expect := g.expect[0]
	g.expect = g.expect[1:]
	o := goldenOutput{Kind: s.Op}
	number := func(n int) *int64 { return new(int64(n)) }
	switch s.Op {
	case "assign":
		group := int(*expect[0].KeyGroup)
		subtask := state.SubtaskOf(group, s.Parallelism, s.MaxParallelism)
		if !state.RangeOf(subtask, s.Parallelism, s.MaxParallelism).Contains(group) {
			panic(goldenFault(fmt.Sprintf("the range of subtask %d does not hold its key group %d", subtask, group)))
		}
		o.KeyGroup, o.Subtask = number(group), number(subtask)
	case "range":
		r := state.RangeOf(s.Subtask, s.Parallelism, s.MaxParallelism)
		o.Start, o.End = number(r.Start), number(r.End-1) // both are inclusive in the vectors
	case "default_max_parallelism":
		o.Value = int64(state.DefaultMaxParallelismFor(s.Parallelism))
	default:
		panic(goldenFault("unknown step " + s.Op))
	}
	return []goldenOutput{o}
}
