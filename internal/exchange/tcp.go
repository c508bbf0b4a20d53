package exchange

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/exchange/wire"
)

// TCP is how processes find each other.
type TCP struct {
	// Addr is where to listen.
	Addr string
	// TLS of both sides; nil: none.
	TLS *tls.Config
	// Timeout bounds how long it takes to connect and agree.
	Timeout time.Duration
	// Listen and Dial make connections.
	Listen func(ctx context.Context, network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	// Refused is told of each caller that is not the one that is expected.
	Refused func(addr string, err error)
}

// Loop connects two links of this process with each other: sender dials what receiver listens on. failed is told when one of them fails later. With an
// error both are closed. Callers that are not the sender are refused, and do no harm.
func (t *TCP) Loop(ctx context.Context, sender, receiver *Link, failed func(error)) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout, fmt.Errorf("exchange: no connection after %v", t.Timeout))
	defer cancel()
	ln, err := t.Listen(ctx, "tcp", t.Addr)
	if err != nil {
		return fmt.Errorf("exchange: listen on %s: %w", t.Addr, err)
	}
	d := &door{t: t, link: receiver, failed: failed, in: make(chan error, 1)}
	defer func() {
		closing := d.close(ln)
		if err == nil {
			err = closing
		} else {
			err = errors.Join(err, d.refused) // of the expected caller that is the cause
		}
		if err != nil {
			sender.Close(err.Error())
			receiver.Close(err.Error())
		}
	}()
	d.running.Go(func() { d.accept(ctx, ln) })
	addr := ln.Addr().String()
	conn, err := t.Dial(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("exchange: dial %s: %w", addr, err)
	}
	if conn, err = t.secure(ctx, conn, addr); err != nil {
		return err
	}
	if err := sender.start(conn, &wire.Reader{}, nil, failed); err != nil {
		return err
	}
	select {
	case err := <-d.in:
		if err != nil {
			return err
		}
	case <-sender.broken:
		return sender.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := receiver.ready(ctx); err != nil {
		return err
	}
	return sender.ready(ctx)
}

// secure speaks TLS over conn, as a client, if that is asked for.
func (t *TCP) secure(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	if t.TLS == nil {
		return conn, nil
	}
	c := t.TLS
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		c = c.Clone()
		c.ServerName = host
	}
	s := tls.Client(conn, c)
	if err := s.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the error that counts is the one of the handshake
		return nil, fmt.Errorf("exchange: TLS with the process at %s, as its client: %w", addr, err)
	}
	return s, nil
}

// door lets the one caller in that is expected.
type door struct {
	t      *TCP
	link   *Link
	failed func(error)
	in     chan error // capacity 1: the link has been started, or could not be

	mu      sync.Mutex
	open    map[net.Conn]bool
	refused error // the last
	entered bool
	closed  bool
	running sync.WaitGroup
}

// accept takes callers until the listener closes. Each is heard on a goroutine of its own: one that says nothing keeps no other waiting.
func (d *door) accept(ctx context.Context, ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		late := d.closed || d.entered
		if !late {
			if d.open == nil {
				d.open = map[net.Conn]bool{}
			}
			d.open[conn] = true
			d.running.Go(func() { d.hear(ctx, conn) })
		}
		d.mu.Unlock()
		if late {
			_ = conn.Close() // there is nothing to be said to it
		}
	}
}

// hear lets a caller in or refuses it.
func (d *door) hear(ctx context.Context, conn net.Conn) {
	err := d.greet(ctx, conn)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) { // else it was late
		d.refused = err
		d.t.Refused(addrOf(conn), err)
	}
}

func addrOf(conn net.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return "an unknown address"
}

func (d *door) greet(ctx context.Context, raw net.Conn) error {
	conn := raw
	if d.t.TLS != nil {
		s := tls.Server(raw, d.t.TLS)
		if err := s.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // the error that counts is the one of the handshake
			return fmt.Errorf("exchange: TLS with a caller from %s: %w", addrOf(raw), err)
		}
		conn = s
	}
	r, f, h, err := greet(ctx, conn)
	if err == nil {
		local := d.link.hello()
		err = local.Matches(h)
	}
	if err != nil {
		_ = conn.SetWriteDeadline(time.Now().Add(closeWithin)) // without, the context ends it
		_, _ = conn.Write(wire.Refusal(err.Error()))           // it is refused whether it hears of it or not
		_ = conn.Close()
		return err
	}
	d.mu.Lock()
	late := d.entered || d.closed
	d.entered = true
	delete(d.open, raw)
	d.mu.Unlock()
	if late {
		_ = conn.Close() // the expected caller is in
		return nil
	}
	d.in <- d.link.start(conn, r, []wire.Frame{f}, d.failed)
	return nil
}

// close lets nobody in any more.
func (d *door) close(ln net.Listener) error {
	d.mu.Lock()
	d.closed = true
	for conn := range d.open {
		_ = conn.Close() // ends what is heard of it
	}
	d.mu.Unlock()
	err := ln.Close()
	d.running.Wait()
	return err
}
