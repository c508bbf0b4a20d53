package services

import (
	"testing"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
)

func TestSetupIsIdempotent(t *testing.T) {
	e := Endpoints{Archive: "file://" + t.TempDir()}
	stop, err := e.Embed(2)
	defer stop()
	if err != nil {
		t.Fatal(err)
	}
	const schema = `{"type":"record","name":"D","fields":[{"name":"id","type":"string"}]}`
	first, err := e.Setup(t.Context(), schema)
	if err != nil {
		t.Fatal(err)
	}
	if first.StreamARN == "" || first.SchemaID == 0 || first.Used {
		t.Errorf("first set-up found %+v", first)
	}
	again, err := e.Setup(t.Context(), schema)
	if err != nil || again != first {
		t.Errorf("second set-up = %+v, %v, want %+v", again, err, first)
	}
	if _, err := store.New(e.Tables()).Create(t.Context(), model.Decision{ID: "d", Customer: "c", Outcome: model.Approved}); err != nil {
		t.Fatal(err)
	}
	if used, err := e.Setup(t.Context(), schema); err != nil || !used.UsedTables || !used.Used {
		t.Errorf("set-up on used tables = %+v, %v", used, err)
	}
}
