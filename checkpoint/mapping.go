package checkpoint

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/state"
)

// Mapping says where the content of a checkpoint goes that does not go to the operator, or the state, of the same name. The zero value maps
// every name to itself.
//
// It may stay set over restarts, whose checkpoints have the new names already: a rename whose old name is gone and whose new one is there has
// been done, and a name in Drop that is not there does nothing.
type Mapping struct {
	// Drop names what is given up: "uid" for all of an operator, but what Rename takes from it; "uid/state" for one keyed state. What the graph
	// claims cannot be given up.
	Drop []string
	// Rename maps "uid" to "uid", for all that an operator has: state, timers, watermark, positions, committables; and "uid/state" to
	// "uid/state", for one state, which may go to another operator. Thus the states of one operator can be split over several, or those of several
	// go to one. State that goes to another operator than the rest is read and written again entry by entry. No name may be given away and taken
	// at once: exchange two names by way of a third, in two starts.
	Rename map[string]string
}

// place is a state of an operator; state is "" for the whole operator.
type place struct{ uid, state string }

func (p place) String() string {
	if p.state == "" {
		return p.uid
	}
	return p.uid + "/" + p.state
}

// routes is a Mapping applied to a checkpoint and a graph.
type routes struct {
	whole  map[string]string // old uid → new uid, of operators that the graph has
	states map[place]place   // each old state that is taken over → where it goes
	// dropped are the old states, and the operators (by uid alone), that are given up.
	dropped map[place]bool
	faults  []error
}

// router resolves a mapping.
type router struct {
	routes
	m      *Manifest
	ops    map[string]OperatorInfo
	by     Mapping
	wholes map[string]string // renames of operators
	parts  map[place]place   // renames of states
}

func newRoutes(m *Manifest, ops map[string]OperatorInfo, by Mapping) routes {
	r := router{m: m, ops: ops, by: by, wholes: map[string]string{}, parts: map[place]place{},
		routes: routes{whole: map[string]string{}, states: map[place]place{}, dropped: map[place]bool{}}}
	r.drops()
	r.renames()
	r.operators()
	r.statesOf()
	return r.routes
}

func (r *router) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("checkpoint: "+format, args...))
}

// old is the operator of the checkpoint with the given uid.
func (r *router) old(uid string) *OperatorState { return operatorOf(r.m, uid) }

func operatorOf(m *Manifest, uid string) *OperatorState {
	i := slices.IndexFunc(m.Operators, func(o OperatorState) bool { return o.UID == uid })
	if i < 0 {
		return nil
	}
	return &m.Operators[i]
}

func declares(states []state.Descriptor, name string) bool {
	return slices.ContainsFunc(states, func(d state.Descriptor) bool { return d.Name == name })
}

// places are what a name can mean, given the operators: uids and names of states may hold a '/'.
func places(name string, statesOf func(uid string) (states []state.Descriptor, ok bool)) (found []place) {
	if _, ok := statesOf(name); ok {
		found = append(found, place{uid: name})
	}
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if states, ok := statesOf(name[:i]); ok && declares(states, name[i+1:]) {
			found = append(found, place{name[:i], name[i+1:]})
		}
	}
	return found
}

func (r *router) inCheckpoint(name string) []place {
	return places(name, func(uid string) ([]state.Descriptor, bool) {
		if o := r.old(uid); o != nil {
			return o.States, true
		}
		return nil, false
	})
}

func (r *router) inGraph(name string) []place {
	return places(name, func(uid string) ([]state.Descriptor, bool) {
		o, ok := r.ops[uid]
		return o.States, ok
	})
}

func (r *router) drops() {
	for _, name := range slices.Sorted(slices.Values(r.by.Drop)) {
		if len(r.inGraph(name)) > 0 {
			r.fault("%q is in Drop and in the graph; take it out of Drop, or give the new one another name", name)
			continue
		}
		if _, too := r.by.Rename[name]; too {
			r.fault("%q is in Drop and in Rename; take it out of one", name)
			continue
		}
		for _, p := range r.inCheckpoint(name) {
			r.dropped[p] = true
		}
	}
}

// renames resolves the names of Rename.
func (r *router) renames() {
	for _, from := range slices.Sorted(maps.Keys(r.by.Rename)) {
		to := r.by.Rename[from]
		olds, news := r.inCheckpoint(from), r.inGraph(to)
		_, given := r.by.Rename[to]
		switch {
		case from == to:
			r.fault("Rename maps %q to itself; leave it out", from)
		case given:
			r.fault("Rename maps %q to %q and gives %[2]q away too; rename by way of a third name, in two starts", from, to)
		case len(news) == 0:
			r.fault("Rename maps %q to %q, and the graph has no operator or state of that name", from, to)
		case len(olds) == 0 && len(r.inCheckpoint(to)) > 0: // done by an earlier start
		case len(olds) == 0:
			r.fault("Rename maps %q to %q, and the checkpoint has no operator or state %[1]q, nor %[2]q; it has %q", from, to, r.m.names())
		case len(olds) > 1 || len(news) > 1:
			r.fault("Rename maps %q to %q, which can mean %v and %v: a uid and a state are separated by the same sign that stands in their names", from, to, olds, news)
		case (olds[0].state == "") != (news[0].state == ""):
			r.fault("Rename maps %q to %q: one is an operator, the other a state", from, to)
		case olds[0].state == "":
			r.wholes[olds[0].uid] = news[0].uid
		default:
			r.parts[olds[0]] = news[0]
		}
	}
}

// operators finds which operator of the graph goes on from which of the checkpoint.
func (r *router) operators() {
	taken := map[string]string{}
	for _, o := range r.m.Operators {
		if r.dropped[place{uid: o.UID}] {
			continue
		}
		to, renamed := r.wholes[o.UID]
		if !renamed {
			if _, ok := r.ops[o.UID]; !ok {
				continue
			}
			to = o.UID
		}
		if first, twice := taken[to]; twice {
			if o.UID != to && first != to {
				r.fault("Rename maps both %q and %q to %q; let one go there, and single states of the other", first, o.UID, to)
			} else {
				r.fault("Rename maps %q to %q, and the checkpoint has an operator %[2]q that goes there as well; rename or drop one", otherThan(first, o.UID, to), to)
			}
			continue
		}
		taken[to] = o.UID
		r.whole[o.UID] = to
	}
}

// otherThan is the one of a and b that is not known.
func otherThan(a, b, known string) string {
	if a == known {
		return b
	}
	return a
}

// statesOf finds where each state goes.
func (r *router) statesOf() {
	taken := map[place]place{}
	for _, o := range r.m.Operators {
		to, follows := r.whole[o.UID]
		for _, d := range o.States {
			from := place{o.UID, d.Name}
			goal, mapped := r.parts[from]
			switch {
			case r.dropped[from]:
				continue
			case !mapped && r.dropped[place{uid: o.UID}]:
				r.dropped[from] = true
				continue
			case !mapped && !follows:
				continue
			case !mapped:
				if goal = (place{to, d.Name}); !declares(r.ops[to].States, d.Name) {
					continue
				}
			}
			if first, twice := taken[goal]; twice {
				r.fault("states %q and %q both go to %q; rename or drop one", first, from, goal)
				continue
			}
			taken[goal] = from
			r.states[from] = goal
		}
	}
}

// names are the uids of the checkpoint.
func (m *Manifest) names() []string {
	names := make([]string, len(m.Operators))
	for i, o := range m.Operators {
		names[i] = o.UID
	}
	return names
}

// remains lists what of the operator does not go with single states: what a uid that is gone would lose.
func (o *OperatorState) remains() (what []string) {
	var splits, finished, raw int
	for _, s := range o.Subtasks {
		splits, finished, raw = splits+len(s.Splits), finished+len(s.Finished), raw+len(s.Raw)
	}
	for _, x := range []struct {
		n    int
		what string
	}{{splits, "splits"}, {finished, "finished splits"}, {raw, "blobs of raw state"}, {len(o.Committables), "committables"}} {
		if x.n > 0 {
			what = append(what, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	if len(o.Enumerator) > 0 {
		what = append(what, "an enumerator")
	}
	return what
}
