package why

import (
	"fmt"
	"strings"
	"time"
)

// Kind names the cause of a stall for programs; Cause.Text says it in words.
type Kind string

// The kinds of causes.
const (
	Healthy         Kind = "healthy"             // results come, or nothing is known that keeps them back
	JobEnded        Kind = "job ended"           // finished, cancelled or failed for good
	JobStarting     Kind = "job starting"        // restores state or commits again what the checkpoint holds
	RestartLoop     Kind = "restart loop"        // the job fails and starts again
	TaskOpening     Kind = "task opening"        // a task takes long to restore its state or to open its operators
	InputEnded      Kind = "input ended"         // the step has had all its input
	FunctionStuck   Kind = "function stuck"      // a function of the user or of a connector has not returned
	CallsOut        Kind = "calls out"           // an operator waits for calls that have not come back
	Bottleneck      Kind = "bottleneck"          // a task cannot keep up with its input
	HotKey          Kind = "hot key"             // a task cannot keep up, and one key has most of its records
	SilentSplit     Kind = "silent split"        // a split without records holds the watermark back
	SilentSource    Kind = "silent source"       // a source has no records at all
	NoSplits        Kind = "no splits"           // a source has found nothing to read
	AllIdle         Kind = "all idle"            // every input is idle: the watermark stays until records come
	NoWatermarks    Kind = "no watermarks"       // records come, but the strategy makes no watermark of them
	TimestampUnit   Kind = "timestamp unit"      // timestamps near 1970: seconds taken for milliseconds
	FarAhead        Kind = "timestamp far ahead" // one record far in the future makes all others late
	AllLate         Kind = "all late"            // most records come too late
	Aligned         Kind = "watermark alignment" // the source is ahead of its group and waits for the slowest
	BarrierWaits    Kind = "barrier waits"       // a checkpoint waits for the barrier of a slow input
	CheckpointWaits Kind = "checkpoint"          // output waits for a checkpoint that does not complete
	NoRecords       Kind = "no records"          // a step before passes nothing on
)

// Cause is what keeps a step from giving results.
type Cause struct {
	Kind Kind `json:"kind"`
	// Step, Subtask and Split are where it lies; Subtask is -1 and the others are empty where it lies nowhere in particular.
	Step    string `json:"step,omitempty"`
	Subtask int    `json:"subtask"`
	Split   string `json:"split,omitempty"`
	// Since is when it began, as far as that is known.
	Since time.Time `json:"since,omitzero"`
	// Text is one sentence, Remedy what to do; the latter is empty when there is nothing to.
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// String is the text, with the remedy behind a semicolon.
func (c Cause) String() string {
	if c.Remedy == "" {
		return c.Text
	}
	return c.Text + "; " + c.Remedy
}

// Report is the answer to: why does this step give no results?
type Report struct {
	Step  string    `json:"step"`
	At    time.Time `json:"at"`
	Cause Cause     `json:"cause"`
	// Trail leads from the step to the cause, one sentence for each step on the way.
	Trail      []string    `json:"trail,omitempty"`
	Job        Job         `json:"job"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	// Tasks are those that run the step, by subtask.
	Tasks []Task `json:"tasks,omitempty"`
}

// Healthy reports whether nothing was found that keeps the step from giving results.
func (r Report) Healthy() bool { return r.Cause.Kind == Healthy }

// String is the report as text for a person: the cause, the way to it, then the facts of each subtask.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", r.Cause.Kind, r.Cause)
	for _, t := range r.Trail {
		fmt.Fprintf(&b, "  ← %s\n", t)
	}
	fmt.Fprintf(&b, "job %q: %s\n", r.Job.Name, r.Job.text(r.At))
	if r.Checkpoint != nil {
		fmt.Fprintf(&b, "%s\n", r.Checkpoint.text(r.At))
	}
	for i := range r.Tasks {
		r.Tasks[i].write(&b, r.Step, r.At)
	}
	return b.String()
}

func (j Job) text(at time.Time) string {
	s := fmt.Sprintf("%s for %s, %d restarts, %d checkpoints", j.Phase, span(at, j.Since), j.Restarts, j.Checkpoints)
	if !j.LastCheckpointAt.IsZero() {
		s += ", the last " + span(at, j.LastCheckpointAt) + " ago"
	}
	if j.LastFailure != "" {
		s += fmt.Sprintf("; last failure %s ago: %s", span(at, j.LastFailureAt), j.LastFailure)
	}
	if j.Silent {
		s += "; its own goroutine does not answer"
	}
	return s
}

func (c *Checkpoint) text(at time.Time) string {
	s := fmt.Sprintf("checkpoint %d: %s for %s", c.ID, c.State, span(at, c.Began))
	if n := len(c.Missing); n > 0 {
		s += fmt.Sprintf(", not acknowledged by %s", places(c.Missing))
	}
	if len(c.Committing) > 0 {
		s += ", sinks " + strings.Join(c.Committing, ", ")
	}
	return s
}

// places lists some places.
func places(ps []Place) string {
	const shown = 5
	var out []string
	for i, p := range ps {
		if i == shown {
			out = append(out, fmt.Sprintf("%d more", len(ps)-shown))
			break
		}
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

// String is `step "name", subtask 0`.
func (p Place) String() string { return fmt.Sprintf("step %q, subtask %d", p.Step, p.Subtask) }

// write adds the facts of one task; of its operators those of the step.
func (t *Task) write(b *strings.Builder, step string, at time.Time) {
	fmt.Fprintf(b, "subtask %d: %s for %s", t.Subtask, t.Activity, span(at, t.Since))
	if t.For != nil {
		fmt.Fprintf(b, " in front of %s", *t.For)
	}
	if t.Function != "" {
		fmt.Fprintf(b, " in %s", t.Function)
	}
	fmt.Fprintf(b, ", %d records", t.Records)
	if !t.LastRecord.IsZero() {
		fmt.Fprintf(b, ", the last %s ago", span(at, t.LastRecord))
	}
	fmt.Fprintf(b, ", %d of %d batches queued\n", t.Queued, t.QueueBound)
	if t.Barrier != 0 {
		fmt.Fprintf(b, "  waits for the barrier of checkpoint %d on all inputs for %s\n", t.Barrier, span(at, t.BarrierSince))
	}
	if a := t.Alignment; a != nil {
		fmt.Fprintf(b, "  watermark alignment %q: at %s, the group at %s, %d splits paused\n", a.Group, a.Watermark, a.GroupWatermark, len(a.Paused))
	}
	if k := t.Key; k != nil {
		fmt.Fprintf(b, "  busiest key %s: %.0f%% of recent records (%d samples)\n", k.name(), 100*k.Share, k.Samples)
	}
	for _, o := range t.Operators {
		if o.Step == step {
			o.write(b, at)
		}
	}
	for _, c := range t.Channels {
		fmt.Fprintf(b, "  input %d, subtask %d of %q%s: %s\n", c.Input, c.Subtask, c.Step, port(c.Port), c.text(at))
	}
	for _, s := range t.Splits {
		fmt.Fprintf(b, "  split %q: %s\n", s.ID, s.text(at))
	}
	if !t.Answered && t.Activity != Stopped {
		b.WriteString("  timers and splits are not known: the task does not answer\n")
	}
}

func port(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (side output %q)", name)
}

func (k *Key) name() string {
	if k.Text == "" {
		return fmt.Sprintf("with hash %#x, key group %d", k.Hash, k.Group)
	}
	return fmt.Sprintf("%q (key group %d)", k.Text, k.Group)
}

func (o Operator) write(b *strings.Builder, at time.Time) {
	fmt.Fprintf(b, "  watermark %s for %s, %d late records", o.Watermark, span(at, o.Since), o.Late)
	if o.NextEventTimer != nil {
		fmt.Fprintf(b, ", next event-time timer %s", *o.NextEventTimer)
	}
	if o.NextProcessingTimer != nil {
		fmt.Fprintf(b, ", next processing-time timer %s", *o.NextProcessingTimer)
	}
	b.WriteByte('\n')
	for _, x := range []struct {
		what  string
		since time.Time
	}{{o.Waits, o.WaitsSince}, {o.Holds, o.holding()}} {
		if x.what != "" {
			fmt.Fprintf(b, "  waits for %s, for %s\n", x.what, span(at, x.since))
		}
	}
}

func (c Channel) text(at time.Time) string {
	s := fmt.Sprintf("watermark %s for %s", c.Watermark, span(at, c.Since))
	switch {
	case c.Ended:
		return "ended"
	case c.Idle:
		s += ", idle for " + span(at, c.IdleSince)
	}
	if c.AtBarrier {
		s += ", waits behind a barrier"
	}
	if c.LastRecord.IsZero() {
		return s + ", no record yet"
	}
	return s + ", last record " + span(at, c.LastRecord) + " ago"
}

func (s Split) text(at time.Time) string {
	out := "watermark " + s.Watermark.String()
	if s.Idle {
		out += ", idle"
	}
	if s.Paused {
		out += ", paused by watermark alignment"
	}
	if s.LastRecord.IsZero() {
		return out + ", no record for " + span(at, s.Since)
	}
	return out + ", last record " + span(at, s.LastRecord) + " ago"
}

// span is the time from since to at, rounded as a person would.
func span(at, since time.Time) string {
	d := at.Sub(since)
	switch {
	case since.IsZero():
		return "an unknown time"
	case d < 0:
		d = 0
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
