package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/state"
	"go.uber.org/zap"
)

// A portable savepoint is a folder of its own, anywhere:
//
//	manifest.json             what a checkpoint's manifest has, sealed as "savepoint"; written last
//	<label>-<random>.avro     container files, see state.ReadRows
//
// Names in the manifest are relative to the folder: it may be moved or copied with any tool. Nothing in it depends on the storage's HEAD, so no
// job deletes any of it. Each operator has one subtask, whatever parallelism it was taken at: what subtasks had stands together there.

// SavepointDir is the folder below a storage of checkpoints in which savepoints are kept when nothing else is said.
const SavepointDir = "sp"

const savepointManifest = "manifest.json"

// SavepointWriter writes a portable savepoint. Its methods may be called from many goroutines.
type SavepointWriter struct {
	s *store

	mu      sync.Mutex
	written []string
}

// CreateSavepoint begins a savepoint in st, a storage that holds nothing else; see Under. A savepoint that is there already is an error.
// Nothing counts before Complete. log may be nil.
func CreateSavepoint(ctx context.Context, st Storage, log *zap.Logger) (*SavepointWriter, error) {
	s, err := open(ctx, st, log)
	if err != nil {
		return nil, err
	}
	_, _, err = s.get(ctx, savepointManifest, manifestBytesMax)
	switch {
	case err == nil:
		return nil, fmt.Errorf("checkpoint: there is a savepoint in %s already: %w; give another place", s.url, ErrExists)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	return &SavepointWriter{s: s}, nil
}

// Create begins a file, which is stored by Finish. label, of letters, digits, '.', '_' and '-', becomes part of its name.
func (w *SavepointWriter) Create(label string) *SavepointFile {
	name := fmt.Sprintf("%s-%s.avro", label, rand.Text())
	return &SavepointFile{w: w, name: name, spool: newSpool(w.s.o, name)}
}

// SavepointFile is a file of a savepoint that is being written. One goroutine uses it.
type SavepointFile struct {
	w     *SavepointWriter
	name  string
	spool *spool
}

// Write adds to the content. It is kept in memory or in a temporary file until Finish.
func (f *SavepointFile) Write(p []byte) (int, error) { return f.spool.Write(p) }

// Size is that of the content so far, in bytes.
func (f *SavepointFile) Size() int64 { return f.spool.size }

// Finish stores the file and completes its handle h, of which the caller has set Groups and Rows. It also does what Discard does.
func (f *SavepointFile) Finish(ctx context.Context, h state.File) (state.File, error) {
	defer f.Discard()
	rows := *h.Rows
	table, _ := f.spool.sums.finish()
	rows.Sums = table[:4*chunkCount(f.spool.size)]
	h.Kind, h.Name, h.Size, h.SHA256, h.Rows = state.FileRows, f.name, f.spool.size, f.spool.sha256(), &rows
	body, err := f.spool.body()
	if err != nil {
		return state.File{}, err
	}
	f.w.mu.Lock()
	f.w.written = append(f.w.written, f.name)
	f.w.mu.Unlock()
	return h, f.w.s.put(ctx, h.Name, body, h.Size, h.SHA256)
}

// Discard frees the memory or temporary file.
func (f *SavepointFile) Discard() { f.spool.close() }

// Complete writes the manifest: from then on there is a savepoint. uri is its address for Load. ErrExists: somebody else has written one
// meanwhile.
func (w *SavepointWriter) Complete(ctx context.Context, m *Manifest) (uri string, err error) {
	m.Version, m.Savepoint = FormatVersion, true
	if err := m.Validate(); err != nil {
		return "", err
	}
	data, err := seal("savepoint", m)
	if err != nil {
		return "", err
	}
	if err := w.s.put(ctx, savepointManifest, bytes.NewReader(data), int64(len(data)), tagOf(data)); err != nil {
		return "", err
	}
	return w.s.url, nil
}

// Abort deletes the files that were written. It is called instead of Complete, or after one that failed with ErrExists.
func (w *SavepointWriter) Abort(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, name := range w.written {
		errs = append(errs, w.s.delete(ctx, name))
	}
	return errors.Join(errs...)
}

// LoadSavepoint reads the portable savepoint in st. An error that wraps ErrNotFound says that there is none: it was never completed, or is somewhere else.
func LoadSavepoint(ctx context.Context, st Storage) (*Manifest, state.Files, error) {
	s, err := open(ctx, st, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	data, _, err := s.get(ctx, savepointManifest, manifestBytesMax)
	if err != nil {
		return nil, nil, err
	}
	m, object := new(Manifest), s.object(savepointManifest)
	if err := unseal(object, "savepoint", data, m); err != nil {
		return nil, nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, nil, &CorruptError{Object: object, Reason: "its checksum is right but its content is not: " + err.Error()}
	}
	return m, savepointFiles{s: s}, nil
}

// savepointStorages are the storages that uri may name a portable savepoint in, the likelier first.
func savepointStorages(uri string) ([]Storage, error) {
	base, query, found := strings.Cut(uri, "?")
	base = strings.TrimSuffix(strings.TrimSuffix(base, "/"+savepointManifest), "/")
	raw := func(base string) string {
		if found {
			return base + "?" + query
		}
		return base
	}
	var out []Storage
	dir, name := path.Split(base)
	dir = strings.TrimSuffix(dir, "/")
	if path.Base(dir) == SavepointDir && ValidName(name) == nil {
		// The storage around it may be one of checkpoints: then nothing is made inside of the savepoint to read it.
		if parent := strings.TrimSuffix(strings.TrimSuffix(dir, SavepointDir), "/"); parent != "" && !strings.HasSuffix(parent, ":/") {
			st, err := OpenURL(raw(parent))
			if err != nil {
				return nil, err
			}
			out = append(out, Under(st, SavepointDir+"/"+name))
		}
	}
	st, err := OpenURL(raw(base))
	if err != nil {
		return nil, err
	}
	return append(out, st), nil
}

// loadSavepoint is LoadSavepoint of the savepoint that uri names; found is false when it names none.
func loadSavepoint(ctx context.Context, uri string) (m *Manifest, f state.Files, found bool, err error) {
	stores, err := savepointStorages(uri)
	if err != nil {
		return nil, nil, false, err
	}
	for _, st := range stores {
		if m, f, err = LoadSavepoint(ctx, st); !errors.Is(err, ErrNotFound) {
			return m, f, true, err
		}
	}
	return nil, nil, false, nil
}

// VerifyURL is VerifyFrom for what uri names: a checkpoint or native savepoint, a portable savepoint, or a storage, of which all that HEAD names is
// read.
func VerifyURL(ctx context.Context, uri string, progress func(Progress)) (*Report, error) {
	storage, name := splitURL(uri)
	if name == "" {
		stores, err := savepointStorages(uri)
		if err != nil {
			return nil, err
		}
		for _, st := range stores {
			if r, err := verifySavepoint(ctx, st, progress); !errors.Is(err, ErrNotFound) {
				return r, err
			}
		}
	}
	st, err := OpenURL(storage)
	if err != nil {
		return nil, err
	}
	return VerifyFrom(ctx, st, name, progress)
}

// verifySavepoint is VerifyFrom for a portable savepoint.
func verifySavepoint(ctx context.Context, st Storage, progress func(Progress)) (*Report, error) {
	v := &verifier{report: &Report{}, progress: progress, seen: map[string]bool{}}
	m, f, err := LoadSavepoint(ctx, st)
	object := joinURL(st.URL(), savepointManifest)
	switch {
	case errors.Is(err, ErrCorrupt):
		v.fault("savepoint", object, err)
	case err != nil:
		return nil, err
	default:
		v.add(m, object, f)
	}
	return v.run(ctx)
}

// savepointFiles reads the files of a portable savepoint.
type savepointFiles struct{ s *store }

func (f savepointFiles) Write(context.Context, state.GroupRange, int, func(io.Writer) error) (state.File, error) {
	return state.File{}, fmt.Errorf("checkpoint: savepoint %s was opened to read", f.s.url)
}

func (f savepointFiles) Later() state.Files { return f }

func (f savepointFiles) Read(ctx context.Context, h state.File) (io.ReadCloser, error) {
	sums, err := f.sums(h)
	if err != nil {
		return nil, err
	}
	return rowsObject{newChunkReader(ctx, f.s, h, sums)}, nil
}

// sums checks the handle of a file and gives its table of checksums.
func (f savepointFiles) sums(h state.File) (*sumTable, error) {
	object := f.s.object(h.Name)
	if h.Name == "" || h.Rows == nil || h.Size < 0 || int64(len(h.Rows.Sums)) != 4*chunkCount(h.Size) || strings.Contains(h.Name, "/") {
		return nil, &CorruptError{Object: object, Reason: "the manifest names it, but it is no file of rows with checksums"}
	}
	return &sumTable{object: object, size: h.Size, sums: h.Rows.Sums}, nil
}

// verify gives every fault of a file. What follows its content is one too: an Avro tool would take it for rows.
func (f savepointFiles) verify(ctx context.Context, h state.File) []error {
	sums, err := f.sums(h)
	if err != nil {
		return []error{err}
	}
	errs := f.s.verifyContent(ctx, h, sums.object, sums, nil)
	switch n, err := f.s.readRange(ctx, h.Name, h.Size, make([]byte, 1)); {
	case n > 0:
		errs = append(errs, corruptFile(sums.object, h.Size, 1, fmt.Sprintf("it has more than the %d bytes that it should have", h.Size)))
	case err != nil && len(errs) == 0:
		errs = append(errs, missing(sums.object, h.Size, err))
	}
	return errs
}

// rowsObject reads a file of rows.
type rowsObject struct{ *chunkReader }

func (r rowsObject) Read(p []byte) (int, error) {
	n, err := r.chunkReader.Read(p)
	if errors.Is(err, ErrNotFound) {
		err = missing(r.sums.object, r.sums.size, err)
	}
	return n, err
}

func (f savepointFiles) Open(ctx context.Context, h state.File) (state.Object, error) {
	r, err := f.Read(ctx, h)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return content(data), nil
}
