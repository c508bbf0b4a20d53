package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/millrace-io/millrace/internal/crash"
)

// store adds to Objects what every caller here needs: further tries, certainty about writes whose answer was lost, and the named
// points at which a test kills the process.
type store struct {
	o   Objects
	url string
	log *zap.Logger
	// jitter gives a number in [0,1).
	jitter func() float64
}

const (
	// retryFor bounds the tries of one call after its first failure: an S3 brown-out of seconds is sat out, one of minutes fails the
	// checkpoint, and the job's own back-off takes over.
	retryFor     = time.Minute
	retryWaitMin = 50 * time.Millisecond
	retryWaitMax = 5 * time.Second
	// A try may take attemptMin plus one second for each attemptRate bytes.
	attemptMin  = 30 * time.Second
	attemptRate = 1 << 20
)

func newStore(o Objects, url string, log *zap.Logger) *store {
	if log == nil {
		log = zap.NewNop()
	}
	return &store{o: o, url: url, log: log, jitter: mathrand.Float64}
}

func (s *store) object(name string) string { return joinURL(s.url, name) }

// attempt bounds one try by time.
func attempt(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, attemptMin+time.Duration(size/attemptRate)*time.Second, errAttempt)
}

var errAttempt = fmt.Errorf("no answer in time (%w)", ErrTransient)

// retry calls try until its error is final, the time is up, or ctx ends. An error of the try's own time limit counts as transient.
func (s *store) retry(ctx context.Context, op, name string, size int64, try func(context.Context) error) error {
	var giveUp time.Time
	for wait := retryWaitMin; ; wait = min(2*wait, retryWaitMax) {
		actx, cancel := attempt(ctx, size)
		err := try(actx)
		if err != nil && ctx.Err() == nil && actx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, errAttempt)
		}
		cancel()
		if err == nil || !errors.Is(err, ErrTransient) || ctx.Err() != nil {
			return err
		}
		now := time.Now()
		if giveUp.IsZero() {
			giveUp = now.Add(retryFor)
		}
		// Between half and the whole of wait, so that many subtasks do not come back at once.
		pause := time.Duration((0.5 + s.jitter()/2) * float64(wait))
		if now.Add(pause).After(giveUp) {
			return fmt.Errorf("given up after %v: %w", retryFor, err)
		}
		s.log.Warn("checkpoint storage: trying again", zap.String("op", op), zap.String("object", s.object(name)),
			zap.Duration("in", pause), zap.Error(err))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-timer.C:
		}
	}
}

// put creates an object under a name that is used once. A try whose answer was lost may have created it: the next one then fails
// with ErrExists, and the content says whether it was ours.
func (s *store) put(ctx context.Context, name string, body io.ReadSeeker, size int64, sum string) error {
	if err := crash.At(crash.StoragePutBefore); err != nil {
		return err
	}
	err := s.retry(ctx, "put", name, size, func(ctx context.Context) error { return s.o.Put(ctx, name, body, size) })
	if errors.Is(err, ErrExists) {
		err = s.sameContent(ctx, name, size, sum)
	}
	if err != nil {
		return fmt.Errorf("checkpoint: cannot write %q: %w", s.object(name), err)
	}
	return crash.At(crash.StoragePutAfter)
}

func (s *store) sameContent(ctx context.Context, name string, size int64, sum string) error {
	return s.retry(ctx, "get", name, size, func(ctx context.Context) error {
		body, _, err := s.o.Get(ctx, name)
		if err != nil {
			return err
		}
		defer body.Close()
		h := sha256.New()
		n, err := io.Copy(h, body)
		if err != nil {
			return fmt.Errorf("%w (%w)", err, ErrTransient)
		}
		if got := hex.EncodeToString(h.Sum(nil)); n != size || got != sum {
			return fmt.Errorf("%w with other content: %d bytes with SHA-256 %s, want %d bytes with %s", ErrExists, n, got, size, sum)
		}
		return nil
	})
}

// swap replaces HEAD. data has to be unique. ErrConflict: another leader has written. ErrUnknownOutcome: it may have been written.
func (s *store) swap(ctx context.Context, name, tag string, data []byte) (newTag string, err error) {
	if err := crash.At(crash.StorageCASBefore); err != nil {
		return "", err
	}
	err = s.retry(ctx, "swap", name, int64(len(data)), func(ctx context.Context) error {
		var err error
		newTag, err = s.o.Swap(ctx, name, tag, data)
		if err == nil || !errors.Is(err, ErrConflict) && !errors.Is(err, ErrTransient) {
			return err
		}
		// A lost answer, or the conflict of a second try with the first one that did arrive: what is there now decides.
		cur, curTag, gerr := s.getOnce(ctx, name, headBytesMax)
		switch {
		case gerr == nil && bytes.Equal(cur, data):
			newTag = curTag
			return nil
		case errors.Is(err, ErrConflict) && !errors.Is(err, ErrTransient) && (gerr == nil || errors.Is(gerr, ErrNotFound)):
			return err
		case gerr == nil && curTag != tag:
			return fmt.Errorf("%w (found after: %v)", ErrConflict, err)
		case gerr == nil, errors.Is(gerr, ErrNotFound) && tag == "":
			return fmt.Errorf("%w (%w)", err, ErrTransient)
		case errors.Is(gerr, ErrNotFound):
			return fmt.Errorf("%w: the object has gone (found after: %v)", ErrConflict, err)
		default:
			return fmt.Errorf("%w; reading it back: %w (%w)", err, gerr, ErrTransient)
		}
	})
	switch {
	case err == nil:
		return newTag, crash.At(crash.StorageCASAfter)
	case errors.Is(err, ErrUnknownOutcome):
		return "", err
	case errors.Is(err, ErrTransient), ctx.Err() != nil:
		return "", fmt.Errorf("%w: swap of %q: %w", ErrUnknownOutcome, s.object(name), err)
	default:
		return "", fmt.Errorf("checkpoint: cannot swap %q: %w", s.object(name), err)
	}
}

// headBytesMax bounds HEAD: some 200 bytes for each retained checkpoint and savepoint.
const headBytesMax = 16 << 20

// get reads a whole object of at most limit bytes.
func (s *store) get(ctx context.Context, name string, limit int64) (data []byte, tag string, err error) {
	err = s.retry(ctx, "get", name, limit, func(ctx context.Context) error {
		data, tag, err = s.getOnce(ctx, name, limit)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("checkpoint: cannot read %q: %w", s.object(name), err)
	}
	return data, tag, nil
}

func (s *store) getOnce(ctx context.Context, name string, limit int64) ([]byte, string, error) {
	body, tag, err := s.o.Get(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, "", fmt.Errorf("%w (%w)", err, ErrTransient)
	}
	if int64(len(data)) > limit {
		return nil, "", &CorruptError{Object: s.object(name), Reason: fmt.Sprintf("it has more than %d bytes", limit)}
	}
	return data, tag, nil
}

// readRange fills p with the object's bytes from off on; n < len(p) when the object ends before. A try goes on where the one before broke
// off.
func (s *store) readRange(ctx context.Context, name string, off int64, p []byte) (n int, err error) {
	err = s.retry(ctx, "get", name, int64(len(p)), func(ctx context.Context) error {
		body, err := s.o.GetRange(ctx, name, off+int64(n), int64(len(p)-n))
		if err != nil {
			return err
		}
		defer body.Close()
		for n < len(p) {
			k, err := body.Read(p[n:])
			n += k
			switch {
			case err == io.EOF: // itself: a wrapped one is a connection that was closed
				return nil
			case err != nil:
				return fmt.Errorf("after %d bytes of %d at %d: %w (%w)", n, len(p), off, err, ErrTransient)
			}
		}
		return nil
	})
	return n, err
}

func (s *store) list(ctx context.Context, prefix string) (names []string, err error) {
	err = s.retry(ctx, "list", prefix, 0, func(ctx context.Context) error {
		names, err = s.o.List(ctx, prefix)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint: cannot list %q: %w", s.object(prefix), err)
	}
	return names, nil
}

func (s *store) delete(ctx context.Context, name string) error {
	if err := crash.At(crash.StorageDelBefore); err != nil {
		return err
	}
	err := s.retry(ctx, "delete", name, 0, func(ctx context.Context) error { return s.o.Delete(ctx, name) })
	if err != nil {
		return fmt.Errorf("checkpoint: cannot delete %q: %w", s.object(name), err)
	}
	return crash.At(crash.StorageDelAfter)
}

// probe tries on a scratch object whether the store keeps its word about conditional writes. Several S3 look-alikes ignore the
// headers and overwrite: two leaders would then both win.
func (s *store) probe(ctx context.Context, epoch int64) error {
	name := fmt.Sprintf("probe-%d-0-%s", epoch, rand.Text())
	put := fmt.Sprintf("tmp/probe-%d-0-%s", epoch, rand.Text())
	refuse := func(what string) error {
		return fmt.Errorf("checkpoint: storage %s %s; it cannot hold checkpoints: use a store with conditional writes "+
			"(If-None-Match and If-Match) and ranges, or a directory with hard links and flock", s.url, what)
	}
	// refused is nil when a call was refused as it should be; what says what a store does that did not.
	refused := func(err, want error, what string) error {
		switch {
		case err == nil:
			return refuse(what)
		case errors.Is(err, want), errors.Is(err, ErrTransient):
			return nil
		}
		return fmt.Errorf("checkpoint: trial of the storage %s: %w", s.url, err)
	}
	a, b, c := []byte("a"+rand.Text()), []byte("b"+rand.Text()), []byte("c"+rand.Text())
	if err := s.put(ctx, put, bytes.NewReader(a), int64(len(a)), tagOf(a)); err != nil {
		return err
	}
	const overwrites = "overwrites an object in spite of If-None-Match"
	if err := refused(s.o.Put(ctx, put, bytes.NewReader(b), int64(len(b))), ErrExists, overwrites); err != nil {
		return err
	}
	part := make([]byte, 3)
	if n, err := s.readRange(ctx, put, 1, part); err != nil {
		return fmt.Errorf("checkpoint: trial of the storage %s: %w", s.url, err)
	} else if !bytes.Equal(part[:n], a[1:4]) {
		return refuse("does not read parts of an object")
	}
	tagA, err := s.swap(ctx, name, "", a)
	if err != nil {
		return err
	}
	_, err = s.o.Swap(ctx, name, "", b)
	if err := refused(err, ErrConflict, overwrites); err != nil {
		return err
	}
	if _, err = s.swap(ctx, name, tagA, b); err != nil {
		return err
	}
	_, err = s.o.Swap(ctx, name, tagA, c)
	if err := refused(err, ErrConflict, "overwrites an object in spite of an If-Match that does not match"); err != nil {
		return err
	}
	return errors.Join(s.delete(ctx, name), s.delete(ctx, put))
}
