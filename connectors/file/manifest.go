package file

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Folders that readers of the plain layout skip, because their names begin with an underscore.
const (
	stagingDir  = "_staging"
	manifestDir = "_manifests"
)

// formatVersion is the version of committables and manifests that this release writes. It reads every version up to this one.
const formatVersion = 1

// stagedFile is one file of the archive: where it was staged, where it becomes visible, and what it must hold.
type stagedFile struct {
	Staged  string `json:"staged"`
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes"`
	Records int64  `json:"records"`
	SHA256  string `json:"sha256"`
	// FirstMS and LastMS are the smallest and the largest event time in the file, Unix ms.
	FirstMS int64 `json:"first_ms"`
	LastMS  int64 `json:"last_ms"`
}

// committable is what one writer hands to one checkpoint.
type committable struct {
	Version int          `json:"version"`
	Attempt string       `json:"attempt"`
	Subtask int          `json:"subtask"`
	Files   []stagedFile `json:"files"`
}

// manifest lists the files of one checkpoint that one attempt of the job wrote. It is created once and never changed.
type manifest struct {
	Version    int          `json:"version"`
	UID        string       `json:"uid"`
	Attempt    string       `json:"attempt"`
	Checkpoint int64        `json:"checkpoint"`
	Files      []stagedFile `json:"files"` // sorted by Path
}

// escape makes one path element of any text: letters, digits and '-' stay, each other byte becomes _xx.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	if b.Len() == 0 {
		return "_"
	}
	return b.String()
}

// stagingOf is the folder of staged files of one attempt; stagingOf(uid, "") that of all attempts.
func stagingOf(uid, attempt string) string {
	if attempt == "" {
		return path.Join(stagingDir, escape(uid))
	}
	return path.Join(stagingDir, escape(uid), escape(attempt))
}

// manifestName is the name of the manifest of one checkpoint of one attempt. Twenty digits make names sort by checkpoint.
func manifestName(uid, attempt string, checkpoint int64) string {
	return path.Join(manifestDir, escape(uid), escape(attempt), fmt.Sprintf("%020d.json", checkpoint))
}

// manifests merges the committables of one checkpoint into one manifest per attempt, sorted by attempt. Attempts without files have
// none. All subtasks of a checkpoint belong to one attempt unless the host restarts them separately.
func manifests(uid string, checkpoint int64, committables [][]byte) ([]manifest, error) {
	byAttempt := map[string]*manifest{}
	for i, data := range committables {
		var c committable
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("file: committable %d of checkpoint %d of %q is damaged: %w", i, checkpoint, uid, err)
		}
		if err := checkFiles(c.Version, c.Files); err != nil {
			return nil, fmt.Errorf("file: committable %d of checkpoint %d of %q: %w", i, checkpoint, uid, err)
		}
		m := byAttempt[c.Attempt]
		if m == nil {
			m = &manifest{Version: formatVersion, UID: uid, Attempt: c.Attempt, Checkpoint: checkpoint}
			byAttempt[c.Attempt] = m
		}
		m.Files = append(m.Files, c.Files...)
	}
	var out []manifest
	for _, m := range byAttempt {
		if len(m.Files) == 0 {
			continue
		}
		slices.SortFunc(m.Files, func(a, b stagedFile) int { return cmp.Compare(a.Path, b.Path) })
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b manifest) int { return cmp.Compare(a.Attempt, b.Attempt) })
	return out, nil
}

// decodeManifest reads a manifest and checks that nothing in it can lead outside of the archive.
func decodeManifest(name string, data []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("file: manifest %q is damaged: %w", name, err)
	}
	if err := checkFiles(m.Version, m.Files); err != nil {
		return m, fmt.Errorf("file: manifest %q: %w", name, err)
	}
	return m, nil
}

// checkFiles reports every fault of a list of files that comes from storage.
func checkFiles(version int, files []stagedFile) error {
	var errs []error
	if version < 1 || version > formatVersion {
		errs = append(errs, fmt.Errorf("version is %d, this release reads 1 to %d: use a newer release", version, formatVersion))
	}
	for _, f := range files {
		if !fs.ValidPath(f.Staged) || !strings.HasPrefix(f.Staged, stagingDir+"/") {
			errs = append(errs, fmt.Errorf("%q is not the name of a staged file", f.Staged))
		}
		if !fs.ValidPath(f.Path) || !visible(f.Path) {
			errs = append(errs, fmt.Errorf("%q is not the name of an archived file", f.Path))
		}
		if f.Bytes < 0 || f.Records < 0 {
			errs = append(errs, fmt.Errorf("%q has %d bytes and %d records", f.Path, f.Bytes, f.Records))
		}
	}
	return errors.Join(errs...)
}

// difference is the first file in which two sorted lists differ, as the names in a and b; both are empty when the lists are equal.
func difference(a, b []stagedFile) (string, string, bool) {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return "", b[i].Staged, true
		case i >= len(b):
			return a[i].Staged, "", true
		case a[i] != b[i]:
			return a[i].Staged, b[i].Staged, true
		}
	}
	return "", "", false
}

// visible reports whether readers of the plain layout see the name: no part begins with an underscore or a dot.
func visible(name string) bool {
	for _, part := range strings.Split(name, "/") {
		if part == "" || part[0] == '_' || part[0] == '.' {
			return false
		}
	}
	return true
}
