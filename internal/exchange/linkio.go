package exchange

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/millrace-io/millrace/internal/exchange/wire"
)

// write is the writer.
func (l *Link) write() {
	defer func() {
		if l.ended() {
			_ = l.conn.Close() // the reader ends with it
		}
	}()
	for range l.wake {
		for {
			last := l.collect()
			if len(l.taken) == 0 && !last {
				break
			}
			if err := l.flush(); err != nil {
				l.fail(fmt.Errorf("%w: %w", errLost, err))
				return
			}
			if last {
				return
			}
		}
	}
}

// ended reports whether nothing more will be sent.
func (l *Link) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// collect takes what is to be written, credit first. last says that nothing follows.
func (l *Link) collect() (last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.taken { // what was written before
		if cap(f) <= keepBytes {
			l.spare = append(l.spare, f[:0])
		}
	}
	clear(l.taken)
	l.taken, l.queue = l.queue, l.taken[:0]
	if l.err != nil {
		return true
	}
	if len(l.dirty) > 0 {
		l.credit = wire.Begin(l.credit[:0], wire.KindCredit)
		for _, n := range l.dirty {
			l.credit = wire.AppendCredit(l.credit, l.numbers[n], &l.back[n])
			l.back[n] = [wire.Lents]int32{}
		}
		l.dirty = l.dirty[:0]
		l.credit, _ = wire.End(l.credit, 0) // a few bytes an edge
		l.taken = append(l.taken, l.credit)
		last := len(l.taken) - 1
		l.taken[0], l.taken[last] = l.taken[last], l.taken[0]
		l.credit = nil
		if n := len(l.spare); n > 0 {
			l.credit, l.spare = l.spare[n-1], l.spare[:n-1]
		}
	}
	l.awake = len(l.taken) > 0
	return false
}

// joinBytes is up to how much goes into one write on a connection that takes one piece of memory at a time.
const joinBytes = 64 << 10

// flush writes what was taken.
func (l *Link) flush() error {
	if _, ok := l.conn.(*net.TCPConn); ok {
		l.bufs = append(l.bufs[:0], l.taken...)
		whole := l.bufs
		_, err := l.bufs.WriteTo(l.conn) // moves l.bufs to its end
		l.bufs = whole[:0]
		return err
	}
	for i := 0; i < len(l.taken); {
		l.joined = l.joined[:0]
		for i < len(l.taken) && (len(l.joined) == 0 || len(l.joined)+len(l.taken[i]) <= joinBytes) {
			if len(l.joined) == 0 && len(l.taken[i]) > joinBytes {
				break
			}
			l.joined = append(l.joined, l.taken[i]...)
			i++
		}
		piece := l.joined
		if len(piece) == 0 {
			piece = l.taken[i]
			i++
		}
		if _, err := l.conn.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// read is the reader; it ends with the reason.
func (l *Link) read(r *wire.Reader, first []wire.Frame) error {
	for _, f := range first {
		if err := l.take(r, f); err != nil {
			return err
		}
	}
	for {
		for {
			f, ok, err := r.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := l.take(r, f); err != nil {
				return err
			}
		}
		n, err := l.conn.Read(r.Space())
		r.Filled(n)
		if n > 0 {
			continue
		}
		if err == io.EOF {
			return fmt.Errorf("%w (after %d bytes, %d of them of a frame that is not whole)", errLost, r.Offset()+int64(r.Partial()), r.Partial())
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
	}
}

// take takes one frame of the peer.
func (l *Link) take(r *wire.Reader, f wire.Frame) error {
	var err error
	ev := &l.event // it escapes: what is called takes its batch
	*ev, err = l.session.Take(f)
	for err == nil {
		switch ev.Kind {
		case wire.Greeted:
			r.Trust()
			return nil
		case wire.Established:
			l.mu.Lock()
			l.numbers = l.session.Peers()
			l.mu.Unlock()
			close(l.established)
			return nil
		case wire.Arrived:
			return l.in[ev.Edge].arrived(&ev.Batch)
		case wire.Returned:
			if err := l.out[ev.Edge].returned(ev.Returned); err != nil {
				return err
			}
			*ev, err = l.session.More()
		case wire.Closed:
			return errEnded
		default:
			return nil
		}
	}
	return err
}

// errEnded says that the peer has done its work, as far as it knows.
var errEnded = fmt.Errorf("the peer has ended it: its part of the job is over")

// greet reads the peer's first frame from conn, which says who it is. What follows stays in the reader.
func greet(ctx context.Context, conn net.Conn) (*wire.Reader, wire.Frame, wire.Hello, error) {
	r := &wire.Reader{}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it ends the read
	defer stop()
	for {
		f, ok, err := r.Next()
		if err != nil {
			return nil, f, wire.Hello{}, err
		}
		if ok {
			h, err := wire.ParseHello(f)
			return r, f, h, err
		}
		n, err := conn.Read(r.Space())
		r.Filled(n)
		if err != nil && n == 0 {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, wire.Frame{}, wire.Hello{}, fmt.Errorf("exchange: it said nothing that makes sense before it ended, after %d bytes: %w", r.Offset()+int64(r.Partial()), err)
		}
	}
}
