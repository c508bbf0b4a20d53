package runtime

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// edgeCodec is how the records of an edge are stored in flight; the zero value: they are not.
type edgeCodec struct {
	serde  any // a serde.Serde[T]
	schema string
}

// replayConfig is what the records in flight of one edge are given back with.
type replayConfig struct {
	context  *operators.Context
	push     any
	prefetch func(hashes []uint64)
	codec    edgeCodec // of the edge as it is now
	schema   string    // of the records
	// keep says by the hash of its key whether the subtask takes a record; nil: it takes all.
	keep func(hash uint64) bool
	// step is the sender, for messages. With rescaled the subtask is one of parallelism and takes what the edge deals out to it, if the edge has a way to
	// deal out record by record.
	step                 string
	rescaled             bool
	subtask, parallelism int
}

// replayer delivers one recorded batch and returns how many records it has delivered.
type replayer func(batch []byte) (int, error)

// codecOf implements EdgeTypes.
func (Types[T]) codecOf(given any) (edgeCodec, error) {
	c, ok := given.(serde.Serde[T])
	if !ok {
		var err error
		if c, err = serde.For[T](); err != nil {
			return edgeCodec{}, err
		}
	}
	return edgeCodec{c, c.Schema()}, nil
}

func (Types[T]) setCodec(edge any, c edgeCodec) {
	edge.(*exchange.Edge[T]).SetCodec(c.serde.(serde.Serde[T]))
}

func (t Types[T]) newReplay(c replayConfig) (replayer, error) {
	if c.keep == nil {
		return t.replayer(c, nil)
	}
	return t.replayer(c, func(_ T, hash uint64) (bool, error) { return c.keep(hash), nil })
}

func (Types[T]) replayer(c replayConfig, keep func(T, uint64) (bool, error)) (replayer, error) {
	push, ok := c.push.(func(T) error)
	if !ok {
		return nil, fmt.Errorf("runtime: step takes %T, the records in flight are other ones", c.push)
	}
	codec, err := serde.Evolve(c.codec.serde.(serde.Serde[T]), c.schema)
	if err != nil {
		return nil, err
	}
	return exchange.NewReplay(c.context, push, c.prefetch, codec, keep).Batch, nil
}

// readable implements EdgeTypes.
func (Types[T]) readable(c edgeCodec, schema string) error {
	_, err := serde.Evolve(c.serde.(serde.Serde[T]), schema)
	return err
}

// newReplay asks the partition function again when the number of subtasks is another one.
func (t CustomTypes[T]) newReplay(c replayConfig) (replayer, error) {
	if !c.rescaled {
		return t.Types.newReplay(c)
	}
	return t.replayer(c, func(v T, _ uint64) (bool, error) {
		r := t.Pick(v, c.parallelism)
		if uint(r) >= uint(c.parallelism) {
			return false, badPick(c.step, r, c.parallelism)
		}
		return r == c.subtask, nil
	})
}

// nameEdges gives each edge the name under which checkpoints keep its records in flight: the uids of its ends. A step without uid has the name of the
// one before it and its place among the readers of that, so that a line added to the program changes nothing. It also finds the edges whose
// records come by key.
func (p *Plan) nameEdges() {
	names, keyed := map[*Node]string{}, map[*Node]bool{}
	for _, n := range p.Nodes {
		all := n.Source == nil
		for _, e := range n.Inputs {
			e.keyed = e.Kind == Hash || pointwise(e) && keyed[e.From]
			all = all && (e.keyed || e.Kind == Broadcast && n.TwoInputs)
		}
		keyed[n] = all
		names[n] = n.UID
		if n.UID == "" && len(n.Inputs) > 0 {
			e := n.Inputs[0]
			names[n] = fmt.Sprintf("%s/%d", portName(names[e.From], e.Port), slices.Index(e.From.Outputs, e))
		}
		for _, e := range n.Inputs {
			e.name = fmt.Sprintf("%s → %s", portName(names[e.From], e.Port), names[n])
			if len(n.Inputs) > 1 {
				e.name += fmt.Sprintf("#%d", e.Input)
			}
			if e.keyed {
				e.name += " by key"
			}
		}
	}
}

func portName(node, port string) string {
	if port == "" {
		return node
	}
	return node + ":" + port
}

// StoreInFlight finds the codec of each edge whose records a checkpoint may have to store in flight. Every edge that has none is part of the
// error.
func (p *Plan) StoreInFlight() error {
	var errs []error
	for _, n := range p.Nodes {
		for _, e := range n.Inputs {
			if chained(e) || e.Kind == Broadcast {
				continue
			}
			var err error
			if e.codec, err = e.Types.codecOf(e.Codec); err != nil {
				errs = append(errs, fmt.Errorf("dataflow: the edge from %q to %q carries records without codec, and with Checkpoint.AlignmentTimeout a "+
					"checkpoint stores those in flight: %w; give the stream one by WithCodec, or set AlignmentTimeout to 0", e.From.Label(), e.To.Label(), err))
			}
		}
	}
	return errors.Join(errs...)
}
