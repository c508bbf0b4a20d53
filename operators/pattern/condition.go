package pattern

// operation joins conditions.
type operation int

const (
	opSimple operation = iota
	opIterative
	opAnd
	opOr
	opNot
	opNever
)

// condition is a tree of the user's conditions. nil holds for every event.
type condition[T any] struct {
	op          operation
	simple      func(T) bool
	iterative   func(T, *Partial[T]) bool
	left, right *condition[T]
}

func simple[T any](f func(T) bool) *condition[T] {
	if f == nil {
		return nil
	}
	return &condition[T]{op: opSimple, simple: f}
}

func iterative[T any](f func(T, *Partial[T]) bool) *condition[T] {
	if f == nil {
		return nil
	}
	return &condition[T]{op: opIterative, iterative: f}
}

// never holds for no event: a transition with it is left out.
func never[T any]() *condition[T] { return &condition[T]{op: opNever} }

func (c *condition[T]) isNever() bool { return c != nil && c.op == opNever }

func not[T any](c *condition[T]) *condition[T] { return &condition[T]{op: opNot, left: c} }

func and[T any](a, b *condition[T]) *condition[T] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &condition[T]{op: opAnd, left: a, right: b}
}

// test is a compiled condition on the current event and partial match of m. nil holds always.
type test[T any] func(m *matcher[T]) bool

// tests compiles conditions. Each simple condition has a place in the matcher's memo, so that it is called once for an event.
type tests[T any] struct {
	simple   map[*condition[T]]int
	compiled map[*condition[T]]test[T]
	users    []any
}

func (c *tests[T]) compile(x *condition[T]) test[T] {
	if x == nil {
		return nil
	}
	if f, ok := c.compiled[x]; ok {
		return f
	}
	f := c.build(x)
	c.compiled[x] = f
	return f
}

func (c *tests[T]) build(x *condition[T]) test[T] {
	switch x.op {
	case opSimple:
		i, f := len(c.simple), x.simple
		c.simple[x] = i
		c.users = append(c.users, f)
		return func(m *matcher[T]) bool {
			if m.memo[i] == memoUnknown {
				m.memo[i] = memoFalse
				if f(m.value) {
					m.memo[i] = memoTrue
				}
			}
			return m.memo[i] == memoTrue
		}
	case opIterative:
		f := x.iterative
		c.users = append(c.users, f)
		return func(m *matcher[T]) bool { return f(m.value, &m.partial) }
	case opNot:
		if f := c.compile(x.left); f != nil {
			return func(m *matcher[T]) bool { return !f(m) }
		}
		return func(*matcher[T]) bool { return false }
	case opNever:
		return func(*matcher[T]) bool { return false }
	}
	l, r := c.compile(x.left), c.compile(x.right)
	if l == nil || r == nil { // one side holds always
		if x.op == opOr {
			return nil
		}
		if l == nil {
			return r
		}
		return l
	}
	if x.op == opOr {
		return func(m *matcher[T]) bool { return l(m) || r(m) }
	}
	return func(m *matcher[T]) bool { return l(m) && r(m) }
}

// The states of a simple condition in the memo.
const (
	memoUnknown = iota
	memoFalse
	memoTrue
)
