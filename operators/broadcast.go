package operators

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// BroadcastState is a map that every subtask holds whole: rules, settings, a small table. Every subtask takes all records of the broadcast
// input and writes the same; the other input reads. It is kept decoded, in memory on every backend. Its entries are kept until they are
// removed or their TTL ends.
type BroadcastState[MK comparable, MV any] struct{ m *state.Map[MK, MV] }

// Get is the value under k with true, or the zero value with false. A value that holds slices, maps or pointers must not be changed.
func (s *BroadcastState[MK, MV]) Get(k MK) (MV, bool, error) { return s.m.Get(k) }

// Range calls fn for each entry, in the order of the encoded map keys, until fn fails, and returns that error.
func (s *BroadcastState[MK, MV]) Range(fn func(MK, MV) error) error { return s.m.Range(fn) }

// Len is the number of entries.
func (s *BroadcastState[MK, MV]) Len() (int, error) { return s.m.Len() }

// Put puts v under k. The first argument is the context of the function that takes the broadcast records: no other function can write,
// because then the subtasks would no longer hold the same.
func (s *BroadcastState[MK, MV]) Put(_ BroadcastWriter, k MK, v MV) error { return s.m.Put(k, v) }

// Remove removes k; an absent one is no error.
func (s *BroadcastState[MK, MV]) Remove(_ BroadcastWriter, k MK) error { return s.m.Remove(k) }

// Clear removes all entries.
func (s *BroadcastState[MK, MV]) Clear(_ BroadcastWriter) error { return s.m.Clear() }

// BroadcastWriter is what writes to broadcast state need: *BroadcastCtx and *KeyedBroadcastCtx.
type BroadcastWriter interface{ writesBroadcastState() }

// broadcastStates are the broadcast states of an operator: keyed state with a single key, which the host keeps in memory in every subtask.
type broadcastStates struct {
	s     *state.Keyed[bool]
	names []string
}

func newBroadcastStates(t *Task) broadcastStates {
	return broadcastStates{s: state.NewKeyed[bool](nil, state.Config{MaxParallelism: 1, Now: t.cfg.Now})}
}

func (b *broadcastStates) state[MK comparable, MV any](name string, opts []state.Option) *BroadcastState[MK, MV] {
	b.names = append(b.names, name)
	return &BroadcastState[MK, MV]{b.s.Map[MK, MV](name, opts...)}
}

// declare hands the broadcast states to the task, once the builder has declared them; keyed are the other states of the operator.
func (b *broadcastStates) declare(t *Task, keyed []state.Descriptor) error {
	errs := []error{b.s.Err()}
	for _, d := range keyed {
		if slices.Contains(b.names, d.Name) {
			errs = append(errs, fmt.Errorf("the name %q is declared for a keyed and for a broadcast state; names are unique within an operator", d.Name))
		}
	}
	if len(b.names) == 0 {
		errs = append(errs, errors.New("declares no broadcast state; a step that keeps nothing of its broadcast input needs CoProcess or CoFlatMap instead"))
	}
	t.UseBroadcast(b.s)
	t.OnOpen(func(context.Context) error {
		b.s.SetCurrent(false, 0)
		return nil
	})
	return errors.Join(errs...)
}

// BroadcastCtx is what a function sees of a record of a broadcast input. It is valid during the call only.
//
// Every subtask takes the record and emits for itself. Subtasks do not have the same watermark and clock at one record, so what is written to
// broadcast state must depend on the record and that state alone.
type BroadcastCtx[Out any] struct{ *emitter[Out] }

func (*BroadcastCtx[Out]) writesBroadcastState() {}

// RecordCtx is what a function without key sees of the current record. It is valid during the call only.
type RecordCtx[Out any] struct{ *emitter[Out] }

// KeyedBroadcastCtx is BroadcastCtx in a keyed operator. A broadcast record has no key: access to keyed state outside of ForEachKey panics.
type KeyedBroadcastCtx[K comparable, Out any] struct {
	BroadcastCtx[Out]
	b *keyedTask[K, Out]
}

// ForEachKey calls f for each key of this subtask that has something in the keyed state of h, a handle such as *state.Value, until f fails, and
// returns that error. Within f that key is current: f reads and changes its states, emits, and sets timers. Over all subtasks every key comes
// once; keys that f adds are not visited. It reads the whole state, at some 100 ns a key in memory: for rules that
// change now and then.
// Source: Flink KeyedBroadcastProcessFunction.Context.applyToKeyedState.
func (c *KeyedBroadcastCtx[K, Out]) ForEachKey(h state.Handle, f func(c *Ctx[K, Out]) error) error {
	current := c.t.Context()
	defer func(hash uint64) { current.KeyHash = hash }(current.KeyHash)
	return c.b.s.EachKey(h, func(key K, hash uint64) error {
		c.b.ctx.key, current.KeyHash = key, hash
		return f(c.b.ctx)
	})
}

// KeyedBroadcast is the builder of a keyed operator with a broadcast input: it declares keyed state, timers, broadcast state and functions. The
// build function runs once when the graph is checked and once per subtask, so variables of its body belong to one subtask.
type KeyedBroadcast[K comparable, A, B, Out any] struct {
	keyedTask[K, Out]
	states      broadcastStates
	onRecord    func(*Ctx[K, Out], A) error
	onBroadcast func(*KeyedBroadcastCtx[K, Out], B) error
}

// Broadcast declares a map from MK to MV that every subtask holds whole.
func (b *KeyedBroadcast[K, A, B, Out]) Broadcast[MK comparable, MV any](name string, opts ...state.Option) *BroadcastState[MK, MV] {
	return b.states.state[MK, MV](name, opts)
}

// OnRecord declares the function that takes each record of the keyed input. Its errors are those of Keyed.OnRecord.
func (b *KeyedBroadcast[K, A, B, Out]) OnRecord(f func(c *Ctx[K, Out], v A) error) {
	b.onRecord = f
	b.t.UserFuncs(f)
}

// OnBroadcast declares the function that takes each record of the broadcast input, in every subtask. Its errors are those of Keyed.OnRecord;
// a bad record becomes a dead letter of every subtask.
func (b *KeyedBroadcast[K, A, B, Out]) OnBroadcast(f func(c *KeyedBroadcastCtx[K, Out], v B) error) {
	b.onBroadcast = f
	b.t.UserFuncs(f)
}

// KeyedBroadcastProcess is the keyed operator whose second input is broadcast: every subtask takes each record of it and keeps what it needs
// in broadcast state, which the function of the keyed input and timers read. That is how rules are pushed at run time. key takes the key from a
// record of the first input; codec encodes keys, nil takes the one that package serde derives.
//
// Records of the broadcast input come in the order of each sender: with several senders subtasks may see them in another order, so send rules
// that replace each other by one (parallelism 1 of the step before). Between the two inputs there is no order: rules that must be there before
// the first record have to be waited for, for instance by keeping records in a list state. A checkpoint holds the broadcast state of subtask
// 0; a restore gives it to every subtask, at any parallelism.
//
// Event time: the watermark is the least of both inputs', not counting an idle one. Keyed state and timers are those of CoProcess.
// Source: Flink KeyedBroadcastProcessFunction.
func KeyedBroadcastProcess[K comparable, A, B, Out any](key func(A) K, codec serde.Serde[K], build func(*KeyedBroadcast[K, A, B, Out])) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if key == nil || build == nil {
			return nil, nil, errors.New("a keyed operator with a broadcast input needs a key function and a build function")
		}
		b := &KeyedBroadcast[K, A, B, Out]{keyedTask: newKeyedTask[K](t, codec, emit), states: newBroadcastStates(t)}
		build(b)
		err := errors.Join(missingFunctions(b.onRecord == nil, b.onBroadcast == nil), b.declare(), b.states.declare(t, b.s.Descriptors()))
		if err != nil {
			return nil, nil, err
		}
		t.UserFuncs(key)
		return b.push(key, b.onRecord), b.pushBroadcast(), nil
	}
}

func missingFunctions(record, broadcast bool) error {
	var errs []error
	if record {
		errs = append(errs, errors.New("declares no OnRecord; a step with a broadcast input needs a function for the records of the other"))
	}
	if broadcast {
		errs = append(errs, errors.New("declares no OnBroadcast; a step with a broadcast input needs a function for its records"))
	}
	return errors.Join(errs...)
}

func (b *KeyedBroadcast[K, A, B, Out]) pushBroadcast() func(B) error {
	c := &KeyedBroadcastCtx[K, Out]{BroadcastCtx: BroadcastCtx[Out]{b.ctx.emitter}, b: &b.keyedTask}
	s, f := b.s, b.onBroadcast
	return func(v B) error {
		s.NoCurrent()
		defer explainNoKey()
		return c.outcome(v, f(c, v))
	}
}

// explainNoKey says what a panic of package state means that comes from access to keyed state without a key.
func explainNoKey() {
	v := recover()
	if err, ok := v.(runtime.Error); ok && strings.Contains(err.Error(), "[-1]") {
		v = fmt.Sprintf("%v; if this is access to keyed state: a broadcast record has no key, use ForEachKey", err)
	}
	if v != nil {
		panic(v) // the stack of the first panic is still beneath
	}
}

// PlainBroadcast is the builder of an operator without key that has a broadcast input. The build function runs once when the graph is checked
// and once per subtask, so variables of its body belong to one subtask.
type PlainBroadcast[A, B, Out any] struct {
	c           *emitter[Out]
	states      broadcastStates
	onRecord    func(*RecordCtx[Out], A) error
	onBroadcast func(*BroadcastCtx[Out], B) error
}

// Broadcast declares a map from MK to MV that every subtask holds whole.
func (b *PlainBroadcast[A, B, Out]) Broadcast[MK comparable, MV any](name string, opts ...state.Option) *BroadcastState[MK, MV] {
	return b.states.state[MK, MV](name, opts)
}

// Side declares a side output and returns the function that emits to it.
func (b *PlainBroadcast[A, B, Out]) Side[S any](tag Tag[S]) func(S) error {
	out := SideOutput(b.c.t, tag)
	return func(v S) error { return b.c.note(out(v)) }
}

// OnRecord declares the function that takes each record of the first input. Its errors are those of Keyed.OnRecord.
func (b *PlainBroadcast[A, B, Out]) OnRecord(f func(c *RecordCtx[Out], v A) error) {
	b.onRecord = f
	b.c.t.UserFuncs(f)
}

// OnBroadcast declares the function that takes each record of the broadcast input, in every subtask. Its errors are those of Keyed.OnRecord;
// a bad record becomes a dead letter of every subtask.
func (b *PlainBroadcast[A, B, Out]) OnBroadcast(f func(c *BroadcastCtx[Out], v B) error) {
	b.onBroadcast = f
	b.c.t.UserFuncs(f)
}

// Task is the operator's task, for what the builder does not offer.
func (b *PlainBroadcast[A, B, Out]) Task() *Task { return b.c.t }

// BroadcastProcess is KeyedBroadcastProcess for a first input without key: no keyed state and no timers, only broadcast state.
// Source: Flink BroadcastProcessFunction.
func BroadcastProcess[A, B, Out any](build func(*PlainBroadcast[A, B, Out])) Stage2[A, B, Out] {
	return func(t *Task, emit func(Out) error) (func(A) error, func(B) error, error) {
		if build == nil {
			return nil, nil, errors.New("an operator with a broadcast input needs a build function")
		}
		b := &PlainBroadcast[A, B, Out]{c: &emitter[Out]{t: t, emit: emit}, states: newBroadcastStates(t)}
		build(b)
		if err := errors.Join(missingFunctions(b.onRecord == nil, b.onBroadcast == nil), b.states.declare(t, nil)); err != nil {
			return nil, nil, err
		}
		record, broadcast := &RecordCtx[Out]{b.c}, &BroadcastCtx[Out]{b.c}
		return func(v A) error { return b.c.outcome(v, b.onRecord(record, v)) },
			func(v B) error { return b.c.outcome(v, b.onBroadcast(broadcast, v)) }, nil
	}
}
