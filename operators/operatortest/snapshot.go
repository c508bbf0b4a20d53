package operatortest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/statetest"
)

// Snapshot is what one subtask of a step contributes to a checkpoint, as a restore finds it.
type Snapshot struct {
	files  *files
	groups state.GroupRange
	// generation is the number of attempts up to the one that took it.
	generation     int
	maxParallelism int
	keyed          []state.File
	states         []state.Descriptor // of keyed
	broadcast      []state.File
	raw            [][]byte
	// WatermarkMS is the operator's watermark at the barrier, Unix ms, or operators.NoWatermark.
	WatermarkMS int64
	// Committables are what the operator prepared to be committed when the checkpoint completes.
	Committables [][]byte
}

// Bytes is the size of the keyed state: keys and values of all entries, encoded. It does not depend on how a backend stores them: tables that say
// what has gone are not state. It panics when the snapshot cannot be read.
func (s *Snapshot) Bytes() (n int64) {
	r := state.Restore{Files: s.files, Handles: s.keyed, States: s.states, MaxParallelism: s.maxParallelism}
	_, err := state.ReadEntries(context.Background(), r, state.GroupRange{End: s.maxParallelism}, func(_ []state.Descriptor, e state.Entry) error {
		n += int64(len(e.Key) + len(e.Sub) + len(e.Value))
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("operatortest: size of a snapshot: %v", err))
	}
	return n
}

// Snapshot passes a barrier through the operator and stores its state. The operator goes on afterwards.
func (h *Harness[In, Out]) Snapshot() *Snapshot {
	h.t.Helper()
	h.barriers++
	ctx, hooks := h.t.Context(), h.task.Hooks()
	for _, f := range hooks.Barrier {
		h.must("barrier", f(ctx, h.barriers))
	}
	s := &Snapshot{files: h.files, groups: h.groups(), generation: h.o.generation(), maxParallelism: h.o.MaxParallelism}
	var err error
	if hooks.Committables != nil {
		s.Committables, err = hooks.Committables(ctx, h.barriers)
		h.must("prepare", err)
	}
	if hooks.SaveRaw != nil {
		s.raw, err = hooks.SaveRaw()
		h.must("save raw state", err)
	}
	if hooks.State != nil {
		image, err := hooks.State.Snapshot()
		h.must("snapshot", err)
		s.keyed, err = statetest.Store(hooks.State, image, &h.files.Files)
		h.must("write the snapshot", err)
		s.states = hooks.State.Descriptors()
	}
	if hooks.Broadcast != nil && h.o.Subtask == 0 {
		image, err := hooks.Broadcast.Snapshot()
		h.must("snapshot of the broadcast state", err)
		defer image.Release()
		s.broadcast, err = statetest.Handles(image.Write(ctx, h.files))
		h.must("write the snapshot of the broadcast state", err)
	}
	s.WatermarkMS = h.task.Watermark()
	return s
}

func (h *Harness[In, Out]) groups() state.GroupRange {
	return state.RangeOf(h.o.Subtask, h.o.Parallelism, h.o.MaxParallelism)
}

// restore opens the state and loads what concerns this subtask.
func (h *Harness[In, Out]) restore() error {
	ctx, hooks := h.t.Context(), h.task.Hooks()
	if hooks.State != nil {
		if err := hooks.State.Open(h.o.State, state.OpenOptions{UID: h.o.UID, Subtask: h.o.Subtask, Attempt: h.o.Attempt, Groups: h.groups()}); err != nil {
			return err
		}
	}
	if hooks.Broadcast != nil {
		if err := hooks.Broadcast.Open(memstate.New(), state.OpenOptions{UID: h.o.UID, Subtask: h.o.Subtask, Attempt: h.o.Attempt, Groups: state.GroupRange{End: 1}}); err != nil {
			return err
		}
	}
	if len(h.o.From) == 0 {
		return nil
	}
	var keyed, broadcast []state.File
	var raw [][]byte
	watermark, blobs := operators.EndOfTime, 0
	for i, s := range h.o.From {
		if s.maxParallelism != h.o.MaxParallelism {
			return fmt.Errorf("operatortest: the snapshot was taken with max parallelism %d, the harness has %d; it is fixed for the life of a state", s.maxParallelism, h.o.MaxParallelism)
		}
		watermark = min(watermark, s.WatermarkMS)
		for _, f := range s.keyed {
			f.Groups = state.GroupRange{Start: max(f.Groups.Start, s.groups.Start), End: min(f.Groups.End, s.groups.End)}
			if f.Groups.Overlaps(h.groups()) {
				f.Name = strconv.Itoa(i) + "/" + f.Name
				keyed = append(keyed, f)
			}
		}
		for _, f := range s.broadcast {
			f.Name = strconv.Itoa(i) + "/" + f.Name
			broadcast = append(broadcast, f)
		}
		for _, b := range s.raw {
			if blobs%h.o.Parallelism == h.o.Subtask {
				raw = append(raw, b)
			}
			blobs++
		}
	}
	if !h.o.ForgetWatermark {
		h.task.SetWatermark(watermark)
	}
	if hooks.State != nil && len(keyed) > 0 {
		if err := hooks.State.Restore(ctx, state.Restore{Files: h.files, Handles: keyed, States: h.o.From[0].states, Drop: h.o.Drop}); err != nil {
			return err
		}
	}
	if hooks.Broadcast != nil && len(broadcast) > 0 {
		if err := hooks.Broadcast.Restore(ctx, state.Restore{Files: h.files, Handles: broadcast, Drop: h.o.Drop}); err != nil {
			return err
		}
	}
	if hooks.RestoreRaw != nil && len(raw) > 0 {
		return hooks.RestoreRaw(raw)
	}
	return nil
}

// files are the objects that one harness has written; those of snapshot i that it was restored from are named "i/name".
type files struct {
	statetest.Files
	from []*Snapshot
}

// Read implements state.Files.
func (f *files) Read(ctx context.Context, h state.File) (io.ReadCloser, error) {
	from, h, err := f.find(h)
	if err != nil {
		return nil, err
	}
	return from.Read(ctx, h)
}

// Open implements state.Files.
func (f *files) Open(ctx context.Context, h state.File) (state.Object, error) {
	from, h, err := f.find(h)
	if err != nil {
		return nil, err
	}
	return from.Open(ctx, h)
}

// find is who has the object, and the handle that he knows it by.
func (f *files) find(h state.File) (state.Files, state.File, error) {
	head, name, ok := strings.Cut(h.Name, "/")
	if !ok {
		return &f.Files, h, nil
	}
	i, err := strconv.Atoi(head)
	if err != nil || i < 0 || i >= len(f.from) {
		return nil, h, fmt.Errorf("operatortest: there is no object %q", h.Name)
	}
	h.Name = name
	return f.from[i].files, h, nil
}
