package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/system"
)

// TestMain lets the test's program be the pipeline's child process, as the command itself is.
func TestMain(m *testing.M) {
	if status, isChild := system.RunChild(os.Stdin, os.Stdout, os.Stderr); isChild {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// lastLine runs the command and returns the report in the last line of its standard output.
func lastLine(t *testing.T, args ...string) (status int, r system.Report, fields map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	status = run(ctx, append(args, "-json", "-http", "127.0.0.1:0"), &stdout, &stderr)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	last := lines[len(lines)-1]
	if err := json.Unmarshal([]byte(last), &fields); err != nil {
		t.Fatalf("status %d, last line %q: %v\n%s", status, last, err, &stderr)
	}
	if err := json.Unmarshal([]byte(last), &r); err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Errorf("status %d\n%s", status, &stderr)
	}
	return status, r, fields
}

func TestEndToEndUnderAKill(t *testing.T) {
	_, r, fields := lastLine(t, "-decisions", "300", "-customers", "40", "-invalid", "0.05", "-crash", "1", "-checkpoint", "200ms", "-state", "pebble")
	if r.Lost != 0 || r.Duplicated != 0 || r.OutOfOrder != 0 || r.VariablesWrong != 0 || r.Unexpected != 0 {
		t.Errorf("the audit fails: %+v", r)
	}
	if r.Stored+r.Invalid != 300 || r.Decisions != 300 || r.Published != r.Stored || r.Archived != r.Stored || r.Versions <= r.Stored {
		t.Errorf("300 cases give %+v", r)
	}
	if r.Invalid == 0 || r.DeadLetter != r.Invalid || r.Restarts < 1 || r.Checkpoints < 1 || r.Variables == 0 {
		t.Errorf("the run exercises too little: %+v", r)
	}
	for _, name := range strings.Fields(`decisions stored published archived invalid dead_letter lost duplicated out_of_order variables variables_wrong denied
		api_p50_ms api_p99_ms visible_p50_ms visible_p99_ms variable_visible_p99_ms checkpoints restarts wall_s decisions_per_s peak_rss_mb`) {
		if _, ok := fields[name].(float64); !ok {
			t.Errorf("the report has %s = %v, want a number", name, fields[name])
		}
	}
	if r.PeakRSSMB < 10 || r.VisibleP99MS <= 0 || r.APIP99MS <= 0 {
		t.Errorf("measured nothing: %+v", r)
	}
}

// TestArchiveOfTwoRuns checks that a second run over an archive that holds the first one's files is audited by itself.
func TestArchiveOfTwoRuns(t *testing.T) {
	archive := "file://" + t.TempDir()
	for range 2 {
		_, r, _ := lastLine(t, "-decisions", "60", "-customers", "10", "-checkpoint", "100ms", "-archive", archive, "-delivery", "at-least-once")
		if r.Archived != 60 || r.Published != 60 || !r.OK() {
			t.Errorf("report %+v, want 60 decisions", r)
		}
	}
}

// TestCheckpointsOfAnotherRun: embedded services begin empty, so checkpoints that are there cannot be theirs.
func TestCheckpointsOfAnotherRun(t *testing.T) {
	args := []string{"-decisions", "20", "-customers", "5", "-checkpoint", "100ms", "-checkpoint-dir", t.TempDir()}
	lastLine(t, args...)
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), append(args, "-json"), &stdout, &stderr)
	if status != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "holds checkpoints of another run") {
		t.Errorf("status %d, output %q, %q", status, &stdout, &stderr)
	}
}

func TestBadFlags(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"-decisions", "-1", "-state", "disk", "-invalid", "NaN", "-checkpoint", "1ns", "-archive", "ftp://x", "-delivery", "maybe"}, &stdout, &stderr)
	if status != 2 || stdout.Len() > 0 {
		t.Errorf("status %d, output %q, want 2 and none", status, &stdout)
	}
	for _, name := range []string{"-decisions", "-state", "-invalid", "-checkpoint", "-archive", "-delivery"} {
		if !strings.Contains(stderr.String(), name+" is ") {
			t.Errorf("%s is not named in %q", name, &stderr)
		}
	}
	if status := run(t.Context(), []string{"-http", "nowhere:http:1"}, &stdout, &stderr); status != 1 || !strings.Contains(stderr.String(), "-http") {
		t.Errorf("a bad address gives status %d, %q", status, &stderr)
	}
}
