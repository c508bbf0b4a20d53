package main

import (
	"strings"
	"testing"
)

// TestMeasure: the digest is that of testdata/expected.json of package reference; rates and times are those of a run that happened.
func TestMeasure(t *testing.T) {
	f, err := measure("q7", 1_000_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if f.Digest != "6cdb5c8e3d8bea7f" || f.Count != 10 {
		t.Errorf("digest %s of %d rows, want 6cdb5c8e3d8bea7f of 10", f.Digest, f.Count)
	}
	if f.CPUSPerMillion <= 0 || f.CPUS < 0.75*f.CPUSPerMillion || f.EventsPerS <= 0 || f.SteadyPerS <= 0 {
		t.Errorf("figures %+v do not fit together", f)
	}
	if _, err := measure("q3", 10, 1); err == nil || !strings.Contains(err.Error(), "q3") {
		t.Errorf("error %v, want one that names q3", err)
	}
}
