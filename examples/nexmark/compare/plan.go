package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/floor"
)

// side is a program that runs the queries.
type side string

const (
	millrace side = "millrace"
	flink    side = "flink"
	floored  side = "floor" // by hand, package floor
)

// variant is what is compared: the same work for each side.
type variant struct {
	query       string
	backend     string // memory or pebble
	parallelism int
	checkpoint  time.Duration // 0 = none
	rate        float64       // events/s; 0 = as fast as possible
}

func (v variant) String() string {
	s := fmt.Sprintf("%s %s p=%d", v.query, v.backend, v.parallelism)
	if v.checkpoint > 0 {
		s += fmt.Sprintf(" checkpoint=%v", v.checkpoint)
	}
	if v.rate > 0 {
		s += fmt.Sprintf(" rate=%g", v.rate)
	}
	return s
}

// plain is the variant without checkpoints.
func (v variant) plain() variant {
	v.checkpoint = 0
	return v
}

// base is the variant whose CPU is taken off for net figures: q0, in which nothing happens but what every query has, the source and the sink.
func (v variant) base() variant {
	return variant{query: "q0", backend: "memory", parallelism: v.parallelism}
}

// stateless says that a query has no state, and therefore neither backend nor checkpoints worth a run.
func stateless(query string) bool { return slices.Contains([]string{"gen", "q0", "q1", "q2"}, query) }

// plan returns all variants in the order of the tables: q0 first.
func plan(o options) []variant {
	var all []variant
	add := func(v variant) {
		if stateless(v.query) {
			v.backend, v.checkpoint = "memory", 0
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	for _, p := range o.Parallelism {
		add(variant{parallelism: p}.base())
	}
	for _, b := range o.Backends {
		for _, q := range o.Queries {
			for _, p := range o.Parallelism {
				v := variant{query: q, backend: b, parallelism: p}
				add(v)
				if o.Checkpoint > 0 {
					v.checkpoint = o.Checkpoint
					add(v)
				}
			}
		}
	}
	for _, rate := range o.Rates {
		for _, b := range o.Backends {
			for _, q := range o.Queries {
				for _, p := range o.Parallelism {
					add(variant{query: q, backend: b, parallelism: p, rate: rate})
				}
			}
		}
	}
	return all
}

// sides returns who runs a variant, in turn.
func sides(o options, v variant) []side {
	all := slices.Clone(o.Sides)
	if o.Floor && v.rate == 0 && v.checkpoint == 0 && v.parallelism == 1 && v.backend == "memory" && slices.Contains(floor.Queries(), v.query) {
		all = append(all, floored)
	}
	return all
}

// events is the length of the input of one side.
func events(o options, v variant, s side) int64 {
	if v.rate > 0 {
		return max(1, int64(v.rate*o.RateTime.Seconds()))
	}
	if n, ok := o.Events[s]; ok {
		return n
	}
	return defaultEvents(v)
}

// defaultEvents is long enough for the JVM's compiler to have settled when a quarter is done, and takes Flink at most half a minute of CPU.
func defaultEvents(v variant) int64 {
	const million = 1_000_000
	switch {
	case stateless(v.query):
		return 20 * million
	case v.backend == "pebble":
		return 4 * million
	case v.query == "q3" || v.query == "q8":
		return 10 * million
	}
	return 5 * million
}
