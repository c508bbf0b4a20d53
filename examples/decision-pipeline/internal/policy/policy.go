// Package policy is a simulated policy component: the client of the Decision Store. For each case it first asks what is known of the
// customer, denies at once whoever was rejected a moment ago, decides the others by a seeded chance, and posts the decision. A share of
// decisions is corrected later, a share of cases is older than now, and a share of items is written into the table past the API and does
// not conform to the event schema.
package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/observe"
)

// The shape of the simulated load.
const (
	// DenyWindow is how long after a rejection a customer is denied at once.
	DenyWindow = time.Second

	rejectShare    = 0.10
	correctedShare = 0.03 // of decisions get a version 2
	lateShare      = 0.03 // of decisions were made hours ago
	watchEvery     = 40   // each so many decisions one is watched until the variable shows it
	watchPause     = 5 * time.Millisecond
	watchTimeout   = time.Minute
	attemptsMax    = 20 // of one request; the API is asked again after 503
)

// lateness are the ages of late decisions; two lie beyond the rolling window.
var lateness = []time.Duration{time.Hour, 6 * time.Hour, 23 * time.Hour, 25 * time.Hour, 30 * time.Hour}

// Options of New.
type Options struct {
	URL       string // of the API, without a trailing slash
	Decisions int    // 0: until the context ends
	Rate      int    // cases per second; 0: as fast as they go
	Customers int
	Invalid   float64 // share of cases that are invalid items
	Seed      uint64
	Workers   int
	// IDPrefix and CustomerPrefix begin every id and customer.
	IDPrefix       string
	CustomerPrefix string
	// PutRaw writes an item into the decisions table past the API.
	PutRaw func(ctx context.Context, item map[string]types.AttributeValue) error
	// Gate is asked before case i begins and may wait.
	Gate func(ctx context.Context, i int) error
}

// Policy is a running load. Its numbers may be read at any time.
type Policy struct {
	o      Options
	client *client

	// API is the time of POST /decisions, first byte out to answer read; VariableVisible the time from acknowledgement to the
	// variable that counts the decision.
	API             observe.Latency
	VariableVisible observe.Latency

	cases, denied, invalid, corrected atomic.Int64

	watching context.Context // of the watchers, which outlive the workers

	mu       sync.Mutex
	accepted map[string]int64 // id → newest acknowledged version; nil without a number of decisions
	versions map[string]int64 // customer → acknowledged versions
	watchers sync.WaitGroup
}

// New returns a load that Run starts.
func New(o Options) *Policy {
	p := &Policy{o: o, client: newClient(o.URL, o.Workers), versions: map[string]int64{}}
	if o.Decisions > 0 {
		p.accepted = map[string]int64{}
	}
	return p
}

// Counts of cases so far. Cases includes Invalid; Denied are decisions; Corrected are versions beyond the first.
type Counts struct{ Cases, Denied, Invalid, Corrected int64 }

// Counts returns the counts so far.
func (p *Policy) Counts() Counts {
	return Counts{p.cases.Load(), p.denied.Load(), p.invalid.Load(), p.corrected.Load()}
}

// Accepted returns the newest acknowledged version of each decision. It is the caller's once Run has returned.
func (p *Policy) Accepted() map[string]int64 { return p.accepted }

// Customer is the name of customer i.
func (o Options) Customer(i int) string { return fmt.Sprintf("%sc-%06d", o.CustomerPrefix, i) }

// Run works through all cases and returns when the last is acknowledged; the end of ctx ends it early without an error.
func (p *Policy) Run(ctx context.Context) error {
	cases := make(chan int)
	p.watching = ctx
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var workers sync.WaitGroup
	for range p.o.Workers {
		workers.Go(func() {
			if err := p.worker(work, cases); err != nil {
				stop(err)
			}
		})
	}
	p.pace(work, cases)
	close(cases)
	workers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(work)
}

// Settle waits for the decisions that are still being watched, and ends the connections to the API.
func (p *Policy) Settle() {
	p.watchers.Wait()
	p.client.http.CloseIdleConnections()
}

// pace hands the cases out at the rate. A case that could not begin in time begins late; none is left out.
func (p *Policy) pace(ctx context.Context, cases chan<- int) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; p.o.Decisions == 0 || i < p.o.Decisions; i++ {
		if p.o.Rate > 0 {
			due := start.Add(time.Duration(i) * time.Second / time.Duration(p.o.Rate))
			if wait := time.Until(due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
			}
		}
		if p.o.Gate != nil && p.o.Gate(ctx, i) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case cases <- i:
		}
	}
}

// correction is one that a worker makes later, so that other decisions lie between the versions.
type correction struct {
	decision model.Decision
	after    int // case number
}

func (p *Policy) worker(ctx context.Context, cases <-chan int) error {
	var later []correction
	for i := range cases {
		for len(later) > 0 && later[0].after <= i {
			if err := p.correct(ctx, later[0].decision); err != nil {
				return err
			}
			later = later[1:]
		}
		d, correctAfter, err := p.handle(ctx, i)
		switch {
		case err != nil:
			return err
		case correctAfter == 0:
			if err := p.correct(ctx, d); err != nil {
				return err
			}
		case correctAfter > 0:
			later = append(later, correction{d, i + correctAfter})
		}
	}
	for _, c := range later {
		if err := p.correct(ctx, c.decision); err != nil {
			return err
		}
	}
	return nil
}

// handle works on case i. correctAfter is -1 when the decision stays as it is.
func (p *Policy) handle(ctx context.Context, i int) (d model.Decision, correctAfter int, err error) {
	rnd := rand.New(rand.NewPCG(p.o.Seed, uint64(i)))
	id := fmt.Sprintf("%sd-%08d", p.o.IDPrefix, i)
	customer := p.o.Customer(p.pick(rnd))
	now := time.Now().UTC().Truncate(time.Millisecond)
	defer p.cases.Add(1)
	if rnd.Float64() < p.o.Invalid {
		if err := p.o.PutRaw(ctx, invalidItem(rnd, id, customer, now)); err != nil {
			return d, -1, fmt.Errorf("policy: write an invalid item: %w", err)
		}
		p.invalid.Add(1)
		return d, -1, nil
	}
	d = model.Decision{ID: id, Customer: customer, Outcome: model.Approved, Amount: model.Money(100 + rnd.Int64N(1_000_000)), DecidedAt: now,
		Product: []string{"card", "loan", "overdraft"}[rnd.IntN(3)], Reason: "score"}
	v, known, err := p.client.variable(ctx, customer)
	switch {
	case err != nil:
		return d, -1, err
	case known && v.LastOutcome == model.Rejected && now.Sub(v.LastDecidedAt) < DenyWindow:
		d.Outcome, d.Reason = model.Rejected, "rejected a moment ago"
	case rnd.Float64() < rejectShare:
		d.Outcome = model.Rejected
	}
	if rnd.Float64() < lateShare {
		d.DecidedAt = now.Add(-lateness[rnd.IntN(len(lateness))])
	}
	start := time.Now()
	if err := p.client.send(ctx, http.MethodPost, "/decisions", postBody(d), http.StatusCreated); err != nil {
		return d, -1, err
	}
	p.API.Add(time.Since(start))
	if d.Reason != "score" {
		p.denied.Add(1)
	}
	p.acknowledged(d, 1, i%watchEvery == 0)
	correctAfter = -1
	if rnd.Float64() < correctedShare {
		correctAfter = rnd.IntN(2) * 100
	}
	return d, correctAfter, nil
}

// pick prefers low numbers: half of all cases belong to a quarter of the customers.
func (p *Policy) pick(rnd *rand.Rand) int {
	f := rnd.Float64()
	return min(int(f*f*float64(p.o.Customers)), p.o.Customers-1)
}

func (p *Policy) correct(ctx context.Context, d model.Decision) error {
	outcome := model.Approved
	if d.Outcome == model.Approved {
		outcome = model.Rejected
	}
	body := correctionBody{ExpectedVersion: 1, Outcome: outcome, Amount: d.Amount + 1, Reason: "second look"}
	if err := p.client.send(ctx, http.MethodPut, "/decisions/"+d.ID, body, http.StatusOK); err != nil {
		return err
	}
	p.corrected.Add(1)
	p.acknowledged(d, 2, false)
	return nil
}

func (p *Policy) acknowledged(d model.Decision, version int64, watch bool) {
	at := time.Now()
	p.mu.Lock()
	if p.accepted != nil {
		p.accepted[d.ID] = version
	}
	p.versions[d.Customer]++
	n := p.versions[d.Customer]
	p.mu.Unlock()
	if watch {
		p.watchers.Go(func() { p.watch(p.watching, d.Customer, n, at) })
	}
}

// watch asks for the variable until it counts n versions of the customer.
func (p *Policy) watch(ctx context.Context, customer string, n int64, since time.Time) {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for time.Since(since) < watchTimeout {
		v, _, err := p.client.variable(ctx, customer)
		if err == nil && v.Version >= n {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	p.VariableVisible.Add(time.Since(since))
}
