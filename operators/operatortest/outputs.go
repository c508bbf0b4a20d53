package operatortest

import (
	"fmt"
	"reflect"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// Kind is what an Element is.
type Kind string

// The kinds of elements.
const (
	Record    Kind = "record"
	Watermark Kind = "watermark"
	Idle      Kind = "idle"
	Active    Kind = "active"
)

// Element is one element of an output: a record or a control element.
type Element[T any] struct {
	Kind Kind
	// Value of a record.
	Value T
	// TimestampMS of a record or watermark, Unix ms. connectors.NoTimestamp for a record without, 0 for Idle and Active.
	TimestampMS int64
}

// String is "value@timestamp", "watermark timestamp" or the kind.
func (e Element[T]) String() string {
	ts := fmt.Sprint(e.TimestampMS)
	switch e.TimestampMS {
	case connectors.NoTimestamp:
		ts = "none"
	case operators.EndOfTime:
		ts = "end"
	}
	switch e.Kind {
	case Record:
		return fmt.Sprintf("%v@%s", e.Value, ts)
	case Watermark:
		return "watermark " + ts
	}
	return string(e.Kind)
}

// Outputs are the elements of the main output since the last call of Outputs or Records, in order.
func (h *Harness[In, Out]) Outputs() []Element[Out] {
	h.t.Helper()
	h.Wake()
	out := h.out
	h.out = nil
	return out
}

// Records are the values of the records among Outputs; the control elements are forgotten.
func (h *Harness[In, Out]) Records() []Out {
	var out []Out
	for _, e := range h.Outputs() {
		if e.Kind == Record {
			out = append(out, e.Value)
		}
	}
	return out
}

// SideOutput are the records of the side output tag since the last call with that tag.
func (h *Harness[In, Out]) SideOutput[S any](tag operators.Tag[S]) []Element[S] {
	h.t.Helper()
	h.Wake()
	var out []Element[S]
	for _, e := range h.side[tag.Name()] {
		v, ok := e.value.(S)
		if !ok && e.value != nil {
			h.t.Helper()
			h.t.Fatalf("side output %q has records of type %T, the tag is of %v", tag.Name(), e.value, reflect.TypeFor[S]())
		}
		out = append(out, Element[S]{Kind: Record, Value: v, TimestampMS: e.timestampMS})
	}
	delete(h.side, tag.Name())
	return out
}

// DeadLetters are the records refused since the last call. It needs Options.DeadLetters.
func (h *Harness[In, Out]) DeadLetters() []connectors.DeadLetter {
	var out []connectors.DeadLetter
	for _, e := range h.SideOutput(operators.DeadLetters) {
		out = append(out, e.Value)
	}
	return out
}

type sideElement struct {
	value       any
	timestampMS int64
}

func (h *Harness[In, Out]) emit(v Out) error {
	if !h.o.Discard {
		h.out = append(h.out, Element[Out]{Kind: Record, Value: v, TimestampMS: h.ctx.TimestampMS})
	}
	return nil
}

func (h *Harness[In, Out]) emitWatermark(ms int64) error {
	if !h.o.Discard {
		h.out = append(h.out, Element[Out]{Kind: Watermark, TimestampMS: ms})
	}
	return nil
}

func (h *Harness[In, Out]) emitIdle(idle bool) error {
	kind := Active
	if idle {
		kind = Idle
	}
	if !h.o.Discard {
		h.out = append(h.out, Element[Out]{Kind: kind})
	}
	return nil
}

// sidePush makes a func(S) error for the type S that is known as a reflect.Type only.
func (h *Harness[In, Out]) sidePush(name string, typ reflect.Type) any {
	errType := reflect.TypeFor[error]()
	fn := reflect.FuncOf([]reflect.Type{typ}, []reflect.Type{errType}, false)
	return reflect.MakeFunc(fn, func(args []reflect.Value) []reflect.Value {
		if !h.o.Discard {
			h.side[name] = append(h.side[name], sideElement{args[0].Interface(), h.ctx.TimestampMS})
		}
		return []reflect.Value{reflect.Zero(errType)}
	}).Interface()
}
