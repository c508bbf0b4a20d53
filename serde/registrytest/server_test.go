package registrytest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/registrytest"
)

// TestAPI is a script of requests. Origin of the answers: Confluent Schema Registry API reference.
func TestAPI(t *testing.T) {
	s := start(t)
	one := `{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}"}`
	spaced := `{"schema":"{ \"name\":\"R\", \"type\":\"record\", \"fields\":[ ]}"}`
	two := `{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"default\":0}]}"}`
	bad := `{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"b\",\"type\":\"int\"}]}"}`
	steps := []struct{ request, body, want string }{
		{"GET /subjects", "", `200 []`},
		{"GET /schemas/types", "", `200 ["AVRO"]`},
		{"GET /mode", "", `200 {"mode":"READWRITE"}`},
		{"GET /subjects/s/versions", "", `404 {"error_code":40401,"message":"Subject 's' not found."}`},
		{"POST /subjects/s/versions", one, `200 {"id":1}`},
		{"POST /subjects/s/versions", spaced, `200 {"id":1}`},
		{"POST /subjects/s", spaced, `200 {"subject":"s","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}"}`},
		{"POST /subjects/s", two, `404 {"error_code":40403,"message":"Schema not found"}`},
		{"POST /compatibility/subjects/s/versions/latest", two, `200 {"is_compatible":true,"messages":[]}`},
		{"POST /compatibility/subjects/s/versions", bad, `200 {"is_compatible":false,"messages":["field b: no default and missing in the writer (missing field)"]}`},
		{"POST /subjects/s/versions", bad, `409 {"error_code":409,"message":"Schema being registered is incompatible with an earlier schema for subject \"s\", details: [field b: no default and missing in the writer (missing field)]"}`},
		{"PUT /config/s", `{"compatibility":"FULL"}`, `200 {"compatibility":"FULL"}`},
		{"GET /config/s", "", `200 {"compatibilityLevel":"FULL"}`},
		{"GET /config", "", `200 {"compatibilityLevel":"BACKWARD"}`},
		{"GET /config/other", "", `404 {"error_code":40408,"message":"Subject 'other' does not have subject-level compatibility configured"}`},
		{"GET /config/other?defaultToGlobal=true", "", `200 {"compatibilityLevel":"BACKWARD"}`},
		{"PUT /config/s", `{"compatibility":"ODD"}`, `422 {"error_code":42203,"message":"Invalid compatibility level \"ODD\""}`},
		{"POST /subjects/s/versions", two, `200 {"id":2}`},
		{"DELETE /config/s", "", `200 {"compatibilityLevel":"BACKWARD"}`},
		{"GET /subjects/s/versions", "", `200 [1,2]`},
		{"GET /subjects/s/versions/1/schema", "", `200 {"type":"record","name":"R","fields":[]}`},
		{"GET /subjects/s/versions/9", "", `404 {"error_code":40402,"message":"Version 9 not found."}`},
		{"GET /schemas/ids/1/schema", "", `200 {"type":"record","name":"R","fields":[]}`},
		{"GET /schemas/ids/1/subjects", "", `200 ["s"]`},
		{"GET /schemas/ids/2/versions", "", `200 [{"subject":"s","version":2}]`},
		{"GET /schemas/ids/x", "", `404 {"error_code":40403,"message":"Schema not found"}`},
		{"POST /subjects/s/versions", `{"schema":"{}"}`, `422 {"error_code":42201,"message":"Invalid schema {}: outermost type: reader: serde: schema: object without a type (schema)"}`},
		{"POST /subjects/s/versions", `nonsense`, `422 {"error_code":42201,"message":"body is no JSON object with a schema: invalid character 'o' in literal null (expecting 'u')"}`},
		{"POST /subjects/s/versions", `{"schemaType":"JSON","schema":"{}"}`, `422 {"error_code":42201,"message":"schemaType JSON is not supported, want AVRO"}`},
		{"DELETE /subjects/s/versions/latest", "", `200 2`},
		{"GET /subjects/s/versions/latest/schema", "", `200 {"type":"record","name":"R","fields":[]}`},
		{"DELETE /subjects/s?permanent=true", "", `404 {"error_code":40405,"message":"Subject 's' was not deleted first before being permanently deleted"}`},
		{"DELETE /subjects/s", "", `200 [1]`},
		{"GET /subjects", "", `200 []`},
		{"GET /schemas/ids/2/schema", "", `200 {"type":"record","name":"R","fields":[{"name":"a","type":"int","default":0}]}`},
		{"POST /subjects/s/versions", bad, `200 {"id":3}`},
		{"GET /subjects/s/versions", "", `200 [3]`},
		{"DELETE /subjects/gone", "", `404 {"error_code":40401,"message":"Subject 'gone' not found."}`},
	}
	for _, step := range steps {
		method, path, _ := strings.Cut(step.request, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body))); got != step.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", step.request, step.body, got, step.want)
		}
	}
}

func ExampleServer() {
	s, err := registrytest.Start(registrytest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	reg, err := serde.NewRegistry(serde.RegistryOptions{URLs: []string{s.URL()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	type Order struct {
		ID string `avro:"id"`
	}
	codec, err := serde.Confluent[Order](reg, "orders-value", serde.ConfluentOptions{AutoRegister: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := codec.Append(nil, Order{ID: "a"})
	fmt.Printf("%x %v\n", data, err)
	var back Order
	err = codec.Decode(data, &back)
	fmt.Println(back.ID, err)
	// Output:
	// 00000000010261 <nil>
	// a <nil>
}
