package checkpoint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/state"
)

// ChannelState holds records that were on their way to one subtask when it took a checkpoint without waiting for their barrier
// (Config.AlignmentTimeout). They belong between the state of the sender and that of the receiver: a restore has the receiver process them before
// any other. Savepoints have none.
type ChannelState struct {
	// Edge is the name of the edge in the graph: it is made of the uids of its ends, and of positions where a step has none.
	Edge string `json:"edge"`
	// Schema is that of the records, see serde.Serde.
	Schema string `json:"schema"`
	// To is the receiving subtask, of Receivers at the time.
	To        int   `json:"to"`
	Receivers int   `json:"receivers"`
	Records   int64 `json:"records"`
	// File holds the records in the form of package internal/runtime; its Kind has no meaning. Several of one edge and subtask are read in
	// their order.
	File state.File `json:"file"`
}

func (c *ChannelState) validate(maxParallelism int) error {
	switch {
	case c.Edge == "":
		return fmt.Errorf("records in flight to subtask %d have no edge", c.To)
	case c.Receivers < 1 || c.Receivers > maxParallelism || c.To < 0 || c.To >= c.Receivers:
		return fmt.Errorf("records in flight on edge %q to subtask %d of %d, want a subtask of 1 to %d", c.Edge, c.To, c.Receivers, maxParallelism)
	case c.Records < 1:
		return fmt.Errorf("%d records in flight on edge %q to subtask %d, want at least 1", c.Records, c.Edge, c.To)
	}
	if err := validFile(c.File, maxParallelism); err != nil {
		return fmt.Errorf("records in flight on edge %q to subtask %d: %w", c.Edge, c.To, err)
	}
	return nil
}

// sortChannels gives the records in flight an order that does not depend on timing; those of one edge and subtask keep theirs.
func sortChannels(cs []ChannelState) {
	slices.SortStableFunc(cs, func(a, b ChannelState) int { return cmp.Or(cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.To, b.To)) })
}

// UnmatchedChannelsError reports records in flight in a checkpoint that a graph cannot take: it has other edges, or edges of other records.
type UnmatchedChannelsError struct {
	ID int64 // of the checkpoint
	// Reasons has one for each edge, with its name, sorted.
	Reasons []string
}

// Error names the edges and the remedy.
func (e *UnmatchedChannelsError) Error() string {
	return fmt.Sprintf("checkpoint: %d was taken while records were in flight, and this graph has no place for them: %q; start the graph that took it, "+
		"stop that with a savepoint, which holds none, and start this one from the savepoint", e.ID, e.Reasons)
}
