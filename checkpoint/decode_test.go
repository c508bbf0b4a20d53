package checkpoint

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/state"
)

func sampleHead() *head {
	ref := Ref{ID: 3, Epoch: 2, Name: "ckpt/2-3-ABC", Size: 10, SHA256: sha}
	return &head{Epoch: 2, LastID: 3, Checkpoints: []Ref{ref}, Savepoints: []Ref{ref}, Nonce: "n"}
}

// goldenManifest is what releases of format version 1 wrote, byte for byte: every later one has to read it. The checksum was computed by
// printf 'manifest 1\n%s' "$body" | sha256sum.
const goldenManifest = "millrace manifest 1 8bc0a90e26353059d6aba5cfe4b961843e39ef09714e61683dc4dea5c57ba398\n" + goldenBody

const goldenBody = `{"version":1,"id":5,"epoch":2,"job":"j","savepoint":true,"created_ms":1700000000000,"max_parallelism":4,` +
	`"operators":[{"uid":"agg","parallelism":1,"states":[{"name":"count","kind":"value","key":"\"string\"","value":"\"long\"","ttl":1000}],` +
	`"subtasks":[{"groups":{"start":0,"end":4},"files":[{"name":"data/2-5-X","size":3,` +
	`"sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","groups":{"start":0,"end":4}}],` +
	`"splits":[{"id":"s","position":"AQI="}],"finished":["f"],"raw":["Aw=="],"watermark_ms":-9223372036854775808}],` +
	`"enumerator":"BA==","committables":["BQ=="]}]}`

func sampleManifest() *Manifest {
	return &Manifest{Version: 1, ID: 5, Epoch: 2, Job: "j", Savepoint: true, CreatedMS: 1_700_000_000_000, MaxParallelism: 4,
		Operators: []OperatorState{{UID: "agg", Parallelism: 1,
			States: []state.Descriptor{{Name: "count", Kind: state.KindValue, Key: `"string"`, Value: `"long"`, TTL: 1000}},
			Subtasks: []SubtaskState{{Groups: state.GroupRange{End: 4},
				Files:  []state.File{{Name: "data/2-5-X", Size: 3, SHA256: sha, Groups: state.GroupRange{End: 4}}},
				Splits: []SplitState{{ID: "s", Position: []byte{1, 2}}}, Finished: []string{"f"}, Raw: [][]byte{{3}}, WatermarkMS: NoWatermark}},
			Enumerator: []byte{4}, Committables: [][]byte{{5}}}}}
}

func TestGoldenManifest1(t *testing.T) {
	m, err := decodeManifest("golden", []byte(goldenManifest))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, sampleManifest()) {
		t.Errorf("decoded %+v", m)
	}
}

// goldenManifest2 is the same for version 2.
const goldenManifest2 = "millrace manifest 2 9d8b782398b4bef098c95392aa01eba31511565668f111d9d1fb9d58fee8818f\n" + goldenBody2

const goldenBody2 = `{"version":2,"id":5,"epoch":2,"job":"j","created_ms":1700000000000,"max_parallelism":4,` +
	`"operators":[{"uid":"agg","parallelism":1,"states":[{"name":"count","id":3,"kind":"value","key":"\"string\"","value":"\"long\""}],` +
	`"subtasks":[{"groups":{"start":0,"end":4},"files":[` +
	`{"name":"data/2-4-X","size":3,"sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","groups":{"start":0,"end":4},` +
	`"kind":"base","level":6,"lo":"AAA=","hi":"AAI=","sums":"8a670d6a"},` +
	`{"size":3,"sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","groups":{"start":1,"end":2},"kind":"delta","inline":"AQID"}],` +
	`"pending":["data/2-6-Y"],"watermark_ms":0}]}]}`

func sampleManifest2() *Manifest {
	return &Manifest{Version: 2, ID: 5, Epoch: 2, Job: "j", CreatedMS: 1_700_000_000_000, MaxParallelism: 4,
		Operators: []OperatorState{{UID: "agg", Parallelism: 1,
			States: []state.Descriptor{{Name: "count", ID: 3, Kind: state.KindValue, Key: `"string"`, Value: `"long"`}},
			Subtasks: []SubtaskState{{Groups: state.GroupRange{End: 4}, Pending: []string{"data/2-6-Y"},
				Files: []state.File{
					{Name: "data/2-4-X", Size: 3, SHA256: sha, Groups: state.GroupRange{End: 4}, Kind: state.FileBase, Level: 6, Lo: []byte{0, 0},
						Hi: []byte{0, 2}, Sums: "8a670d6a"},
					{Size: 3, SHA256: sha, Groups: state.GroupRange{Start: 1, End: 2}, Kind: state.FileDelta, Inline: []byte{1, 2, 3}}}}}}}}
}

func TestGoldenManifest2(t *testing.T) {
	data, err := encodeManifest(sampleManifest2())
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != goldenManifest2 {
		t.Errorf("encoded:\n%s\nwant:\n%s", data, goldenManifest2)
	}
	m, err := decodeManifest("golden", []byte(goldenManifest2))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, sampleManifest2()) {
		t.Errorf("decoded %+v", m)
	}
}

// A manifest of many files is compressed: all of it comes back, and a file costs at most 100 bytes beyond its name.
func TestManifestSize(t *testing.T) {
	const files = 2000
	m := sampleManifest2()
	r := rand.New(rand.NewPCG(3, 3))
	names := 0
	for i := range files {
		var sum [32]byte
		for b := range sum {
			sum[b] = byte(r.Uint32())
		}
		address := func(n int) []byte { // key group, state id, eight bytes of key
			return binary.BigEndian.AppendUint64([]byte{0, byte(n), 0, 1}, r.Uint64())
		}
		f := state.File{Name: fmt.Sprintf("data/12-%d-%s", 3400+i/40, cryptorand.Text()), Size: 8<<20 + r.Int64N(1<<20), SHA256: hex.EncodeToString(sum[:]),
			Groups: state.GroupRange{End: 4}, Kind: state.FileBase, Level: 6, Lo: address(1), Hi: address(2), Sums: fmt.Sprintf("%08x", r.Uint32())}
		names += len(f.Name)
		m.Operators[0].Subtasks[0].Files = append(m.Operators[0].Subtasks[0].Files, f)
	}
	data, err := encodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	back, err := decodeManifest("many", data)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("decoded something else: %v", err)
	}
	beyond := float64(len(data)-names) / files
	t.Logf("%d bytes, %.1f for each file, name included", len(data), float64(len(data))/files)
	if beyond > 100 {
		t.Errorf("a file costs %.1f bytes beyond its name, want at most 100", beyond)
	}
}

// What a version 2 manifest says of its files has to fit together.
func TestDecodeRefusesFiles(t *testing.T) {
	if _, err := encodeManifest(sampleManifest2()); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(base, inline *state.File, s *SubtaskState){
		"kind":               func(b, _ *state.File, _ *SubtaskState) { b.Kind = "bases" },
		"level of a base":    func(b, _ *state.File, _ *SubtaskState) { b.Level = 7 },
		"level below 0":      func(b, _ *state.File, _ *SubtaskState) { b.Level = -1 },
		"level of a delta":   func(_, i *state.File, _ *SubtaskState) { i.Level = 1 },
		"bounds":             func(b, _ *state.File, _ *SubtaskState) { b.Lo, b.Hi = b.Hi, b.Lo },
		"equal bounds":       func(b, _ *state.File, _ *SubtaskState) { b.Lo = b.Hi },
		"bounds of entries":  func(b, _ *state.File, _ *SubtaskState) { b.Kind, b.Level = state.FileEntries, 0 },
		"bounds of rows":     func(b, _ *state.File, _ *SubtaskState) { b.Kind, b.Level = state.FileRows, 0 },
		"sums":               func(b, _ *state.File, _ *SubtaskState) { b.Sums = "8a670d" },
		"sums in hex":        func(b, _ *state.File, _ *SubtaskState) { b.Sums = "8a670d6x" },
		"name and inline":    func(b, _ *state.File, _ *SubtaskState) { b.Inline = []byte{1, 2, 3} },
		"inline size":        func(_, i *state.File, _ *SubtaskState) { i.Size = 4 },
		"inline sums":        func(_, i *state.File, _ *SubtaskState) { i.Sums = "8a670d6a" },
		"inline much":        func(_, i *state.File, _ *SubtaskState) { i.Inline, i.Size = make([]byte, 20_001), 20_001 },
		"neither nor":        func(_, i *state.File, _ *SubtaskState) { i.Inline = nil },
		"size":               func(b, _ *state.File, _ *SubtaskState) { b.Size = 1<<40 + 1 },
		"groups":             func(b, _ *state.File, _ *SubtaskState) { b.Groups.End = 5 },
		"name of pending":    func(_, _ *state.File, s *SubtaskState) { s.Pending[0] = "data/../HEAD" },
		"no name of pending": func(_, _ *state.File, s *SubtaskState) { s.Pending[0] = "" },
	} {
		m := sampleManifest2()
		s := &m.Operators[0].Subtasks[0]
		change(&s.Files[0], &s.Files[1], s)
		if _, err := encodeManifest(m); err == nil {
			t.Errorf("%s: encoded", what)
		}
		data, err := seal("manifest", m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest("obj", data); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"obj"`) {
			t.Errorf("%s: %v, want a CorruptError of obj", what, err)
		}
	}
}

// What a newer release wrote is refused as such, and what only looks like a manifest is corrupt.
func TestDecodeRefuses(t *testing.T) {
	newer := "millrace manifest 3 " + envelopeSum("manifest", 3, []byte("{}")) + "\n{}"
	if _, err := decodeManifest("obj", []byte(newer)); err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"obj" has format version 3`) {
		t.Errorf("newer version: %v", err)
	}
	sealed := func(body string) string {
		return "millrace manifest 1 " + envelopeSum("manifest", 1, []byte(body)) + "\n" + body
	}
	edit := func(old, now string) string { return sealed(strings.Replace(goldenBody, old, now, 1)) }
	if strings.Count(goldenBody, `"id":5`) != 1 {
		t.Fatal("the edits below do not hit")
	}
	for what, data := range map[string]string{
		"nothing": "", "no envelope": goldenBody, "other kind": strings.Replace(goldenManifest, "manifest", "head", 1),
		"version 0": strings.Replace(goldenManifest, " 1 ", " 0 ", 1), "version 01": strings.Replace(goldenManifest, " 1 ", " 01 ", 1),
		"no JSON": sealed("x"), "unknown field": edit(`"id":5`, `"id":5,"idx":1`), "data behind": sealed(goldenBody + "{}"),
		"id 0": edit(`"id":5`, `"id":0`), "epoch 0": edit(`"epoch":2`, `"epoch":0`), "groups": edit(`{"start":0,"end":4},"files"`, `{"start":0,"end":3},"files"`),
		"parallelism": edit(`"parallelism":1`, `"parallelism":2`), "max parallelism": edit(`"max_parallelism":4`, `"max_parallelism":0`),
		"file name": edit("data/2-5-X", "data/../../x"), "file size": edit(`"size":3`, `"size":-3`), "file sum": edit("0123456789abcdef", "0123456789abcde"),
		"file groups":         edit(`{"start":0,"end":4}}],`, `{"start":0,"end":5}}],`),
		"cut off compression": string(sealed2(compressed(goldenBody2)[:100])), "compression of nothing": string(sealed2(compressed(""))),
		"compression of version 1": sealed(string(compressed(goldenBody))), "two compressed": string(sealed2(compressed(goldenBody2 + "{}"))),
	} {
		if _, err := decodeManifest("obj", []byte(data)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"obj"`) {
			t.Errorf("%s: %v, want a CorruptError of obj", what, err)
		}
	}
}

func compressed(s string) []byte {
	b, err := compress([]byte(s))
	if err != nil {
		panic(err)
	}
	return b
}

func sealed2(body []byte) []byte {
	return append([]byte("millrace manifest 2 "+envelopeSum("manifest", 2, body)+"\n"), body...)
}

func TestHeadRoundTrip(t *testing.T) {
	data, err := encodeHead(sampleHead())
	if err != nil {
		t.Fatal(err)
	}
	h, err := decodeHead("HEAD", data)
	if err != nil || !reflect.DeepEqual(h, sampleHead()) {
		t.Fatalf("decoded %+v, %v", h, err)
	}
	for what, change := range map[string]func(h *head){
		"epoch":      func(h *head) { h.Epoch = 1 },
		"last id":    func(h *head) { h.LastID = 2 },
		"twice":      func(h *head) { h.Checkpoints = append(h.Checkpoints, h.Checkpoints[0]) },
		"name":       func(h *head) { h.Savepoints[0].Name = "ckpt/2-4-ABC" },
		"other name": func(h *head) { h.Savepoints[0].Name = "data/2-3-ABC" },
		"size":       func(h *head) { h.Savepoints[0].Size = 0 },
	} {
		h := sampleHead()
		change(h)
		data, err := encodeHead(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeHead("HEAD", data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("wrong %s: %v, want a CorruptError", what, err)
		}
	}
}

func TestNameRule(t *testing.T) {
	h := &head{Epoch: 3, LastID: 7}
	for name, want := range map[string]bool{
		"data/2-9-A": true, "data/3-7-A": true, "data/3-8-A": false, "data/4-1-A": false, "ckpt/3-1-A": true, "tmp/3-7-A-B": true,
		"tmp/3-8-A-B": false, "probe-2-0-X": true, "tmp/probe-2-0-X": true, "HEAD": false, "lock": false, "data/x": false, "data/3-7": false,
		"other/2-1-A": false, "2-1-A": false, "data/3-7-A/x": false, "data/-1-7-A": false, "data/99999999999999999999-1-A": false,
	} {
		n, ok := parseName(name)
		if got := ok && h.deletable(n); got != want {
			t.Errorf("%s: deletable %v, want %v", name, got, want)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(goldenManifest))
	f.Add([]byte(goldenBody))
	f.Add([]byte("millrace manifest 1 \n"))
	f.Add([]byte(goldenManifest2))
	f.Add(sealed2(compressed(goldenBody2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range [][]byte{data, seal1("manifest", data), sealed2(data), sealed2(compressed(string(data)))} { // the others get past the checksum
			m, err := decodeManifest("fuzz", d)
			if err != nil {
				continue
			}
			again, err := encodeManifest(m)
			if err != nil {
				t.Fatalf("decoded but not encodable: %v", err)
			}
			if m2, err := decodeManifest("fuzz", again); err != nil || m2.ID != m.ID {
				t.Fatalf("%v", err)
			}
			ops := []OperatorInfo{{UID: "agg", Parallelism: 1}}
			_, _ = PlanRestore(m, ops, m.MaxParallelism, Mapping{}) // no panic, whatever it says
		}
	})
}

func seal1(kind string, body []byte) []byte {
	return append([]byte("millrace "+kind+" 1 "+envelopeSum(kind, 1, body)+"\n"), body...)
}

func FuzzDecodeHead(f *testing.F) {
	data, err := encodeHead(sampleHead())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"epoch":1,"last_id":0,"checkpoints":[],"savepoints":null,"nonce":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range [][]byte{data, seal1("head", data)} {
			h, err := decodeHead("fuzz", d)
			if err != nil {
				continue
			}
			again, err := encodeHead(h)
			if err != nil {
				t.Fatal(err)
			}
			if h2, err := decodeHead("fuzz", again); err != nil || h2.Epoch != h.Epoch || len(h2.refs()) != len(h.refs()) {
				t.Fatalf("%+v, %v", h2, err)
			}
		}
	})
}

// Whatever stands behind the content, and whatever the handle says, there is no panic, and what is accepted is a table of the right size.
func FuzzParseSums(f *testing.F) {
	var c chunkSums
	c.add(make([]byte, 100_000))
	table, sums := c.finish()
	f.Add(table, int64(100_000), sums)
	f.Add(table[:len(table)-1], int64(100_000), sums)
	f.Add([]byte{}, int64(0), "")
	f.Fuzz(func(t *testing.T, tail []byte, size int64, sums string) {
		if size < 0 || size > objectBytesMax {
			return // refused before
		}
		got, err := parseSums("fuzz", state.File{Name: "data/1-1-X", Size: size, Sums: sums}, tail)
		if err != nil {
			return
		}
		if int64(len(got.sums)) != 4*chunkCount(size) || int64(len(tail)) != sumsSize(size) {
			t.Fatalf("accepted a table of %d bytes for content of %d", len(tail), size)
		}
	})
}
