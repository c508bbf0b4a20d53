package savepoint_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/state"
)

// TestWriteKeepsEverything: a portable savepoint holds each entry of the checkpoint as it was, and all else that a restore needs.
func TestWriteKeepsEverything(t *testing.T) {
	for _, codec := range []state.RowsCodec{state.RowsZstandard, state.RowsDeflate, state.RowsNone} {
		for _, fileBytes := range []int64{0, 300} {
			t.Run(fmt.Sprint(codec, " ", fileBytes), func(t *testing.T) {
				dir := t.TempDir()
				m, files := takeCheckpoint(t, checkpoint.Dir(dir), drawAccounts(rand.New(rand.NewPCG(1, 2)), 200), 3, 16)
				native := savepoint.From("native", m, files)
				s := write(t, native, checkpoint.Under(checkpoint.Dir(dir), "sp/monday"), savepoint.Options{Codec: codec, FileBytes: fileBytes})
				if got, want := dump(t, s), dump(t, native); !slices.Equal(got, want) {
					t.Errorf("the savepoint holds %d entries, want these %d:\n%v\n%v", len(got), len(want), got, want)
				}
				if got := len(s.Manifest().Operators[0].Subtasks[0].Files); fileBytes > 0 && got < 20 || fileBytes == 0 && got != 6 {
					t.Errorf("the state of agg is in %d files of %d bytes, want one for each state, or many of 300 bytes", got, fileBytes)
				}
				again := write(t, s, checkpoint.Dir(t.TempDir()), savepoint.Options{FileBytes: fileBytes / 2})
				if got, want := dump(t, again), dump(t, native); !slices.Equal(got, want) {
					t.Errorf("the savepoint of the savepoint holds other entries")
				}
				compareRest(t, again.Manifest())
			})
		}
	}
}

// compareRest checks what takeCheckpoint puts beside entries, at parallelism 3.
func compareRest(t *testing.T, m *checkpoint.Manifest) {
	t.Helper()
	agg, sink, source := m.Operators[0], m.Operators[1], m.Operators[2]
	if !m.Savepoint || m.Job != "job" || m.CreatedMS != nowMS || m.MaxParallelism != 16 || m.ID != 1 {
		t.Errorf("manifest %+v", m)
	}
	if got := agg.Subtasks[0].WatermarkMS; len(agg.Subtasks) != 1 || got != 998 {
		t.Errorf("watermark of agg is %d in %d subtasks, want the least of 1000, 999 and 998 in one", got, len(agg.Subtasks))
	}
	if got := sink.Committables; !reflect.DeepEqual(got, [][]byte{[]byte("tx 1"), []byte("tx 2")}) || sink.Subtasks[0].WatermarkMS != checkpoint.NoWatermark {
		t.Errorf("sink is %+v", sink)
	}
	want := checkpoint.SubtaskState{Groups: state.GroupRange{End: 16}, WatermarkMS: 2000,
		Splits:   []checkpoint.SplitState{{ID: "split-0", Position: []byte("at 0")}, {ID: "split-1", Position: []byte("at 1")}, {ID: "split-2", Position: []byte("at 2")}},
		Finished: []string{"done-0", "done-1", "done-2"}, Raw: [][]byte{[]byte("raw 0"), []byte("raw 1"), []byte("raw 2")}}
	if got := source.Subtasks[0]; !reflect.DeepEqual(got, want) || string(source.Enumerator) != "next" {
		t.Errorf("source is %+v with enumerator %q, want %+v and \"next\"", got, source.Enumerator, want)
	}
}
