package serde

import "fmt"

// RecordField is a field of the record that RecordSchema makes.
type RecordField struct {
	Name   string
	Schema string
}

// RecordSchema is the schema of a record of the given fields, whose encoding is that of its fields one after the other. name has no namespace. The
// schemas of the fields know nothing of one another: a named type whose name is taken by an earlier field is renamed (Order becomes Order_2),
// which changes no encoding. Even one that is defined alike is not shared, since Avro has no way to refer to a name without namespace from
// within one.
func RecordSchema(name string, fields ...RecordField) (string, error) {
	if err := checkName(name, false); err != nil {
		return "", fmt.Errorf("serde: record: %w", err)
	}
	out := &node{kind: kRecord, name: name}
	taken := map[string]bool{name: true}
	for _, f := range fields {
		if err := checkName(f.Name, false); err != nil {
			return "", fmt.Errorf("serde: record %s: field: %w", name, err)
		}
		n, err := parseSchema(f.Schema)
		if err != nil {
			return "", fmt.Errorf("serde: record %s: field %q: %w", name, f.Name, err)
		}
		out.fields = append(out.fields, &field{name: f.Name, typ: withFreeNames(n, taken)})
	}
	return out.json(), nil
}

// withFreeNames is n with new names for its types whose names are taken, and takes all its names.
func withFreeNames(n *node, taken map[string]bool) *node {
	names := map[string]*node{}
	collectNames(n, names, map[*node]bool{})
	renamed := map[*node]string{}
	for full, t := range names {
		if !taken[full] {
			continue
		}
		free := full
		for i := 2; taken[free] || names[free] != nil; i++ {
			free = fmt.Sprintf("%s_%d", full, i)
		}
		renamed[t] = free
		taken[free] = true
	}
	for full := range names {
		taken[full] = true
	}
	if len(renamed) == 0 {
		return n
	}
	return copyNode(n, renamed, map[*node]*node{})
}

func collectNames(n *node, names map[string]*node, seen map[*node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	if n.named() {
		names[n.name] = n
	}
	collectNames(n.item, names, seen)
	for _, b := range n.branches {
		collectNames(b, names, seen)
	}
	for _, f := range n.fields {
		collectNames(f.typ, names, seen)
	}
}

// copyNode copies the graph of n with some types renamed.
func copyNode(n *node, renamed map[*node]string, done map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := done[n]; c != nil {
		return c
	}
	c := new(node)
	*c = *n
	done[n] = c
	if name, ok := renamed[n]; ok {
		c.name = name
	}
	c.item, c.branches, c.fields = copyNode(n.item, renamed, done), nil, nil
	for _, b := range n.branches {
		c.branches = append(c.branches, copyNode(b, renamed, done))
	}
	for _, f := range n.fields {
		g := *f
		g.typ = copyNode(f.typ, renamed, done)
		c.fields = append(c.fields, &g)
	}
	return c
}
