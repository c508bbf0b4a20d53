package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

// line is what a run prints: one JSON line, the same fields on each side.
type line struct {
	Query       string `json:"query"`
	Parallelism int    `json:"parallelism"`
	Events      int64  `json:"events"`
	Seed        uint64 `json:"seed"`
	Count       int64  `json:"count"`
	Digest      string `json:"digest"`

	CPUSPerMillion float64 `json:"steady_cpu_s_per_m"`  // over the last 75 % of the events
	SteadyPerS     float64 `json:"steady_events_per_s"` // likewise, of wall time
	CPUS           float64 `json:"cpu_s"`               // whole run
	WallS          float64 `json:"wall_s"`
	PeakRSSMB      float64 `json:"peak_rss_mb"`
	FirstEventMS   float64 `json:"first_event_ms"` // from the start of the job

	Checkpoints     int     `json:"checkpoints"`
	CheckpointP50MS float64 `json:"checkpoint_p50_ms"`
	CheckpointP99MS float64 `json:"checkpoint_p99_ms"`

	// Latency is there when the run had a rate; −1 if no row knew its cause.
	Latency struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p999"`
		Max  float64 `json:"max"`
	} `json:"lat_ms"`
}

// decode finds the line in a run's output: the last line that begins like an object.
func decode(out []byte) (line, error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		// Terminals' escape sequences may stand in front.
		at := bytes.IndexByte(lines[i], '{')
		if at < 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(lines[i][at:], &l); err != nil {
			return line{}, fmt.Errorf("output is no JSON line: %w", err)
		}
		return l, nil
	}
	return line{}, fmt.Errorf("no JSON line in %d bytes of output", len(out))
}

// check refuses a line that is of another run or has another result.
func (l line) check(v variant, events int64, seed uint64, want reference.Result) error {
	var errs []error
	if l.Query != v.query || l.Parallelism != v.parallelism || l.Events != events || l.Seed != seed {
		errs = append(errs, fmt.Errorf("figures of %s, parallelism %d, %d events, seed %d; want %s, %d, %d, %d",
			l.Query, l.Parallelism, l.Events, l.Seed, v.query, v.parallelism, events, seed))
	}
	if have := fmt.Sprintf("%s (%d rows)", l.Digest, l.Count); have != want.String() {
		errs = append(errs, fmt.Errorf("digest %s, want %s", have, want))
	}
	if !(l.CPUSPerMillion > 0) {
		errs = append(errs, fmt.Errorf("steady_cpu_s_per_m is %v, want more than 0", l.CPUSPerMillion))
	}
	if v.checkpoint > 0 && l.Checkpoints == 0 {
		errs = append(errs, fmt.Errorf("no checkpoint was completed in %.1f s: use a shorter interval or more events", l.WallS))
	}
	return errors.Join(errs...)
}
