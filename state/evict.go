package state

// room is the part of Keyed that keeps what stands above a store within a share of a Budget.
type room struct {
	share     *Share
	policy    s3fifo
	countdown int // how much may be added until the next look at the memory in use
}

// resident is a member with a decoded table above a store. Groups are relative.
type resident interface {
	// leave takes the entries of a hash out of the table, unless they are pinned or the policy lets one of them stay; main is where the record came from.
	// Changes are written to w before they are forgotten, frozen ones to frozenRun and marked ones to currentRun as well.
	leave(group int, hash uint64, main bool, w *storeWriter) (verdict, error)
	// findHash is the place of the first slot of a hash in the table of its group, which has size places; -1 for none.
	findHash(group int, hash uint64) (at, size int)
	// live is the number of entries.
	live() int
}

// makeRoom evicts until what is in memory is within the budget, and comes before something is added. No slot or object that is not pinned
// may be held across it. It mostly counts only.
func (s *Keyed[K]) makeRoom() error {
	if s.countdown > 0 {
		s.countdown--
		return nil
	}
	if s.store == nil {
		return nil
	}
	return s.weigh()
}

// weigh looks at the memory in use, and evicts.
func (s *Keyed[K]) weigh() error {
	used, live := s.memory(), s.live()
	for excess := s.share.Excess(used); excess > 0 && live > 0; {
		each := max(1, used/int64(live))
		// Some more than needed, so that they can be written in the order of their addresses.
		n := max(int(excess/each)+1, min(evictEntries, live/smallShare))
		if err := s.evict(n); err != nil {
			return err
		}
		now := s.memory()
		if live = s.live(); now >= used {
			break // what is left is pinned, or small
		}
		used, excess = now, s.share.Excess(now)
	}
	if s.policy.overfull(live) {
		s.compactPolicy()
	}
	left := (s.share.b.Bytes() - s.share.b.Used()) / max(1, used/int64(max(1, live))) / overdraft
	s.countdown = int(min(evictEntries, max(left, int64(live)/64)))
	return nil
}

// evict takes about n entries out of the decoded tables.
func (s *Keyed[K]) evict(n int) error {
	if s.out == nil {
		s.out = &storeWriter{store: s.store}
	}
	err := s.policy.evict(n, func(member int, hash uint64, main bool) (verdict, error) {
		r := s.members[member].(resident)
		return r.leave(GroupOf(hash, s.cfg.MaxParallelism)-s.groups.Start, hash, main, s.out)
	})
	if err != nil {
		return err
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	return s.overflow()
}

// compactPolicy drops the records of entries that are gone, and all but one of those that came again.
func (s *Keyed[K]) compactPolicy() {
	seen := make([][]uint64, len(s.members)*int(s.span)) // a bit for each place of a table
	s.policy.compact(func(member int, hash uint64) bool {
		group := GroupOf(hash, s.cfg.MaxParallelism) - s.groups.Start
		at, size := s.members[member].(resident).findHash(group, hash)
		if at < 0 {
			return false
		}
		bits := &seen[member*int(s.span)+group]
		if *bits == nil {
			*bits = make([]uint64, (size+63)/64)
		}
		if (*bits)[at>>6]>>(at&63)&1 != 0 {
			return false
		}
		(*bits)[at>>6] |= 1 << (at & 63)
		return true
	})
}

// memory is what the decoded tables and timers take, an estimate in bytes.
func (s *Keyed[K]) memory() (n int64) {
	for _, m := range s.members {
		n += m.memory()
	}
	return n
}

// live is the number of entries of all decoded tables.
func (s *Keyed[K]) live() (n int) {
	for _, m := range s.members {
		if r, ok := m.(resident); ok {
			n += r.live()
		}
	}
	return n
}

// timerBudget is what timers may take in memory above a store, in bytes: a quarter of a fair share.
func (s *Keyed[K]) timerBudget() int64 { return s.share.Fair() / 4 }

func (t *table[K, V]) findHash(group int, hash uint64) (at, size int) {
	g := &t.groups[group]
	s, i := g.next(hash, 0)
	if s == nil {
		return -1, len(g.slots)
	}
	return (g.at(hash) + i - 1) & (len(g.slots) - 1), len(g.slots)
}

// stays asks the policy about all slots of a hash; some is false when there is none.
func (g *group[K, V]) stays(hash uint64, main bool) (stays, some bool) {
	for s, i := g.next(hash, 0); s != nil; s, i = g.next(hash, i) {
		some = true
		if judge(&s.meta, main) {
			stays = true
		}
	}
	return stays, some
}

// shrink gives memory back when most of the slots are free.
func (g *group[K, V]) shrink() {
	if n := len(g.slots); n > minCapacity && g.used < n/8 {
		g.resize(n / 4)
	}
}

// leave implements resident.
func (c *cells[K, V]) leave(group int, hash uint64, main bool, w *storeWriter) (verdict, error) {
	g := &c.groups[group]
	if stays, some := g.stays(hash, main); !some {
		return verdictStale, nil
	} else if stays {
		return verdictStays, nil
	}
	c.reset()
	for s, _ := g.next(hash, 0); s != nil; s, _ = g.next(hash, 0) {
		if err := c.settle(group, s); err != nil {
			return verdictStays, err
		}
		if err := c.writeSlot(group, s, w); err != nil {
			return verdictStays, err
		}
		g.remove(s)
	}
	g.shrink()
	return verdictLeaves, nil
}

// leave implements resident.
func (t *objects[K, O]) leave(group int, hash uint64, main bool, w *storeWriter) (verdict, error) {
	g := &t.groups[group]
	stays, some := g.stays(hash, main)
	if !some {
		return verdictStale, nil
	}
	for s, i := g.next(hash, 0); s != nil; s, i = g.next(hash, i) {
		stays = stays || t.head(s.val).pins > 0
	}
	if stays {
		return verdictStays, nil
	}
	t.reset()
	for s, _ := g.next(hash, 0); s != nil; s, _ = g.next(hash, 0) {
		if err := t.writeObject(place[K]{group, s.hash, s.key}, s.val, w); err != nil {
			return verdictStays, err
		}
		t.charge(&t.head(s.val).counted, 0)
		g.remove(s)
	}
	g.shrink()
	return verdictLeaves, nil
}
