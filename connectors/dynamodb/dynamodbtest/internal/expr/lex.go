// Package expr parses and evaluates DynamoDB's condition, filter, key condition, update and projection expressions.
//
// Names (#n) and values (:v) are resolved while parsing. Every fault is an *attr.Error with the service's text.
package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// Kinds of expressions, as they are named in messages.
const (
	Condition    = "ConditionExpression"
	Filter       = "FilterExpression"
	KeyCondition = "KeyConditionExpression"
	Update       = "UpdateExpression"
	Projection   = "ProjectionExpression"
)

// Limits. Source: developer guide, "Expression parameters".
const (
	maxLength    = 4096
	maxOperators = 300
)

// Scope holds the substitutions of one request, which its expressions share.
type Scope struct {
	names      map[string]string
	values     attr.Item
	usedNames  map[string]bool
	usedValues map[string]bool
}

// NewScope checks the form of the keys of names and values. The maps are read only.
func NewScope(names map[string]string, values attr.Item) (*Scope, error) {
	for k := range names {
		if len(k) < 2 || k[0] != '#' || !wordOnly(k[1:]) {
			return nil, attr.Invalid(fmt.Sprintf("ExpressionAttributeNames contains invalid key: Syntax error; key: \"%s\"", k))
		}
	}
	for k := range values {
		if len(k) < 2 || k[0] != ':' || !wordOnly(k[1:]) {
			return nil, attr.Invalid(fmt.Sprintf("ExpressionAttributeValues contains invalid key: Syntax error; key: \"%s\"", k))
		}
	}
	return &Scope{names: names, values: values, usedNames: map[string]bool{}, usedValues: map[string]bool{}}, nil
}

// Unused reports names and values that no expression used: the service refuses them.
func (s *Scope) Unused() error {
	if m := missing(s.names, s.usedNames); m != "" {
		return attr.Invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {" + m + "}")
	}
	if m := missing(s.values, s.usedValues); m != "" {
		return attr.Invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {" + m + "}")
	}
	return nil
}

func missing[V any](given map[string]V, used map[string]bool) string {
	var out []string
	for k := range given {
		if !used[k] {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

type tokenKind byte

const (
	tokEnd    tokenKind = iota
	tokWord             // name or keyword
	tokName             // #name
	tokValue            // :value
	tokNumber           // list index
	tokSymbol
)

type token struct {
	kind tokenKind
	text string
	pos  int
}

// is reports a keyword, in any case.
func (t token) is(keyword string) bool {
	return t.kind == tokWord && strings.EqualFold(t.text, keyword)
}

func (t token) sym(s string) bool { return t.kind == tokSymbol && t.text == s }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

func wordOnly(s string) bool { return s != "" && run(s, 0) == len(s) }

// run is the index after the letters and digits of s that start at i.
func run(s string, i int) int {
	for i < len(s) && (letter(s[i]) || digit(s[i])) {
		i++
	}
	return i
}

// lex splits an expression into tokens, the last of which is tokEnd.
func lex(kind, s string) ([]token, error) {
	if strings.TrimSpace(s) == "" {
		return nil, invalid(kind, "The expression can not be empty;")
	}
	if len(s) > maxLength {
		return nil, invalid(kind, fmt.Sprintf("Expression size has exceeded the maximum allowed size; expression size: %d", len(s)))
	}
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		j, tk := i+1, tokSymbol
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case letter(c):
			j, tk = run(s, i), tokWord
		case digit(c):
			j, tk = run(s, i), tokNumber
		case c == '#' || c == ':':
			j, tk = run(s, i+1), tokName
			if c == ':' {
				tk = tokValue
			}
			if j == i+1 {
				return nil, syntax(kind, s, token{text: s[i:j], pos: i})
			}
		case strings.HasPrefix(s[i:], "<>") || strings.HasPrefix(s[i:], "<=") || strings.HasPrefix(s[i:], ">="):
			j = i + 2
		case !strings.ContainsRune("()[].,=<>+-", rune(c)):
			return nil, syntax(kind, s, token{text: s[i:j], pos: i})
		}
		out = append(out, token{kind: tk, text: s[i:j], pos: i})
		i = j
	}
	return append(out, token{kind: tokEnd, text: "<EOF>", pos: len(s)}), nil
}

func invalid(kind, what string) error { return attr.Invalid("Invalid " + kind + ": " + what) }

func syntax(kind, s string, t token) error {
	near := s[max(0, t.pos-8):min(len(s), t.pos+len(t.text)+8)]
	return invalid(kind, fmt.Sprintf("Syntax error; token: \"%s\", near: \"%s\"", t.text, near))
}

// parser walks the tokens of one expression.
type parser struct {
	scope     *Scope
	kind      string
	src       string
	toks      []token
	at        int
	operators int
}

func newParser(scope *Scope, kind, s string) (*parser, error) {
	toks, err := lex(kind, s)
	if err != nil {
		return nil, err
	}
	return &parser{scope: scope, kind: kind, src: s, toks: toks}, nil
}

func (p *parser) peek() token { return p.toks[p.at] }

func (p *parser) next() token {
	t := p.toks[p.at]
	if t.kind != tokEnd {
		p.at++
	}
	return t
}

// take consumes the symbol if it is next.
func (p *parser) take(sym string) bool {
	if p.peek().sym(sym) {
		p.at++
		return true
	}
	return false
}

func (p *parser) need(sym string) error {
	if !p.take(sym) {
		return p.fault(p.peek())
	}
	return nil
}

func (p *parser) keyword(word string) bool {
	if p.peek().is(word) {
		p.at++
		return true
	}
	return false
}

func (p *parser) fault(t token) error { return syntax(p.kind, p.src, t) }

func (p *parser) invalid(format string, args ...any) error {
	return invalid(p.kind, fmt.Sprintf(format, args...))
}

func (p *parser) counted() error {
	if p.operators++; p.operators > maxOperators {
		return p.invalid("The expression contains too many operators; operator count: %d", p.operators)
	}
	return nil
}

// value resolves :v.
func (p *parser) value(t token) (attr.Value, error) {
	v, ok := p.scope.values[t.text]
	if !ok {
		return v, p.invalid("An expression attribute value used in expression is not defined; attribute value: %s", t.text)
	}
	p.scope.usedValues[t.text] = true
	return v, nil
}
