package checkpoint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// Report is what a verification has found.
type Report struct {
	// Checkpoints and savepoints whose manifests were read, Objects that were read whole, and the bytes of content in them.
	Checkpoints int
	Objects     int
	Bytes       int64
	// Faults are sorted by object and offset; none when everything is as it was written.
	Faults []Fault
}

// Fault is a part of an object that is not what was written, or could not be read.
type Fault struct {
	// Object with the URL of its storage; the manifest's for content that the manifest holds.
	Object string
	// Offset and Length are the bytes among which the fault is; Length is 0 when that is not known.
	Offset, Length int64
	// Needed says what cannot be restored, for instance `checkpoint 7, uid "agg"`; of an object that several need, one of them.
	Needed string
	// Err wraps ErrCorrupt, or is why the object could not be read.
	Err error
}

// Error names the need, the object and the place.
func (f Fault) Error() string { return fmt.Sprintf("%s: %v", f.Needed, f.Err) }

// Unwrap is Err.
func (f Fault) Unwrap() error { return f.Err }

// Err is nil when there are no faults, and otherwise all of them.
func (r *Report) Err() error {
	var errs []error
	for _, f := range r.Faults {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// Progress is how far a verification is.
type Progress struct {
	Objects, AllObjects int
	Bytes, AllBytes     int64
}

// VerifyFrom reads everything that a checkpoint or savepoint needs, or with name "" all that HEAD names, and compares sizes, checksums of
// chunks and SHA-256. name is Ref.Name. It goes on after a fault, so that the report is complete; each damaged chunk is a fault of its
// own. progress, which may be nil, is called after each object, one call at a time.
//
// It does not become the leader; of a running job it may report objects that were pruned meanwhile. The error is one that leaves nothing to
// report: a storage that cannot be opened, HEAD that cannot be read, or a ctx that has ended.
func VerifyFrom(ctx context.Context, st Storage, name string, progress func(Progress)) (*Report, error) {
	s, err := open(ctx, st, zap.NewNop())
	if err != nil {
		return nil, err
	}
	v := &verifier{report: &Report{}, progress: progress, seen: map[string]bool{}}
	refs := []Ref{{Name: name}}
	if name == "" {
		h, _, err := s.readHead(ctx)
		if err != nil {
			return nil, err
		}
		refs = h.refs()
	}
	for _, r := range refs {
		m, err := s.loadRef(ctx, r)
		if err != nil && name != "" && !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		if err != nil {
			v.fault("checkpoint "+r.Name, s.object(r.Name), err)
			continue
		}
		v.add(m, s.object(r.Name), &files{s: s})
	}
	return v.run(ctx)
}

// Verify is VerifyFrom of all that HEAD names, with the faults as an error.
func Verify(ctx context.Context, st Storage) error {
	r, err := VerifyFrom(ctx, st, "", nil)
	if err != nil {
		return err
	}
	return r.Err()
}

// loadRef reads a manifest. Where HEAD has an entry of it, size and SHA-256 are compared; without HEAD, or when it was taken out of HEAD, only
// the manifest's own checksum and the name say that it is the right one.
func (s *store) loadRef(ctx context.Context, r Ref) (*Manifest, error) {
	if r.Size > 0 {
		return s.readManifest(ctx, r)
	}
	n, ok := parseName(r.Name)
	if !ok || n.dir != ckptDir {
		return nil, fmt.Errorf("checkpoint: %q is not the name of a checkpoint", r.Name)
	}
	if h, _, err := s.readHead(ctx); err == nil {
		for _, known := range h.refs() {
			if known.Name == r.Name {
				return s.readManifest(ctx, known)
			}
		}
	}
	data, _, err := s.get(ctx, r.Name, manifestBytesMax)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(s.object(r.Name), data)
	if err == nil && (m.ID != n.id || m.Epoch != n.epoch) {
		return nil, &CorruptError{Object: s.object(r.Name), Length: int64(len(data)),
			Reason: fmt.Sprintf("it is the manifest of checkpoint %d of epoch %d, under the name of another", m.ID, m.Epoch)}
	}
	return m, err
}

// eachFile calls yield for every file that a restore of m needs, with what needs it.
func (m *Manifest) eachFile(yield func(needed string, f state.File)) {
	for _, c := range m.Channels {
		yield(fmt.Sprintf("checkpoint %d, records in flight on edge %q", m.ID, c.Edge), c.File)
	}
	for _, o := range m.Operators {
		for i, t := range o.Subtasks {
			for _, f := range t.objects() {
				yield(fmt.Sprintf("checkpoint %d, uid %q, subtask %d", m.ID, o.UID, i), f)
			}
		}
	}
}

// verifier collects what is to be read and reads it.
type verifier struct {
	jobs     []verifyJob
	seen     map[string]bool
	progress func(Progress)

	mu     sync.Mutex
	report *Report
	done   Progress
}

type verifyJob struct {
	needed, manifest string
	file             state.File
	from             state.Files
}

// add notes the files of a manifest, each object once.
func (v *verifier) add(m *Manifest, manifest string, from state.Files) {
	v.report.Checkpoints++
	m.eachFile(func(needed string, f state.File) {
		if f.Name != "" && v.seen[f.Name] {
			return
		}
		v.seen[f.Name] = true
		v.jobs = append(v.jobs, verifyJob{needed: needed, manifest: manifest, file: f, from: from})
		v.done.AllObjects++
		v.done.AllBytes += f.Size
	})
}

// verifyWorkers is how many objects are read at once.
const verifyWorkers = 4

func (v *verifier) run(ctx context.Context) (*Report, error) {
	next := make(chan verifyJob)
	var wg sync.WaitGroup
	for range verifyWorkers {
		wg.Go(func() {
			for job := range next {
				v.one(ctx, job)
			}
		})
	}
	for _, job := range v.jobs {
		if ctx.Err() == nil {
			next <- job
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("checkpoint: verification was ended: %w", context.Cause(ctx))
	}
	slices.SortFunc(v.report.Faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Offset, b.Offset)) })
	return v.report, nil
}

func (v *verifier) one(ctx context.Context, job verifyJob) {
	object := job.manifest
	f, ours := job.from.(*files)
	if ours && job.file.Name != "" {
		object = f.s.object(job.file.Name)
	}
	rows, portable := job.from.(savepointFiles)
	var errs []error
	if portable {
		object = rows.s.object(job.file.Name)
		errs = rows.verify(ctx, job.file)
	} else if ours && job.file.Sums != "" {
		errs = f.verify(ctx, job.file)
	} else if err := readThrough(ctx, job.from, job.file); err != nil {
		errs = []error{err}
	}
	for _, err := range errs {
		v.fault(job.needed, object, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Objects++
	v.report.Bytes += job.file.Size
	v.done.Objects++
	v.done.Bytes += job.file.Size
	if v.progress != nil {
		v.progress(v.done)
	}
}

func (v *verifier) fault(needed, object string, err error) {
	fault := Fault{Object: object, Needed: needed, Err: err}
	var c *CorruptError
	if errors.As(err, &c) {
		fault.Offset, fault.Length = c.Offset, c.Length
		if c.Object != inlineObject {
			fault.Object = c.Object
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Faults = append(v.report.Faults, fault)
}

// readThrough reads a file to its end, which checks it.
func readThrough(ctx context.Context, from state.Files, f state.File) error {
	r, err := from.Read(ctx, f)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// verify reads an object with a table of checksums and gives every fault in it.
func (f *files) verify(ctx context.Context, h state.File) (errs []error) {
	object, err := f.dataObject(h)
	if err != nil {
		return []error{err}
	}
	sums, err := f.sums(ctx, h, object)
	if err != nil {
		errs = append(errs, err)
	}
	return f.s.verifyContent(ctx, h, object, sums, errs)
}

// verifyContent appends every fault in the content of an object to errs. Without a table of checksums the content can still be compared as a whole.
func (s *store) verifyContent(ctx context.Context, h state.File, object string, sums *sumTable, errs []error) []error {
	const block = 16 * chunkBytes
	buf := make([]byte, min(block, h.Size))
	hash := sha256.New()
	for off := int64(0); off < h.Size; off += block {
		p := buf[:min(block, h.Size-off)]
		n, err := s.readRange(ctx, h.Name, off, p)
		switch {
		case err != nil && len(errs) > 0:
			return errs // the table could not be read either
		case err != nil:
			return append(errs, missing(object, h.Size, err))
		case n < len(p) && len(errs) > 0:
			return errs // which say so
		case n < len(p):
			return append(errs, corruptFile(object, off+int64(n), int64(len(p)-n), "it ends here, in the middle of its content"))
		}
		hash.Write(p)
		if sums == nil {
			continue
		}
		for c := 0; c < n; c += chunkBytes {
			if err := sums.check(off+int64(c), p[c:min(c+chunkBytes, n)]); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if sum := hash.Sum(nil); hex.EncodeToString(sum) != h.SHA256 && (len(errs) == 0 || sums == nil) {
		errs = append(errs, corruptSHA(object, h, sum))
	}
	return errs
}
