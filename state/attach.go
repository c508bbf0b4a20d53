package state

import (
	"bytes"
	"context"
	"fmt"
	"slices"
)

// attachable reports whether the files of r can be attached to the store as they are: then they are tables, and nothing that addresses or
// stamps say has changed.
func (s *Keyed[K]) attachable(r *Restore) bool {
	if s.store == nil || s.work.restored || len(r.Handles) == 0 || r.MaxParallelism != 0 && r.MaxParallelism != s.cfg.MaxParallelism {
		return false
	}
	for i := range r.Handles {
		if k := r.Handles[i].Kind; k != FileBase && k != FileDelta || r.Handles[i].Groups.End > s.cfg.MaxParallelism {
			return false
		}
	}
	for i := range r.States {
		old := &r.States[i]
		m := s.memberFor(r, old)
		if m == nil {
			continue
		}
		now := s.declared(m)
		if c := Compare(*old, now); old.ID != now.ID || c.Rewrite || len(c.Mismatches) > 0 {
			return false // what does not match is refused, or judged value by value, by whoever rewrites
		}
		// Stored values keep their schema ids.
		if was := old.schemas(); !slices.Equal(was, now.schemas()[:min(len(was), len(now.schemas()))]) {
			return false
		}
	}
	return true
}

// memberFor is the member that takes the entries of an old state; nil when none does.
func (s *Keyed[K]) memberFor(r *Restore, old *Descriptor) member[K] {
	if slices.Contains(r.Drop, old.Name) {
		return nil // also where a state of that name is declared, which then is another one
	}
	name := old.Name
	if n, ok := r.Rename[name]; ok {
		name = n
	}
	for _, m := range s.members {
		if d := m.descriptor(); d.Name == name {
			return m
		}
	}
	return nil
}

// attach makes the entries of the files readable where they are.
func (s *Keyed[K]) attach(ctx context.Context, r *Restore) error {
	dropped, err := s.dropped(r)
	if err != nil {
		return err
	}
	var files []File
	var elements uint64
	for _, h := range r.Handles {
		if n, ok := narrow(h, s.groups); ok {
			files = append(files, n)
			elements = max(elements, n.Elements)
		}
	}
	if len(files) == 0 {
		return nil
	}
	lo, hi := groupStart(s.groups.Start), groupStart(s.groups.End)
	if err := s.store.Attach(ctx, r.Files, files, lo, hi); err != nil {
		return fmt.Errorf("state: attach %d files to operator %q subtask %d: %w", len(files), s.uid, s.subtask, err)
	}
	if s.tracking {
		s.history.inherit(files)
	}
	if err := s.forgetStates(dropped); err != nil {
		return fmt.Errorf("state: drop states of operator %q subtask %d: %w", s.uid, s.subtask, err)
	}
	for _, m := range s.members {
		if l, ok := m.(interface{ raiseNumber(uint64) }); ok {
			l.raiseNumber(elements)
		}
		if err := m.attached(); err != nil {
			return err
		}
	}
	s.work.beginIndex()
	return nil
}

// dropped are the ids of states in the files that are to be left behind.
func (s *Keyed[K]) dropped(r *Restore) (ids []int, err error) {
	if len(r.States) == 0 {
		return nil, fmt.Errorf("state: restore operator %q subtask %d: Restore.States is empty, without which tables cannot be read; give the descriptors of the checkpoint", s.uid, s.subtask)
	}
	var unknown []string
	for i := range r.States {
		old := &r.States[i]
		switch {
		case s.memberFor(r, old) != nil:
		case slices.Contains(r.Drop, old.Name):
			ids = append(ids, old.ID)
		default:
			unknown = append(unknown, old.Name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, &UndeclaredStateError{UID: s.uid, Names: unknown}
	}
	return ids, nil
}

// forgetStates deletes all entries of states, in the store and in the next delta.
func (s *Keyed[K]) forgetStates(ids []int) error {
	if len(ids) == 0 {
		return nil
	}
	var changes []Change
	for g := range int(s.span) {
		for _, id := range ids {
			lo := appendHead(nil, s.groups.Start+g, id)
			changes = append(changes, Change{Kind: ChangeDeleteRange, Key: lo, End: after(nil, lo)})
			if s.tracking {
				s.currentRun(g).copy(ChangeDeleteRange, lo, nil)
			}
		}
	}
	return s.store.Apply(changes)
}

// groupStart is the lowest address of a group.
func groupStart(group int) []byte { return appendHead(nil, group, 0)[:2] }

// narrow is h for somebody who owns groups; ok is false when it has nothing for him.
func narrow(h File, groups GroupRange) (File, bool) {
	if h.Groups.Start >= groups.Start && h.Groups.End <= groups.End {
		return h, h.Groups.Start < h.Groups.End
	}
	h.Groups.Start, h.Groups.End = max(h.Groups.Start, groups.Start), min(h.Groups.End, groups.End)
	if h.Groups.Start >= h.Groups.End {
		return h, false
	}
	if lo := groupStart(h.Groups.Start); bytes.Compare(h.Lo, lo) < 0 {
		h.Lo = lo
	}
	if hi := groupStart(h.Groups.End); h.Hi == nil || bytes.Compare(h.Hi, hi) > 0 {
		h.Hi = hi
	}
	return h, bytes.Compare(h.Lo, h.Hi) < 0
}

// After an attach the index of what expires is made anew, entry by entry: it is never part of a table, for then every touch of an entry would be.

// beginIndex lets Background do that.
func (w *backgroundWork) beginIndex() { w.indexing, w.indexFrom = true, nil }

// indexEntries is how many entries one piece of that work reads.
const indexEntries = 256

// indexSome notes when the next entries of states with time to live expire, and reports whether there are more. Those that have expired go with
// their bucket, at once.
func (s *Keyed[K]) indexSome() (more bool, err error) {
	w := &s.work
	for ; w.indexGroup < int(s.span); w.indexGroup, w.indexMember = w.indexGroup+1, 0 {
		for ; w.indexMember < len(s.members); w.indexMember, w.indexFrom = w.indexMember+1, nil {
			m := s.members[w.indexMember]
			if l := m.life(); l.ttlMS == 0 || l.kept {
				continue
			}
			done, err := s.indexPortion(m)
			if err != nil {
				return false, err
			}
			if !done {
				return true, nil
			}
		}
	}
	w.indexing = false
	return false, nil
}

// indexPortion goes on with one group of m.
func (s *Keyed[K]) indexPortion(m member[K]) (done bool, err error) {
	w := &s.work
	d := m.descriptor()
	lo := appendHead(nil, s.groups.Start+w.indexGroup, d.ID)
	hi := after(nil, lo)
	if w.indexFrom != nil {
		lo = w.indexFrom
	}
	out := &storeWriter{store: s.store}
	n := 0
	done = true
	err = s.store.Scan(lo, hi, func(key, value []byte) (bool, error) {
		if n == indexEntries {
			done, w.indexFrom = false, bytes.Clone(key)
			return false, nil
		}
		n++
		head, _, err := cutValueHead(value)
		if err == nil && head.expires != 0 {
			err = s.index(out, m.life(), key, head.expires)
		}
		return true, err
	})
	if err == nil {
		err = out.flush()
	}
	return done, d.failed("index", err)
}
