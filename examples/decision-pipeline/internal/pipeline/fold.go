// Package pipeline is the dataflow of the example: from the stream of the decisions table to Kafka, archive and variables.
package pipeline

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/operators"
)

// decided is one version of a decision as it comes from the table's stream, with what it replaces.
type decided struct {
	ID        string        `avro:"id"`
	Customer  string        `avro:"customer"`
	Version   int64         `avro:"version"`
	Outcome   model.Outcome `avro:"outcome"`
	Amount    model.Money   `avro:"amount"`
	DecidedAt time.Time     `avro:"decided_at"`
	Product   string        `avro:"product"`
	Reason    string        `avro:"reason"`
	// Replaces says that an earlier version was counted before; OldOutcome and OldAmount are its content.
	Replaces   bool          `avro:"replaces"`
	OldOutcome model.Outcome `avro:"old_outcome"`
	OldAmount  model.Money   `avro:"old_amount"`
}

// totals is the folded state of one customer, all but the entries of the rolling window.
type totals struct {
	Version  int64         `avro:"version"`
	Count    int64         `avro:"count"`
	Rejected int64         `avro:"rejected"`
	Sum      model.Money   `avro:"sum"`
	LastID   string        `avro:"last_id"`
	Last     model.Outcome `avro:"last"`
	LastMS   int64         `avro:"last_ms"` // decided_at of the last decision, Unix ms
	DayCount int64         `avro:"day_count"`
	DaySum   model.Money   `avro:"day_sum"`
	// OldestMS is at most the smallest decided_at in the window: nothing needs to be looked for before the window has moved past it.
	OldestMS int64 `avro:"oldest_ms"`
}

// entry is one decision within the rolling window.
type entry struct {
	AtMS   int64       `avro:"at_ms"`
	Amount model.Money `avro:"amount"`
}

// window is the map state that holds the entries, by id.
type window interface {
	Get(id string) (entry, bool, error)
	Put(id string, e entry) error
	Remove(id string) error
	Range(fn func(id string, e entry) error) error
}

// apply folds d into t and w.
//
// The result depends on the set of versions applied only, not on their order, as long as the versions of one decision come in order: sums are
// taken back by what the stream says was there before, the last decision is a maximum, and the window holds the decisions of a half-open day
// that ends at the last. A replay that interleaves customers' decisions otherwise therefore ends in the same state.
func (t *totals) apply(w window, d decided) error {
	atMS := d.DecidedAt.UnixMilli()
	delta := d.Amount
	t.Version++
	if d.Replaces {
		delta -= d.OldAmount // both lie in [0, MoneyMax × 1000), so the difference fits
		if d.OldOutcome == model.Rejected {
			t.Rejected--
		}
	} else {
		t.Count++
	}
	if d.Outcome == model.Rejected {
		t.Rejected++
	}
	var err error
	if t.Sum, err = t.Sum.Add(delta); err != nil {
		return operators.BadRecord(fmt.Errorf("sum of customer %q: %w", d.Customer, err))
	}
	if d.ID == t.LastID {
		t.Last = d.Outcome
	} else if t.LastID == "" || atMS > t.LastMS || atMS == t.LastMS && d.ID > t.LastID {
		t.LastID, t.Last, t.LastMS = d.ID, d.Outcome, atMS
	}
	return t.slide(w, d.ID, entry{atMS, d.Amount})
}

// slide puts e into the window, if it belongs there, and takes out what the window has moved past.
func (t *totals) slide(w window, id string, e entry) error {
	startMS := t.LastMS - model.RollingWindow.Milliseconds() // exclusive
	if e.AtMS > startMS {
		old, ok, err := w.Get(id)
		if err != nil {
			return err
		}
		if !ok {
			if t.DayCount == 0 || e.AtMS < t.OldestMS {
				t.OldestMS = e.AtMS
			}
			t.DayCount++
		}
		t.DaySum += e.Amount - old.Amount // at most Sum, which was checked
		if err := w.Put(id, e); err != nil {
			return err
		}
	}
	if t.DayCount == 0 || t.OldestMS > startMS {
		return nil
	}
	t.OldestMS = t.LastMS
	return w.Range(func(id string, e entry) error {
		if e.AtMS > startMS {
			t.OldestMS = min(t.OldestMS, e.AtMS)
			return nil
		}
		t.DayCount--
		t.DaySum -= e.Amount
		return w.Remove(id)
	})
}

// variable is t as it is stored for the customer.
func (t *totals) variable(customer string) model.Variable {
	return model.Variable{
		Customer: customer, Version: t.Version, Count: t.Count, Rejected: t.Rejected, Sum: t.Sum,
		LastID: t.LastID, LastOutcome: t.Last, LastDecidedAt: time.UnixMilli(t.LastMS).UTC(), DayCount: t.DayCount, DaySum: t.DaySum,
	}
}
