package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// Journal is the record of completed checkpoints of one leader. All methods may be called from many goroutines; writes go one
// after the other.
type Journal struct {
	s *store

	// pruning is held by Prune from its conditional write to its last delete. Lock order: pruning, then mu. Deleting takes long on
	// an object store and must not hold up the completion of the next checkpoint.
	pruning lock

	mu     lock
	head   *head
	tag    string
	latest *Manifest
	// broken is why no further write is possible: fenced, or an outcome is unknown.
	broken error
	// manifests caches the content of retained manifests by name, for Prune.
	manifests map[string]*Manifest
	// changes counts what may have left objects behind: the start, for those of earlier epochs, and each entry that leaves HEAD. All
	// up to swept have been cleaned up after.
	changes, swept int64
}

// lock is a mutex that is held while the storage is called. It is a channel of one, and no sync.Mutex, so that testing/synctest knows of those who
// wait for it: the simulation of the protocol runs this code.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// Lead makes the caller the leader of the job that st belongs to: it raises the epoch in HEAD by a conditional write, which fences
// every earlier leader. It is called at each start and at each restart of the job, before anything is restored; log may be nil.
//
// ErrFenced: another process became the leader at the same moment. *CorruptError: HEAD or the newest checkpoint is not what was
// written; Lead never goes back to an older checkpoint by itself, since output after it may be committed already.
func Lead(ctx context.Context, st Storage, log *zap.Logger) (*Journal, error) {
	s, err := open(ctx, st, log)
	if err != nil {
		return nil, err
	}
	h, tag, err := s.readHead(ctx)
	if err != nil {
		return nil, err
	}
	j := &Journal{s: s, pruning: make(lock, 1), mu: make(lock, 1), manifests: map[string]*Manifest{}, changes: 1}
	if r, ok := h.latest(); ok {
		// Before the epoch is raised: a storage that this process cannot use is no reason to stop a leader that can.
		if j.latest, err = s.readManifest(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := s.probe(ctx, h.Epoch); err != nil {
		return nil, err
	}
	h.Epoch++
	j.head, j.tag = h, tag
	if err := j.swapHead(ctx, h); err != nil {
		return nil, err
	}
	s.log.Info("checkpoint: leading", zap.String("storage", s.url), zap.Int64("epoch", h.Epoch), zap.Int64("last_checkpoint", h.LastID))
	return j, nil
}

func open(ctx context.Context, st Storage, log *zap.Logger) (*store, error) {
	if st == nil {
		return nil, errors.New("checkpoint: no storage given; use checkpoint.Dir(path) or checkpoint.S3(options)")
	}
	if err := st.Validate(); err != nil {
		return nil, err
	}
	o, err := st.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newStore(o, st.URL(), log), nil
}

// readHead reads HEAD; a fresh storage gives the zero head with the empty tag.
func (s *store) readHead(ctx context.Context) (*head, string, error) {
	data, tag, err := s.get(ctx, headName, headBytesMax)
	if errors.Is(err, ErrNotFound) {
		left, err := s.list(ctx, ckptDir+"/")
		if err != nil {
			return nil, "", err
		}
		if len(left) > 0 {
			// HEAD is written before anything else: it was here.
			return nil, "", &CorruptError{Object: s.object(headName), Reason: fmt.Sprintf("it is missing, but there are %d manifests", len(left)),
				Remedy: fmt.Sprintf("restore it from a copy, or start in an empty storage from the checkpoint %s", s.object(left[len(left)-1]))}
		}
		return new(head), "", nil
	}
	if err != nil {
		return nil, "", err
	}
	h, err := decodeHead(s.object(headName), data)
	var c *CorruptError
	if errors.As(err, &c) {
		c.Remedy = "restore it from a copy, or start in an empty storage from one of the checkpoints under " + s.object(ckptDir)
	}
	return h, tag, err
}

func (s *store) readManifest(ctx context.Context, r Ref) (*Manifest, error) {
	remedy := fmt.Sprintf("restore the object from a copy, or start in an empty storage from an older checkpoint under %s "+
		"(output that was committed after it will be written again)", s.object(ckptDir))
	data, _, err := s.get(ctx, r.Name, r.Size)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, &CorruptError{Object: s.object(r.Name), Length: r.Size, Reason: "it is missing, but HEAD names it", Remedy: remedy}
	case err != nil:
		return nil, err
	case int64(len(data)) != r.Size || tagOf(data) != r.SHA256:
		return nil, &CorruptError{Object: s.object(r.Name), Length: max(r.Size, int64(len(data))), Remedy: remedy,
			Reason: fmt.Sprintf("it has %d bytes with SHA-256 %s, HEAD says %d bytes with %s", len(data), tagOf(data), r.Size, r.SHA256)}
	}
	m, err := decodeManifest(s.object(r.Name), data)
	var c *CorruptError
	if errors.As(err, &c) {
		c.Remedy = remedy
	}
	return m, err
}

// Epoch is the epoch of this leader, at least 1.
func (j *Journal) Epoch() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.Epoch
}

// Latest is the newest completed checkpoint, nil if there is none. It is shared: nobody changes it.
func (j *Journal) Latest() *Manifest {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.latest
}

// NextID is the least id that the next checkpoint may have. A job that starts from a checkpoint of another storage takes the larger
// of this and that checkpoint's id + 1, so that a sink never sees ids go back.
func (j *Journal) NextID() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.LastID + 1
}

// Checkpoints lists the retained checkpoints, oldest first; Savepoints the pinned savepoints.
func (j *Journal) Checkpoints() []Ref { return j.copyHead().Checkpoints }

// Savepoints lists the savepoints that are kept until DropSavepoint, oldest first.
func (j *Journal) Savepoints() []Ref { return j.copyHead().Savepoints }

func (j *Journal) copyHead() *head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.clone()
}

// URL is the address of the checkpoint or savepoint for Load.
func (j *Journal) URL(r Ref) string { return j.s.object(r.Name) }

// Complete makes the checkpoint durable: it writes the manifest and then, by one conditional write, its entry in HEAD. When it
// returns nil the checkpoint is complete: committables may be committed. m.Epoch must be Epoch and m.ID at least NextID.
//
// ErrFenced: another leader has taken over. ErrUnknownOutcome: the checkpoint may be complete; Lead finds out. After either one every
// further write fails. After any other error the checkpoint is not complete.
func (j *Journal) Complete(ctx context.Context, m *Manifest) error {
	_, err := j.record(ctx, m, false)
	return err
}

// Savepoint does what Complete does, for a savepoint: it is a recovery point like any other, since its output is committed too, and
// it is pinned in HEAD, so that Prune never removes it. uri is its address for Load.
func (j *Journal) Savepoint(ctx context.Context, m *Manifest) (uri string, err error) {
	r, err := j.record(ctx, m, true)
	if err != nil {
		return "", err
	}
	return j.URL(r), nil
}

func (j *Journal) record(ctx context.Context, m *Manifest, savepoint bool) (Ref, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken != nil:
		return Ref{}, j.broken
	case m.Epoch != j.head.Epoch:
		return Ref{}, fmt.Errorf("checkpoint: manifest %d has epoch %d, this leader has %d", m.ID, m.Epoch, j.head.Epoch)
	case m.ID <= j.head.LastID:
		return Ref{}, fmt.Errorf("checkpoint: manifest has id %d, want at least %d", m.ID, j.head.LastID+1)
	}
	data, err := encodeManifest(m)
	if err != nil {
		return Ref{}, err
	}
	r := Ref{ID: m.ID, Epoch: m.Epoch, Size: int64(len(data)), SHA256: tagOf(data), Savepoint: savepoint, CreatedMS: m.CreatedMS,
		Name: fmt.Sprintf("%s/%d-%d-%s", ckptDir, m.Epoch, m.ID, rand.Text())}
	if err := j.s.put(ctx, r.Name, bytes.NewReader(data), r.Size, r.SHA256); err != nil {
		return Ref{}, err
	}
	h := j.head.clone()
	h.LastID = m.ID
	h.Checkpoints = append(h.Checkpoints, r)
	if savepoint {
		h.Savepoints = append(h.Savepoints, r)
	}
	if err := j.swapHead(ctx, h); err != nil {
		return Ref{}, err
	}
	j.latest, j.manifests[r.Name] = m, m
	return r, nil
}

// swapHead makes h the content of HEAD. Any failure breaks the Journal: a leader whose conditional write failed does not read HEAD to
// try once more on top of somebody else's.
func (j *Journal) swapHead(ctx context.Context, h *head) error {
	h.Nonce = rand.Text()
	data, err := encodeHead(h)
	if err != nil {
		return err
	}
	tag, err := j.s.swap(ctx, headName, j.tag, data)
	if errors.Is(err, ErrConflict) {
		err = fmt.Errorf("%w: epoch %d is over: %w", ErrFenced, h.Epoch, err)
	}
	if err != nil {
		j.broken = err
		return err
	}
	j.head, j.tag = h, tag
	return nil
}

// DropSavepoint ends the pin of the savepoint with the address uri. Its files go with the next Prune, unless it is among the retained
// checkpoints.
func (j *Journal) DropSavepoint(ctx context.Context, uri string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return j.broken
	}
	h := j.head.clone()
	h.Savepoints = h.Savepoints[:0]
	for _, r := range j.head.Savepoints {
		if j.s.object(r.Name) != uri {
			h.Savepoints = append(h.Savepoints, r)
		}
	}
	if len(h.Savepoints) == len(j.head.Savepoints) {
		return fmt.Errorf("checkpoint: %q is not a savepoint of storage %s", uri, j.s.url)
	}
	j.changes++
	return j.swapHead(ctx, h)
}

// Prune keeps the newest retain checkpoints (at least 1) and all savepoints. It first takes the others out of HEAD and only then
// deletes what no remaining manifest names and the name rule gives free; a crash between leaves objects that a later Prune finds.
// An error leaves everything that is needed: call it again after the next checkpoint.
func (j *Journal) Prune(ctx context.Context, retain int) error {
	j.pruning.Lock()
	defer j.pruning.Unlock()
	h, change, err := j.retain(ctx, retain)
	if h == nil || err != nil {
		return err
	}
	marked, err := j.mark(ctx, h)
	if err != nil {
		return err
	}
	prefixes := []string{ckptDir + "/", dataDir + "/"}
	if !j.hasSwept() {
		prefixes = append(prefixes, tempDir+"/", "probe-") // this leader cleans up after itself
	}
	if err := j.s.sweep(ctx, h, marked, prefixes); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.swept = change
	return nil
}

// hasSwept reports whether a Prune has come to its end.
func (j *Journal) hasSwept() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.swept > 0
}

// retain takes all but the newest n checkpoints out of HEAD. It returns HEAD as it is then, nil when there is nothing to clean up.
func (j *Journal) retain(ctx context.Context, n int) (h *head, change int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return nil, 0, j.broken
	}
	if drop := len(j.head.Checkpoints) - max(n, 1); drop > 0 {
		h := j.head.clone()
		h.Checkpoints = h.Checkpoints[drop:]
		j.changes++
		if err := j.swapHead(ctx, h); err != nil {
			return nil, 0, err
		}
	}
	if j.swept == j.changes {
		return nil, 0, nil
	}
	return j.head.clone(), j.changes, nil
}

// mark collects the names that the manifests in h need. A manifest that cannot be read stops the deletion of anything.
func (j *Journal) mark(ctx context.Context, h *head) (map[string]bool, error) {
	marked := map[string]bool{}
	for _, r := range h.refs() {
		m, err := j.manifest(ctx, r)
		if err != nil {
			return nil, err
		}
		marked[r.Name] = true
		for _, o := range m.Operators {
			for _, s := range o.Subtasks {
				for _, f := range s.objects() {
					if f.Name != "" {
						marked[f.Name] = true
					}
				}
				for _, name := range s.Pending {
					marked[name] = true
				}
			}
		}
		for _, c := range m.Channels {
			if c.File.Name != "" {
				marked[c.File.Name] = true
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for name := range j.manifests {
		if n, _ := parseName(name); !marked[name] && h.deletable(n) {
			delete(j.manifests, name)
		}
	}
	return marked, nil
}

// manifest gives the content of a manifest that HEAD names, from memory if it was seen before.
func (j *Journal) manifest(ctx context.Context, r Ref) (*Manifest, error) {
	j.mu.Lock()
	m := j.manifests[r.Name]
	j.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m, err := j.s.readManifest(ctx, r)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.manifests[r.Name] = m
	return m, nil
}

// sweep deletes what is not marked and what h, which may be stale by now, gives free.
func (s *store) sweep(ctx context.Context, h *head, marked map[string]bool, prefixes []string) error {
	var errs []error
	for _, prefix := range prefixes {
		names, err := s.list(ctx, prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			if n, ok := parseName(name); ok && !marked[name] && h.deletable(n) {
				errs = append(errs, s.delete(ctx, name))
			}
		}
	}
	return errors.Join(errs...)
}
