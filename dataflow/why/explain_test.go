package why_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/dataflow/why"
)

var at = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return at.Add(-d) }

func mark(t time.Time) why.Watermark { return why.Watermark(t.UnixMilli()) }

// chain is a healthy job of a source, a window behind an exchange by key and a sink, two subtasks each.
func chain() *why.Snapshot {
	s := &why.Snapshot{At: at, Job: why.Job{Name: "orders", Phase: why.Running, Since: ago(time.Hour)}}
	names := []string{"source", "window", "sink"}
	for i, n := range names {
		step := why.Step{Name: n, Task: n, Source: i == 0, Sink: i == 2, MakesWatermarks: i == 0}
		if i == 1 {
			step.NeedsWatermarks = "windows"
		}
		if i > 0 {
			step.From = []why.From{{Step: names[i-1]}}
		}
		s.Steps = append(s.Steps, step)
		for sub := range 2 {
			t := why.Task{Place: why.Place{Step: n, Subtask: sub}, Activity: why.Resting, Since: ago(time.Millisecond), Answered: true, Records: 1000,
				LastRecord: ago(time.Second), Began: ago(time.Hour), Batches: 10, BusyTime: time.Second, QueueBound: 8,
				Operators: []why.Operator{{Step: n, Watermark: mark(ago(time.Second)), Since: ago(time.Second)}}}
			if i == 0 {
				t.Splits = []why.Split{{ID: fmt.Sprint("s-", sub), Watermark: mark(ago(time.Second)), LastRecord: ago(time.Second), Since: ago(time.Hour)}}
			}
			for from := range 2 {
				if i > 0 {
					t.Channels = append(t.Channels, why.Channel{From: why.From{Step: names[i-1]}, Subtask: from, Watermark: mark(ago(time.Second)),
						Since: ago(time.Second), LastRecord: ago(time.Second)})
				}
			}
			s.Tasks = append(s.Tasks, t)
		}
	}
	return s
}

// task is the task of a step.
func task(s *why.Snapshot, step string, subtask int) *why.Task {
	for i := range s.Tasks {
		if s.Tasks[i].Place == (why.Place{Step: step, Subtask: subtask}) {
			return &s.Tasks[i]
		}
	}
	panic("no such task")
}

// block makes a task wait for room in front of another.
func block(s *why.Snapshot, step string, subtask int, d time.Duration, to string, toSubtask int) {
	t := task(s, step, subtask)
	t.Activity, t.Since, t.For = why.Blocked, ago(d), &why.Place{Step: to, Subtask: toSubtask}
}

// TestExplain changes the healthy job in one place each and asks for every step.
func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *why.Snapshot)
		ask    string
		kind   why.Kind
		step   string
		words  string
	}{
		"nothing": {func(*why.Snapshot) {}, "window", why.Healthy, "window", "its last record came 1s ago"},
		"the sink is stuck, the source waits for the window and that for the sink": {func(s *why.Snapshot) {
			block(s, "source", 0, 8*time.Second, "window", 1)
			block(s, "window", 1, 9*time.Second, "sink", 1)
			k := task(s, "sink", 1)
			k.Activity, k.Since, k.Function, k.In = why.Working, ago(20*time.Second), "main.write", "sink"
		}, "source", why.FunctionStuck, "sink", `step "sink", subtask 1 has not come back in main.write for 20s`},
		"a long batch is no fault of a task whose batches are long": {func(s *why.Snapshot) {
			k := task(s, "window", 0)
			k.Activity, k.Since, k.BusyTime = why.Working, ago(20*time.Second), 200*time.Second
		}, "window", why.Healthy, "window", "healthy"},
		"two tasks that wait for each other do not make the search endless": {func(s *why.Snapshot) {
			block(s, "window", 0, time.Minute, "sink", 0)
			block(s, "sink", 0, time.Minute, "window", 0)
		}, "window", why.Bottleneck, "sink", "bottleneck"},
		"restoring": {func(s *why.Snapshot) {
			k := task(s, "window", 1)
			k.Activity, k.Since = why.Opening, ago(time.Minute)
		}, "window", why.TaskOpening, "window", "restoring its state"},
		"a commit takes long": {func(s *why.Snapshot) {
			s.Checkpoint = &why.Checkpoint{ID: 7, Began: ago(time.Minute), State: why.Committing, Committing: []string{"sink"}}
		}, "window", why.CheckpointWaits, "sink", "checkpoint 7: committing for 1m, sinks sink"},
		"a checkpoint waits for a task": {func(s *why.Snapshot) {
			s.Checkpoint = &why.Checkpoint{ID: 7, Began: ago(time.Minute), State: why.Collecting, Missing: []why.Place{{Step: "window", Subtask: 1}}}
		}, "sink", why.CheckpointWaits, "window", `not acknowledged by step "window", subtask 1`},
		"committing sink whose checkpoints do not complete": {func(s *why.Snapshot) {
			s.Steps[2].Commits, s.Job.CheckpointEvery, s.Job.LastCheckpointAt = true, time.Minute, ago(10*time.Minute)
		}, "sink", why.CheckpointWaits, "sink", "none has completed for 10m"},
		"committing sink between two checkpoints": {func(s *why.Snapshot) {
			s.Steps[2].Commits, s.Job.CheckpointEvery, s.Job.LastCheckpointAt = true, time.Minute, ago(time.Minute)
		}, "sink", why.Healthy, "sink", "healthy"},
		"paused by alignment": {func(s *why.Snapshot) {
			task(s, "source", 0).Alignment = &why.Alignment{Group: "all", MaxDrift: time.Second, Paused: []string{"s-0"}, Since: ago(time.Minute),
				Slowest: &why.Place{Step: "slow", Subtask: 0}}
			for sub := range 2 {
				w := task(s, "window", sub)
				w.Operators[0].Since = ago(time.Minute)
				w.Channels[0].Watermark, w.Channels[0].Since = mark(ago(time.Minute)), ago(time.Minute)
			}
		}, "source", why.Aligned, "source", `because of step "slow", subtask 0`},
		"most are late":   {func(s *why.Snapshot) { task(s, "window", 1).Operators[0].Late = 600 }, "window", why.AllLate, "window", "600 of 1000 records"},
		"few are late":    {func(s *why.Snapshot) { task(s, "window", 1).Operators[0].Late = 400 }, "window", why.Healthy, "window", "healthy"},
		"starting":        {func(s *why.Snapshot) { s.Job.Phase, s.Job.Since = why.Starting, ago(time.Minute) }, "sink", why.JobStarting, "sink", "starting for 1m"},
		"failed for good": {func(s *why.Snapshot) { s.Job.Phase, s.Job.LastFailure = why.Ended, "disk full" }, "sink", why.JobEnded, "sink", "disk full"},
		"runs, but has just failed": {func(s *why.Snapshot) {
			s.Job.Failures, s.Job.LastFailure, s.Job.LastFailureAt, s.Job.LastFailureStep = 3, "disk full", ago(20*time.Second), "sink"
		}, "window", why.RestartLoop, "sink", "3 times in a row"},
	} {
		t.Run(name, func(t *testing.T) {
			s := chain()
			c.change(s)
			r, err := s.Explain(c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if r.Cause.Kind != c.kind || r.Cause.Step != c.step || !strings.Contains(r.Cause.String(), c.words) || r.Healthy() != (c.kind == why.Healthy) {
				t.Errorf("want %q at %q with %q, got\n%s", c.kind, c.step, c.words, r)
			}
		})
	}
}

func TestExplainUnknownStep(t *testing.T) {
	_, err := chain().Explain("nobody")
	if unknown := new(why.UnknownStepError); !errors.As(err, &unknown) || len(unknown.Steps) != 3 || !strings.Contains(err.Error(), `no step "nobody"`) {
		t.Errorf("got %v", err)
	}
}

// TestReportAsJSON: times are RFC 3339, watermarks too or words, and what is unknown is left out.
func TestReportAsJSON(t *testing.T) {
	s := chain()
	task(s, "window", 0).Operators[0].Watermark = why.NoWatermark
	task(s, "window", 1).Operators[0].Watermark = why.EndOfInput
	r, err := s.Explain("window")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"at":"2030-05-01T12:00:00Z"`, `"kind":"healthy"`, `"watermark":"none"`, `"watermark":"end of input"`, `"watermark":"2030-05-01T11:59:59.000Z"`,
		`"activity":"waiting for input"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	for _, not := range []string{"nextEventTimer", "0001-01-01", "holds"} {
		if strings.Contains(string(text), not) {
			t.Errorf("%s is in %s", not, text)
		}
	}
}

// A report names the cause, the way to it and the facts.
func ExampleReport_String() {
	s := chain()
	block(s, "window", 1, 9*time.Second, "sink", 0)
	k := task(s, "sink", 0)
	k.Activity, k.Since, k.Function, k.In, k.Queued = why.Working, ago(20*time.Second), "main.(*archive).Write", "sink", 8
	r, err := s.Explain("window")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Cause.Text)
	fmt.Println(r.Trail[0])
	// Output:
	// step "sink", subtask 0 has not come back in main.(*archive).Write for 20s
	// step "window", subtask 1 has been waiting 9s for room in front of step "sink", subtask 0
}
