package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// CorruptPolicy says what a source does with what it cannot read.
type CorruptPolicy int

const (
	// FailCorrupt fails the job with a *CorruptFileError.
	FailCorrupt CorruptPolicy = iota
	// DeadLetterCorrupt hands a record that cannot be decoded over as a dead letter and goes on with the next. When the file itself is
	// damaged, one dead letter without bytes stands for the rest of it.
	DeadLetterCorrupt
)

// SourceOptions of an archive to read. URL is required; all else has a default.
type SourceOptions[T any] struct {
	// URL and S3 are those of Options.
	URL string
	S3  S3Options
	// Serde decodes the records. Files that were written with another schema than its own are read by the rules of Avro schema resolution
	// (serde.Resolve). Default: derived from T by serde.For.
	Serde serde.Serde[T]
	// Time is the timestamp to emit with each record. Default: none, so that a step after the source gives it.
	Time func(v T) time.Time
	// Committed reads the files that manifests list instead of those at visible names, so that each checkpoint is there as a whole or not at
	// all. A listed file that is gone is then an error, also when somebody removed an old partition on purpose.
	Committed bool
	// UID limits Committed to the files of one sink. Default: those of all sinks of the archive.
	UID string
	// OnCorrupt says what happens to what cannot be read. Default FailCorrupt.
	OnCorrupt CorruptPolicy
}

// Validate reports every fault of the options at once, without I/O.
func (o SourceOptions[T]) Validate() error {
	_, err := derived(o.Serde)
	errs := []error{err, validateLocation(o.URL, o.S3)}
	if o.UID != "" && !o.Committed {
		errs = append(errs, fmt.Errorf("file: SourceOptions.UID is %q without Committed: visible names do not tell the sink", o.UID))
	}
	if o.OnCorrupt != FailCorrupt && o.OnCorrupt != DeadLetterCorrupt {
		errs = append(errs, fmt.Errorf("file: SourceOptions.OnCorrupt is %d, want FailCorrupt or DeadLetterCorrupt", o.OnCorrupt))
	}
	return errors.Join(errs...)
}

// Source reads an archive once: the files that are there when the job starts, one split a file, at any parallelism. It implements
// connectors.Source. Files ending in .avro and .parquet are read whoever wrote them; those that Parquet tools wrote need columns of the
// form that the Serde's schema has.
type Source[T any] struct {
	options SourceOptions[T]
	connect func() (objects, error)
}

// NewSource makes the source. Faults of the options are reported by Validate.
func NewSource[T any](o SourceOptions[T]) *Source[T] {
	return &Source[T]{options: o, connect: func() (objects, error) { return connect(o.URL, o.S3, "") }}
}

var _ connectors.Source[int] = (*Source[int])(nil)

// Validate reports every fault of the options at once, without I/O.
func (s *Source[T]) Validate() error { return s.options.Validate() }

// position is where a split goes on.
type position struct {
	Record int64 `json:"record"` // index of the next record
	// Staged is where the file is while it has not got its visible name, and Bytes its size; only of files listed by manifests.
	Staged string `json:"staged,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
}

func (p position) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // of numbers and strings: cannot be
	}
	return b
}

// NewEnumerator makes the enumerator.
func (s *Source[T]) NewEnumerator(c connectors.Context, restored []byte) (connectors.Enumerator, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	store, err := s.connect()
	if err != nil {
		return nil, err
	}
	e := &enumerator{store: store, committed: s.options.Committed, uid: s.options.UID}
	if restored != nil {
		if err := json.Unmarshal(restored, &e.state); err != nil {
			return nil, fmt.Errorf("file: state of the enumerator of %q is damaged: %w", c.UID, err)
		}
	}
	return e, nil
}

// enumerator lists the archive once.
type enumerator struct {
	store     objects
	committed bool
	uid       string

	mu    sync.Mutex // guards state
	state enumeratorState
}

type enumeratorState struct {
	Listed  bool               `json:"listed"`
	Pending []connectors.Split `json:"pending"` // not handed over, sorted by name
}

// Discover lists the files.
func (e *enumerator) Discover(ctx context.Context) (time.Duration, error) {
	e.mu.Lock()
	listed := e.state.Listed
	e.mu.Unlock()
	if listed {
		return 0, nil
	}
	splits, err := e.splits(ctx)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(splits, func(a, b connectors.Split) int { return strings.Compare(a.ID, b.ID) })
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = enumeratorState{Listed: true, Pending: splits}
	return 0, nil
}

func (e *enumerator) splits(ctx context.Context) (splits []connectors.Split, err error) {
	if !e.committed {
		err = e.store.list(ctx, "", func(o objectInfo) error {
			if visible(o.name) && formatOf(o.name) >= 0 {
				splits = append(splits, connectors.Split{ID: o.name, Position: position{}.encode()})
			}
			return nil
		})
		return splits, err
	}
	dir := manifestDir
	if e.uid != "" {
		dir += "/" + escape(e.uid)
	}
	err = e.store.list(ctx, dir, func(o objectInfo) error {
		data, err := e.store.read(ctx, o.name)
		if err != nil {
			return err
		}
		m, err := decodeManifest(o.name, data)
		for _, f := range m.Files {
			splits = append(splits, connectors.Split{ID: f.Path, Position: position{Staged: f.Staged, Bytes: f.Bytes}.encode()})
		}
		return err
	})
	return splits, err
}

// formatOf tells the format by the end of the name; -1 for another file.
func formatOf(name string) Format {
	switch {
	case strings.HasSuffix(name, ".avro"):
		return Avro
	case strings.HasSuffix(name, ".parquet"):
		return Parquet
	}
	return -1
}

// Assign hands every file over.
func (e *enumerator) Assign() []connectors.Split {
	e.mu.Lock()
	defer e.mu.Unlock()
	splits := e.state.Pending
	e.state.Pending = nil
	return splits
}

// Finished needs no memory: no file waits for another.
func (e *enumerator) Finished(string) {}

// Done reports that every file was handed over.
func (e *enumerator) Done() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.Listed && len(e.state.Pending) == 0
}

// Snapshot returns what was not handed over.
func (e *enumerator) Snapshot() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return json.Marshal(e.state)
}

// Close does nothing.
func (e *enumerator) Close() error { return nil }
