package expr

import (
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Changes is a parsed update expression.
type Changes struct {
	sets    []assign
	removes []Path
	adds    []change
	deletes []change
}

type assign struct {
	path Path
	rhs  setValue
}

type change struct {
	path  Path
	value attr.Value
}

// setValue is the right side of SET.
type setValue interface {
	eval(item attr.Item) (attr.Value, error)
}

type (
	plain       struct{ operand }
	ifNotExists struct {
		path Path
		or   setValue
	}
	listAppend struct{ a, b setValue }
	arithmetic struct {
		minus bool
		a, b  setValue
	}
)

var (
	errMissing  = attr.Invalid("The provided expression refers to an attribute that does not exist in the item")
	errOperand  = attr.Invalid("An operand in the update expression has an incorrect data type")
	errDocument = attr.Invalid("The document path provided in the update expression is invalid for update")
)

func (v plain) eval(item attr.Item) (attr.Value, error) {
	if out, ok := v.operand.eval(item); ok {
		return out, nil
	}
	return attr.Value{}, errMissing
}

func (v ifNotExists) eval(item attr.Item) (attr.Value, error) {
	if out, ok := v.path.get(item); ok {
		return out, nil
	}
	return v.or.eval(item)
}

func (v listAppend) eval(item attr.Item) (attr.Value, error) {
	a, err := v.a.eval(item)
	if err != nil {
		return a, err
	}
	b, err := v.b.eval(item)
	if err != nil {
		return b, err
	}
	if a.Kind != attr.L || b.Kind != attr.L {
		return a, errOperand
	}
	return attr.Value{Kind: attr.L, List: slices.Concat(a.List, b.List)}, nil
}

func (v arithmetic) eval(item attr.Item) (attr.Value, error) {
	a, err := v.a.eval(item)
	if err != nil {
		return a, err
	}
	b, err := v.b.eval(item)
	if err != nil {
		return b, err
	}
	if a.Kind != attr.N || b.Kind != attr.N {
		return a, errOperand
	}
	n := b.Number()
	if v.minus {
		n = n.Negated()
	}
	sum, err := a.Number().Add(n)
	return attr.NumberValue(sum), err
}

// ParseUpdate parses SET, REMOVE, ADD and DELETE sections in any order, each at most once.
func ParseUpdate(scope *Scope, s string) (*Changes, error) {
	p, err := newParser(scope, Update, s)
	if err != nil {
		return nil, err
	}
	c := &Changes{}
	seen := map[string]bool{}
	for p.peek().kind != tokEnd {
		t := p.next()
		var section string
		for _, s := range []string{"SET", "REMOVE", "ADD", "DELETE"} {
			if t.is(s) {
				section = s
			}
		}
		if section == "" {
			return nil, p.fault(t)
		}
		if seen[section] {
			return nil, p.invalid("The \"%s\" section can only be used once in an update expression;", section)
		}
		seen[section] = true
		for {
			if err := p.action(c, section); err != nil {
				return nil, err
			}
			if !p.take(",") {
				break
			}
		}
	}
	return c, overlap(Update, c.Paths())
}

// Paths are all places that the expression changes.
func (c *Changes) Paths() []Path {
	var out []Path
	for _, a := range c.sets {
		out = append(out, a.path)
	}
	out = append(out, c.removes...)
	for _, a := range c.adds {
		out = append(out, a.path)
	}
	for _, a := range c.deletes {
		out = append(out, a.path)
	}
	return out
}

func (p *parser) action(c *Changes, section string) error {
	path, err := p.path()
	if err != nil {
		return err
	}
	switch section {
	case "REMOVE":
		c.removes = append(c.removes, path)
		return nil
	case "SET":
		if err := p.need("="); err != nil {
			return err
		}
		rhs, err := p.setExpr()
		c.sets = append(c.sets, assign{path, rhs})
		return err
	}
	t := p.next()
	if t.kind != tokValue {
		return p.fault(t)
	}
	v, err := p.value(t)
	if err != nil {
		return err
	}
	set := v.Kind == attr.SS || v.Kind == attr.NS || v.Kind == attr.BS
	if !set && (section == "DELETE" || v.Kind != attr.N) {
		return p.invalid("Incorrect operand type for operator or function; operator: %s, operand type: %s", section, typeName(v.Kind))
	}
	if section == "ADD" {
		c.adds = append(c.adds, change{path, v})
	} else {
		c.deletes = append(c.deletes, change{path, v})
	}
	return nil
}

// typeName is how update expressions name a type in messages.
func typeName(k attr.Kind) string {
	switch k {
	case attr.S:
		return "STRING"
	case attr.N:
		return "NUMBER"
	case attr.B:
		return "BINARY"
	case attr.BOOL:
		return "BOOLEAN"
	case attr.L:
		return "LIST"
	case attr.M:
		return "MAP"
	}
	return k.String()
}

func (p *parser) setExpr() (setValue, error) {
	a, err := p.setOperand()
	if err != nil {
		return nil, err
	}
	t := p.peek()
	if !t.sym("+") && !t.sym("-") {
		return a, nil
	}
	p.next()
	if err := p.counted(); err != nil {
		return nil, err
	}
	b, err := p.setOperand()
	if err != nil {
		return nil, err
	}
	for _, v := range []setValue{a, b} {
		if o, ok := v.(plain); ok && o.value != nil && o.value.Kind != attr.N {
			return nil, p.invalid("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", t.text, typeName(o.value.Kind))
		}
	}
	return arithmetic{minus: t.text == "-", a: a, b: b}, nil
}

func (p *parser) setOperand() (setValue, error) {
	if p.take("(") {
		v, err := p.setExpr()
		if err != nil {
			return nil, err
		}
		return v, p.need(")")
	}
	t := p.peek()
	if t.kind == tokValue {
		p.next()
		v, err := p.value(t)
		return plain{operand{value: &v}}, err
	}
	if t.kind != tokWord || !p.toks[p.at+1].sym("(") {
		path, err := p.path()
		return plain{operand{path: path}}, err
	}
	p.at += 2
	if err := p.counted(); err != nil {
		return nil, err
	}
	if t.text != "if_not_exists" && t.text != "list_append" {
		return nil, p.invalid("Invalid function name; function: %s", t.text)
	}
	a, err := p.setOperand()
	if err != nil {
		return nil, err
	}
	if err := p.need(","); err != nil {
		return nil, err
	}
	b, err := p.setOperand()
	if err != nil {
		return nil, err
	}
	if err := p.need(")"); err != nil {
		return nil, err
	}
	if t.text == "list_append" {
		return listAppend{a, b}, nil
	}
	o, ok := a.(plain)
	if !ok || o.path == nil {
		return nil, p.invalid("Operator or function requires a document path; operator or function: if_not_exists")
	}
	return ifNotExists{o.path, b}, nil
}

// Apply returns the changed item and leaves the given one as it is. All right sides see the item as it was.
func (c *Changes) Apply(item attr.Item) (attr.Item, error) {
	out := make(attr.Item, len(item)+len(c.sets))
	for k, v := range item {
		out[k] = v
	}
	root := attr.Value{Kind: attr.M, Map: out}
	values := make([]attr.Value, len(c.sets))
	for i, a := range c.sets {
		v, err := a.rhs.eval(item)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	// List appends by index must come in ascending order of index, so that [9] and [10] keep their order beyond the end.
	order := make([]int, len(c.sets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return lastIndex(c.sets[a].path) - lastIndex(c.sets[b].path) })
	var err error
	for _, i := range order {
		if root, err = put(root, c.sets[i].path, values[i]); err != nil {
			return nil, err
		}
	}
	for i, a := range slices.Concat(c.adds, c.deletes) {
		if root, err = a.apply(root, item, i >= len(c.adds)); err != nil {
			return nil, err
		}
	}
	return c.remove(root)
}

func lastIndex(p Path) int { return p[len(p)-1].index }

// remove takes the removed paths out, list elements from the last to the first, so that indices stay those of the old item.
func (c *Changes) remove(root attr.Value) (attr.Item, error) {
	paths := slices.Clone(c.removes)
	slices.SortStableFunc(paths, func(a, b Path) int { return lastIndex(b) - lastIndex(a) })
	for _, p := range paths {
		var err error
		if root, err = drop(root, p, true); err != nil {
			return nil, err
		}
	}
	return root.Map, nil
}

// apply carries out ADD or DELETE.
func (a change) apply(root attr.Value, old attr.Item, del bool) (attr.Value, error) {
	cur, ok := a.path.get(old)
	switch {
	case !ok && del:
		return root, nil
	case !ok:
		return put(root, a.path, a.value)
	case cur.Kind != a.value.Kind:
		return root, errOperand
	case del:
		if rest := cur.Minus(a.value); len(rest.Set) > 0 {
			return put(root, a.path, rest)
		}
		return drop(root, a.path, false)
	case cur.Kind == attr.N:
		sum, err := cur.Number().Add(a.value.Number())
		if err != nil {
			return root, err
		}
		return put(root, a.path, attr.NumberValue(sum))
	}
	return put(root, a.path, cur.Union(a.value))
}

// put returns v with the value at the path replaced, copying the containers on the way.
func put(v attr.Value, path Path, to attr.Value) (attr.Value, error) {
	if len(path) == 0 {
		return to, nil
	}
	s := path[0]
	switch {
	case s.index < 0 && v.Kind == attr.M:
		child, ok := v.Map[s.name]
		if !ok && len(path) > 1 {
			return v, errDocument
		}
		w, err := put(child, path[1:], to)
		if err != nil {
			return v, err
		}
		m := make(attr.Item, len(v.Map)+1)
		for k, e := range v.Map {
			m[k] = e
		}
		m[s.name] = w
		return attr.Value{Kind: attr.M, Map: m}, nil
	case s.index >= 0 && v.Kind == attr.L:
		var child attr.Value
		if s.index < len(v.List) {
			child = v.List[s.index]
		} else if len(path) > 1 {
			return v, errDocument
		}
		w, err := put(child, path[1:], to)
		if err != nil {
			return v, err
		}
		l := slices.Clone(v.List)
		if s.index < len(l) {
			l[s.index] = w
		} else {
			l = append(l, w)
		}
		return attr.Value{Kind: attr.L, List: l}, nil
	}
	return v, errDocument
}

// drop returns v without the value at the path. A last part that is not there is no error; a missing parent is, when strict.
func drop(v attr.Value, path Path, strict bool) (attr.Value, error) {
	s := path[0]
	child, ok := s.into(v)
	if !ok {
		if strict && len(path) > 1 {
			return v, errDocument
		}
		return v, nil
	}
	if len(path) > 1 {
		w, err := drop(child, path[1:], strict)
		if err != nil {
			return v, err
		}
		return put(v, Path{s}, w)
	}
	if s.index >= 0 {
		return attr.Value{Kind: attr.L, List: slices.Delete(slices.Clone(v.List), s.index, s.index+1)}, nil
	}
	m := make(attr.Item, len(v.Map))
	for k, e := range v.Map {
		if k != s.name {
			m[k] = e
		}
	}
	return attr.Value{Kind: attr.M, Map: m}, nil
}

// Updated returns what ReturnValues UPDATED_OLD or UPDATED_NEW shows of an item.
func (c *Changes) Updated(item attr.Item) attr.Item { return Project(item, c.Paths()) }

// Check refuses changes to key attributes.
func (c *Changes) Check(keys ...string) error {
	for _, p := range c.Paths() {
		if slices.Contains(keys, p.Top()) {
			return attr.Invalid(fmt.Sprintf("One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", p.Top()))
		}
	}
	return nil
}
