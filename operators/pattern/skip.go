package pattern

import "fmt"

type skipKind int

const (
	skipNone skipKind = iota
	skipToNext
	skipPastLast
	skipToFirst
	skipToLast
)

func (k skipKind) named() bool { return k == skipToFirst || k == skipToLast }

// SkipStrategy says which partial matches, and which complete ones that wait for earlier ones, are discarded when a match is passed on.
// The zero value is NoSkip. With any other, a match is held back until no partial match began before it.
// Source: Flink AfterMatchSkipStrategy.
type SkipStrategy struct {
	kind   skipKind
	stage  string
	onMiss bool
}

// NoSkip passes on every match.
func NoSkip() SkipStrategy { return SkipStrategy{} }

// SkipToNext discards every partial match that began with the same event as the match, or earlier.
func SkipToNext() SkipStrategy { return SkipStrategy{kind: skipToNext} }

// SkipPastLastEvent discards every partial match that began before the match ended.
func SkipPastLastEvent() SkipStrategy { return SkipStrategy{kind: skipPastLast} }

// SkipToFirst discards every partial match that began before the first event of the named stage. A match without an event of the stage
// discards nothing, unless FailOnMiss is set.
func SkipToFirst(stage string) SkipStrategy { return SkipStrategy{kind: skipToFirst, stage: stage} }

// SkipToLast discards every partial match that began before the last event of the named stage. A match without an event of the stage
// discards nothing, unless FailOnMiss is set.
func SkipToLast(stage string) SkipStrategy { return SkipStrategy{kind: skipToLast, stage: stage} }

// FailOnMiss has SkipToFirst and SkipToLast fail the task when a match has no event of the named stage, or when the event to skip to is
// the first of the match, where nothing would be skipped.
// Source: Flink throwExceptionOnMiss.
func (s SkipStrategy) FailOnMiss() SkipStrategy {
	s.onMiss = true
	return s
}

// String is the call that makes the strategy.
func (s SkipStrategy) String() string {
	switch s.kind {
	case skipToNext:
		return "SkipToNext()"
	case skipPastLast:
		return "SkipPastLastEvent()"
	case skipToFirst:
		return fmt.Sprintf("SkipToFirst(%q)", s.stage)
	case skipToLast:
		return fmt.Sprintf("SkipToLast(%q)", s.stage)
	}
	return "NoSkip()"
}
