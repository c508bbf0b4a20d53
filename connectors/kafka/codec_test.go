package kafka

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/connectors"
)

func TestCommittableRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := committable{
			txnID: rapid.StringN(1, 60, -1).Draw(t, "id"), producerID: rapid.Int64Min(0).Draw(t, "pid"), epoch: rapid.Int16Min(0).Draw(t, "epoch"),
			endTxn: rapid.Int16Min(0).Draw(t, "version"), checkpoint: rapid.Int64Min(0).Draw(t, "checkpoint"), startedMS: rapid.Int64().Draw(t, "started"),
			timeoutMS: rapid.Int64Min(0).Draw(t, "timeout"), records: rapid.Int64Min(1).Draw(t, "records"),
			witness: witness{topic: rapid.String().Draw(t, "topic"), partition: rapid.Int32Min(0).Draw(t, "partition"), offset: rapid.Int64Min(-1).Draw(t, "offset")},
		}
		b := c.encode()
		got, err := decodeCommittable(b)
		if err != nil || got != c {
			t.Fatalf("%+v became %+v (%v)", c, got, err)
		}
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := decodeCommittable(b); err == nil {
			t.Fatalf("a flipped bit at byte %d was not noticed", i)
		}
		if _, err := decodeCommittable(b[:i]); err == nil {
			t.Fatalf("a cut at byte %d was not noticed", i)
		}
	})
}

func TestPositionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := position{
			offset: rapid.OneOf(rapid.Just[int64](fromStart), rapid.Int64Min(0)).Draw(t, "offset"),
			epoch:  rapid.Int32Min(-1).Draw(t, "epoch"), end: rapid.Int64Min(noEnd).Draw(t, "end"),
		}
		copy(p.topicID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "topic id"))
		b := p.encode()
		got, err := decodePosition(b)
		if err != nil || got != p {
			t.Fatalf("%+v became %+v (%v)", p, got, err)
		}
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		b[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := decodePosition(b); err == nil {
			t.Fatalf("a flipped bit at byte %d was not noticed", i)
		}
	})
}

// The bytes are in checkpoints: they were composed by hand from the format in the doc comments, with the CRC-32C from an independent
// implementation (Python, bitwise), and must be readable for ever.
func TestFormatsStay(t *testing.T) {
	p := position{topicID: [16]byte{0xaa, 1: 0xbb, 15: 0xff}, offset: 258, epoch: 7, end: noEnd}
	checkHex(t, "position", p.encode(), "01"+"aabb00000000000000000000000000ff"+"0000000000000102"+"00000007"+"ffffffffffffffff"+"a42c5201")
	c := committable{txnID: "a-0-1", producerID: 1000, epoch: 3, endTxn: 5, checkpoint: 9, startedMS: 64, timeoutMS: 600000, records: 2,
		witness: witness{topic: "t", partition: 1, offset: 300}}
	checkHex(t, "committable", c.encode(), "01"+"05"+"612d302d31"+"d00f"+"06"+"0a"+"12"+"8001"+"809f49"+"04"+"01"+"74"+"02"+"d804"+"4c3719e5")
}

func checkHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if b, err := hex.DecodeString(want); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%s is %x, want %s (%v)", what, got, want, err)
	}
}

func TestPartitionNames(t *testing.T) {
	for _, p := range []partition{{"a", 0}, {"a-1", 3}, {"a-", 12}, {"x.y_z", 2147483647}} {
		got, err := parsePartition(p.String())
		if err != nil || got != p {
			t.Errorf("%v became %v (%v)", p, got, err)
		}
	}
	for _, bad := range []string{"", "a", "-1", "a-", "a-01", "a-+1", "a-x", "a-2147483648"} {
		if p, err := parsePartition(bad); err == nil {
			t.Errorf("%q became %v", bad, p)
		}
	}
}

func TestTransactionalIDs(t *testing.T) {
	for _, c := range []struct {
		prefix, id    string
		subtask, slot int
		ok            bool
	}{
		{"a", "a-0-2", 0, 2, true}, {"a", "a-17-0", 17, 0, true}, {"a-1", "a-1-0-2", 0, 2, true},
		{"a", "a-1-0-2", 0, 0, false}, {"a-1", "a-1-2", 0, 0, false}, {"a", "ab-0-2", 0, 0, false}, {"a", "a-0", 0, 0, false},
		{"a", "a-00-1", 0, 0, false}, {"a", "a-+1-1", 0, 0, false}, {"a", "a--1-1", 0, 0, false}, {"a", "", 0, 0, false},
	} {
		subtask, slot, ok := parseTransactionalID(c.prefix, c.id)
		if ok != c.ok || ok && (subtask != c.subtask || slot != c.slot) {
			t.Errorf("prefix %q, id %q: %d %d %v, want %+v", c.prefix, c.id, subtask, slot, ok, c)
		}
	}
}

func TestAppendCoordinatesIsString(t *testing.T) {
	for _, c := range []connectors.Coordinates{{}, {UID: "u", Split: "s-1", Offset: -5}, {UID: "u", Split: "shard", Offset: 7, Sequence: "0099"}} {
		if got := string(appendCoordinates([]byte("x"), c)); got != "x"+c.String() {
			t.Errorf("%q, want x%s", got, c)
		}
	}
}

func FuzzDecodePosition(f *testing.F) {
	f.Add(position{offset: fromStart, epoch: -1, end: 5}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePosition(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Fatalf("%x was read as %+v, which is written as %x", b, p, p.encode())
		}
	})
}

func FuzzDecodeCommittable(f *testing.F) {
	f.Add(committable{txnID: "a-0-1", endTxn: 5, records: 1, witness: witness{offset: -1}}.encode())
	f.Add([]byte{committableVersion, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCommittable(b)
		if err != nil {
			return
		}
		if again, err := decodeCommittable(c.encode()); err != nil || again != c {
			t.Fatalf("%+v was read from %x, and is read as %+v (%v) after it was written", c, b, again, err)
		}
	})
}

func FuzzDecodeEnumerator(f *testing.F) {
	f.Add([]byte(`{"version":1,"resolved":true,"topics":{"t":{"id":"AAAAAAAAAAAAAAAAAAAAAA==","known":[0]}}}`))
	f.Add([]byte(`{"version":1,"topics":{"t":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeEnumerator(b); err == nil && s.Version != enumeratorVersion {
			t.Fatalf("version %d was read", s.Version)
		}
	})
}

func TestDecodersNameTheirTrouble(t *testing.T) {
	good := committable{txnID: "a-0-1", endTxn: 5, records: 1, witness: witness{offset: -1}}.encode()
	newer := append([]byte{committableVersion + 1}, good[1:]...)
	for want, err := range map[string]error{
		"newer release":  second(decodeCommittable(newer)),
		"checksum":       second(decodeCommittable(append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1))),
		"no known":       second(decodePosition(nil)),
		"has 3 bytes":    second(decodePosition([]byte{positionVersion, 1, 2})),
		"has version 9":  second(decodeEnumerator([]byte(`{"version":9}`))),
		"cannot be read": second(decodeEnumerator([]byte(`{"version":1,"more":1}`))),
		"topic id":       second(decodeEnumerator([]byte(`{"version":1,"topics":{"t":{}}}`))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }
