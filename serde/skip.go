package serde

// skipFunc moves past one value that the reader does not want.
type skipFunc func(r *reader) error

// skippers compiles skip functions, one per node.
type skippers struct {
	seen  map[*node]*skipFunc
	sizes minSizes
}

func (c *skippers) compile(n *node) skipFunc {
	if f := c.seen[n]; f != nil {
		return func(r *reader) error { return (*f)(r) }
	}
	f := new(skipFunc)
	c.seen[n] = f
	switch n.kind {
	case kRecord:
		*f = c.record(n)
	case kArray, kMap:
		*f = c.blocks(n)
	case kUnion:
		*f = c.union(n)
	default:
		*f = skipLeaf(n)
	}
	return *f
}

func skipLeaf(n *node) skipFunc {
	switch n.kind {
	case kBoolean:
		return func(r *reader) error { _, err := r.bool(); return err }
	case kInt:
		return func(r *reader) error { _, err := r.int(); return err }
	case kLong:
		return func(r *reader) error { _, err := r.long(); return err }
	case kFloat:
		return func(r *reader) error { _, err := r.take(4); return err }
	case kDouble:
		return func(r *reader) error { _, err := r.take(8); return err }
	case kBytes, kString:
		return func(r *reader) error { _, err := r.bytes(); return err }
	case kFixed:
		return func(r *reader) error { _, err := r.take(n.size); return err }
	case kEnum:
		return func(r *reader) error { _, err := r.index(len(n.symbols), "enum symbol"); return err }
	default: // null
		return func(*reader) error { return nil }
	}
}

func (c *skippers) record(n *node) skipFunc {
	fields := make([]skipFunc, len(n.fields))
	for i, f := range n.fields {
		fields[i] = c.compile(f.typ)
	}
	return func(r *reader) error {
		if err := r.enter(); err != nil {
			return err
		}
		for i, f := range fields {
			if err := f(r); err != nil {
				return inField(n.fields[i].name, err)
			}
		}
		r.depth--
		return nil
	}
}

func (c *skippers) blocks(n *node) skipFunc {
	item, size := c.compile(n.item), c.sizes.of(n.item)
	isMap := n.kind == kMap
	if isMap {
		size++
	}
	return func(r *reader) error {
		for {
			count, err := r.block(size)
			if err != nil || count == 0 {
				return err
			}
			for range count {
				if isMap {
					if _, err := r.bytes(); err != nil {
						return err
					}
				}
				if err := item(r); err != nil {
					return err
				}
			}
		}
	}
}

func (c *skippers) union(n *node) skipFunc {
	branches := make([]skipFunc, len(n.branches))
	for i, b := range n.branches {
		branches[i] = c.compile(b)
	}
	return func(r *reader) error {
		i, err := r.index(len(branches), "union branch")
		if err != nil {
			return err
		}
		return branches[i](r)
	}
}
