package gen_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// TestConformance runs the suite that every source passes.
func TestConformance(t *testing.T) {
	const events, splits = 230, 5
	number := func(e gen.Event) int64 {
		switch e.Kind() {
		case gen.PersonKind:
			return gen.NumberAt(e.Person.TS)
		case gen.AuctionKind:
			return gen.NumberAt(e.Auction.TS)
		}
		return gen.NumberAt(e.Bid.TS)
	}
	var want []string
	for i := range int64(splits) {
		for n := i; n < events; n += splits {
			want = append(want, fmt.Sprint(n))
		}
	}
	connectortest.TestSource(t, connectortest.SourceSuite[gen.Event]{
		New: func(*testing.T) connectors.Source[gen.Event] {
			return gen.Source{Seed: 1, Events: events, Splits: splits}
		},
		Want:   want,
		ID:     func(e gen.Event) string { return fmt.Sprint(number(e)) },
		Key:    func(e gen.Event) string { return fmt.Sprint(number(e) % splits) },
		Bubble: true,
	})
}

// TestPace checks that a paced source emits an event when it is due, by the clock, and neither before nor long after.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := &gen.Pace{Rate: 1000}
		job := connectortest.NewJob(gen.Source{Seed: 1, Events: 10_000, Splits: 3, Pace: pace}, connectortest.Options{})
		if err := job.Start(nil); err != nil {
			t.Fatal(err)
		}
		start := pace.Due(0)
		if err := job.RunFor(2 * time.Second); err != nil {
			t.Fatal(err)
		}
		passed := time.Since(start)
		if got, want := job.Len(), int(passed.Seconds()*1000); got < want-1 || got > want+1 {
			t.Errorf("%d events after %v at 1000 a second, want %d or one more", got, passed, want)
		}
		if err := job.Crash(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHoldAt checks that what is held back is neither emitted nor the end.
func TestHoldAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := connectortest.NewJob(gen.Source{Seed: 1, Events: 100, Splits: 2, HoldAt: 61}, connectortest.Options{})
		if err := job.Start(nil); err != nil {
			t.Fatal(err)
		}
		if err := job.RunFor(time.Second); err != nil {
			t.Fatal(err)
		}
		if job.Len() != 61 || job.Done() {
			t.Errorf("%d events, done %v; want 61 and false", job.Len(), job.Done())
		}
		if err := job.Crash(); err != nil {
			t.Fatal(err)
		}
	})
}
