package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

func TestMailboxKeepsOrderAndWakesOnce(t *testing.T) {
	m := newMailbox()
	if got := m.take(); got != nil {
		t.Fatalf("an empty mailbox has %v", got)
	}
	for i := range int64(3) {
		m.put(completedLetter{i})
	}
	if len(m.wake) != 1 {
		t.Errorf("%d tokens after three letters, want 1", len(m.wake))
	}
	want := []letter{completedLetter{0}, completedLetter{1}, completedLetter{2}}
	if got := m.take(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := m.take(); got != nil || m.full.Load() {
		t.Errorf("after take: %v, full %v", got, m.full.Load())
	}
}

// TestMailboxLosesNothing: many writers, one reader that sleeps on wake alone.
func TestMailboxLosesNothing(t *testing.T) {
	const writers, each = 4, 500
	m := newMailbox()
	for range writers {
		go func() {
			for i := range int64(each) {
				m.put(completedLetter{i})
			}
		}()
	}
	for n := 0; n < writers*each; {
		<-m.wake
		n += len(m.take())
	}
}

// link connects two nodes as package dataflow does.
func link(from, to *Node, kind EdgeKind) {
	e := &Edge{From: from, To: to, Input: len(to.Inputs), Kind: kind, Types: Types[int]{}}
	from.Outputs = append(from.Outputs, e)
	to.Inputs = append(to.Inputs, e)
}

func node(name string, parallelism int) *Node { return &Node{Name: name, Parallelism: parallelism} }

func chains(p *Plan) string {
	var out []string
	for _, c := range p.chains {
		var names []string
		for _, n := range c.nodes {
			names = append(names, n.Name)
		}
		out = append(out, fmt.Sprintf("%s[%s]x%d", c.name, strings.Join(names, " "), c.parallelism))
	}
	return strings.Join(out, ", ")
}

func TestPlanChains(t *testing.T) {
	for name, c := range map[string]struct {
		build func(s *Node) []*Node
		want  string
	}{
		"forward steps are one task": {func(s *Node) []*Node {
			a, b := node("a", 0), node("b", 0)
			link(s, a, Forward)
			link(a, b, Forward)
			return []*Node{s, a, b}
		}, "s[s a b]x2"},
		"an exchange by key begins a task": {func(s *Node) []*Node {
			a := node("a", 0)
			link(s, a, Hash)
			return []*Node{s, a}
		}, "s[s]x2, a[a]x2"},
		"another parallelism begins a task": {func(s *Node) []*Node {
			a, b := node("a", 3), node("b", 0)
			link(s, a, Forward)
			link(a, b, Forward)
			return []*Node{s, a, b}
		}, "s[s]x2, a[a]x3, b[b]x2"},
		"two consumers stay in the task": {func(s *Node) []*Node {
			a, b := node("a", 0), node("b", 0)
			link(s, a, Forward)
			link(s, b, Forward)
			return []*Node{s, a, b}
		}, "s[s a b]x2"},
		"a diamond: the union is a task": {func(s *Node) []*Node {
			a, b, u, z := node("a", 0), node("b", 0), node("u", 0), node("z", 0)
			link(s, a, Forward)
			link(s, b, Forward)
			link(a, u, Forward)
			link(b, u, Forward)
			link(u, z, Forward)
			return []*Node{z, u, b, a, s} // the order is that of the edges, not of the list
		}, "s[s a b]x2, u[u z]x2"},
		"equal names are told apart": {func(s *Node) []*Node {
			a, b := node("a", 0), node("a", 0)
			link(s, a, Hash)
			link(s, b, Hash)
			return []*Node{s, a, b}
		}, "s[s]x2, a[a]x2, a#2[a]x2"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := NewPlan("p", c.build(node("s", 0)), 2)
			if err != nil {
				t.Fatal(err)
			}
			if got := chains(p); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			for i, n := range p.Nodes {
				for _, e := range n.Inputs {
					if slices.Index(p.Nodes, e.From) >= i {
						t.Errorf("%s comes before %s, which it reads", n.Name, e.From.Name)
					}
				}
			}
		})
	}
}

func TestSortFindsACycle(t *testing.T) {
	s, a, b := node("s", 1), node("a", 1), node("b", 1)
	link(s, a, Forward)
	link(a, b, Forward)
	link(b, a, Forward)
	if _, err := NewPlan("p", []*Node{s, a, b}, 1); err == nil || !strings.Contains(err.Error(), `cycle through step "a"`) {
		t.Errorf("got %v", err)
	}
}

// TestWiring: every receiver hears every sender on a channel of its own, or one on an edge between equal subtasks.
func TestWiring(t *testing.T) {
	for _, c := range []struct {
		kind                      EdgeKind
		from, to, senders, fanOut int
	}{
		{Forward, 3, 3, 1, 1}, {Forward, 1, 3, 1, 3}, {Forward, 3, 1, 3, 1}, {Forward, 2, 3, 2, 3}, {Forward, 1, 1, 1, 1},
		{Hash, 1, 3, 1, 3}, {Hash, 3, 3, 3, 3}, {Hash, 1, 1, 1, 1}, {Hash, 4, 2, 4, 2},
		{RoundRobin, 3, 3, 3, 3}, {Local, 3, 3, 1, 1}, {Local, 2, 4, 1, 2}, {Local, 4, 2, 2, 1}, {Global, 3, 2, 3, 2},
	} {
		s, other, u := node("s", c.from), node("other", c.to), node("u", c.to) // a union, so that nothing is chained
		link(other, u, Forward)
		link(s, u, c.kind)
		p, err := NewPlan("p", []*Node{s, other, u}, 1)
		if err != nil {
			t.Fatal(err)
		}
		a := &attempt{plan: p}
		a.wire()
		e := u.Inputs[1]
		if got := a.channels[p.of[u]][0]; got != 1+c.senders {
			t.Errorf("%+v: %d channels, want %d", c, got, 1+c.senders)
		}
		for from, edges := range a.edges[e] {
			if len(edges) != c.fanOut {
				t.Errorf("%+v: sender %d has %d edges, want %d", c, from, len(edges), c.fanOut)
			}
		}
	}
}

// script is an enumerator whose answers are scripted.
type script struct {
	next     []connectors.Split
	done     bool
	finished []string
	discover func() (time.Duration, error)
}

func (e *script) Discover(context.Context) (time.Duration, error) { return e.discover() }
func (e *script) Assign() (s []connectors.Split)                  { s, e.next = e.next, nil; return s }
func (e *script) Finished(id string)                              { e.finished = append(e.finished, id) }
func (e *script) Done() bool                                      { return e.done }
func (e *script) Snapshot() ([]byte, error)                       { return nil, nil }
func (e *script) Close() error                                    { return nil }

func splits(ids ...string) (s []connectors.Split) {
	for _, id := range ids {
		id, after, _ := strings.Cut(id, "<")
		s = append(s, connectors.Split{ID: id, After: after})
	}
	return s
}

// mail is what the tasks have been sent, as text.
func mail(ts []*task) string {
	var out []string
	for i, t := range ts {
		for _, l := range t.box.take() {
			switch l := l.(type) {
			case splitsLetter:
				var ids []string
				for _, s := range l.splits {
					ids = append(ids, s.ID)
				}
				x := fmt.Sprintf("%d:%s", i, strings.Join(ids, "+"))
				if l.last {
					x += "!"
				}
				out = append(out, x)
			case knownLetter:
				out = append(out, fmt.Sprintf("%d:known %s", i, l.split))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestEnumeratorPlacesSplits(t *testing.T) {
	e, ts := &script{}, []*task{{box: newMailbox()}, {box: newMailbox()}, {box: newMailbox()}}
	h := newEnumerator("src", e, ts)
	expect := func(want string) {
		t.Helper()
		if got := mail(ts); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	h.restore(1, splits("r1", "r2"))
	h.restore(2, nil)
	expect("1:r1+r2")
	e.next = splits("a", "b", "c")
	h.assign()
	expect("0:a+c 2:b")
	e.next = splits("r1-child<r1") // its parent is read by 1, which is not the least loaded
	h.finished(1, "r1")
	expect("1:known r1 1:r1-child")
	e.next = splits("b-child<b", "b-child-2<b", "orphan<unknown")
	h.finished(2, "b")
	expect("0:orphan 2:known b 2:b-child+b-child-2")
	e.done = true
	h.assign()
	expect("0:! 1:! 2:!")
	h.assign()
	expect("")
	if !slices.Equal(e.finished, []string{"r1", "b"}) {
		t.Errorf("the enumerator knows %v", e.finished)
	}
}

// TestDiscoverIsCalledWhenDueOrKicked, and its error names the source.
func TestDiscoverIsCalledWhenDueOrKicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no such bucket")
		e, calls := &script{}, 0
		start := time.Now()
		var at []time.Duration
		e.discover = func() (time.Duration, error) {
			calls++
			at = append(at, time.Since(start))
			switch calls {
			case 1:
				return time.Minute, nil
			case 2:
				return 0, nil // never again by itself
			default:
				return 0, broken
			}
		}
		h := newEnumerator("src", e, []*task{{box: newMailbox()}})
		reports := 0
		done := make(chan error, 1)
		go func() { done <- h.discover(t.Context(), func(any) { reports++ }) }()
		time.Sleep(time.Hour)
		h.finished(0, "x")
		err := <-done
		var te *TaskError
		if !errors.As(err, &te) || te.UID != "src" || !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if want := []time.Duration{0, time.Minute, time.Hour}; !slices.Equal(at, want) || reports != 2 {
			t.Errorf("called at %v with %d reports, want %v with 2", at, reports, want)
		}
	})
}

func TestRestartDelay(t *testing.T) {
	r := Restart{InitialDelay: 100 * time.Millisecond, MaxDelay: time.Second}
	for n, full := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 3: 400 * time.Millisecond,
		4: 800 * time.Millisecond, 5: time.Second, 6: time.Second, 1000: time.Second} {
		for range 200 {
			if d := r.delay(n); d < full/2 || d >= full {
				t.Fatalf("delay %d is %v, want [%v, %v)", n, d, full/2, full)
			}
		}
	}
	for _, r := range []Restart{{}, {InitialDelay: 1, MaxDelay: 1}} {
		if d := r.delay(3); d != r.MaxDelay {
			t.Errorf("%+v: %v", r, d)
		}
	}
}

type method struct{ bad bool }

//go:noinline
func (m *method) apply(v int) int {
	if m.bad {
		panic("method")
	}
	return v
}

func generic[T any](bad bool) func(T) T {
	return func(v T) T {
		if bad {
			func() { panic("closure in a generic function") }()
		}
		return v
	}
}

// TestCulprit finds the step whose function panicked, whatever kind of function it is.
func TestCulprit(t *testing.T) {
	bad := &method{bad: true}
	closure := func(v int) int {
		defer func() {}()
		return func() int { panic("inner closure") }()
	}
	for name, f := range map[string]func(int) int{"closure": closure, "method value": bad.apply, "generic": generic[int](true)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 0)
			innocent := func(v int) int { return f(v) } // calls the culprit, as a step calls the one behind it
			for i, u := range []any{innocent, f, 7, (func(int) int)(nil)} {
				o := &op{node: &Node{UID: fmt.Sprint("step-", i)}, task: operators.NewTask(operators.TaskConfig{})}
				o.task.UserFuncs(u)
				r.t.ops = append(r.t.ops, o)
			}
			err := r.t.run(func() error { innocent(1); return nil })
			var te *TaskError
			if !errors.As(err, &te) || te.UID != "step-1" || te.Stack == "" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParentFunc(t *testing.T) {
	for name, want := range map[string]string{
		"a/b.F": "", "a/b.F.func1": "a/b.F", "a/b.F.func1.2": "a/b.F.func1", "a/b.F[...].func3": "a/b.F[...]", "a/b.F[...]": "",
		"a/b.(*T).M": "", "a/b.(*T).M.func1": "a/b.(*T).M", "main": "",
	} {
		if got := parentFunc(name); got != want {
			t.Errorf("parentFunc(%q) = %q, want %q", name, got, want)
		}
	}
}
