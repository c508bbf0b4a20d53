package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/serde"
)

// loaded is an entry of a snapshot as this program has it: key, sub key and hash are those of the declared codecs. schema is the id of the
// value's schema, as the state's resolver numbers them.
type loaded[K comparable] struct {
	Entry
	key    K
	schema int
}

// UndeclaredStateError reports states in a snapshot that the operator does not declare.
type UndeclaredStateError struct {
	UID   string
	Names []string // sorted
}

// Error names operator, states and remedy.
func (e *UndeclaredStateError) Error() string {
	return fmt.Sprintf("state: the snapshot holds states %q that operator %q does not declare; declare them again, or drop them by name at restore", e.Names, e.UID)
}

// KeyCollisionError reports two stored keys that are one key as the program reads keys now: their entries cannot be kept apart, and are
// not merged.
type KeyCollisionError struct {
	UID, State string
	// Part is PartKey, or PartSub for two keys of one map.
	Part string
	// First and Second are the stored keys as JSON by their schema, or in hexadecimal.
	First, Second string
	// Now is the key that both become, in the same form.
	Now string
}

// Error names both keys and the remedy.
func (e *KeyCollisionError) Error() string {
	return fmt.Sprintf("state: the stored keys %s and %s of state %q of operator %q both become %s by the new %s; keep what tells them apart in the key type, or map them apart with a migration",
		e.First, e.Second, e.State, e.UID, e.Now, e.Part)
}

// Restore loads the entries of the files whose key group is owned; see Operator. Tables are attached where nothing has to be written anew.
// It may be called again for the files of another operator whose states went to others of this one's; those are never attached.
func (s *Keyed[K]) Restore(ctx context.Context, r Restore) error {
	if !s.opened {
		return errors.New("state: Restore of keyed state that is not open")
	}
	attach := s.attachable(&r)
	s.work.restored = true
	if attach {
		return s.attach(ctx, &r)
	}
	w := &rewrite[K]{s: s, r: r, from: r.MaxParallelism}
	if w.from == 0 {
		w.from = s.cfg.MaxParallelism
	}
	if s.store != nil {
		w.sink = &storeWriter{store: s.store}
	}
	err := w.run(ctx)
	if err != nil {
		return fmt.Errorf("state: restore operator %q subtask %d: %w", s.uid, s.subtask, err)
	}
	return nil
}

// rewrite reads every entry of the files and takes those in whose key belongs to the subtask now.
type rewrite[K comparable] struct {
	s    *Keyed[K]
	r    Restore
	from int          // number of key groups in the files
	sink *storeWriter // nil on the memory backend
	in   *entries
	plan []target[K] // by Entry.State
	// rehash says that keys of at least one state may have another hash than before.
	rehash bool

	e   loaded[K]
	raw []byte // the stored key that e.key is decoded from
	by  int    // and the target that decoded it
	key []byte // e.key as it is encoded now
	sub []byte
	// olds are the stored keys by the key that they become, where two may become one; subs the same of the map keys of one key.
	olds map[string]string
	subs map[string]string
	have bool
}

// target takes the entries of one state of the files in.
type target[K comparable] struct {
	m   member[K] // nil drops them
	old Descriptor
	// values are the ids by which m reads values, by the schema id in the file.
	values []int
	// key is how keys are read; nil when they are encoded and hashed as they were. sub is the same for map keys.
	key    func(src []byte, k *K) error
	sub    func(dst, src []byte) ([]byte, error)
	keyOne bool // two keys cannot become one
	subOne bool
	clock  bool // stamps are of another clock
}

func (w *rewrite[K]) run(ctx context.Context) error {
	groups, err := w.groups()
	if err != nil {
		return err
	}
	w.in = &entries{ctx: ctx, files: w.r.Files, groups: groups}
	w.in.fn = w.take
	if err := w.in.read(w.r); err != nil {
		return err
	}
	if err := w.extend(); err != nil { // states without an entry
		return err
	}
	if w.sink == nil {
		return nil
	}
	return w.sink.flush()
}

// groups are the old groups that may hold keys of this subtask.
func (w *rewrite[K]) groups() (GroupRange, error) {
	w.rehash = w.r.States == nil // nothing is known before the files are open: they say it themselves
	for _, d := range w.r.States {
		if m := w.member(d.Name); m != nil {
			w.rehash = w.rehash || Compare(d, w.s.declared(m)).Rehash
		}
	}
	if w.rehash {
		return GroupRange{End: w.from}, nil
	}
	return regroup(w.s.groups, w.s.cfg.MaxParallelism, w.from), nil
}

// regroup is the least range of groups, of which there are to, that holds every hash whose group, of n groups, lies in r. Groups ascend with the hash.
func regroup(r GroupRange, n, to int) GroupRange {
	if r.Start >= r.End || n == to {
		return r
	}
	// A group g of n holds the hashes whose upper half is at least g·2³²/n, rounded up.
	first := (uint64(r.Start)<<32 + uint64(n) - 1) / uint64(n)
	after := (uint64(r.End)<<32 + uint64(n) - 1) / uint64(n)
	return GroupRange{Start: GroupOf(first<<32, to), End: GroupOf((after-1)<<32, to) + 1}
}

// name is what the operator calls the state that the files call by the given name.
func (w *rewrite[K]) name(name string) string {
	if n, ok := w.r.Rename[name]; ok {
		return n
	}
	return name
}

// member is the declared state that takes entries of the one called name in the files; nil for none.
func (w *rewrite[K]) member(name string) member[K] {
	if slices.Contains(w.r.Drop, name) {
		return nil
	}
	i := slices.IndexFunc(w.s.members, func(m member[K]) bool { return m.descriptor().Name == w.name(name) })
	if i < 0 {
		return nil
	}
	return w.s.members[i]
}

// declared is the descriptor of m with all that the operator can read.
func (s *Keyed[K]) declared(m member[K]) Descriptor {
	d := m.descriptor()
	s.describeKey(&d)
	return d
}

// extend plans the states that the files have named since the last call.
func (w *rewrite[K]) extend() error {
	var errs []error
	var unknown []string
	for i := len(w.plan); i < len(w.in.states); i++ {
		d := w.in.states[i]
		t := target[K]{m: w.member(d.Name), old: d}
		if t.m == nil && !slices.Contains(w.r.Drop, d.Name) {
			unknown = append(unknown, d.Name)
		}
		if t.m != nil {
			if err := w.match(&t); err != nil {
				errs = append(errs, err)
			}
		}
		w.plan = append(w.plan, t)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		errs = append(errs, &UndeclaredStateError{UID: w.s.uid, Names: unknown})
	}
	return errors.Join(errs...)
}

// match finds how entries of t.old are read as t.m declares them.
func (w *rewrite[K]) match(t *target[K]) error {
	now := w.s.declared(t.m)
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("state %q of operator %q was %w; declare it as it was, give a migration, or declare another name and drop the old one",
			t.old.Name, w.s.uid, fmt.Errorf(format, args...))
	}
	if t.old.Kind != now.Kind {
		return refuse("a %s state and is declared as a %s state", t.old.Kind, now.Kind)
	}
	if now.Key != t.old.Key {
		id, err := w.s.keyReads.resolve(t.old.Key)
		if err != nil {
			return refuse("written with operator key schema %s and is declared with %s: %w", t.old.Key, now.Key, err)
		}
		if how, _ := now.Reads.Key.way(now.Key, t.old.Key); how == byMigration || !sameKeys(t.old, now) {
			t.key = func(src []byte, k *K) error { return w.s.keyReads.decode(src, id, k) }
			t.keyOne = how == byAvro && serde.OneToOne(now.Key, t.old.Key)
		}
	}
	if now.Sub != t.old.Sub {
		m, ok := t.m.(subKeyed)
		if !ok {
			return refuse("written with map keys of schema %s and has none", t.old.Sub)
		}
		recode, err := m.recodeSub(t.old.Sub)
		if err != nil {
			return refuse("written with map key schema %s and is declared with %s: %w", t.old.Sub, now.Sub, err)
		}
		if how, _ := now.Reads.Sub.way(now.Sub, t.old.Sub); how == byMigration || !serde.SameEncoding(now.Sub, t.old.Sub) {
			t.sub = recode
			t.subOne = how == byAvro && serde.OneToOne(now.Sub, t.old.Sub)
		}
	}
	for _, schema := range t.old.schemas() {
		id, err := t.m.resolve(schema)
		if err != nil {
			return refuse("written with schema %s and is declared with %s: %w", schema, now.Value, err)
		}
		t.values = append(t.values, id)
	}
	t.clock = t.old.EventTimeTTL != now.EventTimeTTL
	return nil
}

// subKeyed is a member with map keys.
type subKeyed interface {
	// recodeSub makes the function that appends a map key of the given schema as it is encoded now.
	recodeSub(schema string) (func(dst, src []byte) ([]byte, error), error)
}

func (m *maps[K, MK, MV]) recodeSub(schema string) (func(dst, src []byte) ([]byte, error), error) {
	id, err := m.subs.resolve(schema)
	if err != nil {
		return nil, err
	}
	return func(dst, src []byte) ([]byte, error) {
		var k MK
		if err := m.subs.decode(src, id, &k); err != nil {
			return dst, err
		}
		return m.keys.Append(dst, k)
	}, nil
}

// take takes one entry in.
func (w *rewrite[K]) take(e Entry) error {
	if len(w.in.states) > len(w.plan) {
		if err := w.extend(); err != nil {
			return err
		}
	}
	t := &w.plan[e.State]
	if t.m == nil {
		return nil
	}
	if g := GroupOf(e.Hash, w.from); g != e.Group {
		return fmt.Errorf("an entry of state %q lies in key group %d of %d, and its hash belongs to group %d: it was written with another number of key groups",
			t.old.Name, e.Group, w.from, g)
	}
	if t.key == nil {
		e.Group = GroupOf(e.Hash, w.s.cfg.MaxParallelism)
		if !w.s.groups.Contains(e.Group) {
			return nil
		}
	}
	if err := w.decodeKey(t, e); err != nil {
		return err
	}
	w.e.Entry = e
	if t.key != nil {
		w.e.Key, w.e.Hash = w.key, w.s.rehash(w.e.key)
		w.e.Group = GroupOf(w.e.Hash, w.s.cfg.MaxParallelism)
		if !w.s.groups.Contains(w.e.Group) {
			return nil
		}
	}
	if t.sub != nil {
		if err := w.recodeSub(t, e.Sub); err != nil {
			return err
		}
	}
	return w.load(t)
}

// decodeKey decodes the operator key of e into w.e.key and, where it is encoded anew, w.key.
func (w *rewrite[K]) decodeKey(t *target[K], e Entry) error {
	if w.have && w.by == e.State && bytes.Equal(w.raw, e.Key) {
		return nil
	}
	var key K
	decode := t.key
	if decode == nil {
		decode = func(src []byte, k *K) error { return w.s.codec.Decode(src, k) }
	}
	err := decode(e.Key, &key)
	if err == nil && t.key != nil {
		w.key, err = w.s.codec.Append(w.key[:0], key)
	}
	if err != nil {
		return fmt.Errorf("operator key %s of state %q: %w", showKey(t.old.Key, e.Key), t.old.Name, err)
	}
	w.e.key, w.raw, w.by, w.have = key, append(w.raw[:0], e.Key...), e.State, true
	w.subs = nil
	if t.key == nil || t.keyOne {
		return nil
	}
	if !w.s.groups.Contains(GroupOf(w.s.rehash(key), w.s.cfg.MaxParallelism)) {
		return nil // whoever owns the key sees all that become it
	}
	return w.collide(&w.olds, t, PartKey, w.key, e.Key)
}

// recodeSub encodes the map key anew.
func (w *rewrite[K]) recodeSub(t *target[K], stored []byte) error {
	var err error
	if w.sub, err = t.sub(w.sub[:0], stored); err != nil {
		return fmt.Errorf("map key %s of state %q: %w", showKey(t.old.Sub, stored), t.old.Name, err)
	}
	w.e.Sub = w.sub
	if t.subOne {
		return nil
	}
	return w.collide(&w.subs, t, PartSub, w.sub, stored)
}

// collide notes that a stored key has become now, and fails if another one had before.
func (w *rewrite[K]) collide(seen *map[string]string, t *target[K], part string, now, stored []byte) error {
	if *seen == nil {
		*seen = map[string]string{}
	}
	first, ok := (*seen)[string(now)]
	if !ok {
		(*seen)[string(now)] = string(stored)
		return nil
	}
	if first == string(stored) {
		return nil
	}
	d := w.s.declared(t.m)
	was, is := t.old.Key, d.Key
	if part == PartSub {
		was, is = t.old.Sub, d.Sub
	}
	return &KeyCollisionError{UID: w.s.uid, State: d.Name, Part: part, First: showKey(was, []byte(first)), Second: showKey(was, stored), Now: showKey(is, now)}
}

// showKey is an encoded key for messages.
func showKey(schema string, key []byte) string {
	if raw, err := serde.ParseRaw(schema); err == nil {
		if text, err := raw.AppendJSON(nil, key); err == nil {
			return string(text)
		}
	}
	return hex.EncodeToString(key)
}

// rehash is the hash of a key as the exchange computes it.
func (s *Keyed[K]) rehash(key K) uint64 {
	if s.hashKey == nil {
		s.hashKey = serde.HashOf(s.codec)
	}
	return s.hashKey(key)
}

// gone reports whether w.e had expired and goes to a state that does not know: tables hold such entries until they are compacted.
func (w *rewrite[K]) gone(t *target[K]) bool {
	if w.e.ExpiresMS == 0 || t.m.life().ttlMS != 0 && !t.clock || t.old.EventTimeTTL && w.s.cfg.EventTime == nil {
		return false
	}
	return past(w.e.ExpiresMS, w.s.now(&lifetime{event: t.old.EventTimeTTL}))
}

// load hands w.e to its state.
func (w *rewrite[K]) load(t *target[K]) error {
	if w.e.Schema < 0 || w.e.Schema >= len(t.values) {
		return fmt.Errorf("%w: schema id %d of an entry; state %q has %d", errCorrupt, w.e.Schema, t.old.Name, len(t.values))
	}
	w.e.schema = t.values[w.e.Schema]
	if w.gone(t) {
		return nil
	}
	if t.clock {
		w.e.ExpiresMS = 0 // a stamp of another clock: the state gains its TTL now
	}
	d := t.m.descriptor()
	var err error
	if w.sink != nil && d.Kind != KindTimers {
		err = w.s.takeToStore(w.sink, t.m, &w.e)
	} else {
		err = t.m.load(&w.e)
	}
	if err != nil {
		return fmt.Errorf("restore %s state %q of key %s: %w", d.Kind, d.Name, showKey(d.Key, w.e.Key), err)
	}
	return nil
}
