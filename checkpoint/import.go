package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// importWorkers is how many objects are copied at once: enough to hide the latency of an object store, few enough to leave a network to others.
const importWorkers = 8

// copier is implemented by Objects that copy an object of another store of their kind without reading it.
type copier interface {
	// copyFrom creates the object name as a copy of srcName in src. An error that wraps errors.ErrUnsupported says that these two stores cannot.
	copyFrom(ctx context.Context, src Objects, srcName, name string) error
}

// Import makes a checkpoint of another storage one that this journal's manifests can name. m and from are what Load gave. The tables that m names,
// FileBase and FileDelta, are copied into the journal's storage: by hard links between two directories, by the store itself between two
// places in S3, and otherwise by reading and writing them. The result is m with the names of the copies, to be planned and restored with the
// returned Files; m stays as it is. State files and container files keep their names: a restore reads them once, through the same Files, and
// no later checkpoint names them.
//
// The copies are of no checkpoint yet. They are safe until the first checkpoint of this leader completes: it has to name those that are
// still needed, which a store that has attached them does by itself. When the attempt ends before, they are garbage, and the next attempt
// imports again. The other storage keeps what is its own and is not changed: what was imported is not needed any more, and may be
// dropped there. A checkpoint of a running job may be pruned during the import, which then fails; a savepoint is pinned.
//
// When from is of this journal's storage, or m names no tables, nothing is copied and m and from are returned. progress, which may
// be nil, is called after each object with the bytes of content done and in all, one call at a time. An error has copied some objects, which
// are deleted later.
func (j *Journal) Import(ctx context.Context, m *Manifest, from state.Files, progress func(done, total int64)) (*Manifest, state.Files, error) {
	src, ok := from.(*files)
	if ok && src.s.url == j.s.url {
		return m, from, nil
	}
	im := &importer{to: &files{s: j.s, epoch: j.Epoch(), id: j.NextID()}, from: from, names: map[string]bool{}, copies: map[string]state.File{}, progress: progress}
	if ok {
		im.src = src.s
	}
	for f := range m.tables() {
		if !im.names[f.Name] {
			im.names[f.Name] = true
			im.tables = append(im.tables, *f)
			im.total += f.Size
		}
	}
	if len(im.tables) == 0 {
		return m, from, nil
	}
	j.s.log.Info("checkpoint: importing tables of another storage", zap.Int("objects", len(im.tables)), zap.Int64("bytes", im.total),
		zap.String("storage", j.s.url))
	if err := im.run(ctx); err != nil {
		return nil, nil, err
	}
	m = m.clone()
	own := map[string]bool{}
	for f := range m.tables() {
		c := im.copies[f.Name]
		f.Name, f.Sums = c.Name, c.Sums
		own[c.Name] = true
	}
	return m, &importedFiles{own: im.to, names: own, from: from}, nil
}

// tables are the handles of tables in objects.
func (m *Manifest) tables() func(yield func(*state.File) bool) {
	return func(yield func(*state.File) bool) {
		for _, o := range m.Operators {
			for i := range o.Subtasks {
				files := o.Subtasks[i].Files
				for k := range files {
					if f := &files[k]; f.Name != "" && (f.Kind == state.FileBase || f.Kind == state.FileDelta) && !yield(f) {
						return
					}
				}
			}
		}
	}
}

// clone copies m as deep as handles of files.
func (m *Manifest) clone() *Manifest {
	c := *m
	c.Operators = append([]OperatorState(nil), m.Operators...)
	for i := range c.Operators {
		o := &c.Operators[i]
		o.Subtasks = append([]SubtaskState(nil), o.Subtasks...)
		for k := range o.Subtasks {
			o.Subtasks[k].Files = append([]state.File(nil), o.Subtasks[k].Files...)
		}
	}
	return &c
}

// importer copies objects.
type importer struct {
	to       *files
	from     state.Files
	src      *store // nil: from is not of this package
	names    map[string]bool
	tables   []state.File
	total    int64
	progress func(done, total int64)

	mu     sync.Mutex
	copies map[string]state.File // by old name
	done   int64
}

func (im *importer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan state.File)
	var wg sync.WaitGroup
	for range min(importWorkers, len(im.tables)) {
		wg.Go(func() {
			for f := range next {
				if err := im.one(ctx, f); err != nil {
					cancel(err) // the first one counts
					return
				}
			}
		})
	}
feed:
	for _, f := range im.tables {
		select {
		case next <- f:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func (im *importer) one(ctx context.Context, f state.File) error {
	c, err := im.copy(ctx, f)
	if err != nil {
		return fmt.Errorf("checkpoint: import of %q: %w", f.Name, err)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.copies[f.Name] = c
	im.done += f.Size
	if im.progress != nil {
		im.progress(im.done, im.total)
	}
	return nil
}

func (im *importer) copy(ctx context.Context, f state.File) (state.File, error) {
	if c, err := im.copyInStore(ctx, f); !errors.Is(err, errors.ErrUnsupported) {
		return c, err
	}
	r, err := im.from.Read(ctx, f)
	if err != nil {
		return state.File{}, err
	}
	defer r.Close()
	// The reader has compared the SHA-256 when it gives io.EOF: nothing that differs gets a handle.
	return im.to.Write(ctx, f.Groups, 0, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// copyInStore lets the store copy the object, if it can, and looks whether the copy is what it should be.
func (im *importer) copyInStore(ctx context.Context, f state.File) (state.File, error) {
	c, ok := im.to.s.o.(copier)
	if !ok || im.src == nil || f.Sums == "" {
		return state.File{}, errors.ErrUnsupported
	}
	if _, err := im.to.dataObject(f); err != nil {
		return state.File{}, err // a damaged manifest must not lead elsewhere
	}
	name := im.to.newName()
	err := im.to.s.retry(ctx, "copy", name, f.Size, func(ctx context.Context) error { return c.copyFrom(ctx, im.src.o, f.Name, name) })
	switch {
	case err != nil && ctx.Err() == nil:
		// A right that is lacking, another file system: reading and writing may work where copying does not, and says what is wrong if not.
		if err != errors.ErrUnsupported { // itself: two stores of different kinds
			im.to.s.log.Warn("checkpoint: the storage does not copy the object: it is read and written instead", zap.String("object", f.Name), zap.Error(err))
		}
		return state.File{}, fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
	case err != nil:
		return state.File{}, err
	}
	f.Name = name
	_, err = im.to.sums(ctx, f, im.to.s.object(name))
	return f, err
}

// importedFiles reads what was imported from the own storage and everything else from where it was.
type importedFiles struct {
	own   *files
	names map[string]bool // of the copies
	from  state.Files
}

func (f *importedFiles) of(h state.File) state.Files {
	if f.names[h.Name] {
		return f.own
	}
	return f.from
}

func (f *importedFiles) Read(ctx context.Context, h state.File) (io.ReadCloser, error) {
	return f.of(h).Read(ctx, h)
}

func (f *importedFiles) Open(ctx context.Context, h state.File) (state.Object, error) {
	return f.of(h).Open(ctx, h)
}

func (f *importedFiles) Write(context.Context, state.GroupRange, int, func(io.Writer) error) (state.File, error) {
	return state.File{}, errors.New("checkpoint: files of an imported checkpoint are there to be read")
}

func (f *importedFiles) Later() state.Files { return f }
