package state

import (
	"slices"
	"strings"
)

// Assign numbers the states that an operator declares now, where it goes on from a checkpoint whose states were old: a state keeps its ID,
// a new one gets an ID above all of old; and Schemas gets every schema under which stored values may have been written. rename maps names in
// old to names in now. It is pure: every subtask and the checkpoint come to the same numbers. The result is sorted by name.
//
// It does not say whether the old values can be read: that is checked before, see package checkpoint.
func Assign(old, now []Descriptor, rename map[string]string) []Descriptor {
	next := 0
	was := map[string]Descriptor{}
	for _, d := range old {
		next = max(next, d.ID+1)
		name := d.Name
		if n, ok := rename[name]; ok {
			name = n
		}
		was[name] = d
	}
	out := slices.Clone(now)
	slices.SortFunc(out, func(a, b Descriptor) int { return strings.Compare(a.Name, b.Name) })
	for i := range out {
		d := &out[i]
		o, ok := was[d.Name]
		if !ok {
			d.ID, d.Schemas = next, nil
			next++
			continue
		}
		d.ID = o.ID
		d.Schemas = slices.Clone(o.schemas())
		if !slices.Contains(d.Schemas, d.Value) {
			d.Schemas = append(d.Schemas, d.Value)
		}
	}
	return out
}

// schemas are the schemas of stored values by schema id.
func (d *Descriptor) schemas() []string {
	if len(d.Schemas) == 0 {
		return []string{d.Value}
	}
	return d.Schemas
}
