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
	// that takes longer fails the attempt, and the job restarts. Default 10 min; at least Interval.
	Timeout time.Duration
	// MinPause between the end of a checkpoint and the start of the next, so that slow checkpoints do not fill the whole time.
	// Default 0.
	MinPause time.Duration
	// Retain is the number of completed checkpoints kept beside savepoints. Default 3; at least 1.
	Retain int
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
	if c.MinPause < 0 {
		add("Config.MinPause is %v, want 0 or more", c.MinPause)
	}
	if c.Retain < 0 {
		add("Config.Retain is %d, want at least 1, or 0 for the default of %d", c.Retain, DefaultRetain)
	}
	if c.Storage != nil {
		if err := c.Storage.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
