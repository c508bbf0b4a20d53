package gen_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// TestEvents compares the first 60 events of seed 1 with those that another implementation of SPEC.md made.
func TestEvents(t *testing.T) {
	file, err := os.ReadFile("testdata/events60.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	if len(lines) != 60 {
		t.Fatalf("testdata/events60.jsonl has %d lines, want 60", len(lines))
	}
	g := gen.New(1)
	for n, want := range lines {
		if got := line(t, g.Event(int64(n))); got != want {
			t.Errorf("event %d is\n%s, want\n%s", n, got, want)
		}
	}
}

// line is the event as a line of testdata/events60.jsonl.
func line(t *testing.T, e gen.Event) string {
	var kind string
	var record any
	switch e.Kind() {
	case gen.PersonKind:
		kind, record = "person", *e.Person
	case gen.AuctionKind:
		kind, record = "auction", *e.Auction
	default:
		kind, record = "bid", e.Bid
	}
	b, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for _, name := range strings.Fields("ID TS Name Email CreditCard City State Extra ItemName Description InitialBid Reserve Expires Seller Category Auction Bidder Price") {
		s = strings.ReplaceAll(s, `"`+name+`":`, `"`+lower(name)+`":`)
	}
	return fmt.Sprintf(`{"kind":"%s",%s`, kind, s[1:])
}

func lower(name string) string {
	if name == "ID" || name == "TS" {
		return strings.ToLower(name)
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// expected is a part of testdata/expected.json.
type expected struct {
	Million map[string]struct {
		Count  int64
		Digest string
	} `json:"1000000"`
}

// TestDigest compares the digest of the first million events of seed 1 with that of another implementation.
func TestDigest(t *testing.T) {
	file, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want expected
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	var sum digest.Sum
	g := gen.New(1)
	for n := range int64(1_000_000) {
		sum.Add(digest.NewRow().Event(g.Event(n)).Hash())
	}
	if got := fmt.Sprintf("%016x", sum.Digest); got != want.Million["gen"].Digest || sum.Count != want.Million["gen"].Count {
		t.Errorf("digest of the first 1,000,000 events is %s of %d rows, want %+v", got, sum.Count, want.Million["gen"])
	}
}

// TestKept checks that events that are kept stay as they were while more are made.
func TestKept(t *testing.T) {
	g := gen.New(7)
	var kept []gen.Event
	var hashes []uint64
	for n := range int64(20_000) {
		e := g.Event(n)
		kept, hashes = append(kept, e), append(hashes, digest.NewRow().Event(e).Hash())
	}
	for n, e := range kept {
		if got := digest.NewRow().Event(e).Hash(); got != hashes[n] {
			t.Fatalf("event %d has changed after it was made: hash %x, was %x", n, got, hashes[n])
		}
	}
}

// TestNumberAt checks that the number of an event and its time belong together.
func TestNumberAt(t *testing.T) {
	for _, n := range []int64{0, 1, 12_345, 10_000_000} {
		if got := gen.NumberAt(gen.TimeUS(n) + 99); got != n {
			t.Errorf("NumberAt(TimeUS(%d) + 99) = %d, want %d", n, got, n)
		}
		if got := gen.New(1).Event(n); got.Kind() == gen.BidKind && got.Bid.TS != gen.TimeUS(n) {
			t.Errorf("event %d has ts %d, want %d", n, got.Bid.TS, gen.TimeUS(n))
		}
	}
}

// BenchmarkEvent is the generator alone; SPEC.md has every field made, whether it is used or not.
func BenchmarkEvent(b *testing.B) {
	g := gen.New(1)
	var kinds [3]int64
	b.ReportAllocs()
	for n := range int64(b.N) {
		e := g.Event(n)
		kinds[e.Kind()] += e.Bid.Price + int64(len(e.Bid.Extra))
	}
	if kinds[gen.BidKind] < 0 {
		b.Fatal("unreachable")
	}
}

// BenchmarkDigest is the generator and the digest of every field: the floor of each query.
func BenchmarkDigest(b *testing.B) {
	g := gen.New(1)
	var sum digest.Sum
	b.ReportAllocs()
	for n := range int64(b.N) {
		if e := g.Event(n); e.Kind() == gen.BidKind {
			sum.Add(digest.NewRow().Bid(e.Bid).Hash())
		}
	}
}
