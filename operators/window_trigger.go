package operators

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// TriggerResult is what a trigger decides.
type TriggerResult uint8

// The decisions of a trigger.
const (
	// Continue does nothing.
	Continue TriggerResult = 0
	// Fire gives the window's result. A window without contents gives none.
	Fire TriggerResult = 1
	// Purge drops the window's contents, not the trigger's state.
	Purge TriggerResult = 2
	// FireAndPurge is Fire, then Purge.
	FireAndPurge = Fire | Purge
)

// Trigger says when windows over records of T give results. Make one of one's own with NewTrigger. The zero value is the default: windows
// give their result when they are complete.
type Trigger[T any] struct {
	name   string
	merges bool
	fault  error
	host   triggerHost[T]
	funcs  []any
	// end is the domain at whose reaching of the window's end the trigger fires, if that is all that it does.
	end endTrigger
	// byWatermark says that the trigger waits for watermarks, whatever the windows.
	byWatermark bool
}

// endTrigger tells the triggers that the engine knows, as they need no state and no timers of their own.
type endTrigger uint8

const (
	notEnd endTrigger = iota
	endOfEventTime
	endOfProcessingTime
)

// TriggerFuncs are the functions of a trigger with a state S for each window. All may be nil. s is the state of the current window, the zero
// value of S at first; it may be changed and is kept until the window's clean-up. S needs a codec unless it is struct{}.
// Source: Flink Trigger.
type TriggerFuncs[T, S any] struct {
	// OnRecord is called for each record after it was added to the window.
	OnRecord func(c *TriggerCtx, s *S, v T) TriggerResult
	// OnEventTime is called when the watermark has reached an event-time timer of the window, Unix ms, and at the clean-up of an event-time window.
	// A timer that Clear does not delete may fire behind the clean-up, with nothing in the window.
	OnEventTime func(c *TriggerCtx, s *S, atMS int64) TriggerResult
	// OnProcessingTime is the same for the wall clock, and for windows of processing time.
	OnProcessingTime func(c *TriggerCtx, s *S, atMS int64) TriggerResult
	// Merge folds the state of a window into s, the state of a window that it is merged with. Session windows need it.
	Merge func(s, other *S)
	// OnMerge is called after the states of windows were merged; the window of c is the result. What timers it needs are registered here: those of
	// the windows that are no more do not fire, and OnRecord follows.
	OnMerge func(c *TriggerCtx, s *S)
	// Clear deletes the timers of the window: at its clean-up, and, with s as a new state, when it has been merged into another.
	Clear func(c *TriggerCtx, s *S)
}

// triggerHost is the functions of a trigger with the type of the state hidden.
type triggerHost[T any] interface {
	codec() (serde.Serde[triggerState], error) // nil: the trigger is without state
	fresh() triggerState
	// copyOf is a state that may be changed in place of s.
	copyOf(s triggerState) triggerState
	onRecord(c *TriggerCtx, s triggerState, v T) TriggerResult
	onTime(c *TriggerCtx, s triggerState, d state.Domain, atMS int64) TriggerResult
	merge(s, other triggerState)
	onMerge(c *TriggerCtx, s triggerState)
	clear(c *TriggerCtx, s triggerState)
}

// triggerState holds a *S.
type triggerState struct{ of any }

// NewTrigger makes a trigger of one's own. name is part of the name of its state: one that never changes.
func NewTrigger[T, S any](name string, f TriggerFuncs[T, S]) Trigger[T] {
	t := Trigger[T]{name: name, merges: f.Merge != nil, host: &triggerOf[T, S]{f: f},
		funcs: []any{f.OnRecord, f.OnEventTime, f.OnProcessingTime, f.Merge, f.OnMerge, f.Clear}}
	if name == "" {
		t.fault = errors.New("operators: a trigger has no name; its state is found by it")
	}
	return t
}

// TriggerCtx is what a trigger sees of the current window. It is valid during the call.
type TriggerCtx struct {
	window Window
	task   *Task
	timers windowTimer
	failed error
}

// windowTimer registers and deletes timers of the current key and a window.
type windowTimer interface {
	add(d state.Domain, atMS int64, w Window) error
	remove(d state.Domain, atMS int64, w Window) error
}

// Window is the current window.
func (c *TriggerCtx) Window() Window { return c.window }

// WatermarkMS is the current watermark, Unix ms, or NoWatermark.
func (c *TriggerCtx) WatermarkMS() int64 { return c.task.Watermark() }

// TimestampMS is the record's timestamp, Unix ms, or connectors.NoTimestamp; in OnRecord.
func (c *TriggerCtx) TimestampMS() int64 { return c.task.Context().TimestampMS }

// Now is the wall clock.
func (c *TriggerCtx) Now() time.Time { return c.task.Now() }

// EventTimer registers a timer of the window at atMS, Unix ms. The same time twice is one timer; one that the watermark has passed fires with
// the next watermark.
func (c *TriggerCtx) EventTimer(atMS int64) { c.note(c.timers.add(state.EventTime, atMS, c.window)) }

// DeleteEventTimer deletes the window's timer at atMS, if there is one.
func (c *TriggerCtx) DeleteEventTimer(atMS int64) {
	c.note(c.timers.remove(state.EventTime, atMS, c.window))
}

// ProcessingTimer is EventTimer for the wall clock.
func (c *TriggerCtx) ProcessingTimer(atMS int64) {
	c.note(c.timers.add(state.ProcessingTime, atMS, c.window))
}

// DeleteProcessingTimer is DeleteEventTimer for the wall clock.
func (c *TriggerCtx) DeleteProcessingTimer(atMS int64) {
	c.note(c.timers.remove(state.ProcessingTime, atMS, c.window))
}

// Fail fails the task with err, as a BadRecord the current record.
func (c *TriggerCtx) Fail(err error) { c.note(err) }

func (c *TriggerCtx) note(err error) {
	if c.failed == nil {
		c.failed = err
	}
}

// triggerOf implements triggerHost.
type triggerOf[T, S any] struct{ f TriggerFuncs[T, S] }

func (t *triggerOf[T, S]) codec() (serde.Serde[triggerState], error) {
	if _, none := any(new(S)).(*struct{}); none {
		return nil, nil
	}
	of, err := serde.For[S]()
	return triggerCodec[S]{of}, err
}

func (t *triggerOf[T, S]) fresh() triggerState { return triggerState{new(S)} }

func (t *triggerOf[T, S]) copyOf(s triggerState) triggerState {
	c := new(S)
	*c = *s.of.(*S)
	return triggerState{c}
}

func (t *triggerOf[T, S]) onRecord(c *TriggerCtx, s triggerState, v T) TriggerResult {
	if t.f.OnRecord == nil {
		return Continue
	}
	return t.f.OnRecord(c, s.of.(*S), v)
}

func (t *triggerOf[T, S]) onTime(c *TriggerCtx, s triggerState, d state.Domain, atMS int64) TriggerResult {
	f := t.f.OnEventTime
	if d == state.ProcessingTime {
		f = t.f.OnProcessingTime
	}
	if f == nil {
		return Continue
	}
	return f(c, s.of.(*S), atMS)
}

func (t *triggerOf[T, S]) merge(s, other triggerState) { t.f.Merge(s.of.(*S), other.of.(*S)) }

func (t *triggerOf[T, S]) onMerge(c *TriggerCtx, s triggerState) {
	if t.f.OnMerge != nil {
		t.f.OnMerge(c, s.of.(*S))
	}
}

func (t *triggerOf[T, S]) clear(c *TriggerCtx, s triggerState) {
	if t.f.Clear != nil {
		t.f.Clear(c, s.of.(*S))
	}
}

// triggerCodec encodes a *S as its S.
type triggerCodec[S any] struct{ of serde.Serde[S] }

// Append implements serde.Serde.
func (c triggerCodec[S]) Append(dst []byte, v triggerState) ([]byte, error) {
	return c.of.Append(dst, *v.of.(*S))
}

// Decode implements serde.Serde.
func (c triggerCodec[S]) Decode(src []byte, v *triggerState) error {
	s := new(S)
	v.of = s
	return c.of.Decode(src, s)
}

// Schema implements serde.Serde.
func (c triggerCodec[S]) Schema() string { return c.of.Schema() }

// timeoutState is the state of a trigger with a timeout: its own, and that of the trigger within.
type timeoutState struct {
	atMS  int64
	set   bool
	inner triggerState
}

// timeoutCodec encodes a *timeoutState. inner nil: the trigger within has no state.
type timeoutCodec struct{ inner serde.Serde[triggerState] }

// Append implements serde.Serde.
func (c timeoutCodec) Append(dst []byte, v triggerState) ([]byte, error) {
	s := v.of.(*timeoutState)
	if !s.set {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendVarint(append(dst, 2), s.atMS)
	}
	if c.inner == nil {
		return dst, nil
	}
	return c.inner.Append(dst, s.inner)
}

// Decode implements serde.Serde.
func (c timeoutCodec) Decode(src []byte, v *triggerState) error {
	s := &timeoutState{inner: triggerState{&struct{}{}}}
	v.of = s
	if len(src) == 0 || src[0] != 0 && src[0] != 2 {
		return fmt.Errorf("operators: the state of a trigger with timeout begins with % x", src[:min(1, len(src))])
	}
	s.set = src[0] == 2
	src = src[1:]
	if s.set {
		at, n := binary.Varint(src)
		if n <= 0 {
			return errors.New("operators: the state of a trigger with timeout is cut off")
		}
		s.atMS, src = at, src[n:]
	}
	if c.inner == nil {
		if len(src) > 0 {
			return fmt.Errorf("operators: %d bytes behind the state of a trigger with timeout", len(src))
		}
		return nil
	}
	return c.inner.Decode(src, &s.inner)
}

// Schema implements serde.Serde.
func (c timeoutCodec) Schema() string {
	inner := ""
	if c.inner != nil {
		inner = `,{"name":"inner","type":` + c.inner.Schema() + `}`
	}
	return `{"type":"record","name":"Timeout","fields":[{"name":"timeoutMS","type":["null","long"]}` + inner + `]}`
}
