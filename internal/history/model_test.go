package history

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/millrace-io/millrace/state"
)

// model is what the state must be.
type model struct {
	keys   map[string]*entry
	timers map[pending]bool
}

// entry is everything under one key.
type entry struct {
	value  string // "" for none
	sum    int64  // 0 for none
	list   []string
	table  map[int64]string
	mortal int64 // 0 for none
	until  int64 // Unix ms at which mortal expires
}

type pending struct {
	domain state.Domain
	key    string
	at     int64
}

func newModel() *model { return &model{keys: map[string]*entry{}, timers: map[pending]bool{}} }

func (m *model) at(key string) *entry {
	e := m.keys[key]
	if e == nil {
		e = &entry{table: map[int64]string{}}
		m.keys[key] = e
	}
	return e
}

func (m *model) clone() *model {
	c := &model{keys: make(map[string]*entry, len(m.keys)), timers: maps.Clone(m.timers)}
	for k, e := range m.keys {
		d := *e
		d.list, d.table = slices.Clone(e.list), maps.Clone(e.table)
		c.keys[k] = &d
	}
	return c
}

// due removes and returns the timers of a domain up to a time that belong to a subtask, in the order in which they have to fire.
func (m *model) due(d state.Domain, upTo int64, owned func(key string) bool) []pending {
	var out []pending
	for p := range m.timers {
		if p.domain == d && p.at <= upTo && owned(p.key) {
			out = append(out, p)
			delete(m.timers, p)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].at != out[j].at {
			return out[i].at < out[j].at
		}
		return encoded(out[i].key) < encoded(out[j].key)
	})
	return out
}

// encoded is a key as Avro writes it: the keys of this test are shorter than 64 bytes.
func encoded(key string) string { return string([]byte{byte(2 * len(key))}) + key }

// text is an entry at a time, "" when there is nothing.
func (e *entry) text(nowMS int64) string {
	var b strings.Builder
	if e.value != "" {
		fmt.Fprintf(&b, " value=%s", e.value)
	}
	if e.sum != 0 {
		fmt.Fprintf(&b, " sum=%d", e.sum)
	}
	if len(e.list) > 0 {
		fmt.Fprintf(&b, " list=%v", e.list)
	}
	for _, k := range slices.Sorted(maps.Keys(e.table)) {
		fmt.Fprintf(&b, " table[%d]=%s", k, e.table[k])
	}
	if e.mortal != 0 && e.until > nowMS {
		fmt.Fprintf(&b, " mortal=%d", e.mortal)
	}
	return b.String()
}
