package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

// right is the result that the tests' reference has for every query.
var right = reference.Result{Count: 9, Digest: 0xabc}

func definition(string, int64, uint64) (reference.Result, error) { return right, nil }

// script is a runner that prints what a function says.
type script func(j job, nth int) (string, error)

// scripted counts the runs of each job's variant and side.
type scripted struct {
	script script
	made   []string
	nth    map[string]int
}

func (s *scripted) run(_ context.Context, j job) ([]byte, error) {
	if s.nth == nil {
		s.nth = map[string]int{}
	}
	key := fmt.Sprintf("%s %s", j.side, j.variant)
	s.made = append(s.made, key)
	s.nth[key]++
	out, err := s.script(j, s.nth[key])
	return []byte(out), err
}

// printed is the line of a run with the right result.
func printed(j job, cpu, mb float64) string { return printedDigest(j, cpu, mb, "0000000000000abc", 9) }

func printedDigest(j job, cpu, mb float64, digest string, rows int) string {
	return fmt.Sprintf("\x1b[0mnoise\n{\"query\":%q,\"parallelism\":%d,\"events\":%d,\"seed\":%d,\"count\":%d,\"digest\":%q,\"steady_cpu_s_per_m\":%v,"+
		"\"steady_events_per_s\":%v,\"peak_rss_mb\":%v,\"first_event_ms\":4,\"wall_s\":2,\"checkpoints\":3,\"checkpoint_p50_ms\":7,\"checkpoint_p99_ms\":8,"+
		"\"lat_ms\":{\"p50\":0.5,\"p99\":1.5,\"p999\":-1,\"max\":9}}\n",
		j.query, j.parallelism, j.events, j.seed, rows, digest, cpu, 1e6/cpu, mb)
}

// perform runs a session with the given flags.
func perform(t *testing.T, ctx context.Context, flags string, f script) (*session, *scripted, error) {
	t.Helper()
	o, err := parse(strings.Fields(flags), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := &scripted{script: f}
	s := newSession(o, r, definition, io.Discard)
	return s, r, s.perform(ctx)
}

// row is the first row of the section with the title whose cells begin with those given; nil if there is none.
func row(s *session, title string, begin ...string) []string {
	for _, sec := range report(s, nil) {
		if !strings.HasPrefix(sec.title, title) {
			continue
		}
		for _, r := range sec.rows {
			if slices.Equal(r[:len(begin)], begin) {
				return r
			}
		}
	}
	return nil
}

// TestMediansAndRatios: figures by hand. q5 costs millrace 0.10, 0.50, 0.20 (median 0.20) and Flink 1.0, 3.0, 1.6 (median 1.6), q0 0.08 and 0.10.
func TestMediansAndRatios(t *testing.T) {
	cpu := map[string][]float64{
		"q0 millrace": {0.08, 0.08, 0.08}, "q0 flink": {0.1, 0.1, 0.1}, "q0 floor": {0.05, 0.04, 0.06},
		"q5 millrace": {0.1, 0.5, 0.2}, "q5 flink": {1, 3, 1.6}, "q5 floor": {0.1, 0.16, 0.13},
	}
	s, r, err := perform(t, t.Context(), "-queries q5 -rounds 3 -floor -events 2000000", func(j job, nth int) (string, error) {
		return printed(j, cpu[j.query+" "+string(j.side)][nth-1], 10*float64(nth)*map[side]float64{millrace: 1, flink: 5, floored: 0.5}[j.side]), nil
	})
	if err != nil || s.verdict() != nil {
		t.Fatal(err, s.verdict())
	}
	turn := []string{
		"millrace q0 memory p=1", "flink q0 memory p=1", "floor q0 memory p=1", "millrace q5 memory p=1", "flink q5 memory p=1", "floor q5 memory p=1"}
	if want := slices.Concat(turn, turn, turn); !slices.Equal(r.made, want) {
		t.Errorf("runs %q, want %q", r.made, want)
	}
	want := []string{"q5", "memory / heap", "1", "–", "2.00", "0.200 (0.100…0.500)", "1.600 (1.000…3.000)", "8.00×", "0.120", "1.500", "12×", "5000", "625", "3 / 3"}
	if got := row(s, "CPU", "q5"); !slices.Equal(got, want) {
		t.Errorf("CPU of q5:\n%q, want\n%q", got, want)
	}
	want = []string{"q0", "–", "1", "–", "2.00", "0.080 (0.080…0.080)", "0.100 (0.100…0.100)", "1.25×", "–", "–", "–", "12500", "10000", "3 / 3"}
	if got := row(s, "CPU", "q0"); !slices.Equal(got, want) {
		t.Errorf("CPU of q0:\n%q, want\n%q", got, want)
	}
	want = []string{"q5", "memory / heap", "1", "–", "20", "100", "5.00×", "4g", "4.0", "4", "1.00×", "5000", "625", "8.00×"}
	if got := row(s, "Memory", "q5"); !slices.Equal(got, want) {
		t.Errorf("memory of q5:\n%q, want\n%q", got, want)
	}
	want = []string{"q5", "memory / heap", "1", "–", "2.00", "0.130 (0.100…0.160)", "0.200 (0.100…0.500)", "1.54×", "10", "20", "3 / 3"}
	if got := row(s, "Against", "q5"); !slices.Equal(got, want) {
		t.Errorf("q5 by hand:\n%q, want\n%q", got, want)
	}
}

func TestCheckpointCostAndLatency(t *testing.T) {
	s, _, err := perform(t, t.Context(), "-queries q18 -backend rocksdb -rounds 1 -checkpoint 1s -rate 1000 -rate-time 3s", func(j job, _ int) (string, error) {
		cpu := map[side]float64{millrace: 0.5, flink: 4}[j.side]
		if j.checkpoint > 0 {
			cpu *= map[side]float64{millrace: 1.1, flink: 1.5}[j.side]
		}
		if j.rate > 0 && j.events != 3000 {
			return "", fmt.Errorf("%d events for 3 s at 1000 a second", j.events)
		}
		return printed(j, cpu, 1), nil
	})
	if err != nil || s.verdict() != nil {
		t.Fatal(err, s.verdict())
	}
	want := []string{"q18", "pebble / rocksdb", "1", "1s", "0.500", "0.550", "+10 %", "4.000", "6.000", "+50 %", "3", "7.0", "8.0", "3", "7.0", "8.0"}
	if got := row(s, "Cost", "q18"); !slices.Equal(got, want) {
		t.Errorf("checkpoints of q18:\n%q, want\n%q", got, want)
	}
	want = []string{"q18", "pebble / rocksdb", "1", "–", "1000", "0.5", "0.5", "1.5", "1.5", "–", "–", "9.0", "9.0", "1 / 1"}
	if got := row(s, "Latency", "q18"); !slices.Equal(got, want) {
		t.Errorf("latencies of q18:\n%q, want\n%q", got, want)
	}
}

// TestRefused: what has another digest, another number of rows, or is of another run, counts for nothing, and is shown.
func TestRefused(t *testing.T) {
	s, _, err := perform(t, t.Context(), "-queries q0 -rounds 5 -events 7", func(j job, nth int) (string, error) {
		other := j
		switch {
		case j.side == flink:
			return printed(j, 1, 1), nil
		case nth == 1:
			return printedDigest(j, 100, 1, "0000000000000abd", 9), nil
		case nth == 2:
			return printedDigest(j, 100, 1, "0000000000000abc", 8), nil
		case nth == 3:
			other.events = 8
			return printed(other, 100, 1), nil
		case nth == 4:
			return printed(j, -1, 1), nil
		}
		return printed(j, 0.25, 1), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verdict(); err == nil || !strings.Contains(err.Error(), "4 of 10 runs") {
		t.Errorf("verdict %v, want 4 of 10 runs", err)
	}
	if got := row(s, "CPU", "q0"); got == nil || got[5] != "0.250" || got[7] != "4.00×" || got[13] != "1 of 5 / 5" {
		t.Errorf("CPU of q0 is %q, want 0.250, 4.00×, 1 of 5 / 5", got)
	}
	for round, why := range []string{"digest 0000000000000abd (9 rows), want 0000000000000abc (9 rows)", "(8 rows)", "8 events", "steady_cpu_s_per_m is -1"} {
		got := row(s, "Runs that do not", "q0 memory p=1", "millrace", fmt.Sprint(round+1), "REFUSED")
		if got == nil || !strings.Contains(got[4], why) {
			t.Errorf("round %d is listed as %q, want %q in it", round+1, got, why)
		}
	}
}

func TestRefusedWithoutCheckpoints(t *testing.T) {
	j := job{variant: variant{query: "q5", parallelism: 1, checkpoint: time.Second}, events: 7, seed: 1}
	l, err := decode([]byte(printed(j, 1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.check(j.variant, 7, 1, right); err != nil {
		t.Error(err)
	}
	l.Checkpoints = 0
	if err := l.check(j.variant, 7, 1, right); err == nil || !strings.Contains(err.Error(), "no checkpoint") {
		t.Errorf("error %v, want one that says that no checkpoint was completed", err)
	}
}

// TestFailed: a run that ends badly, prints nothing or takes too long is shown; the other side's figures stay.
func TestFailed(t *testing.T) {
	s, _, err := perform(t, t.Context(), "-queries q0 -rounds 3 -timeout 1h", func(j job, nth int) (string, error) {
		switch {
		case j.side == millrace:
			return printed(j, 0.5, 1), nil
		case nth == 1:
			return printed(j, 0.5, 1), errors.New("exit status 3 out of memory")
		case nth == 2:
			return "nothing of use", nil
		}
		return "{broken", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.verdict() == nil {
		t.Error("failed runs, and the verdict is good")
	}
	if got := row(s, "CPU", "q0"); got == nil || got[5] != "0.500 (0.500…0.500)" || got[6] != "–" || got[7] != "–" || got[13] != "3 / 0 of 3" {
		t.Errorf("CPU of q0 is %q, want 0.500 and nothing for Flink", got)
	}
	for round, why := range []string{"out of memory", "no JSON line in 14 bytes", "no JSON line: "} {
		got := row(s, "Runs that do not", "q0 memory p=1", "flink", fmt.Sprint(round+1), "FAILED")
		if got == nil || !strings.Contains(got[4], why) {
			t.Errorf("round %d is listed as %q, want %q in it", round+1, got, why)
		}
	}
}

// slow is a runner that takes until it is stopped.
type slow struct{}

func (slow) run(ctx context.Context, _ job) ([]byte, error) {
	<-ctx.Done()
	return nil, errors.New("signal: killed")
}

func TestTimeout(t *testing.T) {
	o, err := parse(strings.Fields("-queries q0 -rounds 1 -timeout 1ms -sides millrace"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(o, slow{}, definition, io.Discard)
	if err := s.perform(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.records) != 1 || s.records[0].status != failed || s.records[0].why != "took longer than 1ms" {
		t.Errorf("records %+v, want one that took longer than 1ms", s.records)
	}
}

// TestInterrupt: what has been run is reported, and the report says that it ended early.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var saves int
	o, err := parse(strings.Fields("-queries q0 -rounds 9"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := &scripted{script: func(j job, nth int) (string, error) {
		if nth == 2 {
			cancel()
			return "", errors.New("signal: interrupt")
		}
		return printed(j, 0.5, 1), nil
	}}
	s := newSession(o, r, definition, io.Discard)
	s.saved = func() error { saves++; return nil }
	if err := s.perform(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that the session was cancelled", err)
	}
	if got := text(report(s, nil)); len(s.records) != 2 || !strings.Contains(got, "ENDED EARLY") || !strings.Contains(got, "0.500") {
		t.Errorf("%d records, want 2 and a report of them that says so:\n%s", len(s.records), got)
	}
	if saves != 3 { // after each record and at the end
		t.Errorf("saved %d times, want 3", saves)
	}
}

func TestErrorsEndTheSession(t *testing.T) {
	o, err := parse([]string{"-queries", "q0"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	r := &scripted{script: func(j job, _ int) (string, error) { return printed(j, 1, 1), nil }}
	s := newSession(o, r, func(string, int64, uint64) (reference.Result, error) { return reference.Result{}, broken }, io.Discard)
	if err := s.perform(t.Context()); !errors.Is(err, broken) || len(r.made) != 0 {
		t.Errorf("error %v after %d runs, want that of the reference before any", err, len(r.made))
	}
	s = newSession(o, r, definition, io.Discard)
	s.saved = func() error { return broken }
	if err := s.perform(t.Context()); !errors.Is(err, broken) || len(r.made) != 1 {
		t.Errorf("error %v after %d runs, want that of saving after the first", err, len(r.made))
	}
}

// TestSweep: with 1.0 s at 4g the limit is 1.1 s, which 1g keeps and 768m does not; q5 fails at 2g.
func TestSweep(t *testing.T) {
	s, r, err := perform(t, t.Context(), "-queries q5 -heap auto -rounds 1 -checkpoint 1s", func(j job, _ int) (string, error) {
		switch mb := heapMB(j.heap); {
		case j.side == millrace:
			return printed(j, 0.5, 1), nil
		case j.query == "q5" && mb <= 2048:
			return "", errors.New("out of memory")
		case mb == 1024:
			return printed(j, 1.1, 1), nil
		case mb < 1024:
			return printed(j, 1.11, 1), nil
		}
		return printed(j, 1, 1), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verdict(); err != nil {
		t.Errorf("%v: a run that looks for a heap may fail", err)
	}
	var heaps []string
	for _, rec := range s.records {
		if rec.side == flink {
			heaps = append(heaps, rec.query+" "+rec.heap)
		}
	}
	want := []string{"q0 4g", "q0 3g", "q0 2g", "q0 1536m", "q0 1g", "q0 768m", "q5 4g", "q5 3g", "q5 2g", "q0 1g", "q5 3g", "q5 3g"}
	if !slices.Equal(heaps, want) {
		t.Errorf("heaps %q, want %q (%d runs)", heaps, want, len(r.made))
	}
	for _, c := range [][]string{{"q0", "1g", "chosen"}, {"q0", "2g", "keeps its speed"}, {"q0", "768m", "slower by more than 10 %"}, {"q5", "3g", "chosen"}, {"q5", "2g", "fails"}} {
		var outcome string
		for _, sec := range report(s, nil) {
			for _, row := range sec.rows {
				if sec.title == "Heaps tried for Flink" && row[0] == c[0] && row[4] == c[1] {
					outcome = row[8]
				}
			}
		}
		if outcome != c[2] {
			t.Errorf("%s with %s: %q, want %q", c[0], c[1], outcome, c[2])
		}
	}
	if got := row(s, "Memory", "q5"); got == nil || got[7] != "3g" {
		t.Errorf("memory of q5 is %q, want a heap of 3g", got)
	}
}

func TestMedianAndRatio(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median %v, want 2", got)
	}
	if got := median([]float64{4, 1, 2, 10}); got != 3 {
		t.Errorf("median %v, want 3", got)
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(ratio(1, 0)) || !math.IsNaN(ratio(-1, 2)) || !math.IsNaN(ratio(math.NaN(), 1)) {
		t.Error("a figure of nothing")
	}
	if got := ratio(3, 2); got != 1.5 {
		t.Errorf("ratio %v, want 1.5", got)
	}
}

func TestLogNamesEachRun(t *testing.T) {
	var log bytes.Buffer
	o, err := parse([]string{"-queries", "q0", "-rounds", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(o, &scripted{script: func(j job, _ int) (string, error) {
		if j.side == flink {
			return "", errors.New("no Java")
		}
		return printed(j, 0.5, 30), nil
	}}, definition, &log)
	if err := s.perform(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"millrace 0.500 CPU s/M, 2000000 events/s, 30 MB, digest 0000000000000abc", "FAILED: no Java"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log\n%s, want %q in it", log.String(), want)
		}
	}
}
