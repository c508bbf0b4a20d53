// Command floor runs a query of the benchmark as written by hand for one thread, and prints one JSON line with the figures that
// examples/nexmark prints too:
//
//	go run ./examples/nexmark/floor -query q5 -events 10000000 -seed 1
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/floor"
)

// figures is the line that is printed.
type figures struct {
	Query           string  `json:"query"`
	Backend         string  `json:"backend"`
	Parallelism     int     `json:"parallelism"`
	Seed            uint64  `json:"seed"`
	Events          int64   `json:"events"`
	WallS           float64 `json:"wall_s"`
	CPUS            float64 `json:"cpu_s"`
	EventsPerS      float64 `json:"events_per_s"`
	SteadyPerS      float64 `json:"steady_events_per_s"`
	CPUSPerMillion  float64 `json:"steady_cpu_s_per_m"` // over the last 75 % of the events, like steady_events_per_s
	PeakRSSMB       int64   `json:"peak_rss_mb"`
	Count           int64   `json:"count"`
	Digest          string  `json:"digest"`
	CheckpointCount int     `json:"checkpoints"`
}

func main() {
	query := flag.String("query", "q0", fmt.Sprintf("one of %v", floor.Queries()))
	events := flag.Int64("events", 1_000_000, "number of events")
	seed := flag.Uint64("seed", 1, "seed of the events")
	flag.Parse()
	f, err := measure(*query, *events, *seed)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(query string, events int64, seed uint64) (figures, error) {
	start := time.Now()
	quarter, quarterCPU := start, cpuTime()
	past := false
	sum, err := floor.Run(query, events, seed, func(done int64) {
		if !past && done >= events/4 {
			past, quarter, quarterCPU = true, time.Now(), cpuTime()
		}
	})
	if err != nil {
		return figures{}, err
	}
	end, cpu, rest := time.Now(), cpuTime(), float64(events-events/4)
	return figures{
		Query: query, Backend: "none", Parallelism: 1, Seed: seed, Events: events,
		WallS:          end.Sub(start).Seconds(),
		CPUS:           cpu.Seconds(),
		EventsPerS:     float64(events) / end.Sub(start).Seconds(),
		SteadyPerS:     rest / end.Sub(quarter).Seconds(),
		CPUSPerMillion: (cpu - quarterCPU).Seconds() * 1e6 / max(rest, 1),
		PeakRSSMB:      peakRSS() >> 20,
		Count:          sum.Count, Digest: fmt.Sprintf("%016x", sum.Digest),
	}, nil
}
