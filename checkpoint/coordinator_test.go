package checkpoint

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// script drives one Coordinator through a file of testdata/coordinator.
//
//	new interval=10s timeout=1m min-pause=0s tolerate=0 concurrent=1 retain=3 epoch=1 first=1 max-parallelism=8 not-durable
//	task NAME SUBTASKS           one line each
//	op UID PARALLELISM [committer] [enumerator]
//	----
//	tick | savepoint ref=a [stop] [drain] | enumerator uid=src [state=x] | ack task=src-0 | declined task=src-0 err=x |
//	persisted | committed | ended task=src-0 | deadline
//
// Each event takes at=DURATION since the start (default: the time of the one before), id (default 1) and epoch (default 1).
// An ack without input holds an empty snapshot for the uid that has the name of the task; else one line each: uid subtask
// [committable…], where committable@3 was prepared for checkpoint 3.
type script struct {
	c     *Coordinator
	start time.Time
	now   time.Time
	cfg   CoordinatorConfig
}

func TestCoordinatorScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/coordinator", func(t *testing.T, path string) {
		s := &script{start: time.UnixMilli(1_000_000).UTC()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.HasArg("at") {
				s.now = s.start.Add(duration(t, d, "at", 0))
			}
			switch d.Cmd {
			case "new":
				return s.create(t, d)
			case "deadline":
				return s.deadline()
			default:
				return s.print(s.c.Step(s.event(t, d)))
			}
		})
	})
}

func duration(t *testing.T, d *datadriven.TestData, key string, def time.Duration) time.Duration {
	t.Helper()
	var text string
	d.MaybeScanArgs(t, key, &text)
	if text == "" {
		return def
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%s: %v", key, err)
	}
	return v
}

func number(t *testing.T, d *datadriven.TestData, key string, def int64) int64 {
	t.Helper()
	d.MaybeScanArgs(t, key, &def)
	return def
}

func word(t *testing.T, d *datadriven.TestData, key string) string {
	t.Helper()
	var w string
	d.MaybeScanArgs(t, key, &w)
	return w
}

func (s *script) create(t *testing.T, d *datadriven.TestData) string {
	s.cfg = CoordinatorConfig{
		Job: "job", Epoch: number(t, d, "epoch", 1), FirstID: number(t, d, "first", 0), MaxParallelism: int(number(t, d, "max-parallelism", 8)),
		Interval: duration(t, d, "interval", 0), MinPause: duration(t, d, "min-pause", 0), Timeout: duration(t, d, "timeout", 0),
		TolerableFailures: int(number(t, d, "tolerate", 0)), MaxConcurrent: int(number(t, d, "concurrent", 1)),
		Durable: !d.HasArg("not-durable"), Retain: int(number(t, d, "retain", 3)),
	}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[2])
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		switch f[0] {
		case "task":
			for i := range n {
				s.cfg.Tasks = append(s.cfg.Tasks, TaskID{Name: f[1], Subtask: i})
			}
		case "op":
			rest := strings.Join(f[3:], " ")
			s.cfg.Operators = append(s.cfg.Operators, OperatorInfo{UID: f[1], Parallelism: n,
				Committer: strings.Contains(rest, "committer"), Enumerator: strings.Contains(rest, "enumerator")})
		}
	}
	s.now = s.start
	s.c = NewCoordinator(s.cfg, s.now)
	return s.deadline()
}

func (s *script) deadline() string {
	at, ok := s.c.NextDeadline()
	if !ok {
		return "no deadline"
	}
	return "deadline " + at.Sub(s.start).String()
}

func (s *script) event(t *testing.T, d *datadriven.TestData) Event {
	id, epoch := number(t, d, "id", 1), number(t, d, "epoch", 1)
	var err error
	if w := word(t, d, "err"); w != "" {
		err = errors.New(w)
	}
	var task TaskID
	if name, sub, ok := strings.Cut(word(t, d, "task"), "-"); ok {
		task.Name = name
		task.Subtask, _ = strconv.Atoi(sub)
	}
	switch d.Cmd {
	case "tick":
		return Tick{Now: s.now}
	case "savepoint":
		return RequestSavepoint{Now: s.now, Ref: word(t, d, "ref"), Stop: d.HasArg("stop"), Drain: d.HasArg("drain")}
	case "enumerator":
		return EnumeratorState{Now: s.now, Epoch: epoch, ID: id, UID: word(t, d, "uid"), State: []byte(word(t, d, "state"))}
	case "ack":
		return Ack{Now: s.now, Epoch: epoch, ID: id, Task: task, Snapshots: s.snapshots(t, d, task)}
	case "declined":
		return Declined{Now: s.now, Epoch: epoch, ID: id, Task: task, Err: err}
	case "persisted":
		return Persisted{Now: s.now, Epoch: epoch, ID: id, Err: err}
	case "committed":
		return Committed{Now: s.now, Epoch: epoch, ID: id, Err: err}
	case "ended":
		return InputEnded{Now: s.now, Epoch: epoch, Task: task}
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return nil
}

func (s *script) snapshots(t *testing.T, d *datadriven.TestData, task TaskID) []SubtaskSnapshot {
	var out []SubtaskSnapshot
	if d.Input == "" {
		return []SubtaskSnapshot{{UID: task.Name, Subtask: task.Subtask}}
	}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[1])
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		snap := SubtaskSnapshot{UID: f[0], Subtask: n}
		for _, c := range f[2:] {
			snap.Prepared = prepared(snap.Prepared, c, number(t, d, "id", 1))
		}
		out = append(out, snap)
	}
	return out
}

// prepared adds committable c of checkpoint id, or of the one that it names.
func prepared(to []Prepared, c string, id int64) []Prepared {
	text, of, _ := strings.Cut(c, "@")
	if n, err := strconv.ParseInt(of, 10, 64); err == nil {
		id = n
	}
	if n := len(to); n > 0 && to[n-1].ID == id {
		to[n-1].Committables = append(to[n-1].Committables, []byte(text))
		return to
	}
	return append(to, Prepared{ID: id, Committables: [][]byte{[]byte(text)}})
}

func (s *script) print(actions []Action) string {
	if len(actions) == 0 {
		return "(nothing)"
	}
	var b strings.Builder
	for _, a := range actions {
		switch a := a.(type) {
		case Trigger:
			fmt.Fprintf(&b, "trigger id=%d", a.ID)
			for _, f := range []struct {
				name string
				on   bool
			}{{"savepoint", a.Savepoint}, {"stop", a.Stop}, {"drain", a.Drain}, {"final", a.Final}} {
				if f.on {
					b.WriteString(" " + f.name)
				}
			}
			b.WriteByte('\n')
		case Persist:
			m := a.Manifest
			fmt.Fprintf(&b, "persist id=%d epoch=%d savepoint=%v created=%s\n", m.ID, m.Epoch, a.Savepoint, time.UnixMilli(m.CreatedMS).Sub(s.start))
			for _, o := range m.Operators {
				fmt.Fprintf(&b, "  %s", o.UID)
				for _, t := range o.Subtasks {
					fmt.Fprintf(&b, " [%d,%d)", t.Groups.Start, t.Groups.End)
				}
				if o.Enumerator != nil {
					fmt.Fprintf(&b, " enumerator=%s", o.Enumerator)
				}
				if o.Committables != nil {
					fmt.Fprintf(&b, " committables=%s", o.Committables)
				}
				for _, p := range o.Earlier {
					fmt.Fprintf(&b, " of-%d=%s", p.ID, p.Committables)
				}
				b.WriteByte('\n')
			}
		case NotifyCompleted:
			fmt.Fprintf(&b, "notify id=%d\n", a.ID)
		case Commit:
			fmt.Fprintf(&b, "commit id=%d", a.ID)
			for _, u := range a.Sinks {
				for _, p := range u.Prepared {
					if fmt.Fprintf(&b, " %s=%s", u.UID, p.Committables); p.ID != a.ID {
						fmt.Fprintf(&b, "@%d", p.ID)
					}
				}
			}
			b.WriteByte('\n')
		case Aborted:
			fmt.Fprintf(&b, "aborted id=%d %q\n", a.ID, a.Err)
		case Prune:
			fmt.Fprintf(&b, "prune retain=%d\n", a.Retain)
		case SavepointDone:
			fmt.Fprintf(&b, "savepoint-done ref=%v id=%d", a.Ref, a.ID)
			if a.Err != nil {
				fmt.Fprintf(&b, " err=%q", a.Err)
			}
			b.WriteByte('\n')
		case Finish:
			b.WriteString("finish\n")
		case Fail:
			fmt.Fprintf(&b, "fail %q\n", a.Err)
		}
	}
	return b.String()
}
