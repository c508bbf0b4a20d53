package operators

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/millrace-io/millrace/connectors"
)

// Tag names a side output and carries the type of its records.
type Tag[S any] struct{ name string }

// NewTag makes the tag of a side output. The name is unique within the step that emits to it.
func NewTag[S any](name string) Tag[S] { return Tag[S]{name} }

// Name is the name given to NewTag.
func (g Tag[S]) Name() string { return g.name }

// DeadLetters is the tag of the side output that every step has for records it cannot process.
var DeadLetters = NewTag[connectors.DeadLetter](DeadLetterPort)

// SideOutput declares the side output tag on t and returns the function that emits to it. Records for a side output that the graph does not
// consume are dropped, as a main output without consumer drops them.
func SideOutput[S any](t *Task, tag Tag[S]) func(S) error {
	typ := reflect.TypeFor[S]()
	if tag.name == "" {
		t.Fault(errors.New("a side output has no name; make its tag with NewTag and a name"))
	}
	if have, ok := t.ports[tag.name]; ok && have != typ {
		t.Fault(fmt.Errorf("side output %q is declared with type %v and with type %v; give one of them another name", tag.name, have, typ))
	}
	t.ports[tag.name] = typ
	if out, ok := t.cfg.Side[tag.name].(func(S) error); ok {
		return out
	}
	return func(S) error { return nil }
}
