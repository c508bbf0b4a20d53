package state

import (
	"encoding/binary"
	"slices"
)

// timerImage is the image of all timers of an operator on the memory backend.
type timerImage[K comparable] struct {
	m     *timerMember[K]
	start int
	logs  [domains][][]timer[K]
	runs  []*run // by group - start, made at the first use
	err   error
}

func (m *timerMember[K]) freeze() memberImage {
	im := &timerImage[K]{m: m, start: m.k.groups.Start}
	for d := range m.queues {
		q := &m.queues[d]
		var now []timer[K]
		for _, e := range q.due[q.head:] {
			now = append(now, e.timer)
		}
		im.logs[d] = append(im.logs[d], append(now, q.fresh...))
		for i := range q.buckets {
			if b := &q.buckets[i]; len(b.log) > 0 {
				b.shared = true
				im.logs[d] = append(im.logs[d], b.log[:len(b.log):len(b.log)])
			}
		}
	}
	return im
}

// build sorts the timers into runs, one for each group.
func (im *timerImage[K]) build() {
	if im.runs != nil || im.err != nil {
		return
	}
	k := im.m.k
	im.runs = make([]*run, k.groups.End-k.groups.Start)
	for d := range im.logs {
		for _, log := range im.logs[d] {
			for _, e := range distinct(slices.Clone(log), nil) {
				if im.err = im.add(Domain(d), e); im.err != nil {
					return
				}
			}
		}
		im.logs[d] = nil
	}
	for _, r := range im.runs {
		if r != nil {
			r.sort()
		}
	}
}

func (im *timerImage[K]) add(d Domain, e timer[K]) error {
	g := GroupOf(e.hash, im.m.k.cfg.MaxParallelism)
	r := im.runs[g-im.start]
	if r == nil {
		r = &run{}
		im.runs[g-im.start] = r
	}
	at := runEntry{start: len(r.buf), hash: e.hash}
	buf, err := im.m.k.appendAddress(r.buf, g, im.m.id, e.key)
	if err != nil {
		return err
	}
	buf = append(buf, byte(d))
	r.buf = binary.BigEndian.AppendUint64(buf, e.at)
	at.mid, at.end = len(r.buf), len(r.buf)
	r.entries = append(r.entries, at)
	return nil
}

func (im *timerImage[K]) occupied(group int) (bool, error) {
	im.build()
	if im.err != nil {
		return false, im.err
	}
	return im.runs[group-im.start] != nil, nil
}

func (im *timerImage[K]) emit(group int, out *fileWriter) error {
	im.build()
	if im.err != nil {
		return im.err
	}
	r := im.runs[group-im.start]
	if r == nil {
		return nil
	}
	return r.emit(out)
}

func (im *timerImage[K]) release() { im.logs, im.runs = [domains][][]timer[K]{}, nil }
