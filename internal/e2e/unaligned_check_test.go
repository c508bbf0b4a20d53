package e2e

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/serde"
)

// opaque has no codec.
type opaque struct{ F func() }

type opaqueCodec struct{}

func (opaqueCodec) Append(dst []byte, _ opaque) ([]byte, error) { return dst, nil }
func (opaqueCodec) Decode([]byte, *opaque) error                { return nil }
func (opaqueCodec) Schema() string                              { return "opaque:test" }

// TestUnalignedNeedsCodecs: an edge between tasks whose records have no codec is refused with its remedy, unless checkpoints are aligned.
func TestUnalignedNeedsCodecs(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		codec   serde.Serde[opaque]
		refused bool
	}{
		"derived": {time.Second, nil, true}, "given": {time.Second, opaqueCodec{}, false}, "aligned": {0, nil, false},
	} {
		g := dataflow.New("codec")
		s := g.From("source", events(1, 1, 1)).Map(func(event) opaque { return opaque{} })
		if c.codec != nil {
			s = s.WithCodec(c.codec)
		}
		s.To("out", memory.NewSink[opaque]()).NewChain()
		err := g.Run(t.Context(), dataflow.Options{Checkpoint: checkpoint.Every(time.Minute, checkpointtest.NewMemory("m"), checkpoint.AlignmentTimeout(c.timeout))})
		if !c.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.refused {
			for _, want := range []string{`to "out" carries records without codec`, "WithCodec", "AlignmentTimeout to 0"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			}
		}
	}
}

// TestUnalignedNeedsItsEdges: a graph without the edge on which records were in flight is refused with the remedy, and takes nothing.
func TestUnalignedNeedsItsEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := checkpointtest.NewMemory("m")
		sink := memory.NewSink[total]()
		graph := func() *dataflow.Graph {
			g := dataflow.New("edges")
			slow(g.From("source", events(1, 100_000, 10)).KeyBy(eventKey).Process("count", count), 10*time.Millisecond).To("sink", sink)
			return g
		}
		o := dataflow.Options{Restart: dataflow.Restart{Never: true}, Checkpoint: checkpoint.Every(time.Minute, store, checkpoint.AlignmentTimeout(time.Millisecond))}
		j, stop := start(t, graph(), o)
		firstCheckpoint(t, j)
		stop()
		m, _, err := checkpoint.LoadFrom(t.Context(), store, "")
		if err != nil || len(m.Channels) == 0 {
			t.Fatalf("%+v, %v: want records in flight", m, err)
		}
		g := dataflow.New("other")
		g.From("source", events(1, 1, 1)).KeyBy(eventKey).Process("count", count).To("sink", sink)
		_, err = g.Start(t.Context(), o)
		var unmatched *checkpoint.UnmatchedChannelsError
		if !errors.As(err, &unmatched) || len(unmatched.Reasons) == 0 || !strings.Contains(err.Error(), `no edge \"count → count/0 by key\"`) ||
			!strings.Contains(err.Error(), "savepoint") {
			t.Errorf("got %v", err)
		}
		j, stop = start(t, graph(), o) // the same graph goes on, and its savepoint is aligned
		uri, err := j.Savepoint(t.Context(), dataflow.NativeSavepoint())
		if err != nil {
			stop()
			t.Fatal(err, j.Wait())
		}
		stop()
		if m, _, err = checkpoint.LoadFrom(t.Context(), store, uri[strings.Index(uri, "ckpt/"):]); err != nil || len(m.Channels) > 0 || !m.Savepoint {
			t.Errorf("the savepoint: %+v, %v", m, err)
		}
	})
}
