package ocf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	hamba "github.com/hamba/avro/v2/ocf"
	"pgregory.net/rapid"
)

const schemaString = `"string"`

func row(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}

// written is a file of the given rows.
func written(t interface {
	Helper()
	Fatal(args ...any)
}, o Options, meta map[string]string, rows []string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, schemaString, meta, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range rows {
		if err := w.End(row(w.Begin(), s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read gives the rows of a file and its header.
func read(data []byte) (rows []string, r *Reader, err error) {
	r, err = NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	for {
		n, block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, r, nil
		}
		if err != nil {
			return rows, r, err
		}
		for range n {
			size, k := binary.Varint(block)
			if k <= 0 || size < 0 || size > int64(len(block)-k) {
				return rows, r, errors.New("row does not fit its block")
			}
			rows, block = append(rows, string(block[k:k+int(size)])), block[k+int(size):]
		}
		if len(block) > 0 {
			return rows, r, errors.New("bytes after the rows")
		}
	}
}

// TestPropertyBothWays: another implementation reads what Writer writes, and Reader what that one writes.
func TestPropertyBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.StringN(0, 200, -1), 0, 40).Draw(t, "rows")
		codec := rapid.SampledFrom(Codecs()).Draw(t, "codec")
		meta := map[string]string{"a.b": "c", "empty": ""}
		o := Options{Codec: codec, BlockBytes: rapid.IntRange(1, 500).Draw(t, "block"), Sync: [16]byte{1, 2, 3}}
		data := written(t, o, meta, rows)

		got, r, err := read(data)
		if err != nil || !slices.Equal(got, rows) || r.Codec != codec || r.Schema != schemaString || !maps.Equal(r.Meta, meta) {
			t.Fatalf("read back %q, %v with codec %q and header %q, want %q, %q, %q", got, err, r.Codec, r.Meta, rows, codec, meta)
		}
		d, err := hamba.NewDecoder(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		var other []string
		for d.HasNext() {
			var s string
			if err := d.Decode(&s); err != nil {
				t.Fatal(err)
			}
			other = append(other, s)
		}
		if d.Error() != nil || !slices.Equal(other, rows) || string(d.Metadata()["a.b"]) != "c" {
			t.Fatalf("hamba/avro reads %q, %v, want %q", other, d.Error(), rows)
		}

		var b bytes.Buffer
		e, err := hamba.NewEncoder(schemaString, &b, hamba.WithCodec(hamba.CodecName(codec)), hamba.WithBlockLength(3))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range rows {
			if err := e.Encode(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := read(b.Bytes()); err != nil || !slices.Equal(got, rows) {
			t.Fatalf("file of hamba/avro: read %q, %v, want %q", got, err, rows)
		}
	})
}

// TestCutAndFlipped: a file that is cut off is an error or ends between two blocks; one with a flipped bit never panics, and what can be read of it
// comes from whole blocks.
func TestCutAndFlipped(t *testing.T) {
	rows := strings.Fields(strings.Repeat("seven different words that fill some blocks ", 4))
	for _, codec := range Codecs() {
		data := written(t, Options{Codec: codec, BlockBytes: 40, Sync: [16]byte{9, 8, 7}}, nil, rows)
		whole := 0
		for n := range data {
			got, _, err := read(data[:n])
			if err == nil {
				whole++
			}
			if !slices.Equal(got, rows[:len(got)]) {
				t.Fatalf("%s: the first %d bytes hold %q, which is no beginning of %q", codec, n, got, rows)
			}
			var bad *FormatError
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("%s: the first %d bytes: %v, want a *FormatError", codec, n, err)
			}
			if bad != nil && (bad.Offset > int64(n) || !strings.Contains(bad.Error(), fmt.Sprint(bad.Offset))) {
				t.Fatalf("%s: the first %d bytes: offset %d in %q", codec, n, bad.Offset, bad)
			}
		}
		if whole < 2 || whole > len(data)/20 {
			t.Errorf("%s: %d of %d beginnings are whole files, want one for each border of blocks", codec, whole, len(data))
		}
		for i := range len(data) * 8 {
			flipped := bytes.Clone(data)
			flipped[i/8] ^= 1 << (i % 8)
			_, _, _ = read(flipped) // it must not panic, nor ask for memory that a length makes up
		}
	}
}

func TestHostileLengths(t *testing.T) {
	head := written(t, Options{Codec: Null, BlockBytes: 10}, nil, nil)
	long := binary.AppendVarint(nil, 1<<62)
	tests := []struct {
		name string
		data []byte
	}{
		{"nothing", nil},
		{"another file", []byte("PK\x03\x04 and more")},
		{"header of many entries", append([]byte(magic), long...)},
		{"header with a long name", append(append([]byte(magic), 2), long...)},
		{"block of many bytes", append(append(bytes.Clone(head), 2), long...)},
		{"block of no rows", append(bytes.Clone(head), 0, 0)},
		{"negative size", append(bytes.Clone(head), 2, 1)},
		{"number of more than 64 bits", append(bytes.Clone(head), bytes.Repeat([]byte{0xff}, 11)...)},
	}
	for _, tt := range tests {
		var bad *FormatError
		if rows, _, err := read(tt.data); !errors.As(err, &bad) {
			t.Errorf("%s: %q, %v, want a *FormatError", tt.name, rows, err)
		}
	}
	if _, err := NewWriter(io.Discard, schemaString, nil, Options{Codec: "lzma"}); err == nil {
		t.Error("codec lzma is taken, want an error")
	}
}

// TestStorageFails: trouble of the storage is no fault of the file.
func TestStorageFails(t *testing.T) {
	data := written(t, Options{Codec: Null, BlockBytes: 10}, nil, []string{"0123456789", "0123456789"})
	trouble := errors.New("trouble")
	for n := range data {
		r, err := NewReader(io.MultiReader(bytes.NewReader(data[:n]), failing{trouble}))
		for err == nil {
			_, _, err = r.Next()
		}
		var bad *FormatError
		if !errors.Is(err, trouble) || errors.As(err, &bad) {
			t.Fatalf("trouble after %d bytes: %v, want it and no *FormatError", n, err)
		}
	}
	if _, err := NewWriter(failingWriter{trouble}, schemaString, nil, Options{Codec: Null}); !errors.Is(err, trouble) {
		t.Errorf("NewWriter on a broken disk: %v, want %v", err, trouble)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }
