package file

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/hamba/avro/v2"
)

// format makes the encoders of one archive. It is immutable.
type format interface {
	// encoder begins a file whose bytes go to w.
	encoder(w io.Writer) (encoder, error)
}

// encoder fills one file with records. It is used by one goroutine.
type encoder interface {
	// append adds one record, given as its Avro encoding, which it does not keep.
	append(datum []byte) error
	// flush writes out what append buffers.
	flush() error
	// close ends the file. The writer beneath stays open.
	close() error
}

// decoder reads the records of one file in order. It is used by one goroutine.
type decoder interface {
	// schema is the Avro schema that the records were written with.
	schema() string
	// next returns the Avro encoding of the next record, valid until the next call; io.EOF after the last.
	next() ([]byte, error)
	// skip passes over n records; io.EOF when there are fewer.
	skip(n int64) error
}

// newFormat checks that records of the schema can be kept in the format.
func newFormat(f Format, c Compression, schema string) (format, error) {
	if strings.HasPrefix(schema, "opaque:") {
		return nil, fmt.Errorf("file: the Serde's encoding is %q, want an Avro schema: give Options.Serde one that has it", schema)
	}
	parsed, err := parseSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("file: schema of the Serde: %w", err)
	}
	if f == Parquet {
		return newParquetFormat(schema, parsed, c)
	}
	return avroFormat{schema: schema, parsed: parsed, compression: c}, nil
}

// parseSchema parses a schema without the process-wide cache of named types, where one archive's record could answer another's reference.
func parseSchema(schema string) (avro.Schema, error) {
	return avro.ParseWithCache(schema, "", &avro.SchemaCache{})
}

// sameSchema reports whether two schemas describe the same bytes and the same meaning.
func sameSchema(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := parseSchema(a)
	y, errY := parseSchema(b)
	return errX == nil && errY == nil && x.String() == y.String()
}

// counter passes bytes on, counts and hashes them.
type counter struct {
	w    io.Writer
	n    int64
	hash hash.Hash
}

func newCounter(w io.Writer) *counter { return &counter{w: w, hash: sha256.New()} }

// Write passes p on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	return n, err
}

func (c *counter) sum() string { return hex.EncodeToString(c.hash.Sum(nil)) }
