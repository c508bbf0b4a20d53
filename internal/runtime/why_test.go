package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// keyed is a delivery of records whose keys are their hashes.
type keyed struct {
	exchange.Delivery
	hashes []uint64
}

func (k keyed) Key(i int) (uint64, bool) { return k.hashes[i], true }
func (k keyed) KeyText(i int) string     { return fmt.Sprint("key ", k.hashes[i]) }

// batches gives the sketch n batches of 100 records, each with the hash that next gives.
func batches(s *sketch, n int, next func() uint64) {
	for range n {
		hashes := make([]uint64, 100)
		for i := range hashes {
			hashes[i] = next()
		}
		s.see(keyed{hashes: hashes}, len(hashes))
	}
}

// TestSketchFindsTheBusiestKey among random ones: its share is known to be p, so the estimate of n samples lies within four standard deviations.
func TestSketchFindsTheBusiestKey(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, p := range []float64{0.2, 0.5, 0.9, 1} {
		s := &sketch{maxParallelism: 128}
		batches(s, 2000, func() uint64 {
			if rng.Float64() < p {
				return 42
			}
			return rng.Uint64()
		})
		k := s.top()
		if k == nil || k.Hash != 42 || k.Text != "key 42" || k.Group != 0 || k.Samples != 2000 || k.Share < p-0.05 || k.Share > p+0.05 {
			t.Errorf("share %v: got %+v", p, k)
		}
	}
}

// TestSketchOfEvenKeys: no key of many equal ones is said to be busy, nor looked at.
func TestSketchOfEvenKeys(t *testing.T) {
	s, n := &sketch{maxParallelism: 128}, uint64(0)
	if s.top() != nil {
		t.Error("an empty sketch has a busiest key")
	}
	batches(s, 5000, func() uint64 { n++; return n * 0x9e3779b97f4a7c15 })
	if k := s.top(); k != nil && (k.Share > 0.02 || k.Text != "") {
		t.Errorf("got %+v of keys that come once each", k)
	}
}

// TestSketchForgets: a key that was busy long ago gives way.
func TestSketchForgets(t *testing.T) {
	s := &sketch{maxParallelism: 128}
	batches(s, 3*sketchFade/100, func() uint64 { return 1 })
	batches(s, 3*sketchFade/100, func() uint64 { return 2 })
	if k := s.top(); k.Hash != 2 || k.Share < 0.8 {
		t.Errorf("got %+v, want the key that is busy now", k)
	}
	if n := s.seen.Load(); n >= sketchFade {
		t.Errorf("counts are about %d records, want less than %d", n, sketchFade)
	}
}

const profile = `goroutine profile: total 3
1 @ 0x1 0x2
# labels: {"millrace.attempt":"1-a", "millrace.subtask":"2", "millrace.task":"look up"}
#	0x1	main.lookup+0x1c	/src/main.go:12
#	0x2	main.(*client).get[...]+0x1c	/src/main.go:14
#	0x2	github.com/millrace-io/millrace/internal/runtime.(*task).run+0x10	/src/task.go:1

2 @ 0x1
# labels: {"millrace.attempt":"1-a", "millrace.subtask":"0", "millrace.task":"look up"}
#	0x1	main.background+0x1c	/src/main.go:20

1 @ 0x1
# labels: {"millrace.attempt":"2-b", "millrace.subtask":"0", "millrace.task":"look up"}
#	0x1	main.other+0x1c	/src/main.go:30
#	0x2	github.com/millrace-io/millrace/internal/runtime.(*task).run+0x10	/src/task.go:1
`

// TestParseStacks: only the loops of the tasks of one attempt count.
func TestParseStacks(t *testing.T) {
	got := parseStacks(profile, "1-a")
	want := []string{"main.lookup", "main.(*client).get[...]", "github.com/millrace-io/millrace/internal/runtime.(*task).run"}
	if len(got) != 1 || !slices.Equal(got[why.Place{Step: "look up", Subtask: 2}], want) {
		t.Errorf("got %q", got)
	}
	if got := parseStacks("garbage\n# labels: {\n#\n\n#\tx\ty\tz\n", "1-a"); len(got) != 0 {
		t.Errorf("garbage gives %q", got)
	}
}

// TestTaskStacksOfThisProcess: the profile of this Go version is one that parseStacks reads.
func TestTaskStacksOfThisProcess(t *testing.T) {
	r := newRig(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	in, out, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	r.t.ctx = ctx
	r.op.task.OnOpen(func(context.Context) error { close(in); <-out; return nil })
	go func() {
		defer close(ended)
		r.t.label("an attempt")
		_ = r.t.run(func() error { return nil }) // ends with the context
	}()
	<-in
	frames := taskStacks("an attempt")[why.Place{Step: "step", Subtask: 0}]
	if !slices.ContainsFunc(frames, func(f string) bool { return strings.Contains(f, "TestTaskStacksOfThisProcess.func") }) {
		t.Errorf("the stack is %q, want the function of OnOpen in it", frames)
	}
	cancel()
	close(out)
	<-ended
}

func TestForeign(t *testing.T) {
	for name, want := range map[string]bool{
		"main.work": true, "main.(*x).work": true, "example.com/a/b.F[...]": true, "github.com/millrace-io/millrace/connectors/kafka.(*writer).Write": true,
		"github.com/millrace-io/millrace/dataflow_test.f": true, "github.com/millrace-io/millrace/operators.Map[...].func1": false,
		"github.com/millrace-io/millrace/internal/runtime.(*task).run": false, "time.Sleep": false, "net/http.(*Client).Do": false, "sync.(*Mutex).Lock": false,
	} {
		if got := foreign(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// BenchmarkVitals is what a task writes for Why for one batch of records and its watermark.
func BenchmarkVitals(b *testing.B) {
	var v vitals
	v.open(2)
	v.keys = &sketch{maxParallelism: 128}
	hashes := make([]uint64, exchange.BatchRecords)
	for i := range hashes {
		hashes[i] = uint64(i)
	}
	var d exchange.Delivery = keyed{hashes: hashes}
	b.ReportAllocs()
	now := time.Now().UnixNano()
	for i := int64(0); b.Loop(); i++ {
		v.took(0, d, len(hashes))
		v.control(0, exchange.Control{Kind: exchange.Watermark, Value: i})
		v.next(now + i)
	}
	if v.channels[0].mark.Load() == operators.NoWatermark {
		b.Fatal("no watermark was noted")
	}
}
