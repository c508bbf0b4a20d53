package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Cond is a parsed condition.
type Cond interface {
	// Eval decides the condition for an item; nil is an item that does not exist.
	Eval(item attr.Item) bool
}

type (
	andCond struct{ l, r Cond }
	orCond  struct{ l, r Cond }
	notCond struct{ c Cond }
	cmpCond struct {
		op   string
		l, r operand
	}
	betweenCond struct{ v, low, high operand }
	inCond      struct {
		v    operand
		list []operand
	}
	existsCond struct {
		path Path
		want bool
	}
	typeCond struct {
		v    operand
		kind attr.Kind
	}
	beginsCond   struct{ v, prefix operand }
	containsCond struct{ v, part operand }
)

// operand is a path, a value or size(path).
type operand struct {
	path  Path
	value *attr.Value
	size  bool
}

func (o operand) eval(item attr.Item) (attr.Value, bool) {
	if o.value != nil && !o.size {
		return *o.value, true
	}
	var v attr.Value
	ok := true
	if o.value != nil {
		v = *o.value
	} else {
		v, ok = o.path.get(item)
	}
	if !ok || !o.size {
		return v, ok
	}
	return sizeOf(v)
}

// sizeOf is the function size: characters, bytes or elements.
func sizeOf(v attr.Value) (attr.Value, bool) {
	n := 0
	switch v.Kind {
	case attr.S, attr.B:
		n = len(v.Str)
	case attr.L:
		n = len(v.List)
	case attr.M:
		n = len(v.Map)
	case attr.SS, attr.NS, attr.BS:
		n = len(v.Set)
	default:
		return attr.Value{}, false
	}
	return attr.Value{Kind: attr.N, Str: strconv.Itoa(n)}, true
}

func (o operand) String() string {
	switch {
	case o.size:
		return "size"
	case o.value != nil:
		return "AttributeValue: " + show(*o.value)
	}
	return o.path.String()
}

func show(v attr.Value) string {
	if len(v.Set) > 0 {
		return "{" + v.Kind.String() + ":[" + strings.Join(v.Set, ", ") + "]}"
	}
	return "{" + v.Kind.String() + ":" + v.Str + "}"
}

func (c andCond) Eval(i attr.Item) bool { return c.l.Eval(i) && c.r.Eval(i) }
func (c orCond) Eval(i attr.Item) bool  { return c.l.Eval(i) || c.r.Eval(i) }
func (c notCond) Eval(i attr.Item) bool { return !c.c.Eval(i) }

func (c cmpCond) Eval(i attr.Item) bool {
	l, okL := c.l.eval(i)
	r, okR := c.r.eval(i)
	if !okL || !okR {
		// An attribute that is not there differs from everything; all other comparisons with it are false.
		return c.op == "<>" && okL != okR
	}
	switch c.op {
	case "=":
		return l.Equal(r)
	case "<>":
		return !l.Equal(r)
	}
	d, ok := l.Cmp(r)
	if !ok {
		return false
	}
	switch c.op {
	case "<":
		return d < 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	}
	return d >= 0
}

func (c betweenCond) Eval(i attr.Item) bool {
	return cmpCond{">=", c.v, c.low}.Eval(i) && cmpCond{"<=", c.v, c.high}.Eval(i)
}

func (c inCond) Eval(i attr.Item) bool {
	return slices.ContainsFunc(c.list, func(o operand) bool { return cmpCond{"=", c.v, o}.Eval(i) })
}

func (c existsCond) Eval(i attr.Item) bool {
	_, ok := c.path.get(i)
	return ok == c.want
}

func (c typeCond) Eval(i attr.Item) bool {
	v, ok := c.v.eval(i)
	return ok && v.Kind == c.kind
}

func (c beginsCond) Eval(i attr.Item) bool {
	v, ok := c.v.eval(i)
	w, ok2 := c.prefix.eval(i)
	return ok && ok2 && v.Kind == w.Kind && (v.Kind == attr.S || v.Kind == attr.B) && strings.HasPrefix(v.Str, w.Str)
}

func (c containsCond) Eval(i attr.Item) bool {
	v, ok := c.v.eval(i)
	w, ok2 := c.part.eval(i)
	if !ok || !ok2 {
		return false
	}
	element := map[attr.Kind]attr.Kind{attr.SS: attr.S, attr.NS: attr.N, attr.BS: attr.B}
	switch v.Kind {
	case attr.S, attr.B:
		return v.Kind == w.Kind && strings.Contains(v.Str, w.Str)
	case attr.L:
		return slices.ContainsFunc(v.List, w.Equal)
	}
	return element[v.Kind] == w.Kind && slices.Contains(v.Set, w.Str)
}

// ParseCondition parses a condition or filter; kind is how messages name it.
func ParseCondition(scope *Scope, kind, s string) (Cond, error) {
	p, err := newParser(scope, kind, s)
	if err != nil {
		return nil, err
	}
	c, err := p.or()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, p.fault(t)
	}
	return c, nil
}

func (p *parser) or() (Cond, error) {
	l, err := p.and()
	for err == nil && p.keyword("OR") {
		var r Cond
		if err = p.counted(); err == nil {
			r, err = p.and()
			l = orCond{l, r}
		}
	}
	return l, err
}

func (p *parser) and() (Cond, error) {
	l, err := p.not()
	for err == nil && p.keyword("AND") {
		var r Cond
		if err = p.counted(); err == nil {
			r, err = p.not()
			l = andCond{l, r}
		}
	}
	return l, err
}

func (p *parser) not() (Cond, error) {
	if !p.keyword("NOT") {
		return p.primary()
	}
	if err := p.counted(); err != nil {
		return nil, err
	}
	c, err := p.not()
	return notCond{c}, err
}

func (p *parser) primary() (Cond, error) {
	if p.take("(") {
		c, err := p.or()
		if err != nil {
			return nil, err
		}
		return c, p.need(")")
	}
	if t := p.peek(); t.kind == tokWord && p.toks[p.at+1].sym("(") && t.text != "size" {
		return p.function()
	}
	l, err := p.operand()
	if err != nil {
		return nil, err
	}
	if err := p.counted(); err != nil {
		return nil, err
	}
	switch {
	case p.keyword("BETWEEN"):
		return p.between(l)
	case p.keyword("IN"):
		return p.in(l)
	}
	t := p.next()
	if t.kind != tokSymbol || !slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text) {
		return nil, p.fault(t)
	}
	r, err := p.operand()
	if err != nil {
		return nil, err
	}
	return cmpCond{t.text, l, r}, p.comparable(t.text, l, r)
}

// comparable refuses operands that could never be compared.
func (p *parser) comparable(op string, l, r operand) error {
	if l.value == nil && r.value == nil && !l.size && !r.size && l.path.String() == r.path.String() {
		return p.invalid("The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %v", op, l.path)
	}
	if op == "=" || op == "<>" {
		return nil
	}
	for _, o := range []operand{l, r} {
		if o.value != nil && o.value.Kind != attr.S && o.value.Kind != attr.N && o.value.Kind != attr.B {
			return p.invalid("Incorrect operand type for operator or function; operator: %s, operand type: %v", op, o.value.Kind)
		}
	}
	return nil
}

func (p *parser) operand() (operand, error) {
	t := p.peek()
	if t.kind == tokValue {
		p.next()
		v, err := p.value(t)
		return operand{value: &v}, err
	}
	if t.kind == tokWord && t.text == "size" && p.toks[p.at+1].sym("(") {
		p.at += 2
		o, err := p.operand()
		if err != nil {
			return o, err
		}
		if o.size {
			return o, p.invalid("The function is not allowed to be used this way in an expression; function: size")
		}
		o.size = true
		if o.value != nil {
			if _, ok := sizeOf(*o.value); !ok {
				return o, p.invalid("Incorrect operand type for operator or function; operator or function: size, operand type: %v", o.value.Kind)
			}
		}
		return o, p.need(")")
	}
	path, err := p.path()
	return operand{path: path}, err
}

func (p *parser) between(v operand) (Cond, error) {
	low, err := p.operand()
	if err != nil {
		return nil, err
	}
	if !p.keyword("AND") {
		return nil, p.fault(p.peek())
	}
	high, err := p.operand()
	if err != nil {
		return nil, err
	}
	if low.value != nil && high.value != nil {
		if low.value.Kind != high.value.Kind {
			return nil, p.invalid("The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: %v, upper bound operand: %v", low, high)
		}
		if d, ok := low.value.Cmp(*high.value); ok && d > 0 {
			return nil, p.invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: %v, upper bound operand: %v", low, high)
		}
	}
	for _, o := range []operand{low, high} {
		if err := p.comparable("BETWEEN", v, o); err != nil {
			return nil, err
		}
	}
	return betweenCond{v, low, high}, nil
}

func (p *parser) in(v operand) (Cond, error) {
	if err := p.need("("); err != nil {
		return nil, err
	}
	c := inCond{v: v}
	for {
		o, err := p.operand()
		if err != nil {
			return nil, err
		}
		if c.list = append(c.list, o); len(c.list) > 100 {
			return nil, p.invalid("Invalid number of operands for operator or function; operator or function: IN, number of operands: %d", len(c.list))
		}
		if !p.take(",") {
			return c, p.need(")")
		}
	}
}

func (p *parser) function() (Cond, error) {
	name := p.next().text
	want, ok := map[string]int{"attribute_exists": 1, "attribute_not_exists": 1, "attribute_type": 2, "begins_with": 2, "contains": 2}[name]
	if !ok {
		return nil, p.invalid("Invalid function name; function: %s", name)
	}
	if err := p.counted(); err != nil {
		return nil, err
	}
	p.at++ // the parenthesis, seen by the caller
	var args []operand
	for {
		o, err := p.operand()
		if err != nil {
			return nil, err
		}
		args = append(args, o)
		if !p.take(",") {
			break
		}
	}
	if err := p.need(")"); err != nil {
		return nil, err
	}
	if len(args) != want {
		return nil, p.invalid("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", name, len(args))
	}
	return p.call(name, args)
}

func (p *parser) call(name string, args []operand) (Cond, error) {
	wrong := func(o operand) error {
		what := fmt.Sprint(o)
		if o.value != nil {
			what = o.value.Kind.String()
		}
		return p.invalid("Incorrect operand type for operator or function; operator or function: %s, operand type: %s", name, what)
	}
	switch name {
	case "attribute_exists", "attribute_not_exists":
		if args[0].path == nil || args[0].size {
			return nil, p.invalid("Operator or function requires a document path; operator or function: %s", name)
		}
		return existsCond{args[0].path, name == "attribute_exists"}, nil
	case "attribute_type":
		if args[1].value == nil || args[1].value.Kind != attr.S {
			return nil, wrong(args[1])
		}
		kind := attr.KindOf(args[1].value.Str)
		if kind == 0 {
			return nil, p.invalid("Invalid attribute type name found; type: %s, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}", args[1].value.Str)
		}
		return typeCond{args[0], kind}, nil
	case "begins_with":
		for _, o := range args {
			if o.value != nil && !o.size && o.value.Kind != attr.S && o.value.Kind != attr.B {
				return nil, wrong(o)
			}
		}
		return beginsCond{args[0], args[1]}, nil
	}
	return containsCond{args[0], args[1]}, nil
}
