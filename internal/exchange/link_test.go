package exchange

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/exchange/wire"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
)

// overTCP connects over the loopback interface.
func overTCP() *TCP {
	var d net.Dialer
	var l net.ListenConfig
	return &TCP{Addr: "127.0.0.1:0", Timeout: 10 * time.Second, Listen: l.Listen, Dial: d.DialContext, Refused: func(string, error) {}}
}

// pipes is a network in memory, which a synctest bubble can see into.
type pipes struct {
	calls chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.calls <- there:
		return here, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// overPipes connects in memory.
func overPipes() *TCP {
	p := &pipes{calls: make(chan net.Conn), gone: make(chan struct{})}
	return &TCP{Addr: "memory", Timeout: 10 * time.Second, Dial: p.dial, Refused: func(string, error) {},
		Listen: func(context.Context, string, string) (net.Listener, error) { return p, nil }}
}

// far is a sender with n receivers behind a connection.
type far[T any] struct {
	*fan[T]
	receivers   []*Edge[T]
	contexts    []*operators.Context
	near, there *Link
	failures    chan error
}

// unconnected makes one whose records travel by codec.
func unconnected[T any](n int, codec serde.Serde[T]) (f *far[T], senders []*Edge[T]) {
	f = &far[T]{fan: &fan[T]{in: &operators.Context{}, seen: make([][]got[T], n)}, failures: make(chan error, 4)}
	f.near, f.there = NewLink(Identity{"job", "1", "a", "b"}), NewLink(Identity{"job", "1", "b", "a"})
	var out, in []Half
	var pairs []wire.Pair
	for r := range n {
		q, c := NewQueue(1), &operators.Context{}
		to, from := NewEdge[T](q, 0), NewEdge[T](nil, 0)
		to.Attach(c, func(v T) error {
			f.seen[r] = append(f.seen[r], got[T]{v, c.TimestampMS, c.KeyHash, c.At})
			return nil
		})
		from.SetCodec(codec)
		to.SetCodec(codec)
		f.queues, f.receivers, f.contexts, senders = append(f.queues, q), append(f.receivers, to), append(f.contexts, c), append(senders, from)
		out, in, pairs = append(out, from), append(in, to), append(pairs, wire.Pair{To: r})
	}
	f.near.Sends("edge", codec.Schema(), pairs, out)
	f.there.Receives("edge", codec.Schema(), pairs, in)
	return f, senders
}

// newFar makes one that is connected.
func newFar[T any](t testing.TB, ctx context.Context, n int, tcp *TCP, codec serde.Serde[T]) *far[T] {
	t.Helper()
	f, senders := unconnected(n, codec)
	if err := tcp.Loop(ctx, f.near, f.there, func(err error) { f.failures <- err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.near.Close("")
		f.there.Close("")
	})
	f.w = NewWriter(ctx, f.in, senders)
	return f
}

// receive delivers and releases what comes to receiver r until a control element of the kind has come, and returns all control elements.
func (f *far[T]) receive(r int, until Kind) (controls []Control, err error) {
	for {
		select {
		case d := <-f.queues[r].C:
			if d.Len() > 0 {
				if err := d.Deliver(0, d.Len()); err != nil {
					return controls, err
				}
			}
			c := d.Control()
			d.Release()
			if c.Kind != None {
				controls = append(controls, c)
			}
			if c.Kind == until {
				return controls, nil
			}
		case err := <-f.failures:
			return controls, err
		}
	}
}

// TestRemoteRecords: records by key come with their times, hashes and origins, each to the owner of its key, and barriers and watermarks behind those that were
// sent before. What comes over a connection is what comes within the process.
func TestRemoteRecords(t *testing.T) {
	const receivers, records = 3, 20_000
	near := newFan[int64](t.Context(), receivers)
	there := newFar(t, t.Context(), receivers, overTCP(), serde.MustFor[int64]())
	var want [receivers][]Control
	send := func(f *fan[int64], step func()) {
		by := ByKey(f.w, func(v int64) int64 { return v }, func(k int64) uint64 { return uint64(k) * 0x9e3779b97f4a7c15 }, 128)
		for i := range int64(records) {
			f.in.TimestampMS, f.in.At.Offset, f.in.At.UID, f.in.At.Split = 1000-i*i, i, "source", []string{"s-1", "s-2"}[i/500%2]
			err := by(i)
			if i%997 == 0 && err == nil {
				err = f.w.Control(Control{Watermark, i})
			}
			if err != nil {
				t.Error(err)
				return
			}
			step()
		}
		if err := f.w.Control(Control{Kind: End}); err != nil {
			t.Error(err)
		}
		step()
	}
	send(near, func() {
		for r := range receivers {
			want[r] = append(want[r], near.drain(t, r)...)
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { send(there.fan, func() {}) })
	for r := range receivers {
		wg.Go(func() {
			controls, err := there.receive(r, End)
			if err != nil {
				t.Error(err)
				return
			}
			equal(t, "control element", controls, want[r])
			equal(t, "record", there.seen[r], near.seen[r])
		})
	}
	wg.Wait()
	if got, want := there.w.Records(), near.w.Records(); got != want || want != records {
		t.Errorf("Records is %d, want %d", got, want)
	}
}

func equal[E comparable](t *testing.T, what string, got, want []E) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("%s %d is %+v, want %+v", what, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d of %s, want %d", len(got), what, len(want))
	}
}
