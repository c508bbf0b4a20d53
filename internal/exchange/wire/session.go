package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
)

// Lent says against which count of its edge a batch goes.
type Lent uint8

// The counts of an edge.
const (
	Credit  Lent = iota // the batches of the edge: what a sender always may have under way
	Records             // beyond the credit, while the alarm of the sending task is raised
	Barrier             // beyond the credit, without records
	Lents   = 3
)

// Hello is who speaks to whom, and how.
type Hello struct {
	// Job and Attempt are those of the run; a process that has not heard of a restart belongs to another attempt.
	Job, Attempt string
	// From is the name of the process that speaks, To that of the one to which it believes to speak.
	From, To string
	// Bounds of the three counts of every edge. Both sides must have the same.
	Bounds [Lents]int32
}

// Edge is one edge of the graph as its sender declares it.
type Edge struct {
	// Name is unique in the graph and the same in every process.
	Name string
	// Schema is that of the codec of its records.
	Schema string
	// Batch is the largest number of records in a batch.
	Batch int
	// Pairs are the subtasks of both ends, of those edges that go from the sending process to the receiving one.
	Pairs []Pair
}

// Pair is a sending and a receiving subtask.
type Pair struct{ From, To int }

// label names one edge between two subtasks for messages.
func (e *Edge) label(p Pair) string { return fmt.Sprintf("%q %d → %d", e.Name, p.From, p.To) }

// Event is what a frame means to its receiver.
type Event struct {
	Kind EventKind
	// Edge is the number of the edge in the list that the receiver of the event was made with: of those it receives for Arrived, of those it sends for
	// Returned.
	Edge  int
	Batch Batch // of Arrived
	// Returned is how many batches come back, by their count.
	Returned [Lents]int32
}

// EventKind is the kind of an event.
type EventKind uint8

// The kinds of events.
const (
	Nothing     EventKind = iota
	Greeted               // the peer has said who it is, and is who it ought to be
	Established           // both sides agree: batches may be sent
	Arrived               // a batch has come
	Returned              // batches have come back
	Closed                // the peer has ended the connection in order
)

// phase is how far the opening has come.
type phase uint8

const (
	wantHello phase = iota
	wantEdges
	running
	ended
)

// Session is one side of a connection. Take belongs to one goroutine; Sent and Released may be called by any.
type Session struct {
	local    Hello
	sends    []Edge
	receives []Edge
	phase    phase
	// numbers finds the number of what is received by name and subtasks, until it is declared; byPeer finds it by the number of the peer.
	numbers  map[string]map[Pair]int
	byPeer   []int
	out, in  []counts // by number
	outLabel []string
	inLabel  []string
	inBatch  []int // bound of the records of a batch
	open     map[string]*Edge
	// credit holds what is left of a Credit frame.
	credit       fields
	creditOffset int64
}

// counts are the batches of an edge that are under way, seen from one side.
type counts [Lents]atomic.Int32

// NewSession makes the side that is local and that sends and receives the given edges. Numbers of edges count the pairs in the order of the lists.
func NewSession(local Hello, sends, receives []Edge) *Session {
	s := &Session{local: local, sends: sends, receives: receives, numbers: map[string]map[Pair]int{}, open: map[string]*Edge{}}
	for i := range sends {
		for _, p := range sends[i].Pairs {
			s.outLabel = append(s.outLabel, sends[i].label(p))
		}
	}
	for i := range receives {
		e := &receives[i]
		pairs := map[Pair]int{}
		for _, p := range e.Pairs {
			pairs[p] = len(s.inLabel)
			s.inLabel = append(s.inLabel, e.label(p))
			s.inBatch = append(s.inBatch, e.Batch)
		}
		s.numbers[e.Name], s.open[e.Name] = pairs, e
	}
	s.out, s.in = make([]counts, len(s.outLabel)), make([]counts, len(s.inLabel))
	return s
}

// Label names edge number n of those that are sent, for messages.
func (s *Session) Label(n int) string { return s.outLabel[n] }

// InLabel names edge number n of those that are received, for messages.
func (s *Session) InLabel(n int) string { return s.inLabel[n] }

// Greeting appends what this side says first: the preamble, Hello, its edges, and Ready.
func (s *Session) Greeting(dst []byte) ([]byte, error) {
	dst = appendPreamble(dst)
	at := len(dst)
	dst = Begin(dst, KindHello)
	h := &s.local
	for _, t := range []string{h.Job, h.Attempt, h.From, h.To} {
		dst = appendText(dst, t)
	}
	for _, b := range h.Bounds {
		dst = binary.AppendUvarint(dst, uint64(b))
	}
	dst, err := End(dst, at)
	if err != nil {
		return dst, err
	}
	for i := range s.sends {
		if dst, err = s.sends[i].declare(dst); err != nil {
			return dst, err
		}
	}
	at = len(dst)
	return End(Begin(dst, KindReady), at)
}

// pairsMax is the number of pairs that one Edges frame declares at most, so that it stays below maxOpening.
const pairsMax = 64 << 10

// declare appends the Edges frames of e.
func (e *Edge) declare(dst []byte) (out []byte, err error) {
	if len(e.Name) > maxText || len(e.Schema) > maxOpening/2 {
		return dst, fmt.Errorf("exchange: edge %.80q has a name of %d bytes and a schema of %d, at most %d and %d can be declared", e.Name, len(e.Name), len(e.Schema), maxText, maxOpening/2)
	}
	for pairs := range slices.Chunk(e.Pairs, pairsMax) {
		at := len(dst)
		dst = appendText(Begin(dst, KindEdges), e.Name)
		dst = appendText(dst, e.Schema)
		dst = binary.AppendUvarint(dst, uint64(e.Batch))
		dst = binary.AppendUvarint(dst, uint64(len(pairs)))
		for _, p := range pairs {
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(p.From)), uint64(p.To))
		}
		if dst, err = End(dst, at); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Bye appends the end of the stream: in order if reason is empty.
func Bye(dst []byte, reason string) []byte {
	at := len(dst)
	dst, _ = End(appendText(Begin(dst, KindBye), reason[:min(len(reason), maxText)]), at) // it is small
	return dst
}

// Refusal is what a side says that has found a fault before it has greeted: the preamble and Bye.
func Refusal(reason string) []byte { return Bye(appendPreamble(nil), reason) }

// Take takes a frame of the peer. Of a Credit frame it gives one event a call: go on with More. An error ends the session.
func (s *Session) Take(f Frame) (Event, error) {
	if f.Kind == KindBye {
		return s.bye(f)
	}
	switch {
	case s.phase == wantHello && f.Kind == KindHello:
		return s.hello(f)
	case s.phase == wantEdges && f.Kind == KindEdges:
		return Event{}, s.edges(f)
	case s.phase == wantEdges && f.Kind == KindReady:
		return s.ready(f)
	case s.phase == running && f.Kind == KindBatch:
		return s.batch(f)
	case s.phase == running && f.Kind == KindCredit:
		s.credit, s.creditOffset = fields{src: f.Body}, f.Offset
		if len(f.Body) == 0 {
			return Event{}, broken(f, "", "a credit frame without credit")
		}
		return s.More()
	}
	return Event{}, broken(f, "", "a frame of kind %d out of turn", f.Kind)
}

func broken(f Frame, edge, format string, args ...any) error {
	return &Error{Offset: f.Offset, Edge: edge, Reason: fmt.Sprintf(format, args...)}
}

// CloseError is how a peer says that it has failed or refuses to speak.
type CloseError struct{ Reason string }

// Error is the reason that the peer gave.
func (e *CloseError) Error() string {
	return fmt.Sprintf("exchange: the peer has ended the connection: %s", e.Reason)
}

func (s *Session) bye(f Frame) (Event, error) {
	d := fields{src: f.Body}
	reason := d.text()
	if d.bad || len(d.src) > 0 {
		return Event{}, broken(f, "", "a Bye frame that is not whole")
	}
	if reason != "" {
		return Event{}, &CloseError{Reason: reason}
	}
	s.phase = ended
	return Event{Kind: Closed}, nil
}

func (s *Session) hello(f Frame) (Event, error) {
	h, err := ParseHello(f)
	if err != nil {
		return Event{}, err
	}
	if err := s.local.Matches(h); err != nil {
		return Event{}, broken(f, "", "%v", err)
	}
	s.phase = wantEdges
	return Event{Kind: Greeted}, nil
}

// ParseHello reads a Hello frame.
func ParseHello(f Frame) (Hello, error) {
	d := fields{src: f.Body}
	h := Hello{Job: d.text(), Attempt: d.text(), From: d.text(), To: d.text()}
	for i := range h.Bounds {
		h.Bounds[i] = int32(d.count(1 << 20))
	}
	if f.Kind != KindHello || d.bad || len(d.src) > 0 {
		return Hello{}, broken(f, "", "the peer does not begin with a Hello frame that is whole")
	}
	return h, nil
}

// Matches reports why the side that has said h is not the one that local expects.
func (h *Hello) Matches(peer Hello) error {
	switch {
	case peer.Job != h.Job:
		return fmt.Errorf("the peer runs job %q, this process %q: check the address", peer.Job, h.Job)
	case peer.Attempt != h.Attempt:
		return fmt.Errorf("the peer %q belongs to attempt %q of job %q, this process to %q: one of them has not heard of a restart", peer.From, peer.Attempt, h.Job, h.Attempt)
	case peer.From != h.To || peer.To != h.From:
		return fmt.Errorf("process %q was called by %q for %q, and expects %q: check the addresses of the processes", h.From, peer.From, peer.To, h.To)
	case peer.Bounds != h.Bounds:
		return fmt.Errorf("the peer %q counts with credits of %v, this process with %v: run the same release of millrace on both sides", peer.From, peer.Bounds, h.Bounds)
	}
	return nil
}

func (s *Session) edges(f Frame) error {
	d := fields{src: f.Body}
	name := d.text()
	schema := string(d.bytes(d.uvarint()))
	batch, n := d.uvarint(), d.count(uint64(len(d.src)))
	if d.bad {
		return broken(f, "", "an Edges frame that is not whole")
	}
	mine := s.open[name]
	switch {
	case mine == nil:
		return broken(f, "", "the peer sends edge %q, which this process does not know: the two run different graphs", name)
	case mine.Schema != schema:
		return broken(f, "", "the peer writes the records of edge %q with the codec of schema %.400s, this process reads them with %.400s: run the same program on both sides", name, schema, mine.Schema)
	case uint64(mine.Batch) != batch:
		return broken(f, "", "the batches of edge %q have up to %d records at the peer and %d here: run the same program on both sides", name, batch, mine.Batch)
	}
	for range n {
		p := Pair{From: d.count(1 << 20), To: d.count(1 << 20)}
		number, ok := s.numbers[name][p]
		if d.bad || !ok {
			return broken(f, "", "the peer declares edge %s, which is not one that this process expects from it", mine.label(p))
		}
		delete(s.numbers[name], p)
		s.byPeer = append(s.byPeer, number)
	}
	if len(d.src) > 0 {
		return broken(f, "", "%d bytes follow an Edges frame", len(d.src))
	}
	return nil
}

func (s *Session) ready(f Frame) (Event, error) {
	for i := range s.receives {
		for p := range s.numbers[s.receives[i].Name] {
			return Event{}, broken(f, "", "the peer does not declare edge %s: the two run different graphs", s.receives[i].label(p))
		}
	}
	if len(f.Body) > 0 {
		return Event{}, broken(f, "", "a Ready frame with a body")
	}
	s.phase = running
	return Event{Kind: Established}, nil
}
