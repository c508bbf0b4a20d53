package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Handle is a handle of a state that has something under each of its keys: *Value, *List, *Map, *Reducing and *Aggregating.
type Handle interface{ stateID() int }

// identified is what a handle knows of the state behind it, whose key type it has no name for.
type identified interface{ ident() int }

func (v *Value[T]) stateID() int          { return v.c.(identified).ident() }
func (r *Reducing[T]) stateID() int       { return r.c.(identified).ident() }
func (l *List[T]) stateID() int           { return l.l.(identified).ident() }
func (m *Map[MK, MV]) stateID() int       { return m.m.(identified).ident() }
func (a *Aggregating[A, R]) stateID() int { return a.a.(identified).ident() }

func (a *aggregator[In, Acc, Out]) ident() int { return a.c.(identified).ident() }

// listed is a member whose keys can be visited.
type listed[K comparable] interface {
	// decoded calls add for each key that the decoded table of the group (relative) knows; live says whether it may have something under it.
	decoded(group int, add func(key K, hash uint64, live bool))
	// present reports whether the current key has something under it.
	present() (bool, error)
}

// noGroup is the key group of no key: access to any state then panics.
const noGroup = -1

// NoCurrent says that no key is current. Access to a state before the next SetCurrent is a mistake of the caller and panics, instead of
// reaching the state of some other key.
func (s *Keyed[K]) NoCurrent() {
	s.group = noGroup
	s.gen++
}

// EachKey makes each key that has something in the state of h current, one after the other, and calls fn with it and its hash, until fn fails; that error is
// returned. Afterwards no key is current. Keys come by key group, within it in the order of their encoding. fn may change the states of its
// key; keys that it adds to others are not visited. What has expired does not count, and a visit is a read to a TTL that reads renew. It reads the whole state: for rare
// occasions. Memory: the keys of one key group at a time.
// Source: Flink KeyedStateBackend.applyToAllKeys.
func (s *Keyed[K]) EachKey(h Handle, fn func(key K, hash uint64) error) error {
	id := h.stateID()
	if id >= len(s.members) {
		return errors.New("state: EachKey with a state of another operator")
	}
	m, ok := s.members[id].(listed[K])
	if !ok {
		return fmt.Errorf("state: EachKey cannot list the keys of %s state %q", s.members[id].descriptor().Kind, s.members[id].descriptor().Name)
	}
	defer s.NoCurrent()
	for group := range int(s.span) {
		keys, err := s.keysOf(m, s.members[id].descriptor().ID, group)
		if err != nil {
			d := s.members[id].descriptor()
			return d.failed("list the keys of", err)
		}
		for _, k := range keys {
			s.SetCurrent(k.key, k.hash)
			some, err := m.present()
			if err != nil {
				return err
			}
			if !some {
				continue
			}
			if err := fn(k.key, k.hash); err != nil {
				return err
			}
		}
	}
	return nil
}

// addressedKey is a key with the address that its entries begin with.
type addressedKey[K comparable] struct {
	address []byte
	key     K
	hash    uint64
}

// keysOf are the keys of a state in one group (relative) that may have something under them, in the order of their addresses.
func (s *Keyed[K]) keysOf(m listed[K], id, group int) ([]addressedKey[K], error) {
	var keys []addressedKey[K]
	var failed error
	m.decoded(group, func(key K, hash uint64, live bool) {
		if !live {
			return // if the store still has it, present will say that it is gone
		}
		address, err := s.appendAddress(nil, s.groups.Start+group, id, key)
		if err != nil {
			failed = err
		}
		keys = append(keys, addressedKey[K]{address, key, hash})
	})
	if failed != nil {
		return nil, failed
	}
	if s.store != nil {
		stored, err := s.storedKeys(id, s.groups.Start+group)
		if err != nil {
			return nil, err
		}
		keys = append(keys, stored...)
	}
	slices.SortFunc(keys, func(a, b addressedKey[K]) int { return bytes.Compare(a.address, b.address) })
	return slices.CompactFunc(keys, func(a, b addressedKey[K]) bool { return bytes.Equal(a.address, b.address) }), nil
}

// storedKeys are the keys of a state that the store has in one group (absolute).
func (s *Keyed[K]) storedKeys(id, group int) ([]addressedKey[K], error) {
	var keys []addressedKey[K]
	lo := appendHead(nil, group, id)
	var raw []byte
	err := s.store.Scan(lo, after(nil, lo), func(address, value []byte) (bool, error) {
		if n := len(keys); n > 0 && bytes.HasPrefix(address, keys[n-1].address) {
			return true, nil // a further entry of the same key
		}
		var rest []byte
		var err error
		if raw, rest, err = cutEscaped(raw[:0], address[addressHead:]); err != nil {
			return false, err
		}
		head, _, err := cutValueHead(value)
		if err != nil {
			return false, err
		}
		k := addressedKey[K]{address: bytes.Clone(address[:len(address)-len(rest)]), hash: head.hash}
		if err := s.codec.Decode(raw, &k.key); err != nil {
			return false, fmt.Errorf("operator key: %w", err)
		}
		keys = append(keys, k)
		return true, nil
	})
	return keys, err
}

// eachSlot implements the part of listed that all tables share.
func (t *table[K, V]) eachSlot(group int, add func(key K, hash uint64, live bool)) {
	slots := t.groups[group].slots
	for i := range slots {
		if s := &slots[i]; s.meta != 0 {
			add(s.key, s.hash, s.meta&metaAbsent == 0)
		}
	}
}

func (c *cells[K, V]) decoded(group int, add func(key K, hash uint64, live bool)) {
	c.eachSlot(group, add)
}

func (t *objects[K, O]) decoded(group int, add func(key K, hash uint64, live bool)) {
	t.eachSlot(group, add)
}

func (c *cells[K, V]) present() (bool, error) {
	_, ok, err := c.get()
	return ok, err
}

func (m *maps[K, MK, MV]) present() (bool, error) {
	n, err := m.count()
	return n > 0, err
}

func (l *lists[K, T]) present() (bool, error) {
	n, err := l.count()
	return n > 0, err
}
