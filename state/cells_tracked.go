package state

// flip implements tracked: all that cells know of epochs is in the marks and lists.
func (c *cells[K, V]) flip() {}

func (c *cells[K, V]) number(id int, schemas []string) error {
	c.desc.ID, c.desc.Schemas = id, schemas
	return c.adopt(schemas)
}

// attached implements tracked: what the store has is read when it is asked for.
func (c *cells[K, V]) attached() error { return nil }

// note appends the entry of s, of a group (relative), to a run as it is.
func (c *cells[K, V]) note(r *deltaRun, group int, s *slot[K, V]) error {
	buf, err := c.k.appendAddress(r.begin(), c.k.groups.Start+group, c.desc.ID, s.key)
	if err != nil {
		return c.k.unwritable(c.desc.failed("encode", err))
	}
	if s.meta&metaAbsent != 0 {
		r.remove(buf)
		return nil
	}
	mid := len(buf)
	buf = appendValueHead(buf, valueHead{hash: s.hash, expires: int64(s.meta >> metaExpiry), schema: c.written})
	if buf, err = c.codec.Append(buf, s.val); err != nil {
		return c.k.unwritable(c.desc.failed("encode", err))
	}
	r.set(buf, mid)
	return nil
}

// release encodes the frozen slot s, after which it may change.
func (c *cells[K, V]) release(group int, s *slot[K, V]) error {
	if err := c.note(c.k.frozenRun(group), group, s); err != nil {
		return err
	}
	s.meta &^= c.k.frozen
	return nil
}

// settle encodes s, which leaves the table, for every epoch that still needs it.
func (c *cells[K, V]) settle(group int, s *slot[K, V]) error {
	if s.meta&c.k.frozen != 0 {
		return c.release(group, s)
	}
	if s.meta&c.k.current == 0 {
		return nil
	}
	if err := c.note(c.k.currentRun(group), group, s); err != nil {
		return err
	}
	s.meta &^= c.k.current
	return nil
}

// drain implements tracked.
func (c *cells[K, V]) drain(group int, left *allowance) (done bool, err error) {
	g := &c.groups[group]
	list := &g.changed[c.k.parity^1]
	for {
		hash, ok := list.pop(&c.k.chunks)
		if !ok {
			return true, nil
		}
		for s, i := g.next(hash, 0); s != nil; s, i = g.next(hash, i) {
			if s.meta&c.k.frozen == 0 {
				continue
			}
			if err := c.release(group, s); err != nil {
				list.add(&c.k.chunks, hash)
				return false, err
			}
		}
		if left.spent() {
			return list.head == nil, nil
		}
	}
}

// sweep implements tracked.
func (c *cells[K, V]) sweep(group int, w *storeWriter, left *allowance) (done bool, err error) {
	g := &c.groups[group]
	for c.walk.begin(group, g.moved); c.walk.at < len(g.slots) && g.dirty > 0; c.walk.at++ {
		if err := c.writeSlot(group, &g.slots[c.walk.at], w); err != nil {
			return false, c.desc.failed("write back", err)
		}
		if left.spent() {
			return false, nil
		}
	}
	c.walk.end()
	return true, nil
}
