package state

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2/ocf"
	"github.com/millrace-io/millrace/serde"
	"pgregory.net/rapid"
)

// drawRows draws entries of one state, in the order in which a file has them.
func drawRows(t *rapid.T, d Descriptor, maxParallelism int) []Entry {
	text := func(s string) []byte { return append(binary.AppendVarint(nil, int64(len(s))), s...) }
	var out []Entry
	for _, k := range rapid.SliceOfNDistinct(rapid.StringN(0, 12, -1), 0, 30, rapid.ID).Draw(t, "keys") {
		e := Entry{Key: text(k), Hash: serde.HashOf(serde.MustFor[string]())(k)}
		e.Group = GroupOf(e.Hash, maxParallelism)
		if d.TTL != 0 {
			ms := rapid.Int64Range(-1<<53, 1<<53).Draw(t, "expires")
			if e.ExpiresMS = max(ms, 1); d.EventTimeTTL {
				e.ExpiresMS = ms + eventBias
			}
		}
		subs := [][]byte{nil}
		switch d.Kind {
		case KindMap:
			subs = nil
			for _, n := range rapid.SliceOfNDistinct(rapid.Int64(), 1, 4, rapid.ID).Draw(t, "map keys") {
				subs = append(subs, binary.AppendVarint(nil, n))
			}
		case KindList:
			subs = nil
			for _, n := range rapid.SliceOfNDistinct(rapid.Uint64Max(math.MaxInt64), 1, 4, rapid.ID).Draw(t, "numbers") {
				subs = append(subs, binary.BigEndian.AppendUint64(nil, n))
			}
		case KindTimers:
			subs = nil
			for _, at := range rapid.SliceOfNDistinct(rapid.Int64(), 1, 4, rapid.ID).Draw(t, "times") {
				subs = append(subs, binary.BigEndian.AppendUint64([]byte{byte(rapid.IntRange(0, 1).Draw(t, "clock"))}, biased(at)))
			}
		}
		for _, e.Sub = range subs {
			if e.Value = nil; d.Kind != KindTimers {
				e.Value = text(rapid.StringN(0, 20, -1).Draw(t, "value"))
			}
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), bytes.Compare(a.Key, b.Key), bytes.Compare(a.Sub, b.Sub))
	})
	return out
}

func drawDescriptor(t *rapid.T) Descriptor {
	d := Descriptor{Name: "s", Key: `"string"`, Value: `"string"`,
		Kind: rapid.SampledFrom([]Kind{KindValue, KindList, KindMap, KindReducing, KindAggregating, KindTimers}).Draw(t, "kind")}
	switch {
	case d.Kind == KindMap:
		d.Sub = `"long"`
	case d.Kind == KindTimers:
		d.Value = ""
		return d
	}
	if rapid.Bool().Draw(t, "ttl") {
		d.TTL, d.EventTimeTTL = 90*time.Minute, rapid.Bool().Draw(t, "event time")
	}
	return d
}

// clone copies an entry that is valid during a call only.
func clone(e Entry) Entry {
	e.Key, e.Sub, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Sub), bytes.Clone(e.Value)
	return e
}

// TestPropertyRows: what was written is read back, by ReadRows and by another implementation of Avro.
func TestPropertyRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := RowsHeader{UID: "op 1", State: drawDescriptor(t), MaxParallelism: rapid.IntRange(1, 300).Draw(t, "max parallelism")}
		h.Groups.End = h.MaxParallelism
		want := drawRows(t, h.State, h.MaxParallelism)
		var b bytes.Buffer
		w, err := NewRowsWriter(&b, h, rapid.SampledFrom([]RowsCodec{RowsZstandard, RowsDeflate, RowsNone}).Draw(t, "codec"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if err := w.Add(&want[i]); err != nil {
				t.Fatal(err)
			}
		}
		if n, _ := w.Count(); n != int64(len(want)) {
			t.Errorf("Count = %d, want %d", n, len(want))
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		var got []Entry
		back, err := ReadRows(bytes.NewReader(b.Bytes()), func(e Entry) error { got = append(got, clone(e)); return nil })
		if err != nil || !reflect.DeepEqual(back, h) {
			t.Fatalf("ReadRows = %+v, %v, want %+v", back, err, h)
		}
		if len(got) != len(want) {
			t.Fatalf("ReadRows gives %d entries, want %d", len(got), len(want))
		}
		for i := range want {
			if !equalEntries(got[i], want[i]) {
				t.Fatalf("entry %d is %+v, want %+v", i, got[i], want[i])
			}
		}
		compareWithHamba(t, b.Bytes(), h.State, want)
	})
}

func equalEntries(a, b Entry) bool {
	return a.Group == b.Group && a.Hash == b.Hash && a.ExpiresMS == b.ExpiresMS &&
		bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Sub, b.Sub) && bytes.Equal(a.Value, b.Value)
}

// compareWithHamba reads the file with hamba/avro and compares what each row says.
func compareWithHamba(t *rapid.T, file []byte, d Descriptor, want []Entry) {
	dec, err := ocf.NewDecoder(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if m := dec.Metadata(); string(m["millrace.uid"]) != "op 1" || string(m["millrace.kind"]) != string(d.Kind) || string(m["millrace.key"]) != d.Key {
		t.Fatalf("header %q", m)
	}
	i := 0
	for ; dec.HasNext(); i++ {
		var row map[string]any
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		e := want[i]
		text := func(b []byte) any {
			var s string
			if err := serde.MustFor[string]().Decode(b, &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		ok := row["kg"] == e.Group && row["key"] == text(e.Key)
		hash := reflect.ValueOf(row["hash"])
		for j, c := range binary.BigEndian.AppendUint64(nil, e.Hash) {
			ok = ok && hash.Index(j).Interface() == c
		}
		switch d.Kind {
		case KindTimers:
			timer := row["sub"].(map[string]any)
			clock := map[byte]string{0: "EVENT_TIME", 1: "PROCESSING_TIME"}[e.Sub[0]]
			ok = ok && timer["clock"] == clock && timer["at"] == unbiased(binary.BigEndian.Uint64(e.Sub[1:])) && row["value"] == nil
		case KindMap:
			n, _ := binary.Varint(e.Sub)
			ok = ok && row["sub"] == n && row["value"] == text(e.Value)
		case KindList:
			ok = ok && row["sub"] == int64(binary.BigEndian.Uint64(e.Sub)) && row["value"] == text(e.Value)
		default:
			ok = ok && row["sub"] == nil && row["value"] == text(e.Value)
		}
		ms := e.ExpiresMS
		if d.EventTimeTTL {
			ms -= 1 << 54
		}
		if branch, some := row["expiry"].(map[string]any); some {
			row["expiry"] = branch["long"]
		}
		ok = ok && (e.ExpiresMS == 0 && row["expiry"] == nil || row["expiry"] == ms)
		if !ok {
			t.Fatalf("hamba/avro reads row %d as %v, want %+v", i, row, e)
		}
	}
	if dec.Error() != nil || i != len(want) {
		t.Fatalf("hamba/avro reads %d rows, %v, want %d", i, dec.Error(), len(want))
	}
}

// TestRowsOpaque: what is not Avro goes through as bytes.
func TestRowsOpaque(t *testing.T) {
	h := RowsHeader{UID: "o", State: Descriptor{Name: "s", Kind: KindMap, Key: "opaque:k", Sub: "opaque:m", Value: "opaque:v"},
		Groups: GroupRange{End: 1}, MaxParallelism: 1}
	var b bytes.Buffer
	w, err := NewRowsWriter(&b, h, RowsNone)
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{Key: []byte{0, 255}, Sub: []byte("x"), Value: nil, Hash: 5}
	if err := errors.Join(w.Add(&want), w.Finish()); err != nil {
		t.Fatal(err)
	}
	n := 0
	back, err := ReadRows(&b, func(e Entry) error {
		if n++; !equalEntries(e, want) {
			t.Errorf("read %+v, want %+v", e, want)
		}
		return nil
	})
	if err != nil || n != 1 || !reflect.DeepEqual(back, h) {
		t.Errorf("ReadRows = %+v, %v with %d entries, want %+v and 1", back, err, n, h)
	}
}

// TestRowsWriterRefuses: what could not be read back is not written.
func TestRowsWriterRefuses(t *testing.T) {
	h := RowsHeader{UID: "op", State: Descriptor{Name: "s", Kind: KindValue, Key: `"string"`, Value: `"string"`}, Groups: GroupRange{End: 2}, MaxParallelism: 4}
	good := Entry{Key: []byte("\x02k"), Value: []byte("\x02v"), Hash: 1 << 61}
	first := Entry{Key: []byte("\x02l"), Value: []byte("\x02v"), Hash: 1}
	change := func(f func(e *Entry)) Entry { e := good; f(&e); return e }
	tests := []struct {
		name, want string
		e          Entry
	}{
		{"group of another file", "group 3", change(func(e *Entry) { e.Hash, e.Group = 3<<62, 3 })},
		{"hash of another group", "group 0", change(func(e *Entry) { e.Group = 1 })},
		{"not above", "not above", change(func(e *Entry) { e.Key = []byte("\x02a") })},
		{"twice", "not above", first},
		{"key of another schema", "schema \"string\"", change(func(e *Entry) { e.Key = []byte("\x06x") })},
		{"bytes after the value", "opaque:", change(func(e *Entry) { e.Key, e.Value = []byte("\x02z"), []byte("\x02vv") })},
		{"sub key", "sub key", change(func(e *Entry) { e.Key, e.Sub = []byte("\x02z"), []byte("x") })},
	}
	for _, tt := range tests {
		w, err := NewRowsWriter(&bytes.Buffer{}, h, RowsNone)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(&first); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(&tt.e); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"op"`) {
			t.Errorf("%s: %v, want an error that names the operator and %q", tt.name, err, tt.want)
		}
	}
	for _, bad := range []RowsHeader{{}, {UID: "op", State: h.State, Groups: GroupRange{End: 5}, MaxParallelism: 4},
		{UID: "op", State: Descriptor{Name: "s", Kind: "tree", Key: `"string"`, Value: `"string"`}, MaxParallelism: 1},
		{UID: "op", State: Descriptor{Name: "s", Kind: KindValue, Key: `"what"`, Value: `"string"`}, MaxParallelism: 1}} {
		if _, err := NewRowsWriter(&bytes.Buffer{}, bad, RowsNone); err == nil {
			t.Errorf("NewRowsWriter(%+v) succeeds", bad)
		}
	}
}

// TestRowsGolden: version 1 for ever, byte by byte. Origin: by hand from the Avro specification and the comment in rows.go.
func TestRowsGolden(t *testing.T) {
	meta := func(parts ...string) (b []byte) {
		b = binary.AppendVarint(nil, int64(len(parts)/2))
		for _, p := range parts {
			b = append(binary.AppendVarint(b, int64(len(p))), p...)
		}
		return append(b, 0)
	}
	schema := `{"name":"MillraceRow","type":"record","fields":[{"name":"kg","type":"int"},{"name":"key","type":"string"},{"name":"sub","type":"long"},` +
		`{"name":"value","type":"long"},{"name":"expiry","type":["null","long"]},{"name":"hash","type":{"name":"MillraceHash","type":"fixed","size":8}}]}`
	file := append([]byte("Obj\x01"), meta("avro.schema", schema, "avro.codec", "null", "millrace.version", "1", "millrace.uid", "u", "millrace.state", "s",
		"millrace.kind", "list", "millrace.groups", "2-2", "millrace.max_parallelism", "4", "millrace.key", `"string"`, "millrace.value", `"long"`,
		"millrace.ttl", "1h0m0s", "millrace.ttl_clock", "event time")...)
	sync := strings.Repeat("ab", 16)
	// group 2, "k", element 3, value -1, expires at -5 ms, hash 80…07; then element 4, never
	rows := "04" + "026b" + "06" + "01" + "02" + "09" + "8000000000000007" + "04" + "026b" + "08" + "01" + "00" + "8000000000000007"
	block, err := hex.DecodeString(sync + "04" + fmt.Sprintf("%02x", len(rows)) + rows + sync)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Group: 2, Key: []byte("\x02k"), Sub: []byte{7: 3}, Value: []byte{1}, ExpiresMS: 1<<54 - 5, Hash: 1<<63 | 7},
		{Group: 2, Key: []byte("\x02k"), Sub: []byte{7: 4}, Value: []byte{1}, Hash: 1<<63 | 7},
	}
	var got []Entry
	h, err := ReadRows(bytes.NewReader(append(file, block...)), func(e Entry) error { got = append(got, clone(e)); return nil })
	if err != nil || len(got) != 2 || !equalEntries(got[0], want[0]) || !equalEntries(got[1], want[1]) {
		t.Errorf("ReadRows = %+v, %v, want %+v", got, err, want)
	}
	wantHead := RowsHeader{UID: "u", State: Descriptor{Name: "s", Kind: KindList, Key: `"string"`, Value: `"long"`, TTL: time.Hour, EventTimeTTL: true},
		Groups: GroupRange{2, 3}, MaxParallelism: 4}
	if !reflect.DeepEqual(h, wantHead) {
		t.Errorf("header %+v, want %+v", h, wantHead)
	}
	newer := bytes.Replace(append(file, block...), []byte("millrace.version\x021"), []byte("millrace.version\x022"), 1)
	var bad *CorruptError
	if _, err := ReadRows(bytes.NewReader(newer), nil); !errors.As(err, &bad) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a file of version 2: %v, want an error that names it", err)
	}
}
