package runtime

import (
	"errors"
	"slices"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/dataflow/why"
)

// status is how the job stands as a whole; guarded by Job.mu.
type status struct {
	phase      why.Phase
	since      time.Time
	next       time.Time // the next attempt begins
	failures   int
	last       error
	lastAt     time.Time
	checkpoint time.Time // when the last was completed
}

func (j *Job) notePhase(p why.Phase) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.phase, j.status.since = p, time.Now()
}

// noteFailure notes that an attempt has failed and that the next one waits for delay.
func (j *Job) noteFailure(err error, failures int, delay time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	s := &j.status
	s.phase, s.since, s.next, s.failures, s.last, s.lastAt = why.BackingOff, now, now.Add(delay), failures, err, now
}

func (j *Job) noteCheckpoint() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status.checkpoint, j.status.failures = time.Now(), 0
}

func (j *Job) noteEnd(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.status
	s.phase, s.since = why.Ended, time.Now()
	if err != nil {
		s.last, s.lastAt = err, s.since
	}
}

// facts is the state of the job as a whole.
func (j *Job) facts() why.Job {
	n, _ := j.Completed()
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &j.status
	f := why.Job{Name: j.plan.Name, Phase: s.phase, Since: s.since, Restarts: j.restarts, Failures: s.failures, LastFailureAt: s.lastAt,
		Checkpoints: n, LastCheckpointAt: s.checkpoint}
	if s.phase == why.BackingOff {
		f.Next = s.next
	}
	if j.cfg.Checkpoint.Storage != nil {
		f.CheckpointEvery = j.cfg.Checkpoint.Interval
	}
	if s.last != nil {
		f.LastFailure = s.last.Error()
		var te *TaskError
		if errors.As(s.last, &te) {
			f.LastFailureStep = te.UID
		}
	}
	return f
}

// progress is how far the checkpoints in progress have come; the job's goroutine only.
type progress struct{ flights []*flightProgress }

// flightProgress is that of one checkpoint.
type flightProgress struct {
	id      int64
	began   time.Time
	state   why.CheckpointState // empty: it is over
	missing map[checkpoint.TaskID]bool
	sinks   []string
}

func (p *progress) begin(id int64, tasks []*task) {
	f := &flightProgress{id: id, began: time.Now(), state: why.Collecting, missing: map[checkpoint.TaskID]bool{}}
	for _, t := range tasks {
		f.missing[t.id()] = true
	}
	p.flights = append(slices.DeleteFunc(p.flights, func(f *flightProgress) bool { return f.state == "" }), f)
}

func (p *progress) acked(ev ackEvent) {
	for _, f := range p.flights {
		if f.id == ev.id {
			delete(f.missing, ev.task)
		}
	}
}

func (p *progress) to(id int64, s why.CheckpointState, sinks []checkpoint.UIDCommittables) {
	for _, f := range p.flights {
		if f.id != id {
			continue
		}
		f.state, f.sinks = s, nil
		for _, s := range sinks {
			f.sinks = append(f.sinks, s.UID)
		}
	}
}

func (p *progress) end(id int64) { p.to(id, "", nil) }

// attemptFacts are what the job's goroutine tells.
type attemptFacts struct{ checkpoint *why.Checkpoint }

// facts tells of the oldest checkpoint in progress: those after it wait for it, or overtake it soon.
func (a *attempt) facts() attemptFacts {
	i := slices.IndexFunc(a.progress.flights, func(f *flightProgress) bool { return f.state != "" })
	if i < 0 {
		return attemptFacts{}
	}
	f := a.progress.flights[i]
	c := &why.Checkpoint{ID: f.id, Began: f.began, State: f.state, Committing: slices.Clone(f.sinks)}
	if f.state == why.Collecting {
		for _, t := range a.tasks {
			if id := t.id(); f.missing[id] {
				c.Missing = append(c.Missing, why.Place{Step: id.Name, Subtask: id.Subtask})
			}
		}
	}
	return attemptFacts{c}
}
