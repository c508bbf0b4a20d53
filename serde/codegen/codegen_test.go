package codegen_test

import (
	"bytes"
	"os"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/serde/codegen"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// TestFixtureIsCurrent generates the code of the fixture again: it must be what is in the repository.
func TestFixtureIsCurrent(t *testing.T) {
	got, err := codegen.Source("fixture", reflect.TypeFor[fixture.Event](), reflect.TypeFor[fixture.Everything](), reflect.TypeFor[fixture.Tree](),
		reflect.TypeFor[fixture.Numbers](), reflect.TypeFor[fixture.Names](), reflect.TypeFor[fixture.Bag](), reflect.TypeFor[fixture.Bags](),
		reflect.TypeFor[fixture.Rank](), reflect.TypeFor[fixture.Token](), reflect.TypeFor[fixture.Choice](), reflect.TypeFor[fixture.Embeds](),
		reflect.TypeFor[fixture.Empty](), reflect.TypeFor[fixture.Limits]())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../internal/fixture/fixture_millrace.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the generator writes other code than serde/internal/fixture/fixture_millrace.go has; run go generate ./serde/internal/fixture and look at the difference")
	}
}
