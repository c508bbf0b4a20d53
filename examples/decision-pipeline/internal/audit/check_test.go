package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

var t0 = time.UnixMilli(1_750_000_000_000).UTC()

// sound is the evidence of a run without a fault: d-1 of c-1 with two versions, d-2 of c-1, d-3 of c-2, and x-1 invalid.
func sound() Evidence {
	d1 := model.Decision{ID: "d-1", Customer: "c-1", Version: 2, Outcome: model.Rejected, Amount: 100, DecidedAt: t0}
	d1first := d1
	d1first.Version, d1first.Outcome, d1first.Amount = 1, model.Approved, 900
	d2 := model.Decision{ID: "d-2", Customer: "c-1", Version: 1, Outcome: model.Approved, Amount: 250, DecidedAt: t0.Add(24 * time.Hour)}
	d3 := model.Decision{ID: "d-3", Customer: "c-2", Version: 1, Outcome: model.Approved, Amount: 7, DecidedAt: t0}
	e := Evidence{
		Table:       []Stored{{ID: "d-1", Decision: d1}, {ID: "d-2", Decision: d2}, {ID: "d-3", Decision: d3}, {ID: "x-1", Fault: errors.New("no customer")}},
		Accepted:    map[string]int64{"d-1": 2, "d-2": 1, "d-3": 1},
		DeadLetters: []string{"x-1"},
		// By hand: d-1 lies exactly 24 h before d-2 and so outside the half-open day.
		Variables: map[string]model.Variable{
			"c-1": {Customer: "c-1", Version: 3, Count: 2, Rejected: 1, Sum: 350, LastID: "d-2", LastOutcome: model.Approved, LastDecidedAt: t0.Add(24 * time.Hour), DayCount: 1, DaySum: 250},
			"c-2": {Customer: "c-2", Version: 1, Count: 1, Sum: 7, LastID: "d-3", LastOutcome: model.Approved, LastDecidedAt: t0, DayCount: 1, DaySum: 7},
		},
	}
	for i, d := range []model.Decision{d1first, d2, d1, d3} {
		e.Topic = append(e.Topic, Record{Decision: d, Where: "0", Offset: int64(i)})
		e.Archive = append(e.Archive, Record{Decision: d, Where: "f", Order: -1, Offset: int64(3 - i)})
	}
	return e
}

func TestCheckSound(t *testing.T) {
	r := Check(sound())
	if !r.OK() {
		t.Fatalf("faults in a sound run: %+v", r.Discrepancies)
	}
	want := Result{Stored: 3, Versions: 4, Published: 3, Archived: 3, Invalid: 1, DeadLetter: 1, Variables: 2}
	if r.Discrepancies = nil; r.Stored != want.Stored || r.Versions != want.Versions || r.Published != want.Published || r.Archived != want.Archived ||
		r.Invalid != want.Invalid || r.DeadLetter != want.DeadLetter || r.Variables != want.Variables {
		t.Errorf("Check = %+v, want %+v", r, want)
	}
}

func TestCheckFindsPlantedFaults(t *testing.T) {
	type counts struct{ lost, duplicated, order, variables, unexpected int }
	cases := []struct {
		name  string
		plant func(*Evidence)
		want  counts
		id    string // in the discrepancy
	}{
		{"lost in the topic", func(e *Evidence) { e.Topic = e.Topic[1:] }, counts{lost: 1}, "d-1@1"},
		{"lost in the archive", func(e *Evidence) { e.Archive = e.Archive[:3] }, counts{lost: 1}, "d-3@1"},
		{"lost by the store", func(e *Evidence) { e.Accepted["d-4"] = 1 }, counts{lost: 1}, "d-4@1"},
		{"correction lost by the store", func(e *Evidence) { e.Accepted["d-3"] = 2 }, counts{lost: 1}, "d-3@2"},
		{"lost dead letter", func(e *Evidence) { e.DeadLetters = nil }, counts{lost: 1}, "x-1"},
		{"doubled in the topic", func(e *Evidence) { e.Topic = append(e.Topic, again(e.Topic[1], 9)) }, counts{duplicated: 1}, "d-2@1"},
		{"tripled in the archive", func(e *Evidence) { e.Archive = append(e.Archive, e.Archive[1], e.Archive[1]) }, counts{duplicated: 2}, "d-2@1"},
		{"doubled dead letter", func(e *Evidence) { e.DeadLetters = append(e.DeadLetters, "x-1") }, counts{duplicated: 1}, "x-1"},
		{"reordered", func(e *Evidence) { e.Topic[0].Offset, e.Topic[2].Offset = 2, 0 }, counts{order: 1}, "d-1"},
		{"versions in two partitions", func(e *Evidence) { e.Topic[2].Order = 1 }, counts{order: 1}, "d-1"},
		{"late repetition of an old version", func(e *Evidence) { e.Topic = append(e.Topic, again(e.Topic[0], 9)) }, counts{duplicated: 1}, "d-1@1"},
		{"wrong sum", func(e *Evidence) { change(e, "c-1", func(v *model.Variable) { v.Sum++ }) }, counts{variables: 1}, "c-1: sum is 3.51, want 3.50"},
		{"wrong day", func(e *Evidence) { change(e, "c-1", func(v *model.Variable) { v.DayCount, v.DaySum = 2, 350 }) }, counts{variables: 1}, "c-1"},
		{"wrong time", func(e *Evidence) {
			change(e, "c-2", func(v *model.Variable) { v.LastDecidedAt = v.LastDecidedAt.Add(time.Millisecond) })
		}, counts{variables: 1}, "c-2"},
		{"variable missing", func(e *Evidence) { delete(e.Variables, "c-2") }, counts{variables: 1}, "c-2"},
		{"variable of nobody", func(e *Evidence) { e.Variables["c-9"] = model.Variable{} }, counts{variables: 1}, "c-9"},
		{"dead letter also in the topic", func(e *Evidence) { e.Topic = append(e.Topic, invalidRecord()) }, counts{unexpected: 1}, "x-1"},
		{"dead letter also in the archive", func(e *Evidence) { e.Archive = append(e.Archive, invalidRecord()) }, counts{unexpected: 1}, "x-1"},
		{"valid one in the dead-letter topic", func(e *Evidence) { e.DeadLetters = append(e.DeadLetters, "d-1") }, counts{unexpected: 1}, "d-1"},
		{"stranger in the topic", func(e *Evidence) { e.Topic = append(e.Topic, Record{Decision: model.Decision{ID: "d-8", Version: 1}}) }, counts{unexpected: 1}, "d-8@1"},
		{"version from the future", func(e *Evidence) { r := e.Topic[3]; r.Decision.Version = 2; e.Topic = append(e.Topic, r) }, counts{unexpected: 1}, "d-3@2"},
		{"other amount in the topic", func(e *Evidence) { e.Topic[3].Decision.Amount++ }, counts{unexpected: 1}, "d-3@1"},
		{"other customer in the archive", func(e *Evidence) { e.Archive[0].Decision.Customer = "c-2" }, counts{unexpected: 1}, "d-1@1"},
		{"unreadable", func(e *Evidence) { e.Unreadable = append(e.Unreadable, "decisions-0@7: bad magic") }, counts{unexpected: 1}, "bad magic"},
	}
	for _, c := range cases {
		e := sound()
		c.plant(&e)
		r := Check(e)
		got := counts{r.Lost, r.Duplicated, r.OutOfOrder, r.VariablesWrong, r.Unexpected}
		if got != c.want || r.OK() {
			t.Errorf("%s: found %+v, want %+v; %+v", c.name, got, c.want, r.Discrepancies)
			continue
		}
		listed := false
		for _, d := range r.Discrepancies {
			listed = listed || strings.Contains(strings.Join(d.IDs, " "), c.id)
		}
		if !listed {
			t.Errorf("%s: %q is not named in %+v", c.name, c.id, r.Discrepancies)
		}
	}
}

func TestCheckListsTwentyIDs(t *testing.T) {
	e := sound()
	for i := range 30 {
		e.DeadLetters = append(e.DeadLetters, "y-"+string(rune('A'+i)))
	}
	r := Check(e)
	if len(r.Discrepancies) != 1 || r.Discrepancies[0].Count != 30 || len(r.Discrepancies[0].IDs) != 20 {
		t.Errorf("thirty faults are listed as %+v, want count 30 and 20 ids", r.Discrepancies)
	}
}

func again(r Record, offset int64) Record {
	r.Offset = offset
	return r
}

func invalidRecord() Record { return Record{Decision: model.Decision{ID: "x-1", Version: 1}} }

func change(e *Evidence, customer string, f func(*model.Variable)) {
	v := e.Variables[customer]
	f(&v)
	e.Variables[customer] = v
}
