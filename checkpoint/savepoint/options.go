package savepoint

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
	"go.uber.org/zap"
)

// Options say how a portable savepoint is written. The zero value works.
type Options struct {
	// Codec compresses the rows. Default state.RowsZstandard; state.RowsDeflate for Avro tools without zstandard, at a third of the speed.
	Codec state.RowsCodec
	// FileBytes is the size, in bytes after compression, from which on a file ends with its key group: a restore reads whole files, so at each border of
	// a subtask up to one file for each state is read that another subtask reads too. Default: 1/128 of the operator's state, at least 4 MiB and at most 128
	// MiB. A file of one large group ends at 256 MiB, or at FileBytes if that is more.
	FileBytes int64
	// Workers is how many operators are written at once, each by a goroutine that takes up a core. Default 1, which disturbs a running job least.
	Workers int
	// Progress is called now and then, from one goroutine at a time. Optional.
	Progress func(Progress)
	// Logger hears of calls to the storage that had to be repeated. Default: nobody.
	Logger *zap.Logger
}

// Progress says how far the writing or reading of a savepoint is.
type Progress struct {
	UID                 string // of the operator in hand
	Operators, Done     int    // all operators, and those that are done
	Entries, Bytes      int64  // entries so far, and their size before compression; for reading, that of keys and values
	FilesBytes, AllSize int64  // size of the files that were read, and of all, in the checkpoint or savepoint that is read
}

// Validate reports every fault.
func (o Options) Validate() error {
	var errs []error
	if o.Codec != "" {
		errs = append(errs, o.Codec.Validate())
	}
	if o.FileBytes < 0 {
		errs = append(errs, fmt.Errorf("savepoint: Options.FileBytes is %d, want 0 for the default or a positive number", o.FileBytes))
	}
	if o.Workers < 0 {
		errs = append(errs, fmt.Errorf("savepoint: Options.Workers is %d, want 0 for the default or a positive number", o.Workers))
	}
	return errors.Join(errs...)
}

const (
	fileBytesMin  = 4 << 20
	fileBytesMax  = 128 << 20
	groupBytesMax = 256 << 20
	fileParts     = 128 // of an operator's state, where the size of a file is neither at the minimum nor at the maximum
	uploads       = 4   // files that are sent to the storage at once
)

func (o Options) withDefaults() Options {
	if o.Codec == "" {
		o.Codec = state.RowsZstandard
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o
}

// fileBytes is the size at which files of an operator end.
func (o Options) fileBytes(op *checkpoint.OperatorState) int64 {
	if o.FileBytes > 0 {
		return o.FileBytes
	}
	return min(max(stateBytes(op)/fileParts, fileBytesMin), fileBytesMax)
}

// stateBytes is the size of the files of an operator.
func stateBytes(op *checkpoint.OperatorState) (n int64) {
	if op == nil {
		return 0
	}
	for _, t := range op.Subtasks {
		for _, files := range [][]state.File{t.Files, t.Broadcast} {
			for _, f := range files {
				n += f.Size
			}
		}
	}
	return n
}
