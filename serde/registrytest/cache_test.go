package registrytest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/registrytest"
)

func start(t *testing.T) *registrytest.Server {
	t.Helper()
	s, err := registrytest.Start(registrytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestKnownIDsWorkWhileTheRegistryIsDown(t *testing.T) {
	s := start(t)
	writer, err := serde.Confluent[orderV1](client(t, s.URL()), "s", serde.ConfluentOptions{AutoRegister: true})
	if err != nil {
		t.Fatal(err)
	}
	data, err := writer.Append(nil, orderV1{A: 1})
	if err != nil {
		t.Fatal(err)
	}
	reg := client(t, s.URL())
	if _, err := reg.SchemaByID(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.SetDown(true)
	before := s.Requests()
	if _, err := writer.Append(nil, orderV1{A: 2}); err != nil {
		t.Errorf("Append while down: %v", err)
	}
	reader, err := serde.Confluent[orderV2](reg, "s", serde.ConfluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var v orderV2
	if err := reader.Decode(data, &v); err != nil || v.A != 1 {
		t.Errorf("Decode of a known id while down: %+v, %v", v, err)
	}
	if n := s.Requests() - before; n != 0 {
		t.Errorf("%d requests about known ids", n)
	}
	data[4] = 9
	if err := reader.Decode(data, new(orderV2)); !errors.Is(err, serde.ErrUnavailable) || errors.Is(err, serde.ErrUnknownSchema) {
		t.Errorf("unknown id while down: %v, want ErrUnavailable", err)
	}
	s.SetDown(false)
	if err := reader.Decode(data, new(orderV2)); !errors.Is(err, serde.ErrUnknownSchema) || errors.Is(err, serde.ErrUnavailable) {
		t.Errorf("unknown id: %v, want ErrUnknownSchema", err)
	}
}

func TestNegativeAnswersEnd(t *testing.T) {
	s := start(t)
	var now time.Time
	reg, err := serde.NewRegistry(serde.RegistryOptions{URLs: []string{s.URL()}, NegativeTTL: 3 * time.Second, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want error, requests int) {
		t.Helper()
		before := s.Requests()
		if _, err := reg.SchemaByID(t.Context(), 1); !errors.Is(err, want) {
			t.Errorf("at %v: %v, want %v", now, err, want)
		}
		if n := s.Requests() - before; n != requests {
			t.Errorf("at %v: %d requests, want %d", now, n, requests)
		}
	}
	ask(serde.ErrUnknownSchema, 1)
	now = now.Add(3*time.Second - 1)
	ask(serde.ErrUnknownSchema, 0)
	if _, err := client(t, s.URL()).Register(t.Context(), "s", `"int"`); err != nil {
		t.Fatal(err)
	}
	now = now.Add(1)
	ask(nil, 1)
	now = now.Add(1000 * time.Hour)
	ask(nil, 0)
}

func TestConcurrentDecodesAskOnce(t *testing.T) {
	s := start(t)
	writer, err := serde.Confluent[orderV1](client(t, s.URL()), "s", serde.ConfluentOptions{AutoRegister: true})
	if err != nil {
		t.Fatal(err)
	}
	data, err := writer.Append(nil, orderV1{A: 1})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := serde.Confluent[orderV2](client(t, s.URL()), "s", serde.ConfluentOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Requests()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				var v orderV2
				if err := reader.Decode(data, &v); err != nil || v.A != 1 {
					t.Errorf("%+v, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
	// A question that begins just after the first answer has come asks again; all others share or find it.
	if n := s.Requests() - before; n < 1 || n > 16 {
		t.Errorf("%d requests for one id", n)
	}
}

// TestReferences uses answers in the form that Confluent documents for schemas with references.
func TestReferences(t *testing.T) {
	answers := map[string]string{
		"/schemas/ids/7": `{"schema":"{\"type\":\"record\",\"name\":\"a.Order\",\"fields\":[{\"name\":\"who\",\"type\":\"a.Customer\"}]}",` +
			`"references":[{"name":"a.Customer","subject":"customer","version":3}]}`,
		"/subjects/customer/versions/3": `{"subject":"customer","version":3,"id":5,` +
			`"schema":"{\"type\":\"record\",\"name\":\"a.Customer\",\"fields\":[{\"name\":\"id\",\"type\":\"string\"}]}"}`,
		"/schemas/ids/8": `{"schemaType":"PROTOBUF","schema":"syntax"}`,
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := w.Write([]byte(answers[r.URL.Path])); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	got, err := client(t, srv.URL).SchemaByID(t.Context(), 7)
	want := `{"name":"a.Order","type":"record","fields":[{"name":"who","type":{"name":"a.Customer","type":"record","fields":[{"name":"id","type":"string"}]}}]}`
	if err != nil || got != want {
		t.Errorf("SchemaByID = %s, %v, want %s", got, err, want)
	}
	if _, err := client(t, srv.URL).SchemaByID(t.Context(), 8); err == nil || !strings.Contains(err.Error(), "PROTOBUF, want AVRO") {
		t.Errorf("protobuf: %v", err)
	}
}

func TestWrongAddress(t *testing.T) {
	s := start(t)
	if _, err := client(t, s.URL()+"/wrong").SchemaByID(t.Context(), 1); err == nil || errors.Is(err, serde.ErrUnknownSchema) {
		t.Errorf("wrong path: %v, want no ErrUnknownSchema", err)
	}
	_, err := serde.NewRegistry(serde.RegistryOptions{URLs: []string{"nonsense"}, Timeout: -1, NegativeTTL: time.Hour})
	for _, part := range []string{`"nonsense"`, "Timeout is -1ns", "NegativeTTL is 1h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("options: %v, want %q in it", err, part)
		}
	}
	if _, err := serde.Confluent[int](nil, "", serde.ConfluentOptions{}); err == nil || !strings.Contains(err.Error(), "subject") || !strings.Contains(err.Error(), "registry, not nil") {
		t.Errorf("Confluent without registry and subject: %v", err)
	}
	if _, err := registrytest.Start(registrytest.Options{Mode: "ODD"}); err == nil {
		t.Error("a mode that does not exist is accepted")
	}
}
