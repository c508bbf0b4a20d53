// Command nexmark runs a query of the Nexmark benchmark on millrace and says what it gave and cost. See README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/millrace-io/millrace/examples/nexmark/internal/bench"
	"github.com/millrace-io/millrace/examples/nexmark/internal/queries"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the command line says.
type settings struct {
	bench.Config
	json       bool
	cpuProfile string
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("nexmark", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.Query, "query", "q0", "the `query`: "+strings.Join(queries.Names(), ", "))
	f.Int64Var(&s.Events, "events", 1_000_000, "number of events")
	f.Uint64Var(&s.Seed, "seed", 1, "the events are drawn from it")
	f.IntVar(&s.Parallelism, "parallelism", 1, "subtasks of each step")
	f.IntVar(&s.Splits, "splits", 0, "splits of the source (default: parallelism)")
	f.StringVar(&s.Backend, "backend", "memory", "where state is kept: memory or pebble")
	f.DurationVar(&s.Checkpoint, "checkpoint", 0, "interval of checkpoints, to a local directory; 0 takes none")
	f.Float64Var(&s.Rate, "rate", 0, "events per second, with latencies; 0 is as fast as possible")
	f.Int64Var(&s.CacheBytes, "cache", 0, "pebble: `bytes` of decoded values in memory, all steps together (default 640 MiB)")
	f.Int64Var(&s.BlockCacheBytes, "block-cache", 0, "pebble: `bytes` of blocks of files in memory, all steps together (default 256 MiB)")
	f.Int64Var(&s.RestoreAt, "restore-at", 0, "stop with a savepoint after so many `events`, and go on from it; 0 never does")
	f.IntVar(&s.RestoreParallelism, "restore-parallelism", 0, "subtasks of each step after that (default: as before)")
	f.StringVar(&s.Dir, "dir", "", "`folder` for state and checkpoints, which are removed at the end (default: that for temporary files)")
	f.StringVar(&s.Transport, "transport", "memory", "how records travel between tasks: memory or tcp")
	f.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile to the `file`")
	f.BoolVar(&s.json, "json", false, "print one line of JSON")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("nexmark: argument %q is no flag; -h lists them", f.Arg(0))
	}
	return s, s.Validate()
}

// run is the command; the exit status is 2 for a command line that cannot be run, 1 for a run that failed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	r, err := measure(ctx, s)
	if err == nil {
		err = write(stdout, s, r)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, s settings) (r bench.Result, err error) {
	if s.cpuProfile == "" {
		return bench.Run(ctx, s.Config)
	}
	f, err := os.Create(s.cpuProfile)
	if err != nil {
		return r, fmt.Errorf("nexmark: the CPU profile cannot be written: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return r, errors.Join(err, f.Close())
	}
	r, err = bench.Run(ctx, s.Config)
	pprof.StopCPUProfile()
	return r, errors.Join(err, f.Close())
}

func write(w io.Writer, s settings, r bench.Result) error {
	if s.json {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintf(w, "%s, %d events: %.2f s, %.0f events/s (steady %.0f), %.2f CPU s (steady %.3f per million events), %d MB\n%d rows, digest %s, %d rows out, %d checkpoints\n",
		r.Query, r.Events, r.Wall, r.EventsPerS, r.SteadyEventsPerS, r.CPU, r.SteadyCPUPerM, r.PeakRSS, r.Count, r.Digest, r.RowsOut, r.Checkpoints)
	return err
}
