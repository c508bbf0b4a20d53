package digest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// Sum is what is known of some rows.
type Sum struct {
	Digest uint64 // of the rows that are not taken back, modulo 2⁶⁴
	Count  int64  // of the rows that are not taken back
	Rows   int64  // that reached the sink, those that take others back included
}

// Add adds the row with the given hash.
func (s *Sum) Add(hash uint64) {
	s.Digest += hash
	s.Count++
	s.Rows++
}

// Retract takes the row with the given hash back.
func (s *Sum) Retract(hash uint64) {
	s.Digest -= hash
	s.Count--
	s.Rows++
}

// Plus is the sum over the rows of both.
func (s Sum) Plus(o Sum) Sum { return Sum{s.Digest + o.Digest, s.Count + o.Count, s.Rows + o.Rows} }

// String is the digest as SPEC.md prints it, 16 hexadecimal digits, and the count.
func (s Sum) String() string { return fmt.Sprintf("%016x of %d rows", s.Digest, s.Count) }

// Total takes the sums of all sinks that are given it. It is safe for use by several goroutines.
type Total struct {
	mu    sync.Mutex
	sums  map[string]Sum // by uid of the sink
	at    time.Time
	first time.Time
	late  *Latencies
}

// NewTotal is an empty total. With latencies sinks measure those of rows that know their cause; nil measures none.
func NewTotal(l *Latencies) *Total { return &Total{sums: map[string]Sum{}, late: l} }

// Sum is the sum of the rows that are committed, which are all rows once the job has ended.
func (t *Total) Sum() (all Sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sums {
		all = all.Plus(s)
	}
	return all
}

// At is when the last rows were committed; the zero time if none were.
func (t *Total) At() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// FirstRow is when the first row came; the zero time if none has.
func (t *Total) FirstRow() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first
}

func (t *Total) set(uid string, s Sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums[uid], t.at = s, time.Now()
}

func (t *Total) firstRow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first.IsZero() {
		t.first = time.Now()
	}
}

// state is what one writer holds at a checkpoint: the sum of all rows that it has taken since the beginning of the job, over all restarts.
type state struct {
	checkpoint int64
	sum        Sum
}

const stateBytes = 4 * 8

func (s state) encode() []byte {
	b := make([]byte, 0, stateBytes)
	for _, v := range []uint64{uint64(s.checkpoint), s.sum.Digest, uint64(s.sum.Count), uint64(s.sum.Rows)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func decode(b []byte) (state, error) {
	if len(b) != stateBytes {
		return state{}, fmt.Errorf("nexmark: the state of a digest has %d bytes, want %d", len(b), stateBytes)
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return state{int64(word(0)), Sum{word(1), int64(word(2)), int64(word(3))}}, nil
}

// sumOf is the sum of the newest checkpoint among the encoded states: those of older ones, which were given up, are in it.
func sumOf(states [][]byte) (all Sum, err error) {
	newest := int64(-1)
	for _, b := range states {
		s, err := decode(b)
		if err != nil {
			return Sum{}, err
		}
		if s.checkpoint > newest {
			newest, all = s.checkpoint, Sum{}
		}
		if s.checkpoint == newest {
			all = all.Plus(s.sum)
		}
	}
	return all, nil
}
