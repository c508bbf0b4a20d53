package checkpoint

import (
	"errors"
	"fmt"
	"time"
)

// Config says whether, when and where checkpoints are taken. The zero Config takes none: the job then starts from its sources'
// beginnings, and output of exactly-once sinks becomes visible only when a bounded input has ended.
type Config struct {
	// Interval between the starts of two checkpoints, at least 10 ms; 0 takes no periodic ones. With a Storage and no Interval there
	// are still savepoints and the final checkpoint of a bounded job. It is the latency of exactly-once sinks.
	Interval time.Duration
	// Storage keeps the checkpoints; nil keeps none. It belongs to this job alone.
	Storage Storage
	// Timeout of one checkpoint: from its trigger until it is durable, and once more until its commits are done. A checkpoint
	// that takes longer has failed, see TolerableFailures. Default 10 min; at least Interval.
	Timeout time.Duration
	// MinPause between the end of a checkpoint and the start of the next, so that slow checkpoints do not fill the whole time. It implies
	// MaxConcurrent 1. Savepoints and the final checkpoint of a bounded job do not wait for it. Default 0.
	// Source: Flink execution.checkpointing.min-pause.
	MinPause time.Duration
	// Retain is the number of completed checkpoints kept beside savepoints, also when the job ends, is cancelled or fails for good: the
	// storage belongs to the job, and the next start goes on from the newest of them. Nothing but a newer checkpoint removes one; to begin anew, give
	// the job another storage. Default 3; at least 1.
	Retain int
	// AlignmentTimeout bounds how long a periodic checkpoint waits for records that stand in front of its barriers. Once it is older, each
	// task takes its part without waiting for the barriers of its inputs; the records that the barriers were behind are stored with the
	// checkpoint (Manifest.Channels) and processed first after a restore. A checkpoint then takes about this long, and the time to write what was
	// in flight, however slow the job's sinks are; without it, it takes as long as the records in the queues do. Default 0: barriers never
	// overtake records. Some seconds suit most jobs; shorter than Timeout.
	//
	// It does not concern savepoints and the final checkpoint, nor inputs by Broadcast, whose barriers always stay behind their records. A record is
	// never interrupted: one that takes a minute delays the checkpoint by a minute.
	//
	// What it costs: each exchange of records between tasks needs a codec for them (the derived one, or Stream.WithCodec); a checkpoint with records
	// in flight fits graphs with the same edges only, where a savepoint fits others too; and after a restore a watermark that was in flight
	// comes behind the records that were behind it, so that some records that would have been late are not.
	AlignmentTimeout time.Duration
	// TolerableFailures is the number of checkpoints in a row that may fail before the job restarts: that a task could not write, that timed
	// out, or whose manifest could not be stored. The job goes on as if such a checkpoint had not been begun, and what exactly-once sinks have
	// prepared for it becomes visible with the next that completes. It takes sinks that can prepare a checkpoint while others are not committed
	// (connectors.PreparesAhead); the start refuses others. Not tolerated are failed commits, a storage that does not say whether a
	// manifest is there, another leader, and damaged objects. A savepoint that fails never counts, and one with which the job was to
	// stop restarts it. Default 0: the first failure restarts the job.
	// Source: Flink execution.checkpointing.tolerable-failed-checkpoints.
	TolerableFailures int
	// MaxConcurrent is the number of periodic checkpoints in progress at a time, at least 1. With more than 1 the next one starts after
	// Interval although the one before is still being written or committed. They complete in order, and one that is overtaken by a newer one is given up
	// for it. Savepoints and the final checkpoint wait until nothing is in progress. It takes the same sinks as TolerableFailures, and no
	// AlignmentTimeout. Default 1.
	// Source: Flink execution.checkpointing.max-concurrent-checkpoints.
	MaxConcurrent int
}

// Option changes a field of Config.
type Option func(*Config)

// Every takes a checkpoint each interval (at least 10 ms) and keeps it in s.
func Every(interval time.Duration, s Storage, opts ...Option) Config {
	c := Config{Interval: interval, Storage: s}
	for _, o := range opts {
		o(&c)
	}
	return c
}

// Timeout sets Config.Timeout.
func Timeout(d time.Duration) Option { return func(c *Config) { c.Timeout = d } }

// MinPause sets Config.MinPause.
func MinPause(d time.Duration) Option { return func(c *Config) { c.MinPause = d } }

// Retain sets Config.Retain.
func Retain(n int) Option { return func(c *Config) { c.Retain = n } }

// AlignmentTimeout sets Config.AlignmentTimeout.
func AlignmentTimeout(d time.Duration) Option { return func(c *Config) { c.AlignmentTimeout = d } }

// TolerableFailures sets Config.TolerableFailures.
func TolerableFailures(n int) Option { return func(c *Config) { c.TolerableFailures = n } }

// MaxConcurrent sets Config.MaxConcurrent.
func MaxConcurrent(n int) Option { return func(c *Config) { c.MaxConcurrent = n } }

// Defaults of Config.
const (
	DefaultTimeout = 10 * time.Minute
	DefaultRetain  = 3
	MinInterval    = 10 * time.Millisecond
)

// WithDefaults returns c with every unset field at its default.
func (c Config) WithDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = max(DefaultTimeout, c.Interval)
	}
	if c.Retain == 0 {
		c.Retain = DefaultRetain
	}
	if c.MaxConcurrent == 0 || c.MinPause > 0 {
		c.MaxConcurrent = 1
	}
	return c
}

// Validate reports every fault at once, those of the Storage included, without I/O.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf("checkpoint: "+format, args...)) }
	if c.Interval != 0 && c.Interval < MinInterval {
		add("Config.Interval is %v, want at least %v, or 0 for no periodic checkpoints", c.Interval, MinInterval)
	}
	if c.Storage == nil && c.Interval != 0 {
		add("Config.Storage is nil with an Interval of %v; give checkpoint.Dir(path) or checkpoint.S3(options)", c.Interval)
	}
	switch {
	case c.Timeout < 0:
		add("Config.Timeout is %v, want 0 for the default of %v or more", c.Timeout, DefaultTimeout)
	case c.Timeout > 0 && c.Timeout < c.Interval:
		add("Config.Timeout is %v, shorter than the Interval of %v", c.Timeout, c.Interval)
	}
	switch limit := c.WithDefaults().Timeout; {
	case c.AlignmentTimeout < 0:
		add("Config.AlignmentTimeout is %v, want 0 for never or more", c.AlignmentTimeout)
	case c.AlignmentTimeout > 0 && c.AlignmentTimeout >= limit && c.Timeout >= 0:
		add("Config.AlignmentTimeout is %v, want less than the Timeout of %v, at which a checkpoint is given up", c.AlignmentTimeout, limit)
	}
	if c.MinPause < 0 {
		add("Config.MinPause is %v, want 0 or more", c.MinPause)
	}
	if c.Retain < 0 {
		add("Config.Retain is %d, want at least 1, or 0 for the default of %d", c.Retain, DefaultRetain)
	}
	if c.TolerableFailures < 0 {
		add("Config.TolerableFailures is %d, want 0 or more", c.TolerableFailures)
	}
	if c.MaxConcurrent > 1 && c.AlignmentTimeout > 0 && c.MinPause == 0 {
		add("Config.MaxConcurrent is %d with an AlignmentTimeout of %v, want 1: barriers that overtake records overtake other barriers too", c.MaxConcurrent, c.AlignmentTimeout)
	}
	if c.MaxConcurrent < 0 {
		add("Config.MaxConcurrent is %d, want at least 1, or 0 for the default of 1", c.MaxConcurrent)
	}
	if c.Storage != nil {
		if err := c.Storage.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
