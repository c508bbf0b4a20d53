package state_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/statetest"
)

// The reference below writes state files from the description in file.go alone, with nothing of the writer: what it makes must be
// what the writer makes, byte for byte, and testdata/v1.hex must stay readable by every later release.

func refFrame(kind byte, count int, payload []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	head := []byte{kind}
	head = binary.BigEndian.AppendUint32(head, uint32(len(payload)))
	head = binary.BigEndian.AppendUint32(head, uint32(count))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, table))
	head = append(head, payload...)
	return binary.BigEndian.AppendUint32(head, crc32.Checksum(payload, table))
}

func refFile(header string, states int, block []byte, entries int, footer ...uint64) []byte {
	out := []byte("MRSTATE\x01")
	out = append(out, refFrame('H', states, []byte(header))...)
	out = append(out, refFrame('B', entries, block)...)
	var foot []byte
	for _, n := range footer {
		foot = binary.AppendUvarint(foot, n)
	}
	return append(out, refFrame('F', states, foot)...)
}

const refHeader = `{"uid":"op","subtask":0,"groups":{"start":0,"end":128},"max_parallelism":128,"states":[` +
	`{"name":"count","kind":"value","key":"\"string\"","value":"\"long\""},` +
	`{"name":"seen","kind":"map","key":"\"string\"","sub":"\"long\"","value":"\"boolean\"","ttl":1000000000},` +
	`{"name":"log","kind":"list","key":"\"string\"","value":"\"string\""},` +
	`{"name":"timers","kind":"timers","key":"\"string\"","value":""}]}`

// refBlock holds, of key "a" with hash 0x0500…07 (group 2) and key "b\x00" with hash 0 (group 0): count 3 of b; count -1 of a; seen {4: true} of
// a, expiring at 2000 ms; log ["x", "y"] of a; an event timer of a at 5.
func refBlock() []byte {
	entry := func(shared int, rest string, flags byte, hash uint64, expires uint64, value string) []byte {
		b := binary.AppendUvarint(nil, uint64(shared))
		b = append(binary.AppendUvarint(b, uint64(len(rest))), rest...)
		b = append(b, flags)
		if flags&1 != 0 {
			b = binary.BigEndian.AppendUint64(b, hash)
		}
		if flags&2 != 0 {
			b = binary.AppendUvarint(b, expires)
		}
		return append(binary.AppendUvarint(b, uint64(len(value))), value...)
	}
	a := "\x02a\x00\x01" // Avro string "a", then the end mark
	var b []byte
	b = append(b, entry(0, "\x00\x00\x00\x00\x04b\x00\xff\x00\x01", 1, 0, 0, "\x06")...)
	b = append(b, entry(1, "\x02\x00\x00"+a, 1, 0x0500000000000007, 0, "\x01")...)
	b = append(b, entry(3, "\x01"+a+"\x08", 2, 0, 2000, "\x01")...)
	b = append(b, entry(3, "\x02"+a+"\x00\x00\x00\x00\x00\x00\x00\x00", 0, 0, 0, "\x02x")...)
	b = append(b, entry(15, "\x01", 0, 0, 0, "\x02y")...)
	b = append(b, entry(3, "\x03"+a+"\x00\x80\x00\x00\x00\x00\x00\x00\x05", 0, 0, 0, "")...)
	return b
}

func refWhole() []byte { return refFile(refHeader, 4, refBlock(), 6, 1, 6, 2, 1, 2, 1) }

type fixtureOperator struct {
	*state.Keyed[string]
	count  *state.Value[int64]
	seen   *state.Map[int64, bool]
	log    *state.List[string]
	timers *state.Timers[string]
}

func newFixtureOperator(tb testing.TB) *fixtureOperator {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{Now: func() time.Time { return time.UnixMilli(1000) }})
	o := &fixtureOperator{
		Keyed: s,
		count: s.Value[int64]("count"),
		seen:  s.Map[int64, bool]("seen", state.TTL(time.Second)),
		log:   s.List[string]("log"),
	}
	o.timers = s.Timers("timers")
	open(tb, s, memstate.New())
	return o
}

func (o *fixtureOperator) a() *fixtureOperator { o.SetCurrent("a", 0x0500000000000007); return o }
func (o *fixtureOperator) b() *fixtureOperator { o.SetCurrent("b\x00", 0); return o }

func check(tb testing.TB, errs ...error) {
	tb.Helper()
	if err := errors.Join(errs...); err != nil {
		tb.Fatal(err)
	}
}

func TestFileAsDescribed(t *testing.T) {
	o := newFixtureOperator(t)
	check(t, o.a().count.Set(-1), o.seen.Put(4, true), o.log.Append("x", "y"), o.b().count.Set(3))
	o.a().timers.Register(state.EventTime, 5)
	image, err := o.Snapshot()
	check(t, err)
	var files statetest.Files
	handles, err := statetest.Handles(image.Write(context.Background(), &files))
	check(t, err)
	image.Release()
	got, _ := files.Bytes(handles[0].Name)
	if want := refWhole(); !bytes.Equal(got, want) {
		t.Errorf("the file is\n%s\nwant\n%s", hex.Dump(got), hex.Dump(want))
	}
	if want := (state.GroupRange{Start: 0, End: 3}); handles[0].Groups != want {
		t.Errorf("the handle says groups %v, want %v", handles[0].Groups, want)
	}
}

// TestFileOfRelease1 reads the file of the first release.
func TestFileOfRelease1(t *testing.T) {
	text, err := os.ReadFile("testdata/v1.hex")
	check(t, err)
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	check(t, err)
	var got []string
	h, err := state.ReadFile(bytes.NewReader(raw), func(e state.Entry) error {
		got = append(got, fmt.Sprintf("%d %d %x %x %x %d %x", e.Group, e.State, e.Key, e.Sub, e.Hash, e.ExpiresMS, e.Value))
		return nil
	})
	check(t, err)
	want := []string{
		"0 0 046200  0 0 06",
		"2 0 0261  500000000000007 0 01",
		"2 1 0261 08 500000000000007 2000 01",
		"2 2 0261 0000000000000000 500000000000007 0 0278",
		"2 2 0261 0000000000000001 500000000000007 0 0279",
		"2 3 0261 008000000000000005 500000000000007 0 ",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("entries\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var wantHeader state.Header
	check(t, json.Unmarshal([]byte(refHeader), &wantHeader))
	if !reflect.DeepEqual(h, wantHeader) {
		t.Errorf("header %+v, want %+v", h, wantHeader)
	}

	var files statetest.Files
	handle, err := files.Write(context.Background(), state.GroupRange{End: 3}, 0, func(w io.Writer) error { _, err := w.Write(raw); return err })
	check(t, err)
	o := newFixtureOperator(t)
	check(t, o.Restore(context.Background(), state.Restore{Files: &files, Handles: []state.File{handle}}))
	n, err := o.a().count.Get()
	check(t, err)
	list, err := o.log.Values()
	check(t, err)
	seen, _, err := o.seen.Get(4)
	check(t, err)
	m, err := o.b().count.Get()
	check(t, err)
	key, hash, ts, ok := o.timers.PopDue(state.EventTime, 5)
	restored := fmt.Sprintf("%v %v %v %v %v %v %v %v", n, list, seen, m, key, hash, ts, ok)
	if want := "-1 [x y] true 3 a 360287970189639687 5 true"; restored != want {
		t.Errorf("restored %s, want %s", restored, want)
	}
}

// TestFileOfRelease2 reads a file with a state whose time to live is in event time, made by the reference from the description in file.go:
// value 7 of "a", expiring at -1000 ms. As of then it is gone, before it is there.
func TestFileOfRelease2(t *testing.T) {
	text, err := os.ReadFile("testdata/v2.hex")
	check(t, err)
	raw, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	check(t, err)
	header := `{"uid":"op","subtask":0,"groups":{"start":0,"end":128},"max_parallelism":128,"states":[` +
		`{"name":"n","kind":"value","key":"\"string\"","value":"\"long\"","ttl":1000000000,"event_time_ttl":true}]}`
	block := []byte("\x00\x08\x00\x02\x00\x00\x02a\x00\x01\x03\x05\x00\x00\x00\x00\x00\x00\x07")
	block = append(binary.AppendUvarint(block, 1<<54-1000), "\x01\x0e"...)
	want := refFile(header, 1, block, 1, 1, 1, 1)
	want[7] = 2
	if !bytes.Equal(raw, want) {
		t.Fatalf("testdata/v2.hex is not\n%x", want)
	}
	for _, c := range []struct{ watermark, want int64 }{{-1001, 7}, {-1000, 0}} {
		var files statetest.Files
		handle, err := files.Write(context.Background(), state.GroupRange{Start: 2, End: 3}, 0, func(w io.Writer) error { _, err := w.Write(raw); return err })
		check(t, err)
		s := state.NewKeyed(serde.MustFor[string](), state.Config{EventTime: func() (int64, int64) { return -1 << 63, c.watermark }})
		n := s.Value[int64]("n", state.EventTimeTTL(time.Second))
		open(t, s, memstate.New())
		check(t, s.Restore(context.Background(), state.Restore{Files: &files, Handles: []state.File{handle}}))
		s.SetCurrent("a", 0x0500000000000007)
		if got, err := n.Get(); got != c.want || err != nil {
			t.Errorf("at watermark %d the value is %d, %v, want %d", c.watermark, got, err, c.want)
		}
		if c.want == 0 {
			continue
		}
		image, err := s.Snapshot()
		check(t, err)
		handles, err := statetest.Handles(image.Write(context.Background(), &files))
		check(t, err)
		image.Release()
		if again, _ := files.Bytes(handles[0].Name); !bytes.Equal(again, raw) {
			t.Errorf("written again it is\n%x", again)
		}
	}
}

// TestFileLies has files with right checksums and wrong content.
func TestFileLies(t *testing.T) {
	block := refBlock()
	for name, raw := range map[string][]byte{
		"count above the entries":   refFile(refHeader, 4, block, 7, 1, 7, 2, 1, 2, 2),
		"count below the entries":   refFile(refHeader, 4, block, 5, 1, 5, 2, 1, 2),
		"footer counts":             refFile(refHeader, 4, block, 6, 1, 6, 2, 1, 1, 2),
		"footer short":              refFile(refHeader, 4, block, 6, 1, 6, 2, 1, 2),
		"number of states":          refFile(refHeader, 3, block, 6, 1, 6, 2, 1, 2, 1),
		"header is no JSON":         refFile("{", 4, block, 6, 1, 6, 2, 1, 2, 1),
		"state out of range":        refFile(strings.Replace(refHeader, `,{"name":"timers","kind":"timers","key":"\"string\"","value":""}`, "", 1), 3, block, 6, 1, 6, 2, 1, 2),
		"same entry twice":          refFile(refHeader, 4, append(bytes.Clone(block), "\x11\x00\x00\x00"...), 7, 1, 7, 2, 1, 2, 2),
		"shared beyond the address": refFile(refHeader, 4, []byte("\x05\x00\x00\x00"), 1, 1, 1, 1),
		"no end mark":               refFile(refHeader, 4, []byte("\x00\x05\x00\x00\x00\x00a\x00\x00"), 1, 1, 1, 1),
		"bad escape":                refFile(refHeader, 4, []byte("\x00\x08\x00\x00\x00\x00a\x00\x02\x00\x00\x00"), 1, 1, 1, 1),
		"unknown flag":              refFile(refHeader, 4, []byte("\x00\x07\x00\x00\x00\x00a\x00\x01\x04\x00"), 1, 1, 1, 1),
		"two headers":               append(append([]byte("MRSTATE\x01"), refFrame('H', 4, []byte(refHeader))...), refFrame('H', 4, []byte(refHeader))...),
		"block for a header":        append([]byte("MRSTATE\x01"), refFrame('B', 6, block)...),
		"later version":             append([]byte("MRSTATE\x03"), refFrame('H', 4, []byte(refHeader))...),
		"something else":            []byte("SQLite format 3\x00"),
	} {
		_, err := state.ReadFile(bytes.NewReader(raw), func(state.Entry) error { return nil })
		var c *state.CorruptError
		if !errors.As(err, &c) {
			t.Errorf("%s: %v, want a CorruptError", name, err)
		}
	}
	stop := errors.New("stop")
	if _, err := state.ReadFile(bytes.NewReader(refWhole()), func(state.Entry) error { return stop }); err != stop {
		t.Errorf("the error of the function comes back as %v", err)
	}
}

// TestForeignHash restores an entry whose hash does not belong to its key group.
func TestForeignHash(t *testing.T) {
	raw := refFile(refHeader, 4, []byte("\x00\x08\x00\x00\x00\x00\x02a\x00\x01\x01\x05\x00\x00\x00\x00\x00\x00\x07\x01\x02"), 1, 1, 1, 1, 0, 0, 0)
	var files statetest.Files
	handle, err := files.Write(context.Background(), state.GroupRange{End: 128}, 0, func(w io.Writer) error { _, err := w.Write(raw); return err })
	check(t, err)
	err = newFixtureOperator(t).Restore(context.Background(), state.Restore{Files: &files, Handles: []state.File{handle}})
	if err == nil || !strings.Contains(err.Error(), "key group 0") || !strings.Contains(err.Error(), "group 2") {
		t.Errorf("error %v, want one that names the groups", err)
	}
}

// FuzzReadFile reads anything as a state file, and anything as the payload of a block with right checksums.
func FuzzReadFile(f *testing.F) {
	f.Add(refWhole())
	f.Add(refBlock())
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, raw := range [][]byte{data, refFile(refHeader, 4, data, 6, 1, 6, 2, 1, 2, 1)} {
			var files statetest.Files
			handle, err := files.Write(context.Background(), state.GroupRange{End: 128}, 0, func(w io.Writer) error { _, err := w.Write(raw); return err })
			check(t, err)
			s := newFixtureOperator(t)
			if err := s.Restore(context.Background(), state.Restore{Files: &files, Handles: []state.File{handle}}); err == nil {
				// What was accepted holds together.
				if _, err := s.Snapshot(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
