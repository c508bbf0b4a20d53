package dynamodbstreams

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the service promises, and how sure the lineage must be before it gives a shard up.
const (
	// retention is how long a stream record can be read. Source: DynamoDB developer guide, "Change data capture for DynamoDB Streams".
	retention = 24 * time.Hour
	// clockSkew is how far this clock and the service's may be apart where one is held against the other. Source: the service refuses
	// requests signed more than 15 minutes off.
	clockSkew = 15 * time.Minute
	// rememberFor is how long a shard that was read is remembered after it was last listed: closed shards are listed long after their
	// records are gone, and a forgotten one would be read again. Source: FLINK-36239.
	rememberFor = 48 * time.Hour
	// goneListings is the number of complete listings without a parent that must be seen before it counts as gone: single listings may
	// be inconsistent.
	goneListings = 3
	// askTries is how often one shard's children are asked for by name; after that, listings alone find them.
	askTries = 8
	// askTogether is the number of shards whose children are due beyond which one listing is cheaper than asking for each.
	askTogether = 8

	askDelay    = 100 * time.Millisecond
	orphanDelay = time.Second
)

// phase is how far a shard is.
type phase uint8

const (
	waiting  phase = iota // its parent is not read yet, or it is about to be handed over
	assigned              // a reader has it, with its position
	drained               // read to the end; no child known yet
	finished              // read to the end; a child is known
)

var phaseNames = [...]string{"waiting", "assigned", "drained", "finished"}

// listed is a shard as DescribeStream gives it.
type listed struct {
	id, parent string
}

// shard is one shard of the stream as far as the lineage knows it.
type shard struct {
	id, parent string
	phase      phase
	// createdMS is from the id, and otherwise when it was first listed; 0: unknown, but before the job began.
	createdMS int64
	listedMS  int64
	missing   int // complete listings since it is known in which its parent was not known
	children  []*shard
	ready     bool // in lineage.ready

	// while drained
	tries int
	askMS int64 // not before
}

// lineage knows the shards of one stream and decides which may be read. It is a value of events and decisions: it
// has no clock, no lock, no I/O, and does work only for shards that an event touches.
//
// Invariant: a shard is handed over when its parent was read to the end, or it has none, or its parent is gone: unknown in goneListings
// complete listings, and the shard is older than the retention, so that nothing of its parent can be read any more.
type lineage struct {
	arn       string
	startedMS int64
	fromMS    int64 // records created before are not wanted; 0: all
	interval  time.Duration

	shards  map[string]*shard
	orphans map[string][]*shard // by the parent that is not known
	ready   []*shard
	leaves  map[string]*shard // drained
	counts  [len(phaseNames)]int

	listings    int64 // complete ones
	nextListing int64 // ms
	orphanTries int
	// lost are shards whose parent is gone unread although the job had promised its records.
	lost []*shard
	// filtered says that the server can list the children of one shard.
	filtered bool
	dirty    bool
}

func newLineage(arn string, startedMS, fromMS int64, interval time.Duration) *lineage {
	return &lineage{
		arn: arn, startedMS: startedMS, fromMS: fromMS, interval: interval, filtered: true, dirty: true,
		shards: map[string]*shard{}, orphans: map[string][]*shard{}, leaves: map[string]*shard{},
	}
}

// page takes over a part of a listing, or the answer to a question for children. The order of shards means nothing.
func (l *lineage) page(nowMS int64, shards []listed) {
	for _, s := range shards {
		if known := l.shards[s.id]; known != nil {
			known.listedMS, l.dirty = nowMS, true
			continue
		}
		created, ok := createdOf(s.id)
		if !ok && l.listings > 0 {
			created = nowMS
		}
		l.add(&shard{id: s.id, parent: s.parent, createdMS: created, listedMS: nowMS})
	}
}

// add takes a new shard into the tree.
func (l *lineage) add(s *shard) {
	l.shards[s.id] = s
	l.counts[s.phase]++
	l.dirty = true
	if s.phase == drained {
		l.leaves[s.id] = s
	}
	l.link(s)
	for _, child := range l.orphans[s.id] {
		child.missing = 0
		s.children = append(s.children, child)
	}
	if len(s.children) > 0 {
		delete(l.orphans, s.id)
		l.settle(s)
	}
}

// link hangs a shard below its parent, and makes it ready when nothing is before it.
func (l *lineage) link(s *shard) {
	parent := l.shards[s.parent]
	switch {
	case s.parent == "" || s.parent == s.id:
		l.offer(s)
	case parent == nil:
		if s.phase == waiting {
			l.orphans[s.parent] = append(l.orphans[s.parent], s)
		}
	default:
		parent.children = append(parent.children, s)
		l.settle(parent)
	}
}

// settle does what follows when a shard has been read to the end or has got a child.
func (l *lineage) settle(s *shard) {
	if s.phase < drained {
		return
	}
	if s.phase == drained && len(s.children) > 0 {
		l.move(s, finished)
	}
	for _, child := range s.children {
		l.offer(child)
	}
}

// offer makes a waiting shard ready to be handed over.
func (l *lineage) offer(s *shard) {
	if s.phase == waiting && !s.ready {
		s.ready = true
		l.ready = append(l.ready, s)
	}
}

func (l *lineage) move(s *shard, to phase) {
	l.counts[s.phase]--
	l.counts[to]++
	s.phase = to
	l.dirty = true
	delete(l.leaves, s.id)
	if to == drained {
		l.leaves[s.id] = s
	}
}

// listed says that the pages since the last call are one complete listing.
func (l *lineage) listed(nowMS int64) {
	l.listings++
	l.dirty = true
	l.judgeOrphans(nowMS)
	l.forget(nowMS)
	l.nextListing = nowMS + l.interval.Milliseconds()
	if len(l.orphans) == 0 && len(l.shards) > 0 {
		l.orphanTries = 0
		return
	}
	// A parent is missing: it is gone, or this listing was inconsistent; or the stream is so new that it has no shard yet. Look again
	// soon.
	soon := backoffDelay(orphanDelay, l.orphanTries, l.interval)
	l.nextListing = min(l.nextListing, nowMS+soon.Milliseconds())
	l.orphanTries++
}

// judgeOrphans counts one more listing without their parents, and gives up the parents that are gone.
func (l *lineage) judgeOrphans(nowMS int64) {
	l.lost = nil
	for _, parent := range sortedKeys(l.orphans) {
		var left []*shard
		for _, s := range l.orphans[parent] {
			s.missing++
			switch {
			case s.missing < goneListings || nowMS-s.createdMS <= (retention+clockSkew).Milliseconds():
				left = append(left, s)
			case s.createdMS > max(l.startedMS-retention.Milliseconds(), l.fromMS):
				// The parent ended when this shard began: then it held records that could be read when the job began.
				l.lost = append(l.lost, s)
				left = append(left, s)
			default:
				l.offer(s)
			}
		}
		if l.orphans[parent] = left; len(left) == 0 {
			delete(l.orphans, parent)
		}
	}
}

// giveUp starts the shards whose parent is lost, and accepts that.
func (l *lineage) giveUp() {
	for _, s := range l.lost {
		l.release(s)
	}
	l.lost = nil
}

// forget drops shards that were read and have not been listed for long. Their children are ready or further, and stay so in a
// checkpoint.
func (l *lineage) forget(nowMS int64) {
	for id, s := range l.shards {
		if s.phase < drained || nowMS-s.listedMS <= rememberFor.Milliseconds() {
			continue
		}
		l.counts[s.phase]--
		delete(l.shards, id)
		delete(l.leaves, id)
	}
}

// finished says that a shard has been read to the end. Told again, or of a shard that was forgotten, it changes nothing.
func (l *lineage) finished(nowMS int64, id string) {
	s := l.shards[id]
	if s == nil || s.phase >= drained {
		return
	}
	s.tries, s.askMS = 0, nowMS
	l.move(s, drained)
	l.settle(s)
}

// assign hands over what may be read now, oldest first.
func (l *lineage) assign() []*shard {
	out := slices.DeleteFunc(l.ready, func(s *shard) bool { return s.phase != waiting })
	l.ready = nil
	slices.SortStableFunc(out, func(a, b *shard) int { return cmp.Or(cmp.Compare(a.createdMS, b.createdMS), cmp.Compare(a.id, b.id)) })
	for _, s := range out {
		s.ready = false
		l.move(s, assigned)
	}
	return out
}

// start is the position at which the reading of a shard begins.
func (l *lineage) start(s *shard) position {
	p := position{ARN: l.arn, FromMS: l.fromMS, SinceMS: max(l.startedMS, s.createdMS)}
	for _, child := range s.children {
		// A shard has ended when its child begins.
		p.Spent = p.Spent || child.createdMS > 0 && child.createdMS <= max(l.startedMS-retention.Milliseconds(), l.fromMS)
	}
	return p
}

// work is what the lineage wants to know next.
type work struct {
	list bool     // a complete listing
	ask  []string // the children of these shards
}

// due is what to look up now.
func (l *lineage) due(nowMS int64) work {
	if l.nextListing <= nowMS {
		return work{list: true}
	}
	ask := l.dueLeaves(nowMS)
	if len(ask) > 0 && (!l.filtered || len(ask) > askTogether) {
		return work{list: true}
	}
	return work{ask: ask}
}

// dueLeaves are the shards whose children are to be asked for now.
func (l *lineage) dueLeaves(nowMS int64) []string {
	var out []string
	for _, id := range sortedKeys(l.leaves) {
		if s := l.leaves[id]; s.tries < askTries && s.askMS <= nowMS {
			out = append(out, id)
		}
	}
	return out
}

// asked says that a question for the children of these shards was answered, by name or by a listing. Those that still have none are
// asked for again later.
func (l *lineage) asked(nowMS int64, ids []string) {
	for _, id := range ids {
		if s := l.leaves[id]; s != nil {
			s.askMS = nowMS + backoffDelay(askDelay, s.tries, l.interval).Milliseconds()
			s.tries++
		}
	}
}

// next is how long nothing will be due.
func (l *lineage) next(nowMS int64) time.Duration {
	at := l.nextListing
	for _, s := range l.leaves {
		if s.tries < askTries {
			at = min(at, s.askMS)
		}
	}
	return time.Duration(max(at-nowMS, 1)) * time.Millisecond
}

// createdOf is the time of creation that ids of the service hold: shardId-<20 digits, Unix ms>-<suffix>.
func createdOf(id string) (ms int64, ok bool) {
	rest, ok := strings.CutPrefix(id, "shardId-")
	if !ok || len(rest) < 21 || rest[20] != '-' {
		return 0, false
	}
	ms, err := strconv.ParseInt(rest[:20], 10, 64)
	return ms, err == nil && ms >= 0
}

// compareSequences orders sequence numbers of one lineage: decimal strings without a bound on their length.
func compareSequences(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// backoffDelay is base·2^tries, at most limit.
func backoffDelay(base time.Duration, tries int, limit time.Duration) time.Duration {
	return min(base<<min(tries, 20), limit)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
