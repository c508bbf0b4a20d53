package file

import (
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// fault is what happens to a request of the fake.
type fault int

const (
	noFault      fault = iota
	fail500            // refused, nothing done
	fail503            // refused with SlowDown, nothing done
	dropBefore         // connection closed, nothing done
	dropAfter          // done, and the connection closed before the answer
	fail500After       // done, and answered with 500
	conflict           // 409, nothing done
)

// fakeS3 is an S3 server with one bucket: whole objects, conditional creation, copies, ranges, paged listings.
type fakeS3 struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string]fakeObject
	// script decides on the fault of a request: method is PUT, COPY, GET, HEAD, DELETE or LIST.
	script func(method, key string) fault
	calls  int
}

type fakeObject struct {
	data     []byte
	modified time.Time
}

func newFakeS3(t testing.TB) *fakeS3 {
	f := &fakeS3{objects: map[string]fakeObject{}}
	f.Server = httptest.NewServer(f)
	f.Config.ErrorLog = nil
	t.Cleanup(f.Close)
	return f
}

// store is a store on the fake, without pauses between tries.
func (f *fakeS3) store(t testing.TB, prefix string) *s3Store {
	t.Helper()
	s, err := newS3Store(location{bucket: "bucket", prefix: prefix}, S3Options{Endpoint: f.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.backoff = func(int) time.Duration { return 0 }
	return s
}

// ServeHTTP answers one request.
func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	method := r.Method
	switch {
	case method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		method = "COPY"
	case method == http.MethodGet && key == "":
		method = "LIST"
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone: nothing is done
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if bucket != "bucket" {
		fakeError(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	what := noFault
	if f.script != nil {
		what = f.script(method, key)
	}
	switch what {
	case fail500:
		fakeError(w, http.StatusInternalServerError, "InternalError")
		return
	case fail503:
		fakeError(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case conflict:
		fakeError(w, http.StatusConflict, "ConditionalRequestConflict")
		return
	case dropBefore:
		panic(http.ErrAbortHandler)
	}
	rec := httptest.NewRecorder()
	f.answer(rec, r, method, key, body)
	switch what {
	case dropAfter:
		panic(http.ErrAbortHandler)
	case fail500After:
		fakeError(w, http.StatusInternalServerError, "InternalError")
		return
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

func fakeError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>fake</Message></Error>", code)
}

func (f *fakeS3) answer(w http.ResponseWriter, r *http.Request, method, key string, body []byte) {
	o, exists := f.objects[key]
	switch method {
	case http.MethodPut:
		if exists && r.Header.Get("If-None-Match") == "*" {
			fakeError(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		f.objects[key] = fakeObject{data: body, modified: time.Now()}
		w.Header().Set("ETag", etag(body))
	case "COPY":
		from, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source"))
		o, ok := f.objects[strings.TrimPrefix(strings.TrimPrefix(from, "/"), "bucket/")]
		if err != nil || !ok {
			fakeError(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		f.objects[key] = fakeObject{data: o.data, modified: time.Now()}
		fmt.Fprintf(w, "<CopyObjectResult><ETag>%s</ETag></CopyObjectResult>", etag(o.data))
	case http.MethodGet, http.MethodHead:
		if !exists {
			fakeError(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", etag(o.data))
		http.ServeContent(w, r, "", o.modified, strings.NewReader(string(o.data)))
	case http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case "LIST":
		f.list(w, r.URL.Query())
	}
}

func etag(b []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(b)) }

// list answers with pages of three objects, so that paging is always exercised.
func (f *fakeS3) list(w io.Writer, q url.Values) {
	type content struct {
		Key          string
		Size         int
		LastModified string
	}
	var out struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	var keys []string
	for k := range f.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > q.Get("continuation-token") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys[:min(3, len(keys))] {
		o := f.objects[k]
		out.Contents = append(out.Contents, content{k, len(o.data), o.modified.UTC().Format(time.RFC3339)})
	}
	if len(keys) > 3 {
		out.IsTruncated, out.NextContinuationToken = true, keys[2]
	}
	_ = xml.NewEncoder(w).Encode(out)
}
