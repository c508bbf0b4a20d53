package system

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/pipeline"
)

func TestAbsolute(t *testing.T) {
	for _, c := range []struct{ place, endpoint, want string }{
		{"/a/b", "", "file:///a/b"},
		{"file:///a", "http://h:1", "file:///a"},
		{"s3://b/p", "", "s3://b/p"},
		{"s3://b/p", "http://h:1", "s3://b/p?endpoint=http%3A%2F%2Fh%3A1"},
		{"s3://b/p?endpoint=http://x:2", "http://h:1", "s3://b/p?endpoint=http://x:2"},
	} {
		if got, err := absolute(c.place, c.endpoint); err != nil || got != c.want {
			t.Errorf("absolute(%q, %q) = %q, %v, want %q", c.place, c.endpoint, got, err, c.want)
		}
	}
}

func TestPollKeepsAmazonsLimit(t *testing.T) {
	for endpoint, slow := range map[string]bool{"": false, "http://127.0.0.1:1": false, "https://dynamodb.eu-west-1.amazonaws.com": true} {
		if got := (Config{DynamoDB: endpoint}).poll(); slow != (got >= 200*time.Millisecond) {
			t.Errorf("%q is polled every %v", endpoint, got)
		}
	}
}

func TestReportVerdict(t *testing.T) {
	for _, c := range []struct {
		r       Report
		ok      bool
		verdict string
	}{
		{Report{}, true, "The audit holds."},
		{Report{Lost: 1}, false, "FAILS"},
		{Report{OutOfOrder: 1}, false, "FAILS"},
		{Report{VariablesWrong: 1}, false, "FAILS"},
		{Report{Unexpected: 1, allowDuplicates: true}, false, "FAILS"},
		{Report{Duplicated: 1}, false, "FAILS"},
		{Report{Duplicated: 1, allowDuplicates: true}, true, "allows"},
	} {
		var out bytes.Buffer
		c.r.Discrepancies = []audit.Discrepancy{{Kind: "some kind", Count: 2, IDs: []string{"d-1", "d-2"}}}
		if err := c.r.WriteTable(&out); err != nil {
			t.Fatal(err)
		}
		if c.r.OK() != c.ok || !strings.Contains(out.String(), c.verdict) || !strings.Contains(out.String(), "some kind: 2: d-1, d-2") {
			t.Errorf("%+v: OK is %v, want %v with %q in\n%s", c.r, c.r.OK(), c.ok, c.verdict, &out)
		}
	}
}

// TestGateHoldsTheLoadForTheKills checks that a case of a later part waits until the kill before it, and that all go after the last.
func TestGateHoldsTheLoadForTheKills(t *testing.T) {
	s := &supervisor{options: pipeline.Options{Checkpoint: time.Millisecond}, kills: 1, rnd: rand.New(rand.NewPCG(1, 1)), since: time.Now().Add(-time.Hour), done: make(chan struct{})}
	gate := s.gate(100)
	if err := gate(t.Context(), 49); err != nil {
		t.Errorf("case 49 of the first half: %v", err)
	}
	passed := make(chan error, 1)
	go func() { passed <- gate(t.Context(), 50) }()
	select {
	case err := <-passed:
		t.Fatalf("case 50 passed before the kill: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.mu.Lock()
	s.killed = 1
	s.mu.Unlock()
	if err := <-passed; err != nil {
		t.Errorf("case 50 after the kill: %v", err)
	}
	if err := gate(t.Context(), 99); err != nil {
		t.Error(err)
	}
	s.killed = 0
	close(s.done)
	if err := gate(t.Context(), 50); err == nil {
		t.Error("the gate waits for a kill of a pipeline that has ended")
	}
}

func TestPeakRSSOfThisProcess(t *testing.T) {
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = 1
	}
	if got := peakRSS(1 << 30); got != 0 {
		t.Errorf("peak of a process that does not exist = %d", got)
	}
	if got := peakRSS(os.Getpid()); got < int64(len(block)) {
		t.Errorf("peak = %d bytes, want at least the %d just written", got, len(block))
	}
}
