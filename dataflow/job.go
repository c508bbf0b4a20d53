package dataflow

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/runtime"
)

// TaskError says which step failed, in which subtask, and near which record; errors.As finds it in what Run and Wait return.
type TaskError = runtime.TaskError

// Run runs the graph until it ends: a bounded job when all input is processed and committed (nil), any job when ctx ends (its cause)
// or when it fails more often than Options.Restart allows.
func (g *Graph) Run(ctx context.Context, o Options) error {
	j, err := g.Start(ctx, o)
	if err != nil {
		return err
	}
	return j.Wait()
}

// Start checks the graph and what it would restore, and runs it until it ends or ctx does. A graph may be started again after its job has
// ended.
func (g *Graph) Start(ctx context.Context, o Options) (*Job, error) {
	plan, infos, err := g.plan(o)
	if err != nil {
		return nil, err
	}
	j, err := runtime.Start(ctx, plan, infos, o.withDefaults().config())
	if err != nil {
		return nil, err
	}
	return &Job{j}, nil
}

// Validate reports every fault of the graph and the options at once, without starting anything and without I/O.
func (g *Graph) Validate(o Options) error {
	_, _, err := g.plan(o)
	return err
}

// Check says what the graph would find if it was started with o from the given savepoint or checkpoint: for each step, state and field what is taken
// over as it is, what has evolved and how, what begins empty, what the graph does not claim, and what is incompatible, all at once. With "" it looks at what Start
// would take: the newest checkpoint in the job's own storage, else Options.Restore.From, else nothing. It stops, changes and starts nothing, also while a job runs on
// the storage. Start makes the same check before anything old is stopped.
//
// When the graph cannot start the error is a *checkpoint.RefusedError and the report is there too. Without a report the error is about the graph
// (see Validate) or about reading the checkpoint.
func (g *Graph) Check(ctx context.Context, savepoint string, o Options) (*checkpoint.StartReport, error) {
	_, infos, err := g.plan(o)
	if err != nil {
		return nil, err
	}
	return runtime.CheckStart(ctx, infos, o.withDefaults().config(), savepoint)
}

// plan checks everything and lowers the graph.
func (g *Graph) plan(o Options) (*runtime.Plan, []checkpoint.OperatorInfo, error) {
	errs := append([]error{o.Validate()}, g.errs...)
	for _, v := range g.validate {
		errs = append(errs, v())
	}
	o = o.withDefaults()
	if len(g.nodes) == 0 {
		errs = append(errs, errors.New("dataflow: the graph is empty; begin with From"))
	}
	uids := map[string]int{}
	for _, n := range g.nodes {
		if n.UID != "" {
			uids[n.UID]++
			if uids[n.UID] == 2 {
				errs = append(errs, fmt.Errorf("dataflow: the uid %q is given to two steps; a uid is unique in the graph", n.UID))
			}
		}
		if n.Parallelism > o.MaxParallelism {
			errs = append(errs, fmt.Errorf("dataflow: step %q has parallelism %d, want at most %d (Options.MaxParallelism)", n.Label(), n.Parallelism, o.MaxParallelism))
		}
	}
	nodes := cloneNodes(g.nodes)
	plan, err := runtime.NewPlan(g.name, nodes, o.Parallelism)
	if err != nil {
		return nil, nil, errors.Join(append(errs, fmt.Errorf("dataflow: %w", err))...)
	}
	if o.Checkpoint.AlignmentTimeout > 0 && o.Checkpoint.Storage != nil {
		errs = append(errs, plan.StoreInFlight())
	}
	if o.Transport != nil {
		errs = append(errs, plan.Transported())
	}
	var infos []checkpoint.OperatorInfo
	checks := newChecks(plan)
	for _, n := range plan.Nodes {
		info, hooks, err := checkNode(n, o)
		errs = append(errs, err, checks.step(n, hooks), preparesAhead(n, o.Checkpoint))
		if n.UID != "" {
			infos = append(infos, info)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return plan, infos, nil
}

// cloneNodes copies the graph, so that a plan may set what depends on the options and the graph can be started again.
func cloneNodes(nodes []*runtime.Node) []*runtime.Node {
	copies := make(map[*runtime.Node]*runtime.Node, len(nodes))
	out := make([]*runtime.Node, len(nodes))
	for i, n := range nodes {
		c := *n
		c.Inputs, c.Outputs = nil, nil
		copies[n], out[i] = &c, &c
	}
	edges := map[*runtime.Edge]*runtime.Edge{}
	for _, n := range nodes {
		for _, e := range n.Inputs {
			c := *e
			c.From, c.To = copies[e.From], copies[e.To]
			edges[e] = &c
			c.To.Inputs = append(c.To.Inputs, &c)
		}
	}
	for _, n := range nodes {
		for _, e := range n.Outputs {
			copies[n].Outputs = append(copies[n].Outputs, edges[e])
		}
	}
	return out
}

// Job is a running job.
type Job struct{ j *runtime.Job }

// Wait returns when the job has ended: nil when it has finished or was stopped with a savepoint, the cause of its context, or why it
// failed for good.
func (j *Job) Wait() error { return j.j.Wait() }

// Done is closed when the job has ended.
func (j *Job) Done() <-chan struct{} { return j.j.Done() }

// Restarts is the number of times the job was started again in this process.
func (j *Job) Restarts() int { return j.j.Restarts() }

// Checkpoints is the number of checkpoints completed in this process, and the id of the last.
func (j *Job) Checkpoints() (completed uint64, lastID int64) { return j.j.Completed() }

// Savepoint takes a savepoint while the job goes on, and returns its URI for Restore.From. It is portable unless NativeSavepoint is given: any graph that
// claims its state may start from it, at any parallelism and number of key groups; see package checkpoint/savepoint. The job goes on while it
// is written, by the caller's goroutine. The job never removes it.
func (j *Job) Savepoint(ctx context.Context, opts ...SavepointOption) (uri string, err error) {
	return j.j.Savepoint(ctx, savepointOptions(opts))
}

// Stop takes a savepoint, ends the job when everything in it is committed, and returns its URI. With drain the sources end their input
// first, so that windows and event-time timers fire: for a job that will not be continued, since to the steps of one that is started from a drained
// savepoint every record comes after the end of time, and so too late. The portable form is made when the job has ended; should that
// fail, the error names the native form, which is kept.
func (j *Job) Stop(ctx context.Context, drain bool, opts ...SavepointOption) (uri string, err error) {
	o := savepointOptions(opts)
	o.Stop, o.Drain = true, drain
	return j.j.Savepoint(ctx, o)
}
