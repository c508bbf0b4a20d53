package sst_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state/internal/sst"
)

// build is a table that fill writes.
func build(t interface {
	Helper()
	Fatal(...any)
}, fill func(w *sst.Writer) error) []byte {
	t.Helper()
	fs := vfs.NewMem()
	f, err := fs.Create("t", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	w := sst.NewWriter(objstorageprovider.NewFileWritable(f))
	err = fill(w)
	size, closeErr := w.Close()
	if err := errors.Join(err, closeErr); err != nil {
		t.Fatal(err)
	}
	r, err := fs.Open("t")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); n != int(size) {
		t.Fatal(n, err)
	}
	return b
}

type version struct {
	rank    int
	value   string
	deleted bool
}

func key(i int) []byte { return fmt.Appendf(nil, "%03d", i) }

// write adds ranges and points below 61.
func write(w *sst.Writer, points map[int]version, ranges [][2]int) error {
	for _, r := range ranges {
		if err := w.DeleteRange(key(r[0]), key(r[1])); err != nil {
			return err
		}
	}
	for k := range 61 {
		p, ok := points[k]
		var err error
		if ok && p.deleted {
			err = w.Delete(key(k))
		} else if ok {
			err = w.Set(key(k), []byte(p.value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestMerge compares merges of random tables with a map.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newest := map[int]version{} // of each key, lower ranks win
		var inputs []sst.Input
		for rank := range rapid.IntRange(1, 6).Draw(t, "tables") {
			lo := rapid.IntRange(0, 50).Draw(t, "lo")
			hi := rapid.IntRange(lo, 60).Draw(t, "hi")
			points := map[int]version{}
			var ranges [][2]int
			for range rapid.IntRange(0, 40).Draw(t, "points") {
				k := rapid.IntRange(0, 60).Draw(t, "key")
				points[k] = version{rank, fmt.Sprint(rank, k), rapid.IntRange(0, 3).Draw(t, "deleted") == 0}
			}
			for at := 0; at < 60 && rapid.Bool().Draw(t, "range"); {
				at = rapid.IntRange(at, 60).Draw(t, "from")
				ranges = append(ranges, [2]int{at, at + rapid.IntRange(1, 30).Draw(t, "width")})
			}
			content := build(t, func(w *sst.Writer) error { return write(w, points, ranges) })
			inputs = append(inputs, sst.Input{Name: fmt.Sprint(rank), Rank: rank, Lo: key(lo), Hi: key(hi), Open: func(context.Context) (sst.Source, error) { return sst.Bytes(content), nil }})
			for k := lo; k < hi; k++ {
				if _, known := newest[k]; known {
					continue
				}
				if p, ok := points[k]; ok {
					newest[k] = p
					continue
				}
				for _, r := range ranges {
					if k >= r[0] && k < r[1] {
						newest[k] = version{rank: rank, deleted: true}
					}
				}
			}
		}
		m := sst.NewMerge(context.Background(), inputs)
		for k := range 61 {
			v, ok := newest[k]
			if !ok || v.deleted {
				continue
			}
			gotKey, got, more, err := m.Next()
			if err != nil || !more || !bytes.Equal(gotKey, key(k)) || string(got) != v.value {
				t.Fatalf("next is %q %q, %v, %v; want %q %q", gotKey, got, more, err, key(k), v.value)
			}
		}
		if k, _, more, err := m.Next(); more || err != nil {
			t.Fatalf("after the last there is %q, %v", k, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDamage flips bits: each is an error that names the table and an offset, or does not show in what is read.
func TestDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 100)
	content := build(t, func(w *sst.Writer) error {
		for i := range 5000 {
			for k := range value {
				value[k] = byte(random.Uint32())
			}
			if err := w.Set(fmt.Appendf(nil, "%06d", i), value); err != nil {
				return err
			}
		}
		return w.DeleteRange([]byte("1"), []byte("2"))
	})
	read := func(b []byte) (all []byte, err error) {
		m := sst.NewMerge(context.Background(), []sst.Input{{Name: "the table", Open: func(context.Context) (sst.Source, error) { return sst.Bytes(b), nil }}})
		defer func() { _ = m.Close() }() // gives the same error again
		for {
			k, v, ok, err := m.Next()
			if err != nil || !ok {
				return all, err
			}
			all = append(append(all, k...), v...)
		}
	}
	want, err := read(content)
	if err != nil || len(want) != 5000*106 {
		t.Fatal(len(want), err)
	}
	found := 0
	for i := range 400 {
		at := random.IntN(len(content))
		if i < 200 {
			at = len(content) - 1 - i // footer and the blocks before it
		}
		b := bytes.Clone(content)
		b[at] ^= 1 << random.IntN(8)
		got, err := read(b)
		var d *sst.DamageError
		switch {
		case err == nil && !bytes.Equal(got, want):
			t.Errorf("a flipped bit at %d changes what is read, without an error", at)
		case err != nil && (!errors.As(err, &d) || d.Name != "the table" || d.Offset < 0 || d.Offset > int64(len(content))):
			t.Errorf("a flipped bit at %d: %v, want a DamageError with name and offset", at, err)
		case err != nil:
			found++
		}
	}
	if found < 200 {
		t.Errorf("%d of 400 flipped bits were found", found)
	}
	if _, err := read(content[:len(content)-1]); err == nil {
		t.Error("a table cut short is read without an error")
	}
}

// TestOrder checks that a writer refuses what is out of order.
func TestOrder(t *testing.T) {
	build(t, func(w *sst.Writer) error {
		if err := errors.Join(w.Set([]byte("b"), nil), w.DeleteRange([]byte("b"), []byte("c"))); err != nil {
			return err
		}
		for what, err := range map[string]error{
			"the same key":        w.Set([]byte("b"), nil),
			"a lower key":         w.Delete([]byte("a")),
			"a lower range":       w.DeleteRange([]byte("a"), []byte("z")),
			"a range of no width": w.DeleteRange([]byte("d"), []byte("d")),
		} {
			if err == nil {
				t.Errorf("%s is accepted", what)
			}
		}
		return nil
	})
}

// TestReadErrorsAreKept checks that an error of the source comes out as it is, also one of reading ahead.
func TestReadErrorsAreKept(t *testing.T) {
	lost := errors.New("lost")
	value := bytes.Repeat([]byte("x"), 1000)
	random := rand.New(rand.NewPCG(3, 4))
	content := build(t, func(w *sst.Writer) error {
		for i := range 5000 {
			for k := range value {
				value[k] = byte(random.Uint32())
			}
			if err := w.Set(fmt.Appendf(nil, "%06d", i), value); err != nil {
				return err
			}
		}
		return nil
	})
	for _, at := range []int64{0, 1 << 20, 3 << 20, int64(len(content)) - 100} {
		m := sst.NewMerge(context.Background(), []sst.Input{{Name: "t", Open: func(context.Context) (sst.Source, error) {
			return &failing{Bytes: content, at: at, err: lost}, nil
		}}})
		var err error
		for ok := true; ok && err == nil; {
			_, _, ok, err = m.Next()
		}
		if !errors.Is(err, lost) {
			t.Errorf("fault at %d: %v", at, err)
		}
		_ = m.Close() // gives the same error again
	}
}

// failing is a source that cannot read the byte at at.
type failing struct {
	sst.Bytes
	at  int64
	err error
}

func (f *failing) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off <= f.at && f.at < off+int64(len(p)) {
		return f.err
	}
	return f.Bytes.ReadAt(ctx, p, off)
}
