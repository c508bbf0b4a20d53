package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

var testBounds = [Lents]int32{4, 4, 2}

func hello(from, to string) Hello {
	return Hello{Job: "job", Attempt: "7-abc", From: from, To: to, Bounds: testBounds}
}

func edge(name string, pairs ...Pair) Edge {
	return Edge{Name: name, Schema: `"long"`, Batch: 256, Pairs: pairs}
}

// feed gives a stream to s, whole, and returns the events up to the first error.
func feed(s *Session, stream []byte) (events []Event, err error) {
	var r Reader
	for len(stream) > 0 {
		n := copy(r.Space(), stream)
		r.Filled(n)
		stream = stream[n:]
		for {
			f, ok, err := r.Next()
			if err != nil {
				return events, err
			}
			if !ok {
				break
			}
			ev, err := s.Take(f)
			if err != nil {
				return events, err
			}
			if ev.Kind == Greeted {
				r.Trust()
			}
			events = append(events, ev)
		}
	}
	return events, nil
}

// TestOpening: two sides agree, whatever order each lists its edges in, and refuse a peer that is not the one they expect, with the reason.
func TestOpening(t *testing.T) {
	receives := []Edge{edge("a → b", Pair{0, 0}, Pair{1, 0}), edge("b → c", Pair{0, 1})}
	for name, c := range map[string]struct {
		peer  Hello
		sends []Edge
		want  string // of the error; empty: they agree
	}{
		"agree":          {hello("p", "q"), receives, ""},
		"other order":    {hello("p", "q"), []Edge{receives[1], edge("a → b", Pair{1, 0}, Pair{0, 0})}, ""},
		"job":            {Hello{Job: "other", Attempt: "7-abc", From: "p", To: "q", Bounds: testBounds}, receives, `runs job "other"`},
		"attempt":        {Hello{Job: "job", Attempt: "6-xyz", From: "p", To: "q", Bounds: testBounds}, receives, "has not heard of a restart"},
		"process":        {hello("p", "r"), receives, `called by "p" for "r"`},
		"bounds":         {Hello{Job: "job", Attempt: "7-abc", From: "p", To: "q", Bounds: [Lents]int32{8, 4, 2}}, receives, "credits of [8 4 2]"},
		"missing edge":   {hello("p", "q"), receives[:1], `does not declare edge "b → c" 0 → 1`},
		"missing pair":   {hello("p", "q"), []Edge{edge("a → b", Pair{0, 0}), receives[1]}, `does not declare edge "a → b" 1 → 0`},
		"unknown edge":   {hello("p", "q"), append(receives[:2:2], edge("x", Pair{})), `sends edge "x", which this process does not know`},
		"unknown pair":   {hello("p", "q"), []Edge{edge("a → b", Pair{0, 5})}, `declares edge "a → b" 0 → 5`},
		"declared twice": {hello("p", "q"), []Edge{receives[0], receives[0]}, `declares edge "a → b" 0 → 0`},
		"codec":          {hello("p", "q"), []Edge{{Name: "a → b", Schema: `"string"`, Batch: 256, Pairs: receives[0].Pairs}}, `the codec of schema "string", this process reads them with "long"`},
		"batch":          {hello("p", "q"), []Edge{{Name: "a → b", Schema: `"long"`, Batch: 16, Pairs: receives[0].Pairs}}, "up to 16 records at the peer and 256 here"},
	} {
		greeting, err := NewSession(c.peer, c.sends, nil).Greeting(nil)
		if err != nil {
			t.Fatal(err)
		}
		events, err := feed(NewSession(hello("q", "p"), nil, receives), greeting)
		if c.want == "" {
			if err != nil || events[len(events)-1].Kind != Established {
				t.Errorf("%s: %+v, %v", name, events, err)
			}
			continue
		}
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || bad.Offset < int64(preambleLen) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestForeigners: what is no stream of this protocol is named as such, with its beginning, however little of it there is.
func TestForeigners(t *testing.T) {
	for stream, want := range map[string]string{
		"GET / HTTP/1.1\r\n":                 `begins with "GET / HTTP/1.1\r\n"`,
		"M\x00":                              `begins with "M\x00"`,
		"MREXCH\x02\x00":                     "speaks version 2 of the exchange protocol, this process version 1",
		"MREXCH\x01\x00\xff\xff\xff\xff\x01": "a frame of 4294967295 bytes",
		"MREXCH\x01\x00\x00\x00\x00\x00\x01": "a frame of 0 bytes",
		"MREXCH\x01\x00\x05\x00\x00\x00\x63": "unknown kind 99",
		"MREXCH\x01\x00\x00\x00\x20\x00\x01": "a frame of 2097152 bytes", // more than a stranger gets
		string(Refusal("the job has moved")): "the peer has ended the connection: the job has moved",
		string(appendPreamble(nil)) + "\x05\x00\x00\x00\x01\x00\x00\x00\x00": "checksum",
	} {
		if _, err := feed(NewSession(hello("q", "p"), nil, nil), []byte(stream)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", stream, err, want)
		}
	}
}

// frame is one whole frame.
func frame(t *testing.T, k Kind, body func(dst []byte) []byte) []byte {
	t.Helper()
	f := Begin(nil, k)
	if body != nil {
		f = body(f)
	}
	f, err := End(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func batchFrame(t *testing.T, n int, b Batch) []byte {
	t.Helper()
	f, err := End(append(b.Append(nil, n), b.Rest...), 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFaultsOfAPeer: each is an error with the edge, where there is one, and no panic.
func TestFaultsOfAPeer(t *testing.T) {
	edges := []Edge{edge("in", Pair{0, 0})}
	greeting, err := NewSession(hello("p", "q"), edges, edges).Greeting(nil)
	if err != nil {
		t.Fatal(err)
	}
	credit := func(n uint64, back ...uint64) []byte {
		return frame(t, KindCredit, func(dst []byte) []byte {
			dst = binary.AppendUvarint(dst, n)
			for _, k := range back {
				dst = binary.AppendUvarint(dst, k)
			}
			return dst
		})
	}
	five := bytes.Repeat(batchFrame(t, 0, Batch{Control: 1}), 5)
	for name, c := range map[string]struct {
		frames []byte
		want   string
	}{
		"beyond the credit":      {five, `edge "in" 0 → 0: the peer has sent 5 batches against the count 0, at most 4`},
		"barriers":               {bytes.Repeat(batchFrame(t, 0, Batch{Lent: Barrier, Control: 3}), 3), "sent 3 batches against the count 2"},
		"unknown edge":           {batchFrame(t, 1, Batch{}), "edge number 1, of 1"},
		"too many records":       {batchFrame(t, 0, Batch{Records: 257, Rest: make([]byte, 999)}), "257 records, at most 256"},
		"records that are none":  {batchFrame(t, 0, Batch{Rest: []byte("x")}), "without records with 1 bytes"},
		"a barrier with records": {batchFrame(t, 0, Batch{Lent: Barrier, Records: 1, Rest: []byte("x")}), "without credit that brings 1 records"},
		"flags":                  {batchFrame(t, 0, Batch{Lent: 3}), "head that cannot be"},
		"empty batch":            {frame(t, KindBatch, nil), "edge number 0"},
		"credit that is not due": {credit(0, 1, 0, 0), `edge "in" 0 → 0: the peer gives back 1 batches against the count 0, only 0`},
		"credit of no edge":      {credit(9, 0, 0, 0), "edge number 9 of 1"},
		"credit beyond bounds":   {credit(0, 5, 0, 0), "credit that cannot be"},
		"half a credit":          {credit(0, 0), "credit that cannot be"},
		"no credit":              {frame(t, KindCredit, nil), "without credit"},
		"hello again":            {frame(t, KindHello, nil), "kind 1 out of turn"},
		"bye":                    {frame(t, KindBye, nil), "Bye frame that is not whole"},
		"reason":                 {Bye(nil, "disk full"), "disk full"},
	} {
		_, err := feed(NewSession(hello("q", "p"), edges, edges), append(greeting[:len(greeting):len(greeting)], c.frames...))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	events, err := feed(NewSession(hello("q", "p"), edges, edges), append(greeting[:len(greeting):len(greeting)], Bye(nil, "")...))
	if err != nil || events[len(events)-1].Kind != Closed {
		t.Errorf("an end in order: %+v, %v", events, err)
	}
	if _, err := feed(NewSession(hello("q", "p"), nil, nil), append(appendPreamble(nil), frame(t, KindBatch, nil)...)); err == nil || !strings.Contains(err.Error(), "out of turn") {
		t.Errorf("a batch before Hello: %v", err)
	}
}

// TestMemoryFollowsWhatHasCome: a length alone takes no memory.
func TestMemoryFollowsWhatHasCome(t *testing.T) {
	r := Reader{begun: true}
	r.Trust()
	head := binary.LittleEndian.AppendUint32(nil, MaxFrame)
	r.Filled(copy(r.Space(), append(head, byte(KindBatch))))
	for came := headerLen; came < 1<<20; {
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal(ok, err)
		}
		n := min(len(r.Space()), 1000)
		r.Filled(n)
		if came += n; len(r.buf) > max(2*came, readBytes) {
			t.Fatalf("%d bytes of memory after %d have come", len(r.buf), came)
		}
	}
}

// TestSpaceShrinks: the room for a large frame does not stay.
func TestSpaceShrinks(t *testing.T) {
	r := Reader{begun: true}
	r.Trust()
	big := batchFrame(t, 0, Batch{Records: 1, Rest: make([]byte, 3*keepBytes)})
	rng := rand.New(rand.NewPCG(1, 1))
	for len(big) > 0 {
		n := copy(r.Space(), big[:1+rng.IntN(len(big))])
		r.Filled(n)
		big = big[n:]
	}
	if f, ok, err := r.Next(); !ok || err != nil || len(f.Body) < 3*keepBytes {
		t.Fatalf("%d bytes, %v, %v", len(f.Body), ok, err)
	}
	if n := len(r.Space()); n != readBytes {
		t.Errorf("room for %d bytes, want %d", n, readBytes)
	}
}
