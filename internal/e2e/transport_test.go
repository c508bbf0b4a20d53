package e2e

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/internal/exchange"
)

// memoryNet is a network in memory, which a synctest bubble can see into. It cuts each connection after left bytes, never if that is negative.
type memoryNet struct {
	mu    sync.Mutex
	calls chan net.Conn
	gone  chan struct{}
	left  *atomic.Int64
}

func (n *memoryNet) listen(context.Context, string, string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls, n.gone = make(chan net.Conn), make(chan struct{})
	return &memoryListener{calls: n.calls, gone: n.gone}, nil
}

func (n *memoryNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	calls := n.calls
	n.mu.Unlock()
	here, there := net.Pipe()
	select {
	case calls <- &cutConn{there, n.left}:
		return &cutConn{here, n.left}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type memoryListener struct {
	calls chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// cutConn ends after a number of bytes in both directions, in the middle of whatever is written then.
type cutConn struct {
	net.Conn
	left *atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.left.Add(-int64(len(p)))
	if before := left + int64(len(p)); before >= 0 && left < 0 {
		n, _ := c.Conn.Write(p[:before])
		_ = c.Conn.Close()
		return n, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// memoryTransport connects in memory and cuts after so many bytes; never if cut is negative.
func memoryTransport(cut int64) dataflow.Transport {
	n := &memoryNet{left: &atomic.Int64{}}
	n.left.Store(cut)
	return dataflow.TCP(dataflow.TCPOptions{Listen: n.listen, Dial: n.dial})
}

// TestTransportExactlyOnce is TestUnalignedExactlyOnce with all edges over connections that are cut after a random number of bytes, beside the crashes: in the
// opening, between frames and in the middle of them. The seeds are 0 to -seeds.
func TestTransportExactlyOnce(t *testing.T) {
	seen := restored{edges: map[string]int{}}
	cuts := 0
	for seed := range *seeds {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			exactlyOnce(t, seed, &seen, func(round int) dataflow.Transport {
				if round >= 5 || r.IntN(2) == 0 {
					return memoryTransport(-1)
				}
				return memoryTransport(r.Int64N(1 << (4 + r.IntN(14))))
			}, func(err error) bool {
				var lost *exchange.PeerError
				if !errors.As(err, &lost) {
					return false
				}
				cuts++
				return true
			})
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d cuts, %d restores, %d of them with records in flight", cuts, seen.checkpoints, seen.inFlight)
	if *seeds >= 20 && (cuts < int(*seeds)/2 || seen.inFlight < 10) {
		t.Errorf("%d cuts and %d restores with records in flight: too few for this test to mean anything", cuts, seen.inFlight)
	}
}
