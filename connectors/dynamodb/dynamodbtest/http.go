package dynamodbtest

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/connectors/dynamodb/internal/attr"
)

// requestBytesMax is the size of a request body that is read: 16 MB of items, and as much again for JSON around and base64.
const requestBytesMax = 32 << 20

// operation decodes one kind of call.
type operation func(body []byte) (prepared, error)

// prepared is a decoded call.
type prepared struct {
	table, shard string
	// run answers with a value that is encoded as JSON and shares only immutable values with the tables.
	run func(*Server, *Fault) (any, error)
}

// request is what every decoded call can tell.
type request interface{ about() (table, shard string) }

// handle makes an operation of a function on a decoded request, which runs under the server's lock.
func handle[Req any, Ptr interface {
	*Req
	request
}](run func(*Server, *Fault, Ptr) (any, error)) operation {
	return func(body []byte) (prepared, error) {
		req := Ptr(new(Req))
		if err := json.Unmarshal(body, req); err != nil {
			return prepared{}, decodeError(err)
		}
		p := prepared{run: func(s *Server, f *Fault) (any, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return run(s, f, req)
		}}
		p.table, p.shard = req.about()
		return p, nil
	}
}

func decodeError(err error) error {
	if ae, ok := errors.AsType[*attr.Error](err); ok {
		return ae
	}
	return &Error{Code: "SerializationException", Message: err.Error()}
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		fmt.Fprintf(w, "healthy: dynamodb.%s.amazonaws.com ", s.opts.Region)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestBytesMax))
	if err != nil {
		answer(w, 0, nil, &Error{Code: "SerializationException", Message: "request body cannot be read, or is too large", Status: http.StatusRequestEntityTooLarge})
		return
	}
	version, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	decode := operations(version, op)
	if decode == nil {
		answer(w, 0, nil, &Error{Code: "UnknownOperationException", Message: fmt.Sprintf("dynamodbtest does not know the operation %q", r.Header.Get("X-Amz-Target"))})
		return
	}
	c := &Call{Operation: op, Body: body, At: s.opts.Now()}
	p, err := decode(body)
	if err != nil {
		p.run = func(*Server, *Fault) (any, error) { return nil, err }
	}
	c.Table, c.Shard = p.table, p.shard
	s.answerCall(w, r.Context(), c, s.decide(c), p)
}

// decide numbers the call and asks the fault function about it.
func (s *Server) decide(c *Call) *Fault {
	s.mu.Lock()
	s.callN++
	c.N = s.callN
	decide := s.fault
	s.mu.Unlock()
	if decide != nil {
		if f := decide(c); f != nil {
			return f
		}
	}
	return &Fault{}
}

func (s *Server) answerCall(w http.ResponseWriter, ctx context.Context, c *Call, f *Fault, p prepared) {
	defer func() { s.log(*c) }()
	if !pause(ctx, f.Delay) {
		c.Lost = true
		drop()
	}
	switch {
	case f.Err != nil:
		e := *f.Err
		e.resource = s.tableARN(c.Table)
		c.Err = &e
		answer(w, c.N, nil, &e)
		return
	case f.Status != 0:
		c.Err = &Error{Code: strconv.Itoa(f.Status), Message: http.StatusText(f.Status), Status: f.Status}
		w.WriteHeader(f.Status)
		return
	case f.DropBefore:
		c.Lost = true
		drop()
	case f.Late > 0:
		c.Lost = true
		s.late.Go(func() {
			if pause(s.ctx, f.Late) {
				p.run(s, f) //nolint:errcheck // nobody waits for the answer
			}
		})
		drop()
	}
	out, err := p.run(s, f)
	if err != nil {
		c.Err = asError(err)
	}
	if !pause(ctx, f.DelayAfter) || f.DropAfter {
		c.Lost = true
		drop()
	}
	if f.Truncate {
		c.Lost = true
		truncated(w, out)
	}
	answer(w, c.N, out, c.Err)
}

func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if ae, ok := errors.AsType[*attr.Error](err); ok {
		return &Error{Code: "ValidationException", Message: ae.Message}
	}
	return &Error{Code: "InternalServerError", Message: err.Error()}
}

// pause waits; false says that the client went away first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// drop breaks the connection without an answer; net/http knows this panic and stays silent.
func drop() { panic(http.ErrAbortHandler) }

// requestID names a call in the client's error texts: the number that the call has in Server.Calls.
func requestID(n int) string { return "DYNAMODBTEST" + strconv.Itoa(n) }

func answer(w http.ResponseWriter, callN int, out any, e *Error) {
	status := http.StatusOK
	if e != nil {
		out, status = e.body(), e.status()
	}
	b, err := json.Marshal(out)
	if err != nil {
		b, status = []byte(`{"__type":"InternalServerError","message":"the answer cannot be encoded"}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Requestid", requestID(callN))
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b) //nolint:errcheck // the client is gone: nobody to tell
}

func truncated(w http.ResponseWriter, out any) {
	b, _ := json.Marshal(out)
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+2))
	w.WriteHeader(http.StatusOK)
	w.Write(b[:len(b)/2]) //nolint:errcheck // the connection breaks anyway
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	drop()
}

// Transport returns a RoundTripper that calls the handler directly, on the goroutine of the caller.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

// RoundTrip fails with io.ErrUnexpectedEOF where a connection would break.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	w := &memoryResponse{header: http.Header{}, status: http.StatusOK}
	broken := w.serve(t.s, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if broken && w.body.Len() == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	var body io.Reader = &w.body
	if broken {
		body = io.MultiReader(body, failingReader{})
	}
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(body), ContentLength: -1, Request: r,
	}, nil
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type memoryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryResponse) Header() http.Header         { return w.header }
func (w *memoryResponse) WriteHeader(status int)      { w.status = status }
func (w *memoryResponse) Write(b []byte) (int, error) { return w.body.Write(b) }

// serve reports whether the handler broke the connection.
func (w *memoryResponse) serve(s *Server, r *http.Request) (broken bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // the sentinel is panicked with as it is
				panic(p)
			}
			broken = true
		}
	}()
	s.serveHTTP(w, r)
	return false
}
