package file

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"
)

// avroBlockBytes is the uncompressed size of a block: the unit of compression, and of damage.
const avroBlockBytes = 64 << 10

// avroFormat is the Avro object container file.
// Source: Apache Avro specification 1.12, Object Container Files.
type avroFormat struct {
	schema      string
	parsed      avro.Schema
	compression Compression
}

func (f avroFormat) encoder(w io.Writer) (encoder, error) {
	codec := map[Compression]ocf.CodecName{Snappy: ocf.Snappy, Uncompressed: ocf.Null, Deflate: ocf.Deflate}[f.compression]
	e, err := ocf.NewEncoderWithSchema(f.parsed, w, ocf.WithCodec(codec), ocf.WithBlockLength(0), ocf.WithBlockSize(avroBlockBytes),
		// The schema as it is: the library's canonical form leaves out defaults, aliases and documentation.
		ocf.WithSchemaMarshaler(func(avro.Schema) ([]byte, error) { return []byte(f.schema), nil }))
	if err != nil {
		return nil, fmt.Errorf("file: beginning an Avro file: %w", err)
	}
	return avroEncoder{e}, nil
}

type avroEncoder struct{ *ocf.Encoder }

func (e avroEncoder) append(datum []byte) error { _, err := e.Write(datum); return err }
func (e avroEncoder) flush() error              { return e.Flush() }
func (e avroEncoder) close() error              { return e.Close() }

// avroDecoder reads an object container file block by block and cuts the blocks into records by the schema, so that records are
// decoded by the Serde alone.
type avroDecoder struct {
	r      *bufio.Reader
	left   int64 // bytes of the file not yet read from r
	text   string
	parsed avro.Schema
	codec  ocf.Codec
	sync   [16]byte
	block  []byte // records of the current block that were not yet given out
	count  int64  // how many they are
}

func newAvroDecoder(r io.Reader, size int64) (*avroDecoder, error) {
	d := &avroDecoder{r: bufio.NewReaderSize(r, 64<<10), left: size}
	var magic [4]byte
	if err := d.fill(magic[:]); err != nil {
		return nil, err
	}
	if magic != [4]byte{'O', 'b', 'j', 1} {
		return nil, fmt.Errorf("it begins with %x, not as an Avro container file", magic)
	}
	meta, err := d.metadata()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := d.fill(d.sync[:]); err != nil {
		return nil, err
	}
	d.text = string(meta["avro.schema"])
	if d.parsed, err = parseSchema(d.text); err != nil {
		return nil, fmt.Errorf("schema in the header: %w", err)
	}
	switch name := string(meta["avro.codec"]); name {
	case "", "null":
		d.codec = &ocf.NullCodec{}
	case "deflate":
		d.codec = &ocf.DeflateCodec{}
	case "snappy":
		d.codec = &ocf.SnappyCodec{}
	default:
		return nil, fmt.Errorf("codec %q in the header is not supported: want null, deflate or snappy", name)
	}
	return d, nil
}

func (d *avroDecoder) schema() string { return d.text }

// metadata reads the header's map of bytes.
func (d *avroDecoder) metadata() (map[string][]byte, error) {
	meta := map[string][]byte{}
	for {
		n, err := d.long()
		if err != nil || n == 0 {
			return meta, err
		}
		if n < 0 { // the block's size in bytes follows
			n = -n
			if _, err := d.long(); err != nil {
				return nil, err
			}
		}
		for ; n > 0; n-- {
			key, err := d.bytes()
			if err != nil {
				return nil, err
			}
			if meta[string(key)], err = d.bytes(); err != nil {
				return nil, err
			}
		}
	}
}

func (d *avroDecoder) bytes() ([]byte, error) {
	n, err := d.long()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > d.left {
		return nil, fmt.Errorf("%d bytes announced, %d left in the file", n, d.left)
	}
	b := make([]byte, n)
	return b, d.fill(b)
}

func (d *avroDecoder) fill(b []byte) error {
	n, err := io.ReadFull(d.r, b)
	d.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ReadByte makes avroDecoder the source of binary.ReadVarint.
func (d *avroDecoder) ReadByte() (byte, error) {
	b, err := d.r.ReadByte()
	if err == nil {
		d.left--
	}
	return b, err
}

func (d *avroDecoder) long() (int64, error) {
	n, err := binary.ReadVarint(d)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// nextBlock reads a block; io.EOF when the file ends where a block would begin.
func (d *avroDecoder) nextBlock() error {
	if _, err := d.r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) && d.left > 0 {
			return fmt.Errorf("%d bytes are missing at the end", d.left)
		}
		return err
	}
	count, err := d.long()
	if err != nil {
		return err
	}
	data, err := d.bytes()
	if err != nil {
		return err
	}
	var sync [16]byte
	if err := d.fill(sync[:]); err != nil {
		return err
	}
	if sync != d.sync {
		return errors.New("a block does not end with the file's sync marker")
	}
	if d.block, err = d.codec.Decode(data); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	if d.count = count; count < 0 || count > 0 && len(d.block) == 0 {
		return fmt.Errorf("block of %d bytes announces %d records", len(d.block), count)
	}
	return nil
}

func (d *avroDecoder) next() ([]byte, error) {
	for d.count == 0 {
		if len(d.block) > 0 {
			return nil, fmt.Errorf("%d bytes after the last record of a block", len(d.block))
		}
		if err := d.nextBlock(); err != nil {
			return nil, err
		}
	}
	rest, err := skipDatum(d.parsed, d.block, 0)
	if err != nil {
		return nil, err
	}
	datum := d.block[:len(d.block)-len(rest)]
	d.block = rest
	d.count--
	return datum, nil
}

func (d *avroDecoder) skip(n int64) error {
	for n > 0 {
		if d.count > 0 && d.count <= n { // the whole rest of the block
			n -= d.count
			d.count, d.block = 0, nil
			continue
		}
		if d.count == 0 {
			d.block = nil
			if err := d.nextBlock(); err != nil {
				return err
			}
			continue
		}
		if _, err := d.next(); err != nil {
			return err
		}
		n--
	}
	return nil
}
