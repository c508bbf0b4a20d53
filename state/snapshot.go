package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// image is the Snapshot of Keyed.
type image struct {
	header  Header
	members []memberImage
	once    sync.Once
}

// Snapshot takes the image of the state as it is now. On the memory backend this only marks every key group of every state: the
// pause is some 20 ns for each of them, and a group that is written to before the image has been stored is copied once (values
// with slices, maps or pointers, lists and maps: encoded once, at the first access).
//
// Above a store the image is what changed since the last one, and the pause some µs, whatever has changed: see Background. Only if the image before
// has not been drained yet, that is done at once, at some 0.5 µs for each changed entry.
func (s *Keyed[K]) Snapshot() (Snapshot, error) {
	if !s.opened {
		return nil, errors.New("state: Snapshot of keyed state that is not open")
	}
	if s.store != nil {
		return s.barrier()
	}
	im := &image{header: Header{
		UID: s.uid, Subtask: s.subtask, Groups: s.groups, MaxParallelism: s.cfg.MaxParallelism, States: s.descriptors(),
	}}
	for i := range im.header.States {
		// Entries of a state file have the place of their state in the header, and every value is encoded anew.
		im.header.States[i].ID, im.header.States[i].Schemas = 0, nil
	}
	if err := s.CleanUp(); err != nil {
		return nil, fmt.Errorf("state: clean up operator %q subtask %d: %w", s.uid, s.subtask, err)
	}
	for _, m := range s.members {
		im.members = append(im.members, m.freeze())
	}
	return im, nil
}

// inlineBytes is the size up to which the content of a state file is kept in the manifest.
const inlineBytes = 20_000

// Write stores the image as one state file, or as none when there is no entry.
func (im *image) Write(ctx context.Context, files Files) (Written, error) {
	groups, err := im.occupied()
	if err != nil || groups.Start == groups.End {
		return Written{}, err
	}
	f, err := files.Write(ctx, groups, inlineBytes, func(w io.Writer) error {
		out, err := newFileWriter(w, im.header)
		if err != nil {
			return err
		}
		for g := groups.Start; g < groups.End; g++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, m := range im.members {
				if err := m.emit(g, out); err != nil {
					return err
				}
			}
		}
		return out.finish()
	})
	if err != nil {
		return Written{}, fmt.Errorf("state: write the snapshot of operator %q subtask %d: %w", im.header.UID, im.header.Subtask, err)
	}
	return Written{Files: []File{f}, Bytes: f.Size}, nil
}

// occupied is the smallest range with all groups that may have entries.
func (im *image) occupied() (r GroupRange, err error) {
	for g := im.header.Groups.Start; g < im.header.Groups.End; g++ {
		for _, m := range im.members {
			some, err := m.occupied(g)
			if err != nil {
				return r, err
			}
			if !some {
				continue
			}
			if r.Start == r.End {
				r.Start = g
			}
			r.End = g + 1
			break
		}
	}
	return r, nil
}

// Release frees the image.
func (im *image) Release() {
	im.once.Do(func() {
		for _, m := range im.members {
			m.release()
		}
	})
}
