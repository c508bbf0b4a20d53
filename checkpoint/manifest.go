package checkpoint

import (
	"slices"

	"github.com/millrace-io/millrace/state"
)

// FormatVersion is the version of the manifest that this release writes. It reads every version up to this one.
// Version 2 has tables of checksums (File.Sums), content inside the manifest (File.Inline), tables with kinds, levels and bounds, pending
// objects, and a compressed body.
const FormatVersion = 2

// Manifest is the content of one completed checkpoint or savepoint: everything that is needed to start again.
type Manifest struct {
	Version int   `json:"version"`
	ID      int64 `json:"id"`    // ascending within a storage; never used twice
	Epoch   int64 `json:"epoch"` // of the leader that wrote it
	// Job is the name of the graph; printed, never compared.
	Job       string `json:"job"`
	Savepoint bool   `json:"savepoint,omitempty"`
	// CreatedMS is the wall clock at the trigger, Unix ms; printed, never compared.
	CreatedMS      int64           `json:"created_ms"`
	MaxParallelism int             `json:"max_parallelism"`
	Operators      []OperatorState `json:"operators"` // sorted by UID
	// Channels are the records that were in flight, sorted by edge and subtask; none in a savepoint.
	Channels []ChannelState `json:"channels,omitempty"`
}

// OperatorState is the state of one uid.
type OperatorState struct {
	UID         string             `json:"uid"`
	Parallelism int                `json:"parallelism"`
	States      []state.Descriptor `json:"states,omitempty"` // keyed and broadcast states, sorted by name
	Subtasks    []SubtaskState     `json:"subtasks"`         // index = subtask
	// Enumerator is the state of a source's enumerator, as it was when the barrier was sent to the readers.
	Enumerator []byte `json:"enumerator,omitempty"`
	// Committables are what a sink's writers prepared for this checkpoint, of all subtasks: they belong to the checkpoint, not to a subtask.
	Committables [][]byte `json:"committables,omitempty"`
	// Earlier is what they prepared for checkpoints that were given up since the one that completed before: it is committed with this one,
	// first. Ascending by id.
	Earlier []Prepared `json:"earlier,omitempty"`
}

// Prepared is what the writers of a sink prepared for checkpoint ID, whether that completed or was given up.
type Prepared struct {
	ID           int64    `json:"id"`
	Committables [][]byte `json:"committables"`
}

// Prepared is everything that is committed with checkpoint id, to which o belongs, in the order in which it is committed.
func (o *OperatorState) Prepared(id int64) []Prepared {
	if len(o.Committables) == 0 {
		return o.Earlier
	}
	return append(slices.Clone(o.Earlier), Prepared{id, o.Committables})
}

// SubtaskState is what one subtask of one uid put into a checkpoint.
type SubtaskState struct {
	Groups state.GroupRange `json:"groups"`
	Files  []state.File     `json:"files,omitempty"` // keyed state
	// Pending are the names of objects that this checkpoint does not need and a later one will name as files, such as those of a base that is
	// being uploaded. What neither this nor Files lists is garbage.
	Pending []string `json:"pending,omitempty"`
	// Broadcast is state that was the same in every subtask; only subtask 0 has it, and any restore gives it to each.
	Broadcast []state.File `json:"broadcast,omitempty"`
	// Splits are the splits that a source reader held, with their positions; Finished those it has read to the end and whose
	// enumerator may not know it yet.
	Splits   []SplitState `json:"splits,omitempty"`
	Finished []string     `json:"finished,omitempty"`
	// Raw is operator state without key: any restore hands all blobs of all subtasks out, each to one subtask.
	Raw [][]byte `json:"raw,omitempty"`
	// WatermarkMS is the operator's watermark at the barrier, Unix ms; math.MinInt64 for none yet.
	WatermarkMS int64 `json:"watermark_ms"`
}

// objects are all files of the subtask, those with content in the manifest included.
func (s *SubtaskState) objects() []state.File { return slices.Concat(s.Files, s.Broadcast) }

// SplitState is one split of a source with the position to go on from, encoded by the source.
type SplitState struct {
	ID       string `json:"id"`
	Position []byte `json:"position"`
}

// SubtaskSnapshot is what one subtask acknowledges for one uid: its state and, of a sink, what it has prepared.
type SubtaskSnapshot struct {
	UID     string
	Subtask int
	State   SubtaskState
	// Prepared is what the sink's writer has prepared for this checkpoint and for those before it, so far as the writer's task does not know yet that
	// one of their number has completed. Ascending by id.
	Prepared []Prepared
}
