package operators

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/state"
)

// WindowFunc is the builder of the function of windows over contents of type In: it declares state and the function. The build function
// runs once when the graph is checked and once per subtask.
// Source: Flink ProcessWindowFunction.
type WindowFunc[K comparable, In, Out any] struct {
	t       *Task
	s       *state.Keyed[K]
	ctx     *WindowCtx[K, Out]
	merges  bool
	onFire  func(c *WindowCtx[K, Out], v In) error
	onClear func(c *WindowCtx[K, Out]) error
	states  []windowState
}

// windowState is a state with an entry for each window.
type windowState interface {
	remove(w Window) error
	merge(into, from Window) error
}

// Value declares a state that holds one value of V per key, over all windows. It is kept when windows end.
func (f *WindowFunc[K, In, Out]) Value[V any](name string, opts ...state.Option) *state.Value[V] {
	return f.s.Value[V](name, opts...)
}

// List declares a state that holds a list of V per key, over all windows.
func (f *WindowFunc[K, In, Out]) List[V any](name string, opts ...state.Option) *state.List[V] {
	return f.s.List[V](name, opts...)
}

// Map declares a state that holds a map from MK to MV per key, over all windows.
func (f *WindowFunc[K, In, Out]) Map[MK comparable, MV any](name string, opts ...state.Option) *state.Map[MK, MV] {
	return f.s.Map[MK, MV](name, opts...)
}

// WindowValue declares a state that holds one value of V per key and window. It goes with the window's clean-up, not with a purge. When
// session windows merge, so do their values, by merge; other windows need none.
func (f *WindowFunc[K, In, Out]) WindowValue[V any](name string, merge func(a, b V) V, opts ...state.Option) *WindowValue[V] {
	if f.merges && merge == nil {
		f.t.Fault(fmt.Errorf("state %q of session windows needs a merge function: windows merge, and so must what they hold", name))
	}
	v := &WindowValue[V]{m: f.s.Map[Window, V](name, opts...), window: &f.ctx.id, join: merge}
	f.states = append(f.states, v)
	f.t.UserFuncs(merge)
	return v
}

// Side declares a side output and returns the function that emits to it.
func (f *WindowFunc[K, In, Out]) Side[S any](tag Tag[S]) func(S) error {
	out := SideOutput(f.t, tag)
	ctx := f.ctx.ctx
	return func(v S) error { return ctx.note(out(v)) }
}

// OnFire declares the function that is called with the contents of a window when it gives a result. v belongs to the window: it is valid
// during the call and must not be changed. An error fails the task.
func (f *WindowFunc[K, In, Out]) OnFire(fire func(c *WindowCtx[K, Out], v In) error) {
	f.onFire = fire
	f.t.UserFuncs(fire)
}

// OnClear declares the function that is called at the clean-up of a window, before its values are dropped.
func (f *WindowFunc[K, In, Out]) OnClear(clear func(c *WindowCtx[K, Out]) error) {
	f.onClear = clear
	f.t.UserFuncs(clear)
}

// Task is the operator's task, for what the builder does not offer.
func (f *WindowFunc[K, In, Out]) Task() *Task { return f.t }

// WindowValue is the handle of a state with one value for each key and window.
type WindowValue[V any] struct {
	m      *state.Map[Window, V]
	window *Window
	join   func(a, b V) V
}

// Get is the current window's value, or the zero value when there is none.
func (v *WindowValue[V]) Get() (V, error) {
	x, _, err := v.m.Get(*v.window)
	return x, err
}

// Lookup is the current window's value with true, or the zero value with false when there is none.
func (v *WindowValue[V]) Lookup() (V, bool, error) { return v.m.Get(*v.window) }

// Set makes x the current window's value.
func (v *WindowValue[V]) Set(x V) error { return v.m.Put(*v.window, x) }

// Clear removes the current window's value.
func (v *WindowValue[V]) Clear() error { return v.m.Remove(*v.window) }

func (v *WindowValue[V]) remove(w Window) error { return v.m.Remove(w) }

func (v *WindowValue[V]) merge(into, from Window) error {
	b, ok, err := v.m.Get(from)
	if err != nil || !ok {
		return err
	}
	a, ok, err := v.m.Get(into)
	if err != nil {
		return err
	}
	if ok {
		b = v.join(a, b)
	}
	if err := v.m.Put(into, b); err != nil {
		return err
	}
	return v.m.Remove(from)
}

// WindowCtx is what the function of a window sees. It is valid during the call.
type WindowCtx[K comparable, Out any] struct {
	ctx    *Ctx[K, Out]
	window Window
	id     Window // by which the window's state is known
}

// Key is the current key.
func (c *WindowCtx[K, Out]) Key() K { return c.ctx.key }

// Window is the current window.
func (c *WindowCtx[K, Out]) Window() Window { return c.window }

// Emit passes v on with the window's last ms as timestamp.
func (c *WindowCtx[K, Out]) Emit(v Out) error { return c.ctx.Emit(v) }

// WatermarkMS is the current watermark, Unix ms, or NoWatermark. Below Window.LastMS the result is an early one.
func (c *WindowCtx[K, Out]) WatermarkMS() int64 { return c.ctx.WatermarkMS() }

// Now is the wall clock.
func (c *WindowCtx[K, Out]) Now() time.Time { return c.ctx.Now() }
