package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/exchange/wire"
)

// Bounds are the counts of batches that an edge may have under way, which two processes must have in common.
var bounds = [wire.Lents]int32{wire.Credit: Credits, wire.Records: overdraft, wire.Barrier: spareBarriers}

// Identity is who speaks to whom over a link.
type Identity struct {
	// Job and Attempt are those of the run: processes of different ones refuse each other.
	Job, Attempt string
	// From names this process, To the other.
	From, To string
}

// PeerError is a failure of the connection to another process, or of what it has sent. The attempt is over with it: the job goes back to its last
// checkpoint.
type PeerError struct {
	// Peer is the name of the other process, Addr its address.
	Peer, Addr string
	Err        error
}

// Error names the peer and what happened.
func (e *PeerError) Error() string {
	return fmt.Sprintf("exchange: the connection to process %q at %s: %v", e.Peer, e.Addr, e.Err)
}

// Unwrap is what happened.
func (e *PeerError) Unwrap() error { return e.Err }

// errLost says that a connection has ended without a word of the peer.
var errLost = errors.New("it was lost; the job starts again from its last checkpoint")

// errClosed is what a link says that this side has closed.
var errClosed = errors.New("exchange: the link is closed")

// closeWithin bounds how long a side that closes tries to tell its peer why.
const closeWithin = time.Second

// Link is one connection to another process, which carries all edges between the two, in both directions. Two goroutines serve it:
//
//   - the writer sends what tasks have put and the credit that they have given back. It takes all that is there at once, so that under load many
//     batches go with one system call, and sends at once what comes alone: there is no timer. Tasks never wait for it: they leave their frames in a list, which
//     their credit bounds;
//   - the reader never waits for anything but the connection. For each batch there is one that the edge has free, and room in the queue of the receiving
//     task, because the sender had credit for it. So a task that is slow, or holds back what comes because of a barrier, stops its own edges only: what is
//     behind them on the same connection goes on.
//
// Freedom from deadlock follows: a reader always takes what comes, hence a writer always gets rid of what it has, hence credit always comes back once a
// batch is released; whether it is released is a question of the tasks alone, and there the argument is the one within the process: the graph has no cycle.
type Link struct {
	id       Identity
	sends    []wire.Edge
	receives []wire.Edge
	out, in  []Half // by number
	session  *wire.Session
	numbers  []int // of the edges that are received, at the peer; set when the link is established
	conn     net.Conn
	failed   func(error)

	mu      sync.Mutex
	queue   [][]byte // frames to be written
	spare   [][]byte // frames that were written
	back    [][wire.Lents]int32
	dirty   []int // edges with batches to give back
	awake   bool  // the writer has been woken
	closing bool
	err     error // why nothing can be sent any more

	wake        chan struct{} // capacity 1
	established chan struct{}
	broken      chan struct{} // closed when err is set
	writing     sync.WaitGroup
	reading     sync.WaitGroup

	event wire.Event // of the reader

	// Of the writer.
	taken  [][]byte
	bufs   net.Buffers
	joined []byte
	credit []byte
}

// NewLink makes a link. Sends and Receives say what it carries, before it is connected.
func NewLink(id Identity) *Link {
	return &Link{id: id, wake: make(chan struct{}, 1), established: make(chan struct{}), broken: make(chan struct{})}
}

// Sends has the link carry edges that this process sends: halves are those of the pairs, in their order.
func (l *Link) Sends(name, schema string, pairs []wire.Pair, halves []Half) {
	for i, h := range halves {
		h.sendOver(l, len(l.out)+i)
	}
	l.out = append(l.out, halves...)
	l.sends = append(l.sends, wire.Edge{Name: name, Schema: schema, Batch: halves[0].batchRecords(), Pairs: pairs})
}

// Receives has the link carry edges that this process receives.
func (l *Link) Receives(name, schema string, pairs []wire.Pair, halves []Half) {
	for i, h := range halves {
		h.receiveOver(l, len(l.in)+i)
	}
	l.in = append(l.in, halves...)
	l.receives = append(l.receives, wire.Edge{Name: name, Schema: schema, Batch: halves[0].batchRecords(), Pairs: pairs})
}

func (l *Link) hello() wire.Hello {
	return wire.Hello{Job: l.id.Job, Attempt: l.id.Attempt, From: l.id.From, To: l.id.To, Bounds: bounds}
}

// start begins to speak over conn. r may have read from it already, up to and including first. failed is called once, from another goroutine,
// when the link fails; not when this side closes it.
func (l *Link) start(conn net.Conn, r *wire.Reader, first []wire.Frame, failed func(error)) error {
	l.session = wire.NewSession(l.hello(), l.sends, l.receives)
	l.conn, l.failed = conn, failed
	l.back = make([][wire.Lents]int32, len(l.in))
	greeting, err := l.session.Greeting(nil)
	if err != nil {
		return err
	}
	l.queue = append(l.queue, greeting)
	l.rouse()
	l.writing.Go(l.write)
	l.reading.Go(func() { l.fail(l.read(r, first)) })
	return nil
}

// ready waits until both sides agree.
func (l *Link) ready(ctx context.Context) error {
	select {
	case <-l.established:
		return nil
	case <-l.broken:
		return l.err
	case <-ctx.Done():
		return l.peer(fmt.Errorf("the two have not agreed in time: %w", context.Cause(ctx)))
	}
}

// peer adds who the other process is.
func (l *Link) peer(err error) error {
	addr := "an unknown address"
	if l.conn != nil && l.conn.RemoteAddr() != nil {
		addr = l.conn.RemoteAddr().String()
	}
	return &PeerError{Peer: l.id.To, Addr: addr, Err: err}
}

// fail ends the link: nothing is sent from now on, and the attempt is told.
func (l *Link) fail(err error) {
	var at *PeerError
	if !errors.As(err, &at) {
		err = l.peer(err)
	}
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = err
		l.queue = nil
		// What the peer has sent was of no use: it is told why. If it is what has broken, this comes to nothing.
		var bad *wire.Error
		if errors.As(err, &bad) {
			l.queue = append(l.queue, wire.Bye(nil, bad.Reason))
		}
		close(l.broken)
	}
	l.mu.Unlock()
	if first {
		_ = l.conn.SetWriteDeadline(time.Now().Add(closeWithin)) // a connection without deadlines is closed a little later
		l.rouse()
		l.failed(err)
	}
}

// Close ends the link and returns when its goroutines have ended. reason is told to the peer; empty for a job that has done its work. Close of a link
// that was never connected does nothing.
func (l *Link) Close(reason string) {
	if l.conn == nil {
		return
	}
	l.mu.Lock()
	l.closing = true
	if l.err == nil {
		l.err = errClosed
		l.queue = append([][]byte{}, wire.Bye(nil, reason))
		close(l.broken)
	}
	l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(closeWithin)) // a connection without deadlines ends with its peer
	l.rouse()
	l.writing.Wait()
	_ = l.conn.Close() // there is nobody to whom it matters
	l.reading.Wait()
}

// rouse has the writer look for something to write.
func (l *Link) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// push has frame written, and returns memory for the next one.
func (l *Link) push(frame []byte) (next []byte, err error) {
	l.mu.Lock()
	if l.err != nil {
		err = l.err
		l.mu.Unlock()
		return frame, err
	}
	l.queue = append(l.queue, frame)
	if n := len(l.spare); n > 0 {
		next, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	asleep := !l.awake
	l.awake = true
	l.mu.Unlock()
	if asleep {
		l.rouse()
	}
	return next, nil
}

// giveBack tells the peer that a batch of edge number n has been released.
func (l *Link) giveBack(n int, lent wire.Lent) {
	l.mu.Lock()
	if l.back[n] == [wire.Lents]int32{} {
		l.dirty = append(l.dirty, n)
	}
	l.back[n][lent]++
	asleep := !l.awake
	l.awake = true
	l.mu.Unlock()
	if asleep {
		l.rouse()
	}
}
