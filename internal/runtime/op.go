package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// op is one operator instance within a task: its declared hooks, the operators after it in the chain and its exchanges.
type op struct {
	node     *Node
	task     *operators.Task
	pushes   []any
	children []*op
	outputs  []exchange.Output
	edges    []*Edge // of outputs
	// prepared is what the operator has prepared and may not be committed yet: for the last checkpoint, for those that were given up since one
	// completed, and for those in flight.
	prepared []checkpoint.Prepared
	opened   bool
	ended    bool

	// mark shows the operator's watermark to others and markSince since when it is that, Unix ns; shown is what the task has shown last.
	mark, markSince atomic.Int64
	shown           int64
}

func (o *op) hooks() *operators.Hooks { return o.task.Hooks() }

// watermark passes a watermark through this operator and those after it.
func (o *op) watermark(ms int64) error {
	h := o.hooks()
	if !h.OwnWatermarks {
		if ms <= o.task.Watermark() {
			return nil
		}
		o.task.SetWatermark(ms)
	}
	for _, f := range h.Watermark {
		if err := f(ms); err != nil {
			return o.fail(err)
		}
	}
	if h.OwnWatermarks {
		if ms == operators.EndOfTime {
			return o.task.EmitWatermark(ms)
		}
		return nil
	}
	return o.forwardWatermark(ms)
}

func (o *op) forwardWatermark(ms int64) error {
	for _, c := range o.children {
		if err := c.watermark(ms); err != nil {
			return err
		}
	}
	return o.control(exchange.Control{Kind: exchange.Watermark, Value: ms})
}

// idle passes idleness through this operator and those after it; one that makes its own watermarks decides itself.
func (o *op) idle(idle bool) error {
	for _, f := range o.hooks().Idle {
		if err := f(idle); err != nil {
			return o.fail(err)
		}
	}
	if o.hooks().OwnWatermarks {
		return nil
	}
	return o.forwardIdle(idle)
}

func (o *op) forwardIdle(idle bool) error {
	for _, c := range o.children {
		if err := c.idle(idle); err != nil {
			return err
		}
	}
	var v int64
	if idle {
		v = 1
	}
	return o.control(exchange.Control{Kind: exchange.Idle, Value: v})
}

func (o *op) control(c exchange.Control) error {
	for _, out := range o.outputs {
		if err := out.Control(c); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what those after this operator hold back for company.
func (o *op) flush() error {
	for _, c := range o.children {
		for _, f := range c.hooks().Dry {
			if err := f(); err != nil {
				return c.fail(err)
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	for _, out := range o.outputs {
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// split tells the operators of a source's chain of an event of a split. Behind one whose records come later than it takes them there are no
// splits any more: an event would overtake records.
func (o *op) split(split int, e operators.SplitEvent) error {
	for _, f := range o.hooks().Split {
		if err := f(split, e); err != nil {
			return o.fail(err)
		}
	}
	if o.hooks().HoldsWatermarks {
		return nil
	}
	for _, c := range o.children {
		if err := c.split(split, e); err != nil {
			return err
		}
	}
	return nil
}

// end tells the operator that its input has ended, once.
func (o *op) end() error {
	if o.ended {
		return nil
	}
	o.ended = true
	for _, f := range o.hooks().End {
		if err := f(); err != nil {
			return o.fail(err)
		}
	}
	return nil
}

func (o *op) open(ctx context.Context) error {
	o.opened = true
	for _, f := range o.hooks().Open {
		if err := f(ctx); err != nil {
			return o.fail(err)
		}
	}
	return nil
}

// close calls do with each function that frees something of the operator.
func (o *op) close(do func(f func() error)) {
	if o.opened {
		for _, f := range o.hooks().Close {
			do(func() error { return o.fail(f()) })
		}
	}
	for _, s := range []state.Operator{o.hooks().State, o.hooks().Broadcast} {
		if s != nil {
			do(func() error { return o.fail(s.Close()) })
		}
	}
}

// fail names the operator in an error that comes from one of its hooks.
func (o *op) fail(err error) error { return failIn(o, err) }

// failAside is fail for another goroutine than the task's: the current record is not its own to look at.
func (o *op) failAside(err error) error {
	var te *TaskError
	if err == nil || errors.As(err, &te) {
		return err
	}
	return &TaskError{UID: o.node.Label(), Subtask: o.task.Config().Subtask, Err: err}
}

// image is what one operator contributes to a checkpoint, taken at the barrier; its keyed state is still to be written.
type image struct {
	o         *op
	state     checkpoint.SubtaskState
	keyed     state.Snapshot
	broadcast state.Snapshot
	prepared  []checkpoint.Prepared
}

// release frees the images of the states, once.
func (img *image) release() {
	for _, s := range []*state.Snapshot{&img.keyed, &img.broadcast} {
		if *s != nil {
			(*s).Release()
			*s = nil
		}
	}
}

// settled forgets what was prepared up to checkpoint id, which has completed: its manifest holds it.
func (o *op) settled(id int64) {
	o.prepared = slices.DeleteFunc(o.prepared, func(p checkpoint.Prepared) bool { return p.ID <= id })
}

// barrier runs the operator's barrier hooks and, if the checkpoint is to be stored, copies its state.
func (o *op) barrier(ctx context.Context, id int64, store bool) (image, error) {
	h := o.hooks()
	img := image{o: o}
	for _, f := range h.Barrier {
		if err := f(ctx, id); err != nil {
			return img, o.fail(err)
		}
	}
	if h.Committables != nil {
		prepared, err := h.Committables(ctx, id)
		if err != nil {
			return img, o.fail(fmt.Errorf("prepare checkpoint %d: %w", id, err))
		}
		if len(prepared) > 0 {
			o.prepared = append(o.prepared, checkpoint.Prepared{ID: id, Committables: prepared})
		}
		img.prepared = slices.Clone(o.prepared)
	}
	if h.SaveRaw != nil && store {
		raw, err := h.SaveRaw()
		if err != nil {
			return img, o.fail(err)
		}
		img.state.Raw = raw
	}
	if h.State != nil && store {
		snap, err := h.State.Snapshot()
		if err != nil {
			return img, o.fail(fmt.Errorf("snapshot for checkpoint %d: %w", id, err))
		}
		img.keyed = snap
	}
	if h.Broadcast != nil && store && o.task.Subtask() == 0 { // it is the same in the other subtasks
		snap, err := h.Broadcast.Snapshot()
		if err != nil {
			return img, o.fail(fmt.Errorf("snapshot of the broadcast state for checkpoint %d: %w", id, err))
		}
		img.broadcast = snap
	}
	img.state.WatermarkMS = o.task.Watermark()
	return img, nil
}
