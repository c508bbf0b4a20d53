package checkpoint

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/state"
)

func sampleHead() *head {
	ref := Ref{ID: 3, Epoch: 2, Name: "ckpt/2-3-ABC", Size: 10, SHA256: sha}
	return &head{Epoch: 2, LastID: 3, Checkpoints: []Ref{ref}, Savepoints: []Ref{ref}, Nonce: "n"}
}

// golden is what this release writes, byte for byte: later releases have to read it. The checksum was computed by
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

func TestGoldenManifest(t *testing.T) {
	data, err := encodeManifest(sampleManifest())
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != goldenManifest {
		t.Errorf("encoded:\n%s\nwant:\n%s", data, goldenManifest)
	}
	m, err := decodeManifest("golden", []byte(goldenManifest))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, sampleManifest()) {
		t.Errorf("decoded %+v", m)
	}
}

// What a newer release wrote is refused as such, and what only looks like a manifest is corrupt.
func TestDecodeRefuses(t *testing.T) {
	newer := "millrace manifest 2 " + envelopeSum("manifest", 2, []byte("{}")) + "\n{}"
	if _, err := decodeManifest("obj", []byte(newer)); err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"obj" has format version 2`) {
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
		"file groups": edit(`{"start":0,"end":4}}],`, `{"start":0,"end":5}}],`),
	} {
		if _, err := decodeManifest("obj", []byte(data)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"obj"`) {
			t.Errorf("%s: %v, want a CorruptError of obj", what, err)
		}
	}
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
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range [][]byte{data, seal1("manifest", data)} { // the second gets past the checksum
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
			_, _ = PlanRestore(m, ops, m.MaxParallelism, nil) // no panic, whatever it says
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
