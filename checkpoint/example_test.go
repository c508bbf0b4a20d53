package checkpoint_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

func ExampleEvery() {
	c := checkpoint.Every(10*time.Second, checkpoint.Dir("/var/lib/job/checkpoints"), checkpoint.Retain(5))
	fmt.Println(c.Validate(), c.WithDefaults().Timeout, c.Retain)

	wrong := checkpoint.Every(time.Millisecond, nil)
	fmt.Println(wrong.Validate())
	// Output:
	// <nil> 10m0s 5
	// checkpoint: Config.Interval is 1ms, want at least 10ms, or 0 for no periodic checkpoints
	// checkpoint: Config.Storage is nil with an Interval of 1ms; give checkpoint.Dir(path) or checkpoint.S3(options)
}

func ExampleOpenURL() {
	st, err := checkpoint.OpenURL("s3://bucket/jobs/decisions?endpoint=http://127.0.0.1:9000")
	fmt.Println(st.URL(), err)
	_, err = checkpoint.OpenURL("ftp://host/dir")
	fmt.Println(err)
	// Output:
	// s3://bucket/jobs/decisions?endpoint=http%3A%2F%2F127.0.0.1%3A9000 <nil>
	// checkpoint: storage URL "ftp://host/dir": scheme "ftp" is unknown; want file or s3
}

func ExampleLead() {
	dir, err := os.MkdirTemp("", "example-*")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	j, err := checkpoint.Lead(ctx, checkpoint.Dir(dir), nil)
	if err != nil {
		panic(err)
	}
	all := state.GroupRange{Start: 0, End: 128}
	f, err := j.Files(j.NextID()).Write(ctx, all, 0, func(w io.Writer) error {
		_, err := io.WriteString(w, "the state")
		return err
	})
	if err != nil {
		panic(err)
	}
	uri, err := j.Savepoint(ctx, &checkpoint.Manifest{ID: j.NextID(), Epoch: j.Epoch(), MaxParallelism: 128,
		Operators: []checkpoint.OperatorState{{UID: "count", Parallelism: 1,
			Subtasks: []checkpoint.SubtaskState{{Groups: all, Files: []state.File{f}}}}}})
	if err != nil {
		panic(err)
	}
	m, _, err := checkpoint.Load(ctx, uri)
	fmt.Println(m.ID, m.Epoch, m.Operators[0].UID, err)
	// Output: 1 1 count <nil>
}

func ExampleCoordinator() {
	start := time.Unix(0, 0)
	c := checkpoint.NewCoordinator(checkpoint.CoordinatorConfig{
		Epoch: 1, MaxParallelism: 128, Interval: 10 * time.Second, Durable: true, Retain: 3,
		Tasks:     []checkpoint.TaskID{{Name: "sink", Subtask: 0}},
		Operators: []checkpoint.OperatorInfo{{UID: "sink", Parallelism: 1, Committer: true}},
	}, start)
	show := func(actions []checkpoint.Action) {
		var names []string
		for _, a := range actions {
			names = append(names, fmt.Sprintf("%T", a))
		}
		fmt.Println(strings.Join(names, ", "))
	}
	now := start.Add(10 * time.Second)
	show(c.Step(checkpoint.Tick{Now: now}))
	show(c.Step(checkpoint.Ack{Now: now, Epoch: 1, ID: 1, Task: checkpoint.TaskID{Name: "sink"},
		Snapshots: []checkpoint.SubtaskSnapshot{{UID: "sink", Prepared: []checkpoint.Prepared{{ID: 1, Committables: [][]byte{[]byte("transaction")}}}}}}))
	show(c.Step(checkpoint.Persisted{Now: now, Epoch: 1, ID: 1}))
	show(c.Step(checkpoint.Committed{Now: now, Epoch: 1, ID: 1}))
	// Output:
	// checkpoint.Trigger
	// checkpoint.Persist
	// checkpoint.NotifyCompleted, checkpoint.Commit
	// checkpoint.Prune
}

func ExamplePlanRestore() {
	m := &checkpoint.Manifest{Version: checkpoint.FormatVersion, ID: 7, Epoch: 1, MaxParallelism: 128,
		Operators: []checkpoint.OperatorState{{UID: "kafka", Parallelism: 1, Subtasks: []checkpoint.SubtaskState{{
			Groups: state.GroupRange{Start: 0, End: 128},
			Splits: []checkpoint.SplitState{{ID: "topic-0"}, {ID: "topic-1"}, {ID: "topic-2"}},
		}}}}}
	p, err := checkpoint.PlanRestore(m, []checkpoint.OperatorInfo{{UID: "kafka", Parallelism: 2}}, 128, checkpoint.Mapping{})
	fmt.Println(len(p.Operators[0].Subtasks[0].Splits), len(p.Operators[0].Subtasks[1].Splits), err)

	_, err = checkpoint.PlanRestore(m, []checkpoint.OperatorInfo{{UID: "renamed", Parallelism: 2}}, 128, checkpoint.Mapping{})
	fmt.Println(err)
	// Output:
	// 2 1 <nil>
	// checkpoint: 7 holds state of unknown operators ["kafka"]; rename them back, say by Rename where they go, or list them in Drop to give the state up
}
