package operators_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/connectors"
)

// goldenCase is one case of testdata/golden; README.md there describes the format.
type goldenCase struct {
	ID       string
	Operator string
	Params   json.RawMessage
	Ordered  bool
	Compare  string
	Steps    []goldenStep
	Expect   [][]goldenOutput

	decoded *bool // the family has looked at Params
}

// decodeParams reads the case's parameters into p, a pointer to a struct of the family; one that the struct does not name is an error. A family
// without parameters passes &struct{}{}.
func (c goldenCase) decodeParams(p any) error {
	*c.decoded = true
	if err := strictJSON(c.Params, p); err != nil {
		return fmt.Errorf("params %s: %w", c.Params, err)
	}
	return nil
}

// lookedAt is an error unless the family has decoded the parameters.
func (c goldenCase) lookedAt() error {
	if !*c.decoded {
		return errors.New("the family never looks at the parameters; call decodeParams")
	}
	return nil
}

// goldenStep is one step; which fields are set depends on Op.
type goldenStep struct {
	Op             string
	Input          int
	Key            goldenText
	Value          json.RawMessage
	TS             *int64
	NewParallelism int `json:"new_parallelism"`

	Results        []string
	Split          string
	Deferred       bool
	KeyType        string `json:"key_type"`
	MaxParallelism int    `json:"max_parallelism"`
	Parallelism    int
	Subtask        int
}

// tsMS is the step's timestamp, or connectors.NoTimestamp.
func (s goldenStep) tsMS() int64 {
	if s.TS == nil {
		return connectors.NoTimestamp
	}
	return *s.TS
}

// number is the step's value; a fault of the case if it is none.
func (s goldenStep) number() int64 {
	var n int64
	if err := json.Unmarshal(s.Value, &n); err != nil {
		panic(goldenFault(fmt.Sprintf("the value %s is no number: %v", s.Value, err)))
	}
	return n
}

// text is the step's value; a fault of the case if it is none.
func (s goldenStep) text() string {
	var v string
	if err := json.Unmarshal(s.Value, &v); err != nil {
		panic(goldenFault(fmt.Sprintf("the value %s is no text: %v", s.Value, err)))
	}
	return v
}

// record is the step's record: a value in quotes is its Text, another its Value.
func (s goldenStep) record(seq int64) goldenRecord {
	r := goldenRecord{Key: string(s.Key), Seq: seq}
	if bytes.HasPrefix(s.Value, []byte(`"`)) {
		r.Text = s.text()
	} else {
		r.Value = s.number()
	}
	return r
}

// goldenRecord is a record of the families that run an operator. Seq is its place among the case's records, from 1.
type goldenRecord struct {
	Key   string
	Value int64
	Text  string
	Seq   int64
}

func goldenKey(r goldenRecord) string { return r.Key }

// goldenText is a text, or a number as it stands in the file.
type goldenText string

func (g *goldenText) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte(`"`)) {
		*g = goldenText(b)
		return nil
	}
	return json.Unmarshal(b, (*string)(g))
}

// goldenOutput is one element that came out of an operator, or that should.
type goldenOutput struct {
	Kind   string
	Key    string
	Value  any // int64, string or nil
	TS     *int64
	Window *[2]int64
	G      *int64

	Hash, Murmur, Subtask, Start, End *int64
	KeyGroup                          *int64 `json:"key_group"`
}

func (o *goldenOutput) UnmarshalJSON(b []byte) error {
	type plain goldenOutput
	raw := struct {
		*plain
		Value json.RawMessage
	}{plain: (*plain)(o)}
	if err := strictJSON(b, &raw); err != nil {
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

// control says whether o is no record: a watermark, idle or active.
func (o goldenOutput) control() bool {
	return o.Kind == "watermark" || o.Kind == "idle" || o.Kind == "active"
}

// String is all that is compared.
func (o goldenOutput) String() string {
	ts, rest := "none", ""
	if o.TS != nil {
		ts = fmt.Sprint(*o.TS)
	}
	switch o.Kind {
	case "watermark":
		return "watermark " + ts
	case "idle", "active":
		return o.Kind
	}
	if o.Window != nil {
		rest = fmt.Sprintf(" [%d,%d)", o.Window[0], o.Window[1])
	}
	for _, f := range []struct {
		name string
		n    *int64
	}{{"hash", o.Hash}, {"murmur", o.Murmur}, {"key group", o.KeyGroup}, {"subtask", o.Subtask}, {"start", o.Start}, {"end", o.End}} {
		if f.n != nil {
			rest += fmt.Sprintf(" %s %d", f.name, *f.n)
		}
	}
	return fmt.Sprintf("%s %q %T:%v @%s%s", o.Kind, o.Key, o.Value, o.Value, ts, rest)
}

// strictJSON decodes all of b into v and refuses fields that v does not have.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

const goldenDefaultFolder = "testdata/golden"

// goldenFolder is the folder of the vectors, and whether it is the project's own. A relative one may also be meant from the root of the module, where
// go test is called, and not from the folder of this package, where it runs.
func goldenFolder() (dir string, own bool) {
	if dir = os.Getenv("MILLRACE_GOLDEN"); dir != "" {
		if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
			dir = filepath.Join("..", dir)
		}
		return dir, false
	}
	return filepath.FromSlash(goldenDefaultFolder), true
}

// goldenFiles are the files of a folder that hold cases, by family.
func goldenFiles(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; MILLRACE_GOLDEN names the folder of golden vectors", err)
	}
	files := map[string]string{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), ".gz"), ".jsonl")
		if !ok {
			continue
		}
		if files[name] != "" {
			return nil, fmt.Errorf("family %q stands in %s and in %s; remove one", name, files[name], e.Name())
		}
		files[name] = filepath.Join(dir, e.Name())
	}
	return files, nil
}

// readGolden reads the cases of one file, gzip-compressed if its name ends so.
func readGolden(path string) ([]goldenCase, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return decodeGolden(path, in)
}

func decodeGolden(name string, in io.Reader) ([]goldenCase, error) {
	var cases []goldenCase
	d := json.NewDecoder(bufio.NewReader(in))
	d.DisallowUnknownFields()
	for {
		c := goldenCase{decoded: new(bool)}
		if err := d.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s, case %d: %w", name, len(cases), err)
		}
		if len(c.Steps) != len(c.Expect) {
			return nil, fmt.Errorf("%s, case %s: %d steps and %d expectations", name, c.ID, len(c.Steps), len(c.Expect))
		}
		if slices.ContainsFunc(cases, func(o goldenCase) bool { return o.ID == c.ID }) {
			return nil, fmt.Errorf("%s: case %s stands there twice", name, c.ID)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s holds no cases", name)
	}
	return cases, nil
}
