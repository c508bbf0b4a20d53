package connectortest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/connectors"
)

// Checkpoint is what the runtime keeps of a source at one barrier, with the output up to it. It may be started from any number of
// times.
type Checkpoint[T any] struct {
	ID         int64
	Enumerator []byte
	// Splits are those that readers held at the barrier, with their positions; Finished those that were read to the end in the
	// attempt.
	Splits   []connectors.Split
	Finished []string

	given   map[string]bool // every split ever handed over
	records []record[T]
	letters []letter
}

// Len is the number of records of output before the barrier.
func (c *Checkpoint[T]) Len() int { return len(c.records) }

// Checkpoint takes one: first the enumerator's snapshot, then the barrier goes to each reader. With a seed, readers go on working until it
// reaches them, and splits handed over in between arrive after it. Complete tells the readers afterwards.
func (j *Job[T]) Checkpoint(id int64) (*Checkpoint[T], error) {
	a := j.attempt
	state, err := a.enum.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("connectortest: enumerator snapshot: %w", err)
	}
	c := &Checkpoint[T]{ID: id, Enumerator: state, given: maps.Clone(a.given)}
	for _, r := range a.readers {
		r.barrier = true
	}
	cuts := make([]int, len(a.readers))
	for _, i := range j.order(len(a.readers)) {
		for range j.pick(3) {
			if _, err := j.Step(); err != nil {
				return nil, err
			}
		}
		if cuts[i], err = j.barrier(a, a.readers[i], c); err != nil {
			return nil, err
		}
	}
	// seq is -1 for what earlier attempts emitted: the subtask may not exist any more.
	for _, r := range j.records {
		if r.seq < 0 || r.seq < cuts[r.Subtask] {
			c.records = append(c.records, r)
		}
	}
	for _, l := range j.letters {
		if l.seq < 0 || l.seq < cuts[l.subtask] {
			c.letters = append(c.letters, l)
		}
	}
	return c, nil
}

// barrier snapshots one reader and lets in what waited behind the barrier.
func (j *Job[T]) barrier(a *attempt[T], r *reader[T], c *Checkpoint[T]) (cut int, err error) {
	splits, err := r.Snapshot()
	if err != nil {
		return 0, fmt.Errorf("connectortest: snapshot of subtask %d: %w", r.subtask, err)
	}
	seen := map[string]bool{}
	for _, s := range splits {
		if !r.held[s.ID] || seen[s.ID] {
			return 0, fmt.Errorf("connectortest: contract: snapshot of subtask %d holds split %q, which it does not hold or holds once", r.subtask, s.ID)
		}
		seen[s.ID] = true
		// The contract promises positions alone: an order of splits is not kept in a checkpoint.
		c.Splits = append(c.Splits, connectors.Split{ID: s.ID, Position: slices.Clone(s.Position)})
	}
	if len(seen) != len(r.held) {
		return 0, fmt.Errorf("connectortest: contract: snapshot of subtask %d holds %d splits, it was given %d", r.subtask, len(seen), len(r.held))
	}
	c.Finished = append(c.Finished, r.finished...)
	r.barrier = false
	queued := r.queued
	r.queued = nil
	for _, s := range queued {
		if err := j.give(a, s, r.subtask); err != nil {
			return 0, err
		}
	}
	return r.seq, nil
}

// Complete tells the readers that the checkpoint is durable.
func (j *Job[T]) Complete(c *Checkpoint[T]) {
	for _, r := range j.attempt.readers {
		r.CheckpointCompleted(c.ID)
	}
}
