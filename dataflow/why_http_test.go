package dataflow_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/dataflow/why"
)

// TestWhyHandler: text and JSON of one step, the page of all steps, and what is refused.
func TestWhyHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFeed("orders", 1)
		p := plant(t, dataflow.Options{}, func(ctx context.Context, g *dataflow.Graph) {
			counted(g.From("orders", src).Timestamps(byTime()), "per <minute>").To("out", nowhere[int64]())
			go src.every(ctx, 100*time.Millisecond, 0, keys())
		})
		defer p.end()
		time.Sleep(time.Minute)
		h := p.job.Handler()
		get := func(method, target, accept string) (int, string, string) {
			r := httptest.NewRequest(method, target, nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			body, err := io.ReadAll(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			return w.Code, w.Header().Get("Content-Type"), string(body)
		}
		for _, c := range []struct {
			method, target, accept string
			code                   int
			content                string
			words                  []string
		}{
			{"GET", "/why?uid=out", "", 200, "text/plain", []string{`step "out" is healthy`, `job "planted": running`}},
			{"GET", "/why?uid=out&format=json", "", 200, "application/json", []string{`"kind": "healthy"`}},
			{"GET", "/why?uid=out", "application/json", 200, "application/json", []string{`"kind": "healthy"`}},
			{"GET", "/why?uid=nobody", "", 404, "text/plain", []string{`no step "nobody"`, "orders"}},
			{"GET", "/why", "text/html", 200, "text/html", []string{"<h1>planted</h1>", `href="?uid=per%20%3cminute%3e"`, "per &lt;minute&gt;", "healthy"}},
			{"GET", "/why", "application/json", 200, "application/json", []string{`"steps": [`}},
			{"POST", "/why?uid=out", "", http.StatusMethodNotAllowed, "text/plain", nil},
			{"GET", "/other", "", 404, "text/plain", nil},
		} {
			code, content, body := get(c.method, c.target, c.accept)
			if code != c.code || !strings.HasPrefix(content, c.content) {
				t.Errorf("%s %s: %d %s, want %d %s", c.method, c.target, code, content, c.code, c.content)
			}
			for _, w := range c.words {
				if !strings.Contains(body, w) {
					t.Errorf("%s %s does not say %s:\n%s", c.method, c.target, w, body)
				}
			}
		}
		_, _, body := get("GET", "/why?uid=out&format=json", "")
		var r why.Report
		if err := json.Unmarshal([]byte(body), &r); err != nil || !r.Healthy() || len(r.Tasks) != 1 || r.Tasks[0].Operators[0].Watermark == why.NoWatermark {
			t.Errorf("the JSON gives %+v, %v", r, err)
		}
	})
}
