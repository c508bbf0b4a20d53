package runtime

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/operators"
)

const (
	// patience is how long Why waits for answers: a task answers between two batches, so one that does not is busy or stuck, which its vitals
	// show.
	patience = 300 * time.Millisecond
	// stuck is how long a task has been with one batch when Why looks at its stack.
	stuck = time.Second
)

// Why tells what keeps the step named uid (its uid, or the name of a stateless step) from giving results.
func (j *Job) Why(uid string) (why.Report, error) { return j.Snapshot().Explain(uid) }

// Snapshot collects the facts of the job. It returns within a second, also when tasks hang.
func (j *Job) Snapshot() *why.Snapshot {
	names := stepNames(j.plan)
	s := &why.Snapshot{Job: j.facts(), Steps: names.steps(j.plan)}
	var tasks []*task
	if s.Job.Phase == why.Running {
		tasks = j.tasks()
	}
	answers, f, ok := j.ask(tasks)
	s.Job.Silent = len(tasks) > 0 && !ok
	s.Checkpoint = f.checkpoint
	s.At = time.Now()
	stacks := map[why.Place][]string{}
	if len(tasks) > 0 && anyStuck(tasks, s.At) {
		stacks = taskStacks(tasks[0].ops[0].task.Config().Attempt)
	}
	for i, t := range tasks {
		s.Tasks = append(s.Tasks, names.task(t, j.plan, s.At, answers[i], stacks))
	}
	names.describe(s.Steps, tasks)
	aligned(s.Tasks, tasks)
	return s
}

// ask puts the question to all tasks and to the job's goroutine and waits for what they say, but not for long.
func (j *Job) ask(tasks []*task) (answers []*told, f attemptFacts, ok bool) {
	answers = make([]*told, len(tasks))
	if len(tasks) == 0 {
		return answers, f, false
	}
	replies := make([]chan told, len(tasks))
	for i, t := range tasks {
		replies[i] = make(chan told, 1)
		t.box.put(whyLetter{replies[i]})
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	expired := false
	job := make(chan attemptFacts, 1)
	select {
	case j.questions <- job:
		select {
		case f = <-job:
			ok = true
		case <-timer.C:
			expired = true
		}
	case <-j.done:
	case <-timer.C:
		expired = true
	}
	for i, r := range replies {
		if !expired {
			select {
			case a := <-r:
				answers[i] = &a
				continue
			case <-timer.C:
				expired = true
			case <-j.done:
				expired = true
			}
		}
		select {
		case a := <-r:
			answers[i] = &a
		default:
		}
	}
	return answers, f, ok
}

// naming gives each step its name in a Snapshot: the label, with a number for those that share one, as stateless steps made by one line of code do.
type naming map[*Node]string

func stepNames(p *Plan) naming {
	names, seen := naming{}, map[string]int{}
	for _, n := range p.Nodes {
		name := n.Label()
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s#%d", name, seen[name])
		}
		names[n] = name
	}
	return names
}

// steps are the steps of the graph as the plan has them.
func (names naming) steps(p *Plan) []why.Step {
	var steps []why.Step
	for _, n := range p.Nodes {
		s := why.Step{Name: names[n], Task: p.of[n].name, Source: n.Source != nil, Commits: n.Committer != nil}
		for _, e := range n.Inputs {
			s.From = append(s.From, names.from(e))
		}
		steps = append(steps, s)
	}
	return steps
}

func (names naming) from(e *Edge) why.From {
	f := why.From{Step: names[e.From], Port: e.Port}
	if e.To.TwoInputs {
		f.Input = e.Input
	}
	return f
}

// describe adds to the steps what their operators have declared.
func (names naming) describe(steps []why.Step, tasks []*task) {
	for _, t := range tasks {
		if t.subtask != 0 {
			continue
		}
		for _, o := range t.ops {
			for i := range steps {
				if steps[i].Name != names[o.node] {
					continue
				}
				h := o.hooks()
				steps[i].MakesWatermarks = h.OwnWatermarks && !h.HoldsWatermarks
				steps[i].NeedsWatermarks = h.NeedsWatermarks
				steps[i].Sink = h.Committables != nil
			}
		}
	}
}

// aligned adds what watermark alignment does to the sources.
func aligned(facts []why.Task, tasks []*task) {
	slowest := map[string]why.Place{}
	for i, t := range tasks {
		if al, ok := t.alignment(); ok && al.WatermarkMS == al.GroupMS {
			slowest[al.Group] = facts[i].Place
		}
	}
	for i, t := range tasks {
		al, ok := t.alignment()
		if !ok {
			continue
		}
		a := &why.Alignment{Group: al.Group, MaxDrift: al.MaxDrift, Watermark: why.Watermark(al.WatermarkMS), GroupWatermark: why.Watermark(al.GroupMS),
			Paused: al.Paused, Since: al.Since}
		if p, ok := slowest[al.Group]; ok {
			a.Slowest = &p
		}
		facts[i].Alignment = a
		for k := range facts[i].Splits {
			s := &facts[i].Splits[k]
			s.Paused = slices.Contains(al.Paused, s.ID)
		}
	}
}

// told is what only the task's goroutine knows.
type told struct {
	splits    []why.Split
	operators []operatorTold
}

type operatorTold struct {
	operators.Facts
	event, processing *why.Watermark
}

// answer tells what is asked; the task's goroutine calls it between two batches.
func (t *task) answer(l whyLetter) {
	var a told
	for _, o := range t.ops {
		var x operatorTold
		for _, f := range o.hooks().Why {
			f(&x.Facts)
		}
		if x.EventTimerMS != nil {
			ms := why.Watermark(*x.EventTimerMS)
			x.event = &ms
		}
		if next := o.hooks().NextTimer; next != nil && !t.stopped && !t.drained {
			if ms, ok := next(); ok {
				w := why.Watermark(ms)
				x.processing = &w
			}
		}
		a.operators = append(a.operators, x)
	}
	if t.source != nil {
		a.splits = t.source.facts(a.operators)
	}
	l.reply <- a
}

// task is what a task shows, with what it has answered, nil if nothing.
func (names naming) task(t *task, p *Plan, at time.Time, a *told, stacks map[why.Place][]string) why.Task {
	v := &t.vitals
	f := why.Task{Place: why.Place{Step: t.chain.name, Subtask: t.subtask}, Activity: *v.activity.Load(), Since: unix(v.since.Load()), Answered: a != nil,
		Records: t.records.Load(), LastRecord: unix(v.record.Load()), Queued: t.queued(), QueueBound: t.queue.Bound, Began: unix(v.began.Load()),
		Batches: v.batches.Load(), BusyTime: time.Duration(v.busyNS.Load()), Drained: v.drained.Load(), Channels: names.channels(t),
		Barrier: v.barrier.Load()}
	if f.Barrier != 0 {
		f.BarrierSince = unix(v.aligned.Load())
	}
	for _, o := range t.ops {
		for i, out := range o.outputs {
			f.Sent += out.Records()
			if r, since, ok := out.Waiting(); ok && f.Activity == why.Working {
				to := o.edges[i]
				first, _ := to.receivers(t.subtask)
				r += first
				f.Activity, f.Since, f.For = why.Blocked, since, &why.Place{Step: p.of[to.To].name, Subtask: r}
			}
		}
	}
	if v.keys != nil {
		f.Key = v.keys.top()
	}
	if a != nil {
		f.Splits = a.splits
	}
	for i, o := range t.ops {
		f.Operators = append(f.Operators, names.operator(o, a, i))
	}
	if frames := stacks[f.Place]; len(frames) > 0 && at.Sub(f.Since) >= stuck && (f.Activity == why.Working || f.Activity == why.Opening) {
		f.Function, f.In = t.place(frames, names)
	}
	return f
}

func (names naming) channels(t *task) []why.Channel {
	var out []why.Channel
	for _, e := range t.chain.nodes[0].Inputs {
		first, end := e.senders(t.subtask)
		for s := first; s < end; s++ {
			v := &t.vitals.channels[len(out)]
			out = append(out, why.Channel{From: names.from(e), Subtask: s, Watermark: why.Watermark(v.mark.Load()), Since: unix(v.since.Load()),
				Idle: v.idleSince.Load() != 0, IdleSince: unix(v.idleSince.Load()), Ended: v.ended.Load(), LastRecord: unix(v.record.Load()),
				AtBarrier: v.block.Load()})
		}
	}
	return out
}

// operator is what one operator shows, with the i-th answer.
func (names naming) operator(o *op, a *told, i int) why.Operator {
	f := why.Operator{Step: names[o.node], Watermark: why.Watermark(o.mark.Load()), Since: unix(o.markSince.Load()), Late: o.task.Late()}
	if a != nil {
		x := &a.operators[i]
		f.NextEventTimer, f.NextProcessingTimer, f.Idle = x.event, x.processing, x.Idle
		f.Holds, f.HoldsSince = x.Holds, x.HoldsSince
	}
	if what, since, ok := o.task.Waiting(); ok {
		f.Waits, f.WaitsSince = what, since
	}
	return f
}

// unix is the time of Unix ns, zero for 0.
func unix(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// splitTimes are when a split was given to the reader and when its last record came, Unix ns.
type splitTimes struct{ began, record int64 }

// begin notes that a split was added.
func (s *sourceDriver) begin(i int) {
	for len(s.times) <= i {
		s.times = append(s.times, splitTimes{})
	}
	s.times[i] = splitTimes{began: s.task.vitals.clock}
}

// touch notes that split number i has given a record in this poll.
func (s *sourceDriver) touch(i int) {
	if i >= 0 && i < len(s.times) {
		s.times[i].record = s.task.vitals.clock
	}
}

// facts are those of the splits that are read, with what the operators say of their watermarks.
func (s *sourceDriver) facts(ops []operatorTold) []why.Split {
	out := make([]why.Split, 0, len(s.index))
	for id, i := range s.index {
		sp := why.Split{ID: id, Watermark: why.NoWatermark, Idle: s.idle[id], Since: unix(s.times[i].began), LastRecord: unix(s.times[i].record)}
		for _, x := range ops {
			if k, ok := x.Splits[i]; ok {
				sp.Watermark, sp.Idle = why.Watermark(k.WatermarkMS), sp.Idle || k.Idle
			}
		}
		out = append(out, sp)
	}
	slices.SortFunc(out, func(a, b why.Split) int { return strings.Compare(a.ID, b.ID) })
	return out
}
