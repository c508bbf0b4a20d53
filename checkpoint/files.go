package checkpoint

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/millrace-io/millrace/state"
)

// InlineBytesMax is the largest content, in bytes, that a manifest keeps itself: Files.Write never keeps more inline, whatever it is asked.
const InlineBytesMax = 20_000

// Files gives the objects of checkpoint id. Names carry the epoch, the id and a random part, so that whatever a stopped attempt
// still writes never touches what a later one has written. It may be used from many goroutines.
//
// An object that is written through it is safe until checkpoint id completes. From then on it is garbage unless the manifest names it, as a
// file or as pending. Two rules follow for who uploads beside the checkpoints:
//
//  1. It uses Files(id).Later(): the object is then safe until checkpoint id+1 completes.
//  2. Before it acknowledges checkpoint id+1 it waits for the objects that it is writing and lists all that are not yet files as pending; and it
//     begins the next one through Files(id+1).Later().
func (j *Journal) Files(id int64) state.Files {
	return &files{s: j.s, epoch: j.Epoch(), id: id}
}

type files struct {
	s         *store
	epoch, id int64 // epoch 0: read-only
}

// Later implements state.Files.
func (f *files) Later() state.Files { return &files{s: f.s, epoch: f.epoch, id: f.id + 1} }

// Write implements state.Files.
func (f *files) Write(ctx context.Context, groups state.GroupRange, inline int, fill func(w io.Writer) error) (state.File, error) {
	if f.epoch == 0 {
		return state.File{}, fmt.Errorf("checkpoint: storage %s was opened to read", f.s.url)
	}
	name := f.newName()
	sp := newSpool(f.s.o, name)
	defer sp.close()
	if err := fill(sp); err != nil {
		return state.File{}, err
	}
	h := state.File{Size: sp.size, SHA256: sp.sha256(), Groups: groups}
	if sp.size <= int64(min(inline, InlineBytesMax)) && sp.file == nil && inline > 0 {
		h.Inline = sp.buf.Bytes()
		return h, nil
	}
	h.Name = name
	table, sums := sp.sums.finish()
	h.Sums = sums
	// The spool's own checksum and size are those of the whole object from here on.
	if _, err := sp.Write(table); err != nil {
		return state.File{}, err
	}
	body, err := sp.body()
	if err != nil {
		return state.File{}, err
	}
	if err := f.s.put(ctx, h.Name, body, sp.size, sp.sha256()); err != nil {
		return state.File{}, err
	}
	return h, nil
}

// newName makes the name of an object that is written for the checkpoint.
func (f *files) newName() string {
	return fmt.Sprintf("%s/%d-%d-%s", dataDir, f.epoch, f.id, rand.Text())
}

func (s *spool) sha256() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// inlineObject stands for the name of the manifest, which is not known where inline content is read.
const inlineObject = "content inside a manifest"

// inlineContent is the content that the manifest holds.
func inlineContent(f state.File) (content, error) {
	sum := sha256.Sum256(f.Inline)
	if got := hex.EncodeToString(sum[:]); int64(len(f.Inline)) != f.Size || got != f.SHA256 {
		return nil, &CorruptError{Object: inlineObject, Length: f.Size,
			Reason: fmt.Sprintf("it has %d bytes with SHA-256 %s, the manifest says %d bytes with %q", len(f.Inline), got, f.Size, f.SHA256),
			Remedy: "start from another checkpoint"}
	}
	return f.Inline, nil
}
