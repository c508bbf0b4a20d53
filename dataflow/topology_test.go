package dataflow_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/connectors/memory"
	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// rec is the record of the random graphs. Every step of theirs gives the same multiset of records whatever the order of its input, so
// that a plain loop over slices says what a job of any parallelism must give.
type rec struct{ Key, N int64 }

func compareRecs(a, b rec) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.N, b.N)) }

// lane is a stream of the graph with what it must carry.
type lane struct {
	s    dataflow.Stream[rec]
	want []rec
}

// topology builds a graph and its replay side by side.
type topology struct {
	g     *dataflow.Graph
	steps int
	sinks []*memory.Sink[rec]
	wants [][]rec
	trace []string
}

func newTopology() *topology { return &topology{g: dataflow.New("topology")} }

func (p *topology) uid(kind string) string {
	p.steps++
	return fmt.Sprintf("%s-%d", kind, p.steps)
}

func (p *topology) note(format string, args ...any) {
	p.trace = append(p.trace, fmt.Sprintf(format, args...))
}

// parallel sets the parallelism of the lane's last step, 0 leaves the job's.
func (p *topology) parallel(l lane, n int) lane {
	if n > 0 {
		l.s.Parallelism(n)
		p.note("x%d", n)
	}
	return l
}

func (p *topology) source(splits int, records int64) lane {
	value := func(split int, i int64) rec { return rec{(i*5 + int64(split)) % 11, i} }
	l := lane{s: p.g.From(p.uid("source"), memory.Source[rec]{Splits: splits, Records: records, PerCheckpoint: records/4 + 1, Value: value})}
	for split := range splits {
		for i := range records {
			l.want = append(l.want, value(split, i))
		}
	}
	p.note("source %dx%d", splits, records)
	return l
}

func (p *topology) mapped(l lane, add int64) lane {
	f := func(r rec) rec { return rec{r.Key + add, r.N*3 + add} }
	out := lane{s: l.s.Map(f)}
	for _, r := range l.want {
		out.want = append(out.want, f(r))
	}
	p.note("map")
	return out
}

// split sends even and odd numbers to different outputs.
func (p *topology) split(l lane) (even, odd lane) {
	even.s, odd.s = l.s.Split(p.uid("split"), func(r rec, out, side func(rec) error) error {
		if r.N%2 == 0 {
			return out(r)
		}
		return side(r)
	})
	for _, r := range l.want {
		if r.N%2 == 0 {
			even.want = append(even.want, r)
		} else {
			odd.want = append(odd.want, r)
		}
	}
	p.note("split")
	return even, odd
}

func (p *topology) union(a, b lane) lane {
	p.note("union")
	return lane{a.s.Union(b.s), slices.Concat(a.want, b.want)}
}

// counted numbers the records of each key: state, and an exchange.
func (p *topology) counted(l lane, mod int64) lane {
	key := func(r rec) int64 { return (r.Key + r.N) % mod }
	out := lane{s: l.s.KeyBy(key).Process(p.uid("count"), func(b *operators.Keyed[int64, rec, rec]) {
		n := b.Value[int64]("n")
		b.OnRecord(func(c *operators.Ctx[int64, rec], _ rec) error {
			v, err := n.Get()
			if err != nil {
				return err
			}
			if err := n.Set(v + 1); err != nil {
				return err
			}
			return c.Emit(rec{c.Key(), v + 1})
		})
	})}
	counts := map[int64]int64{}
	for _, r := range l.want {
		counts[key(r)]++
		out.want = append(out.want, rec{key(r), counts[key(r)]})
	}
	p.note("count")
	return out
}

func (p *topology) sink(l lane, parallelism int) {
	s := memory.NewSink[rec]()
	o := l.s.To(p.uid("sink"), s)
	if parallelism > 0 {
		o.Parallelism(parallelism)
	}
	p.sinks, p.wants = append(p.sinks, s), append(p.wants, l.want)
	p.note("sink x%d", parallelism)
}

// random adds steps to random lanes; each lane that is left has a sink, and some streams have several consumers.
func (p *topology) random(rng *rand.Rand) {
	lanes := []lane{p.source(1+rng.IntN(4), 100+rng.Int64N(400))}
	if rng.IntN(2) == 0 {
		lanes = append(lanes, p.source(1+rng.IntN(4), rng.Int64N(300)))
	}
	for range 2 + rng.IntN(7) {
		i := rng.IntN(len(lanes))
		l := lanes[i]
		switch k := rng.IntN(6); {
		case k == 0 || k == 1:
			lanes[i] = p.counted(l, 2+rng.Int64N(20))
		case k == 2:
			lanes[i] = p.mapped(l, rng.Int64N(10))
		case k == 3:
			even, odd := p.split(l)
			lanes[i] = even
			lanes = append(lanes, odd)
		case k == 4: // both the old stream and a new one of it go on
			lanes = append(lanes, p.mapped(l, 1))
		case len(l.want) < 5000:
			j := rng.IntN(len(lanes))
			lanes[i] = p.union(l, lanes[j])
			if i != j && rng.IntN(2) == 0 {
				lanes = slices.Delete(lanes, j, j+1)
				continue
			}
		}
		lanes[i] = p.parallel(lanes[i], rng.IntN(6))
	}
	for _, l := range lanes {
		p.sink(l, rng.IntN(4))
	}
}

// chaos crashes at random points of the library, whichever is reached.
type chaos struct {
	mu    sync.Mutex
	rng   *rand.Rand
	left  int
	count int
}

func (c *chaos) hook(point string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 || c.rng.IntN(120) > 0 {
		return nil
	}
	c.left--
	c.count++
	return &crash.Error{Point: point}
}

// run runs the graph under crashes and compares every sink with the replay. It returns how often the job has crashed.
func (p *topology) run(t *testing.T, seed uint64, parallelism, crashes int) (crashed int) {
	t.Helper()
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 2)), left: crashes}
	defer crash.Set(c.hook)()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	o := dataflow.Options{Parallelism: parallelism,
		Checkpoint: checkpoint.Every(10*time.Millisecond, checkpointtest.NewMemory("m")),
		Restart:    dataflow.Restart{MaxAttempts: -1, InitialDelay: time.Millisecond, MaxDelay: time.Millisecond}}
	err := p.g.Run(ctx, o)
	for e := (&crash.Error{}); errors.As(err, &e); { // before the job had begun
		err = p.g.Run(ctx, o)
	}
	if err != nil {
		t.Fatalf("seed %d (MILLRACE_SEED), parallelism %d, after %d crashes: %v\n%v", seed, parallelism, c.count, err, p.trace)
	}
	for i, s := range p.sinks {
		got, want := s.Values(), slices.Clone(p.wants[i])
		slices.SortFunc(got, compareRecs)
		slices.SortFunc(want, compareRecs)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d (MILLRACE_SEED), parallelism %d, after %d crashes: sink %d has %d records, want %d, or others\n%v",
				seed, parallelism, c.count, i, len(got), len(want), p.trace)
		}
	}
	return c.count
}

// seeds are those of the random graphs; MILLRACE_SEED repeats one, MILLRACE_HISTORIES makes more of them.
func seeds(t *testing.T, n int) []uint64 {
	if s := os.Getenv("MILLRACE_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	if s := os.Getenv("MILLRACE_HISTORIES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = rand.Uint64()
	}
	t.Logf("seeds %d", out)
	return out
}

// TestRandomGraphsEqualTheirReplay under random crashes, also with more threads than the machine has cores.
func TestRandomGraphsEqualTheirReplay(t *testing.T) {
	crashes := 0
	for i, seed := range seeds(t, 12) {
		p, rng := newTopology(), rand.New(rand.NewPCG(seed, 1))
		p.random(rng)
		if i%2 == 1 {
			defer goruntime.GOMAXPROCS(goruntime.GOMAXPROCS(4 * goruntime.NumCPU()))
		}
		crashes += p.run(t, seed, 1+rng.IntN(3), rng.IntN(4))
	}
	if t.Logf("%d crashes", crashes); crashes == 0 && os.Getenv("MILLRACE_SEED") == "" {
		t.Error("no job has crashed: the test shows little")
	}
}

// TestDiamonds: a stream that is split and united again, one that has two sinks, and a side output that crosses an exchange.
func TestDiamonds(t *testing.T) {
	for _, seed := range seeds(t, 4) {
		p := newTopology()
		s := p.source(3, 800)
		even, odd := p.split(s)
		u := p.union(p.mapped(even, 1), p.counted(odd, 13))
		p.sink(u, 0)
		p.sink(p.counted(p.union(u, s), 7), 0)
		p.sink(odd, 2)
		p.run(t, seed, 2, 3)
	}
}

// TestParallelismOfEveryStep from 1 to 5, so that every pair of widths meets on plain edges and on exchanges.
func TestParallelismOfEveryStep(t *testing.T) {
	for a := range 5 {
		for b := range 5 {
			p := newTopology()
			l := p.parallel(p.source(5, 60), a+1)
			l = p.parallel(p.mapped(l, 1), b+1)
			l = p.parallel(p.counted(l, 9), a+1)
			l = p.parallel(p.union(l, p.mapped(l, 2)), b+1)
			p.sink(l, a+1)
			p.run(t, 0, 1, 0)
		}
	}
}

// TestEndedInputAfterARestart: one of two sources ends early, the job restarts from a checkpoint behind that, and the windows of the other
// must still close.
func TestEndedInputAfterARestart(t *testing.T) {
	const short, long = 10, 2000
	at := func(e event) time.Time { return time.UnixMilli(e.AtMS) }
	source := func(records int64) memory.Source[event] {
		s := events(1, records, 3)
		s.PerCheckpoint = 200
		return s
	}
	sink := memory.NewSink[int64]()
	var once sync.Once
	g := dataflow.New("ended")
	a := g.From("short", source(short)).Timestamps(operators.Watermarks[event]{Timestamp: at}).
		KeyBy(func(e event) string { return e.Key }).Reduce("newest", func(_, e event) event { return e })
	b := g.From("long", source(long)).Timestamps(operators.Watermarks[event]{Timestamp: at}).TryMap(func(e event) (_ event, err error) {
		if e.N == 1500 {
			once.Do(func() { err = errors.New("once") })
		}
		return e, err
	})
	counts := a.Union(b).KeyBy(func(e event) string { return e.Key }).Window(operators.Tumbling(time.Second)).
		Aggregate("windows", operators.Count[event](), func(_ string, _ operators.Window, n int64) int64 { return n })
	counts.KeyBy(func(int64) string { return "all" }).Window(operators.Tumbling(time.Hour)).
		Aggregate("sum", state.Aggregate[int64, int64, int64]{
			Add: func(sum, n int64) int64 { return sum + n }, Result: func(sum int64) int64 { return sum }}, func(_ string, _ operators.Window, n int64) int64 { return n }).
		To("sink", sink)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := g.Start(ctx, dataflow.Options{Checkpoint: checkpoint.Every(10*time.Millisecond, checkpointtest.NewMemory("m")),
		Restart: dataflow.Restart{InitialDelay: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := sink.Values(); len(got) != 1 || got[0] != short+long || j.Restarts() != 1 {
		t.Errorf("after %d restarts: %v, want [%d]: every record in one window", j.Restarts(), got, short+long)
	}
}
