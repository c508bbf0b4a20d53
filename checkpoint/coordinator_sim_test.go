package checkpoint

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	simSeed      = flag.Uint64("sim.seed", 0, "replay one history of the coordinator simulator; 0 runs many")
	simHistories = flag.Int("sim.histories", 20000, "histories of the coordinator simulator")
)

// sim is a model of a job around one Coordinator at a time: it loses nothing but order. Messages wait in a bag; each step delivers
// one at random, sometimes twice, sometimes an old one again, sometimes with a fault. A failed attempt is followed by another one with
// a higher epoch. It checks the invariants with knowledge of its own: what was delivered, not what the coordinator believes.
type sim struct {
	rng *rand.Rand
	now time.Time
	log []string

	cfg   CoordinatorConfig
	c     *Coordinator
	bag   []Event // not yet delivered
	old   []Event // delivered, kept to be repeated later
	calm  bool    // no more faults: everything has to come to an end
	ended bool    // every task of this attempt has been told to end

	inFlight  int64 // id, 0 for none
	acked     map[TaskID]bool
	enums     map[string]bool
	expect    map[string][]string // committables by uid, of the checkpoint in flight, as acknowledged first
	durable   map[int64]bool      // ids whose Persisted without error was delivered in this attempt
	persisted map[int64]bool      // ids of this attempt for which Persist was returned
	lastID    int64               // newest id ever triggered in this attempt
	completed int64               // newest durable id of all attempts
	committed map[string]bool     // every committable ever committed
	made      map[string]bool     // committables acknowledged to a checkpoint that became durable, or that needs no storage
	commits   map[int64]int       // Commit actions by id in this attempt
	requests  int
	answers   map[int]int
	last      Trigger
	over      string // "", "finish" or "fail"
	failures  int
}

func TestCoordinatorSimulator(t *testing.T) {
	if *simSeed != 0 {
		s := newSim(*simSeed)
		err := s.run()
		for _, l := range s.log {
			t.Log(l)
		}
		if err != nil {
			t.Fatalf("seed %d: %v", *simSeed, err)
		}
		return
	}
	base := uint64(time.Now().UnixNano())
	var finished, failures, savepoints int
	for i := range *simHistories {
		seed := base + uint64(i)
		s := newSim(seed)
		if err := s.run(); err != nil {
			t.Fatalf("seed %d: %v; replay with -run TestCoordinatorSimulator -sim.seed=%d -v", seed, err, seed)
		}
		finished++
		failures += s.failures
		savepoints += s.requests
	}
	t.Logf("seeds %d…: %d histories, %d failed attempts, %d savepoints asked for", base, finished, failures, savepoints)
	if failures == 0 || savepoints == 0 {
		t.Fatal("the simulator has injected no faults or asked for no savepoints")
	}
}

func newSim(seed uint64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(0), committed: map[string]bool{}, made: map[string]bool{}, answers: map[int]int{}}
	s.cfg = CoordinatorConfig{Job: "sim", MaxParallelism: 8, Durable: s.rng.IntN(5) > 0, Retain: 2,
		MinPause: time.Duration(s.rng.IntN(3)) * time.Second, Timeout: time.Duration(s.rng.IntN(3)) * time.Minute}
	if s.cfg.Durable && s.rng.IntN(4) > 0 {
		s.cfg.Interval = time.Duration(1+s.rng.IntN(10)) * time.Second
	}
	for i := range 1 + s.rng.IntN(3) {
		op := OperatorInfo{UID: fmt.Sprintf("op%d", i), Parallelism: 1 + s.rng.IntN(3), Committer: s.rng.IntN(2) == 0, Enumerator: i == 0}
		s.cfg.Operators = append(s.cfg.Operators, op)
		for sub := range op.Parallelism {
			s.cfg.Tasks = append(s.cfg.Tasks, TaskID{Name: op.UID, Subtask: sub})
		}
	}
	s.rng.Shuffle(len(s.cfg.Operators), func(i, j int) {
		s.cfg.Operators[i], s.cfg.Operators[j] = s.cfg.Operators[j], s.cfg.Operators[i]
	})
	return s
}

func (s *sim) attempt() {
	s.cfg.Epoch++
	s.cfg.FirstID = s.completed + 1
	s.lastID, s.inFlight, s.over, s.ended = s.completed, 0, "", false
	s.durable, s.persisted, s.commits = map[int64]bool{}, map[int64]bool{}, map[int64]int{}
	// What the failed attempt left on its way stays on its way.
	s.old = append(s.old, s.bag...)
	s.bag = nil
	s.c = NewCoordinator(s.cfg, s.now)
}

func (s *sim) run() error {
	s.attempt()
	for step := 0; ; step++ {
		s.calm = step > 60
		if step > 600 {
			return errors.New("no end after 540 steps without faults")
		}
		if s.over == "finish" {
			break
		}
		if s.over == "fail" {
			s.failures++
			s.attempt()
		}
		if err := s.deliver(s.pick()); err != nil {
			return err
		}
	}
	return s.atEnd()
}

// pick chooses the next event.
func (s *sim) pick() Event {
	if s.calm && !s.ended {
		s.ended = true
		for _, task := range s.cfg.Tasks {
			s.bag = append(s.bag, InputEnded{Epoch: s.cfg.Epoch, Task: task})
		}
	}
	switch n := s.rng.IntN(20); {
	case n == 0 && len(s.old) > 0:
		return s.old[s.rng.IntN(len(s.old))]
	case n == 1 && !s.calm:
		s.requests++
		stop := s.rng.IntN(8) == 0
		return RequestSavepoint{Ref: s.requests, Stop: stop, Drain: stop && s.rng.IntN(2) == 0}
	case n == 2 && !s.calm:
		return InputEnded{Epoch: s.cfg.Epoch, Task: s.cfg.Tasks[s.rng.IntN(len(s.cfg.Tasks))]}
	case n == 3 && !s.calm && s.rng.IntN(4) == 0:
		return Declined{Epoch: s.cfg.Epoch, ID: s.lastID, Task: s.cfg.Tasks[0], Err: errors.New("declined")}
	case n < 14 && len(s.bag) > 0:
		i := s.rng.IntN(len(s.bag))
		ev := s.bag[i]
		s.bag = slices.Delete(s.bag, i, i+1)
		s.old = append(s.old, ev)
		return ev
	default:
		step := time.Duration(s.rng.IntN(4000)) * time.Millisecond
		if !s.calm && s.rng.IntN(30) == 0 {
			step = time.Hour
		}
		s.now = s.now.Add(step)
		return Tick{}
	}
}

// deliver stamps the event with the time, notes what it proves, and judges the actions.
func (s *sim) deliver(ev Event) error {
	now := s.now
	switch e := ev.(type) {
	case Tick:
		e.Now, ev = now, e
	case RequestSavepoint:
		e.Now, ev = now, e
	case InputEnded:
		e.Now, ev = now, e
	case Declined:
		e.Now, ev = now, e
	case EnumeratorState:
		e.Now, ev = now, e
		if e.Epoch == s.cfg.Epoch && e.ID == s.inFlight {
			s.enums[e.UID] = true
		}
	case Ack:
		e.Now, ev = now, e
		if e.Epoch == s.cfg.Epoch && e.ID == s.inFlight && !s.acked[e.Task] {
			s.acked[e.Task] = true
			for _, snap := range e.Snapshots {
				for _, c := range snap.Committables {
					s.expect[snap.UID] = append(s.expect[snap.UID], string(c))
				}
			}
		}
	case Persisted:
		e.Now, ev = now, e
		if e.Epoch == s.cfg.Epoch && s.persisted[e.ID] && e.Err == nil {
			s.durable[e.ID] = true
		}
	case Committed:
		e.Now, ev = now, e
	}
	s.log = append(s.log, fmt.Sprintf("%v %T%+v", now.Sub(time.UnixMilli(0)), ev, ev))
	was := s.over
	for _, a := range s.c.Step(ev) {
		s.log = append(s.log, fmt.Sprintf("    %T%+v", a, a))
		if _, answer := a.(SavepointDone); was != "" && !answer {
			return fmt.Errorf("%T after the end", a)
		}
		if s.over != was {
			return fmt.Errorf("%T after the last action", a)
		}
		if err := s.judge(a); err != nil {
			return err
		}
	}
	return nil
}

func (s *sim) judge(a Action) error {
	switch a := a.(type) {
	case Trigger:
		return s.triggered(a)
	case Persist:
		return s.persist(a)
	case Commit:
		return s.commit(a)
	case NotifyCompleted:
		if a.ID != s.lastID || s.cfg.Durable && !s.durable[a.ID] {
			return fmt.Errorf("notify of %d, which is not durable", a.ID)
		}
		if s.cfg.Durable {
			s.complete()
		}
	case SavepointDone:
		s.answers[a.Ref.(int)]++
		if a.Err != nil {
			break
		}
		if !s.durable[a.ID] || !s.last.Savepoint || a.ID != s.last.ID {
			return fmt.Errorf("savepoint %d is said to be done", a.ID)
		}
		s.inFlight = 0
	case Prune:
		s.inFlight = 0
	case Finish:
		s.over = "finish"
		if !s.last.Final && !s.last.Stop {
			return fmt.Errorf("finish after checkpoint %+v", s.last)
		}
	case Fail:
		s.over = "fail"
		if s.calm && !errors.Is(a.Err, errPersist) && !errors.Is(a.Err, errCommit) && s.cfg.Timeout == 0 {
			return fmt.Errorf("fails without a fault: %w", a.Err)
		}
	}
	return nil
}

func (s *sim) complete() {
	s.completed = max(s.completed, s.lastID)
	for _, cs := range s.expect {
		for _, c := range cs {
			s.made[c] = true
		}
	}
}

var errPersist, errCommit = errors.New("not stored"), errors.New("not committed")

func (s *sim) triggered(a Trigger) error {
	if s.inFlight != 0 {
		return fmt.Errorf("trigger of %d while %d is in flight", a.ID, s.inFlight)
	}
	if a.ID != s.lastID+1 {
		return fmt.Errorf("trigger of %d after %d", a.ID, s.lastID)
	}
	s.lastID, s.inFlight, s.last = a.ID, a.ID, a
	s.acked, s.enums, s.expect = map[TaskID]bool{}, map[string]bool{}, map[string][]string{}
	for _, op := range s.cfg.Operators {
		if op.Enumerator {
			s.bag = append(s.bag, EnumeratorState{Epoch: s.cfg.Epoch, ID: a.ID, UID: op.UID})
		}
		for sub := range op.Parallelism {
			snap := SubtaskSnapshot{UID: op.UID, Subtask: sub}
			for i := range s.rng.IntN(3) {
				if op.Committer {
					snap.Committables = append(snap.Committables, fmt.Appendf(nil, "%d/%d/%s/%d/%d", s.cfg.Epoch, a.ID, op.UID, sub, i))
				}
			}
			s.bag = append(s.bag, Ack{Epoch: s.cfg.Epoch, ID: a.ID, Task: TaskID{Name: op.UID, Subtask: sub}, Snapshots: []SubtaskSnapshot{snap}})
		}
	}
	return nil
}

// everything reports what the checkpoint in flight lacks.
func (s *sim) everything(id int64) error {
	if id != s.inFlight {
		return fmt.Errorf("%d goes on while %d is in flight", id, s.inFlight)
	}
	for _, task := range s.cfg.Tasks {
		if !s.acked[task] {
			return fmt.Errorf("%d goes on without %s", id, task)
		}
	}
	for _, op := range s.cfg.Operators {
		if op.Enumerator && !s.enums[op.UID] {
			return fmt.Errorf("%d goes on without the enumerator of %s", id, op.UID)
		}
	}
	return nil
}

func (s *sim) persist(a Persist) error {
	m := a.Manifest
	if err := s.everything(m.ID); err != nil {
		return err
	}
	if !s.cfg.Durable || s.persisted[m.ID] {
		return fmt.Errorf("persist of %d, which is not due", m.ID)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	for _, o := range m.Operators {
		if err := s.same(o.UID, o.Committables); err != nil {
			return err
		}
	}
	s.persisted[m.ID] = true
	var err error
	if !s.calm && s.rng.IntN(20) == 0 {
		err = errPersist
	}
	s.bag = append(s.bag, Persisted{Epoch: s.cfg.Epoch, ID: m.ID, Err: err})
	return nil
}

// same compares committables with what was acknowledged, in any order of subtasks.
func (s *sim) same(uid string, got [][]byte) error {
	var texts []string
	for _, c := range got {
		texts = append(texts, string(c))
	}
	want := slices.Clone(s.expect[uid])
	slices.Sort(texts)
	slices.Sort(want)
	if !slices.Equal(texts, want) {
		return fmt.Errorf("committables of %s are %v, want %v", uid, texts, want)
	}
	return nil
}

func (s *sim) commit(a Commit) error {
	if err := s.everything(a.ID); err != nil {
		return err
	}
	if s.cfg.Durable && !s.durable[a.ID] {
		return fmt.Errorf("commit of %d, which is not durable", a.ID)
	}
	if s.commits[a.ID]++; s.commits[a.ID] > 1 {
		return fmt.Errorf("second commit of %d in one attempt", a.ID)
	}
	if !s.cfg.Durable {
		s.complete()
	}
	n := 0
	for _, u := range a.Sinks {
		if err := s.same(u.UID, u.Committables); err != nil {
			return err
		}
		for _, c := range u.Committables {
			if n++; s.committed[string(c)] {
				return fmt.Errorf("committable %s is committed twice", c)
			}
			s.committed[string(c)] = true
		}
	}
	if want := len(slices.Concat(mapValues(s.expect)...)); n != want {
		return fmt.Errorf("commit of %d has %d committables, want %d", a.ID, n, want)
	}
	var err error
	if !s.calm && s.rng.IntN(20) == 0 {
		err = errCommit
	}
	s.bag = append(s.bag, Committed{Epoch: s.cfg.Epoch, ID: a.ID, Err: err})
	return nil
}

func mapValues(m map[string][]string) [][]string {
	var out [][]string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func (s *sim) atEnd() error {
	for n := 1; n <= s.requests; n++ {
		if s.answers[n] != 1 {
			return fmt.Errorf("savepoint request %d was answered %d times", n, s.answers[n])
		}
	}
	for c := range s.made {
		if !s.committed[c] {
			return fmt.Errorf("committable %s belongs to a completed checkpoint but was not committed", c)
		}
	}
	if at, ok := s.c.NextDeadline(); ok {
		return fmt.Errorf("deadline %v after the end", at)
	}
	return nil
}
