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

// jobs are jobs whose queues are full, by a step that takes 10 ms a record.
var jobs = map[string]func(g *dataflow.Graph, sink *memory.Sink[total]){
	"slow sink": func(g *dataflow.Graph, sink *memory.Sink[total]) {
		s := g.From("source", events(4, 100_000, 50)).FlatMap(burst).NewChain().KeyBy(eventKey).Process("count", count)
		slow(s, 10*time.Millisecond).To("sink", sink)
	},
	"slow sink behind skewed inputs": func(g *dataflow.Graph, sink *memory.Sink[total]) {
		fast := g.From("fast", events(4, 100_000, 50)).FlatMap(burst)
		skewed := slow(g.From("skewed", events(4, 100_000, 50)).FlatMap(burst), 40*time.Millisecond)
		s := fast.KeyBy(eventKey).Connect(skewed.KeyBy(eventKey)).Process("count", countBoth)
		slow(s, 10*time.Millisecond).To("sink", sink)
	},
}

// TestUnalignedCheckpointDoesNotWaitForQueues: an aligned barrier waits until the queues are worked off: 4 batches of 256 records in front of the slow
// step alone. One that overtakes waits for the alignment timeout and for records that have begun.
func TestUnalignedCheckpointDoesNotWaitForQueues(t *testing.T) {
	for name, build := range jobs {
		for _, c := range []struct{ timeout, from, to time.Duration }{
			{0, 10 * time.Second, 30 * time.Minute},
			{2 * time.Second, 2 * time.Second, 2*time.Second + 150*time.Millisecond},
		} {
			synctest.Test(t, func(t *testing.T) {
				g := dataflow.New("slow")
				build(g, memory.NewSink[total]())
				j, stop := start(t, g, dataflow.Options{Parallelism: 2, Restart: dataflow.Restart{Never: true}, Checkpoint: checkpoint.Every(time.Minute,
					checkpointtest.NewMemory("m"), checkpoint.AlignmentTimeout(c.timeout), checkpoint.Timeout(time.Hour))})
				defer stop()
				d := firstCheckpoint(t, j)
				t.Logf("%s, AlignmentTimeout %v: %v", name, c.timeout, d)
				if d < c.from || d > c.to {
					t.Errorf("%s, AlignmentTimeout %v: the checkpoint took %v, want %v to %v", name, c.timeout, d, c.from, c.to)
				}
			})
		}
	}
}
