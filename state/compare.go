package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// The parts of a state in which two declarations can differ.
const (
	PartKind     = "kind"
	PartKey      = "key schema"
	PartSub      = "map key schema"
	PartValue    = "value schema"
	PartLifetime = "time to live"
)

// Mismatch is a reason why stored entries cannot be taken over.
type Mismatch struct {
	Part string `json:"part"` // one of the Part constants
	// Old and New are what both declare.
	Old string `json:"old"`
	New string `json:"new"`
	// Reasons are the fields and rules of Avro resolution that are broken; nil where no resolution can help.
	Reasons []serde.Incompatibility `json:"reasons,omitempty"`
}

// Evolution is one way in which entries differ from what was stored.
type Evolution struct {
	Part string `json:"part"` // one of the Part constants
	serde.Difference
}

// DiffMigrated is the How of an Evolution that a migration makes.
const DiffMigrated = "migrated"

// Comparison says what becomes of the entries of a state when a program with another declaration takes them over.
type Comparison struct {
	// Mismatches are all reasons why it cannot; nil when it can.
	Mismatches []Mismatch
	// Evolutions are told for what was stored last: older schemas only have to be readable.
	Evolutions []Evolution
	// Rewrite says that every entry has to be read and written again: tables cannot be attached.
	Rewrite bool
	// Rehash says that keys may belong to other key groups than before: every subtask has to read the files of all.
	Rehash bool
}

// Compare compares the stored state old with the declaration now. It is pure. Names are not compared.
func Compare(old, now Descriptor) Comparison {
	var c Comparison
	if old.Kind != now.Kind {
		c.Mismatches = append(c.Mismatches, Mismatch{Part: PartKind, Old: string(old.Kind), New: string(now.Kind)})
	}
	if w := c.part(PartKey, &now.Reads.Key, now.Key, old.Key, true); w == byMigration || w == byAvro {
		c.Rehash = w == byMigration || !sameKeys(old, now)
	}
	if old.Kind == now.Kind {
		w := c.part(PartSub, &now.Reads.Sub, now.Sub, old.Sub, true)
		c.Rewrite = c.Rehash || w == byMigration || w == byAvro && !serde.SameEncoding(now.Sub, old.Sub)
		for _, schema := range old.schemas() {
			c.part(PartValue, &now.Reads.Value, now.Value, schema, schema == old.Value)
		}
		c.lifetime(old, now)
	}
	return c
}

// part compares the schemas of one part; told says whether differences are told.
func (c *Comparison) part(part string, reads *Reading, now, old string, told bool) way {
	w, _ := reads.way(now, old)
	switch w {
	case noWay:
		m := Mismatch{Part: part, Old: old, New: now}
		if !opaque(old) && !opaque(now) && !reads.Rigid && old != "" && now != "" {
			m.Reasons = serde.Check(now, old)
		}
		c.Mismatches = append(c.Mismatches, m)
	case byMigration:
		if told {
			c.Evolutions = append(c.Evolutions, Evolution{part, serde.Difference{How: DiffMigrated}})
		}
	case byAvro:
		diffs, _ := serde.Diff(now, old) // both were read by Check
		for _, d := range diffs {
			if told {
				c.Evolutions = append(c.Evolutions, Evolution{part, d})
			}
		}
	}
	return w
}

// sameKeys reports whether operator keys have the same encoding and hash under both declarations.
func sameKeys(old, now Descriptor) bool {
	if !serde.SameEncoding(now.Key, old.Key) {
		return false
	}
	// Numbers and texts are hashed by their Go value, others by their encoding. A number or text that is no longer one has another hash.
	return !now.Reads.HashedByEncoding || !slices.Contains([]string{`"int"`, `"long"`, `"string"`, `"bytes"`}, old.Key)
}

func (c *Comparison) lifetime(old, now Descriptor) {
	if old.TTL == now.TTL && old.EventTimeTTL == now.EventTimeTTL {
		return
	}
	c.Evolutions = append(c.Evolutions, Evolution{PartLifetime, serde.Difference{How: "changed", Detail: lifetimeText(old) + " to " + lifetimeText(now)}})
	// Stamps stand in the entries: another clock, or none, makes them mean something else.
	c.Rewrite = c.Rewrite || (old.TTL == 0) != (now.TTL == 0) || old.EventTimeTTL != now.EventTimeTTL
}

func lifetimeText(d Descriptor) string {
	switch {
	case d.TTL == 0:
		return "for ever"
	case d.EventTimeTTL:
		return d.TTL.String() + " of event time"
	}
	return time.Duration(d.TTL).String() + " of processing time"
}

func opaque(schema string) bool { return strings.HasPrefix(schema, "opaque:") }

// String is one line: "value schema: field limit: promoted, int to long".
func (e Evolution) String() string { return e.Part + ": " + e.Difference.String() }

// String is one line with both declarations and every reason.
func (m Mismatch) String() string {
	s := fmt.Sprintf("%s was %s and is declared as %s", m.Part, m.Old, m.New)
	for i, r := range m.Reasons {
		if i == 0 {
			s += ": "
		} else {
			s += "; "
		}
		s += r.Error()
	}
	return s
}
