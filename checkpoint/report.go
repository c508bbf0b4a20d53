package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/state"
)

// Status says what becomes of an operator or a state when a graph starts from a checkpoint.
type Status string

// The statuses. Only Incompatible and Orphaned refuse the start.
const (
	Matched      Status = "matched"      // taken over as it is
	Evolved      Status = "evolved"      // taken over, and read in another way than it was written
	Missing      Status = "missing"      // the checkpoint has nothing of it: begins empty
	Dropped      Status = "dropped"      // given up, as Drop says
	Orphaned     Status = "orphaned"     // the checkpoint has it and the graph does not claim it
	Incompatible Status = "incompatible" // cannot be taken over as the graph declares it
)

// StartReport is what a graph finds in a checkpoint: everything at once, before anything is started. It is plain data; String is for people, JSON for
// programs, Err for whoever wants to go on.
type StartReport struct {
	// Checkpoint is its id, Job the name of the graph that took it.
	Checkpoint int64  `json:"checkpoint"`
	Job        string `json:"job"`
	Savepoint  bool   `json:"savepoint,omitempty"`
	// Old and New max parallelism.
	OldMaxParallelism int `json:"old_max_parallelism"`
	NewMaxParallelism int `json:"new_max_parallelism"`
	// Faults are those of the mapping and of parallelism.
	Faults []string `json:"faults,omitempty"`
	// Operators are those of the graph and then those that are only in the checkpoint, each sorted by uid.
	Operators []OperatorReport `json:"operators"`

	errs []error
}

// OperatorReport is what becomes of one operator.
type OperatorReport struct {
	// UID in the graph, or in the checkpoint for one that is only there.
	UID string `json:"uid"`
	// From is its uid in the checkpoint, where that is another.
	From   string `json:"from,omitempty"`
	Status Status `json:"status"`
	// Parallelism before and after; 0 where it is not there.
	OldParallelism int `json:"old_parallelism,omitempty"`
	NewParallelism int `json:"new_parallelism,omitempty"`
	// Holds is what is lost with an operator that is orphaned or dropped, beside states.
	Holds []string `json:"holds,omitempty"`
	// Rewrite says that entries are read and written again instead of being attached, Reread that every subtask reads the files of all.
	Rewrite bool          `json:"rewrite,omitempty"`
	Reread  bool          `json:"reread,omitempty"`
	States  []StateReport `json:"states,omitempty"`
}

// StateReport is what becomes of one keyed or broadcast state.
type StateReport struct {
	Name string `json:"name"`
	// From is "uid/state" in the checkpoint, where that is another.
	From       string            `json:"from,omitempty"`
	Kind       state.Kind        `json:"kind"`
	Status     Status            `json:"status"`
	Evolutions []state.Evolution `json:"evolutions,omitempty"`
	Mismatches []state.Mismatch  `json:"mismatches,omitempty"`
	compared   state.Comparison
}

// RefusedError says that a graph cannot start from a checkpoint. errors.As finds an *UnmatchedStateError and the first *StateMismatchError in it.
type RefusedError struct{ Report *StartReport }

// Error is every reason, one a line.
func (e *RefusedError) Error() string { return errors.Join(e.Report.errs...).Error() }

// Unwrap are the reasons.
func (e *RefusedError) Unwrap() []error { return e.Report.errs }

// Err is a *RefusedError with an *UnmatchedStateError, a *StateMismatchError for each mismatch, and the faults; nil when the graph can start from
// the checkpoint.
func (r *StartReport) Err() error {
	if len(r.errs) == 0 {
		return nil
	}
	return &RefusedError{r}
}

// String is the report as text: a line for each operator and state, and one below it for each difference.
func (r *StartReport) String() string {
	var b strings.Builder
	kind := "checkpoint"
	if r.Savepoint {
		kind = "savepoint"
	}
	if r.Checkpoint == 0 {
		b.WriteString("no checkpoint")
	} else {
		fmt.Fprintf(&b, "%s %d of job %q", kind, r.Checkpoint, r.Job)
	}
	if r.OldMaxParallelism != r.NewMaxParallelism {
		fmt.Fprintf(&b, ", max parallelism %d to %d", r.OldMaxParallelism, r.NewMaxParallelism)
	}
	b.WriteByte('\n')
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "fault: %s\n", f)
	}
	for _, o := range r.Operators {
		fmt.Fprintf(&b, "%-12s %s%s", o.Status, o.UID, from(o.From))
		if o.OldParallelism != o.NewParallelism && o.OldParallelism > 0 && o.NewParallelism > 0 {
			fmt.Fprintf(&b, ", parallelism %d to %d", o.OldParallelism, o.NewParallelism)
		}
		if len(o.Holds) > 0 {
			fmt.Fprintf(&b, ", holds %s", strings.Join(o.Holds, ", "))
		}
		if o.Reread {
			b.WriteString(", every subtask reads the state of all")
		} else if o.Rewrite {
			b.WriteString(", state is written anew")
		}
		b.WriteByte('\n')
		for _, s := range o.States {
			fmt.Fprintf(&b, "  %-12s %s state %s%s\n", s.Status, s.Kind, s.Name, from(s.From))
			for _, e := range s.Evolutions {
				fmt.Fprintf(&b, "    %s\n", e)
			}
			for _, m := range s.Mismatches {
				fmt.Fprintf(&b, "    %s\n", m)
			}
		}
	}
	return b.String()
}

func from(name string) string {
	if name == "" {
		return ""
	}
	return " (was " + name + ")"
}

// CheckStart compares a checkpoint with a graph. It is pure, and equal arguments give equal reports. Without a checkpoint (nil) all states are
// missing, as at the first start of a job.
func CheckStart(m *Manifest, ops []OperatorInfo, maxParallelism int, by Mapping) *StartReport {
	if m == nil {
		m = &Manifest{MaxParallelism: maxParallelism}
	}
	return newRestore(m, ops, maxParallelism, by).report
}

// restore is the matching of a checkpoint with a graph.
type restore struct {
	m      *Manifest
	ops    map[string]OperatorInfo
	maxPar int
	routes routes
	report *StartReport
	// sources are the states that go to each operator of the graph, by new place.
	sources map[place]place
}

func newRestore(m *Manifest, ops []OperatorInfo, maxParallelism int, by Mapping) *restore {
	r := &restore{m: m, ops: map[string]OperatorInfo{}, maxPar: maxParallelism, sources: map[place]place{},
		report: &StartReport{Checkpoint: m.ID, Job: m.Job, Savepoint: m.Savepoint, OldMaxParallelism: m.MaxParallelism, NewMaxParallelism: maxParallelism}}
	if m.ID == 0 && len(m.Operators) == 0 {
		// The graph starts from nothing.
	} else if err := m.Validate(); err != nil {
		r.fault(err)
		return r
	}
	for _, o := range ops {
		if o.Parallelism < 1 || o.Parallelism > maxParallelism {
			r.fault(fmt.Errorf("checkpoint: uid %q has parallelism %d, want 1 to the max parallelism of %d", o.UID, o.Parallelism, maxParallelism))
		}
		if _, twice := r.ops[o.UID]; twice {
			r.fault(fmt.Errorf("checkpoint: uid %q is there twice", o.UID))
		}
		r.ops[o.UID] = o
	}
	if n := len(m.Channels); n > 0 && (m.MaxParallelism != maxParallelism || len(by.Rename) > 0) {
		r.fault(fmt.Errorf("checkpoint: %d holds records in flight between tasks, in %d channels: max parallelism and names cannot change with it; take a savepoint with the old ones first", m.ID, n))
	}
	r.routes = newRoutes(m, r.ops, by)
	for _, err := range r.routes.faults {
		r.fault(err)
	}
	for old, now := range r.routes.states {
		r.sources[now] = old
	}
	r.match()
	return r
}

func (r *restore) fault(err error) {
	r.report.Faults = append(r.report.Faults, strings.TrimPrefix(err.Error(), "checkpoint: "))
	r.report.errs = append(r.report.errs, err)
}

// match fills in the operators of the report.
func (r *restore) match() {
	uids := make([]string, 0, len(r.ops))
	for uid := range r.ops {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	main := map[string]string{} // new uid → old uid
	for old, now := range r.routes.whole {
		main[now] = old
	}
	un := &UnmatchedStateError{ID: r.m.ID}
	var mismatches []error
	for _, uid := range uids {
		o := r.operatorReport(uid, main)
		for _, s := range o.States {
			for _, m := range s.Mismatches {
				mismatches = append(mismatches, mismatchError(uid, s, m))
			}
		}
		r.report.Operators = append(r.report.Operators, o)
	}
	for i := range r.m.Operators {
		r.left(&r.m.Operators[i], un)
	}
	slices.SortStableFunc(mismatches, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	slices.Sort(un.UIDs)
	slices.Sort(un.States)
	if len(un.UIDs)+len(un.States) > 0 {
		r.report.errs = append(r.report.errs, un)
	}
	r.report.errs = append(r.report.errs, mismatches...)
}

// operatorReport is what an operator of the graph finds.
func (r *restore) operatorReport(uid string, main map[string]string) OperatorReport {
	op := r.ops[uid]
	out := OperatorReport{UID: uid, Status: Missing, NewParallelism: op.Parallelism}
	old, known := main[uid]
	if known {
		o := operatorOf(r.m, old)
		out.Status, out.OldParallelism = Matched, o.Parallelism
		if old != uid {
			out.From = old
		}
	}
	changed := false
	states := slices.Clone(op.States)
	slices.SortFunc(states, func(a, b state.Descriptor) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range states {
		s := r.stateReport(place{uid, d.Name}, d)
		out.Rewrite = out.Rewrite || s.compared.Rewrite
		out.Reread = out.Reread || s.compared.Rehash
		changed = changed || s.Status == Evolved
		if s.Status == Incompatible {
			out.Status = Incompatible
		} else if s.Status != Missing && out.Status == Missing {
			out.Status = Matched // of another operator
		}
		out.States = append(out.States, s)
	}
	if changed && out.Status == Matched {
		out.Status = Evolved
	}
	if r.m.MaxParallelism != r.maxPar && out.OldParallelism > 0 && len(op.States) > 0 {
		out.Rewrite, out.Reread = true, true
	}
	return out
}

func (r *restore) stateReport(at place, d state.Descriptor) StateReport {
	out := StateReport{Name: d.Name, Kind: d.Kind, Status: Missing}
	src, ok := r.sources[at]
	if !ok {
		return out
	}
	old := operatorOf(r.m, src.uid)
	i := slices.IndexFunc(old.States, func(o state.Descriptor) bool { return o.Name == src.state })
	out.Status = Matched
	if src != at {
		out.From = src.String()
	}
	out.compared = state.Compare(old.States[i], d)
	out.Evolutions, out.Mismatches = out.compared.Evolutions, out.compared.Mismatches
	switch {
	case len(out.Mismatches) > 0:
		out.Status = Incompatible
	case len(out.Evolutions) > 0:
		out.Status = Evolved
	}
	return out
}

// left reports what of an operator of the checkpoint goes nowhere.
func (r *restore) left(o *OperatorState, un *UnmatchedStateError) {
	now, follows := r.routes.whole[o.UID]
	given := r.routes.dropped[place{uid: o.UID}]
	var states []StateReport
	lost, moved := 0, 0
	for _, d := range o.States {
		at := place{o.UID, d.Name}
		if _, taken := r.routes.states[at]; taken {
			moved++
			continue
		}
		s := StateReport{Name: d.Name, Kind: d.Kind, Status: Orphaned}
		if r.routes.dropped[at] || given {
			s.Status = Dropped
		} else {
			lost++
			if follows {
				un.States = append(un.States, at.String())
			}
		}
		states = append(states, s)
	}
	if follows {
		i := slices.IndexFunc(r.report.Operators, func(x OperatorReport) bool { return x.UID == now })
		r.report.Operators[i].States = append(r.report.Operators[i].States, states...)
		return
	}
	out := OperatorReport{UID: o.UID, Status: Orphaned, OldParallelism: o.Parallelism, States: states, Holds: o.remains()}
	switch {
	case o.empty() || moved > 0 && lost == 0 && len(out.Holds) == 0:
		if len(states) == 0 {
			return // an operator without state may come and go
		}
		out.Status = Dropped
	case given:
		out.Status = Dropped
	default:
		un.UIDs = append(un.UIDs, o.UID)
	}
	r.report.Operators = append(r.report.Operators, out)
}

// mismatchError is one reason as an error.
func mismatchError(uid string, s StateReport, m state.Mismatch) error {
	e := &StateMismatchError{UID: uid, State: s.Name, What: m.Part, Old: m.Old, New: m.New, From: s.From}
	for _, i := range m.Reasons {
		e.Reasons = append(e.Reasons, i.Error())
	}
	return e
}
