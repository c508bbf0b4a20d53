package operators_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
)

// bid is a row of the rankings.
type bid struct {
	Auction string
	Bidder  string
	Amount  int64
}

func auction(b bid) string { return b.Auction }

func highest(a, b bid) int { return cmp.Compare(b.Amount, a.Amount) }

func rankLine(key string, rank int, b bid, change operators.RankChange) string {
	return fmt.Sprintf("%s #%d %s %s %d", key, rank, change, b.Bidder, b.Amount)
}

// A record that comes among the best moves those behind it; what falls behind the last rank is forgotten.
func ExampleTopN() {
	stage := operators.TopN(auction, nil, operators.Top[bid]{N: 2, Compare: highest}, rankLine)
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{}).KeyBy(auction, nil)
	for i, b := range []bid{{"lamp", "ann", 10}, {"lamp", "bob", 30}, {"lamp", "cid", 20}, {"lamp", "dan", 5}} {
		h.Process(b, int64(i))
		fmt.Println(b.Bidder, b.Amount)
		for _, line := range h.Records() {
			fmt.Println("  ", line)
		}
	}
	// Output:
	// ann 10
	//    lamp #1 added ann 10
	// bob 30
	//    lamp #1 changed bob 30
	//    lamp #2 added ann 10
	// cid 20
	//    lamp #2 changed cid 20
	// dan 5
}

// With Same a row is ranked by its newest version, e.g. a word by its count.
func ExampleTopN_same() {
	top := operators.Top[bid]{N: 2, Compare: highest, Same: func(older, newer bid) bool { return older.Bidder == newer.Bidder }, Spare: 10}
	h := operatortest.New(exampleTB{}, operators.TopN(auction, nil, top, rankLine), operatortest.Options{}).KeyBy(auction, nil)
	for i, b := range []bid{{"lamp", "ann", 10}, {"lamp", "bob", 30}, {"lamp", "cid", 5}, {"lamp", "bob", 1}} {
		h.Process(b, int64(i))
	}
	for _, line := range h.Records() {
		fmt.Println(line)
	}
	// Output:
	// lamp #1 added ann 10
	// lamp #1 changed bob 30
	// lamp #2 added ann 10
	// lamp #1 changed ann 10
	// lamp #2 changed cid 5
}

// topModel ranks by sorting everything anew.
type topModel struct {
	top  operators.Top[bid]
	rows map[string][]ranked
	next int
}

// ranked is a row with what decides between equal ones.
type ranked struct {
	b     bid
	order int
}

func (m *topModel) ranking(key string) []ranked { return m.rows[key][:min(m.top.N, len(m.rows[key]))] }

// add takes a record and returns what must be said of it.
func (m *topModel) add(b bid) (lines []string) {
	before := slices.Clone(m.ranking(b.Auction))
	m.next++
	fresh := ranked{b, m.next}
	rows := slices.Clone(m.rows[b.Auction])
	if m.top.Same != nil {
		if i := slices.IndexFunc(rows, func(r ranked) bool { return m.top.Same(r.b, b) }); i >= 0 {
			if m.top.Compare(rows[i].b, b) == 0 {
				fresh.order = rows[i].order
			}
			rows = slices.Delete(rows, i, i+1)
		}
	}
	rows = append(rows, fresh)
	slices.SortFunc(rows, func(x, y ranked) int { return cmp.Or(m.top.Compare(x.b, y.b), cmp.Compare(x.order, y.order)) })
	m.rows[b.Auction] = rows[:min(len(rows), m.top.N+m.top.Spare)]
	for i, r := range m.ranking(b.Auction) {
		switch {
		case i >= len(before):
			lines = append(lines, rankLine(b.Auction, i+1, r.b, operators.RankAdded))
		case before[i] != r || r == fresh: // a new version may look like the old one
			lines = append(lines, rankLine(b.Auction, i+1, r.b, operators.RankChanged))
		}
	}
	return lines
}

// TestTopNAgainstTheModel compares random histories with restores, and the rankings that a reader of the updates ends up with.
func TestTopNAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := operators.Top[bid]{N: rapid.IntRange(1, 4).Draw(t, "n"), Compare: highest}
		if rapid.Bool().Draw(t, "same") {
			top.Same = func(older, newer bid) bool { return older.Bidder == newer.Bidder }
			top.Spare = rapid.IntRange(0, 4).Draw(t, "spare")
		}
		m := &topModel{top: top, rows: map[string][]ranked{}}
		g := newGroup(t, operators.TopN(auction, nil, top, rankLine), auction, operatortest.Options{MaxParallelism: 8})
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "step") == 0 {
				g.restore(rapid.IntRange(1, 3).Draw(t, "parallelism"))
			}
			b := bid{rapid.SampledFrom([]string{"x", "y"}).Draw(t, "auction"), rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "bidder"), rapid.Int64Range(0, 9).Draw(t, "amount")}
			g.process(b, int64(i))
			var got []string
			for _, h := range g.subtasks {
				got = append(got, h.Records()...)
			}
			if want := m.add(b); !slices.Equal(got, want) {
				t.Fatalf("record %v: got %q, want %q", b, got, want)
			}
		}
	})
}

func TestTopNRefuses(t *testing.T) {
	bad := operators.Top[bid]{N: 0, Spare: -1}
	wantError(t, failureOf(t, operators.TopN[string, bid, string](auction, nil, bad, nil)), "Top.N is 0", "Top.Spare is -1", "Top.Compare is missing", "no update function")
	wantError(t, operators.Top[bid]{N: 1, Spare: 1, Compare: highest}.Validate(), "Top.Spare is 1 without Top.Same")
	if err := (operators.Top[bid]{N: 1, Compare: highest}).Validate(); err != nil {
		t.Error(err)
	}
}

// TestTopNForgets: with a time to live the ranking of a key begins anew.
func TestTopNForgets(t *testing.T) {
	stage := operators.TopN(auction, nil, operators.Top[bid]{N: 2, Compare: highest}, rankLine, state.EventTimeTTL(time.Second))
	h := operatortest.New(t, stage, operatortest.Options{}).KeyBy(auction, nil)
	h.Process(bid{"lamp", "ann", 10}, 0)
	h.Watermark(999)
	h.Process(bid{"lamp", "bob", 5}, 500)
	h.Watermark(1500)
	h.Process(bid{"lamp", "cid", 1}, 1500)
	want(t, "updates", h.Outputs(), "lamp #1 added ann 10@0, watermark 999, lamp #2 added bob 5@500, watermark 1500, lamp #1 added cid 1@1500")
}

// BenchmarkTopN is a record that takes one of ten ranks of its key, over 1000 keys; nearly every one changes some.
func BenchmarkTopN(b *testing.B) {
	top := operators.Top[benchRecord]{N: 10, Compare: func(a, b benchRecord) int { return cmp.Compare(b.N, a.N) }}
	stage := operators.TopN(func(r benchRecord) int64 { return r.Key % 1000 }, nil, top,
		func(_ int64, rank int, r benchRecord, _ operators.RankChange) benchRecord { return r })
	h := operatortest.New(b, stage, operatortest.Options{Discard: true}).KeyBy(func(r benchRecord) int64 { return r.Key % 1000 }, nil)
	for n := range int64(50_000) {
		h.Process(scattered(n), n)
	}
	b.ReportAllocs()
	for n := int64(50_000); b.Loop(); n++ {
		h.Process(scattered(n), n)
	}
}
