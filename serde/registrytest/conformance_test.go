package registrytest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/registrytest"
)

// registries runs f on the server of this package and, when SCHEMA_REGISTRY_URL is set, on that registry too.
func registries(t *testing.T, f func(t *testing.T, url, prefix string)) {
	t.Run("registrytest", func(t *testing.T) {
		s, err := registrytest.Start(registrytest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		f(t, s.URL(), "")
	})
	t.Run("real", func(t *testing.T) {
		url := os.Getenv("SCHEMA_REGISTRY_URL")
		if url == "" {
			t.Skip("SCHEMA_REGISTRY_URL is not set: no real registry to compare with")
		}
		f(t, url, fmt.Sprintf("test-%d-", time.Now().UnixNano()))
	})
}

func client(t *testing.T, url string) *serde.RegistryClient {
	t.Helper()
	c, err := serde.NewRegistry(serde.RegistryOptions{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// schemaIn is a record whose name is unique to a subject, so that a registry that others use gives it an id of its own.
func schemaIn(subject, fields string) string {
	name := strings.NewReplacer("-", "_", "/", "_", " ", "_").Replace(subject)
	return `{"type":"record","name":"` + name + `","fields":[` + fields + `]}`
}

const (
	fieldA    = `{"name":"a","type":"int"}`
	fieldB    = `{"name":"b","type":"string"}`
	fieldBDef = `{"name":"b","type":"string","default":"x"}`
)

func setMode(t *testing.T, url, subject string, level sr.CompatibilityLevel) {
	t.Helper()
	cl, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		t.Fatal(err)
	}
	if res := cl.SetCompatibility(t.Context(), sr.SetCompatibility{Level: level}, subject); res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
}

func TestConformance(t *testing.T) {
	registries(t, func(t *testing.T, url, prefix string) {
		ctx := t.Context()
		subject := prefix + "orders-value"
		v1, v2 := schemaIn(subject, fieldA), schemaIn(subject, fieldA+","+fieldBDef)
		bad := schemaIn(subject, fieldA+","+fieldB)
		c := client(t, url)

		if _, err := c.IDOf(ctx, subject, v1); !errors.Is(err, serde.ErrUnknownSchema) {
			t.Fatalf("IDOf in a subject that does not exist: %v", err)
		}
		if got, err := c.Versions(ctx, subject); err != nil || got != nil {
			t.Fatalf("Versions of a subject that does not exist: %v, %v", got, err)
		}
		if _, err := c.SchemaByID(ctx, 2_000_000_000); !errors.Is(err, serde.ErrUnknownSchema) {
			t.Fatalf("SchemaByID of no id: %v", err)
		}
		setMode(t, url, subject, sr.CompatBackward)
		id1, err := c.Register(ctx, subject, v1)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := client(t, url).Register(ctx, subject, v1); err != nil || again != id1 {
			t.Errorf("registered again: id %d, %v, want %d", again, err, id1)
		}
		if got, err := client(t, url).IDOf(ctx, subject, v1); err != nil || got != id1 {
			t.Errorf("IDOf = %d, %v, want %d", got, err, id1)
		}
		if got, err := client(t, url).SchemaByID(ctx, id1); err != nil || serde.Check(got, v1) != nil || serde.Check(v1, got) != nil {
			t.Errorf("SchemaByID = %s, %v, want %s", got, err, v1)
		}
		if mode, err := c.Compatibility(ctx, subject); err != nil || mode != serde.Backward {
			t.Errorf("Compatibility = %v, %v, want BACKWARD", mode, err)
		}
		if _, err := c.Register(ctx, subject, bad); err == nil || errors.Is(err, serde.ErrUnknownSchema) || errors.Is(err, serde.ErrUnavailable) {
			t.Errorf("incompatible schema: %v, want a refusal", err)
		}
		id2, err := c.Register(ctx, subject, v2)
		if err != nil || id2 == id1 {
			t.Fatalf("version 2: id %d, %v", id2, err)
		}
		got, err := client(t, url).Versions(ctx, subject)
		if err != nil || len(got) != 2 || got[0].ID != id1 || got[1].ID != id2 || got[0].Number != 1 || got[1].Number != 2 {
			t.Errorf("Versions = %+v, %v", got, err)
		}
		if id, err := c.Register(ctx, prefix+"copy of/orders", v1); err != nil || id != id1 {
			t.Errorf("the same schema in another subject, whose name needs escapes: id %d, %v, want %d", id, err, id1)
		}
		if _, err := c.Register(ctx, subject, `{"type":"record"}`); err == nil || errors.Is(err, serde.ErrUnavailable) {
			t.Errorf("schema that is none: %v, want a refusal", err)
		}
	})
}

type orderV1 struct {
	_ struct{} `avro:"Order"`
	A int32    `avro:"a"`
}

type orderV2 struct {
	_ struct{} `avro:"Order"`
	A int64    `avro:"a"`
	B string   `avro:"b,default=x"`
}

type orderBad struct {
	_ struct{} `avro:"Order"`
	A string   `avro:"a"`
	C string   `avro:"c"`
}

func TestConfluentEndToEnd(t *testing.T) {
	registries(t, func(t *testing.T, url, prefix string) {
		subject := prefix + "orders-value"
		setMode(t, url, subject, sr.CompatBackward)
		old, err := serde.Confluent[orderV1](client(t, url), subject, serde.ConfluentOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Prepare(t.Context()); !errors.Is(err, serde.ErrUnknownSchema) || !strings.Contains(err.Error(), "AutoRegister") {
			t.Errorf("not registered and AutoRegister off: %v", err)
		}
		auto := serde.ConfluentOptions{AutoRegister: true}
		if old, err = serde.Confluent[orderV1](client(t, url), subject, auto); err != nil {
			t.Fatal(err)
		}
		data, err := old.Append([]byte("x"), orderV1{A: 21})
		if err != nil || data[1] != 0 || data[6] != 42 || len(data) != 7 { // the int 21 is the zig-zag byte 42
			t.Fatalf("Append = %x, %v", data, err)
		}
		next, err := serde.Confluent[orderV2](client(t, url), subject, auto)
		if err != nil {
			t.Fatal(err)
		}
		var v orderV2
		if err := next.Decode(data[1:], &v); err != nil || v != (orderV2{A: 21, B: "x"}) {
			t.Errorf("old data in the new type: %+v, %v", v, err)
		}
		if data, err = next.Append(nil, orderV2{A: 1, B: "y"}); err != nil {
			t.Fatal(err)
		}
		v = orderV2{}
		if err := next.Decode(data, &v); err != nil || v != (orderV2{A: 1, B: "y"}) {
			t.Errorf("new data: %+v, %v", v, err)
		}
		bad, err := serde.Confluent[orderBad](client(t, url), subject, auto)
		if err != nil {
			t.Fatal(err)
		}
		err = bad.Prepare(t.Context())
		var inc *serde.IncompatibleError
		if !errors.As(err, &inc) || !strings.Contains(err.Error(), "version 2: field a: writer has long, reader string (type)") ||
			!strings.Contains(err.Error(), "version 2: field c: no default and missing in the writer (missing field)") {
			t.Errorf("incompatible: %v", err)
		}
		if n, err := client(t, url).Versions(t.Context(), subject); err != nil || len(n) != 2 {
			t.Errorf("%d versions, %v, want 2: the incompatible schema must not be registered", len(n), err)
		}
		var b orderBad
		var field serde.Incompatibility
		if err := bad.Decode(data, &b); !errors.As(err, &field) || field.Path == "" {
			t.Errorf("data that does not resolve: %v", err)
		}
	})
}

func TestCancelledContext(t *testing.T) {
	registries(t, func(t *testing.T, url, _ string) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client(t, url).SchemaByID(ctx, 1); !errors.Is(err, serde.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}
