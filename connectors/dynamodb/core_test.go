package dynamodb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// script drives a core by the commands of testdata/core; random numbers are always 0.5, time moves by command only.
type script struct {
	c       *core[string]
	now     time.Time
	batches map[int]*batch[string]
	n       int
}

func newScript(versioned bool) *script {
	s := &script{c: newCore[string](versioned), now: time.Unix(1000, 0), batches: map[int]*batch[string]{}}
	s.c.random = func() float64 { return 0.5 }
	s.c.maxOps, s.c.maxBytes, s.c.window = 25, 1000, newWindow(2, 8)
	return s
}

func name(o *op[string]) string {
	out := o.key
	if v := o.version.String(); v != "0" {
		out += "@" + v
	}
	return out + o.value
}

func names(ops []*op[string]) string {
	if len(ops) == 0 {
		return "none"
	}
	var out []string
	for _, o := range ops {
		out = append(out, name(o))
	}
	return strings.Join(out, " ")
}

func (s *script) add(d *datadriven.TestData, t *testing.T) string {
	o := &op[string]{bytes: 10, units: 1, since: s.now}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "key":
			o.key = a.Vals[0]
		case "value":
			o.value = ":" + a.Vals[0]
		case "version":
			o.version, _ = attr.ParseNumber(a.Vals[0])
		case "bytes":
			d.ScanArgs(t, "bytes", &o.bytes)
		case "units":
			var n int
			d.ScanArgs(t, "units", &n)
			o.units = float64(n)
		}
	}
	return []string{"queued", "replaced", "superseded"}[s.c.add(o)]
}

func (s *script) next() string {
	b, wait := s.c.next(s.now)
	switch {
	case b != nil:
		s.n++
		s.batches[s.n] = b
		return fmt.Sprintf("batch %d: %s", s.n, names(b.ops))
	case wait > 0:
		return fmt.Sprintf("wait %v", wait)
	}
	return "nothing until an event"
}

// finish: the arguments done, refused, or retry=(a,b) with slow=table|oneKey|outage; counted=n.
func (s *script) finish(d *datadriven.TestData, t *testing.T) string {
	var id int
	d.ScanArgs(t, "batch", &id)
	b := s.batches[id]
	delete(s.batches, id)
	a := answer[string]{counted: -1, refused: d.HasArg("refused")}
	var retry []string
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "retry":
			retry = arg.Vals
		case "slow":
			a.slow = slowness(slices.Index([]string{"nobody", "oneKey", "table", "outage"}, arg.Vals[0]))
		case "counted":
			var n int
			d.ScanArgs(t, "counted", &n)
			a.counted = float64(n)
		}
	}
	for _, o := range b.ops {
		if slices.Contains(retry, o.key) || slices.Contains(retry, "all") {
			a.retry = append(a.retry, o)
		} else {
			a.done = append(a.done, o)
		}
	}
	if poison := s.c.finish(b, a, s.now); poison != nil {
		return "poison: " + names(poison)
	}
	return "ok"
}

func (s *script) state() string {
	return fmt.Sprintf("lanes=%d bytes=%d calls=%d window=%d", len(s.c.lanes), s.c.bytes, s.c.calls, s.c.window.calls())
}

func TestCoreScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		s := newScript(false)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "new":
				n := s.n // batches are numbered through the whole script
				s = newScript(d.HasArg("versioned"))
				s.n = n
				if d.HasArg("single") {
					s.c.maxOps = 1
				}
				if d.HasArg("wcu") {
					var n int
					d.ScanArgs(t, "wcu", &n)
					s.c.bucket.rate = float64(n)
				}
				if d.HasArg("window") {
					var n int
					d.ScanArgs(t, "window", &n)
					s.c.window = newWindow(n, 8)
				}
				return "ok"
			case "add":
				return s.add(d, t)
			case "next":
				return s.next()
			case "finish":
				return s.finish(d, t)
			case "time":
				dur, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				s.now = s.now.Add(dur)
				return "ok"
			case "state":
				return s.state()
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

// TestCoreRandom checks the contract of core on random histories: no key twice in flight, versions of a key written in order, nothing
// forgotten, no bytes leaked.
func TestCoreRandom(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := newScript(seed%2 == 0)
		s.c.random = rng.Float64
		if s.c.versioned {
			s.c.maxOps = 1
		} else {
			s.c.maxOps = 1 + rng.IntN(25)
		}
		if seed%3 == 0 {
			s.c.bucket.rate = 5
		}
		r := &randomRun{t: t, seed: seed, script: s, rng: rng, newest: map[string]int{}, stored: map[string]int{}, poisoned: map[string]int{}, flying: map[string]bool{}}
		r.run(400)
	}
}

type randomRun struct {
	*script
	t                        *testing.T
	seed                     uint64
	rng                      *rand.Rand
	newest, stored, poisoned map[string]int // by key
	flying                   map[string]bool
}

func (r *randomRun) run(steps int) {
	for i := 0; i < steps || !r.c.empty(); i++ {
		if i > 100*steps {
			r.t.Fatalf("seed %d: does not come to an end: %s", r.seed, r.state())
		}
		switch {
		case i < steps && r.rng.IntN(2) == 0:
			r.addOne(i + 1)
		case len(r.batches) > 0 && r.rng.IntN(2) == 0:
			r.answerOne(i < steps)
		case r.rng.IntN(4) == 0:
			r.now = r.now.Add(time.Duration(r.rng.IntN(500)) * time.Millisecond)
		default:
			r.sendOne()
		}
	}
	for key, v := range r.newest {
		if r.stored[key] != v && r.poisoned[key] != v {
			r.t.Errorf("seed %d: key %s is stored with version %d, want %d", r.seed, key, r.stored[key], v)
		}
	}
	if r.c.bytes != 0 || r.c.calls != 0 || r.c.ready.len() != 0 || len(r.c.delayed) != 0 {
		r.t.Errorf("seed %d: empty, but %s, %d ready, %d delayed", r.seed, r.state(), r.c.ready.len(), len(r.c.delayed))
	}
}

func (r *randomRun) addOne(v int) {
	key := fmt.Sprint("k", r.rng.IntN(12))
	n, _ := attr.ParseNumber(fmt.Sprint(v))
	r.c.add(&op[string]{key: key, version: n, bytes: 10 + r.rng.IntN(300), units: 1, since: r.now})
	r.newest[key] = v
}

func (r *randomRun) sendOne() {
	before := r.n
	r.next()
	if r.n == before {
		return
	}
	bytes := 0
	for _, o := range r.batches[r.n].ops {
		if r.flying[o.key] {
			r.t.Fatalf("seed %d: key %s is in flight twice", r.seed, o.key)
		}
		r.flying[o.key] = true
		bytes += o.bytes
	}
	if n := len(r.batches[r.n].ops); n > r.c.maxOps || n > 1 && bytes > r.c.maxBytes {
		r.t.Fatalf("seed %d: batch of %d writes, %d bytes", r.seed, n, bytes)
	}
}

// answerOne finishes a random batch: with faults while there is input, in the end well.
func (r *randomRun) answerOne(faults bool) {
	ids := slices.Sorted(func(yield func(int) bool) {
		for id := range r.batches {
			if !yield(id) {
				return
			}
		}
	})
	id := ids[r.rng.IntN(len(ids))]
	b := r.batches[id]
	delete(r.batches, id)
	a := answer[string]{counted: -1}
	switch kind := r.rng.IntN(8); {
	case !faults || kind < 4:
		a.done = b.ops
	case kind == 4:
		a.refused = true
	case kind == 5:
		a.retry, a.slow = b.ops, []slowness{oneKey, table, outage}[r.rng.IntN(3)]
	default:
		at := r.rng.IntN(len(b.ops) + 1)
		a.done, a.retry, a.slow = b.ops[:at], b.ops[at:], oneKey
	}
	for _, o := range a.done {
		v := 0
		fmt.Sscan(o.version.String(), &v)
		if v <= r.stored[o.key] {
			r.t.Fatalf("seed %d: version %d of %s written after %d", r.seed, v, o.key, r.stored[o.key])
		}
		r.stored[o.key] = v
	}
	for _, o := range slices.Concat(a.done, a.retry) {
		delete(r.flying, o.key)
	}
	if a.refused { // its halves are sent again
		for _, o := range b.ops {
			delete(r.flying, o.key)
		}
	}
	for _, o := range r.c.finish(b, a, r.now) {
		v := 0
		fmt.Sscan(o.version.String(), &v)
		r.poisoned[o.key] = v
	}
}
