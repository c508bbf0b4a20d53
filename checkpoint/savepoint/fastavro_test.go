package savepoint_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// mixed has a field of each type that another implementation may read in its own way.
type mixed struct {
	At     time.Time     `avro:"at"`
	Micros time.Time     `avro:"micros,timestamp-micros"`
	Day    time.Time     `avro:"day,date"`
	Amount serde.Decimal `avro:"amount,precision=12,scale=2"`
	ID     [16]byte      `avro:"id"`
	Raw    []byte        `avro:"raw"`
	Level  string        `avro:"level,enum=LOW|HIGH"`
	Opt    *inner        `avro:"opt"`
	List   []inner       `avro:"list"`
	Float  float64       `avro:"float"`
	Big    uint64        `avro:"big"`
}

type inner struct {
	N int64             `avro:"n"`
	M map[string]string `avro:"m"`
}

// place is the operator key of the state of mixed: a record, named like none of the value's.
type place struct {
	Shop string `avro:"shop"`
	No   int32  `avro:"no"`
}

// fastavroSavepoint is one with every kind of state, several schemas and types that are read in different ways, in dir.
func fastavroSavepoint(t *testing.T, dir string, codec state.RowsCodec) *savepoint.Savepoint {
	t.Helper()
	r := rand.New(rand.NewPCG(21, 22))
	b := native(t, drawAccounts(r, 120)).Edit()
	codecs := savepoint.Codecs[place, mixed]{}
	d, err := savepoint.NewState("mixed", state.KindValue, "", codecs, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b.Declare("mixed", d)
	opaque := d
	opaque.Name, opaque.Key, opaque.Value, opaque.TTL = "opaque", "opaque:k", "opaque:v", 0
	b.Declare("opaque", opaque)
	e := savepoint.EditState(b, "mixed", "mixed", codecs)
	for i := range 50 {
		amount, _ := serde.NewDecimal(r.Int64N(2e11)-1e11, 2)
		v := mixed{At: time.UnixMilli(r.Int64N(4e12) - 2e12).UTC(), Micros: time.UnixMicro(r.Int64N(4e15) - 2e15).UTC(), Day: time.Unix(86400*(r.Int64N(4e4)-2e4), 0).UTC(),
			Amount: amount, ID: [16]byte{byte(i), 255}, Raw: []byte{0, 0xff, byte(i)}, Level: []string{"LOW", "HIGH"}[i%2], Float: r.NormFloat64(), Big: r.Uint64()}
		if i%3 == 0 {
			v.Opt = &inner{N: int64(i), M: map[string]string{"ä": "ö"}}
		}
		for j := range i % 4 {
			v.List = append(v.List, inner{N: int64(j)})
		}
		e.Set(place{Shop: fmt.Sprint("s", i), No: int32(-i)}, v, time.UnixMilli(nowMS+int64(i)))
		b.Set("opaque", "opaque", savepoint.Entry{Entry: state.Entry{Key: []byte{byte(i), 0}, Value: []byte{1, byte(i)}, Hash: r.Uint64()}})
	}
	return write(t, b, checkpoint.Dir(dir), savepoint.Options{Codec: codec, FileBytes: 3000})
}

// TestFastavro: a third implementation of Avro reads every container file, and reads in it what export shows.
func TestFastavro(t *testing.T) {
	python := os.Getenv("FASTAVRO_PYTHON")
	if python == "" {
		t.Skip("needs FASTAVRO_PYTHON, a Python with fastavro and zstandard: make fastavro sets it up")
	}
	for _, codec := range []state.RowsCodec{state.RowsZstandard, state.RowsDeflate, state.RowsNone} {
		dir := t.TempDir()
		s := fastavroSavepoint(t, dir, codec)
		export := filepath.Join(t.TempDir(), "export")
		f, err := os.Create(export)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Export(t.Context(), f, savepoint.ExportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), python, "testdata/fastavro_check.py", dir, export).CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf(" %d entries", n)) || n < 500 {
			t.Errorf("%s, %d entries: %v\n%s", codec, n, err, out)
		}
		// The comparison must be able to fail.
		text, err := os.ReadFile(export)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(export, []byte(strings.Replace(string(text), `"n":`, `"n":1`, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), python, "testdata/fastavro_check.py", dir, export).CombinedOutput(); err == nil {
			t.Errorf("an export that was changed passes: %s", out)
		}
	}
}
