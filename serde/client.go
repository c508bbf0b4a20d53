package serde

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"
)

// RegistryOptions say where a registry is.
type RegistryOptions struct {
	// URLs of the registry's servers, with the path of its Confluent API: "http://127.0.0.1:18081/apis/ccompat/v7". They are tried in
	// order. At least one is needed.
	URLs []string
	// User and Password for basic authentication. Default: none.
	User, Password string
	// Timeout of one request. Default 5 s.
	Timeout time.Duration
	// NegativeTTL is how long "no such schema" is believed. Default 2 s, at most a minute: a schema may be registered at any moment.
	NegativeTTL time.Duration
	// HTTP is the client to use, for TLS and proxies. Default: one of its own. Its own Timeout, if set, goes before Timeout.
	HTTP *http.Client
	// Now is the clock of NegativeTTL. Default time.Now.
	Now func() time.Time
}

func (o RegistryOptions) withDefaults() RegistryOptions {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.NegativeTTL == 0 {
		o.NegativeTTL = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Validate reports every fault of the options.
func (o RegistryOptions) Validate() error {
	var errs []error
	if len(o.URLs) == 0 {
		errs = append(errs, errors.New("serde: RegistryOptions.URLs is empty, want the address of a registry"))
	}
	for _, u := range o.URLs {
		if req, err := http.NewRequest(http.MethodGet, u, nil); err != nil || req.URL.Host == "" {
			errs = append(errs, fmt.Errorf("serde: RegistryOptions.URLs holds %q, want http://host:port/path", u))
		}
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("serde: RegistryOptions.Timeout is %v, want 0 (5s) or more", o.Timeout))
	}
	if o.NegativeTTL < 0 || o.NegativeTTL > time.Minute {
		errs = append(errs, fmt.Errorf("serde: RegistryOptions.NegativeTTL is %v, want 0 (2s) to 1m", o.NegativeTTL))
	}
	return errors.Join(errs...)
}

// RegistryClient is a Registry that speaks the Confluent API. It keeps what it has learned of ids without limit of time, as ids never
// change, so that they work while the registry is down; "no such schema" it believes for seconds only.
// Concurrent questions about one id are one request.
type RegistryClient struct {
	o      RegistryOptions
	sr     *sr.Client
	flight singleflight.Group

	mu      sync.Mutex
	schemas map[int]string
	ids     map[subjectSchema]int
	absent  map[any]time.Time // of int and subjectSchema: when the answer ends to count
}

type subjectSchema struct{ subject, schema string }

// NewRegistry makes a client. It connects to nothing before it is asked.
func NewRegistry(o RegistryOptions) (*RegistryClient, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	hc := http.Client{}
	if o.HTTP != nil {
		hc = *o.HTTP
	}
	if hc.Timeout == 0 {
		hc.Timeout = o.Timeout
	}
	opts := []sr.ClientOpt{sr.URLs(o.URLs...), sr.HTTPClient(&hc), sr.UserAgent("millrace")}
	if o.User != "" {
		opts = append(opts, sr.BasicAuth(o.User, o.Password))
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("serde: registry client: %w", err)
	}
	return &RegistryClient{o: o, sr: cl, schemas: map[int]string{}, ids: map[subjectSchema]int{}, absent: map[any]time.Time{}}, nil
}

// known looks into a cache and into the negative answers.
func (c *RegistryClient) known(key any, lookup func() bool) (found bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if lookup() {
		return true, nil
	}
	until, ok := c.absent[key]
	if ok && c.o.Now().Before(until) {
		return false, ErrUnknownSchema
	}
	delete(c.absent, key)
	return false, nil
}

// noteAbsent keeps a negative answer. The number of notes is bounded: random bytes name random ids.
func (c *RegistryClient) noteAbsent(key any, err error) {
	if !errors.Is(err, ErrUnknownSchema) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.absent) >= absentMax {
		clear(c.absent)
	}
	c.absent[key] = c.o.Now().Add(c.o.NegativeTTL)
}

const absentMax = 1024

// SchemaByID returns the schema of an id. Schemas that it refers to are fetched too and put into it.
func (c *RegistryClient) SchemaByID(ctx context.Context, id int) (string, error) {
	var schema string
	found, err := c.known(id, func() (ok bool) {
		schema, ok = c.schemas[id]
		return ok
	})
	if found || err != nil {
		return schema, wrapID(id, err)
	}
	v, err, _ := c.flight.Do("id:"+strconv.Itoa(id), func() (any, error) {
		s, err := c.sr.SchemaByID(ctx, id)
		if err != nil {
			return "", c.classify(err)
		}
		text, err := c.complete(ctx, s)
		if err != nil {
			return "", err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.schemas[id] = text
		return text, nil
	})
	if err != nil {
		c.noteAbsent(id, err)
		return "", wrapID(id, err)
	}
	return v.(string), nil
}

func wrapID(id int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("schema id %d: %w", id, err)
}

// classify turns an error of the HTTP client into one of the package.
func (c *RegistryClient) classify(err error) error {
	var re *sr.ResponseError
	if !errors.As(err, &re) {
		return fmt.Errorf("%w at %v: %w", ErrUnavailable, c.o.URLs, err)
	}
	switch {
	case re.StatusCode == http.StatusNotFound && re.ErrorCode/100 == http.StatusNotFound: // else the path is wrong, not the schema
		return fmt.Errorf("%w: %s", ErrUnknownSchema, re.Message)
	case re.StatusCode >= 500 || re.StatusCode == http.StatusTooManyRequests || re.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%w at %v: HTTP %d: %w", ErrUnavailable, c.o.URLs, re.StatusCode, err)
	}
	return fmt.Errorf("serde: schema registry refuses %s %s: HTTP %d, code %d: %w", re.Method, re.URL, re.StatusCode, re.ErrorCode, err)
}

// complete is the schema with its references put in, in the project's own canonical form when there are any.
func (c *RegistryClient) complete(ctx context.Context, s sr.Schema) (string, error) {
	if s.Type != sr.TypeAvro {
		return "", fmt.Errorf("serde: schema is of type %v, want AVRO", s.Type)
	}
	if len(s.References) == 0 {
		return s.Schema, nil
	}
	var parts []string
	if err := c.references(ctx, s.References, map[string]bool{}, &parts); err != nil {
		return "", err
	}
	n, err := parseSchemas(append(parts, s.Schema))
	if err != nil {
		return "", err
	}
	return n.json(), nil
}

// references collects the schemas that refs name, those that they need before them.
func (c *RegistryClient) references(ctx context.Context, refs []sr.SchemaReference, seen map[string]bool, parts *[]string) error {
	for _, ref := range refs {
		key := ref.Subject + "/" + strconv.Itoa(ref.Version)
		if seen[key] {
			continue
		}
		seen[key] = true
		s, err := c.sr.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return fmt.Errorf("reference %q to %s: %w", ref.Name, key, c.classify(err))
		}
		if err := c.references(ctx, s.References, seen, parts); err != nil {
			return err
		}
		*parts = append(*parts, s.Schema.Schema)
	}
	return nil
}

// IDOf returns the id of a schema in subject.
func (c *RegistryClient) IDOf(ctx context.Context, subject, schema string) (int, error) {
	key := subjectSchema{subject, schema}
	id := 0
	found, err := c.known(key, func() (ok bool) {
		id, ok = c.ids[key]
		return ok
	})
	if found || err != nil {
		return id, wrapSubject(subject, err)
	}
	ss, err := c.sr.LookupSchema(ctx, subject, sr.Schema{Schema: schema})
	if err != nil {
		err = c.classify(err)
		c.noteAbsent(key, err)
		return 0, wrapSubject(subject, err)
	}
	c.learn(key, ss.ID)
	return ss.ID, nil
}

func wrapSubject(subject string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("subject %q: %w", subject, err)
}

// learn keeps an id both ways.
func (c *RegistryClient) learn(key subjectSchema, id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids[key] = id
	c.schemas[id] = key.schema
	delete(c.absent, key)
	delete(c.absent, id)
}

// Register puts a schema into subject and returns its id.
func (c *RegistryClient) Register(ctx context.Context, subject, schema string) (int, error) {
	id, err := c.sr.RegisterSchema(ctx, subject, sr.Schema{Schema: schema}, -1, -1)
	if err != nil {
		return 0, wrapSubject(subject, c.classify(err))
	}
	c.learn(subjectSchema{subject, schema}, id)
	return id, nil
}

// Versions lists the versions of subject, oldest first.
func (c *RegistryClient) Versions(ctx context.Context, subject string) ([]Version, error) {
	numbers, err := c.sr.SubjectVersions(ctx, subject)
	if err != nil {
		if err = c.classify(err); errors.Is(err, ErrUnknownSchema) {
			return nil, nil
		}
		return nil, wrapSubject(subject, err)
	}
	var out []Version
	for _, n := range numbers {
		ss, err := c.sr.SchemaByVersion(ctx, subject, n)
		if err != nil {
			return nil, wrapSubject(subject, c.classify(err))
		}
		text, err := c.complete(ctx, ss.Schema)
		if err != nil {
			return nil, wrapSubject(subject, err)
		}
		out = append(out, Version{Number: ss.Version, ID: ss.ID, Schema: text})
	}
	return out, nil
}

// Compatibility is the mode of subject, or of the whole registry when the subject has none of its own.
func (c *RegistryClient) Compatibility(ctx context.Context, subject string) (Mode, error) {
	for _, s := range []string{subject, ""} { // "" asks for the global mode
		res := c.sr.Compatibility(ctx, s)[0]
		if res.Err == nil {
			return Mode(res.Level.String()), nil
		}
		if err := c.classify(res.Err); !errors.Is(err, ErrUnknownSchema) || s == "" {
			return "", wrapSubject(subject, err)
		}
	}
	return "", nil
}
