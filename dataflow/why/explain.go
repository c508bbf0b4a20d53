package why

import (
	"fmt"
	"strings"
	"time"
)

const (
	// moment is how long a task waits or works on one batch before that is worth a word, long before it counts as stuck.
	moment = time.Second
	long   = 5 * time.Second
	// quiet is how long records, or a watermark that is needed, may stay away before that is a stall.
	quiet = 10 * time.Second
)

// UnknownStepError says that the graph has no step of that name.
type UnknownStepError struct {
	Step  string
	Steps []string // those there are
}

// Error names the step and those there are.
func (e *UnknownStepError) Error() string {
	return fmt.Sprintf("why: the job has no step %q; its steps are %s", e.Step, strings.Join(e.Steps, ", "))
}

// Explain finds what keeps the step of that name from giving results. It looks at the step's own tasks first, then follows what they wait for:
// downstream for room, upstream for watermarks, barriers and records, until it finds a task that waits for no other. The error is an
// UnknownStepError.
func (s *Snapshot) Explain(step string) (Report, error) {
	f := &finder{s: s, tasks: map[Place]*Task{}, steps: map[string]*Step{}, seen: map[visit]bool{}}
	var names []string
	for i := range s.Steps {
		f.steps[s.Steps[i].Name] = &s.Steps[i]
		names = append(names, s.Steps[i].Name)
	}
	if f.steps[step] == nil {
		return Report{}, &UnknownStepError{step, names}
	}
	r := Report{Step: step, At: s.At, Job: s.Job, Checkpoint: s.Checkpoint}
	for i := range s.Tasks {
		t := &s.Tasks[i]
		f.tasks[t.Place] = t
		if t.Step == f.steps[step].Task {
			r.Tasks = append(r.Tasks, *t)
		}
	}
	c := f.job(step)
	if c == nil {
		c = f.step(step)
	}
	if c == nil {
		c = f.checkpoint(step)
	}
	if c == nil {
		c = f.restarted()
	}
	if c == nil {
		c = f.healthy(step)
	}
	r.Cause, r.Trail = *c, f.trail
	return r, nil
}

// finder follows what tasks wait for.
type finder struct {
	s     *Snapshot
	tasks map[Place]*Task
	steps map[string]*Step
	seen  map[visit]bool
	trail []string
}

// visit keeps the finder from going round.
type visit struct {
	Place
	what string
}

func (f *finder) first(p Place, what string) bool {
	v := visit{p, what}
	if f.seen[v] {
		return false
	}
	f.seen[v] = true
	return true
}

func (f *finder) note(format string, args ...any) {
	f.trail = append(f.trail, fmt.Sprintf(format, args...))
}

func (f *finder) age(t time.Time) time.Duration { return f.s.At.Sub(t) }

func (f *finder) span(t time.Time) string { return span(f.s.At, t) }

// job is a cause that concerns every step, nil if the job runs.
func (f *finder) job(step string) *Cause {
	j := &f.s.Job
	c := &Cause{Step: step, Subtask: -1, Since: j.Since}
	switch j.Phase {
	case Ended:
		c.Kind, c.Text = JobEnded, fmt.Sprintf("job %q has ended %s ago, with all its input processed or by a stop", j.Name, f.span(j.Since))
		if j.LastFailure != "" {
			c.Text = fmt.Sprintf("job %q has ended %s ago: %s", j.Name, f.span(j.Since), j.LastFailure)
			c.Remedy = "repair the cause and start the job again, it goes on from its last checkpoint"
		}
		return c
	case BackingOff:
		return f.loop()
	case Starting:
		if j.Failures > 0 {
			return f.loop()
		}
		c.Kind = JobStarting
		c.Text = fmt.Sprintf("job %q has been starting for %s: it looks for its checkpoint, or commits again what that holds", j.Name, f.span(j.Since))
		c.Remedy = "if this lasts, look at the checkpoint storage and at the targets of its sinks"
		return c
	}
	return nil
}

// loop is the cause of a job that fails and starts again.
func (f *finder) loop() *Cause {
	j := &f.s.Job
	c := &Cause{Kind: RestartLoop, Step: j.LastFailureStep, Subtask: -1, Since: j.LastFailureAt}
	c.Text = fmt.Sprintf("job %q fails and starts again, %d times in a row without a completed checkpoint; last failure %s ago: %s", j.Name, j.Failures,
		f.span(j.LastFailureAt), j.LastFailure)
	if j.Phase == BackingOff {
		c.Text += fmt.Sprintf("; the next attempt begins in %s", span(j.Next, f.s.At))
	}
	c.Remedy = "repair what the failure names"
	return c
}

// restarted is the cause of a job that runs now, after failures without a completed checkpoint since.
func (f *finder) restarted() *Cause {
	if f.s.Job.Failures == 0 || f.age(f.s.Job.LastFailureAt) > time.Minute {
		return nil
	}
	return f.loop()
}

// of are the tasks that run a step.
func (f *finder) of(step string) []*Task {
	var out []*Task
	for i := range f.s.Tasks {
		if t := &f.s.Tasks[i]; t.Step == f.steps[step].Task {
			out = append(out, t)
		}
	}
	return out
}

// look is a search for one kind of cause in a task, for one of its steps.
type look func(t *Task, step string) *Cause

// step looks at a step's tasks: at what stops them first, then at what they lack.
func (f *finder) step(step string) *Cause {
	for _, l := range []look{f.stopped, f.holding, f.congested, f.starved} {
		for _, t := range f.of(step) {
			trail := len(f.trail)
			if c := l(t, step); c != nil {
				return c
			}
			f.trail = f.trail[:trail]
		}
	}
	return nil
}

// holding is why a task that goes on keeps results of the step back: the step itself, or one before it in the same task.
func (f *finder) holding(t *Task, step string) *Cause {
	for _, l := range []look{f.late, f.unit, f.alignment, f.barrier, f.watermark} {
		if c := l(t, step); c != nil {
			return c
		}
	}
	for _, from := range f.steps[step].From {
		if s := f.steps[from.Step]; s != nil && s.Task == f.steps[step].Task {
			trail := len(f.trail)
			f.note("step %q takes its records from step %q, in the same task", step, from.Step)
			if c := f.holding(t, from.Step); c != nil {
				return c
			}
			f.trail = f.trail[:trail]
		}
	}
	return nil
}

// stopped is why the task does not go on with what it has.
func (f *finder) stopped(t *Task, step string) *Cause {
	if !f.first(t.Place, "stopped") {
		return nil
	}
	for _, o := range t.Operators {
		if o.Waits != "" && f.age(o.WaitsSince) >= moment {
			return f.callsOut(t, o, o.Waits, o.WaitsSince)
		}
	}
	age := f.age(t.Since)
	switch {
	case t.Activity == Opening && age >= long:
		return f.stuckOpening(t)
	case t.Activity == Blocked && age >= moment && t.For != nil:
		return f.downstream(t)
	case t.Activity == Working && age >= long && age >= 10*t.perBatch():
		return f.stuck(t)
	case t.Drained:
		return &Cause{Kind: InputEnded, Step: step, Subtask: t.Subtask, Since: t.LastRecord,
			Text: fmt.Sprintf("%s has had all its input: every source before it has ended, and its windows and event-time timers have fired", Place{step, t.Subtask})}
	}
	return nil
}

// perBatch is the mean time that a task worked on a batch, without the current one; 0 before the second.
func (t *Task) perBatch() time.Duration {
	if t.Batches < 2 {
		return 0
	}
	return t.BusyTime / time.Duration(t.Batches-1)
}

func (f *finder) callsOut(t *Task, o Operator, what string, since time.Time) *Cause {
	return &Cause{Kind: CallsOut, Step: o.Step, Subtask: t.Subtask, Since: since,
		Text:   fmt.Sprintf("step %q, subtask %d has been waiting for %s for %s", o.Step, t.Subtask, what, f.span(since)),
		Remedy: "look at the service that is called; a timeout ends calls that never answer, a larger capacity allows more at once"}
}

func (f *finder) stuckOpening(t *Task) *Cause {
	return &Cause{Kind: TaskOpening, Step: t.Step, Subtask: t.Subtask, Since: t.Since,
		Text:   fmt.Sprintf("%s has been restoring its state or opening its operators for %s%s", t.Place, f.span(t.Since), t.in()),
		Remedy: "wait if the state is large; else look at what the functions of OnOpen, sources and sinks connect to"}
}

// in says in which function a task is, if that is known.
func (t *Task) in() string {
	if t.Function == "" {
		return ""
	}
	return " in " + t.Function
}

// at is where a task is: in the step whose function runs, if that is known.
func (t *Task) at() Place {
	if t.In != "" {
		return Place{t.In, t.Subtask}
	}
	return t.Place
}

func (f *finder) stuck(t *Task) *Cause {
	p := t.at()
	c := &Cause{Kind: FunctionStuck, Step: p.Step, Subtask: p.Subtask, Since: t.Since}
	c.Text = fmt.Sprintf("%s has not come back%s for %s", p, t.in(), f.span(t.Since))
	if t.Function == "" {
		c.Text = fmt.Sprintf("%s has been with one batch of records, one watermark or one barrier for %s", p, f.span(t.Since))
	}
	c.Remedy = "a function of a task must not wait without a limit: give what it calls a timeout, or make the call asynchronous"
	return c
}

// downstream follows a task that waits for room.
func (f *finder) downstream(t *Task) *Cause {
	f.note("%s has been waiting %s for room in front of %s", t.Place, f.span(t.Since), *t.For)
	f.first(t.Place, "downstream")
	d := f.tasks[*t.For]
	if d == nil || !f.first(d.Place, "downstream") {
		return nil
	}
	if c := f.stopped(d, d.Step); c != nil {
		return c
	}
	if d.Activity == Blocked && d.For != nil {
		if c := f.downstream(d); c != nil {
			return c
		}
	}
	if d.Barrier != 0 && f.age(d.BarrierSince) >= moment {
		if c := f.barrierOf(d); c != nil {
			return c
		}
	}
	return f.slow(d)
}

// congested is the cause when somebody waits for room in front of the task now, or the task itself waits, if only for moments.
func (f *finder) congested(t *Task, _ string) *Cause {
	if t.Activity == Blocked && t.For != nil {
		return f.downstream(t)
	}
	for i := range f.s.Tasks {
		if u := &f.s.Tasks[i]; u.Activity == Blocked && u.For != nil && *u.For == t.Place {
			return f.slow(t)
		}
	}
	return nil
}

// tidy rounds a duration to what a person reads.
func tidy(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

const (
	hotShare   = 0.5
	hotSamples = 16
)

// slow is the cause that lies in a task which does not keep up.
func (f *finder) slow(t *Task) *Cause {
	p := t.at()
	c := &Cause{Kind: Bottleneck, Step: p.Step, Subtask: p.Subtask, Since: t.Since}
	pace := ""
	if per := t.perBatch(); per > 0 {
		pace = fmt.Sprintf(", %v a batch", tidy(per))
	}
	if k := t.Key; k != nil && k.Share >= hotShare && k.Samples >= hotSamples && f.siblings(t) {
		c.Kind, c.Step, c.Subtask = HotKey, t.Step, t.Subtask
		c.Text = fmt.Sprintf("%s cannot keep up: key %s has %.0f%% of its records%s", t.Place, k.name(), 100*k.Share, pace)
		c.Remedy = "one key is one subtask's work: aggregate before the exchange, split the key (append a small number and combine afterwards), or filter it out"
		return c
	}
	c.Text = fmt.Sprintf("%s is the bottleneck: those before it wait for room, it has %d of %d batches queued%s and has been%s with the current one for %s",
		p, t.Queued, t.QueueBound, pace, t.in(), f.span(t.Since))
	c.Remedy = "make it faster, raise its parallelism, or let it be: waiting for room loses nothing"
	return c
}

// siblings reports whether the task's step has more than one subtask: with one alone no key is in the way of others.
func (f *finder) siblings(t *Task) bool {
	for i := range f.s.Tasks {
		if u := &f.s.Tasks[i]; u.Step == t.Step && u.Subtask != t.Subtask {
			return true
		}
	}
	return false
}

// barrier is the cause when a checkpoint's barrier waits in front of the task.
func (f *finder) barrier(t *Task, _ string) *Cause {
	if t.Barrier == 0 || f.age(t.BarrierSince) < long {
		return nil
	}
	return f.barrierOf(t)
}

// barrierOf follows the inputs on which the barrier has not come.
func (f *finder) barrierOf(t *Task) *Cause {
	for _, ch := range t.Channels {
		if ch.AtBarrier {
			continue
		}
		u := f.sender(ch)
		if u == nil || !f.first(u.Place, "barrier") {
			continue
		}
		f.note("%s has held back inputs for %s, until the barrier of checkpoint %d comes on input %d from subtask %d of step %q", t.Place,
			f.span(t.BarrierSince), t.Barrier, ch.Input, ch.Subtask, ch.Step)
		if c := f.stopped(u, ch.Step); c != nil {
			return c
		}
		if u.Barrier != 0 {
			if c := f.barrierOf(u); c != nil {
				return c
			}
		}
		if u.Activity == Blocked && u.For != nil {
			if c := f.downstream(u); c != nil {
				return c
			}
		}
		p := u.at()
		return &Cause{Kind: BarrierWaits, Step: p.Step, Subtask: p.Subtask, Since: t.BarrierSince,
			Text: fmt.Sprintf("checkpoint %d waits for its barrier from %s, which has been %s%s for %s with %d batches queued", t.Barrier, p, u.Activity, u.in(),
				f.span(u.Since), u.Queued),
			Remedy: "the barrier comes behind the records that are queued: make that step faster, or let checkpoints be further apart"}
	}
	return nil
}

// sender is the task that feeds a channel.
func (f *finder) sender(c Channel) *Task {
	s := f.steps[c.Step]
	if s == nil {
		return nil
	}
	return f.tasks[Place{s.Task, c.Subtask}]
}

// starved is the cause when no records come to the task.
func (f *finder) starved(t *Task, step string) *Cause {
	since := t.LastRecord
	if since.IsZero() {
		since = t.Began
	}
	if f.age(since) < quiet || !f.first(t.Place, "starved") {
		return nil
	}
	if f.steps[step].Source || len(t.Channels) == 0 {
		return f.silent(t, since)
	}
	for _, ch := range t.Channels {
		u := f.sender(ch)
		if ch.Ended || u == nil {
			continue
		}
		n := len(f.trail)
		f.note("%s has had no record for %s from subtask %d of step %q", Place{step, t.Subtask}, f.span(since), ch.Subtask, ch.Step)
		for _, l := range []look{f.stopped, f.holding, f.starved} {
			if c := l(u, ch.Step); c != nil {
				return c
			}
		}
		f.trail = f.trail[:n]
	}
	return f.dropped(t, step, since)
}

// silent is the cause that lies in a source without records.
func (f *finder) silent(t *Task, since time.Time) *Cause {
	c := &Cause{Kind: SilentSource, Step: t.Step, Subtask: t.Subtask, Since: since}
	if t.Answered && len(t.Splits) == 0 {
		for _, u := range f.of(t.Step) { // subtasks without splits are no fault where others have some
			if len(u.Splits) > 0 || !u.Answered {
				return f.silent(u, later(u.LastRecord, u.Began))
			}
		}
		c.Kind = NoSplits
		c.Text = fmt.Sprintf("source %q, subtask %d has nothing to read: it has been given no split for %s", t.Step, t.Subtask, f.span(since))
		c.Remedy = "look at what the source is told to read: topic, table or folder, and its rights"
		return c
	}
	c.Text = fmt.Sprintf("source %q, subtask %d has had no record for %s in any of its %d splits", t.Step, t.Subtask, f.span(since), len(t.Splits))
	if len(t.Splits) == 1 {
		c.Split = t.Splits[0].ID
		c.Text = fmt.Sprintf("source %q, subtask %d has had no record for %s in its split %q", t.Step, t.Subtask, f.span(since), c.Split)
	}
	c.Remedy = "look at the producer"
	return c
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// dropped is the cause when those before the task have records and pass none on.
func (f *finder) dropped(t *Task, step string, since time.Time) *Cause {
	for _, ch := range t.Channels {
		u := f.sender(ch)
		if u == nil || ch.Ended || u.LastRecord.IsZero() || f.age(u.LastRecord) >= quiet {
			continue
		}
		return &Cause{Kind: NoRecords, Step: ch.Step, Subtask: ch.Subtask, Since: since,
			Text: fmt.Sprintf("%s has had no record for %s: %s takes records, the last %s ago, and passes none on to it", Place{step, t.Subtask}, f.span(since),
				Place{ch.Step, ch.Subtask}, f.span(u.LastRecord)),
			Remedy: "look at its filters, its windows and its conditions, and at its side outputs"}
	}
	return nil
}

// checkpoint is the cause when output waits for a checkpoint.
func (f *finder) checkpoint(step string) *Cause {
	j, cp := &f.s.Job, f.s.Checkpoint
	if cp != nil && f.age(cp.Began) >= quiet {
		c := &Cause{Kind: CheckpointWaits, Step: step, Subtask: -1, Since: cp.Began, Text: cp.text(f.s.At),
			Remedy: "look at the tasks or sinks it names; the output of exactly-once sinks becomes visible with the checkpoint"}
		if len(cp.Committing) > 0 {
			c.Step = cp.Committing[0]
		}
		for _, m := range cp.Missing {
			c.Step, c.Subtask = m.Step, m.Subtask
			if t := f.tasks[m]; t != nil {
				if found := f.stopped(t, m.Step); found != nil {
					f.note("%s", cp.text(f.s.At))
					return found
				}
			}
		}
		return c
	}
	if !f.steps[step].Commits {
		return nil
	}
	c := &Cause{Kind: CheckpointWaits, Step: step, Subtask: -1, Since: later(j.LastCheckpointAt, j.Since)}
	switch {
	case j.CheckpointEvery == 0:
		c.Text = fmt.Sprintf("the output of sink %q becomes visible with completed checkpoints, and none are taken", step)
		c.Remedy = "set Options.Checkpoint"
	case f.age(c.Since) > 2*j.CheckpointEvery+quiet:
		c.Text = fmt.Sprintf("the output of sink %q becomes visible with completed checkpoints, and none has completed for %s", step, f.span(c.Since))
		c.Remedy = fmt.Sprintf("one should every %v: look at the log and at the checkpoint storage", j.CheckpointEvery)
	default:
		return nil
	}
	return c
}

// healthy says what is known when nothing was found.
func (f *finder) healthy(step string) *Cause {
	f.trail = nil
	c := &Cause{Kind: Healthy, Step: step, Subtask: -1}
	var last time.Time
	mark, have := NoWatermark, false
	for _, t := range f.of(step) {
		last = later(last, t.LastRecord)
		for _, o := range t.Operators {
			if o.Step == step && (!have || o.Watermark < mark) {
				mark, have = o.Watermark, true
			}
		}
	}
	c.Text = fmt.Sprintf("step %q is healthy: nothing keeps it back", step)
	if !last.IsZero() {
		c.Text = fmt.Sprintf("step %q is healthy: its last record came %s ago, its watermark is %s", step, f.span(last), mark)
	}
	return c
}
