package state

import (
	"encoding/binary"
	"fmt"
)

func (m *timerMember[K]) memory() int64 { return 0 }

func (m *timerMember[K]) number(id int, _ []string) error {
	m.desc.ID = id
	return nil
}

// evict implements tracked: timers stay in memory.
func (m *timerMember[K]) evict(int, *storeWriter) error { return nil }

// flip implements tracked.
func (m *timerMember[K]) flip() {
	if m.changed {
		m.image, m.changed = m.freezeTimers(), false
	}
}

// drain implements tracked.
func (m *timerMember[K]) drain(group int, _ *allowance) (done bool, err error) {
	im := m.image
	if im == nil {
		return true, nil
	}
	if im.build(); im.err != nil {
		return false, m.k.unwritable(im.err)
	}
	out := m.k.frozenRun(group)
	out.copy(ChangeDeleteRange, appendHead(nil, m.k.groups.Start+group, m.desc.ID), nil)
	if r := im.runs[group]; r != nil {
		var value []byte
		for _, e := range r.entries {
			value = appendValueHead(value[:0], valueHead{hash: e.hash})
			out.copy(ChangeSet, r.address(e), value)
		}
	}
	if group == len(im.runs)-1 {
		m.image = nil
	}
	return true, nil
}

// sweep implements tracked: what no store has is in the next delta.
func (m *timerMember[K]) sweep(int, *storeWriter, *allowance) (done bool, err error) {
	m.changed = true
	return true, nil
}

// attached implements tracked.
func (m *timerMember[K]) attached() error {
	for g := m.k.groups.Start; g < m.k.groups.End; g++ {
		lo := appendHead(nil, g, m.desc.ID)
		err := m.k.store.Scan(lo, after(nil, lo), func(address, value []byte) (bool, error) {
			head, _, err := cutValueHead(value)
			if err != nil {
				return false, err
			}
			raw, sub, err := cutEscaped(nil, address[addressHead:])
			if err != nil {
				return false, err
			}
			if len(sub) != timerSub || sub[0] >= byte(domains) {
				return false, fmt.Errorf("%w: timer sub key %x", errCorrupt, sub)
			}
			e := timer[K]{at: binary.BigEndian.Uint64(sub[1:]), hash: head.hash}
			if err := m.k.codec.Decode(raw, &e.key); err != nil {
				return false, fmt.Errorf("operator key: %w", err)
			}
			m.queues[sub[0]].register(e)
			return true, nil
		})
		if err != nil {
			return m.desc.failed("attach", err)
		}
	}
	return nil
}
