package state

// touchEntries is the number of entries of one state from which a table no longer lies in the processor's cache, so that touching pays.
const touchEntries = 1 << 13

// toucher is a member whose slots can be touched ahead of their use.
type toucher interface {
	prefetch(groups GroupRange, maxParallelism int, hashes []uint64) uint64
}

// Touch reads the slots where the entries of keys with the given hashes are, so that they are in the processor's cache when the records of
// a batch come one by one. The reads do not depend on each other, so that their cache misses overlap. It changes nothing, and hashes
// of key groups that are not owned are passed over.
// Source: measurements of a keyed read-modify-write over 10^5 and 10^7 keys, hashes of a batch of 64 first: 12 and 65 ns against 15 and 98.
func (s *Keyed[K]) Touch(hashes []uint64) {
	for _, m := range s.touchers {
		s.touched += m.prefetch(s.groups, s.cfg.MaxParallelism, hashes)
	}
}

// prefetch implements toucher. The sum of what it read keeps the compiler from leaving the reads out.
func (c *cells[K, V]) prefetch(groups GroupRange, maxParallelism int, hashes []uint64) (sum uint64) {
	if len(c.groups) == 0 || c.groups[0].used*len(c.groups) < touchEntries {
		return 0
	}
	for _, h := range hashes {
		i := GroupOf(h, maxParallelism) - groups.Start
		if uint(i) >= uint(len(c.groups)) {
			continue
		}
		g := &c.groups[i]
		if n := len(g.slots); n > 0 {
			sum += g.slots[g.at(h)&(n-1)].meta
		}
	}
	return sum
}
