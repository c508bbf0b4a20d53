package file

import (
	"errors"
	"fmt"
	"io"

	"github.com/hamba/avro/v2"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

// schemaKey is the metadata key under which Parquet files keep the Avro schema of their records.
// Source: Apache Parquet, parquet-avro AvroReadSupport and AvroWriteSupport use "parquet.avro.schema" and, before, "avro.schema".
const (
	schemaKey    = "parquet.avro.schema"
	schemaKeyOld = "avro.schema"
)

// parquetFormat is the Parquet file with columns translated from an Avro schema.
type parquetFormat struct {
	text    string
	root    *column
	options []parquet.WriterOption
}

func newParquetFormat(text string, s avro.Schema, c Compression) (*parquetFormat, error) {
	root, node, err := columnsOf(s)
	if err != nil {
		return nil, err
	}
	name := "record"
	if r, ok := s.(*avro.RecordSchema); ok {
		name = r.Name()
	}
	codec := map[Compression]compress.Codec{Snappy: &parquet.Snappy, Uncompressed: &parquet.Uncompressed, Deflate: &parquet.Gzip}[c]
	return &parquetFormat{text: text, root: root, options: []parquet.WriterOption{
		parquet.NewSchema(name, node), parquet.Compression(codec), parquet.KeyValueMetadata(schemaKey, text),
		parquet.CreatedBy("millrace", "1", ""), parquet.PageBufferSize(64 << 10), parquet.WriteBufferSize(32 << 10),
		parquet.DictionaryMaxBytes(1 << 20),
	}}, nil
}

func (f *parquetFormat) encoder(w io.Writer) (encoder, error) {
	return &parquetEncoder{w: parquet.NewGenericWriter[any](w, f.options...), shred: newShredder(f.root)}, nil
}

// parquetEncoder buffers rows in columns; flush ends the row group.
type parquetEncoder struct {
	w     *parquet.GenericWriter[any]
	shred *shredder
	rows  [1]parquet.Row
}

func (e *parquetEncoder) append(datum []byte) error {
	row, err := e.shred.shred(datum)
	if err != nil {
		return fmt.Errorf("the Serde's bytes do not fit its schema: %w", err)
	}
	e.rows[0] = row
	_, err = e.w.WriteRows(e.rows[:])
	return err
}

func (e *parquetEncoder) flush() error { return e.w.Flush() }
func (e *parquetEncoder) close() error { return e.w.Close() }

// parquetDecoder reads rows and gives them as Avro data.
type parquetDecoder struct {
	text   string
	groups []parquet.RowGroup
	rows   parquet.Rows
	join   assembler
	buf    [64]parquet.Row
	have   []parquet.Row
	ended  bool // rows has no more; its memory is freed once have is used up
	datum  []byte
}

// newParquetDecoder opens a file. want is the schema to assume for a file that does not name the Avro schema of its records.
func newParquetDecoder(r io.ReaderAt, size int64, want string) (*parquetDecoder, error) {
	f, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	text, ok := f.Lookup(schemaKey)
	if !ok {
		if text, ok = f.Lookup(schemaKeyOld); !ok {
			text = want
		}
	}
	s, err := parseSchema(text)
	if err != nil {
		return nil, fmt.Errorf("schema of Avro in the metadata: %w", err)
	}
	root, node, err := columnsOf(s)
	if err != nil {
		return nil, err
	}
	if !parquet.EqualNodes(f.Schema(), node) {
		return nil, fmt.Errorf("its columns %v are not those of the Avro schema %v", f.Schema(), node)
	}
	return &parquetDecoder{text: text, groups: f.RowGroups(), join: assembler{root: root}}, nil
}

func (d *parquetDecoder) schema() string { return d.text }

// more makes rows of the next row group available, or fails with io.EOF.
func (d *parquetDecoder) more() error {
	for len(d.have) == 0 {
		if d.ended {
			d.ended, d.groups = false, d.groups[1:]
			if err := d.rows.Close(); err != nil {
				return err
			}
			d.rows = nil
		}
		if d.rows == nil {
			if len(d.groups) == 0 {
				return io.EOF
			}
			d.rows = d.groups[0].Rows()
		}
		for i := range d.buf {
			d.buf[i] = d.buf[i][:0]
		}
		n, err := d.rows.ReadRows(d.buf[:])
		d.have = d.buf[:n]
		switch {
		case errors.Is(err, io.EOF):
			d.ended = true
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
	return nil
}

func (d *parquetDecoder) next() ([]byte, error) {
	if err := d.more(); err != nil {
		return nil, err
	}
	var err error
	d.datum, err = d.join.assemble(d.datum[:0], d.have[0])
	d.have = d.have[1:]
	return d.datum, err
}

func (d *parquetDecoder) skip(n int64) error {
	for len(d.groups) > 0 && d.rows == nil && len(d.have) == 0 && n >= d.groups[0].NumRows() {
		n -= d.groups[0].NumRows()
		d.groups = d.groups[1:]
	}
	if n > 0 && len(d.groups) > 0 && d.rows == nil && len(d.have) == 0 {
		d.rows = d.groups[0].Rows()
		if err := d.rows.SeekToRow(n); err != nil {
			return err
		}
		n = 0
	}
	for ; n > 0; n-- {
		if err := d.more(); err != nil {
			return err
		}
		d.have = d.have[1:]
	}
	return nil
}

// Close frees the pages in memory.
func (d *parquetDecoder) Close() error {
	if d.rows == nil {
		return nil
	}
	return d.rows.Close()
}
