package pipeline

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// plainWindow is a window in a map.
type plainWindow map[string]entry

func (w plainWindow) Get(id string) (entry, bool, error) { e, ok := w[id]; return e, ok, nil }
func (w plainWindow) Put(id string, e entry) error       { w[id] = e; return nil }
func (w plainWindow) Remove(id string) error             { delete(w, id); return nil }
func (w plainWindow) Range(fn func(string, entry) error) error {
	for id, e := range w {
		if err := fn(id, e); err != nil {
			return err
		}
	}
	return nil
}

// TestFoldDoesNotDependOnOrder applies the versions of random decisions in a random order that keeps only the versions of one decision in
// theirs, and compares with the audit's fold of the newest versions.
func TestFoldDoesNotDependOnOrder(t *testing.T) {
	base := time.UnixMilli(1_750_000_000_000).UTC()
	rapid.Check(t, func(t *rapid.T) {
		var pending [][]decided // by decision, the versions still to come
		var newest []model.Decision
		for i := range rapid.IntRange(1, 12).Draw(t, "decisions") {
			id := fmt.Sprintf("d-%02d", i)
			at := base.Add(time.Duration(rapid.IntRange(-30, 30).Draw(t, "hours")) * time.Hour)
			var all []decided
			for v := range rapid.IntRange(1, 3).Draw(t, "versions") {
				d := decided{ID: id, Customer: "c", Version: int64(v + 1), DecidedAt: at, Amount: model.Money(rapid.IntRange(0, 1000).Draw(t, "amount")),
					Outcome: rapid.SampledFrom([]model.Outcome{model.Approved, model.Rejected}).Draw(t, "outcome")}
				if v > 0 {
					d.Replaces, d.OldOutcome, d.OldAmount = true, all[v-1].Outcome, all[v-1].Amount
				}
				all = append(all, d)
			}
			last := all[len(all)-1]
			newest = append(newest, model.Decision{ID: id, Customer: "c", Version: last.Version, Outcome: last.Outcome, Amount: last.Amount, DecidedAt: at})
			pending = append(pending, all)
		}
		var got totals
		w := plainWindow{}
		for len(pending) > 0 {
			i := rapid.IntRange(0, len(pending)-1).Draw(t, "next")
			if err := got.apply(w, pending[i][0]); err != nil {
				t.Fatal(err)
			}
			if pending[i] = pending[i][1:]; len(pending[i]) == 0 {
				pending = append(pending[:i], pending[i+1:]...)
			}
		}
		want, err := audit.Fold("c", newest)
		if err != nil {
			t.Fatal(err)
		}
		if got.variable("c") != want {
			t.Fatalf("folded %+v\nwant   %+v", got.variable("c"), want)
		}
		if int64(len(w)) != got.DayCount {
			t.Fatalf("the window holds %d entries, counted %d", len(w), got.DayCount)
		}
	})
}

func TestSumBeyond64BitsIsAnError(t *testing.T) {
	got := totals{Sum: 1<<63 - 10}
	if err := got.apply(plainWindow{}, decided{ID: "d", Amount: 10}); err == nil {
		t.Errorf("the sum is %v, want an error", got.Sum)
	}
}
