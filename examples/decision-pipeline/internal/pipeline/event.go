package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/dynamodbstreams"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/serde"
)

// Event is the record of the decisions topic and of the archive: one version of a decision, with what was known of the customer once it
// was counted. Its Avro schema is the schema of the subject; the first six fields are fixed for good.
type Event struct {
	_          struct{}      `avro:"io.millrace.examples.decisions.Decision"`
	ID         string        `avro:"id"`
	Customer   string        `avro:"customer"`
	Version    int64         `avro:"version"`
	Outcome    model.Outcome `avro:"outcome"`
	Amount     serde.Decimal `avro:"amount,precision=18,scale=2"`
	DecidedAt  time.Time     `avro:"decided_at"`
	Product    string        `avro:"product"`
	Reason     string        `avro:"reason"`
	Segment    string        `avro:"segment"` // of the customer's profile
	Country    string        `avro:"country"`
	Enrichment Enrichment    `avro:"enrichment"`
}

// Enrichment is the customer's variable after the decision.
type Enrichment struct {
	Version     int64         `avro:"version"`
	Count       int64         `avro:"count"`
	Rejected    int64         `avro:"rejected"`
	Sum         serde.Decimal `avro:"sum,precision=18,scale=2"`
	LastOutcome model.Outcome `avro:"last_outcome"`
	DayCount    int64         `avro:"day_count"`
	DaySum      serde.Decimal `avro:"day_sum,precision=18,scale=2"`
}

// conform makes a record of a change of the decisions table, or says why it does not conform to the event schema: the change is then a
// dead letter.
func conform(c dynamodbstreams.Change) (decided, error) {
	if c.Op == dynamodbstreams.Remove {
		return decided{}, errors.New("the item was removed; a decision is corrected, never removed")
	}
	d, err := model.DecisionOfItem(model.ItemOfStream(c.New))
	if err != nil {
		return decided{}, fmt.Errorf("does not conform to the event schema: %w", err)
	}
	out := decided{ID: d.ID, Customer: d.Customer, Version: d.Version, Outcome: d.Outcome, Amount: d.Amount, DecidedAt: d.DecidedAt,
		Product: d.Product, Reason: d.Reason}
	if c.Op == dynamodbstreams.Insert {
		return out, nil
	}
	old, err := model.DecisionOfItem(model.ItemOfStream(c.Old))
	switch {
	case err != nil:
		// What was there before is a dead letter and was never counted.
		return out, nil
	case old.Customer != d.Customer || !old.DecidedAt.Equal(d.DecidedAt):
		return decided{}, fmt.Errorf("moves the decision from customer %q at %v to customer %q at %v; a correction keeps both", old.Customer, old.DecidedAt, d.Customer, d.DecidedAt)
	case old.Version >= d.Version:
		return decided{}, fmt.Errorf("replaces version %d by version %d; versions ascend", old.Version, d.Version)
	}
	out.Replaces, out.OldOutcome, out.OldAmount = true, old.Outcome, old.Amount
	return out, nil
}

// event is the output for d once t counts it.
func event(d decided, v model.Variable, p model.Profile) (Event, error) {
	e := Event{ID: d.ID, Customer: d.Customer, Version: d.Version, Outcome: d.Outcome, DecidedAt: d.DecidedAt, Product: d.Product, Reason: d.Reason,
		Segment: p.Segment, Country: p.Country,
		Enrichment: Enrichment{Version: v.Version, Count: v.Count, Rejected: v.Rejected, LastOutcome: v.LastOutcome, DayCount: v.DayCount}}
	for dst, m := range map[*serde.Decimal]model.Money{&e.Amount: d.Amount, &e.Enrichment.Sum: v.Sum, &e.Enrichment.DaySum: v.DaySum} {
		x, err := serde.NewDecimal(int64(m), model.MoneyScale)
		if err != nil {
			return e, fmt.Errorf("customer %q: %w", d.Customer, err)
		}
		*dst = x
	}
	return e, nil
}

// deadLetter is the JSON value of a record of the dead-letter topic.
type deadLetter struct {
	Reason string                 `json:"reason"`
	Step   string                 `json:"step"`
	Source connectors.Coordinates `json:"source"`
	// Time is when the change was made, as far as known.
	Time *time.Time `json:"time,omitempty"`
	// Raw are the bytes as they came, base64: of a change of the table, the stream's record in DynamoDB JSON.
	Raw []byte `json:"raw"`
}

func deadLetterValue(dst []byte, d connectors.DeadLetter) ([]byte, error) {
	v := deadLetter{Reason: d.Reason, Step: d.UID, Source: d.At, Raw: d.Raw}
	if d.TimestampMS != connectors.NoTimestamp {
		at := time.UnixMilli(d.TimestampMS).UTC()
		v.Time = &at
	}
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// deadLetterKey is the id of the item that a change belongs to; other dead letters keep the key they have.
func deadLetterKey(dst []byte, d connectors.DeadLetter) ([]byte, error) {
	var key struct {
		ID struct{ S string } `json:"id"`
	}
	if json.Unmarshal(d.Key, &key) == nil && key.ID.S != "" {
		return append(dst, key.ID.S...), nil
	}
	return append(dst, d.Key...), nil
}

// Schema is the Avro schema of Event.
func Schema() (string, error) { return serde.SchemaOf[Event]() }
