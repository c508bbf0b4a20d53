package file

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"time"

	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
)

// committer makes checkpoints visible. One goroutine of the job uses it.
type committer struct {
	context connectors.Context
	store   objects
	grace   time.Duration
	metrics committerMetrics
}

// Commit creates the manifest of the checkpoint and gives its files their visible names. Doing it again changes nothing.
func (c *committer) Commit(ctx context.Context, id int64, committables [][]byte) error {
	list, err := manifests(c.context.UID, id, committables)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := c.record(ctx, m); err != nil {
			return err
		}
		if err := c.store.publish(ctx, m.Files); err != nil {
			return err
		}
		for _, f := range m.Files {
			c.metrics.files.Inc()
			c.metrics.records.Add(float64(f.Records))
		}
	}
	return nil
}

// record creates the manifest, or finds that it is there already. After an unknown outcome the store's next try meets its own object, so
// that "exists" has to be read in any case: it is ours, or another coordinator's.
func (c *committer) record(ctx context.Context, m manifest) error {
	name := manifestName(m.UID, m.Attempt, m.Checkpoint)
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	err = c.store.create(ctx, name, data)
	if !errors.Is(err, errExists) {
		return err
	}
	found, err := c.load(ctx, name)
	if err != nil {
		return err
	}
	if theirs, ours, differ := difference(found.Files, m.Files); differ {
		return &ForeignManifestError{Manifest: name, Checkpoint: m.Checkpoint, Theirs: theirs, Ours: ours}
	}
	return nil
}

func (c *committer) load(ctx context.Context, name string) (manifest, error) {
	data, err := c.store.read(ctx, name)
	if err != nil {
		return manifest{}, err
	}
	return decodeManifest(name, data)
}

// Recover finishes commits that a crash interrupted and sweeps what no checkpoint has committed: staged files of this uid that no
// manifest and no restored committable lists, once they are older than the grace. Younger ones may belong to a process that does
// not know yet that it was given up; they are left for a later start.
func (c *committer) Recover(ctx context.Context, restored int64, committables [][]byte) error {
	staged := map[string]map[string]objectInfo{} // by folder of the attempt, then by name
	err := c.store.list(ctx, stagingOf(c.context.UID, ""), func(o objectInfo) error {
		dir := path.Dir(o.name)
		if staged[dir] == nil {
			staged[dir] = map[string]objectInfo{}
		}
		staged[dir][o.name] = o
		return nil
	})
	if err != nil {
		return err
	}
	// Commit has done these already. Should the host not have called it, they must still survive.
	keep, err := manifests(c.context.UID, restored, committables)
	if err != nil {
		return err
	}
	for _, m := range keep {
		for _, f := range m.Files {
			delete(staged[path.Dir(f.Staged)], f.Staged)
		}
	}
	for dir, files := range staged {
		if err := c.finish(ctx, path.Base(dir), files); err != nil {
			return err
		}
		if err := c.sweep(ctx, files); err != nil {
			return err
		}
	}
	return nil
}

// finish publishes the staged files of one attempt that a manifest lists, and takes them out of the map.
func (c *committer) finish(ctx context.Context, attempt string, staged map[string]objectInfo) error {
	if len(staged) == 0 {
		return nil
	}
	dir := path.Join(manifestDir, escape(c.context.UID), attempt) // attempt is escaped: it is a folder's name
	return c.store.list(ctx, dir, func(o objectInfo) error {
		m, err := c.load(ctx, o.name)
		if err != nil {
			return err
		}
		var rest []stagedFile
		for _, f := range m.Files {
			if _, ok := staged[f.Staged]; ok {
				rest = append(rest, f)
				delete(staged, f.Staged)
			}
		}
		return c.store.publish(ctx, rest)
	})
}

// sweep removes orphans that are old enough.
func (c *committer) sweep(ctx context.Context, orphans map[string]objectInfo) error {
	now, young := c.context.Now(), 0
	for name, o := range orphans {
		if now.Sub(o.modified) <= c.grace {
			young++
			continue
		}
		if err := c.store.remove(ctx, name); err != nil {
			return err
		}
		c.metrics.orphans.Inc()
		c.context.Logger.Info("removed a staged file that no checkpoint has committed", zap.String("file", c.store.url(name)), zap.Int64("bytes", o.size))
	}
	if young > 0 {
		c.context.Logger.Info("left staged files that no checkpoint has committed: too young to be orphans for certain",
			zap.Int("files", young), zap.Duration("grace", c.grace))
	}
	return nil
}

// Close does nothing: the store holds nothing open.
func (c *committer) Close() error { return nil }
