package kafka

// heldSplit is a paused split: what was fetched of it before the client stopped, in order.
type heldSplit struct {
	parts []part
	// stopped says that the client has been told not to fetch the partition.
	stopped bool
}

// PauseSplits implements connectors.SplitPauser. A pause may be as short as a batch, so the client goes on fetching until a second part of the
// partition has come; to stop it at once would throw away what it has under way with each pause. What is kept of a paused partition is
// bounded by the two or three fetches that the client has ahead.
func (r *reader[T]) PauseSplits(pause, resume []string) error {
	for _, id := range pause {
		p, err := parsePartition(id)
		if err != nil {
			return err
		}
		if r.splits[p] != nil && r.paused[p] == nil {
			r.paused[p] = &heldSplit{}
		}
	}
	for _, id := range resume {
		p, err := parsePartition(id)
		if err != nil {
			return err
		}
		if h := r.paused[p]; h != nil {
			r.release(p, h)
		}
	}
	if len(resume) > 0 {
		r.f.signal()
	}
	return nil
}

// hold keeps the first part of the batch in work back if its split is paused.
func (r *reader[T]) hold() bool {
	p := r.cur[0]
	h := r.paused[p.partition]
	if h == nil {
		return false
	}
	p.records = p.records[r.at:]
	h.parts = append(h.parts, p)
	r.cur, r.at = r.cur[1:], 0
	if len(h.parts) > 1 && !h.stopped {
		h.stopped = true
		r.f.cl.PauseFetchPartitions(map[string][]int32{p.topic: {p.id}})
	}
	return true
}

// release lets a split go: what was kept of it comes before what has been fetched since.
func (r *reader[T]) release(p partition, h *heldSplit) {
	delete(r.paused, p)
	begun := 0
	if r.at > 0 {
		begun = 1 // the part in work stays where it is; it is of another split, or the first of this one, of which nothing is kept yet
	}
	rest := append([]part(nil), r.cur[begun:]...)
	r.cur = append(append(append([]part(nil), r.cur[:begun]...), h.parts...), rest...)
	if h.stopped {
		r.f.cl.ResumeFetchPartitions(map[string][]int32{p.topic: {p.id}})
	}
	if sp := r.splits[p]; sp != nil {
		sp.hasData = r.now() // it could not have had a record
	}
}
