package policy

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// recorder answers as the API does and keeps what it was told.
type recorder struct {
	mu       sync.Mutex
	posts    map[string]decisionBody
	puts     map[string]int
	failures int // POSTs to answer 503 first
	rejected map[string]time.Time
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch q.Method {
	case http.MethodPost:
		if r.failures > 0 {
			r.failures--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var d decisionBody
		if err := json.NewDecoder(q.Body).Decode(&d); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.posts[d.ID] = d
		w.WriteHeader(http.StatusCreated)
	case http.MethodPut:
		r.puts[q.URL.Path]++
	default:
		customer := q.URL.Path[len("/variables/"):]
		v := model.Variable{Customer: customer, Version: 1 << 40}
		if at, ok := r.rejected[customer]; ok {
			v.LastOutcome, v.LastDecidedAt = model.Rejected, at
		}
		json.NewEncoder(w).Encode(v) //nolint:errcheck // to a test's connection
	}
}

func run(t *testing.T, r *recorder, o Options) *Policy {
	t.Helper()
	s := httptest.NewServer(r)
	defer s.Close()
	r.posts, r.puts = map[string]decisionBody{}, map[string]int{}
	o.URL, o.Workers = s.URL, 4
	p := New(o)
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Settle()
	return p
}

func TestEveryCaseIsWritten(t *testing.T) {
	var raw sync.Map
	r := &recorder{failures: 3}
	p := run(t, r, Options{Decisions: 400, Customers: 20, Invalid: 0.1, Seed: 7, PutRaw: func(_ context.Context, item map[string]types.AttributeValue) error {
		raw.Store(item["id"].(*types.AttributeValueMemberS).Value, item)
		return nil
	}})
	n := 0
	raw.Range(func(id, item any) bool {
		n++
		if _, err := model.DecisionOfItem(item.(map[string]types.AttributeValue)); err == nil {
			t.Errorf("the invalid item %v conforms", id)
		}
		return true
	})
	c := p.Counts()
	if n == 0 || int(c.Invalid) != n || len(r.posts)+n != 400 || c.Cases != 400 {
		t.Errorf("%d posted, %d raw, counts %+v, want 400 in all", len(r.posts), n, c)
	}
	if len(r.puts) == 0 || int(c.Corrected) != len(r.puts) {
		t.Errorf("%d corrections, counted %d", len(r.puts), c.Corrected)
	}
	for id, v := range p.Accepted() {
		if v == 2 != (r.puts["/decisions/"+id] == 1) {
			t.Errorf("%s: acknowledged version %d, corrected %d times", id, v, r.puts["/decisions/"+id])
		}
	}
	if len(p.Accepted()) != len(r.posts) {
		t.Errorf("%d acknowledged, %d posted", len(p.Accepted()), len(r.posts))
	}
}

func TestRejectedAMomentAgoIsDenied(t *testing.T) {
	o := Options{Decisions: 50, Customers: 2, Seed: 1}
	r := &recorder{rejected: map[string]time.Time{o.Customer(0): time.Now().Add(time.Minute), o.Customer(1): time.Now().Add(-time.Hour)}}
	p := run(t, r, o)
	denied := 0
	for _, d := range r.posts {
		isDenied := d.Reason != "score"
		if isDenied != (d.Customer == o.Customer(0)) || isDenied && d.Outcome != model.Rejected {
			t.Errorf("%+v: denied %v", d, isDenied)
		}
		if isDenied {
			denied++
		}
	}
	if denied == 0 || int(p.Counts().Denied) != denied {
		t.Errorf("%d denied, counted %d", denied, p.Counts().Denied)
	}
}

func TestInvalidItemsCoverEveryKind(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]bool{}
	for range 200 {
		_, err := model.DecisionOfItem(invalidItem(rnd, "d", "c", time.UnixMilli(1)))
		if err == nil {
			t.Fatal("an invalid item conforms")
		}
		kinds[err.Error()] = true
	}
	if len(kinds) != 6 {
		t.Errorf("kinds %v, want 6", kinds)
	}
}
