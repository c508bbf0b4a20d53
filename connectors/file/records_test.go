package file

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/serde"
)

// outcome is an enum.
type outcome string

func (outcome) Symbols() []string { return []string{"APPROVED", "REJECTED"} }

// line is a nested record.
type line struct {
	SKU   string
	Count int32
}

// order has a field of every kind that the archive must carry.
type order struct {
	ID       string        `avro:"id"`
	Customer string        `avro:"customer"`
	Outcome  outcome       `avro:"outcome"`
	Amount   serde.Decimal `avro:"amount,precision=12,scale=2"`
	At       time.Time     `avro:"at"`
	Version  int64         `avro:"version"`
	Score    float64       `avro:"score"`
	Ratio    float32       `avro:"ratio"`
	Flag     bool          `avro:"flag"`
	Small    int32         `avro:"small"`
	Raw      []byte        `avro:"raw"`
	Hash     [4]byte       `avro:"hash"`
	Note     *string       `avro:"note"`
	Lines    []line        `avro:"lines"`
	Attrs    map[string]int64
	Matrix   [][]int64
	First    *line
}

// base is a time with an even hour: 2026-11-24 07:00 UTC.
var base = time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC)

// orderOf makes the i-th order; its event time moves on by a minute, so that 60 orders fill an hour.
func orderOf(i int) order {
	amount, err := serde.NewDecimal(int64(i*7-50), 2)
	if err != nil {
		panic(err)
	}
	o := order{
		ID: fmt.Sprintf("id-%05d", i), Customer: fmt.Sprintf("c%d", i%7), Outcome: []outcome{"APPROVED", "REJECTED"}[i%2], Amount: amount,
		At: base.Add(time.Duration(i) * time.Minute), Version: int64(i) << 33, Score: float64(i) / 3, Ratio: float32(i) / 7, Flag: i%3 == 0,
		Small: int32(-i), Raw: []byte(strings.Repeat("x", i%5)), Hash: [4]byte{1, 2, 3, byte(i)}, Attrs: map[string]int64{},
	}
	if i%4 != 0 {
		note := fmt.Sprintf("note %d", i)
		o.Note = &note
		o.First = &line{SKU: "first", Count: int32(i)}
	}
	for j := range i % 4 {
		o.Lines = append(o.Lines, line{SKU: fmt.Sprint("sku", j), Count: int32(j)})
		o.Matrix = append(o.Matrix, make([]int64, j))
		o.Attrs[fmt.Sprint("k", j)] = int64(j)
	}
	return o
}

// text is a form of an order that does not depend on what codecs do not keep: nil or empty, and the location of a time.
func (o order) text() string {
	note, first := "-", "-"
	if o.Note != nil {
		note = *o.Note
	}
	if o.First != nil {
		first = fmt.Sprint(*o.First)
	}
	return fmt.Sprint(o.ID, o.Customer, o.Outcome, o.Amount, o.At.UnixMilli(), o.Version, o.Score, o.Ratio, o.Flag, o.Small, string(o.Raw), o.Hash,
		note, o.Lines, o.Attrs, o.Matrix, first)
}

func texts(list []order) []string {
	out := make([]string, len(list))
	for i, o := range list {
		out[i] = o.text()
	}
	sort.Strings(out)
	return out
}

func ordersOf(n int) []order {
	out := make([]order, n)
	for i := range out {
		out[i] = orderOf(i)
	}
	return out
}

// hostContext is what a host gives to all parts.
func hostContext(uid string, subtask int) connectors.Context {
	return connectors.Context{
		UID: uid, Subtask: subtask, Parallelism: 1, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Now: func() time.Time { return time.Now() },
	}
}

// letters collects dead letters.
type letters []connectors.DeadLetter

func (l *letters) add(d connectors.DeadLetter) error { *l = append(*l, d); return nil }

func writerContext(t testing.TB, uid, attempt string, subtask int, dead *letters) connectors.WriterContext {
	t.Helper()
	return connectors.WriterContext{Context: hostContext(uid, subtask), Ctx: t.Context(), Attempt: attempt, DeadLetter: dead.add}
}

func metaOf(o order) connectors.Meta { return connectors.Meta{TimestampMS: o.At.UnixMilli()} }

// visibleNames lists what readers of the plain layout see, sorted.
func visibleNames(t testing.TB, s objects) []string {
	t.Helper()
	return namesIn(t, s, "", func(name string) bool { return visible(name) })
}

func namesIn(t testing.TB, s objects, dir string, want func(string) bool) []string {
	t.Helper()
	var names []string
	err := s.list(context.Background(), dir, func(o objectInfo) error {
		if want == nil || want(o.name) {
			names = append(names, o.name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// readNames decodes the named files with the package's decoders and checks that each record lies in the hour of its file.
func readNames(t testing.TB, s objects, names []string) []order {
	t.Helper()
	sd := serde.MustFor[order]()
	var out []order
	for _, name := range names {
		o, err := s.open(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDecoder(name, o, o.Size(), "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for {
			datum, err := d.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			var v order
			if err := sd.Decode(datum, &v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, want := path.Dir(name), v.At.UTC().Format("dt=2006-01-02/hh=15"); got != want {
				t.Errorf("order %s at %v is in %s, want %s", v.ID, v.At, got, want)
			}
			out = append(out, v)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	return out
}

// same checks that two sets of orders are equal, with each order exactly once.
func same(t testing.TB, got, want []order) {
	t.Helper()
	g, w := texts(got), texts(want)
	if len(g) != len(w) {
		t.Errorf("%d records, want %d", len(g), len(w))
	}
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("record %d differs:\n got %s\nwant %s", i, g[i], w[i])
		}
	}
}
