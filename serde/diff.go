package serde

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one way in which a reader's schema differs from a writer's and still reads its data.
type Difference struct {
	// Path is the field in the reader's schema, as in Incompatibility; in the writer's for a field that is removed.
	Path string `json:"path,omitempty"`
	// How is one of the Diff constants.
	How string `json:"how"`
	// Detail says what both sides have.
	Detail string `json:"detail,omitempty"`
}

// String is "field profile.limit: added, 2.5 in old data".
func (d Difference) String() string {
	s := d.How
	if d.Detail != "" {
		s += ", " + d.Detail
	}
	if d.Path == "" {
		return s
	}
	return "field " + d.Path + ": " + s
}

// The ways in which schemas differ and can be read.
const (
	DiffAdded    = "added"         // the writer lacks the field: old data has its default
	DiffRemoved  = "removed"       // the reader lacks the field: old data loses it
	DiffRenamed  = "renamed"       // found by an alias, or by its unqualified name
	DiffPromoted = "promoted"      // int to long, string to bytes …
	DiffOrder    = "reordered"     // the fields of a record
	DiffUnion    = "union"         // other branches, or a union on one side only
	DiffSymbols  = "enum symbols"  // other symbols, or another order of them
	DiffLogical  = "logical type"  // on one side only, or a decimal of more precision
	DiffMeta     = "metadata only" // aliases, defaults: data is the same
)

// Diff lists how reader differs from writer, outermost first, where Check finds nothing to refuse; nil for equal schemas. Each pair of
// types is told at the first path that leads to it. An error is a schema that cannot be read.
func Diff(reader, writer string) ([]Difference, error) {
	if reader == writer {
		return nil, nil
	}
	r, w, err := parsePair(reader, writer)
	if err != nil {
		return nil, err
	}
	d := differ{seen: map[[2]*node]bool{}}
	d.diff(r, w)
	if len(d.found) == 0 {
		d.add(DiffMeta, "")
	}
	return d.found, nil
}

func parsePair(reader, writer string) (r, w *node, err error) {
	if r, err = parseSchema(reader); err != nil {
		return nil, nil, fmt.Errorf("serde: reader's schema: %w", err)
	}
	if w, err = parseSchema(writer); err != nil {
		return nil, nil, fmt.Errorf("serde: writer's schema: %w", err)
	}
	return r, w, nil
}

type differ struct {
	seen  map[[2]*node]bool
	path  []string
	found []Difference
}

func (d *differ) add(how, format string, args ...any) {
	d.found = append(d.found, Difference{Path: strings.TrimPrefix(strings.Join(d.path, ""), "."), How: how, Detail: fmt.Sprintf(format, args...)})
}

func (d *differ) in(step string, f func()) {
	d.path = append(d.path, step)
	f()
	d.path = d.path[:len(d.path)-1]
}

func (d *differ) diff(r, w *node) {
	pair := [2]*node{r, w}
	if d.seen[pair] {
		return
	}
	d.seen[pair] = true
	if r.kind == kUnion || w.kind == kUnion {
		d.union(r, w)
		return
	}
	if r.kind != w.kind {
		d.add(DiffPromoted, "%s to %s", w.describe(), r.describe())
		return
	}
	if r.named() && r.name != w.name {
		d.add(DiffRenamed, "%s to %s", w.describe(), r.name)
	}
	if r.logical != w.logical || r.precision != w.precision {
		d.add(DiffLogical, "%s to %s", d.logical(w), d.logical(r))
	}
	switch r.kind {
	case kRecord:
		d.record(r, w)
	case kEnum:
		if !slices.Equal(r.symbols, w.symbols) {
			d.add(DiffSymbols, "%v to %v", w.symbols, r.symbols)
		}
	case kArray:
		d.in("[]", func() { d.diff(r.item, w.item) })
	case kMap:
		d.in("{}", func() { d.diff(r.item, w.item) })
	}
}

func (d *differ) logical(n *node) string {
	if n.logical == logicalDecimal {
		return fmt.Sprintf("decimal(%d,%d)", n.precision, n.scale)
	}
	return n.describe()
}

func (d *differ) union(r, w *node) {
	same := r.kind == w.kind && len(r.branches) == len(w.branches)
	for i := 0; same && i < len(w.branches); i++ {
		same = w.branches[i].kind == r.branches[i].kind && (!w.branches[i].named() || namesMatch(w.branches[i], r.branches[i]))
	}
	if !same {
		d.add(DiffUnion, "%s to %s", w.describe(), r.describe())
	}
	for _, b := range branchesOf(w) {
		if rb := taker(r, b); rb != nil {
			d.diff(rb, b)
		}
	}
}

// branchesOf are the types that a value of n can have.
func branchesOf(n *node) []*node {
	if n.kind == kUnion {
		return n.branches
	}
	return []*node{n}
}

// taker is the type of reader r that takes a value of w, which is no union; nil for none.
func taker(r, w *node) *node {
	var found *node
	for _, b := range branchesOf(r) {
		if rule, _ := mismatch(w, b); rule == "" && (found == nil || w.kind == b.kind && found.kind != w.kind) {
			found = b
		}
	}
	return found
}

func (d *differ) record(r, w *node) {
	taken := make([]bool, len(r.fields))
	sources := matchFields(w, r)
	last, ordered := -1, true
	for _, ri := range sources {
		if ri >= 0 {
			ordered, last = ordered && ri > last, ri
		}
	}
	if !ordered {
		d.add(DiffOrder, "")
	}
	for wi, ri := range sources {
		f := w.fields[wi]
		if ri < 0 {
			d.in("."+f.name, func() { d.add(DiffRemoved, "was %s", f.typ.describe()) })
			continue
		}
		taken[ri] = true
		d.in("."+r.fields[ri].name, func() {
			if r.fields[ri].name != f.name {
				d.add(DiffRenamed, "was %s", f.name)
			}
			d.diff(r.fields[ri].typ, f.typ)
		})
	}
	for ri, f := range r.fields {
		if !taken[ri] {
			d.in("."+f.name, func() { d.add(DiffAdded, "%s in old data", defaultText(f.def)) })
		}
	}
}

// defaultText is a default as JSON.
func defaultText(def any) string {
	var w schemaWriter
	w.value(def)
	return w.buf.String()
}

// SameEncoding reports whether every value that reader reads out of data written with writer has that same encoding with reader's schema:
// nothing has to be written anew. It is so for schemas that differ in names, aliases and defaults, for int read as long, for string read as bytes
// and the other way round, and for an enum that has gained symbols at its end.
func SameEncoding(reader, writer string) bool {
	if reader == writer {
		return true
	}
	r, w, err := parsePair(reader, writer)
	if err != nil {
		return false
	}
	return pairs{}.all(r, w, sameEncoding)
}

// OneToOne reports whether two different values written with writer are always read as two different values with reader. It looks at the
// schemas, not at the values: where it says no, two may become one.
func OneToOne(reader, writer string) bool {
	if reader == writer {
		return true
	}
	r, w, err := parsePair(reader, writer)
	if err != nil {
		return false
	}
	return pairs{}.all(r, w, oneToOne)
}

// pairs are the pairs of types that were looked at.
type pairs map[[2]*node]bool

// all reports whether ok holds of r and w and all pairs of types within them. ok gives the pairs beneath.
func (p pairs) all(r, w *node, ok func(r, w *node) (below [][2]*node, ok bool)) bool {
	pair := [2]*node{r, w}
	if p[pair] {
		return true
	}
	p[pair] = true
	below, good := ok(r, w)
	for i := 0; good && i < len(below); i++ {
		good = p.all(below[i][0], below[i][1], ok)
	}
	return good
}

func sameEncoding(r, w *node) (below [][2]*node, ok bool) {
	alike := r.kind == w.kind || w.kind == kInt && r.kind == kLong || w.kind == kString && r.kind == kBytes || w.kind == kBytes && r.kind == kString
	if !alike || r.logical != w.logical || r.scale != w.scale || r.size != w.size {
		return nil, false
	}
	switch r.kind {
	case kEnum:
		return nil, len(r.symbols) >= len(w.symbols) && slices.Equal(r.symbols[:len(w.symbols)], w.symbols)
	case kArray, kMap:
		return [][2]*node{{r.item, w.item}}, true
	case kUnion:
		if len(r.branches) != len(w.branches) {
			return nil, false
		}
		for i, b := range w.branches {
			if taker(r, b) != r.branches[i] {
				return nil, false
			}
			below = append(below, [2]*node{r.branches[i], b})
		}
		return below, true
	case kRecord:
		if len(r.fields) != len(w.fields) {
			return nil, false
		}
		for wi, ri := range matchFields(w, r) {
			if ri != wi {
				return nil, false
			}
			below = append(below, [2]*node{r.fields[ri].typ, w.fields[wi].typ})
		}
		return below, true
	}
	return nil, true
}

func oneToOne(r, w *node) (below [][2]*node, ok bool) {
	if r.kind == kUnion || w.kind == kUnion {
		used := map[*node]bool{}
		for _, b := range branchesOf(w) {
			t := taker(r, b)
			if t == nil {
				continue // never read
			}
			if used[t] {
				return nil, false
			}
			used[t] = true
			below = append(below, [2]*node{t, b})
		}
		return below, true
	}
	if r.logical != w.logical {
		return nil, false // texts of one UUID, instants of one day …
	}
	switch {
	case r.kind == kFloat && w.kind != kFloat, r.kind == kDouble && w.kind == kLong:
		return nil, false // whole numbers beyond the mantissa
	case r.kind != w.kind:
		return nil, true
	case r.kind == kEnum:
		return nil, !slices.ContainsFunc(w.symbols, func(s string) bool { return !slices.Contains(r.symbols, s) })
	case r.kind == kArray, r.kind == kMap:
		return [][2]*node{{r.item, w.item}}, true
	case r.kind == kRecord:
		for wi, ri := range matchFields(w, r) {
			if ri < 0 {
				return nil, false
			}
			below = append(below, [2]*node{r.fields[ri].typ, w.fields[wi].typ})
		}
		return below, true
	}
	return nil, true
}
