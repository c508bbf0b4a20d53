package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// S3Options says where in an S3 store checkpoints live.
type S3Options struct {
	// Bucket has to exist.
	Bucket string
	// Prefix of all names, without slashes at its ends; "" for the whole bucket. It belongs to one job alone.
	Prefix string
	// Endpoint of an S3-compatible store, "http://host:port"; "" for Amazon's. Requests are path-style when it is set.
	Endpoint string
	// Region; default the environment variable AWS_REGION, then "us-east-1".
	Region string
	// Credentials; default the environment variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
	Credentials aws.CredentialsProvider
	// Client is used as it is when set, in place of Endpoint, Region and Credentials: for any other chain of credentials, proxy or
	// transport. Its own retries are safe but not needed.
	Client *s3.Client
}

// S3 stores checkpoints in an S3 bucket. The store has to honour If-None-Match and If-Match on PutObject, as Amazon's does; Lead tries
// it and refuses a store that does not. A state file is sent by one PutObject, so it may have at most 5 GB on Amazon's.
func S3(o S3Options) Storage { return s3Storage{o} }

type s3Storage struct{ o S3Options }

func (s s3Storage) Validate() error {
	var errs []error
	if s.o.Bucket == "" {
		errs = append(errs, errors.New("checkpoint: S3Options.Bucket is empty"))
	}
	if p := s.o.Prefix; p != "" {
		if err := ValidName(p); err != nil {
			errs = append(errs, fmt.Errorf("checkpoint: S3Options.Prefix %q: %w", p, err))
		}
	}
	if s.o.Endpoint != "" {
		if u, err := url.Parse(s.o.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("checkpoint: S3Options.Endpoint is %q, want http://host:port or https://host", s.o.Endpoint))
		}
	}
	return errors.Join(errs...)
}

func (s s3Storage) URL() string {
	u := url.URL{Scheme: "s3", Host: s.o.Bucket, Path: "/" + s.o.Prefix}
	q := url.Values{}
	if s.o.Endpoint != "" {
		q.Set("endpoint", s.o.Endpoint)
	}
	if s.o.Region != "" {
		q.Set("region", s.o.Region)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func s3FromURL(u *url.URL) (Storage, error) {
	q := u.Query()
	for k := range q {
		if k != "endpoint" && k != "region" {
			return nil, fmt.Errorf("checkpoint: storage URL has parameter %q; want endpoint or region", k)
		}
	}
	return S3(S3Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Endpoint: q.Get("endpoint"), Region: q.Get("region")}), nil
}

func (s s3Storage) Open(context.Context) (Objects, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	prefix := s.o.Prefix
	if prefix != "" {
		prefix += "/"
	}
	client := s.o.Client
	if client == nil {
		creds := s.o.Credentials
		if creds == nil {
			id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
			if id == "" || secret == "" {
				return nil, fmt.Errorf("checkpoint: no credentials for %s; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, S3Options.Credentials or S3Options.Client", s.URL())
			}
			creds = credentials.NewStaticCredentialsProvider(id, secret, os.Getenv("AWS_SESSION_TOKEN"))
		}
		client = s.client(creds, nil)
	}
	return &s3Objects{client: client, bucket: s.o.Bucket, prefix: prefix}, nil
}

// client makes the client of our own; transport nil is the default one.
func (s s3Storage) client(creds aws.CredentialsProvider, transport s3.HTTPClient) *s3.Client {
	return s3.New(s3.Options{
		Region:       firstOf(s.o.Region, os.Getenv("AWS_REGION"), "us-east-1"),
		Credentials:  aws.NewCredentialsCache(creds),
		BaseEndpoint: nonEmpty(s.o.Endpoint),
		UsePathStyle: s.o.Endpoint != "",
		HTTPClient:   transport,
		// The journal tries again itself: it alone knows how to find out what a lost answer was.
		Retryer: aws.NopRetryer{},
		// The signature covers the content already, and older stores do not know the newer checksums.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

func firstOf(vs ...string) string {
	for _, v := range vs {
		if v != "" {
			return v
		}
	}
	return ""
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

type s3Objects struct {
	client *s3.Client
	bucket string
	prefix string
}

func (s *s3Objects) Put(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + name), Body: body, ContentLength: &size, IfNoneMatch: aws.String("*"),
	})
	return s.classify("put", name, err, ErrExists)
}

func (s *s3Objects) Swap(ctx context.Context, name, tag string, data []byte) (string, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + name), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
	}
	if tag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &tag
	}
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		err = s.classify("swap", name, err, ErrConflict)
		if errors.Is(err, ErrNotFound) {
			// If-Match on an object that does not exist.
			err = fmt.Errorf("%w: %w", ErrConflict, err)
		}
		return "", err
	}
	if aws.ToString(out.ETag) == "" {
		return "", fmt.Errorf("checkpoint: S3 swap of %q: the store answered without an ETag; it cannot hold checkpoints", name)
	}
	return *out.ETag, nil
}

func (s *s3Objects) Get(ctx context.Context, name string) (io.ReadCloser, string, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + name)})
	if err != nil {
		return nil, "", s.classify("get", name, err, ErrConflict)
	}
	return out.Body, aws.ToString(out.ETag), nil
}

func (s *s3Objects) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	switch {
	case off < 0 || n < 0:
		return nil, fmt.Errorf("checkpoint: range of %d bytes at %d of %q", n, off, name)
	case n == 0: // which a Range header cannot say
		return http.NoBody, nil
	}
	want := fmt.Sprintf("bytes=%d-%d", off, off+n-1)
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + name), Range: &want})
	if err != nil {
		var resp *smithyhttp.ResponseError
		if errors.As(err, &resp) && resp.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable {
			return http.NoBody, nil // the object ends before off
		}
		return nil, s.classify("get", name, err, ErrConflict)
	}
	if got := aws.ToString(out.ContentRange); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", off)) {
		_ = out.Body.Close() // unread
		return nil, fmt.Errorf("checkpoint: S3 get of s3://%s/%s%s: asked for %s, the store answered with the range %q; it cannot hold checkpoints: "+
			"use a store that knows the Range header", s.bucket, s.prefix, name, want, got)
	}
	return out.Body, nil
}

// copyFrom lets the store copy an object of another bucket or prefix of the same endpoint.
func (s *s3Objects) copyFrom(ctx context.Context, src Objects, srcName, name string) error {
	from, ok := src.(*s3Objects)
	if !ok || aws.ToString(from.client.Options().BaseEndpoint) != aws.ToString(s.client.Options().BaseEndpoint) ||
		from.client.Options().Region != s.client.Options().Region {
		return errors.ErrUnsupported
	}
	// Names of ValidName need no escaping; those of buckets neither.
	_, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + name), CopySource: aws.String(from.bucket + "/" + from.prefix + srcName),
	})
	return s.classify("copy", name, err, ErrConflict)
}

func (s *s3Objects) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	p := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, s.classify("list", prefix, err, ErrConflict)
		}
		for _, o := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(o.Key), s.prefix))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *s3Objects) Delete(ctx context.Context, name string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + name)})
	if err = s.classify("delete", name, err, ErrConflict); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// classify adds to an error of S3 what it means. Final are the answers that say that the request itself is wrong; everything else,
// lost connections included, leaves the outcome open.
// Source: Amazon S3 API reference, "Error responses" and "Conditional writes": 412 when a condition does not hold, 409
// ConditionalRequestConflict when a concurrent write got in the way and the request has to be repeated.
func (s *s3Objects) classify(op, name string, err, precondition error) error {
	if err == nil {
		return nil
	}
	wrap := func(kind error) error {
		return fmt.Errorf("checkpoint: S3 %s of s3://%s/%s%s: %w: %w", op, s.bucket, s.prefix, name, kind, err)
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchKey", "NotFound":
			return wrap(ErrNotFound)
		case "NoSuchBucket":
			return fmt.Errorf("checkpoint: bucket %q does not exist; make it first: %w", s.bucket, err)
		}
	}
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &resp) {
		return wrap(ErrTransient)
	}
	switch code := resp.HTTPStatusCode(); {
	case code == http.StatusPreconditionFailed:
		return wrap(precondition)
	case code == http.StatusNotFound:
		return wrap(ErrNotFound)
	case code == http.StatusConflict, code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500, code < 400:
		return wrap(ErrTransient)
	default:
		return fmt.Errorf("checkpoint: S3 %s of s3://%s/%s%s: %w", op, s.bucket, s.prefix, name, err)
	}
}
