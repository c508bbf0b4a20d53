// Package registrytest is a schema registry in the same process, for tests and for programs that bring their own: an HTTP server that
// speaks the part of the Confluent Schema Registry API that clients of Avro schemas use, and that really checks compatibility, by the
// rules of serde.Check and in all modes of the Confluent registry.
//
// It keeps everything in memory. Schemas with references are kept and served but neither parsed nor checked. Contexts, modes other
// than READWRITE, rule sets, and Protobuf and JSON schemas do not exist.
package registrytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// Options of a Server.
type Options struct {
	// Addr to listen on. Default "127.0.0.1:0": a free port.
	Addr string
	// Mode is the compatibility of subjects that have none of their own. Default serde.Backward.
	Mode serde.Mode
}

// Validate reports every fault of the options.
func (o Options) Validate() error {
	if o.Mode == "" {
		return nil
	}
	return o.Mode.Validate()
}

// Server is a running registry. All methods may be called from many goroutines at once.
type Server struct {
	store    *store
	http     *http.Server
	url      string
	down     atomic.Bool
	requests atomic.Int64
	done     chan struct{}
}

// bodyMax bounds the body of a request, bytes.
const bodyMax = 4 << 20

// Start starts a registry. Close ends it.
func Start(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Mode == "" {
		o.Mode = serde.Backward
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("registrytest: listen on %q: %w", o.Addr, err)
	}
	s := &Server{store: newStore(o.Mode), url: "http://" + l.Addr().String(), done: make(chan struct{})}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // always http.ErrServerClosed after Close, the only way it ends
	}()
	return s, nil
}

// URL is the address for clients, "http://127.0.0.1:port".
func (s *Server) URL() string { return s.url }

// Requests is the number of requests so far, refused ones too.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// SetDown makes the server answer every request with 503, or work again.
func (s *Server) SetDown(down bool) { s.down.Store(down) }

// Close ends the server and waits until its goroutine has.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

// schemaBody is the body of a request, and of the answers about versions.
type schemaBody struct {
	Subject    string      `json:"subject,omitempty"`
	Version    int         `json:"version,omitempty"`
	ID         int         `json:"id,omitempty"`
	SchemaType string      `json:"schemaType,omitempty"`
	References []reference `json:"references,omitempty"`
	Schema     string      `json:"schema"`
}

// endpoint answers one request with a value to be written as JSON.
type endpoint func(r *http.Request) (any, *apiError)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]endpoint{
		"GET /schemas/types":                                        func(*http.Request) (any, *apiError) { return []string{"AVRO"}, nil },
		"GET /schemas/ids/{id}":                                     s.schemaByID,
		"GET /schemas/ids/{id}/schema":                              s.schemaTextByID,
		"GET /schemas/ids/{id}/subjects":                            s.subjectsOfID,
		"GET /schemas/ids/{id}/versions":                            s.versionsOfID,
		"GET /subjects":                                             func(*http.Request) (any, *apiError) { return s.store.names(), nil },
		"POST /subjects/{subject}":                                  s.lookup,
		"DELETE /subjects/{subject}":                                s.remove,
		"GET /subjects/{subject}/versions":                          s.versions,
		"POST /subjects/{subject}/versions":                         s.register,
		"GET /subjects/{subject}/versions/{version}":                s.version,
		"GET /subjects/{subject}/versions/{version}/schema":         s.versionText,
		"DELETE /subjects/{subject}/versions/{version}":             s.remove,
		"GET /config":                                               s.config,
		"PUT /config":                                               s.setConfig,
		"GET /config/{subject}":                                     s.config,
		"PUT /config/{subject}":                                     s.setConfig,
		"DELETE /config/{subject}":                                  s.resetConfig,
		"POST /compatibility/subjects/{subject}/versions":           s.compatible,
		"POST /compatibility/subjects/{subject}/versions/{version}": s.compatible,
		"GET /mode": func(*http.Request) (any, *apiError) { return map[string]string{"mode": "READWRITE"}, nil },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { answer(w, r, h) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.down.Load() {
			write(w, http.StatusServiceUnavailable, &apiError{Code: 50003, Message: "registry is down"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, r *http.Request, h endpoint) {
	v, apiErr := h(r)
	if apiErr != nil {
		write(w, apiErr.status, apiErr)
		return
	}
	write(w, http.StatusOK, v)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// body reads the schema of a request.
func body(r *http.Request) (schemaBody, *apiError) {
	var b schemaBody
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		return b, &apiError{http.StatusUnprocessableEntity, 42201, fmt.Sprintf("body is no JSON object with a schema: %v", err)}
	}
	if b.SchemaType != "" && b.SchemaType != "AVRO" {
		return b, &apiError{http.StatusUnprocessableEntity, 42201, fmt.Sprintf("schemaType %s is not supported, want AVRO", b.SchemaType)}
	}
	return b, nil
}

func (s *Server) register(r *http.Request) (any, *apiError) {
	b, apiErr := body(r)
	if apiErr != nil {
		return nil, apiErr
	}
	id, apiErr := s.store.register(r.PathValue("subject"), b.Schema, b.References)
	return map[string]int{"id": id}, apiErr
}

func described(subject string, v *version) schemaBody {
	return schemaBody{Subject: subject, Version: v.number, ID: v.schema.id, Schema: v.schema.text, References: v.schema.references}
}

func (s *Server) lookup(r *http.Request) (any, *apiError) {
	b, apiErr := body(r)
	if apiErr != nil {
		return nil, apiErr
	}
	v, apiErr := s.store.lookup(r.PathValue("subject"), b.Schema, b.References)
	if apiErr != nil {
		return nil, apiErr
	}
	return described(r.PathValue("subject"), v), nil
}

func (s *Server) version(r *http.Request) (any, *apiError) {
	v, apiErr := s.store.version(r.PathValue("subject"), r.PathValue("version"))
	if apiErr != nil {
		return nil, apiErr
	}
	return described(r.PathValue("subject"), v), nil
}

func (s *Server) versionText(r *http.Request) (any, *apiError) {
	v, apiErr := s.store.version(r.PathValue("subject"), r.PathValue("version"))
	if apiErr != nil {
		return nil, apiErr
	}
	return json.RawMessage(v.schema.text), nil
}

func (s *Server) versions(r *http.Request) (any, *apiError) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []int
	for _, v := range s.store.live(r.PathValue("subject")) {
		out = append(out, v.number)
	}
	if out == nil {
		return nil, subjectNotFound(r.PathValue("subject"))
	}
	return out, nil
}

func (s *Server) remove(r *http.Request) (any, *apiError) {
	which := r.PathValue("version")
	gone, apiErr := s.store.delete(r.PathValue("subject"), which, r.URL.Query().Get("permanent") == "true")
	if apiErr != nil || which == "" {
		return gone, apiErr
	}
	return gone[0], nil
}

// used is the schema of the id in the path and where it is registered.
func (s *Server) used(r *http.Request) (sc *schema, subjects []string, numbers []int, apiErr *apiError) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err == nil {
		sc, subjects, numbers = s.store.uses(id)
	}
	if sc == nil {
		return nil, nil, nil, schemaNotFound()
	}
	return sc, subjects, numbers, nil
}

func (s *Server) schemaByID(r *http.Request) (any, *apiError) {
	sc, _, _, apiErr := s.used(r)
	if apiErr != nil {
		return nil, apiErr
	}
	return schemaBody{Schema: sc.text, References: sc.references}, nil
}

func (s *Server) schemaTextByID(r *http.Request) (any, *apiError) {
	sc, _, _, apiErr := s.used(r)
	if apiErr != nil {
		return nil, apiErr
	}
	return json.RawMessage(sc.text), nil
}

func (s *Server) subjectsOfID(r *http.Request) (any, *apiError) {
	_, subjects, _, apiErr := s.used(r)
	return append([]string{}, subjects...), apiErr
}

func (s *Server) versionsOfID(r *http.Request) (any, *apiError) {
	_, subjects, numbers, apiErr := s.used(r)
	out := []any{}
	for i := range subjects {
		out = append(out, map[string]any{"subject": subjects[i], "version": numbers[i]})
	}
	return out, apiErr
}

func (s *Server) config(r *http.Request) (any, *apiError) {
	subject := r.PathValue("subject")
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if _, ok := s.store.modes[subject]; subject != "" && !ok && r.URL.Query().Get("defaultToGlobal") != "true" {
		return nil, &apiError{http.StatusNotFound, 40408, fmt.Sprintf("Subject '%s' does not have subject-level compatibility configured", subject)}
	}
	return map[string]any{"compatibilityLevel": s.store.mode(subject)}, nil
}

func (s *Server) setConfig(r *http.Request) (any, *apiError) {
	var b struct {
		Compatibility serde.Mode `json:"compatibility"`
	}
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil || b.Compatibility.Validate() != nil {
		return nil, &apiError{http.StatusUnprocessableEntity, 42203, fmt.Sprintf("Invalid compatibility level %q", b.Compatibility)}
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if subject := r.PathValue("subject"); subject != "" {
		s.store.modes[subject] = b.Compatibility
	} else {
		s.store.global = b.Compatibility
	}
	return b, nil
}

func (s *Server) resetConfig(r *http.Request) (any, *apiError) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	delete(s.store.modes, r.PathValue("subject"))
	return map[string]any{"compatibilityLevel": s.store.global}, nil
}

// compatible answers whether a schema could be registered. With a version in the path it is compared with that one alone.
func (s *Server) compatible(r *http.Request) (any, *apiError) {
	b, apiErr := body(r)
	if apiErr != nil {
		return nil, apiErr
	}
	if _, apiErr = validate(b.Schema, b.References); apiErr != nil {
		return nil, apiErr
	}
	subject := r.PathValue("subject")
	var against []*version
	if which := r.PathValue("version"); which != "" {
		v, apiErr := s.store.version(subject, which)
		if apiErr != nil {
			return nil, apiErr
		}
		against = []*version{v}
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if against == nil {
		against = s.store.live(subject)
	}
	faults := s.store.incompatible(subject, b.Schema, b.References, against)
	return map[string]any{"is_compatible": faults == nil, "messages": append([]string{}, faults...)}, nil
}
