package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	o, err := parse(strings.Fields("-queries q5,q0,q1 -backend heap,rocksdb -parallelism 1,2 -checkpoint 1s -rate 10"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range plan(o) {
		got = append(got, v.String())
	}
	want := []string{
		"q0 memory p=1", "q0 memory p=2",
		"q5 memory p=1", "q5 memory p=1 checkpoint=1s", "q5 memory p=2", "q5 memory p=2 checkpoint=1s", "q1 memory p=1", "q1 memory p=2",
		"q5 pebble p=1", "q5 pebble p=1 checkpoint=1s", "q5 pebble p=2", "q5 pebble p=2 checkpoint=1s",
		"q5 memory p=1 rate=10", "q5 memory p=2 rate=10", "q0 memory p=1 rate=10", "q0 memory p=2 rate=10", "q1 memory p=1 rate=10", "q1 memory p=2 rate=10",
		"q5 pebble p=1 rate=10", "q5 pebble p=2 rate=10",
	}
	if !slices.Equal(got, want) {
		t.Errorf("plan %q, want %q", got, want)
	}
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		flags string
		v     variant
		side  side
		want  int64
	}{
		{"", variant{query: "q0", backend: "memory"}, flink, 20_000_000},
		{"", variant{query: "q8", backend: "memory"}, flink, 10_000_000},
		{"", variant{query: "q5", backend: "memory"}, millrace, 5_000_000},
		{"", variant{query: "q8", backend: "pebble"}, millrace, 4_000_000},
		{"-events 7", variant{query: "q5"}, floored, 7},
		{"-events flink=8", variant{query: "q5"}, flink, 8},
		{"-events flink=8", variant{query: "q5"}, millrace, 5_000_000},
		{"-events flink=8,millrace=9", variant{query: "q5"}, millrace, 9},
		{"-events 7 -rate-time 2s", variant{query: "q5", rate: 100}, flink, 200},
	} {
		o, err := parse(strings.Fields(c.flags), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := events(o, c.v, c.side); got != c.want {
			t.Errorf("%q: %s on %s has %d events, want %d", c.flags, c.v, c.side, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for flags, want := range map[string]string{
		"-queries q6":                     `"q6"`,
		"-queries ,":                      "-queries is empty",
		"-backend disk":                   `"disk"`,
		"-parallelism 0":                  `"0"`,
		"-sides spark":                    `"spark"`,
		"-rate -1":                        `"-1"`,
		"-events spark=3":                 `"spark=3"`,
		"-events 0":                       `"0"`,
		"-rounds 0":                       "-rounds is 0",
		"-checkpoint -1s":                 "-checkpoint is -1s",
		"-checkpoint 1us":                 "-checkpoint is 1µs",
		"-rate-time 0s":                   "-rate-time is 0s",
		"-heap 4":                         `-heap is "4"`,
		"-heap g":                         `-heap is "g"`,
		"more":                            `"more"`,
		"-rounds 0 -heap 1x -parallelism": "flag needs an argument",
	} {
		if _, err := parse(strings.Fields(flags), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", flags, err, want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Setenv("JOPTS", "-Xint")
	p := &processes{nexmark: "nexmark", floor: "by-hand", flink: "run.sh", pin: []string{"taskset", "-c", "0-1"}, managed: "2g", scratch: "dir"}
	v := variant{query: "q5", backend: "pebble", parallelism: 2, checkpoint: time.Second, rate: 100_000}
	for _, c := range []struct {
		j         job
		args, env string
	}{
		{job{variant: v, side: millrace, events: 9, seed: 3},
			"taskset -c 0-1 nexmark -query q5 -events 9 -seed 3 -parallelism 2 -backend pebble -checkpoint 1s -json -rate 100000", "TMPDIR=dir"},
		{job{variant: v, side: flink, events: 9, seed: 3, heap: "1g"},
			"taskset -c 0-1 run.sh --query q5 --events 9 --seed 3 --parallelism 2 --backend rocksdb --managed 2g --checkpoint-ms 1000 --rate 100000",
			"TMPDIR=dir HEAP=1g JOPTS=-Xint -Djava.io.tmpdir=dir"},
		{job{variant: v.base(), side: floored, events: 9, seed: 3}, "taskset -c 0-1 by-hand -query q0 -events 9 -seed 3", "TMPDIR=dir"},
	} {
		args, env := p.arguments(c.j)
		if got := strings.Join(args, " "); got != c.args {
			t.Errorf("arguments %q, want %q", got, c.args)
		}
		if got := strings.Join(env, " "); got != c.env {
			t.Errorf("environment %q, want %q", got, c.env)
		}
	}
}

func TestRunnerReportsWhatAProgramWrote(t *testing.T) {
	p := &processes{floor: "go", scratch: t.TempDir()}
	j := job{variant: variant{query: "q0"}.base(), side: floored}
	_, err := p.run(t.Context(), j)
	if err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "-query") {
		t.Errorf("error %v, want the exit status and what go wrote about -query", err)
	}
	if got := excerpt(strings.Repeat("ab \n c", 200)); len(got) > stderrBytesMax+4 || !strings.HasPrefix(got, "ab c") || !strings.HasSuffix(got, "…") {
		t.Errorf("excerpt %q, want the beginning in one line", got)
	}
}

var rendered = []section{
	{title: "First", notes: []string{"One.", "Two."}},
	{title: "Second", head: []string{"query", "n", "why"}, rows: [][]string{{"q0", "10", "a|b"}, {"q18", "–", "longer"}}},
}

func TestMarkdown(t *testing.T) {
	want := `### First

One.
Two.

### Second

| query | n | why |
|---|--:|--:|
| q0 | 10 | a\|b |
| q18 | – | longer |

`
	if got := markdown(rendered); got != want {
		t.Errorf("Markdown\n%s\nwant\n%s", got, want)
	}
}

func TestText(t *testing.T) {
	want := `FIRST
One.
Two.

SECOND
query   n  why
q0     10  a|b
q18     –  longer

`
	if got := text(rendered); got != want {
		t.Errorf("text\n%s\nwant\n%s", got, want)
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		times(9.994): "9.99×", times(10.4): "10×", number(1.25, 1): "1.2", number(1/zero(), 1): "–", cost(1.5, 1): "+50 %", cost(1, 0): "–", cost(0.9, 1): "-10 %",
		latency(-1): "–", latency(0.25): "0.2",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func zero() float64 { return 0 }
