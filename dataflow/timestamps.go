package dataflow

import (
	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/operators"
)

// Timestamps assigns event time and emits watermarks, see operators.Timestamps. Call it directly on a source to have one watermark per split, so
// that splits may be read at different speeds. A split without records for a minute no longer holds the watermark back, unless
// operators.Watermarks says otherwise; Watermarks.WithAlignment holds back splits and sources that are far ahead of others.
func (s Stream[T]) Timestamps(w operators.Watermarks[T]) Stream[T] {
	s.g.check("timestamps", w.Validate)
	return s.Transform("", operators.Timestamps(w))
}

// SourceAlignment is the state of watermark alignment of one source subtask.
type SourceAlignment = runtime.Alignment

// Alignment is the state of every source subtask that is held together with others by Watermarks.WithAlignment: which splits are held back now,
// and how far the subtask is ahead. It is empty between two attempts of the job.
func (j *Job) Alignment() []SourceAlignment { return j.j.Alignments() }
