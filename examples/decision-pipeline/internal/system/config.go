// Package system puts the parts of the decision pipeline together and runs them: services, API, policy, pipeline, audit, report.
package system

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is what the flags say.
type Config struct {
	Decisions     int
	Rate          int
	Customers     int
	Invalid       float64
	Seed          uint64
	Parallelism   int
	State         string
	Checkpoint    time.Duration
	CheckpointDir string
	Delivery      string
	Kafka         string
	DynamoDB      string
	S3            string
	Archive       string
	Registry      string
	HTTP          string
	Crash         int
	JSON          bool
}

// The values of -state and -delivery.
const (
	StateMemory = "memory"
	StatePebble = "pebble"
	ExactlyOnce = "exactly-once"
	AtLeastOnce = "at-least-once"
)

// ParseFlags reads the command line (without the program's name). Usage and errors of the syntax go to out.
func ParseFlags(args []string, out io.Writer) (Config, error) {
	var c Config
	f := flag.NewFlagSet("decision-pipeline", flag.ContinueOnError)
	f.SetOutput(out)
	f.IntVar(&c.Decisions, "decisions", 10_000, "cases that the simulated policy works through; 0 serves until interrupted, with load only if -rate is given")
	f.IntVar(&c.Rate, "rate", 0, "cases a second; 0: as fast as they go")
	f.IntVar(&c.Customers, "customers", 1000, "number of customers")
	f.Float64Var(&c.Invalid, "invalid", 0, "share of cases that are items written past the API which do not conform to the event schema, 0 to 1")
	f.Uint64Var(&c.Seed, "seed", 1, "seed of the load and of the kills")
	f.IntVar(&c.Parallelism, "parallelism", 2, "subtasks of each step of the pipeline")
	f.StringVar(&c.State, "state", StateMemory, "where keyed state lives: memory or pebble")
	f.DurationVar(&c.Checkpoint, "checkpoint", time.Second, "time between checkpoints")
	f.StringVar(&c.CheckpointDir, "checkpoint-dir", "", "where checkpoints go: a directory, file:///… or s3://bucket/prefix; a pipeline goes on from what it finds there. Default: a new directory, removed at the end")
	f.StringVar(&c.Delivery, "delivery", ExactlyOnce, "guarantee of the topics: exactly-once or at-least-once")
	f.StringVar(&c.Kafka, "kafka", "", "brokers, host:port,…; empty: an embedded one")
	f.StringVar(&c.DynamoDB, "dynamodb", "", "endpoint of DynamoDB and its Streams, http://host:port; empty: an embedded one")
	f.StringVar(&c.S3, "s3", "", "endpoint of an S3-compatible store for s3:// URLs; empty: Amazon's. Credentials come from the environment")
	f.StringVar(&c.Archive, "archive", "", "where decisions are archived: file:///… or s3://bucket/prefix. Default: a new directory, removed at the end")
	f.StringVar(&c.Registry, "registry", "", "URL of a schema registry; empty: an embedded one")
	f.StringVar(&c.HTTP, "http", "", "address of the API, host:port. Default: 127.0.0.1:8080, or any free port when that one is taken")
	f.IntVar(&c.Crash, "crash", 0, "run the pipeline as a child process and kill it so many times by SIGKILL")
	f.BoolVar(&c.JSON, "json", false, "print the report as one JSON object, the last line of standard output")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("decision-pipeline: unexpected argument %q; all settings are flags", f.Arg(0))
	}
	return c, c.Validate()
}

// Validate reports every fault of the flags at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("decision-pipeline: "+format, args...))
		}
	}
	bad(c.Decisions < 0 || c.Decisions > 10_000_000, "-decisions is %d, want 0 to 10000000", c.Decisions)
	bad(c.Rate < 0, "-rate is %d, want 0 or more", c.Rate)
	bad(c.Customers < 1 || c.Customers > 1_000_000, "-customers is %d, want 1 to 1000000", c.Customers)
	bad(!(c.Invalid >= 0 && c.Invalid <= 1), "-invalid is %v, want a share from 0 to 1", c.Invalid)
	bad(c.Parallelism < 1 || c.Parallelism > 128, "-parallelism is %d, want 1 to 128", c.Parallelism)
	bad(c.State != StateMemory && c.State != StatePebble, "-state is %q, want memory or pebble", c.State)
	bad(c.Checkpoint < 10*time.Millisecond || c.Checkpoint > 5*time.Minute, "-checkpoint is %v, want 10ms to 5m", c.Checkpoint)
	bad(c.Delivery != ExactlyOnce && c.Delivery != AtLeastOnce, "-delivery is %q, want exactly-once or at-least-once", c.Delivery)
	bad(c.Crash < 0, "-crash is %d, want 0 or more", c.Crash)
	bad(c.Crash > 0 && c.Decisions == 0, "-crash needs -decisions of at least 1")
	for name, v := range map[string]string{"dynamodb": c.DynamoDB, "s3": c.S3, "registry": c.Registry} {
		u, err := url.Parse(v)
		bad(v != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == ""), "-%s is %q, want http://host:port", name, v)
	}
	for name, v := range map[string]string{"archive": c.Archive, "checkpoint-dir": c.CheckpointDir} {
		scheme, _, found := strings.Cut(v, "://")
		bad(found && scheme != "file" && scheme != "s3", "-%s is %q, want file:///… or s3://bucket/prefix", name, v)
	}
	return errors.Join(errs...)
}

// places are the URLs of archive and checkpoints, with the directory that is removed at the end.
type places struct {
	archive, checkpoints, temp string
}

func (c Config) places() (places, error) {
	temp, err := os.MkdirTemp("", "decision-pipeline-*")
	if err != nil {
		return places{}, fmt.Errorf("decision-pipeline: make a working directory: %w", err)
	}
	p := places{archive: c.Archive, checkpoints: c.CheckpointDir, temp: temp}
	for u, name := range map[*string]string{&p.archive: "archive", &p.checkpoints: "checkpoints"} {
		if *u == "" {
			*u = filepath.Join(temp, name)
		}
		if *u, err = absolute(*u, c.S3); err != nil {
			return p, errors.Join(err, os.RemoveAll(temp))
		}
	}
	return p, nil
}

// absolute is the URL of a place: a directory becomes file:///…, and a bucket carries the endpoint of -s3 in its query, as both
// the archive and the checkpoint storage understand it.
func absolute(place, endpoint string) (string, error) {
	if !strings.Contains(place, "://") {
		abs, err := filepath.Abs(place)
		if err != nil {
			return "", fmt.Errorf("decision-pipeline: %w", err)
		}
		return "file://" + filepath.ToSlash(abs), nil
	}
	u, err := url.Parse(place)
	if err != nil {
		return "", fmt.Errorf("decision-pipeline: %w", err)
	}
	if q := u.Query(); u.Scheme == "s3" && endpoint != "" && !q.Has("endpoint") {
		q.Set("endpoint", endpoint)
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}
