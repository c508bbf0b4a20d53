package main

import (
	"math"
	"slices"
)

// summary has the median of each figure over the runs that count; NaN where there is none. Units are those of line.
type summary struct {
	runs, all  int // that count, and all
	events     int64
	cpu        float64 // CPU seconds per million events
	least      float64 // least and most of cpu
	most       float64
	steady     float64
	wall       float64 // whole run, seconds
	memory     float64
	firstEvent float64

	checkpoints, checkpointP50, checkpointP99 float64
	latency                                   [4]float64 // p50, p99, p99.9, most
}

// summarise takes the records that match.
func summarise(records []record, match func(record) bool) summary {
	m := summary{}
	var good []line
	for _, r := range records {
		if !match(r) {
			continue
		}
		m.all++
		if r.status == ok {
			good = append(good, r.line)
			m.events = r.events
		}
	}
	m.runs = len(good)
	all := func(figure func(line) float64) []float64 {
		v := make([]float64, len(good))
		for i, l := range good {
			v[i] = figure(l)
		}
		return v
	}
	cpu := all(func(l line) float64 { return l.CPUSPerMillion })
	m.cpu, m.least, m.most = median(cpu), math.NaN(), math.NaN()
	if len(cpu) > 0 {
		m.least, m.most = slices.Min(cpu), slices.Max(cpu)
	}
	m.steady = median(all(func(l line) float64 { return l.SteadyPerS }))
	m.wall = median(all(func(l line) float64 { return l.WallS }))
	m.memory = median(all(func(l line) float64 { return l.PeakRSSMB }))
	m.firstEvent = median(all(func(l line) float64 { return l.FirstEventMS }))
	m.checkpoints = median(all(func(l line) float64 { return float64(l.Checkpoints) }))
	m.checkpointP50 = median(all(func(l line) float64 { return l.CheckpointP50MS }))
	m.checkpointP99 = median(all(func(l line) float64 { return l.CheckpointP99MS }))
	m.latency = [4]float64{
		median(all(func(l line) float64 { return l.Latency.P50 })), median(all(func(l line) float64 { return l.Latency.P99 })),
		median(all(func(l line) float64 { return l.Latency.P999 })), median(all(func(l line) float64 { return l.Latency.Max })),
	}
	return m
}

// median is the middle value, or the mean of the two in the middle; NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// ratio is a/b, NaN unless both are above 0: net figures below the noise have no ratio.
func ratio(a, b float64) float64 {
	if !(a > 0) || !(b > 0) {
		return math.NaN()
	}
	return a / b
}
