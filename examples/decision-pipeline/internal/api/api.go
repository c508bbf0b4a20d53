// Package api is the Decision Store API: JSON over HTTP in front of the decisions and variables tables.
//
//	POST /decisions                   store a decision; 201, or 400 with field paths, or 409 when the id holds something else
//	GET  /decisions/{id}              newest version; 404
//	PUT  /decisions/{id}              next version of a decision, if "expected_version" is the stored one; 409 otherwise
//	GET  /customers/{id}/decisions    newest first; ?from= &to= (RFC 3339, [from, to)) &outcome= &limit= (1–200, default 50) &cursor=
//	GET  /variables/{customer}        what the pipeline knows of a customer; 404 before the first decision has come through
//	GET  /healthz, GET /metrics
//
// A write is in DynamoDB before it is answered, and repeating a request that was answered gives the same answer. Nothing here
// knows Kafka, so Kafka being down delays no answer. An error of the tables is 503, and the client may repeat the request.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
)

// Store is what the API needs of its tables. *store.DynamoDB implements it and documents the errors.
type Store interface {
	// Create stores version 1 of a decision; repeating it gives the same answer.
	Create(ctx context.Context, d model.Decision) (model.Decision, error)
	// Correct stores the next version.
	Correct(ctx context.Context, c model.Correction) (model.Decision, error)
	// Get returns the newest version.
	Get(ctx context.Context, id string) (model.Decision, error)
	// ByCustomer returns a page, newest first, and the cursor of the next.
	ByCustomer(ctx context.Context, q store.Query) (page []model.Decision, next string, err error)
	// Variable returns what is known of a customer.
	Variable(ctx context.Context, customer string) (model.Variable, error)
	// Ping reports whether the tables answer.
	Ping(ctx context.Context) error
}

// Options of New. Logger and Registry are optional.
type Options struct {
	Store    Store
	Logger   *zap.Logger
	Registry *prometheus.Registry // its metrics are served; the API adds its own
	// Timeout of one request's work in the tables. Default 5 s.
	Timeout time.Duration
}

const (
	bodyBytesMax = 64 << 10
	limitDefault = 50
	limitMax     = 200
)

type server struct {
	Options
	seconds *prometheus.HistogramVec
}

// New returns the handler of the API.
func New(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	s := &server{Options: o, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "decision_api_request_seconds", Help: "Time from the request's header to the last byte of the answer, by route and status code.",
		Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
	}, []string{"route", "code"})}
	o.Registry.MustRegister(s.seconds)
	mux := http.NewServeMux()
	for route, h := range map[string]http.HandlerFunc{
		"POST /decisions":               s.create,
		"GET /decisions/{id}":           s.get,
		"PUT /decisions/{id}":           s.correct,
		"GET /customers/{id}/decisions": s.byCustomer,
		"GET /variables/{customer}":     s.variable,
		"GET /healthz":                  s.health,
	} {
		mux.HandleFunc(route, s.measured(route, h))
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{}))
	return mux
}

type codeWriter struct {
	http.ResponseWriter
	code int
}

func (w *codeWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

func (s *server) measured(route string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
		defer cancel()
		cw := &codeWriter{w, http.StatusOK}
		h(cw, r.WithContext(ctx))
		s.seconds.WithLabelValues(route, strconv.Itoa(cw.code)).Observe(time.Since(start).Seconds())
	}
}

// ErrorBody is the JSON of every answer that is not a success.
type ErrorBody struct {
	Error  string       `json:"error"`
	Fields []FieldError `json:"fields,omitempty"`
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	d, faults := parseDecision(body)
	if len(faults) > 0 {
		answer(w, http.StatusBadRequest, ErrorBody{"invalid decision", faults})
		return
	}
	d, err := s.Store.Create(r.Context(), d)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	w.Header().Set("Location", "/decisions/"+d.ID)
	answer(w, http.StatusCreated, d)
}

func (s *server) correct(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	c, faults := parseCorrection(r.PathValue("id"), body)
	if len(faults) > 0 {
		answer(w, http.StatusBadRequest, ErrorBody{"invalid correction", faults})
		return
	}
	if !storable(c.ID) {
		s.failed(w, r, store.ErrNotFound)
		return
	}
	d, err := s.Store.Correct(r.Context(), c)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	answer(w, http.StatusOK, d)
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !storable(id) {
		s.failed(w, r, store.ErrNotFound)
		return
	}
	d, err := s.Store.Get(r.Context(), id)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	answer(w, http.StatusOK, d)
}

// Page is the answer to GET /customers/{id}/decisions.
type Page struct {
	Decisions []model.Decision `json:"decisions"`
	// Next is the cursor of the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

func (s *server) byCustomer(w http.ResponseWriter, r *http.Request) {
	q, faults := parseQuery(r)
	if len(faults) > 0 {
		answer(w, http.StatusBadRequest, ErrorBody{"invalid query", faults})
		return
	}
	page := Page{Decisions: []model.Decision{}}
	if storable(q.Customer) && (q.From.IsZero() || q.To.IsZero() || q.From.Before(q.To)) {
		found, next, err := s.Store.ByCustomer(r.Context(), q)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		page.Decisions, page.Next = append(page.Decisions, found...), next
	}
	answer(w, http.StatusOK, page)
}

func parseQuery(r *http.Request) (store.Query, []FieldError) {
	var faults []FieldError
	v := r.URL.Query()
	q := store.Query{Customer: r.PathValue("id"), Limit: limitDefault, Outcome: model.Outcome(v.Get("outcome")), Cursor: v.Get("cursor")}
	for name, t := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if s := v.Get(name); s != "" {
			var reason string
			if *t, reason = parseTime(s); reason != "" {
				faults = append(faults, FieldError{name, reason})
			}
		}
	}
	if q.Outcome != "" && !q.Outcome.Valid() {
		faults = append(faults, FieldError{"outcome", "want APPROVED or REJECTED"})
	}
	if s := v.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > limitMax {
			faults = append(faults, FieldError{"limit", "want 1 to " + strconv.Itoa(limitMax)})
		}
		q.Limit = n
	}
	return q, faults
}

func (s *server) variable(w http.ResponseWriter, r *http.Request) {
	customer := r.PathValue("customer")
	if !storable(customer) {
		s.failed(w, r, store.ErrNotFound)
		return
	}
	v, err := s.Store.Variable(r.Context(), customer)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	answer(w, http.StatusOK, v)
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	if err := s.Store.Ping(r.Context()); err != nil {
		answer(w, http.StatusServiceUnavailable, ErrorBody{Error: err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

// failed answers an error of the store.
func (s *server) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, store.ErrNotFound):
		answer(w, http.StatusNotFound, ErrorBody{Error: "not found"})
	case errors.Is(err, store.ErrConflict):
		answer(w, http.StatusConflict, ErrorBody{Error: err.Error()})
	case errors.Is(err, store.ErrCursor):
		answer(w, http.StatusBadRequest, ErrorBody{"invalid query", []FieldError{{"cursor", "does not come from an answer to this query"}}})
	default:
		s.Logger.Warn("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, ErrorBody{Error: "the store does not answer; try again"})
	}
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err == nil {
		return body, true
	}
	if e := (*http.MaxBytesError)(nil); errors.As(err, &e) {
		answer(w, http.StatusRequestEntityTooLarge, ErrorBody{"invalid body", []FieldError{{"", "is larger than 64 KiB"}}})
	} else {
		answer(w, http.StatusBadRequest, ErrorBody{"invalid body", []FieldError{{"", err.Error()}}})
	}
	return nil, false
}

// storable reports whether s can be a key at all: nothing else needs to be looked for.
func storable(s string) bool { return identifierFault(s) == "" }

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The header is out: an error here is the client's connection, and net/http closes it.
	_ = json.NewEncoder(w).Encode(v)
}
