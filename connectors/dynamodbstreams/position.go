package dynamodbstreams

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// position is where the reading of a shard goes on; a split's Position is its JSON.
type position struct {
	ARN string `json:"arn"`
	// After is the sequence number of the last record passed; empty: none yet.
	After string `json:"after,omitempty"`
	// FromMS: records before the first that was created at or after it are not wanted. 0 once that one was passed.
	FromMS int64 `json:"from,omitempty"`
	// SinceMS: what is promised and not read yet was created at or after it.
	SinceMS int64 `json:"since"`
	// Spent says that the shard ended before anything that is promised.
	Spent bool `json:"spent,omitempty"`
	// Reopen says that the service does not know the place After any more: go on with the oldest record that comes later.
	Reopen bool `json:"reopen,omitempty"`
}

func (p position) encode() ([]byte, error) { return json.Marshal(p) }

func decodePosition(split string, src []byte) (position, error) {
	var p position
	if err := json.Unmarshal(src, &p); err != nil {
		return p, fmt.Errorf("dynamodbstreams: the position of shard %q in the checkpoint cannot be read: %w", split, err)
	}
	if p.ARN == "" {
		return p, fmt.Errorf("dynamodbstreams: the position of shard %q in the checkpoint names no stream", split)
	}
	return p, nil
}

// verdict is what follows from a shard that cannot be read where it should be.
type verdict int

const (
	reopen verdict = iota // nothing is lost: go on with the oldest record
	finish                // nothing is lost: the shard is over
	lost                  // records are gone unread
)

// judge says what it means that the service has trimmed the records at a position, or has no such shard any more.
func judge(p position, f fault, nowMS int64) verdict {
	switch {
	case p.Spent && f == gone:
		return finish
	case f == gone || p.outlived(nowMS):
		return lost
	}
	// What was trimmed was read before, or is the oldest record that nobody was promised.
	return reopen
}

// outlived reports whether records that are promised may have been deleted before they were read. Asking for the oldest record would
// then succeed, and skip them silently.
func (p position) outlived(nowMS int64) bool {
	return !p.Spent && nowMS-p.SinceMS > (retention-clockSkew).Milliseconds()
}

// sinceAfter is SinceMS once a record created at createdMS was passed: from there on, everything that is wanted is promised, also what is
// older than the job.
func (p position) sinceAfter(createdMS int64) int64 {
	if createdMS == connectors.NoTimestamp {
		return p.SinceMS
	}
	return max(createdMS, p.FromMS)
}

// DataLossError reports records that the service deleted before they were read. Restarting does not bring them back: start the source
// afresh under a new uid, or accept the loss by Options.OnDataLoss = SkipLoss.
type DataLossError struct {
	StreamARN string
	Shard     string
	// After is the sequence number of the last record that was read of the shard; empty: none was.
	After string
	// FromMS and ToMS bound the gap, Unix ms: records created between them are gone. Everything before FromMS was read, or was never
	// promised.
	FromMS, ToMS int64
	// Reason is what the service said, or did not say.
	Reason string
}

// Error implements error.
func (e *DataLossError) Error() string {
	at := "before its first record"
	if e.After != "" {
		at = fmt.Sprintf("after sequence number %s", e.After)
	}
	from, to := time.UnixMilli(e.FromMS).UTC(), time.UnixMilli(e.ToMS).UTC()
	return fmt.Sprintf("dynamodbstreams: data loss in shard %q of %q %s: %s; records created between %s and %s (%v) were deleted unread; start afresh under a new uid, or set OnDataLoss to SkipLoss to go on without them",
		e.Shard, e.StreamARN, at, e.Reason, from.Format(time.RFC3339), to.Format(time.RFC3339), to.Sub(from).Round(time.Second))
}

// lossAt is the error for a loss at a position.
func lossAt(shard string, p position, nowMS int64, reason string) *DataLossError {
	e := &DataLossError{StreamARN: p.ARN, Shard: shard, After: p.After, FromMS: p.SinceMS, ToMS: nowMS - retention.Milliseconds(), Reason: reason}
	e.ToMS = max(e.ToMS, e.FromMS)
	return e
}
