// Package watermark makes, merges and aligns watermarks: Bounded and IdleTimer for one split, Multiplexer for the splits of a source subtask,
// Valve for the channels of one input, Combiner for the inputs of an operator, Group for sources that must not run ahead of each other. It is
// pure bookkeeping, without clock and goroutine.
package watermark

import "math"

const (
	// None is the watermark before the first one.
	None int64 = math.MinInt64
	// EndOfTime is the watermark after the last record of a bounded input.
	EndOfTime int64 = math.MaxInt64
)

// Merged is what comes out of a merge: first the watermark, then the idleness.
type Merged struct {
	// MS is the new watermark, if it Rose.
	MS   int64
	Rose bool
	// Idle is the new idleness, if it Changed.
	Idle, Changed bool
}
