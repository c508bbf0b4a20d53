package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/dataflow/why"
)

// The labels of a task's goroutine, which profiles show.
const (
	labelAttempt = "millrace.attempt"
	labelTask    = "millrace.task"
	labelSubtask = "millrace.subtask"
)

// label gives the task's goroutine labels by which its stack is found, and by which CPU profiles tell the tasks apart.
func (t *task) label(attempt string) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(
		labelAttempt, attempt, labelTask, t.chain.name, labelSubtask, strconv.Itoa(t.subtask))))
}

// anyStuck reports whether a task has been with one batch for long.
func anyStuck(tasks []*task, now time.Time) bool {
	for _, t := range tasks {
		a := *t.vitals.activity.Load()
		if (a == why.Working || a == why.Opening) && now.Sub(unix(t.vitals.since.Load())) >= stuck {
			return true
		}
	}
	return false
}

// taskStacks are the functions on the stacks of an attempt's tasks, the innermost first. It stops the world for a moment.
func taskStacks(attempt string) map[why.Place][]string {
	var buf bytes.Buffer
	if p := pprof.Lookup("goroutine"); p == nil || p.WriteTo(&buf, 1) != nil {
		return nil
	}
	return parseStacks(buf.String(), attempt)
}

// parseStacks reads the text form of a goroutine profile: blocks divided by empty lines, in each a line "# labels: {…}" and a line for each
// frame, "#\taddress\tfunction+offset\tfile:line". A goroutine that a task has started has its labels too, but not its loop on the stack.
func parseStacks(profile, attempt string) map[why.Place][]string {
	out := map[why.Place][]string{}
	for block := range strings.SplitSeq(profile, "\n\n") {
		var labels map[string]string
		var frames []string
		isTask := false
		for line := range strings.SplitSeq(block, "\n") {
			if text, ok := strings.CutPrefix(line, "# labels: "); ok {
				if json.Unmarshal([]byte(text), &labels) != nil {
					break
				}
				continue
			}
			fields := strings.Split(line, "\t")
			if len(fields) < 4 || fields[0] != "#" {
				continue
			}
			name := fields[2]
			if i := strings.LastIndexByte(name, '+'); i > 0 {
				name = name[:i]
			}
			frames = append(frames, strings.TrimSpace(name))
			isTask = isTask || strings.HasSuffix(frames[len(frames)-1], "internal/runtime.(*task).run")
		}
		if sub, err := strconv.Atoi(labels[labelSubtask]); err == nil && isTask && labels[labelAttempt] == attempt {
			out[why.Place{Step: labels[labelTask], Subtask: sub}] = frames
		}
	}
	return out
}

// place is the innermost function of a stack that is neither the language's nor the library's, and the step that it runs for; each is empty where it
// cannot be told.
func (t *task) place(frames []string, names naming) (function, step string) {
	for _, f := range frames {
		if function == "" && foreign(f) {
			function = f
		}
	}
	if function == "" && len(frames) > 0 {
		function = frames[0]
	}
	if o := t.ownerOf(frames); o != nil {
		return function, names[o.node]
	}
	for _, f := range frames {
		switch {
		case strings.Contains(f, "internal/runtime.SinkStage"):
			return function, names.only(t, func(o *op) bool { return o.hooks().Committables != nil })
		case t.source != nil && strings.Contains(f, "internal/runtime.(*reader[") && strings.HasSuffix(f, ".poll"):
			return function, names[t.ops[0].node]
		}
	}
	if len(t.ops) == 1 {
		step = names[t.ops[0].node]
	}
	return function, step
}

// only is the name of the operator for which is holds, empty if there are several.
func (names naming) only(t *task, is func(*op) bool) string {
	label := ""
	for _, o := range t.ops {
		if !is(o) {
			continue
		}
		if label != "" {
			return ""
		}
		label = names[o.node]
	}
	return label
}

// foreign reports whether a function belongs to neither the standard library nor the machinery of this module: to the user, or to a
// connector.
func foreign(function string) bool {
	path := function
	if i := strings.IndexAny(path, "[("); i >= 0 {
		path = path[:i]
	}
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(path, "/") {
		pkg, _, _ := strings.Cut(path, ".")
		return pkg == "main"
	}
	if !strings.Contains(first, ".") {
		return false
	}
	const module = "github.com/millrace-io/millrace/"
	rest, ours := strings.CutPrefix(path, module)
	if !ours {
		return true
	}
	pkg, _, _ := strings.Cut(rest, ".")
	for _, p := range []string{"internal/runtime", "internal/exchange", "operators", "state", "dataflow", "serde"} {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return false
		}
	}
	return true
}
