package runtime

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// wire makes the queues of all tasks and the edges between them: edges[e][from][to]. They are both ends of the edges; with a transport link
// makes them the receiving ends.
func (a *attempt) wire() {
	a.queues = map[*chain][]*exchange.Queue{}
	a.channels = map[*chain][]int{}
	for _, c := range a.plan.chains {
		a.channels[c] = make([]int, c.parallelism)
		a.queues[c] = make([]*exchange.Queue, c.parallelism)
		for i := range a.queues[c] {
			for _, e := range c.nodes[0].Inputs {
				a.channels[c][i] += fanIn(e, i)
			}
			a.queues[c][i] = exchange.NewQueue(a.channels[c][i])
		}
	}
	a.edges = map[*Edge][][]any{}
	a.senders = a.edges
	for _, c := range a.plan.chains {
		base := make([]int, c.parallelism)
		for _, e := range c.nodes[0].Inputs {
			a.edges[e] = a.wireEdge(e, c, base)
			for i := range base {
				base[i] += fanIn(e, i)
			}
		}
	}
}

// wireEdge makes the edges of e: for each sender one to each of its receivers. base is the first channel of e at each receiver.
func (a *attempt) wireEdge(e *Edge, c *chain, base []int) [][]any {
	from := make([][]any, e.From.Parallelism)
	for s := range from {
		first, end := e.receivers(s)
		for r := first; r < end; r++ {
			firstSender, _ := e.senders(r)
			edge := e.Types.newEdge(a.queues[c][r], base[r]+s-firstSender)
			if e.codec.serde != nil {
				e.Types.setCodec(edge, e.codec)
			}
			from[s] = append(from[s], edge)
		}
	}
	return from
}

// buildTask makes one task: its operators from the last to the first, so that each finds the push functions of those after it. With an
// error it returns what there is, to be closed.
func (a *attempt) buildTask(c *chain, subtask int) (*task, error) {
	t := &task{
		chain: c, subtask: subtask, ctx: a.ctx, now: a.cfg.Now, box: newMailbox(), report: a.report,
		opctx: &operators.Context{TimestampMS: connectors.NoTimestamp, Split: -1},
		queue: a.queues[c][subtask], inputs: newInputs(c.nodes[0], subtask), ended: make([]bool, a.channels[c][subtask]),
	}
	t.mark.Store(operators.NoWatermark)
	t.vitals.open(a.channels[c][subtask])
	if slices.ContainsFunc(c.nodes[0].Inputs, func(e *Edge) bool { return e.Kind == Hash }) {
		t.vitals.keys = &sketch{maxParallelism: a.cfg.MaxParallelism}
	}
	t.align.blocked = make([]bool, a.channels[c][subtask])
	t.over = newOvertaking(c.nodes[0], subtask, a.unaligned())
	t.replay = func() error { return a.replay(t) }
	if a.journal != nil {
		t.files = a.journal.Files
	}
	built := map[*Node]*op{}
	for i := len(c.nodes) - 1; i >= 0; i-- {
		o, err := a.buildOp(t, c.nodes[i], built)
		if err != nil {
			return t, fmt.Errorf("step %q: %w", c.nodes[i].Label(), err)
		}
		built[c.nodes[i]] = o
	}
	for _, n := range c.nodes {
		t.ops = append(t.ops, built[n])
		for _, out := range built[n].outputs {
			out.WhileWaiting(t.frozen.whileWaiting)
		}
	}
	a.align(t)
	head := t.ops[0]
	for _, e := range c.nodes[0].Inputs {
		first, end := e.senders(subtask)
		for s := first; s < end; s++ {
			firstReceiver, _ := e.receivers(s)
			if err := e.Types.attach(a.edges[e][s][subtask-firstReceiver], t.opctx, head.pushes[e.Input], head.hooks().Prefetch); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// buildOp makes one operator of a task; those after it in the chain are in built.
func (a *attempt) buildOp(t *task, n *Node, built map[*Node]*op) (*op, error) {
	o := &op{node: n, shown: operators.NoWatermark}
	o.mark.Store(operators.NoWatermark)
	o.markSince.Store(t.vitals.clock)
	main, side := a.connect(t, o, n, built)
	cfg := operators.TaskConfig{
		UID: n.UID, Name: n.Label(), Subtask: t.subtask, Parallelism: t.chain.parallelism, MaxParallelism: a.cfg.MaxParallelism,
		Context: t.opctx, Now: a.cfg.Now, Attempt: a.name, Side: side,
		Logger:        a.cfg.Logger.With(zap.String("uid", n.Label()), zap.Int("subtask", t.subtask)),
		Metrics:       a.registerer(n.Label(), t.subtask),
		EmitWatermark: o.forwardWatermark, EmitIdle: o.forwardIdle, Wake: t.wake,
		InSource: t.chain.nodes[0].Source != nil, HeldUp: t.heldUp, Flush: o.flush,
	}
	if a.restored != nil && n.UID != "" {
		cfg.RestoredCheckpoint = a.restored.ID
		cfg.RestoredCommittables = a.restore(n.UID).Committables
	}
	o.task = operators.NewTask(cfg)
	if n.Source != nil {
		d := newSourceDriver()
		d.task, d.op, t.source = t, o, d
		r, err := n.Source.NewReader(connectorContext(cfg), d, main)
		d.reader = r
		return o, err
	}
	pushes, err := n.Build(o.task, main)
	if err == nil {
		err = o.task.Err()
	}
	o.pushes = pushes
	return o, err
}

// connect makes the function that emits to everything that consumes the main output of n, and one for each side output.
func (a *attempt) connect(t *task, o *op, n *Node, built map[*Node]*op) (main any, side map[string]any) {
	outs := map[string][]any{}
	types := map[string]EdgeTypes{}
	for _, e := range n.Outputs {
		types[e.Port] = e.Types
		if chained(e) {
			child := built[e.To]
			o.children = append(o.children, child)
			outs[e.Port] = append(outs[e.Port], child.pushes[e.Input])
			continue
		}
		out, send := e.Types.newWriter(writerConfig{
			ctx: a.ctx, context: t.opctx, edges: a.senders[e][t.subtask], maxParallelism: a.cfg.MaxParallelism,
			subtask: t.subtask, step: n.Label(), alarm: t.queue.Alarm,
		})
		o.outputs, o.edges = append(o.outputs, out), append(o.edges, e)
		outs[e.Port] = append(outs[e.Port], send)
	}
	main, side = n.NoOutput, map[string]any{}
	for port, fs := range outs {
		if port == "" {
			main = types[port].Combine(fs)
		} else {
			side[port] = types[port].Combine(fs)
		}
	}
	return main, side
}

// registerer is where a step registers metrics of its own.
func (a *attempt) registerer(uid string, subtask int) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"uid": uid, "subtask": strconv.Itoa(subtask)}, a.cfg.Metrics)
}
