package dataflow

import (
	"github.com/millrace-io/millrace/internal/runtime"
)

// partition is how a stream is given to the subtasks of the next step; the zero value leaves it to the step.
type partition struct {
	name  string // of the method, for messages
	kind  runtime.EdgeKind
	types runtime.EdgeTypes
}

// partitioned returns the stream for the next step to take in this way.
func (s Stream[T]) partitioned(p partition) Stream[T] {
	if s.part.name != "" {
		s.g.fault("%s behind %s of step %q: a stream is partitioned in one way; remove the first", p.name, s.part.name, s.node.Label())
	}
	s.part = p
	return s
}

// unpartitioned refuses what concerns the step that made the stream, and not the way to the next one.
func (s Stream[T]) unpartitioned(what string) {
	if s.part.name != "" {
		s.g.fault("%s behind %s of step %q: it concerns the step before; call it before %[2]s", what, s.part.name, s.node.Label())
	}
}

// Rebalance deals the records out to the subtasks of the next step in turn, one record to each: an even load whatever the senders' is. Without it a step
// of the same parallelism takes the records of its own subtask without an exchange, and one of another parallelism takes them in turn, a batch at a
// time. Records of one key do not stay together, and there is no order between subtasks.
//
// Source: Flink RebalancePartitioner.
func (s Stream[T]) Rebalance() Stream[T] {
	return s.partitioned(partition{"Rebalance", runtime.RoundRobin, runtime.TurnTypes[T]{}})
}

// Rescale deals the records out in turn within groups: each subtask of the side with fewer of them belongs to a run of neighbours of the other side. 2
// subtasks send to 2 of 4 each; of 6, 3 each send to one of 2. A subtask hears its group alone, so watermarks and barriers of others do not
// hold it up; the load is even only if the groups' is.
//
// Source: Flink RescalePartitioner, with the pattern POINTWISE.
func (s Stream[T]) Rescale() Stream[T] {
	return s.partitioned(partition{"Rescale", runtime.Local, runtime.TurnTypes[T]{}})
}

// Broadcast sends each record to every subtask of the next step. For a step that keeps broadcast state beside another input, see ConnectBroadcast.
//
// Source: Flink BroadcastPartitioner.
func (s Stream[T]) Broadcast() Stream[T] {
	return s.partitioned(partition{"Broadcast", runtime.Broadcast, runtime.BroadcastTypes[T]{}})
}

// Global sends all records to subtask 0 of the next step. The other subtasks get watermarks and barriers only.
//
// Source: Flink GlobalPartitioner.
func (s Stream[T]) Global() Stream[T] {
	return s.partitioned(partition{"Global", runtime.Global, runtime.GlobalTypes[T]{}})
}

// Shuffle sends each record to a subtask of the next step drawn at random. Each sender draws from seed and its own number, the same in every run.
//
// Source: Flink ShufflePartitioner.
func (s Stream[T]) Shuffle(seed uint64) Stream[T] {
	return s.partitioned(partition{"Shuffle", runtime.Random, runtime.RandomTypes[T]{Seed: seed}})
}

// PartitionBy sends each record v to the subtask pick(v, n) of the next step, which has n of them. A result outside of [0, n) fails the job. pick is pure:
// it is called by several goroutines at once. State by key needs KeyBy: what pick says binds no state to a subtask, and n changes when the job is
// rescaled.
//
// Source: Flink CustomPartitionerWrapper.
func (s Stream[T]) PartitionBy(pick func(v T, n int) int) Stream[T] {
	if pick == nil {
		s.g.fault("PartitionBy of step %q has no function", s.node.Label())
	}
	return s.partitioned(partition{"PartitionBy", runtime.Custom, runtime.CustomTypes[T]{Pick: pick}})
}
