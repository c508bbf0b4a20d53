package checkpointtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// part reads a range; what is wrong with it is the error.
func part(t *testing.T, o checkpoint.Objects, name string, off, n int64) ([]byte, error) {
	body, err := o.GetRange(t.Context(), name, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

func wantPart(t *testing.T, o checkpoint.Objects, name string, content []byte, off, n int64) error {
	got, err := part(t, o, name, off, n)
	if err != nil {
		return fmt.Errorf("GetRange(%q, %d, %d): %w", name, off, n, err)
	}
	size := int64(len(content))
	want := content[min(off, size):min(off+n, size)]
	if !bytes.Equal(got, want) {
		return fmt.Errorf("GetRange(%q, %d, %d) of %d bytes gave %d bytes, want %d (or others)", name, off, n, size, len(got), len(want))
	}
	return nil
}

// patterned is content in which any two ranges of some length differ.
func patterned(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func ranges(t *testing.T, o checkpoint.Objects) {
	ctx := t.Context()
	const size = 200_000
	contents := map[string][]byte{"data/empty": {}, "data/one": {'x'}, "data/many": patterned(size)}
	for name, data := range contents {
		if err := put(ctx, o, name, data); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range contents {
		n := int64(len(data))
		for _, r := range [][2]int64{
			{0, n}, {0, 1}, {0, 0}, {n, 0}, {n, 1}, {n, 1000}, {n + 1, 1}, {n + 1000, 1000}, {0, n + 1}, {n / 2, n}, {max(n-1, 0), 1}, {max(n-1, 0), 1 << 30},
			{n / 3, n / 3}, {65536, 65536}, {1 << 40, 10},
		} {
			if err := wantPart(t, o, name, data, r[0], r[1]); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := part(t, o, "data/none", 0, 1); !errors.Is(err, checkpoint.ErrNotFound) {
		t.Errorf("GetRange of a missing object: %v, want ErrNotFound", err)
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}} {
		if _, err := part(t, o, "data/one", r[0], r[1]); err == nil {
			t.Errorf("GetRange(%d, %d) succeeded", r[0], r[1])
		}
	}
}

// rangesAtOnce reads one object from many goroutines, each another part.
func rangesAtOnce(t *testing.T, o checkpoint.Objects) {
	data := patterned(300_000)
	if err := put(t.Context(), o, "data/x", data); err != nil {
		t.Fatal(err)
	}
	won := race(t, nil, func(i int) error {
		r := rand.New(rand.NewPCG(2, uint64(i)))
		for range 10 {
			off := r.Int64N(int64(len(data)))
			if err := wantPart(t, o, "data/x", data, off, r.Int64N(100_000)); err != nil {
				return err
			}
		}
		return nil
	})
	if len(won) != racers {
		t.Fatalf("%d of %d readers came through", len(won), racers)
	}
}

// parts reads an object with state at any place, and whole.
func parts(t *testing.T, st checkpoint.Storage) {
	ctx := t.Context()
	j, err := checkpoint.Lead(ctx, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	content := patterned(400_000)
	f, err := j.Files(1).Write(ctx, state.GroupRange{End: 1}, 0, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o, err := j.Files(1).Open(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, r := range [][2]int{{0, 1}, {65_535, 2}, {65_536, 65_536}, {100_000, 200_000}, {399_999, 1}, {0, 400_000}, {400_000, 0}} {
		p := make([]byte, r[1])
		if err := o.ReadAt(ctx, p, int64(r[0])); err != nil || !bytes.Equal(p, content[r[0]:r[0]+r[1]]) {
			t.Errorf("ReadAt of %d bytes at %d: %v", r[1], r[0], err)
		}
	}
	r, err := j.Files(1).Read(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, content) {
		t.Errorf("Read: %d bytes, %v", len(data), err)
	}
}
