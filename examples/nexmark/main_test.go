package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/examples/nexmark/internal/bench"
)

// TestJSON checks that a run prints one object with what it gave, and leaves nothing but the profile behind. The digest is that of q2 over the first
// million events of seed 1 as SPEC.md's vectors have it.
func TestJSON(t *testing.T) {
	dir := t.TempDir()
	profile := filepath.Join(dir, "cpu.pprof")
	var out, errs bytes.Buffer
	args := "-query q2 -events 1000000 -parallelism 2 -backend pebble -checkpoint 50ms -seed 1 -json -dir " + dir + " -cpuprofile " + profile
	if status := run(t.Context(), strings.Fields(args), &out, &errs); status != 0 {
		t.Fatalf("exit status %d: %s", status, errs.String())
	}
	var r bench.Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if r.Digest != "2264381d4b87c14f" || r.Count != 6944 || r.Events != 1_000_000 || r.Parallelism != 2 || r.CheckpointMS != 50 {
		t.Errorf("result is %+v", r)
	}
	if !(r.Wall > 0 && r.CPU > 0 && r.SteadyEventsPerS > 0 && r.SteadyCPUPerM > 0 && r.PeakRSS > 0 && r.FirstEvent > 0) {
		t.Errorf("a figure is missing in %+v", r)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "cpu.pprof" {
		t.Errorf("%v in the folder (%v), want the profile alone", files, err)
	}
}

// TestRefused checks that a command line that says something wrong is refused with what is wrong, before anything runs.
func TestRefused(t *testing.T) {
	for args, want := range map[string]string{
		"-query q6":                `no query "q6"`,
		"-queries q5":              "flag provided but not defined: -queries",
		"-query q5 10":             `argument "10" is no flag`,
		"-backend rocksdb":         `no backend "rocksdb"`,
		"-transport pigeon":        `no transport "pigeon"`,
		"-parallelism 1000":        "Parallelism is 1000",
		"-events 10 -splits -1":    "Splits -1",
		"-checkpoint 1ms":          "Interval is 1ms",
		"-events ten":              `invalid value "ten"`,
		"-backend pebble -cache 1": "CacheBytes",
	} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), strings.Fields(args), &out, &errs); status == 0 || out.Len() > 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: exit status %d, printed %q and the error %q, want one that says %q", args, status, out.String(), errs.String(), want)
		}
	}
}
