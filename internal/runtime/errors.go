package runtime

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// TaskError says which step failed, in which subtask, and near which record of which source.
type TaskError struct {
	// UID is the step's uid, or its kind and place for a stateless step.
	UID     string
	Subtask int
	// At is where the current record came from: exact in a source's own chain, else the first record of the batch that was being
	// processed. Zero if there was none.
	At connectors.Coordinates
	// Err is the cause.
	Err error
	// Stack is the stack of a panic, empty for an error.
	Stack string
}

// Error names step, subtask, position and cause.
func (e *TaskError) Error() string {
	at := ""
	if e.At.Split != "" {
		at = fmt.Sprintf(", near record %v", e.At)
	}
	return fmt.Sprintf("millrace: step %q, subtask %d%s: %v", e.UID, e.Subtask, at, e.Err)
}

// Unwrap returns the cause.
func (e *TaskError) Unwrap() error { return e.Err }

// failIn wraps err with the place of o, unless it already has one.
func failIn(o *op, err error) error {
	var te *TaskError
	if err == nil || errors.As(err, &te) {
		return err
	}
	uid := o.node.Label()
	var step *operators.StepError
	if errors.As(err, &step) {
		uid = step.Step
	}
	return &TaskError{UID: uid, Subtask: o.task.Config().Subtask, At: o.task.Context().At, Err: err}
}

// panicked makes the error of a task whose goroutine panicked with v. The step is found by the user functions on the stack: the innermost
// frame that belongs to a function which a step of this task has declared. That costs nothing until something panics.
func (t *task) panicked(v any) error {
	cause, ok := v.(error)
	if !ok {
		cause = fmt.Errorf("%v", v)
	}
	e := &TaskError{UID: t.chain.name, Subtask: t.subtask, At: t.opctx.At, Err: fmt.Errorf("panic: %w", cause), Stack: string(debug.Stack())}
	if o := t.culprit(); o != nil {
		e.UID = o.node.Label()
	}
	return e
}

// panicError makes an error of what a goroutine panicked with.
func panicError(v any) error {
	if err, ok := v.(error); ok {
		return fmt.Errorf("millrace: panic: %w\n%s", err, debug.Stack())
	}
	return fmt.Errorf("millrace: panic: %v\n%s", v, debug.Stack())
}

// guarded calls f and turns a panic into an error, for goroutines that run a connector's or a store's code outside a task.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return f()
}

// culprit is the operator whose function is innermost on the panicking stack, nil if none is.
func (t *task) culprit() *op {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var names []string
	for {
		f, more := frames.Next()
		names = append(names, f.Function)
		if !more {
			return t.ownerOf(names)
		}
	}
}

// ownerOf is the operator of which a function stands first among the named ones, the innermost first; nil if none does.
func (t *task) ownerOf(frames []string) *op {
	owner := map[string]*op{}
	for _, o := range t.ops {
		for _, f := range o.hooks().UserFuncs {
			v := reflect.ValueOf(f)
			if v.Kind() != reflect.Func {
				continue
			}
			if fn := runtime.FuncForPC(v.Pointer()); fn != nil {
				// A method value is a wrapper that does not stand on the stack, the method does.
				owner[strings.TrimSuffix(fn.Name(), "-fm")] = o
			}
		}
	}
	for _, f := range frames {
		for name := f; name != ""; name = parentFunc(name) {
			if o := owner[name]; o != nil {
				return o
			}
		}
	}
	return nil
}

// parentFunc is the name of the function in which the named closure stands, "" for none.
func parentFunc(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || !strings.HasPrefix(name[i+1:], "func") && !strings.ContainsAny(name[i+1:i+2], "0123456789") {
		return ""
	}
	return name[:i]
}
