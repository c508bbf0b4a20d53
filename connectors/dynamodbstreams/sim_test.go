package dynamodbstreams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors/connectortest"
)

// TestRandomHistories runs the source through random histories of a stream and of a job: splits, roll-overs, trims within the retention,
// inconsistent listings, empty pages, throttles, lost answers, crashes at any step, checkpoints with barriers on their way, other
// parallelisms. Every record must come once and in the order of its key. MILLRACE_HISTORIES sets their number, MILLRACE_SEED runs one.
func TestRandomHistories(t *testing.T) {
	first, n := uint64(1), 2000
	if testing.Short() {
		n = 200
	}
	if s := os.Getenv("MILLRACE_HISTORIES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("MILLRACE_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	var seen totals
	for seed := first; seed < first+uint64(n); seed++ {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(seed)
			defer h.j.Crash()
			if err := h.run(); err != nil {
				t.Fatalf("MILLRACE_SEED=%d: %v", seed, err)
			}
			seen.add(h)
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d histories: %+v", n, seen)
	if n >= 200 && (seen.restarts < n || seen.shards < 3*n || seen.trimmed == 0 || seen.faults < n) {
		t.Errorf("the histories are too tame: %+v", seen)
	}
}

// totals show that the histories held what they are made for.
type totals struct{ records, shards, restarts, checkpoints, faults, trimmed int }

func (s *totals) add(h *history) {
	h.st.mu.Lock()
	defer h.st.mu.Unlock()
	s.records += len(h.st.all)
	s.shards += h.shards
	s.restarts += h.restarts
	s.checkpoints += int(h.id)
	s.faults += h.faults
	s.trimmed += h.st.gone
}

type history struct {
	rng     *rand.Rand
	st      *model
	j       *connectortest.Job[row]
	poll    time.Duration
	trouble int // per cent of calls; guarded by st.mu, as is faults

	last     *connectortest.Checkpoint[row]
	rolledAt time.Time
	id       int64
	restarts int
	faults   int
	shards   int
}

func newHistory(seed uint64) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 7)), st: newModel(), rolledAt: time.Now()}
	r := h.rng
	h.poll = []time.Duration{250 * time.Millisecond, 5 * time.Minute}[r.IntN(2)]
	h.trouble = []int{0, 5, 40}[r.IntN(3)]
	h.st.pageSize = 1 + r.IntN(6)
	h.st.filter = []string{"", "ignored", "fails"}[r.IntN(3)]
	h.st.empties = r.IntN(3)
	// The model calls these with its lock held, from many goroutines: they have a source of numbers of their own.
	r2 := rand.New(rand.NewPCG(seed, 8))
	h.st.fault = func(call, _ string) error {
		if r2.IntN(100) >= h.trouble {
			return nil
		}
		h.faults++
		switch r2.IntN(4) {
		case 0:
			return failure("LimitExceededException")
		case 1:
			return failure("InternalServerError")
		case 2:
			if call == "GetRecords" {
				return failure("ExpiredIteratorException")
			}
		}
		return errors.New("dial tcp: connection refused")
	}
	h.st.lose = func(string) bool { return r2.IntN(200) < h.trouble }
	h.j = connectortest.NewJob(h.st.source(func(o *Options[row]) {
		o.PollInterval, o.DiscoveryInterval, o.FailAfter = h.poll, max(20*h.poll, time.Second), 100*time.Hour
		o.PageRecords, o.PageBuffer = 1+r.IntN(10), 1+r.IntN(3)
		if h.poll > time.Minute {
			o.PageRecords = 20 // else it would fall behind the retention
		}
	}), connectortest.Options{Seed: seed, Parallelism: 1 + r.IntN(4), PollMax: 1 + r.IntN(12)})
	return h
}

func (h *history) run() error {
	if err := h.j.Start(nil); err != nil {
		return err
	}
	if err := h.checkpoint(); err != nil {
		return err
	}
	for range 12 + h.rng.IntN(20) {
		if err := h.step(); err != nil {
			return err
		}
	}
	if err := h.catchUp(); err != nil {
		return err
	}
	if err := h.j.RunFor(5 * h.poll); err != nil {
		return err
	}
	var got []row
	for _, r := range h.j.Output() {
		got = append(got, r.Value)
	}
	return connectortest.Compare(got, h.st.all, rowID, rowKey)
}

// catchUp lets the job read to the end of the stream without trouble, and takes a checkpoint.
func (h *history) catchUp() error {
	set := func(trouble int) (before int) {
		h.st.mu.Lock()
		defer h.st.mu.Unlock()
		before, h.trouble = h.trouble, trouble
		clear(h.st.hidden)
		return before
	}
	defer set(set(0))
	ctx, cancel := context.WithTimeout(context.Background(), 12*time.Hour)
	defer cancel()
	err := h.j.Run(ctx, func() bool { return h.j.Len() >= len(h.st.all) && len(h.j.Owners()) == h.st.openShards() })
	if err != nil {
		return fmt.Errorf("%d of %d records, %d of %d shards: %w", h.j.Len(), len(h.st.all), len(h.j.Owners()), h.st.openShards(), err)
	}
	return h.checkpoint()
}

func (h *history) checkpoint() error {
	h.id++
	c, err := h.j.Checkpoint(h.id)
	if err != nil {
		return err
	}
	h.j.Complete(c)
	h.last = c
	return nil
}

// step does one thing to the stream or to the job. It runs in a synctest bubble.
func (h *history) step() error {
	r := h.rng
	// The job must come near the end within the retention, or it has lost data by the book; and shards roll over.
	if time.Since(h.rolledAt) > 5*time.Hour {
		if err := h.catchUp(); err != nil {
			return err
		}
		h.rolledAt = time.Now()
		h.st.rollOver()
	}
	switch r.IntN(9) {
	case 0, 1:
		for range r.IntN(40) {
			h.st.put(fmt.Sprintf("k%d", r.IntN(12)))
		}
	case 2:
		h.born(h.st.split(r.IntN(4), 1+r.IntN(3)))
	case 3:
		for range r.IntN(3) {
			h.born(h.st.split(r.IntN(4), 1))
		}
	case 4:
		return h.checkpoint()
	case 5:
		h.restarts++
		if err := h.j.Crash(); err != nil {
			return err
		}
		time.Sleep(h.poll * time.Duration(r.IntN(40)))
		return h.j.Restart(h.last, 1+r.IntN(5))
	case 6: // a quiet time
		return h.j.RunFor(h.poll * 60)
	default:
		return h.j.RunFor(h.poll * time.Duration(r.IntN(8)))
	}
	return nil
}

// born lets the listing leave a new shard out for a while.
func (h *history) born(ids []string) {
	h.st.mu.Lock()
	defer h.st.mu.Unlock()
	h.shards += len(ids)
	for _, id := range ids {
		if h.rng.IntN(3) == 0 {
			h.st.hidden[id] = h.rng.IntN(3)
		}
	}
}
