package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/api"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/observe"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/pipeline"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/policy"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/services"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
)

// The bounds of waiting at the end of a run.
const (
	// quietMax is how long the topics may bring nothing new while something is still expected. Restarts and slow commits are far
	// shorter; what has not come by then is for the audit to name.
	quietMax = 45 * time.Second
	stopMax  = 2 * time.Minute
	auditMax = 5 * time.Minute
)

// runner is a pipeline in this process or in a child.
type runner interface {
	Stop(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
	Stats() (checkpoints uint64, restarts int, peakBytes int64)
}

// inProcess is a pipeline in this process.
type inProcess struct{ *pipeline.Job }

// Stats implements runner; the memory is counted with the process.
func (p inProcess) Stats() (checkpoints uint64, restarts int, peakBytes int64) {
	return p.Checkpoints(), p.Restarts(), 0
}

// system is one run.
type system struct {
	c         Config
	started   time.Time
	stderr    io.Writer
	log       *zap.Logger
	metrics   *prometheus.Registry
	places    places
	endpoints services.Endpoints
	ready     services.Ready
	idPrefix  string // of all ids and customers of this run; empty when everything is its own

	tail   *observe.Tail
	policy *policy.Policy
	runner runner
	url    string
	server *http.Server

	closers []func()
}

func newLogger(w io.Writer) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.Lock(zapcore.AddSync(w)), zapcore.WarnLevel))
}

// Run runs the whole system: until the load is done, or ctx ends, and then the audit. The error says why there is no report, or why the
// report is not the whole truth.
func Run(ctx context.Context, c Config, stderr io.Writer) (Report, error) {
	// Progress, log and child processes write at the same time. A file takes that, and a child can have it without a copy.
	if _, ok := stderr.(*os.File); !ok {
		stderr = zapcore.Lock(zapcore.AddSync(stderr))
	}
	s := &system{c: c, started: time.Now(), stderr: stderr, log: newLogger(stderr), metrics: prometheus.NewRegistry()}
	defer s.close()
	// What is set up must outlive the interrupt that ends the load.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if err := s.setUp(life); err != nil {
		return Report{}, err
	}
	begin := time.Now()
	stopProgress := s.progress(begin)
	defer stopProgress()
	loadErr := s.load(ctx, life)
	s.closeAPI(life) // what is stored from here on would be no part of the audit
	s.drain(life)
	visible := time.Since(begin)
	stopCtx, cancelStop := context.WithTimeout(life, stopMax)
	defer cancelStop()
	stopErr := s.runner.Stop(stopCtx)
	stopProgress()
	r, auditErr := s.audit(life, visible)
	return r, errors.Join(loadErr, stopErr, auditErr)
}

func (s *system) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

func (s *system) setUp(ctx context.Context) error {
	var err error
	if s.places, err = s.c.places(); err != nil {
		return err
	}
	s.closers = append(s.closers, func() { os.RemoveAll(s.places.temp) })
	s.endpoints = services.Endpoints{DynamoDB: s.c.DynamoDB, Brokers: s.c.brokers(), Registry: s.c.Registry, S3: s.c.S3, Archive: s.places.archive}
	stop, err := s.endpoints.Embed(s.c.Parallelism)
	s.closers = append(s.closers, stop)
	if err != nil {
		return err
	}
	schema, err := pipeline.Schema()
	if err != nil {
		return err
	}
	if err := s.endpoints.EnsureBucket(ctx, s.places.checkpoints); err != nil {
		return err
	}
	if err := s.refuseForeignCheckpoints(ctx); err != nil {
		return err
	}
	if s.ready, err = s.endpoints.Setup(ctx, schema); err != nil {
		return err
	}
	if s.ready.Used {
		s.idPrefix = fmt.Sprintf("r%x-", s.started.UnixMilli())
		fmt.Fprintf(s.stderr, "the tables, topics or the archive hold data of others: ids and customers of this run begin with %q, and the audit is about them\n", s.idPrefix)
	}
	tables := s.endpoints.Tables()
	if err := store.New(tables).PutProfiles(ctx, s.customers(), profileOf); err != nil {
		return err
	}
	if err := s.startTail(ctx); err != nil {
		return err
	}
	st := store.New(tables)
	st.Wrote = func(id string, version int64) { s.tail.Accepted(id, version, time.Now()) }
	if err := s.serve(st); err != nil {
		return err
	}
	if err := s.startPipeline(ctx); err != nil {
		return err
	}
	s.policy = policy.New(policy.Options{
		URL: s.url, Decisions: s.c.Decisions, Rate: s.c.Rate, Customers: s.c.Customers, Invalid: s.c.Invalid, Seed: s.c.Seed,
		Workers: s.workers(), IDPrefix: s.idPrefix, CustomerPrefix: s.idPrefix, Gate: s.gate(),
		PutRaw: func(ctx context.Context, item map[string]types.AttributeValue) error {
			_, err := tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(model.DecisionsTable), Item: item})
			return err
		},
	})
	return nil
}

// refuseForeignCheckpoints finds out at once what would otherwise fail at each restart: embedded parts begin empty, and checkpoints of another
// run speak of a stream and of transactions that no longer exist.
func (s *system) refuseForeignCheckpoints(ctx context.Context) error {
	if s.c.DynamoDB != "" && len(s.c.brokers()) > 0 {
		return nil
	}
	storage, err := checkpoint.OpenURL(s.places.checkpoints)
	if err != nil {
		return err
	}
	taken, _, err := checkpoint.List(ctx, storage)
	if err != nil || len(taken) == 0 {
		return err
	}
	return fmt.Errorf("decision-pipeline: -checkpoint-dir %s holds checkpoints of another run, whose embedded services are gone; "+
		"give an empty place, or outside services by -dynamodb and -kafka", s.c.CheckpointDir)
}

// profilesMax bounds the reference data that a run writes; customers beyond it have the standard profile.
const profilesMax = 2000

func (s *system) customers() []string {
	o := policy.Options{CustomerPrefix: s.idPrefix}
	names := make([]string, min(s.c.Customers, profilesMax))
	for i := range names {
		names[i] = o.Customer(i)
	}
	return names
}

func profileOf(customer string) model.Profile {
	sum := 0
	for _, b := range []byte(customer) {
		sum = sum*31 + int(b)
	}
	sum &= 0xffff
	return model.Profile{Segment: []string{"retail", "business", "private"}[sum%3], Country: []string{"AT", "DE", "FR", "IT", "PL"}[sum/3%5]}
}

// workers is the number of requests in flight: few when they go as fast as they can, so that each is fast, and enough for any rate.
func (s *system) workers() int {
	if s.c.Rate > 0 {
		return 32
	}
	return 8
}

func (s *system) gate() func(ctx context.Context, i int) error {
	if v, ok := s.runner.(*supervisor); ok {
		return v.gate(s.c.Decisions)
	}
	return nil
}

// serve starts the API.
func (s *system) serve(st *store.DynamoDB) error {
	addr := s.c.HTTP
	if addr == "" {
		addr = "127.0.0.1:8080"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil && s.c.HTTP == "" {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("decision-pipeline: listen on %q: %w; give another address by -http", addr, err)
	}
	h := api.New(api.Options{Store: st, Logger: s.log, Registry: s.metrics})
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	go server.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	s.closers = append(s.closers, func() { server.Close() })
	s.server = server
	s.url = "http://" + l.Addr().String()
	fmt.Fprintf(s.stderr, "Decision Store API on %s, archive in %s\n", s.url, s.places.archive)
	return nil
}

// closeAPI lets the requests in flight end and takes no more.
func (s *system) closeAPI(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.log.Warn("the API did not end in time", zap.Error(err))
	}
}

// startTail follows both topics from where they end now.
func (s *system) startTail(ctx context.Context) error {
	registry, err := s.endpoints.Subjects()
	if err != nil {
		return err
	}
	cl, err := s.endpoints.Kafka(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(time.Second), kgo.FetchMaxBytes(4<<20))
	if err != nil {
		return fmt.Errorf("decision-pipeline: kafka client: %w", err)
	}
	s.closers = append(s.closers, cl.Close)
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, model.DecisionsTopic, model.DeadLetterTopic)
	if err := errors.Join(err, ends.Error()); err != nil {
		return fmt.Errorf("decision-pipeline: ends of the topics: %w", err)
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
	})
	cl.AddConsumePartitions(from)
	s.tail = observe.NewTail(cl, s.idPrefix, (&audit.Decoder{Registry: registry}).Decode)
	go s.tail.Run(ctx)
	return nil
}

func (s *system) startPipeline(ctx context.Context) error {
	o := pipeline.Options{
		Endpoints: s.endpoints, StreamARN: s.ready.StreamARN, Poll: s.c.poll(), Parallelism: s.c.Parallelism,
		CheckpointURL: s.places.checkpoints, Checkpoint: s.c.Checkpoint, AtLeastOnce: s.c.Delivery == AtLeastOnce,
		TransactionPrefix: transactionPrefix(s.places.checkpoints),
	}
	if s.ready.UsedTables {
		o.StartMS = s.started.UnixMilli()
	}
	if s.c.State == StatePebble {
		o.PebbleDir = s.places.temp + "/state"
	}
	if s.c.Crash > 0 {
		v, err := supervise(ctx, o, s.c.Crash, s.c.Seed, s.stderr)
		if err != nil {
			return err
		}
		s.runner = v
		return nil
	}
	job, err := pipeline.Start(ctx, o, s.log, s.metrics)
	if err != nil {
		return err
	}
	s.runner = inProcess{job}
	return nil
}

// load runs the policy until it is done, ctx ends, or the pipeline gives up; in a run that serves without load it waits for the latter two.
func (s *system) load(ctx, life context.Context) error {
	if s.c.Decisions == 0 && s.c.Rate == 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-s.runner.Done():
			return s.runner.Err()
		}
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.runner.Done():
			cancel()
		case <-work.Done():
		}
	}()
	err := s.policy.Run(work)
	s.policy.Settle()
	return err
}

// drain waits until every stored version and every invalid item is visible in its topic, as a consumer sees it.
func (s *system) drain(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	begin := time.Now()
	for {
		p, c := s.tail.Progress(), s.policy.Counts()
		if p.Pending == 0 && int64(p.DeadLetters) >= c.Invalid {
			return
		}
		if p.Quiet > quietMax && time.Since(begin) > quietMax {
			fmt.Fprintf(s.stderr, "the topics have been quiet for %v: %d versions and %d dead letters have not come\n", quietMax, p.Pending, c.Invalid-int64(p.DeadLetters))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.runner.Done():
			return
		case <-ticker.C:
		}
	}
}
