package operators_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// goldenCase is one case of testdata/golden; README.md there describes the format.
type goldenCase struct {
	ID     string
	Params goldenParams
	Steps  []goldenStep
	Expect [][]goldenOutput
}

type goldenParams struct {
	Assigner struct {
		Type                string
		Size, Slide, Offset int64
	}
	Trigger struct {
		Type string
		N    int64
	}
	Function        string
	AllowedLateness int64 `json:"allowed_lateness"`
	Bound           int64
	Interval        int64
	IdleTimeout     *int64 `json:"idle_timeout"`
}

type goldenStep struct {
	Op             string
	Key            string
	Value          json.RawMessage
	TS             *int64
	NewParallelism int `json:"new_parallelism"`
}

func (s goldenStep) tsMS() int64 {
	if s.TS == nil {
		return connectors.NoTimestamp
	}
	return *s.TS
}

func (s goldenStep) number() int64 {
	var n int64
	if err := json.Unmarshal(s.Value, &n); err != nil {
		panic(fmt.Sprintf("golden step %+v has no number: %v", s, err))
	}
	return n
}

func (s goldenStep) text() string {
	var v string
	if err := json.Unmarshal(s.Value, &v); err != nil {
		panic(fmt.Sprintf("golden step %+v has no text: %v", s, err))
	}
	return v
}

type goldenOutput struct {
	Kind   string
	Key    string
	Value  any // int64, string or nil
	TS     *int64
	Window *[2]int64
	G      *int64
}

func (o *goldenOutput) UnmarshalJSON(b []byte) error {
	type plain goldenOutput
	raw := struct {
		*plain
		Value json.RawMessage
	}{plain: (*plain)(o)}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	o.Value = nil
	switch {
	case len(raw.Value) == 0 || string(raw.Value) == "null":
	case raw.Value[0] == '"':
		var s string
		if err := json.Unmarshal(raw.Value, &s); err != nil {
			return err
		}
		o.Value = s
	default:
		var n int64
		if err := json.Unmarshal(raw.Value, &n); err != nil {
			return err
		}
		o.Value = n
	}
	return nil
}

// String is all that is compared.
func (o goldenOutput) String() string {
	ts, window := "none", ""
	if o.TS != nil {
		ts = fmt.Sprint(*o.TS)
	}
	if o.Window != nil {
		window = fmt.Sprintf(" [%d,%d)", o.Window[0], o.Window[1])
	}
	switch o.Kind {
	case "watermark":
		return "watermark " + ts
	case "idle", "active":
		return o.Kind
	}
	return fmt.Sprintf("%s %q %T:%v @%s%s", o.Kind, o.Key, o.Value, o.Value, ts, window)
}

// goldenRunner replays one case on the operator under test.
type goldenRunner interface {
	// step does one step and returns what came out of it.
	step(s goldenStep) []goldenOutput
}

// goldenFamily is one file of cases. start returns the runner of a case, or the reason why the operators cannot run it yet.
type goldenFamily struct {
	name  string
	start func(t *testing.T, c goldenCase) (goldenRunner, string)
	keyed bool // the runner is a rescaler
	// project reduces the expected output of a case to what the operator here promises.
	project func([][]goldenOutput) [][]goldenOutput
}

// TestGolden replays what Apache Flink's own operators did. MILLRACE_GOLDEN names a folder with other files of the same families.
func TestGolden(t *testing.T) {
	for _, f := range goldenFamilies {
		t.Run(f.name, func(t *testing.T) {
			cases := readGolden(t, f.name)
			skipped := map[string]int{}
			ran := 0
			for _, c := range cases {
				runner, reason := f.start(t, c)
				if reason != "" {
					skipped[reason]++
					continue
				}
				ran++
				if f.project != nil {
					c.Expect = f.project(c.Expect)
				}
				if err := replayGolden(c, sameGolden, func(_ int, s goldenStep) []goldenOutput { return runner.step(s) }); err != nil {
					t.Errorf("%s %+v: %v", c.ID, c.Params, err)
				}
			}
			t.Logf("%d cases, %d replayed", len(cases), ran)
			for _, reason := range slices.Sorted(maps.Keys(skipped)) {
				t.Logf("%d not replayed: %s", skipped[reason], reason)
			}
			if ran == 0 {
				t.Error("no case was replayed")
			}
		})
	}
}

// rescaler is a runner whose state can be taken to other subtasks at any time.
type rescaler interface {
	goldenRunner
	// rescale goes on from a snapshot with n subtasks on the backend, as a job does: the watermark stays.
	rescale(n int, b state.Backend)
}

// TestGoldenRescaled replays the keyed cases again with restores between their steps that nobody asked for, into one to four subtasks on Pebble:
// the output of each key is the same.
func TestGoldenRescaled(t *testing.T) {
	for _, f := range goldenFamilies {
		if !f.keyed {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			for i, c := range readGolden(t, f.name) {
				if i%3 != 0 { // each restore writes files; TestGolden has replayed all cases
					continue
				}
				runner, reason := f.start(t, c)
				if reason != "" {
					continue
				}
				b := pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
				restored := func(step int, s goldenStep) []goldenOutput {
					if step > 0 && step%(len(c.Steps)/4+1) == 0 {
						runner.(rescaler).rescale(1+step%4, b)
					}
					return runner.step(s)
				}
				if err := replayGolden(c, samePerKey, restored); err != nil {
					t.Errorf("%s: %v", c.ID, err)
				}
			}
		})
	}
}

func readGolden(t *testing.T, family string) []goldenCase {
	t.Helper()
	dir := os.Getenv("MILLRACE_GOLDEN")
	if dir == "" {
		dir = filepath.Join("testdata", "golden")
	}
	var in io.Reader
	f, err := os.Open(filepath.Join(dir, family+".jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(filepath.Join(dir, family+".jsonl.gz"))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in = f
	if strings.HasSuffix(f.Name(), ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var cases []goldenCase
	d := json.NewDecoder(bufio.NewReader(in))
	for d.More() {
		var c goldenCase
		if err := d.Decode(&c); err != nil {
			t.Fatalf("%s, case %d: %v", f.Name(), len(cases), err)
		}
		cases = append(cases, c)
	}
	return cases
}

func replayGolden(c goldenCase, same func(want, got []goldenOutput) error, do func(i int, s goldenStep) []goldenOutput) error {
	for i, s := range c.Steps {
		got := do(i, s)
		if err := same(c.Expect[i], got); err != nil {
			return fmt.Errorf("step %d, %s %q %s at %d: %w", i, s.Op, s.Key, s.Value, s.tsMS(), err)
		}
	}
	return nil
}

// sameGolden compares by the order rule of the format: neighbours with the same g are a multiset, everything else stands where it is.
func sameGolden(want, got []goldenOutput) error {
	if len(want) != len(got) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	for i := 0; i < len(want); {
		end := i + 1
		for want[i].G != nil && end < len(want) && want[end].G != nil && *want[end].G == *want[i].G {
			end++
		}
		w, g := goldenTexts(want[i:end]), goldenTexts(got[i:end])
		if !slices.Equal(w, g) {
			return fmt.Errorf("at output %d got %v, want %v", i, got, want)
		}
		i = end
	}
	return nil
}

// samePerKey compares the outputs of each key, and the control elements: between the keys of several subtasks there is no order.
func samePerKey(want, got []goldenOutput) error {
	split := func(os []goldenOutput) map[string][]goldenOutput {
		keys := map[string][]goldenOutput{}
		for _, o := range os {
			k := o.Kind + " " + o.Key
			keys[k] = append(keys[k], o)
		}
		return keys
	}
	w, g := split(want), split(got)
	if len(w) != len(g) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	for k := range w {
		if err := sameGolden(w[k], g[k]); err != nil {
			return err
		}
	}
	return nil
}

func goldenTexts(os []goldenOutput) []string {
	var texts []string
	for _, o := range os {
		texts = append(texts, o.String())
	}
	slices.Sort(texts)
	return texts
}

// onlyGrowing drops watermarks that do not grow, which never leave an operator here.
func onlyGrowing(expect [][]goldenOutput) [][]goldenOutput {
	last := operators.NoWatermark
	out := make([][]goldenOutput, len(expect))
	for i, step := range expect {
		for _, o := range step {
			if o.Kind != "watermark" || *o.TS > last {
				out[i] = append(out[i], o)
			}
			if o.Kind == "watermark" {
				last = max(last, *o.TS)
			}
		}
	}
	return out
}

// goldenElement turns an element into the form of the vectors.
func goldenElement[T any](e operatortest.Element[T], record func(v T, o *goldenOutput)) goldenOutput {
	o := goldenOutput{Kind: string(e.Kind)}
	if e.TimestampMS != connectors.NoTimestamp && e.Kind != operatortest.Idle && e.Kind != operatortest.Active {
		o.TS = &e.TimestampMS
	}
	if e.Kind == operatortest.Record {
		record(e.Value, &o)
	}
	return o
}
