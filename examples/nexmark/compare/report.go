package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
)

// of is the summary of a variant on a side.
func (s *session) of(v variant, who side) summary {
	return summarise(s.records, func(r record) bool { return !r.sweep && r.variant == v && r.side == who })
}

// net is the CPU of a variant less that of q0 on the same side, at the same parallelism, in CPU seconds per million events.
func (s *session) net(v variant, who side) float64 {
	return s.of(v, who).cpu - s.of(v.base(), who).cpu
}

// ran returns the variants of the plan that match and have a record.
func (s *session) ran(match func(variant) bool) []variant {
	var out []variant
	for _, v := range plan(s.o) {
		if match(v) && slices.ContainsFunc(s.records, func(r record) bool { return !r.sweep && r.variant == v }) {
			out = append(out, v)
		}
	}
	return out
}

// report makes the whole report from what has been run so far.
func report(s *session, about []string) []section {
	sections := []section{s.overview(about), s.cpu(), s.footprint()}
	for _, more := range []section{s.handWritten(), s.checkpoints(), s.latencies(), s.scaling(), s.sweeps(), s.discarded()} {
		if len(more.rows) > 0 {
			sections = append(sections, more)
		}
	}
	return sections
}

// machine describes where this runs, for the report.
func machine(pinned string) []string {
	model := ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(b)) {
			if name, value, found := strings.Cut(l, ":"); found && strings.TrimSpace(name) == "model name" {
				model = ", " + strings.TrimSpace(value)
				break
			}
		}
	}
	load := ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load " + strings.Fields(string(b) + " ?")[0] + " at the start"
	}
	where := "not pinned to cores"
	if pinned != "" {
		where = "each run pinned to cores " + pinned
	}
	return []string{fmt.Sprintf("%s/%s, %d cores%s, %s%s; %s.", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model, runtime.Version(), load, where)}
}

func (s *session) overview(about []string) section {
	heap := "a heap of " + s.o.Heap
	if s.o.Heap == autoHeap {
		heap = "the smallest heap at which it takes at most 10 % more CPU than with " + sweepHeaps[0]
	}
	args := "compare " + strings.Join(s.o.Args, " ")
	notes := []string{"`" + strings.TrimSpace(args) + "`", ""}
	notes = append(notes, about...)
	notes = append(notes,
		fmt.Sprintf("Rounds: %d, of which medians are shown, sides in turn; seed %d. Flink has %s; RocksDB %s beside it.", s.o.Rounds, s.o.Seed, heap, s.o.Managed),
		"A run counts only if its digest and number of rows are those of the batch reference for its events and seed.",
		"CPU is user and system time of the whole process, per million events over the last 75 % of them: compiler, collectors and stores included.",
		"Net = less that of q0 on the same side at the same parallelism: q0 is the generator and the digest, which both sides have to pay.",
		"Ratios are Flink / millrace unless a heading says otherwise: above 1 is in millrace's favour.")
	counted := 0
	for _, r := range s.records {
		if r.status == ok {
			counted++
		}
	}
	notes = append(notes, fmt.Sprintf("%d runs, %d of them count.", len(s.records), counted))
	if s.stopped != nil {
		notes = append(notes, fmt.Sprintf("ENDED EARLY: %v", s.stopped))
	}
	return section{title: "Nexmark, millrace beside Flink", notes: notes}
}

// name is the first cell of a row.
func name(v variant) string { return v.query }

// where are the cells that tell variants of a query apart.
func where(v variant) []string {
	ckpt := none
	if v.checkpoint > 0 {
		ckpt = v.checkpoint.String()
	}
	backend := v.backend + " / " + map[string]string{"memory": "heap", "pebble": "rocksdb"}[v.backend]
	if stateless(v.query) {
		backend = none
	}
	return []string{name(v), backend, fmt.Sprint(v.parallelism), ckpt}
}

// runs says how many runs of each side are behind a row.
func runs(m ...summary) string {
	parts := make([]string, len(m))
	for i, x := range m {
		if parts[i] = fmt.Sprint(x.runs); x.runs != x.all {
			parts[i] = fmt.Sprintf("%d of %d", x.runs, x.all)
		}
	}
	return strings.Join(parts, " / ")
}

// million formats a number of events; two numbers if the sides differ.
func million(a, b summary) string {
	if a.events == b.events || b.events == 0 {
		return number(float64(a.events)/1e6, 2)
	}
	if a.events == 0 {
		return number(float64(b.events)/1e6, 2)
	}
	return number(float64(a.events)/1e6, 2) + " / " + number(float64(b.events)/1e6, 2)
}

func spread(m summary) string {
	if m.runs < 2 {
		return number(m.cpu, 3)
	}
	return fmt.Sprintf("%s (%s…%s)", number(m.cpu, 3), number(m.least, 3), number(m.most, 3))
}

func (s *session) cpu() section {
	t := section{title: "CPU seconds per million events", head: []string{"query", "state", "p", "checkpoint", "events, M", "millrace", "Flink", "ratio",
		"net millrace", "net Flink", "net ratio", "K events per CPU s millrace", "K events per CPU s Flink", "runs"}}
	for _, v := range s.ran(func(v variant) bool { return v.rate == 0 }) {
		a, b := s.of(v, millrace), s.of(v, flink)
		netA, netB := s.net(v, millrace), s.net(v, flink)
		if v == v.base() {
			netA, netB = math.NaN(), math.NaN()
		}
		t.rows = append(t.rows, append(where(v), million(a, b), spread(a), spread(b), times(ratio(b.cpu, a.cpu)),
			number(netA, 3), number(netB, 3), times(ratio(netB, netA)), number(1e3/a.cpu, 0), number(1e3/b.cpu, 0), runs(a, b)))
	}
	return t
}

func (s *session) footprint() section {
	t := section{title: "Memory, start, wall time",
		notes: []string{"Memory is the peak resident size of the process. Start is from the start of the job to its first event; the start of Flink's JVM, before it, is left out.",
			"Rates are of wall time over the last 75 % of the events: they need a quiet machine. Their ratio is millrace / Flink."},
		head: []string{"query", "state", "p", "checkpoint", "MB millrace", "MB Flink", "ratio", "Flink's heap", "start ms millrace", "start ms Flink", "ratio",
			"K events/s millrace", "K events/s Flink", "ratio"}}
	for _, v := range s.ran(func(v variant) bool { return v.rate == 0 }) {
		a, b := s.of(v, millrace), s.of(v, flink)
		t.rows = append(t.rows, append(where(v), number(a.memory, 0), number(b.memory, 0), times(ratio(b.memory, a.memory)), s.heap(v),
			number(a.firstEvent, 1), number(b.firstEvent, 0), times(ratio(b.firstEvent, a.firstEvent)),
			number(a.steady/1e3, 0), number(b.steady/1e3, 0), times(ratio(a.steady, b.steady))))
	}
	return t
}

func (s *session) handWritten() section {
	t := section{title: "Against programs written by hand", notes: []string{"One thread, no library: package floor. The ratio is millrace / by hand, in CPU."},
		head: []string{"query", "state", "p", "checkpoint", "events, M", "CPU s/M by hand", "CPU s/M millrace", "ratio", "MB by hand", "MB millrace", "runs"}}
	for _, v := range s.ran(func(v variant) bool { return slices.Contains(sides(s.o, v), floored) }) {
		f, a := s.of(v, floored), s.of(v, millrace)
		t.rows = append(t.rows, append(where(v), million(f, a), spread(f), spread(a), times(ratio(a.cpu, f.cpu)), number(f.memory, 0), number(a.memory, 0), runs(f, a)))
	}
	return t
}

// cost formats by how much b is dearer than a.
func cost(b, a float64) string {
	if r := ratio(b, a); !math.IsNaN(r) {
		return fmt.Sprintf("%+.0f %%", 100*(r-1))
	}
	return none
}

func (s *session) checkpoints() section {
	t := section{title: "Cost of checkpoints", notes: []string{"CPU seconds per million events, gross, without and with checkpoints. Durations are medians over the runs of their p50 and p99."},
		head: []string{"query", "state", "p", "checkpoint", "millrace without", "millrace with", "millrace cost", "Flink without", "Flink with", "Flink cost",
			"millrace taken", "millrace p50 ms", "millrace p99 ms", "Flink taken", "Flink p50 ms", "Flink p99 ms"}}
	for _, v := range s.ran(func(v variant) bool { return v.checkpoint > 0 }) {
		row := where(v)
		for _, who := range []side{millrace, flink} {
			without, with := s.of(v.plain(), who), s.of(v, who)
			row = append(row, number(without.cpu, 3), number(with.cpu, 3), cost(with.cpu, without.cpu))
		}
		for _, who := range []side{millrace, flink} {
			m := s.of(v, who)
			row = append(row, number(m.checkpoints, 0), number(m.checkpointP50, 1), number(m.checkpointP99, 1))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func (s *session) latencies() section {
	t := section{title: "Latency at a fixed rate, ms", notes: []string{"From the moment when the event that made a row possible was due, to that at which the row was in the sink. Medians over the runs."},
		head: []string{"query", "state", "p", "checkpoint", "events/s", "p50 millrace", "p50 Flink", "p99 millrace", "p99 Flink", "p99.9 millrace",
			"p99.9 Flink", "max millrace", "max Flink", "runs"}}
	for _, v := range s.ran(func(v variant) bool { return v.rate > 0 }) {
		a, b := s.of(v, millrace), s.of(v, flink)
		row := append(where(v), number(v.rate, 0))
		for i := range a.latency {
			row = append(row, latency(a.latency[i]), latency(b.latency[i]))
		}
		t.rows = append(t.rows, append(row, runs(a, b)))
	}
	return t
}

// latency formats a quantile; a negative one says that no row knew its cause.
func latency(ms float64) string {
	if ms < 0 {
		return none
	}
	return number(ms, 1)
}

func (s *session) scaling() section {
	t := section{title: "More subtasks", notes: []string{"Rate of wall time against that at the first parallelism."},
		head: []string{"query", "state", "p", "checkpoint", "millrace", "Flink"}}
	for _, v := range s.ran(func(v variant) bool { return v.rate == 0 && v.parallelism != s.o.Parallelism[0] }) {
		one := v
		one.parallelism = s.o.Parallelism[0]
		row := where(v)
		for _, who := range []side{millrace, flink} {
			row = append(row, times(ratio(s.of(v, who).steady, s.of(one, who).steady)))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func (s *session) sweeps() section {
	t := section{title: "Heaps tried for Flink", head: []string{"query", "state", "p", "checkpoint", "heap", "CPU s/M", "K events/s", "MB", "outcome"}}
	for _, v := range plan(s.o) {
		for _, heap := range sweepHeaps {
			m := summarise(s.records, func(r record) bool { return r.sweep && r.variant == v && r.heap == heap })
			if m.all == 0 {
				continue
			}
			outcome := "keeps its speed"
			switch chosen := heapMB(s.heaps[v]); {
			case m.runs < m.all:
				outcome = "fails"
			case heap == s.heaps[v]:
				outcome = "chosen"
			case heapMB(heap) < chosen:
				outcome = "slower by more than 10 %"
			}
			t.rows = append(t.rows, append(where(v), heap, number(m.cpu, 3), number(m.steady/1e3, 0), number(m.memory, 0), outcome))
		}
	}
	return t
}

// discarded lists every run that does not count.
func (s *session) discarded() section {
	t := section{title: "Runs that do not count", head: []string{"run", "side", "round", "status", "why"}}
	for _, r := range s.records {
		if r.status == ok {
			continue
		}
		what := r.variant.String()
		if r.sweep {
			what += " heap=" + r.heap
		}
		t.rows = append(t.rows, []string{what, string(r.side), fmt.Sprint(r.round), string(r.status), strings.ReplaceAll(r.why, "\n", "; ")})
	}
	return t
}
