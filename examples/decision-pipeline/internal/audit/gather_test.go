package audit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/services"
)

const schema = `{"type":"record","name":"Decision","fields":[
	{"name":"id","type":"string"},{"name":"customer","type":"string"},{"name":"version","type":"long"},
	{"name":"outcome","type":{"type":"enum","name":"Outcome","symbols":["APPROVED","REJECTED"]}},
	{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":2}},
	{"name":"decided_at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"more","type":"string"}]}`

// world is a set of embedded services with two sound decisions in all places: d-1 with two versions, and d-2.
type world struct {
	t       *testing.T
	e       services.Endpoints
	id      int // of the schema
	schema  avro.Schema
	archive string
}

type row struct {
	ID        string    `avro:"id"`
	Customer  string    `avro:"customer"`
	Version   int64     `avro:"version"`
	Outcome   string    `avro:"outcome"`
	Amount    *big.Rat  `avro:"amount"`
	DecidedAt time.Time `avro:"decided_at"`
	More      string    `avro:"more"`
}

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func rowOf(id string, version int64) row {
	return row{ID: id, Customer: "c-1", Version: version, Outcome: "APPROVED", Amount: big.NewRat(5, 2), DecidedAt: at, More: "x"}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, archive: t.TempDir()}
	w.e = services.Endpoints{Archive: "file://" + w.archive}
	stop, err := w.e.Embed(2)
	t.Cleanup(stop)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := w.e.Setup(t.Context(), schema)
	if err != nil {
		t.Fatal(err)
	}
	w.id, w.schema = ready.SchemaID, avro.MustParse(schema)
	for _, d := range []model.Decision{{ID: "d-1", Version: 2}, {ID: "d-2", Version: 1}} {
		d.Customer, d.Outcome, d.Amount, d.DecidedAt = "c-1", model.Approved, 250, at
		w.put(model.DecisionsTable, d)
	}
	w.produce("", w.value(rowOf("d-1", 1)), w.value(rowOf("d-2", 1)), w.value(rowOf("d-1", 2)))
	w.file("part-1.avro", rowOf("d-1", 1), rowOf("d-2", 1), rowOf("d-1", 2))
	v := model.Variable{Customer: "c-1", Version: 3, Count: 2, Sum: 500, LastID: "d-2", LastOutcome: model.Approved, LastDecidedAt: at, DayCount: 2, DaySum: 500}
	if _, err := w.e.Tables().PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(model.VariablesTable), Item: v.Item()}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) put(table string, d model.Decision) {
	w.t.Helper()
	if _, err := w.e.Tables().PutItem(w.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: d.Item()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) value(r row) []byte {
	w.t.Helper()
	b, err := avro.Marshal(w.schema, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(w.id)), b...)
}

// produce writes values to partition 0, in a transaction that is aborted when abort names its id.
func (w *world) produce(abort string, values ...[]byte) {
	w.t.Helper()
	opts := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}
	if abort != "" {
		opts = append(opts, kgo.TransactionalID(abort))
	}
	cl, err := w.e.Kafka(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if abort != "" {
		if err := cl.BeginTransaction(); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, v := range values {
		if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: model.DecisionsTopic, Value: v}).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
	}
	if abort != "" {
		if err := cl.EndTransaction(w.t.Context(), kgo.TryAbort); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) deadLetter(key, value string) {
	w.t.Helper()
	cl, err := w.e.Kafka()
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: model.DeadLetterTopic, Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) file(name string, rows ...row) {
	w.t.Helper()
	var b bytes.Buffer
	enc, err := ocf.NewEncoder(schema, &b)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.archive, "dt=2026-01-02", "hh=03", name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) check() audit.Result {
	w.t.Helper()
	registry, err := w.e.Subjects()
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	e, err := audit.Sources{DynamoDB: w.e.Tables(), Kafka: w.e.Kafka, Registry: registry, Archive: w.e.Archive}.Gather(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return audit.Check(e)
}

func TestGatherFindsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.produce("t-1", w.value(rowOf("d-1", 1))) // aborted: nobody who reads committed sees it
	if r := w.check(); !r.OK() || r.Versions != 3 || r.Published != 2 || r.Archived != 2 || r.Variables != 1 {
		t.Fatalf("a sound world: %+v", r)
	}
	// Files beside the visible layout are the writer's own.
	if err := os.Rename(filepath.Join(w.archive, "dt=2026-01-02", "hh=03", "part-1.avro"), filepath.Join(w.archive, "part-1.avro")); err != nil {
		t.Fatal(err)
	}
	if r := w.check(); r.Lost != 3 || r.Archived != 0 {
		t.Errorf("an archive that was moved away: %+v", r)
	}
}

func TestGatherFindsPlantedFaults(t *testing.T) {
	w := newWorld(t)
	w.produce("", w.value(rowOf("d-2", 1)), []byte("no Avro"), w.value(rowOf("d-9", 1)))
	w.file("part-2.avro", rowOf("d-1", 1))
	elsewhere := rowOf("d-2", 1)
	elsewhere.DecidedAt = at.Add(time.Hour)
	w.file("part-3.avro", elsewhere)
	invalid := model.Decision{ID: "x-1", Customer: "c-1", Version: 1, Outcome: "MAYBE", Amount: 1, DecidedAt: at}
	w.put(model.DecisionsTable, invalid)
	w.deadLetter("x-1", `{"reason":"r","source":{},"raw":"AA=="}`)
	w.deadLetter("x-1", `{"reason":"r","source":{},"raw":"AA=="}`)
	w.deadLetter("x-1", `{"reason":"r","source":{}}`)
	r := w.check()
	// Duplicated: d-2 in the topic, d-1@1 in the archive, x-1 as a dead letter. Unexpected: no Avro, d-9, the row in the wrong hour, the dead
	// letter that cannot be replayed.
	if r.Duplicated != 3 || r.Unexpected != 4 || r.Lost != 0 || r.DeadLetter != 1 || r.Invalid != 1 {
		t.Errorf("planted faults give %+v", r)
	}
}

func TestOpenTransactionIsAnError(t *testing.T) {
	w := newWorld(t)
	cl, err := w.e.Kafka(kgo.TransactionalID("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: model.DecisionsTopic, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	registry, err := w.e.Subjects()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (audit.Sources{DynamoDB: w.e.Tables(), Kafka: w.e.Kafka, Registry: registry, Archive: w.e.Archive}).Gather(t.Context()); err == nil {
		t.Error("a topic with an open transaction was audited")
	}
}
