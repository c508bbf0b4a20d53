// Package runtime executes a plan: it builds the tasks of a job, runs each as one goroutine, takes checkpoints through the coordinator of
// package checkpoint, and restarts the job from the last checkpoint after a failure.
//
// A chain of operators without an exchange between them is one task per subtask. A task owns its operators and their state; it is
// told of checkpoints and splits through its mailbox and of records through its queue. The job's own goroutine owns the coordinator, the
// enumerators of the sources and the committers' order; nothing is shared between the two but messages.
package runtime

import (
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// EdgeKind says how records are given to the subtasks of the next step.
type EdgeKind uint8

// The kinds of edges.
const (
	Forward    EdgeKind = iota // subtask i to subtask i; chained where possible
	Hash                       // by key group
	RoundRobin                 // in turn, one record each
	Broadcast                  // each record to every subtask
	Local                      // in turn within a group: each subtask of the wider side with one of the other side
	Global                     // to subtask 0
	Custom                     // where a function says
	Random                     // where chance says
)

// Node is a step of the graph, its types erased into closures.
type Node struct {
	UID         string // empty for a stateless step
	Name        string
	Parallelism int // 0: the job's
	// NewChain makes the node the head of a task of its own though it could run in the task of its input.
	NewChain bool
	// TwoInputs says that the edges with Input 0 and those with Input 1 are two inputs, whose watermarks are merged as those of an operator's
	// inputs; otherwise all edges are one input.
	TwoInputs bool
	Inputs    []*Edge
	Outputs   []*Edge
	// Build makes one subtask's instance: emit is a func(Out) error, the result one func(In) error per input.
	Build func(t *operators.Task, emit any) (pushes []any, err error)
	// Source is set for a source; Build is then nil.
	Source *Source
	// Committer is set for a sink that commits after a checkpoint.
	Committer func(c connectors.Context) (connectors.Committer, error)
	// PreparesAhead says that the sink's writers can prepare a checkpoint while others are not committed.
	PreparesAhead bool
	// NoOutput is the func(Out) error that drops a record, used when nothing consumes the main output.
	NoOutput any
}

// Edge connects a port of one node with an input of another.
type Edge struct {
	From  *Node
	Port  string // "" for the main output, else the name of a side output
	To    *Node
	Input int
	Kind  EdgeKind
	Types EdgeTypes
	// Codec is the serde.Serde of the records, by which a checkpoint stores those in flight; nil derives it.
	Codec any

	name  string // see Plan.nameEdges
	keyed bool   // records of one key group go to its owner, and carry the key's hash
	codec edgeCodec
}

// Source is the erased form of a connectors.Source.
type Source struct {
	NewEnumerator func(c connectors.Context, restored []byte) (connectors.Enumerator, error)
	NewReader     func(c connectors.Context, d *sourceDriver, emit any) (sourceReader, error)
}

// Label is how messages name the node.
func (n *Node) Label() string {
	if n.UID != "" {
		return n.UID
	}
	return n.Name
}

// chain is a maximal group of nodes that run in one task; nodes[0] is its head, and parents come before children.
type chain struct {
	name        string
	nodes       []*Node
	parallelism int
}

// Plan is a graph ready to run.
type Plan struct {
	Name   string
	Nodes  []*Node // sources first, every node after those it reads from
	chains []*chain
	of     map[*Node]*chain
}

// NewPlan sorts the nodes, sets the parallelism of those that have none and groups them into chains. The graph has been validated:
// it has no cycle and every node is reachable.
func NewPlan(name string, nodes []*Node, parallelism int) (*Plan, error) {
	sorted, err := Sort(nodes)
	if err != nil {
		return nil, err
	}
	p := &Plan{Name: name, Nodes: sorted, of: map[*Node]*chain{}}
	for _, n := range sorted {
		if n.Parallelism == 0 {
			n.Parallelism = parallelism
		}
		if len(n.Inputs) == 1 && chained(n.Inputs[0]) {
			c := p.of[n.Inputs[0].From]
			c.nodes = append(c.nodes, n)
			p.of[n] = c
			continue
		}
		c := &chain{nodes: []*Node{n}, parallelism: n.Parallelism}
		p.of[n] = c
		p.chains = append(p.chains, c)
	}
	p.nameChains()
	p.nameEdges()
	return p, nil
}

// Source is the source in whose own chain n runs, nil if it runs in another task.
func (p *Plan) Source(n *Node) *Node {
	if head := p.of[n].nodes[0]; head.Source != nil {
		return head
	}
	return nil
}

// nameChains gives each chain a unique name made of its first and last labels.
func (p *Plan) nameChains() {
	seen := map[string]int{}
	for _, c := range p.chains {
		c.name = c.nodes[0].Label()
		seen[c.name]++
		if k := seen[c.name]; k > 1 {
			c.name = fmt.Sprintf("%s#%d", c.name, k)
		}
	}
}

// chained reports whether the two ends of e run in one task.
func chained(e *Edge) bool {
	return e.Kind == Forward && e.From.Parallelism == e.To.Parallelism && len(e.To.Inputs) == 1 && !e.To.NewChain
}

// Sort returns the nodes so that each comes after those it reads from, otherwise in the given order. An error names a cycle.
func Sort(nodes []*Node) ([]*Node, error) {
	state := map[*Node]int{} // 1: being visited, 2: done
	var sorted []*Node
	var visit func(n *Node) error
	visit = func(n *Node) error {
		switch state[n] {
		case 1:
			return fmt.Errorf("cycle through step %q; a stream cannot feed itself", n.Label())
		case 2:
			return nil
		}
		state[n] = 1
		for _, e := range n.Inputs {
			if err := visit(e.From); err != nil {
				return err
			}
		}
		state[n] = 2
		sorted = append(sorted, n)
		return nil
	}
	for _, n := range nodes {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return slices.Clip(sorted), nil
}
