package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const committableVersion = 1

// committable is all that is needed to commit a transaction from anywhere, and to tell afterwards what became of it.
type committable struct {
	txnID      string
	producerID int64
	epoch      int16
	// endTxn is the version of EndTxn that ends the transaction. It must be the same in every attempt: a repetition with another
	// version is taken for another request (KAFKA, transaction.version 2 counts the epoch up with version 5 and not with 4).
	endTxn     int16
	checkpoint int64
	startedMS  int64 // Unix ms, not later than the transaction's first record
	timeoutMS  int64
	records    int64
	witness    witness
}

// encode is a version byte, the fields as varints and length-prefixed strings in the order of the struct, and a CRC-32C of all of it.
func (c committable) encode() []byte {
	b := []byte{committableVersion}
	b = appendString(b, c.txnID)
	for _, n := range [...]int64{c.producerID, int64(c.epoch), int64(c.endTxn), c.checkpoint, c.startedMS, c.timeoutMS, c.records} {
		b = binary.AppendVarint(b, n)
	}
	b = appendString(b, c.witness.topic)
	b = binary.AppendVarint(b, int64(c.witness.partition))
	b = binary.AppendVarint(b, c.witness.offset)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func decodeCommittable(b []byte) (committable, error) {
	var c committable
	if len(b) == 0 || b[0] != committableVersion {
		return c, fmt.Errorf("kafka: committable of %d bytes is of no known version (known: %d); it was not written by this sink or by a newer release", len(b), committableVersion)
	}
	if len(b) < 5 {
		return c, fmt.Errorf("kafka: committable has %d bytes; the checkpoint is damaged", len(b))
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return c, fmt.Errorf("kafka: committable has checksum %08x, want %08x; the checkpoint is damaged", got, sum)
	}
	d := fieldReader{b: body[1:]}
	c.txnID = d.str()
	c.producerID = d.num(0, 1<<63-1)
	c.epoch = int16(d.num(0, 1<<15-1))
	c.endTxn = int16(d.num(0, 1<<15-1))
	c.checkpoint = d.num(0, 1<<63-1)
	c.startedMS = d.num(-1<<63, 1<<63-1)
	c.timeoutMS = d.num(0, 1<<63-1)
	c.records = d.num(1, 1<<63-1)
	c.witness.topic = d.str()
	c.witness.partition = int32(d.num(0, 1<<31-1))
	c.witness.offset = d.num(-1, 1<<63-1)
	if d.bad || len(d.b) > 0 || c.txnID == "" {
		return committable{}, fmt.Errorf("kafka: committable has a right checksum but not the fields of version %d", committableVersion)
	}
	return c, nil
}

// fieldReader reads fields until the first that is not there or out of range.
type fieldReader struct {
	b   []byte
	bad bool
}

func (d *fieldReader) num(low, high int64) int64 {
	n, k := binary.Varint(d.b)
	if k <= 0 || n < low || n > high {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *fieldReader) str() string {
	n, k := binary.Uvarint(d.b)
	if k <= 0 || n > uint64(len(d.b)-k) {
		d.bad, d.b = true, nil
		return ""
	}
	s := string(d.b[k : k+int(n)])
	d.b = d.b[k+int(n):]
	return s
}

// slots is the number of transactional ids of a subtask: one is written, one belongs to the newest completed checkpoint or is being
// committed, and one is free, so that the next transaction need not wait.
const slots = 3

func transactionalID(prefix string, subtask, slot int) string {
	return fmt.Sprintf("%s-%d-%d", prefix, subtask, slot)
}

// parseTransactionalID splits an id of this prefix. An id of the prefix "a-1" is none of the prefix "a": it has a number too many.
func parseTransactionalID(prefix, id string) (subtask, slot int, ok bool) {
	rest, ok := strings.CutPrefix(id, prefix+"-")
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, 0, false
	}
	subtask, err1 := strconv.Atoi(a)
	slot, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || transactionalID(prefix, subtask, slot) != id || subtask < 0 || slot < 0 {
		return 0, 0, false
	}
	return subtask, slot, true
}
