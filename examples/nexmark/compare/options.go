package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

// options are the flags, checked.
type options struct {
	Args        []string // as given, for the report
	Queries     []string
	Backends    []string // memory, pebble: names of millrace
	Parallelism []int
	Sides       []side // without floor
	Floor       bool
	Rounds      int
	Seed        uint64
	Events      map[side]int64 // of a side; absent = by query and backend
	Checkpoint  time.Duration  // 0 = none
	Rates       []float64      // events/s of the runs that measure latency
	RateTime    time.Duration  // length of such a run
	Heap        string         // of Flink's JVM, or "auto"
	Managed     string         // memory of Flink's RocksDB
	Cores       string         // list for taskset; empty = no pinning
	Timeout     time.Duration  // of one run
	MD          string         // file
}

const autoHeap = "auto"

// rawOptions are the flags that are parsed further.
type rawOptions struct {
	queries, backend, parallelism, sides, events, rates string
}

func parse(args []string, usage io.Writer) (options, error) {
	o := options{Args: args}
	var raw rawOptions
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&raw.queries, "queries", "q0,q4,q5,q7,q8,q9,q11,q17,q18,q20", "queries; q0 is always run, it is what net figures are net of")
	f.StringVar(&raw.backend, "backend", "memory", "memory and pebble, which stand beside Flink's heap and rocksdb; those names are taken too")
	f.StringVar(&raw.parallelism, "parallelism", "1", "parallelism, or a list")
	f.StringVar(&raw.sides, "sides", "millrace,flink", "what to run")
	f.BoolVar(&o.Floor, "floor", false, "run the queries written by hand as well, where there are such: q0, q5, q7, parallelism 1")
	f.IntVar(&o.Rounds, "rounds", 3, "runs of each side; medians are shown")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the events")
	f.StringVar(&raw.events, "events", "", "number of events, or for each side: millrace=10000000,flink=5000000 (default by query and backend: 4 to 20 million,\n"+
		"the same for both sides, enough for the JVM's compiler to have done its work when the steady part begins)")
	f.DurationVar(&o.Checkpoint, "checkpoint", 0, "run the queries with state also with checkpoints at this interval, and show their cost")
	f.StringVar(&raw.rates, "rate", "", "measure latencies as well, at these events per second, e.g. 1000,100000")
	f.DurationVar(&o.RateTime, "rate-time", 20*time.Second, "length of a run that measures latencies")
	f.StringVar(&o.Heap, "heap", "4g", "heap of Flink's JVM (-Xms and -Xmx); auto looks for the smallest at which Flink takes at most 10 % more CPU than with 4g")
	f.StringVar(&o.Managed, "managed", "1g", "memory of Flink's RocksDB, beside the heap")
	f.StringVar(&o.Cores, "cores", "auto", "cores that each run is pinned to, as taskset -c takes them; none pins nothing; auto takes the first 2, or as many as\n"+
		"the parallelism, if there is a taskset")
	f.DurationVar(&o.Timeout, "timeout", 15*time.Minute, "limit for one run")
	f.StringVar(&o.MD, "md", "", "file for the report in Markdown, written anew after each run")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	if f.NArg() > 0 {
		return options{}, fmt.Errorf("compare: unexpected argument %q", f.Arg(0))
	}
	return o, errors.Join(o.fill(raw), o.validate())
}

// fill takes the lists apart.
func (o *options) fill(raw rawOptions) error {
	var errs []error
	o.Queries = list(raw.queries)
	for _, q := range o.Queries {
		if !slices.Contains(reference.Queries(), q) {
			errs = append(errs, fmt.Errorf("compare: -queries has %q, want some of %v", q, reference.Queries()))
		}
	}
	for _, b := range list(raw.backend) {
		switch b {
		case "memory", "heap":
			o.Backends = append(o.Backends, "memory")
		case "pebble", "rocksdb":
			o.Backends = append(o.Backends, "pebble")
		default:
			errs = append(errs, fmt.Errorf("compare: -backend has %q, want memory (heap) or pebble (rocksdb)", b))
		}
	}
	for _, p := range list(raw.parallelism) {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("compare: -parallelism has %q, want numbers from 1 on", p))
		}
		o.Parallelism = append(o.Parallelism, n)
	}
	for _, s := range list(raw.sides) {
		if s != string(millrace) && s != string(flink) {
			errs = append(errs, fmt.Errorf("compare: -sides has %q, want millrace or flink", s))
		}
		o.Sides = append(o.Sides, side(s))
	}
	for _, r := range list(raw.rates) {
		v, err := strconv.ParseFloat(r, 64)
		if err != nil || !(v > 0) {
			errs = append(errs, fmt.Errorf("compare: -rate has %q, want numbers above 0", r))
		}
		o.Rates = append(o.Rates, v)
	}
	return errors.Join(append(errs, o.fillEvents(raw.events))...)
}

func (o *options) fillEvents(raw string) error {
	o.Events = map[side]int64{}
	for _, e := range list(raw) {
		name, number, each := strings.Cut(e, "=")
		sides := []side{side(name)}
		if !each {
			number, sides = e, []side{millrace, flink, floored}
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || !slices.Contains([]side{millrace, flink, floored}, sides[0]) {
			return fmt.Errorf("compare: -events has %q, want a number from 1 on, or millrace=, flink= or floor= and a number", e)
		}
		for _, s := range sides {
			o.Events[s] = n
		}
	}
	return nil
}

func (o *options) validate() error {
	var errs []error
	for what, n := range map[string]int{"-queries": len(o.Queries), "-backend": len(o.Backends), "-parallelism": len(o.Parallelism), "-sides": len(o.Sides)} {
		if n == 0 {
			errs = append(errs, fmt.Errorf("compare: %s is empty", what))
		}
	}
	if o.Rounds < 1 {
		errs = append(errs, fmt.Errorf("compare: -rounds is %d, want 1 or more", o.Rounds))
	}
	if o.Checkpoint < 0 || o.Checkpoint%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("compare: -checkpoint is %v, want whole milliseconds, or 0 for none", o.Checkpoint))
	}
	if o.RateTime <= 0 || o.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("compare: -rate-time is %v and -timeout %v, want more than 0", o.RateTime, o.Timeout))
	}
	if o.Heap != autoHeap && heapMB(o.Heap) == 0 {
		errs = append(errs, fmt.Errorf("compare: -heap is %q, want auto or a size as in 512m or 4g", o.Heap))
	}
	return errors.Join(errs...)
}

// list takes a list with commas apart; the empty text is the empty list.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// heapMB is the size of a heap in MB; 0 if it is not one.
func heapMB(heap string) int {
	unit := map[byte]int{'m': 1, 'M': 1, 'g': 1024, 'G': 1024}
	if heap == "" || unit[heap[len(heap)-1]] == 0 {
		return 0
	}
	n, err := strconv.Atoi(heap[:len(heap)-1])
	if err != nil || n < 1 {
		return 0
	}
	return n * unit[heap[len(heap)-1]]
}
