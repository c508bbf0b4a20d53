package codegen_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/codegen"
	"github.com/millrace-io/millrace/serde/internal/fixture"
	"github.com/millrace-io/millrace/serde/internal/fixture/other"
)

type (
	generic[T any] struct{ V T }
	instance       generic[int]
	loop[T any]    struct {
		V    T
		Next *loop[T]
	}
	holdsLoop  struct{ Inner loop[string] }
	holdsOther struct{ Tree []fixture.Tree }
	hidden     struct {
		other.Address
		Lat float64 `avro:"mine"`
	}
	pointer *int
	word    string
	broken  struct{ C chan int }
)

// TestRefused: what cannot be generated is refused with type, field and what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		typ          reflect.Type
		path, reason string
	}{
		{reflect.TypeFor[generic[int]](), "", "it is generic"},
		{reflect.TypeFor[holdsLoop](), "Inner.Next", "is recursive"},
		{reflect.TypeFor[holdsOther](), "Tree.Next", "is recursive"},
		{reflect.TypeFor[hidden](), "Address.located.Lat", "a field of the same name hides it"},
		{reflect.TypeFor[pointer](), "", "have no methods"},
		{reflect.TypeFor[word](), "", "written by hand in package serde"},
		{reflect.TypeFor[broken](), "C", "holds no data"},
		{reflect.TypeFor[[]int](), "", "not declared in package"},
	} {
		_, err := codegen.Source("codegen_test", c.typ)
		var e *serde.TypeError
		if !errors.As(err, &e) || e.Type != c.typ || e.Path != c.path || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("%v: %v, want field %q: %s", c.typ, err, c.path, c.reason)
		}
	}
	if _, err := codegen.Source("x", reflect.TypeFor[instance](), reflect.TypeFor[instance]()); err == nil || !strings.Contains(err.Error(), "listed twice") {
		t.Errorf("a type listed twice: %v", err)
	}
	if _, err := codegen.Source("x", reflect.TypeFor[instance](), reflect.TypeFor[fixture.Event]()); err == nil || !strings.Contains(err.Error(), "not declared") {
		t.Errorf("types of two packages: %v", err)
	}
	if _, err := codegen.Source("x"); err == nil {
		t.Error("no types are accepted")
	}
	src, err := codegen.Source("x", reflect.TypeFor[instance]())
	if err != nil || !strings.HasPrefix(string(src), codegen.Header+"\n\npackage x\n") {
		t.Errorf("%v\n%s", err, src)
	}
}
