package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

// A store that answers 503, or 500 after it has done what was asked, for the better part of a minute is sat out, whatever the leader was about. One that does so
// for longer ends the attempt with the reason; the next one finds out what there is and goes on.
func TestS3BrownOut(t *testing.T) {
	plain := newFakeS3()
	if err := (&life{st: plain.storage("job")}).run(t, 2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fault    s3Fault
		lasts    time.Duration
		survives bool
	}{{s3SlowDown, 50 * time.Second, true}, {s3Internal, 50 * time.Second, true}, {s3SlowDown, time.Hour, false}, {s3Internal, time.Hour, false}} {
		for k := range plain.requests {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeS3()
				var began time.Time
				f.fault = func(n int, _ *http.Request) s3Fault {
					if n == k {
						began = time.Now()
					}
					if n >= k && time.Since(began) < c.lasts {
						return c.fault
					}
					return s3OK
				}
				l := &life{st: f.storage("job")}
				start := time.Now()
				err := l.run(t, 2)
				if c.survives && err != nil {
					t.Fatalf("fault %d for %v from request %d on: %v", c.fault, c.lasts, k, err)
				}
				if !c.survives && (!errors.Is(err, checkpoint.ErrTransient) || !strings.Contains(err.Error(), "given up after 1m0s")) {
					t.Fatalf("fault %d for %v from request %d on: %v, want an error that says that it was given up", c.fault, c.lasts, k, err)
				}
				if took := time.Since(start); took > 3*time.Minute {
					t.Errorf("fault %d for %v from request %d on: the life took %v", c.fault, c.lasts, k, took)
				}
				f.fault = nil
				if err := l.check(t); err != nil {
					t.Fatalf("fault %d for %v from request %d on: %v", c.fault, c.lasts, k, err)
				}
			})
		}
	}
}

// sluggish is a store with a second for each request and 1 MB/s: a hundredth of what one expects.
type sluggish struct{ *checkpointtest.Memory }

func (s sluggish) Open(context.Context) (checkpoint.Objects, error) { return s, nil }

func wait(ctx context.Context, bytes int64) error {
	select {
	case <-time.After(time.Second + time.Duration(bytes)*time.Microsecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s sluggish) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if err := wait(ctx, size); err != nil {
		return err
	}
	return s.Memory.Put(ctx, name, body, size)
}

func (s sluggish) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	if err := wait(ctx, int64(len(data))); err != nil {
		return "", err
	}
	return s.Memory.Swap(ctx, name, tag, data)
}

func (s sluggish) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	if err := wait(ctx, 0); err != nil {
		return nil, "", err
	}
	body, tag, err := s.Memory.Get(ctx, name)
	return dripping{ctx, body}, tag, err
}

func (s sluggish) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := wait(ctx, 0); err != nil {
		return nil, err
	}
	body, err := s.Memory.GetRange(ctx, name, off, n)
	return dripping{ctx, body}, err
}

func (s sluggish) List(ctx context.Context, prefix string) ([]string, error) {
	if err := wait(ctx, 0); err != nil {
		return nil, err
	}
	return s.Memory.List(ctx, prefix)
}

func (s sluggish) Delete(ctx context.Context, name string) error {
	if err := wait(ctx, 0); err != nil {
		return err
	}
	return s.Memory.Delete(ctx, name)
}

// dripping is a body at 1 MB/s.
type dripping struct {
	ctx context.Context
	io.ReadCloser
}

func (d dripping) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p[:min(len(p), 16<<10)])
	select {
	case <-time.After(time.Duration(n) * time.Microsecond):
		return n, err
	case <-d.ctx.Done():
		return n, context.Cause(d.ctx)
	}
}

// A store that is a hundred times slower than usual costs time and nothing else: objects of 80 MB included, which take longer than any one
// request may without data.
func TestSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := sluggish{checkpointtest.NewMemory("slow")}
		l := &life{st: st}
		if err := l.run(t, 3); err != nil {
			t.Fatal(err)
		}
		j := leading(t, st)
		content := random(80 << 20)
		h := writeObject(t, j.Files(j.NextID()), content, 0)
		if err := j.Complete(t.Context(), manifest(j.Epoch(), j.NextID(), h)); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t.Context(), j.Files(1), h); err != nil || !bytes.Equal(got, content) {
			t.Errorf("Read: %d bytes, %v", len(got), err)
		}
		o, err := j.Files(1).Open(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 60<<20)
		if err := o.ReadAt(t.Context(), p, 12_345); err != nil || !bytes.Equal(p, content[12_345:12_345+60<<20]) {
			t.Errorf("ReadAt: %v", err)
		}
		if err := checkpoint.Verify(t.Context(), st); err != nil {
			t.Error(err)
		}
	})
}
