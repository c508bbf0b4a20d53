package checkpoint

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/state"
	"go.uber.org/zap"
)

// inFlight is a manifest with the given records in flight.
func inFlight(id, epoch int64, cs ...ChannelState) *Manifest {
	return &Manifest{Version: FormatVersion, ID: id, Epoch: epoch, MaxParallelism: 8, Channels: cs, Operators: []OperatorState{
		{UID: "op", Parallelism: 1, Subtasks: []SubtaskState{{Groups: state.GroupRange{End: 8}, WatermarkMS: NoWatermark}}}}}
}

func TestChannelsAreValidated(t *testing.T) {
	good := ChannelState{Edge: "a → b", Schema: `"long"`, To: 1, Receivers: 2, Records: 3,
		File: state.File{Name: "data/1-7-X", Size: 10, SHA256: strings.Repeat("ab", 32)}}
	if err := inFlight(7, 1, good).Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*ChannelState){
		"have no edge":           func(c *ChannelState) { c.Edge = "" },
		"subtask 2 of 2":         func(c *ChannelState) { c.To = 2 },
		"subtask -1 of 2":        func(c *ChannelState) { c.To = -1 },
		"subtask 1 of 9":         func(c *ChannelState) { c.Receivers = 9 },
		"0 records":              func(c *ChannelState) { c.Records = 0 },
		`"../x" is not the name`: func(c *ChannelState) { c.File.Name = "../x" },
		`SHA-256 "12"`:           func(c *ChannelState) { c.File.SHA256 = "12" },
	} {
		bad := good
		change(&bad)
		if err := inFlight(7, 1, good, bad).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
	m := inFlight(7, 1, good)
	m.Savepoint = true
	if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "savepoint has records in flight") {
		t.Errorf("a savepoint with records in flight: %v", err)
	}
}

// TestChannelsAreKeptAndVerified: the objects of records in flight live as long as the checkpoint that names them, and Verify reads them.
func TestChannelsAreKeptAndVerified(t *testing.T) {
	ctx, st := t.Context(), Dir(t.TempDir())
	j, err := Lead(ctx, st, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	for id := int64(1); id <= 3; id++ {
		f, err := j.Files(id).Write(ctx, state.GroupRange{End: 8}, 0, func(w io.Writer) error { _, err := w.Write([]byte("records")); return err })
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Complete(ctx, inFlight(id, j.Epoch(), ChannelState{Edge: "e", To: 0, Receivers: 1, Records: 1, File: f})); err != nil {
			t.Fatal(err)
		}
		if err := j.Prune(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if names, err := j.s.list(ctx, dataDir+"/"); err != nil || len(names) != 1 || names[0] != f.Name {
			t.Fatalf("after checkpoint %d: objects %q, want its own alone, %q (%v)", id, names, f.Name, err)
		}
	}
	if err := Verify(ctx, st); err != nil {
		t.Fatal(err)
	}
	if err := j.s.delete(ctx, j.Latest().Channels[0].File.Name); err != nil {
		t.Fatal(err)
	}
	if err := Verify(ctx, st); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `in flight on edge "e"`) {
		t.Errorf("Verify of a checkpoint whose records in flight are gone: %v", err)
	}
}

// TestCoordinatorCollectsChannels of all tasks, in an order that does not depend on that of the acknowledgements.
func TestCoordinatorCollectsChannels(t *testing.T) {
	now := time.UnixMilli(1)
	c := NewCoordinator(CoordinatorConfig{Epoch: 1, MaxParallelism: 8, Interval: time.Second, Durable: true,
		Tasks: []TaskID{{"b", 0}, {"b", 1}}}, now)
	now = now.Add(time.Second)
	c.Step(Tick{Now: now})
	state := func(edge string, to int, records int64) ChannelState {
		return ChannelState{Edge: edge, To: to, Receivers: 2, Records: records}
	}
	c.Step(Ack{Now: now, Epoch: 1, ID: 1, Task: TaskID{"b", 1}, Channels: []ChannelState{state("z", 1, 1), state("y", 1, 2), state("y", 1, 1)}})
	actions := c.Step(Ack{Now: now, Epoch: 1, ID: 1, Task: TaskID{"b", 0}, Channels: []ChannelState{state("y", 0, 3)}})
	p, ok := actions[0].(Persist)
	if !ok {
		t.Fatalf("%+v", actions)
	}
	var got []ChannelState
	for _, x := range p.Manifest.Channels {
		got = append(got, state(x.Edge, x.To, x.Records))
	}
	want := []ChannelState{state("y", 0, 3), state("y", 1, 2), state("y", 1, 1), state("z", 1, 1)}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i].Edge != want[i].Edge || got[i].To != want[i].To || got[i].Records != want[i].Records {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}
