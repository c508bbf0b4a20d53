// Package ocf writes and reads Avro object container files. Rows are bytes that the caller has encoded by the schema; this package knows the frame
// around them only: header, blocks, sync marks and codecs.
// Source: Avro specification 1.12, "Object Container Files".
package ocf

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Codec is how blocks are compressed, named as in the header of a file.
type Codec string

// The codecs. Every Avro tool must read Null and Deflate; Zstandard is optional in the specification, and the fastest of the three.
const (
	Null      Codec = "null"
	Deflate   Codec = "deflate"
	Zstandard Codec = "zstandard"
)

// Codecs are all of them.
func Codecs() []Codec { return []Codec{Zstandard, Deflate, Null} }

const (
	magic    = "Obj\x01"
	syncSize = 16

	metaSchema = "avro.schema"
	metaCodec  = "avro.codec"
)

// blockBytesMax bounds a block before and after decompression: one value of up to 2 GiB and a block around it.
const blockBytesMax = 1<<31 + 1<<20

// ErrTooLarge says that a block is above the limit of 2 GiB.
var ErrTooLarge = errors.New("a block has more than 2 GiB")

// compressor turns a block into what stands in the file. It reuses its memory.
type compressor struct {
	codec Codec
	zstd  *zstd.Encoder
	flate *flate.Writer
	buf   bytes.Buffer
	out   []byte
}

func newCompressor(c Codec) (*compressor, error) {
	k := &compressor{codec: c}
	var err error
	switch c {
	case Null:
	case Deflate:
		k.flate, err = flate.NewWriter(&k.buf, flate.DefaultCompression)
	case Zstandard:
		k.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	default:
		return nil, fmt.Errorf("codec %q is unknown, want one of %q", c, Codecs())
	}
	return k, err
}

func (k *compressor) compress(block []byte) ([]byte, error) {
	switch k.codec {
	case Deflate:
		k.buf.Reset()
		k.flate.Reset(&k.buf)
		if _, err := k.flate.Write(block); err != nil {
			return nil, err
		}
		err := k.flate.Close()
		return k.buf.Bytes(), err
	case Zstandard:
		k.out = k.zstd.EncodeAll(block, k.out[:0])
		return k.out, nil
	default:
		return block, nil
	}
}

// decompressor is the other way.
type decompressor struct {
	codec Codec
	zstd  *zstd.Decoder
	flate io.ReadCloser
	buf   bytes.Buffer
	out   []byte
}

func newDecompressor(c Codec) (*decompressor, error) {
	k := &decompressor{codec: c}
	var err error
	switch c {
	case Null:
	case Deflate:
		k.flate = flate.NewReader(bytes.NewReader(nil))
	case Zstandard:
		k.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(blockBytesMax))
	default:
		return nil, fmt.Errorf("codec %q is unknown, want one of %q", c, Codecs())
	}
	return k, err
}

func (k *decompressor) decompress(block []byte) ([]byte, error) {
	switch k.codec {
	case Deflate:
		if err := k.flate.(flate.Resetter).Reset(bytes.NewReader(block), nil); err != nil {
			return nil, err
		}
		k.buf.Reset()
		n, err := io.Copy(&k.buf, io.LimitReader(k.flate, blockBytesMax))
		if err == nil && n == blockBytesMax {
			err = ErrTooLarge
		}
		return k.buf.Bytes(), err
	case Zstandard:
		var err error
		k.out, err = k.zstd.DecodeAll(block, k.out[:0])
		return k.out, err
	default:
		return block, nil
	}
}

func (k *decompressor) close() {
	if k.zstd != nil {
		k.zstd.Close()
	}
}
