package dataflow_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
)

// click is the record of the tests of Job.Why.
type click struct {
	Key string
	MS  int64
}

// clickAt makes an event of one key at a time in event time.
func clickAt(key string, t time.Time) click { return click{key, t.UnixMilli()} }

// byTime takes event time from the event.
func byTime() operators.Watermarks[click] {
	return operators.Watermarks[click]{Timestamp: func(e click) time.Time { return time.UnixMilli(e.MS) }}
}

// feed is a source whose records a test puts in by hand, into splits named "uid-0", "uid-1" and so on. It says of no split that it is idle, as a source
// does that cannot know.
type feed struct{ *feedState }

type feedState struct {
	mu      sync.Mutex
	uid     string
	splits  int
	waiting map[string][]click
	readers []*feedReader
	closed  bool          // no record will come
	stop    chan struct{} // not nil: Poll waits for it
}

func newFeed(uid string, splits int) feed {
	return feed{&feedState{uid: uid, splits: splits, waiting: map[string][]click{}}}
}

func (f feed) split(i int) string { return fmt.Sprintf("%s-%d", f.uid, i) }

// put adds records to a split.
func (f feed) put(split int, es ...click) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting[f.split(split)] = append(f.waiting[f.split(split)], es...)
	f.wake()
}

// end says that no record will come.
func (f feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake()
}

func (f feed) wake() {
	for _, r := range f.readers {
		select {
		case r.token <- struct{}{}:
		default:
		}
	}
}

// every puts the event that make gives into a split at each interval, until the context ends; run it as a goroutine, in a synctest bubble.
func (f feed) every(ctx context.Context, d time.Duration, split int, make func() click) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.put(split, make())
		case <-ctx.Done():
			return
		}
	}
}

func (f feed) Validate() error { return nil }

func (f feed) NewEnumerator(connectors.Context, []byte) (connectors.Enumerator, error) {
	return &feedEnumerator{f: f}, nil
}

func (f feed) NewReader(connectors.Context) (connectors.Reader[click], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &feedReader{f: f, token: make(chan struct{}, 1), done: map[string]bool{}}
	f.readers = append(f.readers, r)
	return r, nil
}

type feedEnumerator struct {
	f     feed
	given bool
}

func (e *feedEnumerator) Discover(context.Context) (time.Duration, error) { return 0, nil }
func (e *feedEnumerator) Finished(string)                                 {}
func (e *feedEnumerator) Done() bool                                      { return e.given }
func (e *feedEnumerator) Snapshot() ([]byte, error)                       { return nil, nil }
func (e *feedEnumerator) Close() error                                    { return nil }

func (e *feedEnumerator) Assign() []connectors.Split {
	if e.given {
		return nil
	}
	e.given = true
	var out []connectors.Split
	for i := range e.f.splits {
		out = append(out, connectors.Split{ID: e.f.split(i)})
	}
	return out
}

type feedReader struct {
	f      feed
	token  chan struct{}
	splits []string
	done   map[string]bool
}

func (r *feedReader) AddSplits(splits []connectors.Split) error {
	for _, s := range splits {
		r.splits = append(r.splits, s.ID)
	}
	r.token <- struct{}{}
	return nil
}

func (r *feedReader) Poll(out connectors.Output[click], most int) (connectors.Status, error) {
	if r.f.stop != nil {
		<-r.f.stop
	}
	for _, s := range r.splits {
		if r.done[s] {
			continue
		}
		r.f.mu.Lock()
		es, closed := r.f.waiting[s], r.f.closed
		n := min(len(es), most)
		r.f.waiting[s] = es[n:]
		r.f.mu.Unlock()
		for _, e := range es[:n] {
			if err := out.Emit(e, connectors.NoTimestamp, connectors.Coordinates{UID: r.f.uid, Split: s}); err != nil {
				return connectors.Idle, err
			}
		}
		if n > 0 {
			return connectors.More, nil
		}
		if closed {
			r.done[s] = true
			if err := out.Finished(s); err != nil {
				return connectors.Idle, err
			}
		}
	}
	return connectors.Idle, nil
}

func (r *feedReader) Wake() <-chan struct{} { return r.token }

func (r *feedReader) Snapshot() ([]connectors.Split, error) {
	var out []connectors.Split
	for _, s := range r.splits {
		if !r.done[s] {
			out = append(out, connectors.Split{ID: s})
		}
	}
	return out, nil
}

func (r *feedReader) CheckpointCompleted(int64) {}
func (r *feedReader) Close() error              { return nil }

// into is a sink that gives each record to a function of the test.
type into[T any] func(T) error

func (s into[T]) Validate() error { return nil }

func (s into[T]) NewWriter(connectors.WriterContext) (connectors.Writer[T], error) {
	return intoWriter[T]{s}, nil
}

type intoWriter[T any] struct{ f into[T] }

func (w intoWriter[T]) Write(v T, _ connectors.Meta) error { return w.f(v) }
func (w intoWriter[T]) Idle() error                        { return nil }
func (w intoWriter[T]) Prepare(context.Context, int64) (prepared [][]byte, err error) {
	return nil, nil
}
func (w intoWriter[T]) Close() error { return nil }

// nowhere drops what it is given.
func nowhere[T any]() into[T] { return func(T) error { return nil } }

// waitingFeed is a feed that may still find splits.
type waitingFeed struct{ feed }

func (f waitingFeed) NewEnumerator(connectors.Context, []byte) (connectors.Enumerator, error) {
	return openEnumerator{&feedEnumerator{f: f.feed}}, nil
}

type openEnumerator struct{ *feedEnumerator }

func (openEnumerator) Done() bool { return false }

// neverIdle takes event time from the event and counts every split as active for ever.
func neverIdle() operators.Watermarks[click] { return byTime().WithoutIdleness() }
