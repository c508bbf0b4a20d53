package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// loss is what becomes of the request at which a wire is cut.
type loss int

const (
	requestLost loss = iota // it never reaches the brokers
	answerLost              // the brokers have done what it asks, and the answer is lost
	requestLate             // it reaches the brokers when deliver is called: during the next attempt
)

// wire is the network of one attempt, which it can cut, once, around the n-th request of a kind; then nothing more is sent. What was
// sent before, on any connection, reaches the brokers, and drain waits until it has.
type wire struct {
	key  int16
	nth  int // never cut when zero
	loss loss
	ctx  context.Context // ends with the cut
	kill context.CancelFunc
	// before is the wire of the attempt before, whose late request is delivered when this attempt has started; nil none.
	before *wire

	mu    sync.Mutex
	seen  int
	conns []*wireConn
	late  *wireConn // has a request to deliver
}

func newWire(t testing.TB, key int16, nth int, l loss) *wire {
	w := &wire{key: key, nth: nth, loss: l}
	w.ctx, w.kill = context.WithCancel(t.Context())
	return w
}

func (w *wire) cut() bool { return w.ctx.Err() != nil }

var errCut = errors.New("the wire is cut")

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if w.cut() {
		return nil, errCut
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wc := &wireConn{TCPConn: c.(*net.TCPConn), w: w}
	w.mu.Lock()
	w.conns = append(w.conns, wc)
	w.mu.Unlock()
	return wc, nil
}

// drain waits, when the clients are closed, until the brokers have dealt with every request that was sent. Were one of a dead attempt
// dealt with during the next, that would be a fault more than the test has asked for: a late InitProducerID is, to the brokers, the newest
// owner of its id.
func (w *wire) drain(t testing.TB) {
	w.mu.Lock()
	conns, late := w.conns, w.late
	w.conns = nil
	w.mu.Unlock()
	for _, c := range conns {
		if c != late {
			c.finish(t)
		}
	}
}

// deliver sends the late request of a cut wire and waits until the brokers have dealt with it.
func (w *wire) deliver(t testing.TB) {
	w.mu.Lock()
	c := w.late
	w.late = nil
	w.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.SetWriteDeadline(time.Time{}) // the dead client's
	if _, err := c.TCPConn.Write(c.held); err != nil {
		t.Errorf("a late request cannot be sent: %v", err)
	}
	c.finish(t)
}

type wireConn struct {
	*net.TCPConn
	w     *wire
	armed bool   // the answer to the request is on its way
	held  []byte // the late request
}

func (c *wireConn) Write(p []byte) (int, error) {
	w := c.w
	w.mu.Lock()
	if len(p) > 6 && int16(binary.BigEndian.Uint16(p[4:])) == w.key && !w.cut() {
		if w.seen++; w.seen == w.nth {
			switch w.loss {
			case answerLost:
				c.armed = true
			case requestLate:
				c.held, w.late = slices.Clone(p), c
				w.kill()
			case requestLost:
				w.kill()
			}
		}
	}
	w.mu.Unlock()
	if w.cut() {
		return 0, errCut
	}
	return c.TCPConn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.w.mu.Lock()
	if c.armed {
		c.w.kill()
	}
	c.w.mu.Unlock()
	if c.w.cut() {
		return 0, errCut
	}
	return n, err
}

// Close is the client's. It ends what the client sends and reads; finish closes the connection.
func (c *wireConn) Close() error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.late == c {
		return c.SetReadDeadline(time.Unix(1, 0)) // the client's reader has to go
	}
	return c.CloseWrite()
}

// finish closes a connection after the brokers have dealt with everything that was sent on it: a broker reads the end of a connection
// behind the last request, and closes its side then.
func (c *wireConn) finish(t testing.TB) {
	_ = c.CloseWrite() // the client may have closed it
	for end := time.Now().Add(10 * time.Second); ; {
		_ = c.SetReadDeadline(end)
		_, err := io.Copy(io.Discard, c.TCPConn)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			break // the end, or broken: both are the broker's
		}
		if !time.Now().Before(end) { // else it was a deadline of the client's own
			t.Error("a broker has not closed a connection 10 s after its client did")
			break
		}
	}
	_ = c.TCPConn.Close()
}
