package file

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/millrace-io/millrace/serde"
)

// Format is the format of archive files.
type Format int

const (
	// Avro is the Avro object container file: rows, schema in the header, the cheapest to write. Files end in .avro.
	Avro Format = iota
	// Parquet is Apache Parquet: columns, the best to query. The Avro schema of the records is translated and also kept in the file's
	// metadata under "avro.schema". Files end in .parquet.
	Parquet
)

// String is "avro" or "parquet", which is also the file name extension.
func (f Format) String() string {
	switch f {
	case Avro:
		return "avro"
	case Parquet:
		return "parquet"
	default:
		return fmt.Sprintf("Format(%d)", int(f))
	}
}

// Compression is the compression of blocks (Avro) or pages (Parquet).
type Compression int

const (
	// Snappy is fast and read by every tool.
	Snappy Compression = iota
	// Uncompressed stores the bytes as they are.
	Uncompressed
	// Deflate is smaller and slower than Snappy; in Parquet it is gzip.
	Deflate
)

// String names the compression as in messages.
func (c Compression) String() string {
	switch c {
	case Snappy:
		return "snappy"
	case Uncompressed:
		return "uncompressed"
	case Deflate:
		return "deflate"
	default:
		return fmt.Sprintf("Compression(%d)", int(c))
	}
}

// Options of a sink. URL is required; all else has a default.
type Options[T any] struct {
	// URL of the archive's root: a folder, "file:///absolute/folder" or "s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1",
	// where prefix and parameters may be left out. A folder is made when it does not exist, a bucket is not.
	URL string
	// S3 says how to reach the bucket; without meaning for a folder.
	S3 S3Options
	// Format of the files. Default Avro.
	Format Format
	// Compression inside the files. Default Snappy.
	Compression Compression
	// Serde gives the records' bytes and their Avro schema. Default: derived from T by serde.For.
	Serde serde.Serde[T]
	// Time is the event time by which a record finds its hour. Default: the timestamp that the record carries in the dataflow. A record
	// that has none, or one outside the years 0 to 9999, is a dead letter.
	Time func(v T) time.Time
	// FileBytes ends a file when it has reached this size, bytes; it may be exceeded by one block or row group. Default 128 MiB; at
	// least 4 KiB, at most 4 GiB (S3 copies no larger object at once).
	FileBytes int64
	// OpenFiles is how many files one subtask holds open: when a record needs one more, the file opened first is ended. More files
	// at once mean fewer small files when event times are spread over many hours, and more memory. Default 64; at least 1.
	OpenFiles int
	// BufferBytes is how much encoded data one subtask holds in memory, bytes, in all its open files together, before the largest buffer
	// is written out. It bounds memory; compression and Parquet's columns take about the same again. Default 64 MiB; at least 64 KiB.
	BufferBytes int
	// SpoolDir is where files for S3 are collected until they are uploaded; they have no name there and vanish with the process. It needs
	// room for OpenFiles × FileBytes at worst. Default os.TempDir().
	SpoolDir string
	// OrphanGrace is the age from which a start of the job removes staged files that no checkpoint has committed. It must be longer
	// than a process of an earlier attempt may go on after it was given up. Default 24 h; at least 1 min.
	OrphanGrace time.Duration
}

// withDefaults replaces zero fields by their defaults.
func (o Options[T]) withDefaults() (Options[T], error) {
	if o.FileBytes == 0 {
		o.FileBytes = 128 << 20
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 64
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = 64 << 20
	}
	if o.OrphanGrace == 0 {
		o.OrphanGrace = 24 * time.Hour
	}
	var err error
	o.Serde, err = derived(o.Serde)
	return o, err
}

// Validate reports every fault of the options at once, without I/O.
func (o Options[T]) Validate() error {
	o, err := o.withDefaults()
	errs := []error{err}
	if err := validateLocation(o.URL, o.S3); err != nil {
		errs = append(errs, err)
	}
	if o.Format != Avro && o.Format != Parquet {
		errs = append(errs, fmt.Errorf("file: Options.Format is %v, want Avro or Parquet", o.Format))
	}
	if o.Compression < Snappy || o.Compression > Deflate {
		errs = append(errs, fmt.Errorf("file: Options.Compression is %v, want Snappy, Uncompressed or Deflate", o.Compression))
	}
	if o.FileBytes < 4<<10 || o.FileBytes > 4<<30 {
		errs = append(errs, fmt.Errorf("file: Options.FileBytes is %d, want 4096 to %d", o.FileBytes, int64(4<<30)))
	}
	if o.OpenFiles < 1 {
		errs = append(errs, fmt.Errorf("file: Options.OpenFiles is %d, want at least 1", o.OpenFiles))
	}
	if o.BufferBytes < 64<<10 {
		errs = append(errs, fmt.Errorf("file: Options.BufferBytes is %d, want at least 65536", o.BufferBytes))
	}
	if o.OrphanGrace < time.Minute {
		errs = append(errs, fmt.Errorf("file: Options.OrphanGrace is %v, want at least 1m", o.OrphanGrace))
	}
	if o.Serde != nil {
		if _, err := newFormat(o.Format, o.Compression, o.Serde.Schema()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Names of buckets as S3 allows them.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// location is a parsed URL of an archive.
type location struct {
	dir              string // folder, or empty
	bucket, prefix   string // prefix without slashes at its ends
	endpoint, region string // of the bucket; may be empty
}

// parseURL reads the URL of an archive.
func parseURL(raw string) (location, error) {
	wrong := fmt.Errorf("file: URL is %q, want a folder, file:///absolute/folder or s3://bucket/prefix", raw)
	if raw == "" {
		return location{}, wrong
	}
	if !strings.Contains(raw, "://") {
		return location{dir: filepath.Clean(raw)}, nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return location{}, fmt.Errorf("file: URL %q: %w", raw, err)
	case u.User != nil || u.Fragment != "":
		return location{}, errors.New("file: URL of the archive holds a user or a fragment: give credentials in S3Options")
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && path.IsAbs(u.Path) && u.RawQuery == "":
		return location{dir: filepath.Clean(filepath.FromSlash(u.Path))}, nil
	case u.Scheme != "s3" || !bucketName.MatchString(u.Host):
		return location{}, wrong
	}
	loc := location{bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	if loc.prefix != "" && !fs.ValidPath(loc.prefix) {
		return location{}, fmt.Errorf("file: prefix of URL %q has empty or dotted parts", raw)
	}
	for k, v := range u.Query() {
		switch k {
		case "endpoint":
			loc.endpoint = v[0]
		case "region":
			loc.region = v[0]
		default:
			return location{}, fmt.Errorf("file: URL %q has parameter %q, want endpoint or region", raw, k)
		}
	}
	return loc, nil
}

func validateLocation(raw string, s3 S3Options) error {
	loc, err := parseURL(raw)
	if err != nil || loc.bucket == "" {
		return err
	}
	return s3.over(loc).validate()
}

// connect makes the store of an archive, without I/O.
func connect(raw string, s3 S3Options, spool string) (objects, error) {
	loc, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	if loc.bucket != "" {
		return newS3Store(loc, s3, spool)
	}
	return dirStore{root: loc.dir}, nil
}

// derived is the Serde that is used when none is given.
func derived[T any](s serde.Serde[T]) (serde.Serde[T], error) {
	if s != nil {
		return s, nil
	}
	s, err := serde.For[T]()
	if err != nil {
		return nil, fmt.Errorf("file: the record type has no Avro schema, give Options.Serde: %w", err)
	}
	return s, nil
}
