package e2e

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
)

// firstCheckpoint is how long the first checkpoint of j takes, which begins after a minute. It runs in a synctest bubble.
func firstCheckpoint(t *testing.T, j *dataflow.Job) time.Duration {
	time.Sleep(time.Minute)
	for began := time.Now(); ; {
		if n, _ := j.Checkpoints(); n > 0 {
			return time.Since(began)
		}
		select {
		case <-j.Done():
			t.Fatalf("the job ended: %v", j.Wait())
		case <-time.After(time.Millisecond):
		}
	}
}

// burst makes 16 records of each.
func burst(e event, emit func(event) error) error {
	for i := range int64(16) {
		e.N = i
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

// TestUnalignedCheckpointDoesNotWaitForQueues: with a step that takes 10 ms a record all queues are full. An aligned barrier waits until they are
// worked off: 4 batches of 256 records in front of that step alone. One that overtakes waits for the alignment timeout and for records that
// have begun.
func TestUnalignedCheckpointDoesNotWaitForQueues(t *testing.T) {
	for _, c := range []struct{ timeout, from, to time.Duration }{
		{0, 10 * time.Second, 10 * time.Minute},
		{2 * time.Second, 2 * time.Second, 2*time.Second + 50*time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			src, sink := events(4, 100_000, 50), memory.NewSink[total]()
			g := dataflow.New("slow")
			s := g.From("source", src).FlatMap(burst).NewChain().KeyBy(eventKey).Process("count", count)
			slow(s, 10*time.Millisecond).To("sink", sink)
			j, stop := start(t, g, dataflow.Options{Parallelism: 2, Restart: dataflow.Restart{Never: true},
				Checkpoint: checkpoint.Every(time.Minute, checkpointtest.NewMemory("m"), checkpoint.AlignmentTimeout(c.timeout))})
			defer stop()
			d := firstCheckpoint(t, j)
			t.Logf("AlignmentTimeout %v: %v", c.timeout, d)
			if d < c.from || d > c.to {
				t.Errorf("AlignmentTimeout %v: the checkpoint took %v, want %v to %v", c.timeout, d, c.from, c.to)
			}
		})
	}
}
