package serde

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Incompatibility is one reason why data of a writer's schema cannot be read with a reader's.
type Incompatibility struct {
	// Path is the field in the reader's schema, from its outermost record: "profile.limit", elements as "[]", map values as "{}"; ""
	// for the outermost type itself.
	Path string `json:"path"`
	// Rule is the broken rule, one of the Rule constants.
	Rule string `json:"rule"`
	// Detail says what both sides have.
	Detail string `json:"detail"`
	// Forward says that the earlier schema is the reader here and the new one the writer; set by CheckMode only.
	Forward bool `json:"forward,omitempty"`
	// Earlier is the index of the earlier schema in the list given to CheckMode.
	Earlier int `json:"earlier,omitempty"`
}

// Error is "field profile.limit: no default and missing in the writer (missing field)".
func (i Incompatibility) Error() string {
	where := "field " + i.Path
	if i.Path == "" {
		where = "outermost type"
	}
	s := where + ": " + i.Detail + " (" + i.Rule + ")"
	if i.Forward {
		return "earlier readers of new data: " + s
	}
	return s
}

// Mode says which schemas must be able to read which; the values are those of the Confluent registry.
type Mode string

// The modes. Backward: the new schema reads data of the last one, so readers are upgraded first. Forward: the last schema reads
// data of the new one, so writers are upgraded first. The transitive modes look at all earlier schemas. State of jobs and topics that
// are replayed need BackwardTransitive.
const (
	None               Mode = "NONE"
	Backward           Mode = "BACKWARD"
	BackwardTransitive Mode = "BACKWARD_TRANSITIVE"
	Forward            Mode = "FORWARD"
	ForwardTransitive  Mode = "FORWARD_TRANSITIVE"
	Full               Mode = "FULL"
	FullTransitive     Mode = "FULL_TRANSITIVE"
)

// Validate reports a mode that does not exist.
func (m Mode) Validate() error {
	switch m {
	case None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive:
		return nil
	}
	return fmt.Errorf("serde: compatibility mode %q is unknown, want NONE, BACKWARD, FORWARD, FULL, or one of the last three with _TRANSITIVE", string(m))
}

// incompatibilitiesMax bounds the list of one check.
const incompatibilitiesMax = 1000

// Check finds every reason why data written with writer cannot be read with reader; nil means that all of it can. It follows the
// resolution rules of Avro 1.12 and is stricter in two points, where the specification lets wrong values pass: logical
// types of different units, and decimals of different scale. Recursive schemas are fine. A schema that cannot be read is a
// single Incompatibility of RuleSchema.
func Check(reader, writer string) []Incompatibility {
	r, err := parseSchema(reader)
	if err != nil {
		return []Incompatibility{{Rule: RuleSchema, Detail: "reader: " + err.Error()}}
	}
	w, err := parseSchema(writer)
	if err != nil {
		return []Incompatibility{{Rule: RuleSchema, Detail: "writer: " + err.Error()}}
	}
	c := checker{seen: map[[2]*node]bool{}}
	c.check(r, w)
	return c.found
}

// CheckMode finds what mode forbids about the schema next, given the earlier ones, oldest first.
func CheckMode(mode Mode, next string, earlier []string) []Incompatibility {
	from := max(len(earlier)-1, 0)
	if strings.HasSuffix(string(mode), "_TRANSITIVE") {
		from = 0
	}
	var found []Incompatibility
	for i := from; i < len(earlier); i++ {
		if mode == Backward || mode == BackwardTransitive || mode == Full || mode == FullTransitive {
			for _, f := range Check(next, earlier[i]) {
				f.Earlier = i
				found = append(found, f)
			}
		}
		if mode == Forward || mode == ForwardTransitive || mode == Full || mode == FullTransitive {
			for _, f := range Check(earlier[i], next) {
				f.Forward, f.Earlier = true, i
				found = append(found, f)
			}
		}
	}
	return found
}

// joined is the list as one error, nil when it is empty.
func joined(found []Incompatibility) error {
	errs := make([]error, len(found))
	for i, f := range found {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// checker walks two schemas together. A pair of types is looked at once: this ends recursion, and a fault is told at the first path
// that leads to it.
type checker struct {
	seen  map[[2]*node]bool
	path  []string
	found []Incompatibility
}

func (c *checker) fail(rule, format string, args ...any) {
	switch {
	case len(c.found) < incompatibilitiesMax:
		c.found = append(c.found, Incompatibility{Path: strings.Join(c.path, ""), Rule: rule, Detail: fmt.Sprintf(format, args...)})
	case len(c.found) == incompatibilitiesMax:
		c.found = append(c.found, Incompatibility{Rule: RuleTooMany, Detail: fmt.Sprintf("more than %d", incompatibilitiesMax)})
	}
}

// in runs f with one more step on the path.
func (c *checker) in(step string, f func()) {
	if len(c.path) == 0 {
		step = strings.TrimPrefix(step, ".")
	}
	c.path = append(c.path, step)
	f()
	c.path = c.path[:len(c.path)-1]
}

func (c *checker) check(r, w *node) {
	pair := [2]*node{r, w}
	if c.seen[pair] {
		return
	}
	c.seen[pair] = true
	if w.kind == kUnion {
		for _, b := range w.branches {
			c.branch(r, b, w)
		}
		return
	}
	if r.kind == kUnion {
		c.branch(r, w, nil)
		return
	}
	if rule, detail := mismatch(w, r); rule != "" {
		c.fail(rule, "%s", detail)
		return
	}
	switch r.kind {
	case kRecord:
		c.record(r, w)
	case kEnum:
		var missing []string
		for _, s := range w.symbols {
			if !slices.Contains(r.symbols, s) {
				missing = append(missing, s)
			}
		}
		if len(missing) > 0 && r.fallback == "" {
			c.fail(RuleSymbol, "writer has the symbols %v, which %s lacks, and it has no default", missing, r.describe())
		}
	case kArray:
		c.in("[]", func() { c.check(r.item, w.item) })
	case kMap:
		c.in("{}", func() { c.check(r.item, w.item) })
	}
}

// branch checks one type of the writer, a branch of union when that is not nil, against r.
func (c *checker) branch(r, w, union *node) {
	if r.kind == kUnion {
		for _, b := range r.branches { // an equal kind first: an int belongs to the int branch, not to the long before it
			if rule, _ := mismatch(w, b); rule == "" && w.kind == b.kind {
				c.check(b, w)
				return
			}
		}
		for _, b := range r.branches {
			if rule, _ := mismatch(w, b); rule == "" {
				c.check(b, w)
				return
			}
		}
		c.fail(RuleBranch, "writer can hold %s, which is no branch of the reader's %s", w.describe(), r.describe())
		return
	}
	if rule, detail := mismatch(w, r); rule != "" && union != nil {
		c.fail(RuleBranch, "writer's %s can hold %s: %s", union.describe(), w.describe(), detail)
		return
	}
	c.check(r, w)
}

func (c *checker) record(r, w *node) {
	taken := make([]bool, len(r.fields))
	for wi, ri := range matchFields(w, r) {
		if ri >= 0 {
			taken[ri] = true
			c.in("."+r.fields[ri].name, func() { c.check(r.fields[ri].typ, w.fields[wi].typ) })
		}
	}
	for ri, f := range r.fields {
		if !taken[ri] && !f.hasDefault {
			c.in("."+f.name, func() { c.fail(RuleMissing, "no default and missing in the writer") })
		}
	}
}
