package runtime

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/internal/exchange/wire"
	"go.uber.org/zap"
)

// The names of the two ends of the connection that a process has with itself.
const (
	sendingEnd   = "local, sending"
	receivingEnd = "local, receiving"
)

// Transported finds the codec of each edge between tasks, whose records go to other processes. Every edge that has none is part of the error.
func (p *Plan) Transported() error {
	var errs []error
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			if chained(e) {
				continue
			}
			var err error
			if e.codec, err = e.Types.codecOf(e.Codec); err != nil {
				errs = append(errs, fmt.Errorf("dataflow: the edge from %q to %q carries records of %s without codec, and with Options.Transport they leave the "+
					"process: %w; give the stream one by WithCodec, or leave Transport out", e.From.Label(), e.To.Label(), e.Types.recordType(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// link makes the sending half of each edge and connects it with the edge, which is the receiving half from now on, by the transport. It is called when
// all are wired, before any task is made.
func (a *attempt) link() error {
	if a.cfg.Transport == nil {
		return nil
	}
	near := exchange.NewLink(exchange.Identity{Job: a.plan.Name, Attempt: a.name, From: sendingEnd, To: receivingEnd})
	there := exchange.NewLink(exchange.Identity{Job: a.plan.Name, Attempt: a.name, From: receivingEnd, To: sendingEnd})
	a.senders = map[*Edge][][]any{}
	seen := map[string]int{}
	for _, c := range a.plan.chains {
		for _, e := range c.nodes[0].Inputs {
			name := e.name
			if seen[name]++; seen[name] > 1 { // a stream that is united with itself
				name = fmt.Sprintf("%s (%d)", name, seen[name])
			}
			a.linkEdge(e, name, near, there)
		}
	}
	t := *a.cfg.Transport
	t.Refused = func(addr string, err error) {
		a.cfg.Logger.Warn("a caller of the exchange was refused", zap.String("job", a.plan.Name), zap.String("caller", addr), zap.Error(err))
	}
	if err := t.Loop(a.ctx, near, there, func(err error) { a.report(failedEvent{err}) }); err != nil {
		return err
	}
	a.links = []*exchange.Link{near, there}
	return nil
}

// linkEdge adds the edges of e to both links.
func (a *attempt) linkEdge(e *Edge, name string, near, there *exchange.Link) {
	var pairs []wire.Pair
	var out, in []exchange.Half
	a.senders[e] = make([][]any, len(a.edges[e]))
	for s, receiving := range a.edges[e] {
		first, _ := e.receivers(s)
		for i, half := range receiving {
			sending := e.Types.newEdge(nil, 0)
			e.Types.setCodec(sending, e.codec)
			a.senders[e][s] = append(a.senders[e][s], sending)
			pairs = append(pairs, wire.Pair{From: s, To: first + i})
			out, in = append(out, sending.(exchange.Half)), append(in, half.(exchange.Half))
		}
	}
	near.Sends(name, e.codec.schema, pairs, out)
	there.Receives(name, e.codec.schema, pairs, in)
}

// unlink closes the connections to other processes; cause is why the attempt has ended.
func (a *attempt) unlink(cause error) {
	reason := ""
	if !errors.Is(cause, errFinished) {
		reason = cause.Error()
	}
	for _, l := range a.links {
		l.Close(reason)
	}
}
