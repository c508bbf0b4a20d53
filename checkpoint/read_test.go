package checkpoint_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/checkpointtest"
	"github.com/millrace-io/millrace/state"
)

// random is content of n bytes that differ from place to place.
func random(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

func leading(t testing.TB, st checkpoint.Storage) *checkpoint.Journal {
	t.Helper()
	j, err := checkpoint.Lead(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// writeObject stores content.
func writeObject(t testing.TB, f state.Files, content []byte, inline int) state.File {
	t.Helper()
	h, err := f.Write(t.Context(), all, inline, writer(content))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// all are the key groups of the tests here.
var all = state.GroupRange{End: 4}

// writer writes content in pieces of an odd size.
func writer(content []byte) func(w io.Writer) error {
	return func(w io.Writer) error {
		for rest := content; len(rest) > 0; {
			n := min(len(rest), 10_007)
			if _, err := w.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	}
}

func readAll(ctx context.Context, f state.Files, h state.File) ([]byte, error) {
	r, err := f.Read(ctx, h)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// The bytes of an object are for ever. The tables were computed by a bitwise CRC32C that gives e3069283 for "123456789", the check value
// of the CRC catalogue.
func TestObjectFormat(t *testing.T) {
	st := checkpointtest.NewMemory("format")
	files := leading(t, st).Files(1)
	for _, c := range []struct{ content, table, sums string }{
		{"123456789", "e306928300000000000000090000000100010000" + "6d7273756d730001", "8a670d6a"},
		{strings.Repeat("m", 65536) + "x", "974378e7a93c5f9300000000000100010000000200010000" + "6d7273756d730001", "2d783c7d"},
		{"", "00000000000000000000000000010000" + "6d7273756d730001", "438846a7"},
	} {
		h := writeObject(t, files, []byte(c.content), 0)
		sum := sha256.Sum256([]byte(c.content))
		if h.Size != int64(len(c.content)) || h.SHA256 != hex.EncodeToString(sum[:]) || h.Sums != c.sums || h.Groups != (state.GroupRange{End: 4}) {
			t.Errorf("handle of %d bytes is %+v, want checksums %s", len(c.content), h, c.sums)
		}
		st.Change(h.Name, func(b []byte) []byte {
			if got, want := hex.EncodeToString(b), hex.EncodeToString([]byte(c.content))+c.table+c.sums; got != want {
				t.Errorf("object of %d bytes ends in %s, want %s", len(c.content), got[2*len(c.content):], want[2*len(c.content):])
			}
			return b
		})
	}
}

// Content comes back as it was written, whole and in parts, on every kind of storage.
func TestObjectParts(t *testing.T) {
	for name, st := range map[string]checkpoint.Storage{
		"memory": checkpointtest.NewMemory("parts"), "dir": checkpoint.Dir(t.TempDir()), "s3": newFakeS3().storage("parts"),
	} {
		t.Run(name, func(t *testing.T) {
			files := leading(t, st).Files(1)
			for _, size := range []int{0, 1, 1000, 65535, 65536, 65537, 131072, 300_000, 9 << 20} {
				content := random(size)
				h := writeObject(t, files, content, 0)
				if got, err := readAll(t.Context(), files, h); err != nil || !bytes.Equal(got, content) {
					t.Fatalf("Read of %d bytes: %d bytes, %v", size, len(got), err)
				}
				o, err := files.Open(t.Context(), h)
				if err != nil {
					t.Fatal(err)
				}
				if o.Size() != int64(size) || o.Local() != (name == "dir") {
					t.Fatalf("size is %d, want %d; local %v", o.Size(), size, o.Local())
				}
				randomParts(t, o, content)
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func randomParts(t *testing.T, o state.Object, content []byte) {
	ctx, size := t.Context(), int64(len(content))
	for range 4 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		for range 20 {
			off := r.Int64N(size + 1)
			p := make([]byte, r.Int64N(min(size-off, 200_000)+1))
			if err := o.ReadAt(ctx, p, off); err != nil || !bytes.Equal(p, content[off:off+int64(len(p))]) {
				t.Fatalf("seed %d: ReadAt of %d bytes at %d of %d: %v", seed, len(p), off, size, err)
			}
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {size, 1}, {size + 1, 0}, {0, size + 1}} {
		if err := o.ReadAt(ctx, make([]byte, r[1]), r[0]); err == nil || errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("ReadAt of %d bytes at %d of %d: %v, want an error about the call", r[1], r[0], size, err)
		}
	}
}

// Many goroutines read one object.
func TestObjectAtOnce(t *testing.T) {
	for _, st := range []checkpoint.Storage{checkpointtest.NewMemory("at-once"), checkpoint.Dir(t.TempDir())} {
		files := leading(t, st).Files(1)
		content := random(700_000)
		o, err := files.Open(t.Context(), writeObject(t, files, content, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				for range 50 {
					off := r.IntN(600_000)
					p := make([]byte, 1+r.IntN(100_000))
					if err := o.ReadAt(t.Context(), p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
						t.Errorf("ReadAt of %d bytes at %d: %v", len(p), off, err)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestInline(t *testing.T) {
	st := checkpointtest.NewMemory("inline")
	files := leading(t, st).Files(1)
	for _, c := range []struct {
		size, inline int
		want         bool
	}{
		{0, 0, false}, {1, 0, false}, {0, 10, true}, {10, 10, true}, {11, 10, false},
		{checkpoint.InlineBytesMax, 1 << 30, true}, {checkpoint.InlineBytesMax + 1, 1 << 30, false},
	} {
		content := random(c.size)
		before := len(st.Names())
		h := writeObject(t, files, content, c.inline)
		stored := len(st.Names()) > before
		if got := h.Name == ""; got != c.want || stored == got || h.Size != int64(c.size) || (h.Sums == "") != got {
			t.Errorf("%d bytes with up to %d inline: handle %+v, object stored: %v", c.size, c.inline, h, stored)
		}
		if got, err := readAll(t.Context(), files, h); err != nil || !bytes.Equal(got, content) {
			t.Errorf("Read of %d bytes: %d bytes, %v", c.size, len(got), err)
		}
		o, err := files.Open(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, c.size)
		if err := o.ReadAt(t.Context(), p, 0); err != nil || !bytes.Equal(p, content) {
			t.Errorf("ReadAt of %d bytes: %v", c.size, err)
		}
		if c.want && c.size > 0 {
			h.Inline = append([]byte{content[0] ^ 1}, h.Inline[1:]...)
			if _, err := files.Read(t.Context(), h); !errors.Is(err, checkpoint.ErrCorrupt) {
				t.Errorf("Read of other content inline: %v, want a CorruptError", err)
			}
			if _, err := files.Open(t.Context(), h); !errors.Is(err, checkpoint.ErrCorrupt) {
				t.Errorf("Open of other content inline: %v, want a CorruptError", err)
			}
		}
	}
}

// An object of a checkpoint of format version 1 has no table of checksums: it is read whole and its SHA-256 compared.
func TestObjectWithoutSums(t *testing.T) {
	st := checkpointtest.NewMemory("old")
	files := leading(t, st).Files(1)
	content := random(100_000)
	sum := sha256.Sum256(content)
	h := state.File{Name: "data/1-1-OLD", Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Groups: state.GroupRange{End: 4}}
	if err := st.Put(t.Context(), h.Name, bytes.NewReader(content), h.Size); err != nil {
		t.Fatal(err)
	}
	use := func() error {
		got, err := readAll(t.Context(), files, h)
		if err == nil && !bytes.Equal(got, content) {
			err = errors.New("other content")
		}
		o, oerr := files.Open(t.Context(), h)
		if (err == nil) != (oerr == nil) {
			t.Fatalf("Read: %v, Open: %v", err, oerr)
		}
		if err != nil {
			return err
		}
		p := make([]byte, 1000)
		if err := o.ReadAt(t.Context(), p, 50_000); err != nil || !bytes.Equal(p, content[50_000:51_000]) {
			t.Fatalf("ReadAt: %v", err)
		}
		return nil
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(b []byte) []byte{
		"flip":       func(b []byte) []byte { b[77_777] ^= 4; return b },
		"truncation": func(b []byte) []byte { return b[:99_999] },
		"addition":   func(b []byte) []byte { return append(b, 0) },
		"loss":       func([]byte) []byte { return nil },
	} {
		st.Change(h.Name, change)
		if err := use(); !errors.Is(err, checkpoint.ErrCorrupt) || !strings.Contains(err.Error(), h.Name) {
			t.Errorf("%s: %v, want a CorruptError", what, err)
		}
		if !st.Change(h.Name, func([]byte) []byte { return bytes.Clone(content) }) {
			if err := st.Put(t.Context(), h.Name, bytes.NewReader(content), h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// flaky is a store whose bodies break off after 1000 bytes, a number of times. Tables of checksums come through.
type flaky struct {
	*checkpointtest.Memory
	breaks *int
}

func (f flaky) Open(context.Context) (checkpoint.Objects, error) { return f, nil }

func (f flaky) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	body, err := f.Memory.GetRange(ctx, name, off, n)
	if err != nil || *f.breaks == 0 || n < 1000 {
		return body, err
	}
	*f.breaks--
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, 1000), brokenReader{}), body}, nil
}

type brokenReader struct{}

// errReset wraps io.EOF, as the errors of net/http do when a connection is closed: it must not be taken for the end of an object.
var errReset = fmt.Errorf("connection reset: %w", io.EOF)

func (brokenReader) Read([]byte) (int, error) { return 0, errReset }

// A connection that breaks off is taken up where it was, and what was read before is not read again.
func TestReadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		breaks := 0
		st := flaky{checkpointtest.NewMemory("flaky"), &breaks}
		files := leading(t, st).Files(1)
		content := random(300_000)
		h := writeObject(t, files, content, 0)
		for _, n := range []int{0, 1, 4, 5} {
			breaks = n
			got, err := readAll(t.Context(), files, h)
			if n > 4 {
				if !errors.Is(err, errReset) {
					t.Errorf("%d breaks: %v, want the error", n, err)
				}
			} else if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d breaks: %d bytes, %v, want the whole file", n, len(got), err)
			}
		}
		o, err := files.Open(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		calls := st.Calls()
		breaks = 10
		p := make([]byte, 70_000)
		if err := o.ReadAt(t.Context(), p, 100_000); err != nil || !bytes.Equal(p, content[100_000:170_000]) || breaks != 0 {
			t.Errorf("ReadAt: %v, %d breaks left", err, breaks)
		}
		if n := st.Calls() - calls; n != 11 {
			t.Errorf("ReadAt through 10 breaks made %d requests, want 11", n)
		}
	})
}

// A connection over which nothing comes any more is given up after a while.
func TestReadStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &stalling{Memory: checkpointtest.NewMemory("stalling")}
		files := leading(t, st).Files(1)
		content := random(300_000)
		h := writeObject(t, files, content, 0)
		st.stalls = 3
		if got, err := readAll(t.Context(), files, h); err != nil || !bytes.Equal(got, content) || st.stalls != 0 {
			t.Errorf("%d bytes, %v, want the whole file", len(got), err)
		}
	})
}

// stalling is a store whose bodies give 100 bytes and then nothing until their context ends, a number of times.
type stalling struct {
	*checkpointtest.Memory
	stalls int
}

func (s *stalling) Open(context.Context) (checkpoint.Objects, error) { return s, nil }

func (s *stalling) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	body, err := s.Memory.GetRange(ctx, name, off, n)
	if err != nil || s.stalls == 0 || n < 1000 {
		return body, err
	}
	s.stalls--
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, 100), stalled{ctx}), body}, nil
}

type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

// A read checks what it touches and nothing else; a directory checks a chunk once.
func TestObjectReadsWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 500_000).Draw(t, "size")
		at := rapid.IntRange(0, size-1).Draw(t, "damaged")
		st := checkpointtest.NewMemory("needed")
		j, err := checkpoint.Lead(context.Background(), st, nil)
		if err != nil {
			t.Fatal(err)
		}
		content := random(size)
		h, err := j.Files(1).Write(context.Background(), state.GroupRange{End: 4}, 0, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		st.Change(h.Name, func(b []byte) []byte { b[at] ^= 1; return b })
		o, err := j.Files(1).Open(context.Background(), h)
		if err != nil {
			t.Fatal(err)
		}
		off := rapid.IntRange(0, size-1).Draw(t, "off")
		n := rapid.IntRange(1, size-off).Draw(t, "n")
		p := make([]byte, n)
		err = o.ReadAt(context.Background(), p, int64(off))
		const chunk = 65536
		if touched := off/chunk <= at/chunk && at/chunk <= (off+n-1)/chunk; touched {
			var c *checkpoint.CorruptError
			if !errors.As(err, &c) || c.Offset != int64(at/chunk*chunk) || c.Length != int64(min(chunk, size-at/chunk*chunk)) || !strings.HasSuffix(c.Object, h.Name) {
				t.Fatalf("damage at %d of %d: %v", at, size, err)
			}
		} else if err != nil || !bytes.Equal(p, content[off:off+n]) {
			t.Fatalf("ReadAt: %v", err)
		}
	})
}

// In a directory a chunk is checked when it is first touched, and only then: later reads read what they are asked for.
func TestLocalObjectChecksOnce(t *testing.T) {
	dir := t.TempDir()
	files := leading(t, checkpoint.Dir(dir)).Files(1)
	content := random(200_000)
	h := writeObject(t, files, content, 0)
	o, err := files.Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	p := make([]byte, 10)
	read := func(off int64) error { return o.ReadAt(t.Context(), p, off) }
	if err := read(70_000); err != nil {
		t.Fatal(err)
	}
	rewrite(t, filepath.Join(dir, h.Name), func(b []byte) []byte { // in place: the open file sees it
		b[10], b[70_100], b[140_000] = b[10]^1, b[70_100]^1, b[140_000]^1
		return b
	})
	if err := read(70_000); err != nil || !bytes.Equal(p, content[70_000:70_010]) {
		t.Errorf("read of a chunk that was checked before: %v", err)
	}
	for _, off := range []int64{0, 65_530, 131_070, 190_000} {
		var c *checkpoint.CorruptError
		if err := read(off); !errors.As(err, &c) || c.Offset != off/65536*65536 && c.Offset != (off+9)/65536*65536 {
			t.Errorf("read at %d: %v, want a CorruptError", off, err)
		}
	}
}
