package checkpoint

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"go.uber.org/zap"

	"github.com/millrace-io/millrace/state"
)

// OpenURL gives the storage that a URL or path names: "/var/ckpt", "relative/dir", "file:///var/ckpt" or
// "s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1". S3 credentials are never part of it: see S3Options.
func OpenURL(raw string) (Storage, error) {
	if raw == "" {
		return nil, fmt.Errorf(`checkpoint: storage URL is empty; want a directory, "file:///dir" or "s3://bucket/prefix"`)
	}
	if !strings.Contains(raw, "://") {
		return Dir(raw), nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: storage URL %q: %w", raw, err)
	}
	var st Storage
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.RawQuery != "" {
			return nil, fmt.Errorf("checkpoint: storage URL %q: want file:///directory, with three slashes and no query", raw)
		}
		st = Dir(u.Path)
	case "s3":
		if st, err = s3FromURL(u); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("checkpoint: storage URL %q: scheme %q is unknown; want file or s3", raw, u.Scheme)
	}
	if err := st.Validate(); err != nil {
		return nil, fmt.Errorf("checkpoint: storage URL %q: %w", raw, err)
	}
	return st, nil
}

// joinURL is the URL of an object of the storage.
func joinURL(storage, name string) string {
	base, query, found := strings.Cut(storage, "?")
	base = strings.TrimSuffix(base, "/") + "/" + name
	if found {
		return base + "?" + query
	}
	return base
}

// splitURL takes the name of a manifest off the URL of a checkpoint; name is "" when the URL is that of a storage.
func splitURL(uri string) (storage, name string) {
	base, query, found := strings.Cut(uri, "?")
	dir, last := path.Split(base)
	dir = strings.TrimSuffix(dir, "/")
	n, ok := parseName(ckptDir + "/" + last)
	if !ok || n.dir != ckptDir || path.Base(dir) != ckptDir {
		return uri, ""
	}
	storage = strings.TrimSuffix(dir, ckptDir)
	if trimmed := strings.TrimSuffix(storage, "/"); trimmed != "" && !strings.HasSuffix(trimmed, "://") {
		storage = trimmed
	}
	if storage == "" {
		storage = "."
	}
	if found {
		storage += "?" + query
	}
	return storage, ckptDir + "/" + last
}

// Load reads a checkpoint or savepoint without becoming the leader: of any storage, also of another job. uri is what
// Journal.Savepoint, Journal.URL or SavepointWriter.Complete gave; the URL of a storage of checkpoints stands for its newest checkpoint. The manifest's files are
// read with the returned Files only, which cannot write. Nothing pins what is loaded but the storage's own HEAD: a retained
// checkpoint of a running job may be pruned at any time, a savepoint may not.
func Load(ctx context.Context, uri string) (*Manifest, state.Files, error) {
	storage, name := splitURL(uri)
	if name == "" {
		if m, files, found, err := loadSavepoint(ctx, uri); found || err != nil {
			return m, files, err
		}
	}
	st, err := OpenURL(storage)
	if err != nil {
		return nil, nil, err
	}
	return LoadFrom(ctx, st, name)
}

// LoadFrom is Load with a storage at hand. name is Ref.Name; "" is the newest checkpoint.
func LoadFrom(ctx context.Context, st Storage, name string) (*Manifest, state.Files, error) {
	s, err := open(ctx, st, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		m, err := s.loadRef(ctx, Ref{Name: name})
		if err != nil {
			return nil, nil, err
		}
		return m, &files{s: s}, nil
	}
	h, _, err := s.readHead(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, ok := h.latest()
	if !ok {
		return nil, nil, fmt.Errorf("checkpoint: storage %s holds no completed checkpoint", st.URL())
	}
	m, err := s.readManifest(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	return m, &files{s: s}, nil
}

// manifestBytesMax bounds a manifest that is read without HEAD, which knows its size.
const manifestBytesMax = 1 << 30

// List reads HEAD without becoming the leader: the retained checkpoints and the pinned savepoints, oldest first.
func List(ctx context.Context, st Storage) (checkpoints, savepoints []Ref, err error) {
	s, err := open(ctx, st, zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	h, _, err := s.readHead(ctx)
	if err != nil {
		return nil, nil, err
	}
	return h.Checkpoints, h.Savepoints, nil
}
