package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/state"
)

// inFlight sorts the records in flight of a checkpoint by the edges of the plan.
func (p *Plan) inFlight(m *checkpoint.Manifest) (map[*Edge][]checkpoint.ChannelState, error) {
	if len(m.Channels) == 0 {
		return nil, nil
	}
	edges := map[string]*Edge{}
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			edges[e.name] = e
		}
	}
	out := map[*Edge][]checkpoint.ChannelState{}
	var reasons []string
	for _, c := range m.Channels {
		e := edges[c.Edge]
		if e == nil {
			reasons = append(reasons, fmt.Sprintf("there is no edge %q", c.Edge))
		} else if err := p.takes(e, c); err != nil {
			reasons = append(reasons, fmt.Sprintf("edge %q: %v", c.Edge, err))
		} else {
			out[e] = append(out[e], c)
		}
	}
	if len(reasons) > 0 {
		slices.Sort(reasons)
		return nil, &checkpoint.UnmatchedChannelsError{ID: m.ID, Reasons: slices.Compact(reasons)}
	}
	return out, nil
}

// takes reports why the edge cannot take the records, nil if it can.
func (p *Plan) takes(e *Edge, c checkpoint.ChannelState) error {
	if e.Kind == Broadcast {
		return errors.New("it has become a broadcast, where every subtask would take each record")
	}
	codec, err := e.Types.codecOf(e.Codec)
	if err != nil {
		return err
	}
	if err := e.Types.readable(codec, c.Schema); err != nil {
		return err
	}
	e.codec = codec
	return nil
}

// replay has the task process what was in flight to it when the checkpoint was taken, before anything from its queue: what senders say of
// their watermarks comes behind it.
func (a *attempt) replay(t *task) error {
	for _, o := range t.ops {
		for _, e := range o.node.Inputs {
			if all := a.inFlight[e]; len(all) > 0 {
				if err := a.replayEdge(t, o, e, all); err != nil {
					return failIn(o, err)
				}
			}
		}
	}
	return nil
}

// share is which of the records in flight on an edge one of its subtasks takes.
type share struct {
	files  []checkpoint.ChannelState
	keep   func(hash uint64) bool // nil: all
	nth    int                    // with of > 0: every of-th batch, beginning with this one
	of     int
	record bool // the edge deals out each record itself
}

// shareOf divides the records in flight on e among the subtasks of its receiver. With as many of them as before each takes its own. Otherwise records that
// come by key go to the owner of the key, those of a partition function where that sends them now, those of a subtask's own stream stay
// together, and all others are dealt out a batch at a time.
func shareOf(e *Edge, all []checkpoint.ChannelState, subtask, maxParallelism int) share {
	n := e.To.Parallelism
	mine := func(owner func(c checkpoint.ChannelState) int) (own []checkpoint.ChannelState) {
		for _, c := range all {
			if owner(c) == subtask {
				own = append(own, c)
			}
		}
		return own
	}
	switch {
	case all[0].Receivers == n:
		return share{files: mine(func(c checkpoint.ChannelState) int { return c.To })}
	case e.keyed:
		return share{files: all, keep: func(hash uint64) bool {
			return state.SubtaskOf(state.GroupOf(hash, maxParallelism), n, maxParallelism) == subtask
		}}
	case e.Kind == Custom:
		return share{files: all, record: true}
	case e.Kind == Global:
		return share{files: mine(func(checkpoint.ChannelState) int { return 0 })}
	case e.Kind == Forward || e.Kind == Local:
		return share{files: mine(func(c checkpoint.ChannelState) int { return c.To % n })}
	}
	return share{files: all, nth: subtask, of: n}
}

// replayEdge has o process its share of the records that were in flight on its input e.
func (a *attempt) replayEdge(t *task, o *op, e *Edge, all []checkpoint.ChannelState) error {
	if t.source != nil && slices.ContainsFunc(t.ops, func(o *op) bool { return len(o.hooks().Split) > 0 }) {
		return &checkpoint.UnmatchedChannelsError{ID: a.restored.ID, Reasons: []string{
			fmt.Sprintf("edge %q has become part of a source's tasks, which make watermarks by splits: give its step another parallelism than the source", e.name)}}
	}
	sh := shareOf(e, all, t.subtask, a.cfg.MaxParallelism)
	c := replayConfig{context: t.opctx, push: o.pushes[e.Input], codec: e.codec, keep: sh.keep, step: e.From.Label(), rescaled: sh.record,
		subtask: t.subtask, parallelism: t.chain.parallelism}
	if o == t.ops[0] {
		c.prefetch = o.hooks().Prefetch
	}
	n := 0
	for _, f := range sh.files {
		c.schema = f.Schema
		deliver, err := e.Types.newReplay(c)
		if err != nil {
			return err
		}
		err = a.readInFlight(f, func(batch []byte) error {
			if n++; sh.of > 0 && (n-1)%sh.of != sh.nth {
				return nil
			}
			if err := t.ctx.Err(); err != nil {
				return context.Cause(t.ctx)
			}
			delivered, err := deliver(batch)
			if o == t.ops[0] {
				t.records.Add(int64(delivered))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	t.opctx.At, t.opctx.TimestampMS, t.opctx.KeyHash = connectors.Coordinates{}, connectors.NoTimestamp, 0
	return nil
}

// readInFlight calls f with each recorded batch of one file.
func (a *attempt) readInFlight(c checkpoint.ChannelState, f func(batch []byte) error) error {
	r, err := a.restoreFiles.Read(a.ctx, c.File)
	if err != nil {
		return err
	}
	object := c.File.Name
	if object == "" {
		object = fmt.Sprintf("content inside the manifest of checkpoint %d", a.restored.ID)
	}
	err = readChannel(r, object, c.File.Size, f)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // the checksum is compared at the end
	}
	return errors.Join(err, r.Close())
}
