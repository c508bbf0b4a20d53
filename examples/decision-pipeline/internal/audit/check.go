// Package audit finds out whether a run kept its promise, by reading everything back: the decisions and variables tables, the topics, the
// archive. It shares no code with the pipeline beyond the shape of stored items, and asks none of the pipeline's counters.
package audit

import (
	"fmt"
	"sort"
	"strings"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// Stored is one item of the decisions table.
type Stored struct {
	ID       string
	Decision model.Decision // newest version; meaningless when Fault is set
	Fault    error          // why the item does not conform to the event schema
}

// Record is one record of the topic or one row of the archive.
type Record struct {
	Decision model.Decision // ID, Customer, Version, Outcome, Amount and DecidedAt
	Where    string         // partition or file, for messages
	// Order is the partition within which Offset orders records; -1 where there is no order (archive).
	Order  int
	Offset int64
}

// Evidence is all that was read back.
type Evidence struct {
	Table []Stored
	// Accepted maps the id of each decision that the API has acknowledged in this run to its newest acknowledged version.
	Accepted map[string]int64
	Topic    []Record
	Archive  []Record
	// DeadLetters holds the item id of each record of the dead-letter topic.
	DeadLetters []string
	Variables   map[string]model.Variable
	// Unreadable names records, rows and items that could not be decoded, with the error.
	Unreadable []string
}

// Discrepancy is one kind of fault that was found.
type Discrepancy struct {
	Kind  string   `json:"kind"`
	Count int      `json:"count"`
	IDs   []string `json:"ids"` // the first 20, sorted
}

// idsMax is the number of ids listed for each discrepancy.
const idsMax = 20

// Result is the outcome of Check. A decision is counted once, whatever its number of versions; the checks are made for each
// version.
type Result struct {
	Stored     int // decisions in the table
	Versions   int // their versions: what the topic and the archive must hold
	Published  int // decisions in the topic
	Archived   int // decisions in the archive
	Invalid    int // items of the table that do not conform
	DeadLetter int // of them, in the dead-letter topic

	Lost           int // versions or invalid items that are missing somewhere
	Duplicated     int // versions or invalid items that are somewhere more than once: the number of surplus records
	OutOfOrder     int // decisions whose versions do not ascend in the topic
	Variables      int // customers
	VariablesWrong int
	// Unexpected counts what nobody should find: an invalid item in the topic, a record of an unknown decision, a record whose
	// content is not what is stored, and what cannot be decoded.
	Unexpected int

	Discrepancies []Discrepancy
}

// OK reports whether the audit holds.
func (r Result) OK() bool { return len(r.Discrepancies) == 0 }

type version struct {
	id string
	n  int64
}

func (v version) String() string { return fmt.Sprintf("%s@%d", v.id, v.n) }

// Check compares the evidence.
func Check(e Evidence) Result {
	c := checker{found: map[string]map[string]int{}, valid: map[string]model.Decision{}, invalid: map[string]bool{}}
	for _, s := range e.Table {
		if s.Fault != nil {
			c.invalid[s.ID] = true
		} else {
			c.valid[s.ID] = s.Decision
			c.r.Versions += int(s.Decision.Version)
		}
	}
	for id, v := range e.Accepted {
		if d, ok := c.valid[id]; !ok || d.Version < v {
			c.note(&c.r.Lost, "lost: acknowledged by the API, not in the table", version{id, v}.String(), 1)
		}
	}
	c.r.Stored, c.r.Invalid = len(c.valid), len(c.invalid)
	c.r.Published = c.records(e.Topic, "topic")
	c.r.Archived = c.records(e.Archive, "archive")
	c.order(e.Topic)
	c.deadLetters(e.DeadLetters)
	c.variables(e.Variables)
	for _, s := range e.Unreadable {
		c.note(&c.r.Unexpected, "unexpected: cannot be decoded", s, 1)
	}
	return c.result()
}

type checker struct {
	r       Result
	valid   map[string]model.Decision
	invalid map[string]bool
	found   map[string]map[string]int // kind → id → count
}

// note counts n faults of a kind for an id.
func (c *checker) note(total *int, kind, id string, n int) {
	*total += n
	if c.found[kind] == nil {
		c.found[kind] = map[string]int{}
	}
	c.found[kind][id] += n
}

// records checks that each version of each stored decision is exactly once in records and nothing else is. It returns the number of
// stored decisions found.
func (c *checker) records(records []Record, place string) int {
	count := make(map[version]int, len(records))
	ids := map[string]bool{}
	for _, r := range records {
		d := r.Decision
		stored, ok := c.valid[d.ID]
		switch {
		case c.invalid[d.ID]:
			c.note(&c.r.Unexpected, "unexpected: invalid item in the "+place, d.ID, 1)
			continue
		case !ok || d.Version < 1 || d.Version > stored.Version:
			c.note(&c.r.Unexpected, "unexpected: not in the table, but in the "+place, version{d.ID, d.Version}.String(), 1)
			continue
		case d.Customer != stored.Customer || !d.DecidedAt.Equal(stored.DecidedAt),
			d.Version == stored.Version && (d.Outcome != stored.Outcome || d.Amount != stored.Amount):
			c.note(&c.r.Unexpected, "unexpected: content in the "+place+" differs from the table", version{d.ID, d.Version}.String(), 1)
		}
		count[version{d.ID, d.Version}]++
		ids[d.ID] = true
	}
	for id, d := range c.valid {
		for n := int64(1); n <= d.Version; n++ {
			v := version{id, n}
			switch k := count[v]; {
			case k == 0:
				c.note(&c.r.Lost, "lost: stored, not in the "+place, v.String(), 1)
			case k > 1:
				c.note(&c.r.Duplicated, "duplicated in the "+place, v.String(), k-1)
			}
		}
	}
	return len(ids)
}

// order checks that the versions of each decision ascend in the order of the topic: they must be in one partition, and the first
// record of a version never stands behind a higher one. Repetitions are found as duplicates and not counted again here.
func (c *checker) order(records []Record) {
	type last struct {
		partition int
		version   int64
	}
	byOffset := append([]Record(nil), records...)
	sort.SliceStable(byOffset, func(i, j int) bool { return byOffset[i].Offset < byOffset[j].Offset })
	seen, done := map[string]last{}, map[version]bool{}
	wrong := map[string]bool{}
	for _, r := range byOffset {
		v := version{r.Decision.ID, r.Decision.Version}
		if r.Order < 0 || c.invalid[v.id] || done[v] {
			continue
		}
		done[v] = true
		l, ok := seen[v.id]
		if ok && (l.partition != r.Order || v.n < l.version) {
			wrong[v.id] = true
		}
		seen[v.id] = last{r.Order, max(l.version, v.n)}
	}
	for id := range wrong {
		c.note(&c.r.OutOfOrder, "out of order in the topic", id, 1)
	}
}

func (c *checker) deadLetters(ids []string) {
	count := map[string]int{}
	for _, id := range ids {
		count[id]++
		if !c.invalid[id] {
			c.note(&c.r.Unexpected, "unexpected: in the dead-letter topic, but not an invalid item of the table", id, 1)
		}
	}
	for id := range c.invalid {
		switch n := count[id]; {
		case n == 0:
			c.note(&c.r.Lost, "lost: invalid, not in the dead-letter topic", id, 1)
		default:
			c.r.DeadLetter++
			if n > 1 {
				c.note(&c.r.Duplicated, "duplicated in the dead-letter topic", id, n-1)
			}
		}
	}
}

func (c *checker) variables(have map[string]model.Variable) {
	byCustomer := map[string][]model.Decision{}
	for _, d := range c.valid {
		byCustomer[d.Customer] = append(byCustomer[d.Customer], d)
	}
	c.r.Variables = len(byCustomer)
	for customer, decisions := range byCustomer {
		got, ok := have[customer]
		if !ok {
			c.note(&c.r.VariablesWrong, "variable missing", customer, 1)
			continue
		}
		want, err := Fold(customer, decisions)
		if err != nil {
			c.note(&c.r.VariablesWrong, "variable cannot be folded", customer+": "+err.Error(), 1)
		} else if diff := difference(got, want); diff != "" {
			c.note(&c.r.VariablesWrong, "variable wrong", customer+": "+diff, 1)
		}
	}
	for customer := range have {
		if byCustomer[customer] == nil {
			c.note(&c.r.VariablesWrong, "variable of a customer without decisions", customer, 1)
		}
	}
}

func difference(got, want model.Variable) string {
	if !got.LastDecidedAt.Equal(want.LastDecidedAt) {
		return fmt.Sprintf("last_decided_at is %v, want %v", got.LastDecidedAt, want.LastDecidedAt)
	}
	got.LastDecidedAt = want.LastDecidedAt
	if got == want {
		return ""
	}
	var out []string
	add := func(name string, g, w any) {
		if g != w {
			out = append(out, fmt.Sprintf("%s is %v, want %v", name, g, w))
		}
	}
	add("customer", got.Customer, want.Customer)
	add("version", got.Version, want.Version)
	add("count", got.Count, want.Count)
	add("rejected", got.Rejected, want.Rejected)
	add("sum", got.Sum, want.Sum)
	add("last_id", got.LastID, want.LastID)
	add("last_outcome", got.LastOutcome, want.LastOutcome)
	add("day_count", got.DayCount, want.DayCount)
	add("day_sum", got.DaySum, want.DaySum)
	return strings.Join(out, "; ")
}

func (c *checker) result() Result {
	for kind, ids := range c.found {
		d := Discrepancy{Kind: kind}
		for id, n := range ids {
			d.Count += n
			d.IDs = append(d.IDs, id)
		}
		sort.Strings(d.IDs)
		d.IDs = d.IDs[:min(len(d.IDs), idsMax)]
		c.r.Discrepancies = append(c.r.Discrepancies, d)
	}
	sort.Slice(c.r.Discrepancies, func(i, j int) bool { return c.r.Discrepancies[i].Kind < c.r.Discrepancies[j].Kind })
	return c.r
}
