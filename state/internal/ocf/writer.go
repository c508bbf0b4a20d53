package ocf

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Options set how a file is written.
type Options struct {
	Codec Codec
	// BlockBytes is the size before compression at which a block is closed, in bytes.
	BlockBytes int
	// Sync is the mark between blocks. It should be random: a reader that looks for the next block finds it by the mark.
	Sync [syncSize]byte
}

// Writer writes a container file with the memory of one block and its largest row. One goroutine uses it.
type Writer struct {
	w     io.Writer
	o     Options
	pack  *compressor
	block []byte
	rows  int64
	head  []byte
}

// NewWriter writes the header: the schema of the rows, as JSON, and meta, whose names must not begin with "avro.".
func NewWriter(w io.Writer, schema string, meta map[string]string, o Options) (*Writer, error) {
	pack, err := newCompressor(o.Codec)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(meta)
	if all == nil {
		all = map[string]string{}
	}
	all[metaSchema], all[metaCodec] = schema, string(o.Codec)
	out := binary.AppendVarint([]byte(magic), int64(len(all)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, s := range []string{name, all[name]} {
			out = append(binary.AppendVarint(out, int64(len(s))), s...)
		}
	}
	out = append(append(out, 0), o.Sync[:]...)
	if _, err := w.Write(out); err != nil {
		return nil, err
	}
	return &Writer{w: w, o: o, pack: pack}, nil
}

// Begin is the memory to which the caller appends one row, to be given to End.
func (w *Writer) Begin() []byte { return w.block }

// End takes the row that was appended to what Begin gave.
func (w *Writer) End(block []byte) error {
	w.block = block
	w.rows++
	if len(block) < w.o.BlockBytes {
		return nil
	}
	return w.flush()
}

// Buffered is the number of bytes, before compression, that wait for the block to be full.
func (w *Writer) Buffered() int { return len(w.block) }

func (w *Writer) flush() error {
	if w.rows == 0 {
		return nil
	}
	if len(w.block) > blockBytesMax {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(w.block))
	}
	data, err := w.pack.compress(w.block)
	if err != nil {
		return err
	}
	w.head = binary.AppendVarint(w.head[:0], w.rows)
	w.head = binary.AppendVarint(w.head, int64(len(data)))
	for _, b := range [][]byte{w.head, data, w.o.Sync[:]} {
		if _, err := w.w.Write(b); err != nil {
			return err
		}
	}
	w.block, w.rows = w.block[:0], 0
	return nil
}

// Close writes the last block. A file without it is valid and lacks rows.
func (w *Writer) Close() error { return w.flush() }
