package savepoint

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// Builder makes a savepoint: from nothing, or out of another one with changes. Changes are kept in memory until Write; what is not changed passes through
// as a stream. Faults are collected, see Err. One goroutine uses it.
type Builder struct {
	base           *Savepoint
	job            string
	maxParallelism int
	ops            map[string]*operatorEdit
	errs           []error
}

// NewBuilder begins a savepoint without operators. job is printed, never compared. maxParallelism is the number of key groups, 1 to 32768: a job
// that starts from the savepoint may have another one.
func NewBuilder(job string, maxParallelism int) *Builder {
	b := &Builder{job: job, maxParallelism: maxParallelism, ops: map[string]*operatorEdit{}}
	if maxParallelism < 1 || maxParallelism > 1<<15 {
		b.fault(fmt.Errorf("savepoint: max parallelism is %d, want 1 to 32768", maxParallelism))
		b.maxParallelism = 1
	}
	return b
}

// Edit begins a savepoint that is like s but for the changes to come. s itself stays as it is.
func (s *Savepoint) Edit() *Builder {
	b := NewBuilder(s.m.Job, s.m.MaxParallelism)
	b.base = s
	if len(s.m.Channels) > 0 {
		b.fault(fmt.Errorf("savepoint: %s holds records in flight, whose form belongs to the program that took it; take a checkpoint whose barriers were aligned", s.uri))
	}
	for i := range s.m.Operators {
		o := &s.m.Operators[i]
		b.ops[o.UID] = &operatorEdit{base: o, enumerator: o.Enumerator, committables: slices.Clone(o.Committables), rest: merged(o)}
	}
	return b
}

// merged is what the subtasks of an operator hold beside files, as one subtask holds it. A restore deals it out as it would deal out the
// subtasks' own.
func merged(o *checkpoint.OperatorState) (t checkpoint.SubtaskState) {
	for i, s := range o.Subtasks {
		t.Splits = append(t.Splits, s.Splits...)
		t.Finished = append(t.Finished, s.Finished...)
		t.Raw = append(t.Raw, s.Raw...)
		if i == 0 || s.WatermarkMS < t.WatermarkMS {
			t.WatermarkMS = s.WatermarkMS
		}
	}
	return t
}

func (b *Builder) fault(err error) {
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// Err is every fault of the changes so far, joined; nil when there is none. Write fails with it.
func (b *Builder) Err() error { return errors.Join(b.errs...) }

// header is the manifest without operators.
func (b *Builder) header() *checkpoint.Manifest {
	m := &checkpoint.Manifest{ID: 1, Epoch: 1, Job: b.job, CreatedMS: time.Now().UnixMilli(), MaxParallelism: b.maxParallelism}
	if b.base != nil {
		m.ID, m.Epoch, m.CreatedMS = b.base.m.ID, b.base.m.Epoch, b.base.m.CreatedMS
	}
	return m
}

func (b *Builder) uids() []string { return slices.Sorted(maps.Keys(b.ops)) }

// Operator is what the operator holds beside entries, for a change: splits with their positions, finished splits, raw state, and the watermark. It
// makes an operator that is not there, without a watermark. Groups, files and broadcast files of it are not looked at.
func (b *Builder) Operator(uid string) *checkpoint.SubtaskState { return &b.operator(uid).rest }

func (b *Builder) operator(uid string) *operatorEdit {
	op := b.ops[uid]
	if op == nil {
		op = &operatorEdit{rest: checkpoint.SubtaskState{WatermarkMS: checkpoint.NoWatermark}}
		b.ops[uid] = op
		if uid == "" {
			b.fault(errors.New("savepoint: an operator has no uid"))
		}
	}
	return op
}

// Rename gives an operator another uid.
func (b *Builder) Rename(uid, to string) {
	op, ok := b.ops[uid]
	switch {
	case !ok:
		b.fault(fmt.Errorf("savepoint: rename of operator %q: there is none, there are %q", uid, b.uids()))
	case to == "" || b.ops[to] != nil:
		b.fault(fmt.Errorf("savepoint: operator %q cannot be renamed to %q: the name is empty or taken", uid, to))
	default:
		delete(b.ops, uid)
		b.ops[to] = op
	}
}

// Drop leaves an operator out, with all that it holds.
func (b *Builder) Drop(uid string) {
	if b.ops[uid] == nil {
		b.fault(fmt.Errorf("savepoint: drop of operator %q: there is none, there are %q", uid, b.uids()))
	}
	delete(b.ops, uid)
}

// DropState leaves a state of an operator out.
func (b *Builder) DropState(uid, name string) {
	if _, ok := b.descriptor(uid, name); !ok {
		return
	}
	op := b.ops[uid]
	if op.dropped == nil {
		op.dropped = map[string]bool{}
	}
	op.dropped[name] = true
	for _, broadcast := range []bool{false, true} {
		delete(op.edits, stateKey{name, broadcast})
	}
	op.declared = slices.DeleteFunc(op.declared, func(d state.Descriptor) bool { return d.Name == name })
}

// descriptor is that of a state that must be there.
func (b *Builder) descriptor(uid, name string) (state.Descriptor, bool) {
	op := b.ops[uid]
	if op == nil {
		b.fault(fmt.Errorf("savepoint: there is no operator %q, there are %q", uid, b.uids()))
		return state.Descriptor{}, false
	}
	d, ok := op.descriptor(name)
	if !ok {
		var have []string
		for _, d := range op.descriptors() {
			have = append(have, d.Name)
		}
		b.fault(fmt.Errorf("savepoint: operator %q has no state %q, it has %q; declare it first", uid, name, have))
	}
	return d, ok
}

// Declare adds a state to an operator, and the operator where there is none. Schemas of d, with Value among them, are those that entries may have; nil for Value
// alone. It gives d an ID, and does nothing when the state is there as it is declared.
func (b *Builder) Declare(uid string, d state.Descriptor) {
	op := b.operator(uid)
	if len(d.Schemas) > 0 && !slices.Contains(d.Schemas, d.Value) {
		b.fault(fmt.Errorf("savepoint: state %q of operator %q has schemas without its own, %s", d.Name, uid, d.Value))
	}
	next := 0
	for _, have := range op.descriptors() {
		next = max(next, have.ID+1)
		if have.Name != d.Name {
			continue
		}
		if have.Kind != d.Kind || have.Key != d.Key || have.Sub != d.Sub || have.Value != d.Value || have.TTL != d.TTL || have.EventTimeTTL != d.EventTimeTTL {
			b.fault(fmt.Errorf("savepoint: state %q of operator %q is there and declared in another way", d.Name, uid))
		}
		return
	}
	if d.Name == "" || d.Key == "" || d.Value == "" && d.Kind != state.KindTimers || (d.Sub == "") == (d.Kind == state.KindMap) {
		b.fault(fmt.Errorf("savepoint: state %q of operator %q lacks a name or a schema, or has a schema of map keys and is no map", d.Name, uid))
	}
	d.ID = next
	op.declared = append(op.declared, d)
}

// Set makes e an entry of a state, in the place of one that has the same key and sub key. Key, Sub, Value, Hash, ExpiresMS and Broadcast of it count, and Schema,
// which must be one of those of the state; "" is the newest. They are copied. The same key must come with the same hash as in the job; see SetValue for typed keys.
func (b *Builder) Set(uid, name string, e Entry) {
	d, ok := b.descriptor(uid, name)
	if !ok {
		return
	}
	if e.Schema == "" {
		e.Schema = d.Value
	}
	if e.Schema != d.Value && !slices.Contains(d.Schemas, e.Schema) {
		b.fault(fmt.Errorf("savepoint: state %q of operator %q has no values of schema %s", name, uid, e.Schema))
		return
	}
	k := b.ops[uid].edit(stateKey{name, e.Broadcast}).key(e.Key)
	e.Key, e.Sub, e.Value = slices.Clone(e.Key), slices.Clone(e.Sub), slices.Clone(e.Value)
	k.subs[string(e.Sub)] = &e
}

// Delete removes what a state has under a key and sub key. That there is nothing is no fault.
func (b *Builder) Delete(uid, name string, broadcast bool, key, sub []byte) {
	if _, ok := b.descriptor(uid, name); ok {
		b.ops[uid].edit(stateKey{name, broadcast}).key(key).subs[string(sub)] = nil
	}
}

// DeleteKey removes all that a state has under a key: a value, all elements of a list, all entries of a map, all timers of the key.
func (b *Builder) DeleteKey(uid, name string, broadcast bool, key []byte) {
	if _, ok := b.descriptor(uid, name); ok {
		k := b.ops[uid].edit(stateKey{name, broadcast}).key(key)
		k.whole = true
		clear(k.subs)
	}
}

// operatorEdit is one operator of the savepoint that is being built.
type operatorEdit struct {
	base         *checkpoint.OperatorState // where it comes from; nil for a new one
	enumerator   []byte
	committables [][]byte
	rest         checkpoint.SubtaskState
	declared     []state.Descriptor
	dropped      map[string]bool
	edits        map[stateKey]stateEdit

	// Some keys of base with their hashes, read when the first change by JSON asks for them.
	sampled      bool
	sampleKeys   [][]byte
	sampleHashes []uint64
}

// stateKey names a state: a name may stand for a keyed and a broadcast state in what a manifest says.
type stateKey struct {
	name      string
	broadcast bool
}

// stateEdit are the changes of one state by encoded key.
type stateEdit map[string]*keyEdit

func (s stateEdit) key(key []byte) *keyEdit {
	k := s[string(key)]
	if k == nil {
		k = &keyEdit{subs: map[string]*Entry{}}
		s[string(key)] = k
	}
	return k
}

// keyEdit are the changes under one key.
type keyEdit struct {
	whole bool              // nothing that was there stays
	subs  map[string]*Entry // by sub key; nil for a deletion
}

func (op *operatorEdit) edit(k stateKey) stateEdit {
	if op.edits == nil {
		op.edits = map[stateKey]stateEdit{}
	}
	if op.edits[k] == nil {
		op.edits[k] = stateEdit{}
	}
	return op.edits[k]
}

// descriptors are the states that are not dropped, sorted by name.
func (op *operatorEdit) descriptors() []state.Descriptor {
	var out []state.Descriptor
	if op.base != nil {
		out = slices.Clone(op.base.States)
	}
	out = slices.DeleteFunc(out, func(d state.Descriptor) bool { return op.dropped[d.Name] })
	out = append(out, op.declared...)
	slices.SortFunc(out, func(a, b state.Descriptor) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (op *operatorEdit) descriptor(name string) (state.Descriptor, bool) {
	for _, d := range op.descriptors() {
		if d.Name == name {
			return d, true
		}
	}
	return state.Descriptor{}, false
}

// edited are the states with changes, in order.
func (op *operatorEdit) edited() []stateKey {
	return slices.SortedFunc(maps.Keys(op.edits), func(a, b stateKey) int {
		if c := cmp.Compare(a.name, b.name); c != 0 || a.broadcast == b.broadcast {
			return c
		}
		if b.broadcast {
			return -1
		}
		return 1
	})
}

// sortedEdits are the changes of a state in the order in which they are written.
type sortedEdits struct {
	edits stateEdit
	added []*Entry
}

// sorted is nil when there are no changes. groups is the number of key groups.
func (op *operatorEdit) sorted(k stateKey, groups int) *sortedEdits {
	edits := op.edits[k]
	if len(edits) == 0 {
		return nil
	}
	s := &sortedEdits{edits: edits}
	for _, ke := range edits {
		for _, e := range ke.subs {
			if e != nil {
				c := *e
				c.Group = state.GroupOf(c.Hash, groups)
				s.added = append(s.added, &c)
			}
		}
	}
	slices.SortFunc(s.added, func(a, b *Entry) int { return compareEntries(&a.Entry, &b.Entry) })
	return s
}

// hides reports whether an entry of the base is replaced or deleted.
func (s *sortedEdits) hides(e *state.Entry) bool {
	k := s.edits[string(e.Key)]
	if k == nil {
		return false
	}
	_, changed := k.subs[string(e.Sub)]
	return k.whole || changed
}
