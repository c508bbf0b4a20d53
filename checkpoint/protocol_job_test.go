package checkpoint_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// process is one attempt of a job: a leader and its subtasks, which write a delta for each checkpoint and now and then, beside the
// checkpoints, a base.
type process struct {
	w      *world
	number int
	dead   bool       // decided by the scheduler
	until  int        // step before which it is not chosen
	rng    *rand.Rand // of the goroutine that leads
	// written counts objects, so that no two have the same content.
	written atomic.Int64
	j       *checkpoint.Journal
	tasks   []*subtask
}

// subtask keeps the chain of one subtask: base, then deltas, oldest first.
type subtask struct {
	base, deltas []state.File
	// next is the base that is being uploaded; nil for none.
	next *upload
}

// upload is a base on its way. Who holds the lock, a channel of one, may use the rest.
type upload struct {
	lock  chan struct{}
	files state.Files
	done  []state.File
	ended bool
	err   error
	// since is the number of deltas that the base makes superfluous.
	since int
}

// live is the life of a process.
func (p *process) live(ctx context.Context, checkpoints int) {
	j, err := checkpoint.Lead(ctx, &simStore{Memory: p.w.memory, w: p.w, p: p}, nil)
	if err != nil {
		return
	}
	p.j = j
	for i := range 2 {
		s := &subtask{}
		if m := j.Latest(); m != nil {
			for _, f := range m.Operators[0].Subtasks[i].Files {
				if f.Kind == state.FileBase {
					s.base = append(s.base, f)
				} else {
					s.deltas = append(s.deltas, f)
				}
			}
		}
		p.tasks = append(p.tasks, s)
	}
	var beside sync.WaitGroup // goroutines of the process that the leader does not wait for
	defer beside.Wait()
	for id := j.NextID(); checkpoints > 0; id++ {
		checkpoints--
		m, err := p.snapshot(ctx, id, &beside)
		if err != nil || p.rng.IntN(6) == 0 {
			// A checkpoint that is given up: what was uploaded for it is named by the next one, under the names of this one.
			continue
		}
		if !p.complete(ctx, m) {
			return
		}
		if p.rng.IntN(3) > 0 {
			beside.Go(func() { p.prune(ctx) })
		} else {
			p.prune(ctx)
		}
	}
}

// complete records the checkpoint and tells the world of it.
func (p *process) complete(ctx context.Context, m *checkpoint.Manifest) bool {
	var err error
	if p.rng.IntN(5) == 0 {
		_, err = p.j.Savepoint(ctx, m)
	} else {
		err = p.j.Complete(ctx, m)
	}
	if err != nil {
		return false // fenced, dead, or the outcome is unknown: the attempt is over
	}
	p.w.tell(told{id: m.ID, epoch: m.Epoch})
	if s := p.j.Savepoints(); len(s) > 1 {
		_ = p.j.DropSavepoint(ctx, p.j.URL(s[0])) // an error shows at the next call
	}
	return true
}

// prune goes wrong as the world wants it.
func (p *process) prune(ctx context.Context) {
	retain := 1 + p.number%2
	if p.w.fault == faultNone || !p.w.fault.ofGC() {
		_ = p.j.Prune(ctx, retain) // what it leaves is found by a later one
		return
	}
	_ = checkpoint.PruneBroken(ctx, p.j, retain, string(p.w.fault))
}

// snapshot has every subtask write its delta and makes the manifest.
func (p *process) snapshot(ctx context.Context, id int64, beside *sync.WaitGroup) (*checkpoint.Manifest, error) {
	m := &checkpoint.Manifest{ID: id, Epoch: p.j.Epoch(), MaxParallelism: 4, Operators: []checkpoint.OperatorState{{UID: "op", Parallelism: 2,
		Subtasks: []checkpoint.SubtaskState{{Groups: state.GroupRange{End: 2}}, {Groups: state.GroupRange{Start: 2, End: 4}}}}}}
	files := p.j.Files(id)
	for i, s := range p.tasks {
		delta, err := p.write(ctx, files, state.FileDelta)
		if err != nil {
			return nil, err // its content is part of the next delta
		}
		s.deltas = append(s.deltas, delta)
		st := &m.Operators[0].Subtasks[i]
		s.bases(ctx, p, files.Later(), st, beside)
		st.Files = slices.Concat(s.base, s.deltas)
	}
	return m, nil
}

func (p *process) write(ctx context.Context, files state.Files, kind state.FileKind) (state.File, error) {
	f, err := files.Write(ctx, state.GroupRange{End: 4}, 0, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s of process %d, %d", kind, p.number, p.written.Add(1))
		return err
	})
	f.Kind = kind
	return f, err
}

// bases takes the upload of a base along: it goes on with the names of the next checkpoint, and is pending or becomes the base.
func (s *subtask) bases(ctx context.Context, p *process, later state.Files, st *checkpoint.SubtaskState, beside *sync.WaitGroup) {
	if s.next == nil {
		if p.rng.IntN(3) > 0 {
			return
		}
		u := &upload{lock: make(chan struct{}, 1), files: later, since: len(s.deltas)}
		s.next = u
		tables := 2 + p.rng.IntN(3)
		beside.Go(func() { u.run(ctx, p, tables) })
		return
	}
	u := s.next
	u.lock <- struct{}{} // waits for the object that is being written
	defer func() { <-u.lock }()
	u.files = later
	switch {
	case u.err != nil:
		s.next = nil // given up; what it has stored is garbage
	case u.ended:
		// The whole base at once: before, deltas and old base are the state.
		s.base, s.deltas, s.next = u.done, s.deltas[u.since:], nil
	default:
		for _, f := range u.done {
			st.Pending = append(st.Pending, f.Name)
		}
	}
}

func (u *upload) run(ctx context.Context, p *process, tables int) {
	for range tables {
		u.lock <- struct{}{}
		f, err := p.write(ctx, u.files, state.FileBase)
		if err == nil {
			u.done = append(u.done, f)
		}
		u.err, u.ended = err, len(u.done) == tables
		<-u.lock
		if err != nil {
			return
		}
	}
}
