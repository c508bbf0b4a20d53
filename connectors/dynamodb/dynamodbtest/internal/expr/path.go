package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// step is one part of a document path: a name, or an index into a list.
type step struct {
	name  string
	index int // -1 for a name
}

// Path names a place in an item, e.g. a.b[2].
type Path []step

// String is the form that messages use: [a, b, [2]].
func (p Path) String() string {
	parts := make([]string, len(p))
	for i, s := range p {
		parts[i] = s.name
		if s.index >= 0 {
			parts[i] = "[" + strconv.Itoa(s.index) + "]"
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Top is the name of the attribute that the path starts at.
func (p Path) Top() string { return p[0].name }

// path parses name{.name|[index]}.
func (p *parser) path() (Path, error) {
	first, err := p.pathName()
	if err != nil {
		return nil, err
	}
	out := Path{first}
	for {
		switch {
		case p.take("."):
			s, err := p.pathName()
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		case p.take("["):
			t := p.next()
			n, err := strconv.Atoi(t.text)
			if t.kind != tokNumber || err != nil {
				return nil, p.fault(t)
			}
			if err := p.need("]"); err != nil {
				return nil, err
			}
			out = append(out, step{index: n})
		default:
			if len(out) > attr.MaxDepth {
				return nil, p.invalid("The document path has too many nesting elements; nesting levels: %d", len(out))
			}
			return out, nil
		}
	}
}

func (p *parser) pathName() (step, error) {
	t := p.next()
	switch t.kind {
	case tokWord:
		if reserved(t.text) {
			return step{}, p.invalid("Attribute name is a reserved keyword; reserved keyword: %s", t.text)
		}
		return step{name: t.text, index: -1}, nil
	case tokName:
		name, ok := p.scope.names[t.text]
		if !ok {
			return step{}, p.invalid("An expression attribute name used in the document path is not defined; attribute name: %s", t.text)
		}
		p.scope.usedNames[t.text] = true
		return step{name: name, index: -1}, nil
	}
	return step{}, p.fault(t)
}

// get returns what is at the path.
func (p Path) get(item attr.Item) (attr.Value, bool) {
	v, ok := item[p[0].name]
	for _, s := range p[1:] {
		if !ok {
			break
		}
		v, ok = s.into(v)
	}
	return v, ok
}

func (s step) into(v attr.Value) (attr.Value, bool) {
	if s.index < 0 {
		w, ok := v.Map[s.name]
		return w, ok && v.Kind == attr.M
	}
	if v.Kind != attr.L || s.index >= len(v.List) {
		return attr.Value{}, false
	}
	return v.List[s.index], true
}

// overlap reports paths of which one holds the other, or that use one place both as a map and as a list.
func overlap(kind string, paths []Path) error {
	for i, a := range paths {
		for _, b := range paths[:i] {
			n := 0
			for n < min(len(a), len(b)) && a[n] == b[n] {
				n++
			}
			what := ""
			switch {
			case n == min(len(a), len(b)):
				what = "overlap"
			case (a[n].index < 0) != (b[n].index < 0):
				what = "conflict"
			default:
				continue
			}
			return invalid(kind, fmt.Sprintf("Two document paths %s with each other; must remove or rewrite one of these paths; path one: %v, path two: %v", what, b, a))
		}
	}
	return nil
}

// ParseProjection parses a list of paths.
func ParseProjection(scope *Scope, s string) ([]Path, error) {
	p, err := newParser(scope, Projection, s)
	if err != nil {
		return nil, err
	}
	var out []Path
	for {
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		out = append(out, path)
		if p.take(",") {
			continue
		}
		if t := p.peek(); t.kind != tokEnd {
			return nil, p.fault(t)
		}
		return out, overlap(Projection, out)
	}
}

// Project returns the parts of an item that the paths name. List elements keep their order and close up.
func Project(item attr.Item, paths []Path) attr.Item {
	out := attr.Item{}
	byTop := map[string][]Path{}
	for _, p := range paths {
		byTop[p.Top()] = append(byTop[p.Top()], p[1:])
	}
	for name, rest := range byTop {
		if v, ok := item[name]; ok {
			if w, ok := project(v, rest); ok {
				out[name] = w
			}
		}
	}
	return out
}

func project(v attr.Value, rest []Path) (attr.Value, bool) {
	if len(rest[0]) == 0 { // overlaps are refused, so this is the only one
		return v, true
	}
	next := map[step][]Path{}
	var order []step
	for _, p := range rest {
		if next[p[0]] == nil {
			order = append(order, p[0])
		}
		next[p[0]] = append(next[p[0]], p[1:])
	}
	slices.SortFunc(order, func(a, b step) int { return a.index - b.index })
	out := attr.Value{Kind: v.Kind}
	for _, s := range order {
		w, ok := s.into(v)
		if ok {
			w, ok = project(w, next[s])
		}
		switch {
		case !ok:
		case s.index >= 0:
			out.List = append(out.List, w)
		default:
			if out.Map == nil {
				out.Map = attr.Item{}
			}
			out.Map[s.name] = w
		}
	}
	return out, len(out.List)+len(out.Map) > 0
}
