package state

// s3fifo decides who leaves the decoded tables above a store when memory is short. Three queues: an entry begins in the small one, a tenth of
// all; if it was used more than once until it gets to its end it goes on to the main one, else it leaves, and its fingerprint stays among
// the ghosts for a while: what comes again soon begins in the main queue. At the end of the main queue an entry that was used since the last time
// goes round once more for each of up to three uses. So what is seen once passes through a tenth of the memory, and a use costs no more
// than an addition in the entry's own slot, where the frequency is.
//
// The queues hold records of entries, not entries: what was removed from its table meanwhile leaves a stale record behind.
// Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO Queues are All You Need for Cache Eviction" (SOSP 2023), algorithm 1.
type s3fifo struct {
	small, main fifo
	ghosts      ghosts
	free        *fifoChunk // one spare chunk of the queues
	limit       int        // records from which a look for stale ones is worthwhile
}

const (
	// smallShare is the part of all records that the small queue holds: one in ten.
	smallShare = 10
	// evictEntries leave at once, to be written to the store in the order of their addresses.
	evictEntries = 512
	// staleRecords is how many records there may be beyond twice the entries.
	staleRecords = 4096
	// policyBytes is what the policy takes for one entry, an estimate: a record and a share of the ghosts.
	policyBytes = 24
)

// verdict is what becomes of an entry whose record is at the end of a queue.
type verdict uint8

const (
	verdictStale  verdict = iota // there is no such entry
	verdictLeaves                // it has been taken out of its table
	verdictStays
)

// judge reports whether the slot with the given meta stays, and accounts for that in its frequency. An entry from the small queue stays if
// it was used more than once since it came.
func judge(meta *uint64, main bool) bool {
	ref := *meta & metaRef
	if !main {
		*meta &^= metaRef
		return ref > metaRef1
	}
	if ref == 0 {
		return false
	}
	*meta -= metaRef1
	return true
}

// use counts a use of the slot with the given meta.
func use(meta *uint64) {
	if *meta&metaRef != metaRef {
		*meta += metaRef1
	}
}

// add takes up a new entry.
func (p *s3fifo) add(member int, hash uint64) {
	if p.ghosts.take(mark(member, hash), p.entries()) {
		p.push(&p.main, hash, uint16(member))
	} else {
		p.push(&p.small, hash, uint16(member))
	}
}

// entries is the number of records, stale ones among them.
func (p *s3fifo) entries() int { return p.small.n + p.main.n }

// evict goes through the ends of the queues until n entries have left, or everything has been looked at often enough for its frequency
// to come to nothing: what is left then refuses to leave. decide takes the entries of a hash out of their table, or not; see judge.
func (p *s3fifo) evict(n int, decide func(member int, hash uint64, main bool) (verdict, error)) error {
	for looks := 5 * p.entries(); n > 0 && looks > 0 && p.entries() > 0; looks-- {
		main := p.main.n > 0 && p.small.n*smallShare < p.entries()
		q := &p.small
		if main {
			q = &p.main
		}
		hash, member := p.pop(q)
		v, err := decide(int(member), hash, main)
		if err != nil {
			p.push(q, hash, member)
			return err
		}
		switch v {
		case verdictStays:
			p.push(&p.main, hash, member)
		case verdictLeaves:
			n--
			if !main {
				p.ghosts.add(mark(int(member), hash), p.entries())
			}
		}
	}
	return nil
}

// overfull reports whether stale records have piled up, of which only evictions get rid otherwise; entries is the number of entries.
func (p *s3fifo) overfull(entries int) bool {
	if p.entries() <= max(p.limit, staleRecords) {
		return false
	}
	p.limit = 2*entries + staleRecords
	return p.entries() > p.limit
}

// compact drops the records for which keep is false. keep must be true once only for each entry.
func (p *s3fifo) compact(keep func(member int, hash uint64) bool) {
	for _, q := range []*fifo{&p.main, &p.small} {
		for range q.n {
			if hash, member := p.pop(q); keep(int(member), hash) {
				p.push(q, hash, member)
			}
		}
	}
}

// fifo is a queue of records, 10 bytes each.
type fifo struct {
	n           int
	first, last *fifoChunk
	start, end  int // of the records in first, and in last
}

type fifoChunk struct {
	next    *fifoChunk
	hashes  [evictEntries]uint64
	members [evictEntries]uint16
}

func (p *s3fifo) push(q *fifo, hash uint64, member uint16) {
	if q.last == nil || q.end == evictEntries {
		c := p.free
		if p.free = nil; c == nil {
			c = &fifoChunk{}
		}
		if q.last == nil {
			q.first, q.start = c, 0
		} else {
			q.last.next = c
		}
		q.last, q.end = c, 0
	}
	q.last.hashes[q.end], q.last.members[q.end] = hash, member
	q.end++
	q.n++
}

// pop takes the oldest record out of q, which must have one.
func (p *s3fifo) pop(q *fifo) (hash uint64, member uint16) {
	c := q.first
	hash, member = c.hashes[q.start], c.members[q.start]
	q.start++
	if q.n--; q.n == 0 || q.start == evictEntries {
		if q.first, q.start = c.next, 0; q.first == nil {
			q.last, q.end = nil, 0
		}
		c.next, p.free = nil, c
	}
	return hash, member
}

// mark is the hash by which the ghosts know an entry.
func mark(member int, hash uint64) uint64 {
	h := (hash ^ uint64(member)*0xd6e8feb86659fd93) * 0x9e3779b97f4a7c15
	return (h ^ h>>32) * 0x9e3779b97f4a7c15
}

// ghosts remembers the last entries that left the small queue, as many as there are entries now. It is a table of buckets found by the high bits
// of the mark; a place is the 32 high bits of a mark and the time at which it came, counted in ghosts. About one in ten thousand strangers passes
// for a ghost, and some ghosts are forgotten early: neither does harm.
type ghosts struct {
	places []uint64
	shift  uint // 64 - log2 of the number of buckets
	now    uint32
}

const (
	ghostWays = 8 // places of a bucket: one line of the processor's cache
	ghostBits = 6 // log2 of the least number of buckets
)

// bucket are the places where m may be.
func (g *ghosts) bucket(m uint64) []uint64 {
	i := m >> g.shift * ghostWays
	return g.places[i : i+ghostWays : i+ghostWays]
}

// take reports whether m is one of the last limit ghosts, and forgets it.
func (g *ghosts) take(m uint64, limit int) bool {
	if len(g.places) == 0 {
		return false
	}
	b := g.bucket(m)
	for i, p := range b {
		if p>>32 == m>>32 && p != 0 {
			b[i] = 0
			return int(g.now-uint32(p)) < limit
		}
	}
	return false
}

// add makes m the latest of limit ghosts.
func (g *ghosts) add(m uint64, limit int) {
	if len(g.places)*3 < limit*4 || len(g.places) == 0 {
		g.grow(limit)
	}
	g.now++
	if g.now == 0 { // 0 is the mark of an empty place
		g.now = 1
	}
	g.put(m>>32<<32 | uint64(g.now))
}

// put puts p where there is room, or in the place of the oldest of its bucket.
func (g *ghosts) put(p uint64) {
	b := g.bucket(p)
	oldest := 0
	for i := range b {
		if b[i] == 0 {
			oldest = i
			break
		}
		if g.now-uint32(b[i]) > g.now-uint32(b[oldest]) {
			oldest = i
		}
	}
	b[oldest] = p
}

// grow makes room for limit ghosts.
func (g *ghosts) grow(limit int) {
	bits := uint(ghostBits)
	for ghostWays<<bits*3 < limit*4 && bits < 32 {
		bits++
	}
	old := g.places
	g.places, g.shift = make([]uint64, ghostWays<<bits), 64-bits
	for _, p := range old {
		if p != 0 {
			g.put(p)
		}
	}
}
