package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	// fromStart is the offset of a split that has emitted nothing and starts at whatever the log start is when it begins to read:
	// retention between discovery and the first fetch is no loss.
	fromStart = -2
	// noEnd is the end of an unbounded split.
	noEnd = -1

	positionVersion = 1
	positionSize    = 1 + 16 + 8 + 4 + 8 + 4
)

// position is where a split goes on.
type position struct {
	topicID [16]byte // zero: the broker is too old to tell
	offset  int64    // next offset, or fromStart
	epoch   int32    // leader epoch of the record before offset; -1 unknown
	end     int64    // first offset not to read any more, or noEnd
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode is: version (1 B), topic id (16), offset (8), leader epoch (4), end (8), big endian, and their CRC-32C (4).
func (p position) encode() []byte {
	b := make([]byte, 0, positionSize)
	b = append(b, positionVersion)
	b = append(b, p.topicID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	b = binary.BigEndian.AppendUint32(b, uint32(p.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(p.end))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodePosition(b []byte) (position, error) {
	var p position
	if len(b) == 0 || b[0] != positionVersion {
		return p, fmt.Errorf("kafka: position of %d bytes is of no known version (known: %d); it was not written by this source or by a newer release", len(b), positionVersion)
	}
	if len(b) != positionSize {
		return p, fmt.Errorf("kafka: position has %d bytes, want %d; the checkpoint is damaged", len(b), positionSize)
	}
	body, sum := b[:positionSize-4], binary.BigEndian.Uint32(b[positionSize-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return p, fmt.Errorf("kafka: position has checksum %08x, want %08x; the checkpoint is damaged", got, sum)
	}
	copy(p.topicID[:], body[1:17])
	p.offset = int64(binary.BigEndian.Uint64(body[17:]))
	p.epoch = int32(binary.BigEndian.Uint32(body[25:]))
	p.end = int64(binary.BigEndian.Uint64(body[29:]))
	if p.offset < fromStart || p.offset == -1 || p.epoch < -1 || p.end < noEnd {
		return position{}, fmt.Errorf("kafka: position has offset %d, epoch %d, end %d, which is no place in a partition", p.offset, p.epoch, p.end)
	}
	return p, nil
}

// partition names one partition; its String is the id of its split.
type partition struct {
	topic string
	id    int32
}

func (p partition) String() string { return p.topic + "-" + strconv.Itoa(int(p.id)) }

func parsePartition(s string) (partition, error) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return partition{}, fmt.Errorf("kafka: split id %q is not <topic>-<partition>", s)
	}
	n, err := strconv.ParseInt(s[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s[i+1:] {
		return partition{}, fmt.Errorf("kafka: split id %q is not <topic>-<partition>", s)
	}
	return partition{topic: s[:i], id: int32(n)}, nil
}

// ErrDataLoss marks errors that say that records the job should have read are gone, or may be.
var ErrDataLoss = errors.New("kafka: records to be read are gone")

// DataLossError says which records are missing.
type DataLossError struct {
	Split string // <topic>-<partition>
	// Position is the next offset the job wanted; -1 when the topic itself has gone.
	Position int64
	// Resume is where the log can be read again; -1 when it is unknown.
	Resume int64
	Cause  error
}

// Error implements error.
func (e *DataLossError) Error() string {
	return fmt.Sprintf("kafka: split %s cannot go on at offset %d (the log can be read from %d): %v; set SourceOptions.OnDataLoss to ResumeOnDataLoss to go on without what is lost, or start from a savepoint whose positions the log still has",
		e.Split, e.Position, e.Resume, e.Cause)
}

// Unwrap lets errors.Is find ErrDataLoss and the cause.
func (e *DataLossError) Unwrap() []error { return []error{ErrDataLoss, e.Cause} }

// TopicRecreatedError says that a topic is not the one whose positions the checkpoint holds: it was deleted, and perhaps created
// again. Its offsets mean nothing then, so this is never passed over by OnDataLoss.
type TopicRecreatedError struct {
	Topic string
	Cause error // may be nil
}

// Error implements error.
func (e *TopicRecreatedError) Error() string {
	s := fmt.Sprintf("kafka: topic %q was deleted or re-created (its topic id has changed): the offsets in the checkpoint belong to another log; start the job without this source's state", e.Topic)
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap lets errors.Is find ErrDataLoss and the cause.
func (e *TopicRecreatedError) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrDataLoss}
	}
	return []error{ErrDataLoss, e.Cause}
}
