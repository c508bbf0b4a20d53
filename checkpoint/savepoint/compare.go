package savepoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
	"github.com/zeebo/xxh3"
)

// Difference is what tells two savepoints apart. What is equal is not listed, but for states.
type Difference struct {
	Operators []OperatorDifference `json:"operators"` // sorted by uid
}

// OperatorDifference is the part of one operator.
type OperatorDifference struct {
	UID string `json:"uid"` // in the first; "" when only the second has it
	To  string `json:"to"`  // in the second; "" when only the first has it
	// Other says what differs beside entries: "watermark 5 → 7", "split \"a\" at …", one line each.
	Other  []string          `json:"other,omitempty"`
	States []StateDifference `json:"states,omitempty"` // sorted by name
}

// StateDifference is one state.
type StateDifference struct {
	Name      string `json:"name"`
	Broadcast bool   `json:"broadcast,omitempty"`
	Equal     int64  `json:"equal"` // entries
	Added     int64  `json:"added"` // in the second only
	Removed   int64  `json:"removed"`
	Changed   int64  `json:"changed"` // value or expiry
	// Digests stand for the sets of entries, whatever the order, backend, parallelism and number of key groups: 128 bits in hexadecimal.
	Digests [2]string `json:"digests"`
	// Schemas says that the two were written with different value schemas. Values of different schemas are equal when they are shown alike.
	Schemas bool     `json:"schemas,omitempty"`
	Samples []Sample `json:"samples,omitempty"` // the first of each kind of change
}

// Sample is one entry that differs. Before and After are lines as Printer.AppendLine makes them; the one that there is not is absent.
type Sample struct {
	Change string          `json:"change"` // "added", "removed" or "changed"
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Same reports whether nothing differs.
func (d *Difference) Same() bool {
	for _, o := range d.Operators {
		if o.UID == "" || o.To == "" || len(o.Other) > 0 {
			return false
		}
		for _, s := range o.States {
			if s.Added+s.Removed+s.Changed > 0 {
				return false
			}
		}
	}
	return true
}

// CompareOptions set how two savepoints are compared. The zero value works.
type CompareOptions struct {
	// Rename maps uids of the first savepoint to those of the second, where they are not the same.
	Rename map[string]string
	// Samples is how many entries of each kind of change are shown for each state. Default 3.
	Samples int
	// Memory bounds the entries that are held at once, about, in bytes. Default 64 MiB. Savepoints that are larger are read in parts by the hash of
	// keys; of what is no portable savepoint, a part of a file costs the reading of the file.
	Memory int64
	// Progress is called now and then. Optional.
	Progress func(Progress)
}

// Compare finds what differs between a and b, entry by entry: by state name, key and sub key. Parallelism, number of key groups and form do not count.
func Compare(ctx context.Context, a, b *Savepoint, o CompareOptions) (*Difference, error) {
	if o.Samples == 0 {
		o.Samples = 3
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	d := &Difference{Operators: []OperatorDifference{}}
	read := newReading(a, o.Progress)
	second := map[string]bool{}
	for i := range a.m.Operators {
		x := &a.m.Operators[i]
		to := x.UID
		if n, ok := o.Rename[x.UID]; ok {
			to = n
		}
		y, err := b.operator(to)
		if err != nil {
			d.Operators = append(d.Operators, OperatorDifference{UID: x.UID})
			read.done(x)
			continue
		}
		second[to] = true
		c := comparison{o: o, a: a, b: b, x: x, y: y, read: read, states: map[stateKey]*stateComparison{}}
		if err := c.run(ctx); err != nil {
			return nil, err
		}
		d.Operators = append(d.Operators, c.result())
		read.done(x)
	}
	for _, y := range b.m.Operators {
		if !second[y.UID] {
			d.Operators = append(d.Operators, OperatorDifference{To: y.UID})
		}
	}
	return d, nil
}

// comparison compares one operator.
type comparison struct {
	o      CompareOptions
	a, b   *Savepoint
	x, y   *checkpoint.OperatorState
	read   *reading
	print  Printer
	states map[stateKey]*stateComparison
	scan   []byte
}

type stateComparison struct {
	d StateDifference
	// sums are the digests as they grow.
	sums [2]xxh3.Uint128
	// held are entries of a that b has not shown yet, by key and sub key.
	held map[string]*Entry
}

// run compares part after part of the range of hashes.
func (c *comparison) run(ctx context.Context) error {
	parts := min(max(max(stateBytes(c.x), stateBytes(c.y))*expansion/c.o.Memory, 1), 1<<12)
	for i := range parts {
		first, last := uint64(i)<<32/uint64(parts), (uint64(i+1)<<32)/uint64(parts)-1
		within := func(e *Entry) bool { h := e.Hash >> 32; return h >= first && h <= last }
		err := c.a.within(ctx, c.x, first, last, func(e *Entry) error {
			if !within(e) {
				return nil
			}
			return c.hold(e)
		})
		if err != nil {
			return err
		}
		err = c.b.within(ctx, c.y, first, last, func(e *Entry) error {
			if !within(e) {
				return nil
			}
			return c.match(e)
		})
		if err != nil {
			return err
		}
		if err := c.leftover(); err != nil {
			return err
		}
	}
	return nil
}

// expansion is how much larger entries in memory are than in compressed files, about.
const expansion = 8

// within is entries for keys whose hashes have their high 32 bits within [first, last]; others may come too.
func (s *Savepoint) within(ctx context.Context, o *checkpoint.OperatorState, first, last uint64, fn func(*Entry) error) error {
	groups := state.GroupRange{Start: state.GroupOf(first<<32, s.m.MaxParallelism), End: state.GroupOf(last<<32, s.m.MaxParallelism) + 1}
	for _, t := range o.Subtasks {
		r := state.GroupRange{Start: max(groups.Start, t.Groups.Start), End: min(groups.End, t.Groups.End)}
		if r.Start >= r.End {
			continue
		}
		if err := s.read(ctx, o, r, t.Files, false, fn); err != nil {
			return err
		}
	}
	if first > 0 {
		return nil // broadcast entries have the hash 0
	}
	for _, t := range o.Subtasks {
		if err := s.read(ctx, o, state.GroupRange{End: 1}, t.Broadcast, true, fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) state(e *Entry) *stateComparison {
	k := stateKey{e.Of.Name, e.Broadcast}
	s := c.states[k]
	if s == nil {
		s = &stateComparison{d: StateDifference{Name: k.name, Broadcast: k.broadcast}, held: map[string]*Entry{}}
		c.states[k] = s
	}
	return s
}

// place is the key of an entry in held.
func place(e *Entry) string {
	b := binary.AppendUvarint(make([]byte, 0, len(e.Key)+len(e.Sub)+2), uint64(len(e.Key)))
	return string(append(append(b, e.Key...), e.Sub...))
}

// count adds the entry to the digest of its side.
func (c *comparison) count(s *stateComparison, side int, e *Entry) error {
	value, err := c.print.canonical(e.Value, e.Schema)
	if e.Of.Kind == state.KindTimers {
		value, err = nil, nil
	}
	if err != nil {
		return undecodable(c.x.UID, e, "value", err)
	}
	b := c.scan[:0]
	for _, p := range [][]byte{e.Key, e.Sub, value} {
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	ms, _ := e.ExpiryMS()
	c.scan = binary.AppendVarint(b, ms)
	// Sums, not exclusive ors: an entry that is there twice would cancel itself out.
	h := xxh3.Hash128(c.scan)
	sum := &s.sums[side]
	sum.Lo, sum.Hi = sum.Lo+h.Lo, sum.Hi+h.Hi
	c.read.entry(c.x.UID, int64(len(e.Key)+len(e.Sub)+len(e.Value)))
	return nil
}

func (c *comparison) hold(e *Entry) error {
	s := c.state(e)
	if err := c.count(s, 0, e); err != nil {
		return err
	}
	kept := *e
	kept.Key, kept.Sub, kept.Value = bytes.Clone(e.Key), bytes.Clone(e.Sub), bytes.Clone(e.Value)
	k := place(e)
	if s.held[k] != nil {
		return undecodable(c.x.UID, e, "key", fmt.Errorf("it is there twice: %w", state.ErrCorrupt))
	}
	s.held[k] = &kept
	return nil
}

func (c *comparison) match(e *Entry) error {
	s := c.state(e)
	if err := c.count(s, 1, e); err != nil {
		return err
	}
	k := place(e)
	before := s.held[k]
	if before == nil {
		s.d.Added++
		return c.sample(s, "added", s.d.Added, nil, e)
	}
	delete(s.held, k)
	s.d.Schemas = s.d.Schemas || before.Schema != e.Schema
	same := true
	if e.Of.Kind != state.KindTimers {
		var err error
		if same, err = c.print.same(before.Value, e.Value, before.Schema, e.Schema); err != nil {
			return undecodable(c.x.UID, e, "value", err)
		}
	}
	x, someX := before.ExpiryMS()
	y, someY := e.ExpiryMS()
	if same && x == y && someX == someY {
		s.d.Equal++
		return nil
	}
	s.d.Changed++
	return c.sample(s, "changed", s.d.Changed, before, e)
}

// leftover counts what b did not have.
func (c *comparison) leftover() error {
	for _, s := range c.states {
		for _, k := range slices.Sorted(maps.Keys(s.held)) {
			s.d.Removed++
			if err := c.sample(s, "removed", s.d.Removed, s.held[k], nil); err != nil {
				return err
			}
		}
		clear(s.held)
	}
	return nil
}

// sample keeps an entry that differs, if it is among the first n.
func (c *comparison) sample(s *stateComparison, change string, n int64, before, after *Entry) error {
	if n > int64(c.o.Samples) {
		return nil
	}
	out := Sample{Change: change}
	for _, x := range []struct {
		to  *json.RawMessage
		uid string
		e   *Entry
	}{{&out.Before, c.x.UID, before}, {&out.After, c.y.UID, after}} {
		if x.e == nil {
			continue
		}
		line, err := c.print.AppendLine(nil, x.uid, x.e)
		if err != nil {
			return err
		}
		*x.to = bytes.TrimSpace(line)
	}
	s.d.Samples = append(s.d.Samples, out)
	return nil
}

func (c *comparison) result() OperatorDifference {
	d := OperatorDifference{UID: c.x.UID, To: c.y.UID, Other: differences(c.x, c.y)}
	for _, s := range c.states {
		for i := range s.sums {
			s.d.Digests[i] = fmt.Sprintf("%016x%016x", s.sums[i].Hi, s.sums[i].Lo)
		}
		d.States = append(d.States, s.d)
	}
	slices.SortFunc(d.States, func(a, b StateDifference) int {
		if c := bytes.Compare([]byte(a.Name), []byte(b.Name)); c != 0 || a.Broadcast == b.Broadcast {
			return c
		}
		if b.Broadcast {
			return -1
		}
		return 1
	})
	return d
}

// differences are those beside entries.
func differences(x, y *checkpoint.OperatorState) (out []string) {
	a, b := merged(x), merged(y)
	if a.WatermarkMS != b.WatermarkMS {
		out = append(out, fmt.Sprintf("watermark %s → %s", watermark(a.WatermarkMS), watermark(b.WatermarkMS)))
	}
	splits := map[string][2][]byte{}
	for i, list := range [][]checkpoint.SplitState{a.Splits, b.Splits} {
		for _, s := range list {
			at := splits[s.ID]
			at[i] = append([]byte{}, s.Position...)
			splits[s.ID] = at
		}
	}
	for _, id := range slices.Sorted(maps.Keys(splits)) {
		if at := splits[id]; at[0] == nil || at[1] == nil || !bytes.Equal(at[0], at[1]) {
			out = append(out, fmt.Sprintf("split %q at %s → %s", id, position(at[0]), position(at[1])))
		}
	}
	for _, l := range []struct {
		what string
		a, b [][]byte
	}{{"enumerator", [][]byte{x.Enumerator}, [][]byte{y.Enumerator}}, {"state without key", a.Raw, b.Raw}, {"committables", x.Committables, y.Committables}} {
		if !slices.EqualFunc(l.a, l.b, bytes.Equal) {
			out = append(out, fmt.Sprintf("%s: %d bytes in %d parts → %d in %d", l.what, size(l.a), len(l.a), size(l.b), len(l.b)))
		}
	}
	if fa, fb := slices.Compact(slices.Sorted(slices.Values(a.Finished))), slices.Compact(slices.Sorted(slices.Values(b.Finished))); !slices.Equal(fa, fb) {
		out = append(out, fmt.Sprintf("finished splits %q → %q", fa, fb))
	}
	return out
}

func size(parts [][]byte) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}

func watermark(ms int64) string {
	if ms == checkpoint.NoWatermark {
		return "none"
	}
	return fmt.Sprint(ms)
}

// position shows an encoded position: text as it is, anything else in hexadecimal.
func position(b []byte) string {
	switch {
	case b == nil:
		return "none"
	case printable(b):
		return string(b)
	}
	return fmt.Sprintf("0x%x", b)
}

func printable(b []byte) bool {
	return !slices.ContainsFunc([]rune(string(b)), func(r rune) bool { return r < ' ' || r == 0xfffd || r == 0x7f })
}
