package checkpoint_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
)

// fakeS3 answers the five requests that are used here as Amazon S3 documents them, without a network.
type fakeS3 struct {
	mu       sync.Mutex
	objects  map[string]object
	requests int
	copies   int // made by the store
	fault    func(n int, r *http.Request) s3Fault
	ignore   string // "conditions" or "Range": headers that are ignored
}

type object struct {
	data []byte
	etag string
}

type s3Fault int

const (
	s3OK s3Fault = iota
	s3SlowDown
	s3Internal // carried out, but the answer is a 500
	s3Lost     // carried out, connection reset
	s3Conflict // 409 ConditionalRequestConflict, not carried out
	s3Denied
)

func newFakeS3() *fakeS3 { return &fakeS3{objects: map[string]object{}} }

func (f *fakeS3) Do(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if r.ContentLength >= 0 && int64(len(body)) != r.ContentLength {
		return nil, fmt.Errorf("body has %d bytes, Content-Length is %d", len(body), r.ContentLength)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := s3OK
	if f.fault != nil {
		fault = f.fault(f.requests, r)
	}
	f.requests++
	switch fault {
	case s3SlowDown:
		return s3Error(r, 503, "SlowDown"), nil
	case s3Conflict:
		return s3Error(r, 409, "ConditionalRequestConflict"), nil
	case s3Denied:
		return s3Error(r, 403, "AccessDenied"), nil
	}
	resp := f.serve(r, body)
	switch fault {
	case s3Internal:
		return s3Error(r, 500, "InternalError"), nil
	case s3Lost:
		return nil, errors.New("connection reset by peer")
	}
	return resp, nil
}

func s3Answer(r *http.Request, status int, header http.Header, body []byte) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}
}

func s3Error(r *http.Request, status int, code string) *http.Response {
	return s3Answer(r, status, http.Header{"Content-Type": {"application/xml"}},
		fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>fake</Message></Error>`, code))
}

// serve answers a request to /bucket/key in path style.
func (f *fakeS3) serve(r *http.Request, body []byte) *http.Response {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != "bucket" {
		return s3Error(r, 404, "NoSuchBucket")
	}
	old, exists := f.objects[key]
	switch {
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		from, ok := f.objects[strings.TrimPrefix(r.Header.Get("X-Amz-Copy-Source"), "bucket/")]
		if !ok {
			return s3Error(r, 404, "NoSuchKey")
		}
		f.copies++
		f.objects[key] = object{data: from.data, etag: strconv.Quote(strconv.Itoa(f.requests))}
		return s3Answer(r, 200, nil, []byte("<CopyObjectResult></CopyObjectResult>"))
	case r.Method == http.MethodPut:
		none, match := r.Header.Get("If-None-Match"), r.Header.Get("If-Match")
		if f.ignore == "conditions" {
			none, match = "", ""
		}
		switch {
		case none == "*" && exists, match != "" && exists && match != old.etag:
			return s3Error(r, 412, "PreconditionFailed")
		case match != "" && !exists:
			return s3Error(r, 404, "NoSuchKey")
		}
		o := object{data: body, etag: strconv.Quote(strconv.Itoa(f.requests))}
		f.objects[key] = o
		return s3Answer(r, 200, http.Header{"Etag": {o.etag}}, nil)
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		return s3Answer(r, 204, nil, nil)
	case r.Method == http.MethodGet && key == "":
		return f.list(r)
	case r.Method == http.MethodGet && exists && r.Header.Get("Range") != "" && f.ignore != "Range":
		return s3Range(r, old)
	case r.Method == http.MethodGet && exists:
		return s3Answer(r, 200, http.Header{"Etag": {old.etag}}, old.data)
	case r.Method == http.MethodGet:
		return s3Error(r, 404, "NoSuchKey")
	}
	return s3Error(r, 405, "MethodNotAllowed")
}

// s3Range answers a request for a part.
func s3Range(r *http.Request, o object) *http.Response {
	var first, last int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil || last < first {
		return s3Error(r, 400, "InvalidArgument")
	}
	if first >= len(o.data) {
		return s3Error(r, 416, "InvalidRange")
	}
	last = min(last, len(o.data)-1)
	return s3Answer(r, 206, http.Header{"Etag": {o.etag}, "Content-Range": {fmt.Sprintf("bytes %d-%d/%d", first, last, len(o.data))}}, o.data[first:last+1])
}

// list gives pages of two keys, so that every list has several.
func (f *fakeS3) list(r *http.Request) *http.Response {
	q := r.URL.Query()
	type entry struct{ Key string }
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []entry
	}
	var keys []string
	for k := range f.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > q.Get("continuation-token") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if len(keys) > 2 {
		keys = keys[:2]
		page.IsTruncated, page.NextContinuationToken = true, keys[1]
	}
	for _, k := range keys {
		page.Contents = append(page.Contents, entry{k})
	}
	body, err := xml.Marshal(page)
	if err != nil {
		return s3Error(r, 500, "InternalError")
	}
	return s3Answer(r, 200, http.Header{"Content-Type": {"application/xml"}}, body)
}

func (f *fakeS3) storage(prefix string) checkpoint.Storage {
	return checkpoint.S3Over(checkpoint.S3Options{Bucket: "bucket", Prefix: prefix, Endpoint: "http://s3.test"}, f)
}

func TestFakeS3Conformance(t *testing.T) {
	for _, prefix := range []string{"", "jobs/decisions"} {
		checkpointtest.Conformance(t, func(t *testing.T) checkpoint.Storage { return newFakeS3().storage(prefix) })
	}
}

// Any single request may be throttled, fail, lose its answer or meet a concurrent one: the journal finds out and goes on. A refusal
// ends the life, and the next leader goes on.
func TestS3EveryRequestFails(t *testing.T) {
	plain := newFakeS3()
	if err := (&life{st: plain.storage("job")}).run(t, 2); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []s3Fault{s3SlowDown, s3Internal, s3Lost, s3Conflict, s3Denied} {
		for k := range plain.requests {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeS3()
				f.fault = func(n int, r *http.Request) s3Fault {
					if n != k || fault == s3Conflict && r.Method != http.MethodPut {
						return s3OK
					}
					return fault
				}
				l := &life{st: f.storage("job")}
				err := l.run(t, 2)
				if (fault == s3Denied) != (err != nil) {
					t.Fatalf("fault %d of request %d: %v", fault, k, err)
				}
				if fault == s3Denied && !strings.Contains(err.Error(), "AccessDenied") {
					t.Fatalf("request %d: %v, want AccessDenied in it", k, err)
				}
				f.fault = nil
				if err := l.check(t); err != nil {
					t.Fatalf("fault %d of request %d: %v", fault, k, err)
				}
			})
		}
	}
}

func TestS3Errors(t *testing.T) {
	f := newFakeS3()
	st := checkpoint.S3Over(checkpoint.S3Options{Bucket: "other", Endpoint: "http://s3.test"}, f)
	if _, err := checkpoint.Lead(t.Context(), st, nil); err == nil || !strings.Contains(err.Error(), `bucket "other" does not exist`) {
		t.Errorf("missing bucket: %v", err)
	}
	f.ignore = "conditions"
	if _, err := checkpoint.Lead(t.Context(), f.storage("x"), nil); err == nil || !strings.Contains(err.Error(), "cannot hold checkpoints") {
		t.Errorf("store without conditional writes: %v", err)
	}
	f.ignore = "Range"
	if _, err := checkpoint.Lead(t.Context(), f.storage("x"), nil); err == nil || !strings.Contains(err.Error(), "cannot hold checkpoints") {
		t.Errorf("store without ranges: %v", err)
	}
	o, err := f.storage("x").Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Put(t.Context(), "data/x", strings.NewReader("content"), 7); err != nil {
		t.Fatal(err)
	}
	if _, err := o.GetRange(t.Context(), "data/x", 0, 7); err == nil || !strings.Contains(err.Error(), "Range") {
		t.Errorf("range from a store that ignores the header: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	if _, err := checkpoint.Lead(t.Context(), checkpoint.S3(checkpoint.S3Options{Bucket: "b"}), nil); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("no credentials: %v", err)
	}
}
