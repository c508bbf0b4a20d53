// Package connectortest drives sources and sinks through their contracts the way the runtime does, and checks that the contracts hold:
// discovery beside the hand-over of splits, polling, barriers that reach subtasks at different moments, crashes between any two
// steps, restores at another parallelism.
//
// Job drives one source and keeps its output as an exactly-once consumer would see it: what was emitted after the restored barrier
// is taken back. TestSource and TestSink are conformance suites over it. Nothing here sleeps or reads a clock beyond package time, so all
// of it runs inside testing/synctest as well as outside.
package connectortest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// Options of a Job. The zero value drives one subtask in a fixed order.
type Options struct {
	// UID of the source. Default "source".
	UID string
	// Parallelism is the number of readers. Default 1.
	Parallelism int
	// PollMax is the largest number of records asked of one Poll. Default 256.
	PollMax int
	// Seed other than 0 draws from it what the runtime does not promise: the order of subtasks, the size of each Poll, how late the
	// enumerator is told of a finished split, and when a barrier reaches each subtask.
	Seed uint64
	// Logger and Metrics are handed to the source. Default: none, and a registry for each attempt.
	Logger  *zap.Logger
	Metrics prometheus.Registerer
}

// Record is one record of the output with where it came from.
type Record[T any] struct {
	Value       T
	TimestampMS int64
	At          connectors.Coordinates
	Subtask     int
}

// Job drives one source. It is used by one goroutine.
type Job[T any] struct {
	source  connectors.Source[T]
	o       Options
	rng     *rand.Rand
	records []record[T]
	letters []letter
	attempt *attempt[T]
	starts  int
}

// record is an output record with its number within the subtask's attempt, by which a barrier cuts.
type record[T any] struct {
	Record[T]
	seq int
}

type letter struct {
	connectors.DeadLetter
	subtask, seq int
}

// attempt is the life of a job between a start and the next crash.
type attempt[T any] struct {
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	enum    connectors.Enumerator
	readers []*reader[T]
	owner   map[string]int // of each split held
	endedBy map[string]int // subtask that finished a split
	given   map[string]bool
	untold  []string // finished, the enumerator not yet told

	results     chan discovery
	discovering bool
	due         time.Time // of the next Discover; zero: never
	wake        chan struct{}
}

type discovery struct {
	next time.Duration
	err  error
}

// reader is one subtask.
type reader[T any] struct {
	connectors.Reader[T]
	subtask  int
	held     map[string]bool
	idle     map[string]bool
	finished []string
	ready    bool
	woken    chan struct{}
	seq      int // records and dead letters so far
	// barrier says that a barrier is on its way: splits handed over now arrive after it.
	barrier bool
	queued  []connectors.Split
}

// NewJob describes a job over the source; Start starts it.
func NewJob[T any](source connectors.Source[T], o Options) *Job[T] {
	if o.UID == "" {
		o.UID = "source"
	}
	o.Parallelism = max(o.Parallelism, 1)
	if o.PollMax <= 0 {
		o.PollMax = 256
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	j := &Job[T]{source: source, o: o}
	if o.Seed != 0 {
		j.rng = rand.New(rand.NewPCG(o.Seed, o.Seed^0x9e3779b97f4a7c15))
	}
	return j
}

// Start starts the job from a checkpoint, or afresh with nil. Output after the checkpoint's barrier is taken back. It fails when
// the job runs already.
func (j *Job[T]) Start(from *Checkpoint[T]) error {
	if j.attempt != nil {
		return errors.New("connectortest: the job runs already; Crash it first")
	}
	if err := j.source.Validate(); err != nil {
		return err
	}
	j.starts++
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt[T]{
		ctx: ctx, cancel: cancel, owner: map[string]int{}, endedBy: map[string]int{}, given: map[string]bool{},
		results: make(chan discovery, 1), wake: make(chan struct{}, 1), due: time.Now(),
	}
	j.attempt = a
	j.records, j.letters = nil, nil
	var state []byte
	if from != nil {
		j.records, j.letters = append(j.records, from.records...), append(j.letters, from.letters...)
		state, a.given = from.Enumerator, maps.Clone(from.given)
	}
	for i := range j.records {
		j.records[i].seq = -1
	}
	for i := range j.letters {
		j.letters[i].seq = -1
	}
	if err := j.open(a, state); err != nil {
		return errors.Join(err, j.Crash())
	}
	if from == nil {
		return nil
	}
	for _, id := range from.Finished {
		a.enum.Finished(id)
	}
	for _, s := range from.Splits {
		to := a.leastLoaded()
		if j.rng != nil {
			to = j.pick(len(a.readers))
		}
		if err := j.give(a, s, to); err != nil {
			return err
		}
	}
	return nil
}

// open makes the enumerator and the readers of an attempt.
func (j *Job[T]) open(a *attempt[T], state []byte) (err error) {
	var metrics prometheus.Registerer = prometheus.NewRegistry()
	if j.o.Metrics != nil {
		metrics = j.o.Metrics
	}
	labelled := func(subtask int) prometheus.Registerer {
		return prometheus.WrapRegistererWith(prometheus.Labels{"uid": j.o.UID, "subtask": fmt.Sprint(subtask)}, metrics)
	}
	c := connectors.Context{UID: j.o.UID, Parallelism: j.o.Parallelism, Logger: j.o.Logger, Metrics: labelled(0), Now: time.Now}
	if a.enum, err = j.source.NewEnumerator(c, state); err != nil {
		return fmt.Errorf("connectortest: new enumerator: %w", err)
	}
	for i := range j.o.Parallelism {
		c.Subtask = i
		c.Metrics = labelled(i)
		r, err := j.source.NewReader(c)
		if err != nil {
			return fmt.Errorf("connectortest: new reader of subtask %d: %w", i, err)
		}
		rd := &reader[T]{Reader: r, subtask: i, held: map[string]bool{}, idle: map[string]bool{}, ready: true, woken: make(chan struct{}, 1)}
		a.readers = append(a.readers, rd)
		a.tasks.Go(func() { a.forward(rd) })
	}
	return nil
}

// forward turns the token of one reader's channel into one for the whole job.
func (a *attempt[T]) forward(r *reader[T]) {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-r.Wake():
			ping(r.woken)
			ping(a.wake)
		}
	}
}

func ping(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Crash ends the attempt as a killed process would: nothing is snapshotted, nothing is told. The output stays as it is until the next
// Start. It does nothing when the job does not run.
func (j *Job[T]) Crash() error {
	a := j.attempt
	if a == nil {
		return nil
	}
	j.attempt = nil
	a.cancel()
	var errs []error
	for _, r := range a.readers {
		errs = append(errs, r.Close())
	}
	a.tasks.Wait()
	if a.enum != nil {
		errs = append(errs, a.enum.Close())
	}
	return errors.Join(errs...)
}

// Restart is Crash and then Start from the checkpoint with that many readers.
func (j *Job[T]) Restart(from *Checkpoint[T], parallelism int) error {
	err := j.Crash()
	j.o.Parallelism = parallelism
	return errors.Join(err, j.Start(from))
}

// Output is what an exactly-once consumer has now, in the order of emission. Owned by the caller.
func (j *Job[T]) Output() []Record[T] {
	out := make([]Record[T], len(j.records))
	for i, r := range j.records {
		out[i] = r.Record
	}
	return out
}

// Len is the number of records of Output.
func (j *Job[T]) Len() int { return len(j.records) }

// DeadLetters is what an exactly-once consumer of dead letters has now. Owned by the caller.
func (j *Job[T]) DeadLetters() []connectors.DeadLetter {
	out := make([]connectors.DeadLetter, len(j.letters))
	for i, l := range j.letters {
		out[i] = l.DeadLetter
	}
	return out
}

// Owners is the subtask of each split that a reader holds now. Owned by the caller.
func (j *Job[T]) Owners() map[string]int {
	out := map[string]int{}
	for id, i := range j.attempt.owner {
		out[id] = i
	}
	return out
}

// Idle reports whether the reader of the split has said that it has no data now and emitted nothing since.
func (j *Job[T]) Idle(split string) bool {
	i, held := j.attempt.owner[split]
	return held && j.attempt.readers[i].idle[split]
}

// Finished lists the splits finished in this attempt, in order.
func (j *Job[T]) Finished() []string {
	var out []string
	for _, r := range j.attempt.readers {
		out = append(out, r.finished...)
	}
	return out
}

// Done reports that the source is bounded, every split was handed over and read to its end.
func (j *Job[T]) Done() bool {
	a := j.attempt
	return len(a.owner) == 0 && len(a.untold) == 0 && !a.queued() && a.enum.Done()
}

// pick is a number in [0, n).
func (j *Job[T]) pick(n int) int {
	if j.rng == nil || n < 2 {
		return 0
	}
	return j.rng.IntN(n)
}
