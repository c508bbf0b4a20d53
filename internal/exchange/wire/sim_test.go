package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// side is one process of the simulation.
type side struct {
	s     *Session
	r     Reader
	out   []byte // written and not read by the other side
	open  bool
	sent  [][][]byte     // by edge: what each batch held
	came  []int          // by edge that is received: batches that have come
	held  [][]Batch      // by edge: come and not released
	back  [][Lents]int32 // released and not told
	under [][Lents]int32 // by edge that is sent: the model of what is under way
	other *side
}

func newSides(rng *rand.Rand) (a, b *side) {
	var ab, ba []Edge
	for i := range 1 + rng.IntN(3) {
		ab = append(ab, edge(string(rune('a'+i)), Pair{0, 0}, Pair{0, 1}))
		ba = append(ba, edge(string(rune('A'+i)), Pair{1, 0}))
	}
	shuffled := func(es []Edge) []Edge {
		out := append([]Edge{}, es...)
		rng.Shuffle(len(out), func(i, k int) { out[i], out[k] = out[k], out[i] })
		return out
	}
	a, b = &side{s: NewSession(hello("p", "q"), ab, ba)}, &side{s: NewSession(hello("q", "p"), shuffled(ba), shuffled(ab))}
	a.other, b.other = b, a
	for _, x := range []*side{a, b} {
		x.sent, x.under = make([][][]byte, len(x.s.out)), make([][Lents]int32, len(x.s.out))
		x.came, x.held, x.back = make([]int, len(x.s.in)), make([][]Batch, len(x.s.in)), make([][Lents]int32, len(x.s.in))
		x.out, _ = x.s.Greeting(nil)
	}
	return a, b
}

// send sends a random batch if the model has room for it.
func (x *side) send(rng *rand.Rand) {
	n, l := rng.IntN(len(x.under)), Lent(rng.IntN(Lents))
	if !x.open || x.under[n][l] == testBounds[l] {
		return
	}
	x.under[n][l]++
	b := Batch{Lent: l, Control: uint8(rng.IntN(6)), Value: rng.Int64() - rng.Int64(), Announced: rng.IntN(4) == 0, DueNanos: rng.Int64() - rng.Int64()}
	if !b.Announced {
		b.DueNanos = 0
	}
	if l != Barrier && rng.IntN(3) > 0 {
		b.Records = 1 + rng.IntN(256)
		b.Rest = make([]byte, 1+rng.IntN(3000))
		for i := range b.Rest {
			b.Rest[i] = byte(rng.Uint32())
		}
	}
	x.s.Sent(n, l)
	at := len(x.out)
	x.out, _ = End(append(b.Append(x.out, n), b.Rest...), at)
	x.sent[n] = append(x.sent[n], image(b))
}

// image is all that a batch says.
func image(b Batch) []byte { return append(b.Append(nil, 0), b.Rest...) }

// release gives back the oldest batch of a random edge.
func (x *side) release(rng *rand.Rand) {
	n := rng.IntN(len(x.held))
	if len(x.held[n]) == 0 {
		return
	}
	l := x.held[n][0].Lent
	x.held[n] = x.held[n][1:]
	x.s.Released(n, l)
	x.back[n][l]++
}

// tell sends what was released.
func (x *side) tell() {
	if !x.open {
		return
	}
	at, any := len(x.out), false
	x.out = Begin(x.out, KindCredit)
	for n, peers := range x.s.Peers() {
		if x.back[n] != [Lents]int32{} {
			any = true
			x.out = AppendCredit(x.out, peers, &x.back[n])
			x.back[n] = [Lents]int32{}
		}
	}
	if !any {
		x.out = x.out[:at]
		return
	}
	x.out, _ = End(x.out, at)
}

// errWrong says that the protocol has given something that was not sent.
var errWrong = errors.New("not what was sent")

// read takes at most n bytes of what the other side has written.
func (x *side) read(n int) error {
	space := x.r.Space()
	n = copy(space, x.other.out[:min(n, len(x.other.out))])
	x.other.out = x.other.out[n:]
	x.r.Filled(n)
	for {
		f, ok, err := x.r.Next()
		if err != nil || !ok {
			return err
		}
		ev, err := x.s.Take(f)
		for ; err == nil && ev.Kind == Returned; ev, err = x.s.More() {
			for l, k := range ev.Returned {
				x.under[ev.Edge][l] -= k
			}
		}
		if err != nil {
			return err
		}
		switch ev.Kind {
		case Greeted:
			x.r.Trust()
		case Established:
			x.open = true
		case Arrived:
			if err := x.arrived(ev); err != nil {
				return err
			}
		}
	}
}

func (x *side) arrived(ev Event) error {
	at := 0
	for x.other.s.Label(at) != x.s.InLabel(ev.Edge) {
		at++
	}
	sent := x.other.sent[at]
	k := x.came[ev.Edge]
	x.came[ev.Edge]++
	if k >= len(sent) || !bytes.Equal(sent[k], image(ev.Batch)) {
		return errWrong
	}
	b := ev.Batch
	b.Rest = nil
	x.held[ev.Edge] = append(x.held[ev.Edge], b)
	for l, bound := range testBounds {
		if n := x.s.in[ev.Edge][l].Load(); n > bound {
			return errWrong
		}
	}
	return nil
}

// simulate runs random steps; spoil, if it is not nil, may change what is under way.
func simulate(rng *rand.Rand, spoil func(x *side)) (a, b *side, err error) {
	a, b = newSides(rng)
	for range 400 {
		x := a
		if rng.IntN(2) == 0 {
			x = b
		}
		switch rng.IntN(6) {
		case 0, 1:
			x.send(rng)
		case 2:
			x.release(rng)
		case 3:
			x.tell()
		default:
			err = x.read(1 + rng.IntN(1<<rng.IntN(14)))
		}
		if spoil != nil {
			spoil(x)
		}
		if err != nil {
			return a, b, err
		}
	}
	return a, b, settle(a, b)
}

// settle lets both sides read and give back all that there is.
func settle(a, b *side) error {
	for range 3 {
		for _, x := range []*side{a, b} {
			for len(x.other.out) > 0 {
				if err := x.read(1 << 20); err != nil {
					return err
				}
			}
			for n, held := range x.held {
				for _, h := range held {
					x.s.Released(n, h.Lent)
					x.back[n][h.Lent]++
				}
				x.held[n] = nil
			}
			x.tell()
		}
	}
	return nil
}

// TestSimulation: two sides send, hold back, release and give credit in random order over streams that are split at random. All batches come once, in the order
// of their edge, and in the end all credit is back: nothing that one edge holds keeps another from going on.
func TestSimulation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(500) {
		a, b, err := simulate(rand.New(rand.NewPCG(seed, i)), nil)
		if err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
		for _, x := range []*side{a, b} {
			for n := range x.under {
				if x.under[n] != [Lents]int32{} {
					t.Fatalf("run %d: edge %s has %v under way when all is back", i, x.s.Label(n), x.under[n])
				}
				for l := range x.s.out[n] {
					if k := x.s.out[n][l].Load(); k != 0 {
						t.Fatalf("run %d: edge %s counts %d", i, x.s.Label(n), k)
					}
				}
			}
			came := 0
			for _, k := range x.came {
				came += k
			}
			sent := 0
			for _, s := range x.other.sent {
				sent += len(s)
			}
			if came != sent || !x.open {
				t.Fatalf("run %d: %d batches of %d have come (open %v)", i, came, sent, x.open)
			}
		}
	}
}

// TestDamage: a stream in which one byte has changed is never taken for another one: there is an error, or a frame that never becomes whole.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	errs, stuck := 0, 0
	for i := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, i))
		at, done := rng.IntN(200), false
		a, b, err := simulate(rng, func(x *side) {
			if at--; at < 0 && !done && len(x.out) > 0 {
				x.out[rng.IntN(len(x.out))] ^= byte(1 + rng.IntN(255))
				done = true
			}
		})
		switch {
		case errors.Is(err, errWrong):
			t.Fatalf("run %d: damaged data was delivered", i)
		case err != nil:
			errs++
		case done && a.r.Partial()+b.r.Partial() == 0:
			t.Fatalf("run %d: the damage went unseen", i)
		default:
			stuck++
		}
	}
	if errs < 500 {
		t.Errorf("only %d errors, %d streams stuck", errs, stuck)
	}
}

// FuzzStream: whatever a peer sends, a session ends with an error or waits for more; it never panics, and its memory follows what has come.
func FuzzStream(f *testing.F) {
	edges := []Edge{edge("in", Pair{0, 0})}
	greeting, _ := NewSession(hello("p", "q"), edges, edges).Greeting(nil)
	b := Batch{Records: 2, Rest: []byte("rest"), Announced: true, Control: 3, Value: 9}
	whole, _ := End(append(b.Append(greeting, 0), b.Rest...), len(greeting))
	f.Add(whole, 7)
	f.Add(greeting, 1)
	f.Add([]byte("MREXCH\x01\x00\xff\xff\xff\x3f\x04"), 3)
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		s := NewSession(hello("q", "p"), edges, edges)
		var r Reader
		for at := 0; at < len(stream); {
			n := copy(r.Space()[:max(1, min(step, len(r.Space())))], stream[at:])
			at += n
			r.Filled(n)
			if len(r.buf) > max(2*at, readBytes) {
				t.Fatalf("%d bytes of memory after %d", len(r.buf), at)
			}
			for {
				f, ok, err := r.Next()
				if err != nil {
					return
				}
				if !ok {
					break
				}
				ev, err := s.Take(f)
				if err != nil {
					return
				}
				if ev.Kind == Greeted {
					r.Trust()
				}
			}
		}
	})
}
