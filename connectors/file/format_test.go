package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2/ocf"
	"github.com/parquet-go/parquet-go"

	"github.com/millrace-io/millrace/serde"
)

// written is a file that holds the orders.
func written(t testing.TB, f Format, c Compression, list []order) []byte {
	t.Helper()
	sd := serde.MustFor[order]()
	return writtenBy(t, f, c, sd, list)
}

func writtenBy[T any](t testing.TB, f Format, c Compression, sd serde.Serde[T], list []T) []byte {
	t.Helper()
	form, err := newFormat(f, c, sd.Schema())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e, err := form.encoder(&b)
	if err != nil {
		t.Fatal(err)
	}
	var datum []byte
	for i, v := range list {
		if datum, err = sd.Append(datum[:0], v); err != nil {
			t.Fatal(err)
		}
		if err := e.append(datum); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 { // several blocks and row groups
			if err := e.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAvroReadByLibrary reads an Avro file with the container reader of another library into maps.
func TestAvroReadByLibrary(t *testing.T) {
	for _, c := range []Compression{Snappy, Uncompressed, Deflate} {
		d, err := ocf.NewDecoder(bytes.NewReader(written(t, Avro, c, ordersOf(120))))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; d.HasNext(); n++ {
			var m map[string]any
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			o := orderOf(n)
			if m["id"] != o.ID || m["outcome"] != string(o.Outcome) || !m["at"].(time.Time).Equal(o.At) || m["version"] != o.Version {
				t.Fatalf("%v: record %d is %v", c, n, m)
			}
			if want := big.NewRat(int64(n*7-50), 100); m["amount"].(*big.Rat).Cmp(want) != 0 {
				t.Fatalf("%v: amount of record %d is %v, want %v", c, n, m["amount"], want)
			}
			if got := len(m["lines"].([]any)); got != len(o.Lines) {
				t.Fatalf("%v: record %d has %d lines, want %d", c, n, got, len(o.Lines))
			}
		}
		if err := d.Error(); err != nil || n != 120 {
			t.Errorf("%v: %d records, %v, want 120", c, n, err)
		}
	}
}

// row is how a Parquet user sees an order: Go types and tags of the Parquet library, not those of the archive.
type row struct {
	ID      string    `parquet:"id"`
	Outcome string    `parquet:"outcome"`
	Amount  []byte    `parquet:"amount"`
	At      time.Time `parquet:"at,timestamp(millisecond)"`
	Version int64     `parquet:"version"`
	Score   float64   `parquet:"score"`
	Ratio   float32   `parquet:"ratio"`
	Flag    bool      `parquet:"flag"`
	Small   int32     `parquet:"small"`
	Note    *string   `parquet:"note"`
	Lines   []struct {
		SKU   string
		Count int32
	} `parquet:"lines,list"`
	Attrs  map[string]int64
	Matrix [][]int64 `parquet:"Matrix,list"`
	First  *struct {
		SKU   string
		Count int32
	}
}

// TestParquetReadByLibrary reads a Parquet file with the library's own reader into a type of its own.
func TestParquetReadByLibrary(t *testing.T) {
	for _, c := range []Compression{Snappy, Uncompressed, Deflate} {
		data := written(t, Parquet, c, ordersOf(120))
		rows, err := parquet.Read[row](bytes.NewReader(data), int64(len(data)))
		if err != nil || len(rows) != 120 {
			t.Fatalf("%v: %d rows, %v", c, len(rows), err)
		}
		for i, r := range rows {
			o := orderOf(i)
			if r.ID != o.ID || r.Outcome != string(o.Outcome) || !r.At.Equal(o.At) || r.Version != o.Version || r.Score != o.Score ||
				r.Ratio != o.Ratio || r.Flag != o.Flag || r.Small != o.Small || fmt.Sprint(r.Attrs) != fmt.Sprint(o.Attrs) {
				t.Fatalf("%v: row %d is %+v, want %s", c, i, r, o.text())
			}
			if (r.Note == nil) != (o.Note == nil) || r.Note != nil && *r.Note != *o.Note || fmt.Sprint(r.Lines) != fmt.Sprint(o.Lines) ||
				(r.First == nil) != (o.First == nil) || r.First != nil && r.First.Count != o.First.Count {
				t.Fatalf("%v: row %d is %+v, want %s", c, i, r, o.text())
			}
			if got := int64(int16(uint16(extend(r.Amount)))); got != int64(i*7-50) {
				t.Fatalf("%v: amount of row %d is %x, want %d", c, i, r.Amount, i*7-50)
			}
		}
	}
}

// extend is a two's complement number of at most two bytes.
func extend(b []byte) int {
	n := 0
	if len(b) > 0 && b[0] >= 0x80 {
		n = -1
	}
	for _, c := range b {
		n = n<<8 | int(c)
	}
	return n
}

// TestParquetColumns checks names, order and types of the columns as they stand in the file.
func TestParquetColumns(t *testing.T) {
	data := written(t, Parquet, Snappy, ordersOf(1))
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	want := `message order {
	required binary id (STRING);
	required binary customer (STRING);
	required binary outcome (STRING);
	required binary amount (DECIMAL(12,2));
	required int64 at (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS));
	required int64 version (INT(64,true));
	required double score;
	required float ratio;
	required boolean flag;
	required int32 small (INT(32,true));
	required binary raw;
	required fixed_len_byte_array(4) hash;
	optional binary note (STRING);
	required group lines (LIST) {
		repeated group list {
			required group element {
				required binary SKU (STRING);
				required int32 Count (INT(32,true));
			}
		}
	}
	required group Attrs (MAP) {
		repeated group key_value {
			required binary key (STRING);
			required int64 value (INT(64,true));
		}
	}
	required group Matrix (LIST) {
		repeated group list {
			required group element (LIST) {
				repeated group list {
					required int64 element (INT(64,true));
				}
			}
		}
	}
	optional group First {
		required binary SKU (STRING);
		required int32 Count (INT(32,true));
	}
}`
	if got := f.Schema().String(); got != want {
		t.Errorf("columns are\n%s\nwant\n%s", got, want)
	}
	if s, ok := f.Lookup(schemaKey); !ok || s != serde.MustFor[order]().Schema() {
		t.Errorf("schema in the metadata is %q", s)
	}
}

// edges holds the bounds of every type.
type edges struct {
	I    int32
	L    int64
	F    float32
	D    float64
	S    string
	B    []byte
	PP   *string
	Maps []map[string][]*int64
	Day  time.Time `avro:"day,date"`
	Mic  time.Time `avro:"mic,timestamp-micros"`
	UUID [16]byte  `avro:"uuid,uuid"`
}

// TestRoundTripRandom writes random nestings and bounds and reads equal bytes back, from any position on.
func TestRoundTripRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	sd, err := serde.For[edges]()
	if err != nil {
		t.Fatal(err)
	}
	list := make([]edges, 300)
	for i := range list {
		list[i] = randomEdges(rng)
	}
	for _, f := range []Format{Avro, Parquet} {
		data := writtenBy(t, f, Snappy, sd, list)
		for _, from := range []int{0, 1, 49, 50, 51, 150, rng.IntN(300), 299, 300} {
			d, err := newDecoder("x."+f.String(), bytes.NewReader(data), int64(len(data)), "")
			if err != nil {
				t.Fatal(err)
			}
			if err := d.skip(int64(from)); err != nil {
				t.Fatalf("%v: skip %d: %v", f, from, err)
			}
			for i := from; i < len(list); i++ {
				want, err := sd.Append(nil, list[i])
				if err != nil {
					t.Fatal(err)
				}
				got, err := d.next()
				if err != nil {
					t.Fatalf("%v: record %d from %d: %v", f, i, from, err)
				}
				var v, w edges
				if err := errors.Join(sd.Decode(got, &v), sd.Decode(want, &w)); err != nil || !equalEdges(v, w) {
					t.Fatalf("%v: record %d from %d is %+v, %v, want %+v", f, i, from, v, err, w)
				}
			}
			if _, err := d.next(); err != io.EOF {
				t.Errorf("%v: after the last record: %v, want io.EOF", f, err)
			}
		}
		d, err := newDecoder("x."+f.String(), bytes.NewReader(data), int64(len(data)), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.skip(301); err != io.EOF {
			t.Errorf("%v: skip beyond the end: %v, want io.EOF", f, err)
		}
	}
}

func randomEdges(rng *rand.Rand) edges {
	pick := func(list ...int64) int64 { return list[rng.IntN(len(list))] }
	e := edges{
		I: int32(pick(0, 1, -1, math.MinInt32, math.MaxInt32)), L: pick(0, 1, -1, math.MinInt64, math.MaxInt64),
		F: []float32{0, math.MaxFloat32, float32(math.Inf(-1))}[rng.IntN(3)], D: []float64{0, math.SmallestNonzeroFloat64, math.Inf(1)}[rng.IntN(3)],
		S: []string{"", "ü\x00€", strings.Repeat("long", 1000)}[rng.IntN(3)], B: make([]byte, rng.IntN(3)),
		Day: time.Unix(0, 0).AddDate(0, 0, rng.IntN(100000)-50000).UTC().Truncate(24 * time.Hour), Mic: time.UnixMicro(rng.Int64N(1 << 50)).UTC(),
	}
	if rng.IntN(2) == 0 {
		e.PP = &e.S
	}
	for range rng.IntN(4) {
		m := map[string][]*int64{}
		for k := range rng.IntN(3) {
			list := []*int64{}
			for range rng.IntN(4) {
				if rng.IntN(2) == 0 {
					list = append(list, nil)
				} else {
					v := rng.Int64()
					list = append(list, &v)
				}
			}
			m[fmt.Sprint(k)] = list
		}
		e.Maps = append(e.Maps, m)
	}
	for i := range e.UUID {
		e.UUID[i] = byte(rng.Uint32())
	}
	return e
}

// equalEdges compares by a text that follows pointers.
func equalEdges(a, b edges) bool { return edgesText(a) == edgesText(b) }

func edgesText(e edges) string {
	var s strings.Builder
	fmt.Fprint(&s, e.I, e.L, e.F, e.D, e.S, e.B, e.Day.Unix(), e.Mic.UnixMicro(), e.UUID, e.PP != nil)
	for _, m := range e.Maps {
		fmt.Fprint(&s, len(m))
		for _, k := range []string{"0", "1", "2"} {
			fmt.Fprint(&s, k, len(m[k]))
			for _, p := range m[k] {
				if p == nil {
					s.WriteString(" nil")
				} else {
					fmt.Fprint(&s, " ", *p)
				}
			}
		}
	}
	return s.String()
}

// TestNoParquetForm checks that a schema without Parquet form is an error that names the field.
func TestNoParquetForm(t *testing.T) {
	rec := func(fields string) string { return `{"type":"record","name":"r","fields":[` + fields + `]}` }
	for schema, want := range map[string]string{
		`"string"`: "record at the top",
		rec(``):    "no fields",
		rec(`{"name":"a","type":["int","string"]}`):                                             `"a" is a union`,
		rec(`{"name":"a","type":["null","int","string"]}`):                                      `"a" is a union`,
		rec(`{"name":"a","type":{"type":"array","items":"null"}}`):                              `"a[]" is of type "null"`,
		rec(`{"name":"a","type":["null","r"]}`):                                                 `"a" is the recursive record`,
		rec(`{"name":"a","type":{"type":"record","name":"s","fields":[]}}`):                     `record "s" has no fields`,
		rec(`{"name":"a","type":{"type":"map","values":{"type":"fixed","name":"f","size":0}}}`): `"a{}" is`,
	} {
		if _, err := newFormat(Parquet, Snappy, schema); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "use the Avro format") {
			t.Errorf("%s: error is %v, want %q", schema, err, want)
		}
	}
	if _, err := newFormat(Avro, Snappy, "opaque:x"); err == nil || !strings.Contains(err.Error(), "opaque:x") {
		t.Errorf("error is %v", err)
	}
}

// readAnything decodes all of a file through the guard that the reader uses.
func readAnything(name string, data []byte) (n int64, err error) {
	w := &watched{object: memory{bytes.NewReader(data)}}
	var d decoder
	if err = w.guard(name, 0, func() (err error) { d, err = newDecoder(name, w, int64(len(data)), ""); return err }); err != nil {
		return 0, err
	}
	f := openedFile[order]{object: w, dec: d}
	defer f.close()
	for ; n < 1_000_000; n++ {
		if _, err := f.next(name, n); err != nil {
			return n, err
		}
	}
	return n, nil
}

// memory is an object in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// FuzzFiles feeds damaged files to both decoders: they answer with records or errors, never with a panic.
func FuzzFiles(f *testing.F) {
	for _, format := range []Format{Avro, Parquet} {
		for _, c := range []Compression{Snappy, Uncompressed, Deflate} {
			data := written(f, format, c, ordersOf(60))
			f.Add(format == Parquet, data)
			rng := rand.New(rand.NewPCG(uint64(format), uint64(c)))
			for range 8 {
				bad := bytes.Clone(data)
				bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
				f.Add(format == Parquet, bad[:len(bad)-rng.IntN(2)*rng.IntN(len(bad))])
			}
		}
	}
	f.Fuzz(func(t *testing.T, columns bool, data []byte) {
		name := "x.avro"
		if columns {
			name = "x.parquet"
		}
		_, _ = readAnything(name, data)
	})
}

// FuzzDatum cuts random bytes by a schema of every type.
func FuzzDatum(f *testing.F) {
	sd := serde.MustFor[order]()
	s, err := parseSchema(sd.Schema())
	if err != nil {
		f.Fatal(err)
	}
	root, _, err := columnsOf(s)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 5 {
		b, err := sd.Append(nil, orderOf(i))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, err := skipDatum(s, b, 0)
		row, shredErr := newShredder(root).shred(b)
		if shredErr == nil && (err != nil || len(rest) > 0) {
			t.Fatalf("shred accepts %x, skip says %v and leaves %d bytes", b, err, len(rest))
		}
		if shredErr != nil {
			return
		}
		again, err := (&assembler{root: root}).assemble(nil, row)
		if err != nil {
			t.Fatalf("row of %x cannot be assembled: %v", b, err)
		}
		if _, err := newShredder(root).shred(again); err != nil {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
	})
}

// TestEndlessItems checks that a short datum which announces 2^62 items without bytes ends at once.
func TestEndlessItems(t *testing.T) {
	s, err := parseSchema(`{"type":"array","items":"null"}`)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}
	if rest, err := skipDatum(s, b, 0); err != nil || len(rest) != 0 {
		t.Errorf("%d bytes left, %v", len(rest), err)
	}
	deep, err := parseSchema(`{"type":"record","name":"r","fields":[{"name":"a","type":["null","r"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := skipDatum(deep, bytes.Repeat([]byte{2}, 5000), 0); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("error is %v", err)
	}
}
