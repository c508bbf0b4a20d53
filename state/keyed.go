package state

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// Config is what the keyed state of an operator needs to know beyond its declarations. The zero value works.
type Config struct {
	// MaxParallelism is the number of key groups of the job, 1…32768. Default DefaultMaxParallelism.
	MaxParallelism int
	// Now is the clock of TTL. Default time.Now.
	Now func() time.Time
	// EventTime is the clock of EventTimeTTL, both in Unix ms: the timestamp of the current record or timer, and the watermark, math.MinInt64
	// where there is none. The watermark must never go back. It is asked at each access to a state with EventTimeTTL and at no other. Needed
	// only where there is such a state.
	EventTime func() (timestampMS, watermarkMS int64)
}

// Keyed is the keyed state of one operator in one subtask. States are declared on it, then Open makes them usable, and from then on
// every access goes to the entry of the current key. It implements Operator. Only the task's goroutine uses it.
//
// Values are kept decoded. A value that holds slices, maps or pointers belongs to the state once it was set: it may be changed only
// between a Get and the Set of the same record, and must not be kept beyond the record.
type Keyed[K comparable] struct {
	key   K
	hash  uint64
	gen   uint64 // grows with every SetCurrent; 0 is never current
	group int    // of the current key, relative to the start of the range

	// clockMS is the wall clock of generation clockGen.
	clockMS  int64
	clockGen uint64

	codec serde.Serde[K]
	// keyReads decodes keys of other schemas while a restore rewrites them; keySteps are their migrations and keyFault what is wrong with these.
	keyReads resolver[K]
	keySteps []migration
	keyFault error
	hashKey  func(K) uint64 // made at the first use
	cfg      Config
	members  []member[K]
	// touchers are the members that Touch reaches; touched has no meaning.
	touchers []toucher
	mortals  []mortal // with time to live and clean-up
	touched  uint64
	names    map[string]bool
	errs     []error

	groups GroupRange
	span   uint
	opened bool
	above
}

// member is one declared state.
type member[K comparable] interface {
	descriptor() Descriptor
	// open makes the state empty and usable.
	open()
	// load takes one entry of a snapshot into the decoded tables.
	load(e *loaded[K]) error
	// recode turns an entry of a snapshot into the value for the store beneath. Only called when the state lives in a store.
	recode(e *loaded[K]) ([]byte, error)
	// freeze is the image of the decoded tables. Only called without a store.
	freeze() memberImage
	// number tells the member by what number and under which schemas its entries are stored; see Assign.
	number(id int, schemas []string) error
	cached[K]
	tracked
}

// memberImage is the image of one state.
type memberImage interface {
	// occupied reports whether the group (absolute) may have entries.
	occupied(group int) (bool, error)
	// emit hands the entries of one group (absolute) out in ascending order of their addresses.
	emit(group int, out *fileWriter) error
	release()
}

// NewKeyed is the keyed state of an operator whose keys are encoded by key; nil takes the codec that package serde derives. Faults
// are collected, see Err.
func NewKeyed[K comparable](key serde.Serde[K], c Config) *Keyed[K] {
	s := &Keyed[K]{cfg: c, names: map[string]bool{}, gen: 1}
	if s.cfg.MaxParallelism == 0 {
		s.cfg.MaxParallelism = DefaultMaxParallelism
	}
	if s.cfg.MaxParallelism < 0 || s.cfg.MaxParallelism > maxMaxParallelism {
		s.fault(fmt.Errorf("state: Config.MaxParallelism is %d, want 1…32768", c.MaxParallelism))
		s.cfg.MaxParallelism = DefaultMaxParallelism
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	var given any
	if key != nil {
		given = key
	}
	codec, err := pick[K](given, "operator key")
	if err != nil {
		s.fault(err)
	}
	s.codec, s.keyReads.codec = codec, codec
	return s
}

// SetCurrent makes key, with its hash, the one that all handles access until the next call. The hash decides the key group; the
// same key must always come with the same hash, in every process. The group must be one of those given to Open.
func (s *Keyed[K]) SetCurrent(key K, hash uint64) {
	g := GroupOf(hash, s.cfg.MaxParallelism) - s.groups.Start
	if uint(g) >= s.span {
		s.foreign(hash)
	}
	s.key, s.hash, s.group = key, hash, g
	s.gen++
}

func (s *Keyed[K]) foreign(hash uint64) {
	if !s.opened {
		panic("state: SetCurrent before Open")
	}
	panic(fmt.Sprintf("state: a record of key group %d came to the subtask of groups [%d,%d): the exchange and the state disagree on hash or max parallelism",
		GroupOf(hash, s.cfg.MaxParallelism), s.groups.Start, s.groups.End))
}

// CurrentKey is the key of the last SetCurrent.
func (s *Keyed[K]) CurrentKey() K { return s.key }

// Err is every fault of the declarations so far, joined; nil when there is none.
func (s *Keyed[K]) Err() error {
	if s.keyFault == nil {
		return errors.Join(s.errs...)
	}
	return errors.Join(errors.Join(s.errs...), fmt.Errorf("state: operator key: %w", s.keyFault))
}

// HashBy says how keys are hashed when a restore has to hash them anew. Default: serde.HashOf of the key codec, as for the exchange. It is
// called before Restore; hash need not be safe for use by several goroutines.
func (s *Keyed[K]) HashBy(hash func(K) uint64) { s.hashKey = hash }

func (s *Keyed[K]) fault(errs ...error) { s.errs = append(s.errs, errs...) }

// declare adds a state; make builds it from its id, descriptor and options.
func (s *Keyed[K]) declare(name string, kind Kind, opts []Option, make func(id int, d Descriptor, o *options) (member[K], error)) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	faults := o.check(name, kind)
	switch {
	case name == "":
		faults = append(faults, fmt.Errorf("state: a %s state has no name", kind))
	case s.names[name]:
		faults = append(faults, fmt.Errorf("state: the name %q is declared twice; names are unique within an operator", name))
	}
	if s.opened {
		faults = append(faults, fmt.Errorf("state: %s state %q is declared after Open", kind, name))
	}
	if o.eventTTL && s.cfg.EventTime == nil {
		faults = append(faults, fmt.Errorf("state: %s state %q has EventTimeTTL, but there is no event time: Config.EventTime is nil", kind, name))
	}
	if len(s.members) > math.MaxUint16 {
		faults = append(faults, fmt.Errorf("state: %s state %q is one too many, an operator has at most %d; use a map state", kind, name, math.MaxUint16+1))
	}
	s.names[name] = true
	d := Descriptor{Name: name, Kind: kind, TTL: o.ttl, EventTimeTTL: o.eventTTL}
	if s.codec != nil {
		d.Key = s.codec.Schema()
	}
	d.ID = len(s.members)
	m, err := make(len(s.members), d, &o)
	if err != nil {
		faults = append(faults, err)
	}
	s.fault(faults...)
	if len(faults) == 0 {
		s.members = append(s.members, m)
		if t, ok := m.(toucher); ok {
			s.touchers = append(s.touchers, t)
		}
		if t, ok := m.(mortal); ok && o.ttlSet && !o.kept {
			s.mortals = append(s.mortals, t)
		}
	}
}

// Descriptors are the declared states, sorted by name.
func (s *Keyed[K]) Descriptors() []Descriptor {
	ds := s.descriptors()
	slices.SortFunc(ds, func(a, b Descriptor) int { return compareStrings(a.Name, b.Name) })
	return ds
}

// descriptors are the declared states in the order of their ids.
func (s *Keyed[K]) descriptors() []Descriptor {
	ds := make([]Descriptor, len(s.members))
	for i, m := range s.members {
		ds[i] = m.descriptor()
		s.describeKey(&ds[i])
	}
	return ds
}

// describeKey notes in d which keys the operator can read.
func (s *Keyed[K]) describeKey(d *Descriptor) {
	if s.codec != nil {
		d.Reads.Key = s.keyReads.reading()
		d.Reads.HashedByEncoding = hashedByEncoding(reflect.TypeFor[K]().Kind())
	}
}

// Open makes the declared states usable and empty, for the key groups o.Groups, on backend b.
func (s *Keyed[K]) Open(b Backend, o OpenOptions) error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.opened {
		return fmt.Errorf("state: operator %q is opened twice", o.UID)
	}
	if g := o.Groups; g.Start < 0 || g.Start > g.End || g.End > s.cfg.MaxParallelism {
		return fmt.Errorf("state: operator %q opens key groups [%d,%d), want a range within [0,%d)", o.UID, g.Start, g.End, s.cfg.MaxParallelism)
	}
	if err := b.Validate(); err != nil {
		return err
	}
	s.uid, s.subtask, s.groups, s.span = o.UID, o.Subtask, o.Groups, uint(o.Groups.End-o.Groups.Start)
	store, err := b.Open(o)
	if err != nil {
		return fmt.Errorf("state: open the %s store of operator %q subtask %d: %w", b.Name(), o.UID, o.Subtask, err)
	}
	s.store, s.room, s.due = store, room{}, noneDue
	if store != nil {
		s.share = store.Budget().Share()
	}
	if err := s.begin(o); err != nil {
		return errors.Join(err, s.closeStore())
	}
	s.opened = true
	return nil
}

// begin makes everything ready above the store, if there is one.
func (s *Keyed[K]) begin(o OpenOptions) error {
	if err := s.number(o.States); err != nil {
		return err
	}
	tracking := s.store != nil && !o.NoSnapshots
	s.epochs.start(int(s.span), tracking)
	s.work, s.history, s.out = backgroundWork{}, nil, nil
	if tracking {
		limit := o.BaseLimit
		if limit == nil {
			limit = LimitTo(BaseBytesPerSecond)
		}
		s.history = newHistory(s.uid, s.subtask, s.groups, s.store, o.MaxDeltas, limit)
	}
	for _, m := range s.members {
		m.open()
	}
	return nil
}

// number gives the members the numbers and schemas of the given states; nil leaves them as they were declared.
func (s *Keyed[K]) number(states []Descriptor) error {
	if states == nil {
		return nil
	}
	for _, m := range s.members {
		d := m.descriptor()
		i := slices.IndexFunc(states, func(o Descriptor) bool { return o.Name == d.Name })
		if i < 0 {
			return fmt.Errorf("state: OpenOptions.States of operator %q lacks the state %q", s.uid, d.Name)
		}
		if err := m.number(states[i].ID, states[i].Schemas); err != nil {
			return fmt.Errorf("state: state %q of operator %q: %w", d.Name, s.uid, err)
		}
	}
	return nil
}

// Close frees the state. A snapshot on the memory backend that was not released yet stays readable; above a store its Write fails.
func (s *Keyed[K]) Close() error {
	if !s.opened {
		return nil
	}
	s.opened, s.span = false, 0
	var err error
	if s.history != nil {
		err = s.history.close()
		s.history = nil
	}
	return errors.Join(err, s.closeStore())
}

func (s *Keyed[K]) closeStore() error {
	store := s.store
	s.store = nil
	if store == nil {
		return nil
	}
	s.share.Close()
	if err := store.Close(); err != nil {
		return fmt.Errorf("state: close the store of operator %q subtask %d: %w", s.uid, s.subtask, err)
	}
	return nil
}
