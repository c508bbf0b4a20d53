package state

import "math"

// wheel says which keys of a decoded table may have expired, without a look at the table: their hashes, by the bucket in which they
// expire. A key is added when it gets its first stamp. A touch only writes the stamp: when the bucket is over, whoever lives on is added to
// a later one. So an entry costs 8 bytes, an append and, once per time to live, one look-up.
type wheel struct {
	on   bool
	next int64 // end of the earliest bucket, a stamp; math.MaxInt64 when there is none
	// heap is ordered by the end of the buckets, at finds them, and last is the one used last.
	heap []*bucket
	at   map[int64]*bucket
	last *bucket
	// free are emptied buckets.
	free []*bucket
	// records in all buckets, and how many of them make a look worthwhile at how many keys there are.
	records, limit int
}

type bucket struct {
	end    int64
	hashes []uint64
}

// wheelSlack is how many records a wheel may have beyond twice the keys that live: keys that were removed early leave records behind.
const wheelSlack = 4096

func (w *wheel) init(on bool) {
	*w = wheel{on: on, next: math.MaxInt64, at: map[int64]*bucket{}, limit: wheelSlack}
}

// add notes that the key of hash may have expired at end, a bucket's end.
func (w *wheel) add(end int64, hash uint64) {
	b := w.last
	if b == nil || b.end != end {
		if b = w.at[end]; b == nil {
			b = w.insert(end)
		}
		w.last = b
	}
	b.hashes = append(b.hashes, hash)
	w.records++
}

// insert makes a bucket and lets it rise in the heap.
func (w *wheel) insert(end int64) *bucket {
	b := &bucket{}
	if n := len(w.free); n > 0 {
		b, w.free = w.free[n-1], w.free[:n-1]
	}
	b.end = end
	w.at[end] = b
	w.heap = append(w.heap, b)
	for i := len(w.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if w.heap[up].end <= w.heap[i].end {
			break
		}
		w.heap[up], w.heap[i] = w.heap[i], w.heap[up]
		i = up
	}
	w.next = w.heap[0].end
	return b
}

// remove drops the earliest bucket.
func (w *wheel) remove() {
	b := w.heap[0]
	delete(w.at, b.end)
	if w.last == b {
		w.last = nil
	}
	// A bucket much larger than what is left was a burst: its memory goes.
	if b.hashes = b.hashes[:0]; len(w.free) < bucketsPerTTL && cap(b.hashes) <= 2*w.records+wheelSlack {
		w.free = append(w.free, b)
	}
	n := len(w.heap) - 1
	w.heap[0], w.heap[n] = w.heap[n], nil
	w.heap = w.heap[:n]
	for i := 0; ; {
		least := i
		for down := 2*i + 1; down <= 2*i+2 && down < n; down++ {
			if w.heap[down].end < w.heap[least].end {
				least = down
			}
		}
		if least == i {
			break
		}
		w.heap[least], w.heap[i] = w.heap[i], w.heap[least]
		i = least
	}
	w.next = math.MaxInt64
	if n > 0 {
		w.next = w.heap[0].end
	}
}

// pop takes a key out whose bucket is over at now.
func (w *wheel) pop(now int64) (hash uint64, ok bool) {
	for w.next <= now {
		b := w.heap[0]
		if n := len(b.hashes); n > 0 {
			hash, b.hashes = b.hashes[n-1], b.hashes[:n-1]
			w.records--
			return hash, true
		}
		w.remove()
	}
	return 0, false
}

// overfull reports whether records of keys that are gone have piled up, which only a look at how many keys live can tell: then the
// wheel is to be filled anew. That takes as many additions as there are keys, so it costs each of them little.
func (w *wheel) overfull(live func() int) bool {
	if w.records <= w.limit {
		return false
	}
	w.limit = 2*live() + wheelSlack
	return w.records > w.limit
}
