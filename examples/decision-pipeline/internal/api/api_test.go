package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/store"
)

// memory is a Store in maps, written from the documentation of store.DynamoDB.
type memory struct {
	mu        sync.Mutex
	decisions map[string]model.Decision
	requests  map[string]string
	variables map[string]model.Variable
	down      error
	order     []string // of ids, as persisted
}

func newMemory() *memory {
	return &memory{decisions: map[string]model.Decision{}, requests: map[string]string{}, variables: map[string]model.Variable{}}
}

func (m *memory) Create(_ context.Context, d model.Decision) (model.Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return model.Decision{}, m.down
	}
	d.Version = 1
	if old, ok := m.requests[d.ID]; ok && old != d.Fingerprint() {
		return model.Decision{}, store.ErrConflict
	} else if !ok {
		m.decisions[d.ID], m.requests[d.ID] = d, d.Fingerprint()
		m.order = append(m.order, d.ID)
	}
	return d, nil
}

func (m *memory) Correct(_ context.Context, c model.Correction) (model.Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.decisions[c.ID]
	if !ok {
		return d, store.ErrNotFound
	}
	if d.Version != c.ExpectedVersion {
		return d, store.ErrConflict
	}
	d.Version, d.Outcome, d.Amount, d.Reason = d.Version+1, c.Outcome, c.Amount, c.Reason
	m.decisions[c.ID] = d
	return d, nil
}

func (m *memory) Get(_ context.Context, id string) (model.Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.decisions[id]
	if !ok {
		return d, store.ErrNotFound
	}
	return d, nil
}

func (m *memory) ByCustomer(_ context.Context, q store.Query) (page []model.Decision, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q.Cursor != "" {
		return nil, "", store.ErrCursor
	}
	for _, d := range m.decisions {
		if d.Customer == q.Customer && (q.Outcome == "" || q.Outcome == d.Outcome) {
			page = append(page, d)
		}
	}
	sort.Slice(page, func(i, j int) bool { return page[i].DecidedAt.After(page[j].DecidedAt) })
	return page[:min(len(page), q.Limit)], "", nil
}

func (m *memory) Variable(_ context.Context, customer string) (model.Variable, error) {
	v, ok := m.variables[customer]
	if !ok {
		return v, store.ErrNotFound
	}
	return v, nil
}

func (m *memory) Ping(context.Context) error { return m.down }

func call(t *testing.T, h http.Handler, method, path, body string) (code int, answer string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

const good = `{"id":"d-1","customer":"c-1","outcome":"APPROVED","amount":"12.5","decided_at":"2026-01-02T03:04:05.678Z","reason":"score"}`

const goodAnswer = `{"id":"d-1","customer":"c-1","version":1,"outcome":"APPROVED","amount":"12.50","decided_at":"2026-01-02T03:04:05.678Z","reason":"score"}`

func TestCreateIsIdempotent(t *testing.T) {
	m := newMemory()
	h := New(Options{Store: m})
	if code, body := call(t, h, "POST", "/decisions", good); code != 201 || body != goodAnswer {
		t.Fatalf("POST = %d %s, want 201 %s", code, body, goodAnswer)
	}
	// The same request with other spelling: member order, a number for the amount, a time zone.
	same := `{"reason":"score","amount":12.50,"outcome":"APPROVED","customer":"c-1","id":"d-1","decided_at":"2026-01-02T04:04:05.678+01:00"}`
	if code, body := call(t, h, "POST", "/decisions", same); code != 201 || body != goodAnswer {
		t.Errorf("the same again = %d %s, want 201 and the same answer", code, body)
	}
	if code, _ := call(t, h, "POST", "/decisions", strings.Replace(good, "12.5", "12.6", 1)); code != 409 {
		t.Errorf("another body under the id = %d, want 409", code)
	}
	if code, body := call(t, h, "GET", "/decisions/d-1", ""); code != 200 || body != goodAnswer {
		t.Errorf("GET = %d %s", code, body)
	}
	if code, _ := call(t, h, "GET", "/decisions/d-2", ""); code != 404 {
		t.Errorf("GET of an unknown id = %d, want 404", code)
	}
	if len(m.order) != 1 {
		t.Errorf("stored %v, want d-1 once", m.order)
	}
}

func TestMalformedBodiesNameTheField(t *testing.T) {
	with := func(name, value string) string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		if value == "" {
			delete(m, name)
		} else {
			m[name] = json.RawMessage(value)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	cases := []struct{ name, body, path string }{
		{"empty", "", ""}, {"array", "[]", ""}, {"null", "null", ""}, {"cut", `{"id":"d`, ""}, {"two", good + good, ""},
		{"no id", with("id", ""), "id"}, {"id null", with("id", "null"), "id"}, {"id number", with("id", "7"), "id"},
		{"id empty", with("id", `""`), "id"}, {"id slash", with("id", `"a/b"`), "id"}, {"id dots", with("id", `".."`), "id"},
		{"id long", with("id", `"`+strings.Repeat("x", 129)+`"`), "id"},
		{"no customer", with("customer", ""), "customer"}, {"outcome", with("outcome", `"MAYBE"`), "outcome"},
		{"no amount", with("amount", ""), "amount"}, {"amount text", with("amount", `"lots"`), "amount"}, {"amount object", with("amount", `{}`), "amount"},
		{"negative", with("amount", `-1`), "amount"}, {"three places", with("amount", `"0.001"`), "amount"}, {"huge", with("amount", `1e15`), "amount"},
		{"time number", with("decided_at", `5`), "decided_at"}, {"time text", with("decided_at", `"now"`), "decided_at"},
		{"time year", with("decided_at", `"1800-01-01T00:00:00Z"`), "decided_at"}, {"product", with("product", `[1]`), "product"},
		{"control", with("reason", `"a\u0000b"`), "reason"}, {"unknown", with("colour", `"red"`), "colour"},
		{"attributes", with("attributes", `"x"`), "attributes"}, {"nested", with("attributes", `{"channel":1}`), "attributes.channel"},
	}
	for _, c := range cases {
		m := newMemory()
		code, body := call(t, New(Options{Store: m}), "POST", "/decisions", c.body)
		var e ErrorBody
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != 400 || len(e.Fields) != 1 || e.Fields[0].Path != c.path || e.Fields[0].Reason == "" {
			t.Errorf("%s: %d %s, want 400 with the one path %q", c.name, code, body, c.path)
		}
		if len(m.order) > 0 {
			t.Errorf("%s: was stored", c.name)
		}
	}
	code, body := call(t, New(Options{Store: newMemory()}), "POST", "/decisions", `{"attributes":{"a":1,"b":2}}`)
	if code != 400 || strings.Count(body, `"path"`) != 7 {
		t.Errorf("seven faults at once = %d %s", code, body)
	}
	if code, _ := call(t, New(Options{Store: newMemory()}), "POST", "/decisions", `{"id":"`+strings.Repeat("x", bodyBytesMax)+`"}`); code != 413 {
		t.Errorf("a body beyond the limit = %d, want 413", code)
	}
}

func TestCorrection(t *testing.T) {
	h := New(Options{Store: newMemory()})
	call(t, h, "POST", "/decisions", good)
	body := `{"expected_version":1,"outcome":"REJECTED","amount":3}`
	code, got := call(t, h, "PUT", "/decisions/d-1", body)
	want := `{"id":"d-1","customer":"c-1","version":2,"outcome":"REJECTED","amount":"3.00","decided_at":"2026-01-02T03:04:05.678Z"}`
	if code != 200 || got != want {
		t.Fatalf("PUT = %d %s, want 200 %s", code, got, want)
	}
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/decisions/d-1", `{"expected_version":1,"outcome":"APPROVED","amount":3}`, 409},
		{"/decisions/d-9", body, 404},
		{"/decisions/a%20b", body, 404},
		{"/decisions/d-1", `{"expected_version":0,"outcome":"APPROVED","amount":3}`, 400},
		{"/decisions/d-1", `{"expected_version":1.5,"outcome":"APPROVED","amount":3}`, 400},
		{"/decisions/d-1", `{"outcome":"APPROVED","amount":3,"customer":"c-2"}`, 400},
	} {
		if code, got := call(t, h, "PUT", c.path, c.body); code != c.code {
			t.Errorf("PUT %s %s = %d %s, want %d", c.path, c.body, code, got, c.code)
		}
	}
}

func TestCustomerQuery(t *testing.T) {
	m := newMemory()
	h := New(Options{Store: m})
	for i := range 3 {
		call(t, h, "POST", "/decisions", fmt.Sprintf(`{"id":"d-%d","customer":"c-1","outcome":"APPROVED","amount":1,"decided_at":"2026-01-0%dT00:00:00Z"}`, i, i+1))
	}
	code, body := call(t, h, "GET", "/customers/c-1/decisions?limit=2", "")
	var p Page
	if err := json.Unmarshal([]byte(body), &p); err != nil || code != 200 || len(p.Decisions) != 2 || p.Decisions[0].ID != "d-2" {
		t.Errorf("newest two = %d %s", code, body)
	}
	for path, want := range map[string]int{
		"?limit=0": 400, "?limit=201": 400, "?limit=x": 400, "?outcome=NO": 400, "?from=yesterday": 400, "?cursor=zzz": 400,
		"?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&outcome=REJECTED": 200,
	} {
		if code, body := call(t, h, "GET", "/customers/c-1/decisions"+path, ""); code != want {
			t.Errorf("%s = %d %s, want %d", path, code, body, want)
		}
	}
	if code, body := call(t, h, "GET", "/customers/nobody/decisions", ""); code != 200 || body != `{"decisions":[]}` {
		t.Errorf("unknown customer = %d %s", code, body)
	}
}

func TestVariablesHealthMetrics(t *testing.T) {
	m := newMemory()
	m.variables["c-1"] = model.Variable{Customer: "c-1", Version: 4, Sum: 995, LastOutcome: model.Rejected}
	h := New(Options{Store: m})
	if code, body := call(t, h, "GET", "/variables/c-1", ""); code != 200 || !strings.Contains(body, `"sum":"9.95"`) || !strings.Contains(body, `"version":4`) {
		t.Errorf("variable = %d %s", code, body)
	}
	if code, _ := call(t, h, "GET", "/variables/c-2", ""); code != 404 {
		t.Errorf("unknown customer = %d, want 404", code)
	}
	if code, _ := call(t, h, "GET", "/healthz", ""); code != 200 {
		t.Errorf("healthz = %d", code)
	}
	if code, body := call(t, h, "GET", "/metrics", ""); code != 200 || !strings.Contains(body, `decision_api_request_seconds_count{code="404",route="GET /variables/{customer}"} 1`) {
		t.Errorf("metrics = %d without the request that was not found:\n%s", code, body)
	}
	m.down = errors.New("table away")
	if code, _ := call(t, h, "GET", "/healthz", ""); code != 503 {
		t.Errorf("healthz of a store that is down = %d, want 503", code)
	}
	if code, body := call(t, h, "POST", "/decisions", good); code != 503 || strings.Contains(body, "table away") {
		t.Errorf("POST to a store that is down = %d %s, want 503 without inner words", code, body)
	}
}

func FuzzBodies(f *testing.F) {
	for _, s := range []string{good, `{"expected_version":1,"outcome":"REJECTED","amount":3}`, `{"attributes":{"a":{"b":[]}}}`, "\xff\xfe", `{"id":"\ud800"}`,
		`{"amount":1e999999999}`, strings.Repeat(`{"a":`, 2000)} {
		f.Add([]byte(s), "d-1", "limit=5&cursor=eyJp")
	}
	f.Fuzz(func(t *testing.T, body []byte, id, query string) {
		h := New(Options{Store: newMemory()})
		for _, r := range []struct{ method, path string }{
			{"POST", "/decisions"}, {"PUT", "/decisions/x"}, {"GET", "/decisions/x"}, {"GET", "/customers/x/decisions"}, {"GET", "/variables/x"},
		} {
			req := httptest.NewRequest(r.method, r.path, strings.NewReader(string(body)))
			req.URL.Path = strings.Replace(r.path, "x", id, 1)
			req.URL.RawQuery = query
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code >= 500 || w.Code < 200 {
				t.Fatalf("%s %q with %q = %d %s", r.method, req.URL, body, w.Code, w.Body)
			}
			if r.method == "POST" && w.Code == 201 {
				again := httptest.NewRecorder()
				h.ServeHTTP(again, httptest.NewRequest("POST", "/decisions", strings.NewReader(string(body))))
				if again.Code != 201 || again.Body.String() != w.Body.String() {
					t.Fatalf("the same body again = %d %s, first %s", again.Code, again.Body, w.Body)
				}
			}
		}
	})
}
