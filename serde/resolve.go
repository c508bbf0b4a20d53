package serde

import (
	"fmt"
	"slices"
)

// Rules of schema resolution that an Incompatibility can break.
const (
	RuleSchema  = "schema"               // a schema cannot be read at all
	RuleType    = "type"                 // the writer's type is not the reader's and is not promoted to it
	RuleName    = "name"                 // named types have different names and no alias
	RuleMissing = "missing field"        // the writer lacks a field that has no default in the reader
	RuleSymbol  = "enum symbol"          // the writer has a symbol that the reader lacks, and the reader's enum has no default
	RuleSize    = "fixed size"           // fixed types of different size
	RuleDecimal = "decimal"              // decimals of different scale, or a reader of less precision
	RuleLogical = "logical type"         // both sides have a logical type, and not the same one
	RuleBranch  = "union branch"         // a branch of the writer's union that the reader cannot take
	RuleTooMany = "too many differences" // the list was cut
)

// mismatch says why a value of w can never be read as n, looking at the two nodes alone; rule is "" when it can.
// Source: Avro specification 1.12, "Schema Resolution".
func mismatch(w, n *node) (rule, detail string) {
	if w.kind != n.kind && !promotes(w.kind, n.kind) {
		return RuleType, fmt.Sprintf("writer has %s, reader %s", w.describe(), n.describe())
	}
	if n.named() && !namesMatch(w, n) {
		return RuleName, fmt.Sprintf("writer has %s, reader %s; add %q to the reader's aliases", w.describe(), n.describe(), w.name)
	}
	if n.kind == kFixed && w.size != n.size {
		return RuleSize, fmt.Sprintf("writer has %d bytes, reader %d", w.size, n.size)
	}
	return logicalMismatch(w, n)
}

// logicalMismatch refuses what the specification lets pass by its base type: milliseconds read as microseconds are wrong, not
// compatible. A side without logical type takes the other's meaning.
func logicalMismatch(w, n *node) (rule, detail string) {
	if w.logical == "" || n.logical == "" {
		if n.logical == logicalDecimal && w.kind == kString {
			return RuleType, "writer has string, reader decimal"
		}
		return "", ""
	}
	if w.logical != n.logical {
		_, known := logicalBases[w.logical]
		_, knownToo := logicalBases[n.logical]
		if (known || w.logical == logicalDecimal) && (knownToo || n.logical == logicalDecimal) {
			return RuleLogical, fmt.Sprintf("writer has %s, reader %s", w.describe(), n.describe())
		}
		return "", ""
	}
	if w.logical == logicalDecimal && (w.scale != n.scale || w.precision > n.precision) {
		return RuleDecimal, fmt.Sprintf("writer has precision %d and scale %d, reader precision %d and scale %d; the scale must be equal and the precision no smaller",
			w.precision, w.scale, n.precision, n.scale)
	}
	return "", ""
}

// promotes reports whether values of kind w are read as kind n.
func promotes(w, n kind) bool {
	switch w {
	case kInt:
		return n == kLong || n == kFloat || n == kDouble
	case kLong:
		return n == kFloat || n == kDouble
	case kFloat:
		return n == kDouble
	case kString:
		return n == kBytes
	case kBytes:
		return n == kString
	}
	return false
}

// namesMatch compares unqualified names, and those of the reader's aliases.
func namesMatch(w, n *node) bool {
	return shortName(w.name) == shortName(n.name) ||
		slices.ContainsFunc(n.aliases, func(a string) bool { return shortName(a) == shortName(w.name) })
}

// matchFields finds for each field of writer record w the index of the reader's field that takes it, or -1. A field of the same name
// goes before an alias.
func matchFields(w, n *node) []int {
	byName := make(map[string]int, len(w.fields))
	out := make([]int, len(w.fields))
	for i, f := range w.fields {
		out[i] = -1
		byName[f.name] = i
	}
	var rest []int
	for ri, f := range n.fields {
		if wi, ok := byName[f.name]; ok {
			out[wi] = ri
		} else if len(f.aliases) > 0 {
			rest = append(rest, ri)
		}
	}
	for _, ri := range rest {
		for _, a := range n.fields[ri].aliases {
			if wi, ok := byName[a]; ok && out[wi] < 0 {
				out[wi] = ri
				break
			}
		}
	}
	return out
}
