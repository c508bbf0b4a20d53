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
	simHistories = flag.Int("sim.histories", 5000, "histories of the coordinator simulator")
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

	flights   map[int64]*simFlight  // triggered, and neither done nor aborted
	prepared  map[TaskID][]Prepared // what each sink's task holds: all that it has prepared since the last completion that it knows
	durable   map[int64]bool        // ids whose Persisted without error was delivered in this attempt
	unstored  map[int64]bool        // ids whose Persisted with an error was delivered
	persisted map[int64]bool        // ids of this attempt for which Persist was returned
	lastID    int64                 // newest id ever triggered in this attempt
	notified  int64                 // newest id of this attempt that tasks were told of
	failed    int                   // checkpoints aborted for a fault since one was durable
	aborts    int
	overtaken int
	completed int64           // newest durable id of all attempts
	committed map[string]bool // every committable ever committed
	made      map[string]bool // committables of tasks that were prepared up to a checkpoint that became durable, or that needs no storage
	commits   map[int64]int   // Commit actions by id in this attempt
	requests  int
	answers   map[int]int
	over      string // "", "finish" or "fail"
	failures  int
}

// simFlight is a checkpoint in flight.
type simFlight struct {
	trigger Trigger
	acked   map[TaskID]bool
	enums   map[string]bool
	holds   map[string][]Prepared // by uid, of all subtasks: what was prepared up to this checkpoint in this attempt
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
	var finished, failures, savepoints, aborts, overtaken int
	for i := range *simHistories {
		seed := base + uint64(i)
		s := newSim(seed)
		if err := s.run(); err != nil {
			t.Fatalf("seed %d: %v; replay with -run TestCoordinatorSimulator -sim.seed=%d -v", seed, err, seed)
		}
		finished++
		failures += s.failures
		savepoints += s.requests
		aborts += s.aborts
		overtaken += s.overtaken
	}
	t.Logf("seeds %d…: %d histories, %d failed attempts, %d savepoints asked for, %d checkpoints aborted, %d subsumed", base, finished, failures, savepoints, aborts, overtaken)
	if failures == 0 || savepoints == 0 || aborts == 0 || overtaken == 0 {
		t.Fatal("the simulator has injected no faults, asked for no savepoints, or no checkpoint was aborted or subsumed")
	}
}

func newSim(seed uint64) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(0), committed: map[string]bool{}, made: map[string]bool{}, answers: map[int]int{}}
	s.cfg = CoordinatorConfig{Job: "sim", MaxParallelism: 8, Durable: s.rng.IntN(5) > 0, Retain: 2,
		MinPause: time.Duration(s.rng.IntN(3)) * time.Second, Timeout: time.Duration(s.rng.IntN(3)) * time.Minute,
		TolerableFailures: s.rng.IntN(3), MaxConcurrent: s.rng.IntN(4)}
	if s.cfg.MaxConcurrent > 1 {
		s.cfg.MinPause = 0
	}
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
	s.lastID, s.notified, s.failed, s.over, s.ended = s.completed, s.completed, 0, "", false
	s.durable, s.unstored, s.persisted, s.commits = map[int64]bool{}, map[int64]bool{}, map[int64]bool{}, map[int64]int{}
	s.flights, s.prepared = map[int64]*simFlight{}, map[TaskID][]Prepared{}
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
		return Declined{Epoch: s.cfg.Epoch, ID: s.lastID - int64(s.rng.IntN(2)), Task: s.cfg.Tasks[0], Err: errors.New("declined")}
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
		e.Now = now
		ev = e
	case RequestSavepoint:
		e.Now = now
		ev = e
	case InputEnded:
		e.Now = now
		ev = e
	case Declined:
		e.Now = now
		ev = e
	case EnumeratorState:
		e.Now = now
		ev = e
		if f := s.flights[e.ID]; e.Epoch == s.cfg.Epoch && f != nil {
			f.enums[e.UID] = true
		}
	case Ack:
		e.Now = now
		ev = e
		if f := s.flights[e.ID]; e.Epoch == s.cfg.Epoch && f != nil {
			f.acked[e.Task] = true
		}
	case Persisted:
		e.Now = now
		ev = e
		if e.Epoch == s.cfg.Epoch && s.persisted[e.ID] {
			s.durable[e.ID], s.unstored[e.ID] = e.Err == nil, e.Err != nil
		}
	case Committed:
		e.Now = now
		ev = e
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
	case Aborted:
		return s.aborted(a)
	case NotifyCompleted:
		if s.flights[a.ID] == nil || s.cfg.Durable && !s.durable[a.ID] || a.ID <= s.notified {
			return fmt.Errorf("notify of %d after %d", a.ID, s.notified)
		}
		s.notified, s.failed = a.ID, 0
		if s.cfg.Durable {
			s.complete(a.ID)
		}
	case SavepointDone:
		s.answers[a.Ref.(int)]++
		if f := s.flights[a.ID]; a.Err == nil && (f == nil || !s.durable[a.ID] || !f.trigger.Savepoint) {
			return fmt.Errorf("savepoint %d is said to be done", a.ID)
		}
	case Prune:
		return s.closed(s.notified)
	case Finish:
		s.over = "finish"
		if len(s.flights) > 1 || !s.cfg.Durable && s.closed(s.lastID) != nil {
			return fmt.Errorf("finish with %d checkpoints in flight", len(s.flights))
		}
	case Fail:
		s.over = "fail"
		if s.calm && !errors.Is(a.Err, errPersist) && !errors.Is(a.Err, errCommit) && s.cfg.Timeout == 0 {
			return fmt.Errorf("fails without a fault: %w", a.Err)
		}
	}
	return nil
}

// closed takes the checkpoint that was completed last out of the flights: its commits are done.
func (s *sim) closed(id int64) error {
	f := s.flights[id]
	if f == nil {
		return fmt.Errorf("%d is closed, which is not in flight", id)
	}
	delete(s.flights, id)
	for other := range s.flights {
		if other < id {
			return fmt.Errorf("%d is closed while %d before it is in flight", id, other)
		}
	}
	return nil
}

// aborted checks that the checkpoint may be given up. Nothing of it is lost: its tasks go on holding what they have prepared.
func (s *sim) aborted(a Aborted) error {
	f := s.flights[a.ID]
	if f == nil || s.persisted[a.ID] && !s.unstored[a.ID] || f.trigger.Stop {
		return fmt.Errorf("abort of %d, which cannot be given up", a.ID)
	}
	delete(s.flights, a.ID)
	if errors.Is(a.Err, ErrSubsumed) {
		s.overtaken++
		return nil
	}
	s.aborts++
	if !f.trigger.Savepoint {
		if s.failed++; s.failed > s.cfg.TolerableFailures {
			return fmt.Errorf("%d failures in a row are tolerated, at most %d should be", s.failed, s.cfg.TolerableFailures)
		}
	}
	return nil
}

// complete notes that checkpoint id is complete, and with it everything prepared up to it; the tasks hear of it, some of them late.
func (s *sim) complete(id int64) {
	s.completed = max(s.completed, id)
	for _, held := range s.flights[id].holds {
		for _, p := range held {
			for _, c := range p.Committables {
				s.made[string(c)] = true
			}
		}
	}
	for task, held := range s.prepared {
		if s.rng.IntN(3) > 0 {
			s.prepared[task] = slices.DeleteFunc(slices.Clone(held), func(p Prepared) bool { return p.ID <= id })
		}
	}
}

var errPersist, errCommit = errors.New("not stored"), errors.New("not committed")

func (s *sim) triggered(a Trigger) error {
	for _, f := range s.flights {
		if f.trigger.Savepoint || f.trigger.Final || a.Savepoint || a.Final || a.Stop {
			return fmt.Errorf("trigger of %+v beside %+v", a, f.trigger)
		}
	}
	if len(s.flights) >= max(s.cfg.MaxConcurrent, 1) {
		return fmt.Errorf("trigger of %d with %d checkpoints in flight", a.ID, len(s.flights))
	}
	if a.ID != s.lastID+1 {
		return fmt.Errorf("trigger of %d after %d", a.ID, s.lastID)
	}
	s.lastID = a.ID
	f := &simFlight{trigger: a, acked: map[TaskID]bool{}, enums: map[string]bool{}, holds: map[string][]Prepared{}}
	s.flights[a.ID] = f
	for _, op := range s.cfg.Operators {
		if op.Enumerator {
			s.bag = append(s.bag, EnumeratorState{Epoch: s.cfg.Epoch, ID: a.ID, UID: op.UID})
		}
		for sub := range op.Parallelism {
			s.prepare(f, op, TaskID{Name: op.UID, Subtask: sub})
		}
	}
	return nil
}

// prepare has one task take part in a checkpoint. Sometimes it prepares nothing, as if it had given the alignment up: then it prepares more
// at the next one. What it acknowledges may be on its way for long.
func (s *sim) prepare(f *simFlight, op OperatorInfo, task TaskID) {
	id := f.trigger.ID
	var cs [][]byte
	for i := range s.rng.IntN(3) {
		if op.Committer {
			cs = append(cs, fmt.Appendf(nil, "%d/%d/%s/%d/%d", s.cfg.Epoch, id, op.UID, task.Subtask, i))
		}
	}
	held := slices.Clone(s.prepared[task])
	if len(cs) > 0 {
		held = append(held, Prepared{ID: id, Committables: cs})
	}
	s.prepared[task] = held
	for _, p := range held {
		if p.ID > s.notified {
			f.holds[op.UID] = append(f.holds[op.UID], p)
		}
	}
	s.bag = append(s.bag, Ack{Epoch: s.cfg.Epoch, ID: id, Task: task, Snapshots: []SubtaskSnapshot{{UID: op.UID, Subtask: task.Subtask, Prepared: held}}})
}

// everything reports what the checkpoint lacks.
func (s *sim) everything(id int64) error {
	f := s.flights[id]
	if f == nil {
		return fmt.Errorf("%d goes on, which is not in flight", id)
	}
	for _, task := range s.cfg.Tasks {
		if !f.acked[task] {
			return fmt.Errorf("%d goes on without %s", id, task)
		}
	}
	for _, op := range s.cfg.Operators {
		if op.Enumerator && !f.enums[op.UID] {
			return fmt.Errorf("%d goes on without the enumerator of %s", id, op.UID)
		}
	}
	for other := range s.flights {
		if other < id {
			return fmt.Errorf("%d goes on before %d", id, other)
		}
	}
	return nil
}

func (s *sim) persist(a Persist) error {
	m := a.Manifest
	if err := s.everything(m.ID); err != nil {
		return err
	}
	if !s.cfg.Durable || s.persisted[m.ID] || m.ID <= s.completed {
		return fmt.Errorf("persist of %d, which is not due", m.ID)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	for _, o := range m.Operators {
		if err := s.same(m.ID, o.UID, o.Prepared(m.ID)); err != nil {
			return err
		}
	}
	s.persisted[m.ID] = true
	var err error
	if !s.calm && s.rng.IntN(20) == 0 {
		err = errPersist
		if s.rng.IntN(3) == 0 {
			err = fmt.Errorf("%w: %w", errPersist, ErrFenced)
		}
	}
	s.bag = append(s.bag, Persisted{Epoch: s.cfg.Epoch, ID: m.ID, Err: err})
	return nil
}

// same compares committables with what the tasks held and was not committed: by id, in any order of subtasks.
func (s *sim) same(id int64, uid string, got []Prepared) error {
	var texts, want []string
	last := int64(0)
	for _, p := range got {
		if p.ID <= last {
			return fmt.Errorf("committables of %s: those of %d after those of %d", uid, p.ID, last)
		}
		last = p.ID
		for _, c := range p.Committables {
			texts = append(texts, fmt.Sprint(p.ID, " ", string(c)))
		}
	}
	for _, p := range s.flights[id].holds[uid] {
		for _, c := range p.Committables {
			if !s.committed[string(c)] {
				want = append(want, fmt.Sprint(p.ID, " ", string(c)))
			}
		}
	}
	slices.Sort(texts)
	slices.Sort(want)
	if !slices.Equal(texts, want) {
		return fmt.Errorf("committables of %s in %d are %v, want %v", uid, id, texts, want)
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
		s.complete(a.ID)
	}
	sinks := map[string][]Prepared{}
	for _, u := range a.Sinks {
		sinks[u.UID] = u.Prepared
	}
	for _, op := range s.cfg.Operators {
		if err := s.same(a.ID, op.UID, sinks[op.UID]); err != nil {
			return err
		}
	}
	for _, u := range a.Sinks {
		for _, p := range u.Prepared {
			for _, c := range p.Committables {
				if s.committed[string(c)] {
					return fmt.Errorf("committable %s is committed twice", c)
				}
				s.committed[string(c)] = true
			}
		}
	}
	var err error
	if !s.calm && s.rng.IntN(20) == 0 {
		err = errCommit
	}
	s.bag = append(s.bag, Committed{Epoch: s.cfg.Epoch, ID: a.ID, Err: err})
	return nil
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
