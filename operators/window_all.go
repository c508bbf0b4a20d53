package operators

import "fmt"

// NoKey is the key of windows over a whole stream: every record has the same one, false. Such windows run in one subtask.
// Source: Flink AllWindowedStream.
type NoKey bool

// oneSubtask refuses windows over a whole stream in several subtasks: each would see a part of it.
func oneSubtask[K comparable](t *Task) {
	var k K
	if _, all := any(k).(NoKey); all && t.cfg.Parallelism > 1 {
		t.Fault(fmt.Errorf("windows over a whole stream run in one subtask, this step has parallelism %d; leave it at 1, or KeyBy the stream before Window", t.cfg.Parallelism))
	}
}
