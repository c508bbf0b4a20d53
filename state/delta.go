package state

import (
	"bytes"
	"cmp"
	"slices"
)

// deltaRun is what changed in one key group in one epoch, encoded, in the order in which it was: of several changes of one address the last
// counts, and a clear removes what was set below its prefix before it. Runs of a group belong to the task's goroutine until they are handed to
// the tableBuilder.
type deltaRun struct {
	buf     []byte
	changes []deltaChange
	total   *int64 // counts the bytes of all runs of the epoch
}

// deltaChange is one change of a deltaRun: buf[start:mid] is the address, buf[mid:end] the stored value, if it has one; of a clear the end of what
// it clears, or nothing for all that begins with the address.
type deltaChange struct {
	start, mid, end int
	kind            ChangeKind
}

// deltaChangeBytes is what a change takes in memory beyond address and value.
const deltaChangeBytes = 32

// begin starts a change: the caller appends the address, and the value if there is one, to what it returns, and ends the change by set,
// remove or clear. A change that is not ended, for its encoding failed, leaves no trace.
func (r *deltaRun) begin() []byte { return r.buf }

// set ends a change whose address is buf[len(begin()):mid] and whose value, head included, is buf[mid:].
func (r *deltaRun) set(buf []byte, mid int) { r.end(buf, mid, ChangeSet) }

// remove ends a change by which the address becomes absent.
func (r *deltaRun) remove(buf []byte) { r.end(buf, len(buf), ChangeDelete) }

// clearTo ends a change by which every address from buf[len(begin()):mid] on and before buf[mid:] becomes absent. Of several clears with one
// start the last must reach farthest.
func (r *deltaRun) clearTo(buf []byte, mid int) { r.end(buf, mid, ChangeDeleteRange) }

// copy adds a change whose address and value are at hand.
func (r *deltaRun) copy(kind ChangeKind, address, value []byte) {
	buf := append(r.buf, address...)
	mid := len(buf)
	r.end(append(buf, value...), mid, kind)
}

func (r *deltaRun) end(buf []byte, mid int, kind ChangeKind) {
	start := len(r.buf)
	r.buf = buf
	r.changes = append(r.changes, deltaChange{start: start, mid: mid, end: len(buf), kind: kind})
	*r.total += int64(len(buf)-start) + deltaChangeBytes
}

func (r *deltaRun) bytes() int64 { return int64(len(r.buf)) + deltaChangeBytes*int64(len(r.changes)) }

// emit adds what counts of r to t, in ascending order. It sorts r.
//
// Within one table a value survives a range tombstone, whatever came first; so what a clear removed is left out here. Prefixes that are cleared
// never lie within one another: they are whole keys, or whole states that are not declared any more, or the fired timers of a domain.
func (r *deltaRun) emit(t interface{ Add(Change) error }) error {
	slices.SortFunc(r.changes, func(a, b deltaChange) int {
		if c := bytes.Compare(r.buf[a.start:a.mid], r.buf[b.start:b.mid]); c != 0 {
			return c
		}
		return cmp.Compare(a.start, b.start)
	})
	var cleared, clearedEnd []byte // what was cleared last
	clearedAt := -1
	for i := 0; i < len(r.changes); {
		address := r.buf[r.changes[i].start:r.changes[i].mid]
		point := -1
		for ; i < len(r.changes); i++ {
			c := &r.changes[i]
			if !bytes.Equal(r.buf[c.start:c.mid], address) {
				break
			}
			if c.kind == ChangeDeleteRange {
				cleared, clearedAt, clearedEnd = address, c.start, r.buf[c.mid:c.end]
				if len(clearedEnd) == 0 {
					clearedEnd = after(nil, address)
				}
			} else {
				point = i
			}
		}
		within := clearedAt >= 0 && (clearedEnd == nil || bytes.Compare(address, clearedEnd) < 0)
		if within && bytes.Equal(address, cleared) {
			if err := t.Add(Change{Kind: ChangeDeleteRange, Key: address, End: clearedEnd}); err != nil {
				return err
			}
		}
		if point < 0 {
			continue
		}
		c := &r.changes[point]
		if within && (c.start < clearedAt || c.kind == ChangeDelete) {
			continue
		}
		if err := t.Add(Change{Kind: c.kind, Key: address, Value: r.buf[c.mid:c.end]}); err != nil {
			return err
		}
	}
	return nil
}
