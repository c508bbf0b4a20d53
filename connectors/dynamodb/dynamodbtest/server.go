package dynamodbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
)

// Options of a server. The zero value works.
type Options struct {
	// Now is the clock of the server: creation times, iterator expiry, retention, token buckets. Default time.Now.
	Now func() time.Time
	// Region appears in resource names and records. Default us-east-1.
	Region string
	// Partitions is the number of partitions, and so of open shards, that a table starts with. Default 1, at most 256.
	Partitions int
	// ShardFilter says what the server does with a ShardFilter. Default FilterHonoured.
	ShardFilter ShardFilterMode
	// EnforceStreamRates answers more than 10 DescribeStream calls a second for a stream, or 5 GetRecords calls a second for a
	// shard, with LimitExceededException. Default off: a test that reads as fast as it can is the common case.
	EnforceStreamRates bool
	// ListedAfterClose is how long a closed shard stays listed after its last record was trimmed. Default 24 h.
	ListedAfterClose time.Duration
	// CallLogMax is the number of latest calls that Calls returns. Default 10000.
	CallLogMax int
}

// ShardFilterMode is what a server does with the parameter ShardFilter of DescribeStream.
type ShardFilterMode int

// Emulators and older endpoints ignore the filter; a source must live with each of these.
const (
	FilterHonoured ShardFilterMode = iota
	FilterIgnored
	FilterFails // ValidationException
)

// Validate reports every fault of the options at once.
func (o Options) Validate() error {
	var errs []error
	if o.Partitions < 0 || o.Partitions > 256 {
		errs = append(errs, fmt.Errorf("dynamodbtest: Options.Partitions is %d, want 1 to 256 (0 means 1)", o.Partitions))
	}
	if o.ShardFilter < FilterHonoured || o.ShardFilter > FilterFails {
		errs = append(errs, fmt.Errorf("dynamodbtest: Options.ShardFilter is %d, want one of the ShardFilterMode constants", o.ShardFilter))
	}
	if o.ListedAfterClose < 0 {
		errs = append(errs, fmt.Errorf("dynamodbtest: Options.ListedAfterClose is %v, want a positive duration (0 means 24h)", o.ListedAfterClose))
	}
	if o.CallLogMax < 0 {
		errs = append(errs, fmt.Errorf("dynamodbtest: Options.CallLogMax is %d, want a positive number (0 means 10000)", o.CallLogMax))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	o.Partitions = max(1, o.Partitions)
	if o.ListedAfterClose == 0 {
		o.ListedAfterClose = 24 * time.Hour
	}
	if o.CallLogMax == 0 {
		o.CallLogMax = 10000
	}
	return o
}

// Server is one account in one region. All methods are safe for concurrent use.
type Server struct {
	opts Options
	http *http.Server // nil without a socket
	addr string
	ctx  context.Context // ends with Close
	stop context.CancelFunc
	late sync.WaitGroup // calls that are carried out late

	mu      sync.Mutex // guards all below; never held while a call is delayed or a user's function runs
	tables  map[string]*table
	streams map[string]*stream // by ARN, also of deleted tables
	tokens  map[string]token   // of transactions
	seq     uint64             // the last sequence number given out
	calls   []Call             // ring of the latest calls
	callN   int                // calls ever made
	logged  int                // calls written to the ring since ResetCalls
	fault   func(*Call) *Fault
	listing func(Listing) []Shard
}

// New makes a server without a socket. It panics if the options are invalid (see Options.Validate).
func New(opts Options) *Server {
	if err := opts.Validate(); err != nil {
		panic(err)
	}
	s := &Server{opts: opts.withDefaults(), tables: map[string]*table{}, streams: map[string]*stream{}, tokens: map[string]token{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Start makes a server that listens on a free port of 127.0.0.1. It panics if the options are invalid or no port can be had, as
// package httptest does. The caller closes it.
func Start(opts Options) *Server {
	s := New(opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Errorf("dynamodbtest: cannot listen on 127.0.0.1: %w", err))
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: time.Minute}
	go s.http.Serve(l) //nolint:errcheck // ends with ErrServerClosed when Close is called
	return s
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	if s.http != nil {
		s.http.Close()
	}
	s.stop()
	s.late.Wait()
}

// URL is the endpoint, e.g. http://127.0.0.1:40123. Without a socket it is a name that only the server's own clients resolve.
func (s *Server) URL() string {
	if s.http == nil {
		return "http://dynamodb.invalid"
	}
	return "http://" + s.addr
}

// Handler serves both APIs, told apart by the header X-Amz-Target.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

// Config is the configuration that the server's clients use: endpoint, static credentials, one attempt a call.
func (s *Server) Config() aws.Config {
	cfg := aws.Config{
		Region:       s.opts.Region,
		BaseEndpoint: aws.String(s.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
	if s.http == nil {
		cfg.HTTPClient = &http.Client{Transport: s.Transport()}
	} else {
		cfg.HTTPClient = &http.Client{Transport: WholeBody(&http.Transport{MaxIdleConnsPerHost: 64, MaxIdleConns: 64})}
	}
	return cfg
}

// WholeBody is next with a body of its own for each request. Clients that dial a nearby server themselves should use it: the AWS client
// closes the body when the header of the answer is there, and its reader then says io.EOF from WriteTo, where nil is due (smithy-go 1.28.8,
// safeWriteToReadCloser). A server on the same machine often answers before net/http has looked for the end of the body: net/http takes the
// io.EOF for a failure and closes the connection under the answer.
func WholeBody(next http.RoundTripper) http.RoundTripper { return wholeBody{next} }

type wholeBody struct{ next http.RoundTripper }

// RoundTrip copies the body and goes on.
func (o wholeBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return o.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	own := r.WithContext(r.Context())
	own.Body = io.NopCloser(bytes.NewReader(body))
	return o.next.RoundTrip(own)
}

// Client returns a new client that makes one attempt a call, so that the caller sees every fault.
func (s *Server) Client() *dynamodb.Client { return dynamodb.NewFromConfig(s.Config()) }

// StreamsClient is Client for the Streams API.
func (s *Server) StreamsClient() *dynamodbstreams.Client {
	return dynamodbstreams.NewFromConfig(s.Config())
}
