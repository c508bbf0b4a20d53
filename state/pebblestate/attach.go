package pebblestate

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/internal/sst"
)

// part is what counts of one table.
type part struct {
	name   string // of the object
	level  int    // 1…6 of a base; 0: an L0 table or a delta, which may overlap others
	lo, hi []byte
	size   int64 // an estimate
}

// Attach makes tables readable without reading them. Pebble gives each attached file one sequence number, in the order of the calls: the base from the last level up, then level 0
// and the deltas from old to new.
func (s *store) Attach(ctx context.Context, files state.Files, handles []state.File, lo, hi []byte) error {
	if err := s.health.err(); err != nil {
		return err
	}
	parts, err := s.parts(files, handles, lo, hi)
	if err != nil {
		return err
	}
	for _, batch := range batches(parts) {
		external := make([]pebble.ExternalFile, len(batch))
		for i, p := range batch {
			external[i] = pebble.ExternalFile{
				ObjName: p.name, Size: uint64(p.size), StartKey: p.lo, EndKey: p.hi, HasPointKey: true,
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.db.IngestExternalFiles(ctx, external); err != nil {
			return fmt.Errorf("pebblestate: attach %d tables of level %d, the first is %q: %w", len(batch), batch[0].level, batch[0].name, err)
		}
		if err := s.health.err(); err != nil {
			return err
		}
	}
	// The newest tables first: every read looks at them.
	var names []string
	upper := 0
	for _, p := range slices.Backward(parts) {
		names = append(names, p.name)
		if p.level == 0 {
			upper++
		}
	}
	s.objects.prefetch(names, upper)
	return nil
}

// parts are the tables with entries in [lo, hi), old to new.
func (s *store) parts(files state.Files, handles []state.File, lo, hi []byte) ([]part, error) {
	var levels [7][]part
	var deltas []part
	for _, h := range handles {
		if h.Kind != state.FileBase && h.Kind != state.FileDelta || h.Level < 0 || h.Level > 6 {
			return nil, fmt.Errorf("pebblestate: attach %q: it is a file of kind %q and level %d, not a table", h.Name, h.Kind, h.Level)
		}
		plo, phi, ok := sst.Clip(h.Lo, h.Hi, sst.GroupStart(h.Groups.Start), sst.GroupStart(h.Groups.End))
		if ok {
			plo, phi, ok = sst.Clip(plo, phi, lo, hi)
		}
		if !ok {
			continue
		}
		p := part{name: s.objects.add(files, h), level: h.Level, lo: plo, hi: phi}
		g := groupsOf(plo, phi)
		p.size = max(1, h.Size*int64(g.End-g.Start)/int64(max(1, h.Groups.End-h.Groups.Start)))
		if h.Kind == state.FileDelta {
			p.level = 0
			deltas = append(deltas, p)
		} else {
			levels[h.Level] = append(levels[h.Level], p)
		}
	}
	var parts []part
	for _, level := range slices.Backward(levels[:]) {
		parts = append(parts, level...)
	}
	return append(parts, deltas...), nil
}

// batches are the parts in sets that do not overlap, to be attached one set after the other: a level at a time, and of those that may overlap each
// as soon as the older ones that it overlaps have gone before.
func batches(parts []part) (sets [][]part) {
	first := 0 // set of the first part of level 0
	set := make([]int, len(parts))
	for i, p := range parts {
		switch {
		case p.level > 0 && i > 0 && parts[i-1].level == p.level:
			set[i] = set[i-1]
		case p.level > 0 || i == 0:
			set[i] = len(sets)
		case parts[i-1].level > 0:
			first = len(sets)
			set[i] = first
		default:
			set[i] = first
			for j, older := range parts[:i] {
				if older.level == 0 && set[j] >= set[i] && bytes.Compare(p.lo, older.hi) < 0 && bytes.Compare(older.lo, p.hi) < 0 {
					set[i] = set[j] + 1
				}
			}
		}
		if set[i] == len(sets) {
			sets = append(sets, nil)
		}
		sets[set[i]] = append(sets[set[i]], p)
	}
	return sets
}

// groupsOf are the key groups with addresses in [lo, hi).
func groupsOf(lo, hi []byte) state.GroupRange {
	start := append(bytes.Clone(lo), 0, 0)
	end := int(hi[0])<<8 + 1
	if len(hi) > 1 {
		end += int(hi[1])
	}
	if len(hi) == 2 {
		end--
	}
	return state.GroupRange{Start: int(start[0])<<8 | int(start[1]), End: end}
}
