package savepoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
	"golang.org/x/sync/errgroup"
)

// Write makes a portable savepoint of s in dst, a storage that holds nothing else (checkpoint.Dir of a folder of its own, or checkpoint.Under), and returns
// its address for Open, checkpoint.Load and the start of a job. It is read and written as a stream: memory is some MB for each state of an operator,
// temporary files are those that wait to be stored. After an error nothing is there that counts, and what was written has been deleted as far as possible.
func (s *Savepoint) Write(ctx context.Context, dst checkpoint.Storage, o Options) (uri string, err error) {
	return s.Edit().Write(ctx, dst, o)
}

// FromCheckpoint makes a portable savepoint in dst of a completed checkpoint whose manifest is at hand; see Savepoint.Write. The caller makes sure that the
// checkpoint is not pruned meanwhile.
func FromCheckpoint(ctx context.Context, m *checkpoint.Manifest, files state.Files, dst checkpoint.Storage, o Options) (uri string, err error) {
	return From(fmt.Sprintf("checkpoint %d", m.ID), m, files).Write(ctx, dst, o)
}

// Write makes the savepoint in dst; see Savepoint.Write. The Builder may be used again.
func (b *Builder) Write(ctx context.Context, dst checkpoint.Storage, o Options) (uri string, err error) {
	if err := errors.Join(o.Validate(), b.Err()); err != nil {
		return "", err
	}
	sw, err := checkpoint.CreateSavepoint(ctx, dst, o.Logger)
	if err != nil {
		return "", err
	}
	w := &writing{b: b, o: o.withDefaults(), sw: sw}
	m, err := w.run(ctx)
	if err == nil {
		uri, err = sw.Complete(ctx, m)
	}
	if err != nil {
		return "", errors.Join(err, sw.Abort(context.WithoutCancel(ctx)))
	}
	return uri, nil
}

// writing is one run of Builder.Write.
type writing struct {
	b  *Builder
	o  Options
	sw *checkpoint.SavepointWriter

	mu sync.Mutex
	p  Progress
}

// run writes all files and returns the manifest.
func (w *writing) run(ctx context.Context) (*checkpoint.Manifest, error) {
	m := w.b.header()
	uids := w.b.uids()
	m.Operators = make([]checkpoint.OperatorState, len(uids))
	w.p.Operators = len(uids)
	for _, uid := range uids {
		w.p.AllSize += stateBytes(w.b.ops[uid].base)
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(w.o.Workers)
	for i, uid := range uids {
		work.Go(func() (err error) {
			op := &opWriter{w: w, uid: uid, edit: w.b.ops[uid]}
			if m.Operators[i], err = op.run(ctx); err != nil {
				return err
			}
			w.progress(func(p *Progress) {
				p.UID, p.Done, p.FilesBytes = uid, p.Done+1, p.FilesBytes+stateBytes(op.edit.base)
			})
			return nil
		})
	}
	return m, work.Wait()
}

func (w *writing) progress(change func(*Progress)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.p)
	w.o.Progress(w.p)
}

// opWriter writes one operator.
type opWriter struct {
	w       *writing
	ctx     context.Context
	uploads *errgroup.Group
	uid     string
	edit    *operatorEdit
	outs    []*stateOut
	// n and bytes are counted here and reported now and then.
	n, bytes int64
}

const reportEvery = 1 << 16 // entries

func (op *opWriter) run(ctx context.Context) (out checkpoint.OperatorState, err error) {
	op.uploads, op.ctx = errgroup.WithContext(ctx)
	op.uploads.SetLimit(uploads)
	err = op.entries()
	for _, s := range op.outs {
		if err == nil {
			err = s.finish()
		}
		s.discard()
	}
	// Uploads end before anything is deleted. Their error is why the context of the rest was cancelled.
	if up := op.uploads.Wait(); up != nil {
		err = up
	}
	if err != nil {
		return out, err
	}
	op.report()
	return op.operator(), nil
}

// entries gives every entry to the state that it goes to.
func (op *opWriter) entries() error {
	if base := op.edit.base; base != nil {
		err := op.w.b.base.entries(op.ctx, base.UID, "", func(e *Entry) error {
			s, err := op.out(e.Of.Name, e.Broadcast)
			if err != nil || s == nil {
				return err
			}
			return s.take(e)
		})
		if err != nil {
			return err
		}
	}
	for _, k := range op.edit.edited() {
		s, err := op.out(k.name, k.broadcast)
		if err != nil {
			return err
		}
		if err := s.additions(nil); err != nil {
			return err
		}
	}
	return nil
}

func (op *opWriter) report() {
	n, bytes := op.n, op.bytes
	op.n, op.bytes = 0, 0
	op.w.progress(func(p *Progress) { p.UID, p.Entries, p.Bytes = op.uid, p.Entries+n, p.Bytes+bytes })
}

// out is where entries of a state go; nil when the state is dropped.
func (op *opWriter) out(name string, broadcast bool) (*stateOut, error) {
	for _, s := range op.outs {
		if s.d.Name == name && s.broadcast == broadcast {
			return s, nil
		}
	}
	if op.edit.dropped[name] {
		return nil, nil
	}
	d, ok := op.edit.descriptor(name)
	if !ok {
		return nil, fmt.Errorf("savepoint: operator %q holds entries of state %q, which its manifest does not name", op.uid, name)
	}
	s := &stateOut{op: op, d: d, broadcast: broadcast, max: op.w.b.maxParallelism}
	if broadcast {
		s.max = 1
	}
	s.edits = op.edit.sorted(stateKey{name, broadcast}, s.max)
	op.outs = append(op.outs, s)
	return s, nil
}

// operator is the entry of the manifest.
func (op *opWriter) operator() checkpoint.OperatorState {
	out := checkpoint.OperatorState{UID: op.uid, Parallelism: 1, Enumerator: op.edit.enumerator, Committables: op.edit.committables}
	if op.edit.base != nil {
		out.Earlier = op.edit.base.Earlier
	}
	t := op.edit.rest
	t.Groups = state.GroupRange{Start: 0, End: op.w.b.maxParallelism}
	t.Files, t.Broadcast = nil, nil
	slices.SortFunc(op.outs, func(a, b *stateOut) int { return cmp.Compare(a.d.Name, b.d.Name) })
	used := map[string][]string{}
	for _, s := range op.outs {
		used[s.d.Name] = s.schemas
	}
	for _, d := range op.edit.descriptors() {
		d.Schemas = used[d.Name]
		if d.Kind != state.KindTimers && !slices.Contains(d.Schemas, d.Value) {
			d.Schemas = append(d.Schemas, d.Value)
		}
		if len(d.Schemas) == 1 && d.Schemas[0] == d.Value {
			d.Schemas = nil
		}
		out.States = append(out.States, d)
	}
	for _, s := range op.outs {
		for _, h := range s.handles {
			if s.broadcast {
				t.Broadcast = append(t.Broadcast, *h)
			} else {
				t.Files = append(t.Files, *h)
			}
		}
	}
	out.Subtasks = []checkpoint.SubtaskState{t}
	return out
}

// label is a part of a file's name that says what is in it.
func label(uid, name string) string {
	clean := func(s string) string {
		s = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return '-'
		}, s)
		return s[:min(len(s), 48)]
	}
	return clean(uid) + "." + clean(name)
}
