package dataflow

import (
	"fmt"

	"github.com/millrace-io/millrace/internal/runtime"
	"github.com/millrace-io/millrace/operators"
)

// checkPartition refuses keyed state in several subtasks where the records do not come by key: those of one key would meet in no one place.
// keyed holds the steps whose records come by key, in their order from the sources on.
func checkPartition(n *runtime.Node, h operators.Hooks, keyed map[*runtime.Node]bool) error {
	all := n.Source == nil
	for _, e := range n.Inputs {
		switch {
		case e.Kind == runtime.Hash, e.Kind == runtime.Broadcast:
		case e.Kind == runtime.Forward && e.From.Parallelism == n.Parallelism:
			all = all && keyed[e.From]
		default:
			all = false
		}
	}
	keyed[n] = all
	if h.State == nil || all || n.Parallelism == 1 {
		return nil
	}
	return fmt.Errorf("dataflow: step %q keeps state by key in %d subtasks, and its records do not come by key; call KeyBy before it, or give it Parallelism(1)", n.Label(), n.Parallelism)
}
