package reference

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// vectors reads testdata/expected.json: by number of events and query. Its digests were computed by a batch program and by Flink 2.3 jobs
// that share no code with this package.
func vectors(t *testing.T, events string) map[string]struct {
	Count  int64
	Digest string
} {
	t.Helper()
	src, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var sizes map[string]json.RawMessage
	if err := json.Unmarshal(src, &sizes); err != nil {
		t.Fatal(err)
	}
	var out map[string]struct {
		Count  int64
		Digest string
	}
	if err := json.Unmarshal(sizes[events], &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDigestsOfAMillionEvents(t *testing.T) {
	want := vectors(t, "1000000")
	if len(want) != len(Queries()) {
		t.Errorf("%d vectors for the queries %v", len(want), Queries())
	}
	for _, q := range Queries() {
		t.Run(q, func(t *testing.T) {
			got, err := Compute(q, 1_000_000, 1)
			if err != nil {
				t.Fatal(err)
			}
			w := want[q]
			if s := fmt.Sprintf("%016x", got.Digest); s != w.Digest || got.Count != w.Count {
				t.Errorf("digest %s of %d rows, want %s of %d", s, got.Count, w.Digest, w.Count)
			}
		})
	}
}

// TestFirstEvents compares the fields of the first 60 events, seed 1, with those that the Flink harness printed.
func TestFirstEvents(t *testing.T) {
	src, err := os.ReadFile("testdata/events60.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	in := input{events: 60, s: mix(1 + gamma)}
	lines := bufio.NewScanner(bytes.NewReader(src))
	n := uint64(0)
	for ; lines.Scan(); n++ {
		var got string
		switch r := n % 50; {
		case r == 0:
			p := in.person(n)
			got = fmt.Sprintf(`{"kind":"person","id":%d,"name":"%s","email":"%s","creditCard":"%s","city":"%s","state":"%s","ts":%d,"extra":"%s"}`,
				p.id, p.name, p.email, p.creditCard, p.city, p.state, p.ts, p.extra)
		case r <= 3:
			a := in.auction(n)
			got = fmt.Sprintf(`{"kind":"auction","id":%d,"itemName":"%s","description":"%s","initialBid":%d,"reserve":%d,"ts":%d,"expires":%d,`+
				`"seller":%d,"category":%d,"extra":"%s"}`,
				a.id, a.itemName, a.description, a.initialBid, a.reserve, a.ts, a.expires, a.seller, a.category, a.extra)
		default:
			b := in.bid(n)
			got = fmt.Sprintf(`{"kind":"bid","auction":%d,"bidder":%d,"price":%d,"ts":%d,"extra":"%s"}`, b.auction, b.bidder, b.price, b.ts, b.extra)
		}
		if got != lines.Text() {
			t.Errorf("event %d is\n%s\nwant\n%s", n, got, lines.Text())
		}
	}
	if n != 60 {
		t.Errorf("testdata holds %d events, want 60", n)
	}
}

// TestSingleValues has the values of the specification.
func TestSingleValues(t *testing.T) {
	hash := func(r row) uint64 { return mix(uint64(r)) }
	seed := uint64(1)
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"mix(1 + gamma)", mix(seed + gamma), 0x910a2dec89025cc1},
		{"price of the least draw", uint64(price(0)), 100},
		{"price of the middle draw", uint64(price(0x80000000)), 100000},
		{"price of the greatest draw", uint64(price(0xFFFFFFFF)), 99999946},
		{`row (1, "abc")`, hash(newRow.ints(1).strs("abc")), 0xe4166f1217b64ce8},
		{`row (0, "")`, hash(newRow.ints(0).strs("")), 0xde43376b9e92e3e4},
		{`row (-1, "abcdefgh")`, hash(newRow.ints(-1).strs("abcdefgh")), 0xada4ddf4ce2c3734},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
	if got := cut(0, 16); got != "wlazcieugyktnosn" {
		t.Errorf("the text begins with %q, want wlazcieugyktnosn", got)
	}
}

// TestPrefixes: results for a part of the input are those of its events alone, also where it ends within a group of 50.
func TestPrefixes(t *testing.T) {
	for _, c := range []struct {
		query  string
		events int64
		rows   int64 // counted by hand: 1 person, 3 auctions and 46 bids in each 50 events
	}{
		{"gen", 0, 0}, {"gen", 1, 1}, {"gen", 73, 73},
		{"q0", 4, 0}, {"q0", 5, 1}, {"q0", 50, 46}, {"q0", 54, 46}, {"q0", 55, 47},
	} {
		got, err := Compute(c.query, c.events, 7)
		if err != nil {
			t.Fatal(err)
		}
		if got.Count != c.rows {
			t.Errorf("%s over %d events has %d rows, want %d", c.query, c.events, got.Count, c.rows)
		}
	}
	one, _ := Compute("q0", 1000, 1)
	two, _ := Compute("q0", 1000, 2)
	if one.Digest == two.Digest {
		t.Error("seeds 1 and 2 have the same bids")
	}
}

// TestSessions: a pause of exactly 10 s goes on with the session, one of a millisecond more does not. The million events have no such pause.
func TestSessions(t *testing.T) {
	got := sessions([]int64{5, 5, 10_005, 20_006})
	want := []session{{bids: 3, start: 5, end: 20_005}, {bids: 1, start: 20_006, end: 30_006}}
	if !slices.Equal(got, want) {
		t.Errorf("sessions %v, want %v", got, want)
	}
}

func TestComputeRefuses(t *testing.T) {
	if _, err := Compute("q6", 10, 1); err == nil || !strings.Contains(err.Error(), `"q6"`) {
		t.Errorf("error %v, want one that names q6", err)
	}
	if _, err := Compute("q0", -1, 1); err == nil || !strings.Contains(err.Error(), "-1") {
		t.Errorf("error %v, want one that names -1", err)
	}
}
