package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

// S3Options say how to reach a bucket. They mean the same as those of package checkpoint.
type S3Options struct {
	// Endpoint of an S3-compatible store, "http://host:port"; "" for the endpoint in the URL, or else Amazon's. Requests are path-style
	// when it is set.
	Endpoint string
	// Region; default that in the URL, then the environment variable AWS_REGION, then "us-east-1".
	Region string
	// Credentials; default the environment variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
	Credentials aws.CredentialsProvider
	// Client is used as it is when set, in place of all other fields: for any other chain of credentials, proxy or transport. It should
	// make one attempt a call (aws.NopRetryer): the sink and the source try again by themselves.
	Client *s3.Client
}

// over fills empty fields from the URL of the archive.
func (o S3Options) over(loc location) S3Options {
	o.Endpoint = cmp.Or(o.Endpoint, loc.endpoint)
	o.Region = cmp.Or(o.Region, loc.region)
	return o
}

func (o S3Options) validate() error {
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("file: endpoint of the S3 store is %q, want http://host:port or https://host", o.Endpoint)
	}
	return nil
}

// Parallel requests of one publish; S3 allows thousands a second per prefix.
const s3Parallel = 16

// s3Store keeps objects in a bucket, below a prefix.
type s3Store struct {
	client         *s3.Client
	bucket, prefix string
	spool          string
	// backoff is the longest pause before try n (0 is the first repetition).
	backoff func(n int) time.Duration
}

func newS3Store(loc location, o S3Options, spool string) (*s3Store, error) {
	o = o.over(loc)
	if err := o.validate(); err != nil {
		return nil, err
	}
	store := &s3Store{
		client: o.Client, bucket: loc.bucket, prefix: loc.prefix, spool: spool,
		backoff: func(n int) time.Duration { return min(100*time.Millisecond<<min(n, 10), 10*time.Second) },
	}
	if store.client != nil {
		return store, nil
	}
	if o.Credentials == nil {
		id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
		if id == "" || secret == "" {
			return nil, fmt.Errorf("file: no credentials for s3://%s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, S3Options.Credentials or S3Options.Client", loc.bucket)
		}
		o.Credentials = credentials.NewStaticCredentialsProvider(id, secret, os.Getenv("AWS_SESSION_TOKEN"))
	}
	so := s3.Options{
		Region: cmp.Or(o.Region, os.Getenv("AWS_REGION"), "us-east-1"), Credentials: aws.NewCredentialsCache(o.Credentials),
		UsePathStyle: o.Endpoint != "",
		// One attempt a call: the store repeats by itself, for as long as the caller allows, and knows what a repetition means.
		Retryer: aws.NopRetryer{},
		// The signature covers the content already, and servers other than Amazon's may refuse the newer checksums.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if o.Endpoint != "" {
		so.BaseEndpoint = aws.String(o.Endpoint)
	}
	store.client = s3.New(so)
	return store, nil
}

func (s *s3Store) key(name string) *string { return aws.String(path.Join(s.prefix, name)) }

func (s *s3Store) url(name string) string { return "s3://" + s.bucket + "/" + *s.key(name) }

// status is the HTTP status of the answer in err, 0 when there was none.
func status(err error) int {
	var r interface{ HTTPStatusCode() int }
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// transient reports whether a further try may succeed: no answer came, the server failed or was busy, or a conditional write met another
// (409). Any other answer is final.
func transient(err error) bool {
	switch code := status(err); code {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	case 0, http.StatusOK:
		// Without a status the request never left, or its answer never came. With 200 the body held an error, or ended early.
		if _, local := errors.AsType[*fs.PathError](err); local {
			return false // the spool, not the server
		}
		var api smithy.APIError
		if errors.As(err, &api) {
			switch api.ErrorCode() {
			case "InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout", "":
				return true
			}
			return api.ErrorFault() == smithy.FaultServer
		}
		return true
	default:
		return code >= 500
	}
}

// retry calls f until it succeeds, fails for good, or ctx ends; then the last error is reported with it.
func (s *s3Store) retry(ctx context.Context, what, name string, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil {
			return nil
		}
		if status(err) == http.StatusNotFound {
			var api smithy.APIError
			if errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket" {
				return fmt.Errorf("file: bucket %q does not exist: create it", s.bucket)
			}
			return fmt.Errorf("file: %s %s: %w", what, s.url(name), errNotFound)
		}
		if !transient(err) || ctx.Err() != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("file: %s %s: %w", what, s.url(name), err))
		}
		// Full jitter: many writers that failed together must not come back together.
		pause := time.NewTimer(rand.N(s.backoff(n) + 1))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(ctx.Err(), fmt.Errorf("file: %s %s: %w", what, s.url(name), err))
		}
	}
}

func (s *s3Store) stage(_ context.Context, name string) (stagedObject, error) {
	f, err := os.CreateTemp(s.spool, "millrace-archive-*")
	if err != nil {
		return nil, fmt.Errorf("file: spooling %s: %w", s.url(name), err)
	}
	// Without a name the space is given back when the process ends, however it ends. Where an open file cannot be removed, abort does it.
	_ = os.Remove(f.Name())
	return &s3Staged{store: s, name: name, spool: f}, nil
}

// s3Staged collects one object in a local file, so that it is sent whole: no multipart upload stays open across checkpoints.
type s3Staged struct {
	store *s3Store
	name  string
	spool *os.File
	size  int64
}

// Write adds to the object.
func (o *s3Staged) Write(p []byte) (int, error) {
	n, err := o.spool.Write(p)
	o.size += int64(n)
	return n, err
}

func (o *s3Staged) commit(ctx context.Context) error {
	defer o.abort()
	// The name is used once and by this writer only, so that putting it again after an unknown outcome is harmless.
	return o.store.retry(ctx, "storing", o.name, func() error {
		if _, err := o.spool.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := o.store.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &o.store.bucket, Key: o.store.key(o.name), Body: o.spool, ContentLength: &o.size,
		})
		return err
	})
}

func (o *s3Staged) abort() {
	if o.spool == nil {
		return
	}
	_ = o.spool.Close()
	_ = os.Remove(o.spool.Name())
	o.spool = nil
}

func (s *s3Store) settle(context.Context, string) error { return nil }

func (s *s3Store) create(ctx context.Context, name string, data []byte) error {
	return s.retry(ctx, "creating", name, func() error {
		_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &s.bucket, Key: s.key(name), Body: bytes.NewReader(data), IfNoneMatch: aws.String("*"),
		})
		if status(err) == http.StatusPreconditionFailed {
			return fmt.Errorf("%w: %w", errExists, err)
		}
		return err
	})
}

func (s *s3Store) read(ctx context.Context, name string) (data []byte, err error) {
	err = s.retry(ctx, "reading", name, func() error {
		out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(name)})
		if err != nil {
			return err
		}
		data, err = io.ReadAll(out.Body)
		return errors.Join(err, out.Body.Close())
	})
	return data, err
}

// size is the size of an object in bytes; errNotFound when there is none.
func (s *s3Store) size(ctx context.Context, name string) (size int64, err error) {
	err = s.retry(ctx, "looking at", name, func() error {
		out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(name)})
		if err == nil {
			size = aws.ToInt64(out.ContentLength)
		}
		return err
	})
	return size, err
}

func (s *s3Store) open(ctx context.Context, name string) (object, error) {
	size, err := s.size(ctx, name)
	if err != nil {
		return nil, err
	}
	return &s3Object{ctx: ctx, store: s, name: name, size: size}, nil
}

// An object is read in windows of this many bytes, of which the last few are kept: decoders ask for many small ranges, and each request
// costs a round trip.
const (
	s3Window      = 1 << 20
	s3WindowsKept = 4
)

// s3Object reads an object window by window. It holds the context of open, because io.ReaderAt has none.
type s3Object struct {
	ctx   context.Context
	store *s3Store
	name  string
	size  int64

	mu      sync.Mutex // guards windows
	windows []window   // the most recently used last
}

// window holds the bytes of an object from index × s3Window on.
type window struct {
	index int64
	data  []byte
}

// Size is the object's size when it was opened, bytes.
func (o *s3Object) Size() int64 { return o.size }

// Close does nothing: nothing is held at the server between calls.
func (o *s3Object) Close() error { return nil }

// ReadAt copies from the windows that hold the range.
func (o *s3Object) ReadAt(p []byte, off int64) (n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at < 0 || at >= o.size {
			return n, io.EOF
		}
		data, err := o.window(at / s3Window)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%s3Window:])
	}
	return n, nil
}

// window returns the bytes of a window, by one request unless they are kept.
func (o *s3Object) window(index int64) ([]byte, error) {
	if i := slices.IndexFunc(o.windows, func(w window) bool { return w.index == index }); i >= 0 {
		w := o.windows[i]
		o.windows = append(slices.Delete(o.windows, i, i+1), w)
		return w.data, nil
	}
	start := index * s3Window
	data := make([]byte, min(s3Window, o.size-start))
	err := o.store.retry(o.ctx, "reading", o.name, func() error {
		out, err := o.store.client.GetObject(o.ctx, &s3.GetObjectInput{
			Bucket: &o.store.bucket, Key: o.store.key(o.name), Range: aws.String(fmt.Sprintf("bytes=%d-%d", start, start+int64(len(data))-1)),
		})
		if err != nil {
			return err
		}
		_, err = io.ReadFull(out.Body, data)
		return errors.Join(err, out.Body.Close())
	})
	if err != nil {
		return nil, err
	}
	if len(o.windows) == s3WindowsKept {
		o.windows = slices.Delete(o.windows, 0, 1)
	}
	o.windows = append(o.windows, window{index, data})
	return data, nil
}

func (s *s3Store) publish(ctx context.Context, files []stagedFile) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s3Parallel)
	for _, f := range files {
		g.Go(func() error { return s.move(ctx, f) })
	}
	return g.Wait()
}

// move copies, then deletes. In between both names exist; the staged one is invisible to readers and goes with the next start's sweep.
func (s *s3Store) move(ctx context.Context, f stagedFile) error {
	err := s.retry(ctx, "publishing", f.Path, func() error {
		_, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &s.bucket, Key: s.key(f.Path), CopySource: aws.String(s.bucket + "/" + copySource(*s.key(f.Staged))),
		})
		return err
	})
	if err == nil {
		return s.remove(ctx, f.Staged)
	}
	if !errors.Is(err, errNotFound) {
		return err
	}
	size, err := s.size(ctx, f.Path)
	if errors.Is(err, errNotFound) || err == nil && size != f.Bytes {
		return &LostFileError{Staged: f.Staged, Path: f.Path, Records: f.Records}
	}
	return err
}

// copySource escapes a key for the header x-amz-copy-source, part by part.
func copySource(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

func (s *s3Store) list(ctx context.Context, dir string, f func(objectInfo) error) error {
	prefix := path.Join(s.prefix, dir)
	if prefix != "" {
		prefix += "/"
	}
	var token *string
	for {
		var out *s3.ListObjectsV2Output
		err := s.retry(ctx, "listing", dir, func() (err error) {
			out, err = s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, ContinuationToken: token})
			return err
		})
		if err != nil {
			return err
		}
		for _, o := range out.Contents {
			name := aws.ToString(o.Key)
			if s.prefix != "" {
				name = strings.TrimPrefix(name, s.prefix+"/")
			}
			if err := f(objectInfo{name: name, size: aws.ToInt64(o.Size), modified: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
			return nil
		}
		token = out.NextContinuationToken
	}
}

func (s *s3Store) remove(ctx context.Context, name string) error {
	err := s.retry(ctx, "removing", name, func() error {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(name)})
		return err
	})
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}
