package operators_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

type lookupOptions = operators.LookupOptions[order, string]

// cities is an outside system that counts its calls.
type cities struct {
	mu    sync.Mutex
	calls []string
	fail  error
}

func (c *cities) lookup(_ context.Context, key string) (string, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, key)
	if c.fail != nil {
		return "", false, c.fail
	}
	return "city of " + key, key != "nobody", nil
}

// asked are the keys asked for since the last call, sorted.
func (c *cities) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	slices.Sort(calls)
	return fmt.Sprint(calls)
}

func cityText(o order, city string, found bool) string {
	if !found {
		return fmt.Sprint(o, " of nowhere")
	}
	return fmt.Sprint(o, " of ", city)
}

func TestLookupJoinIsRefused(t *testing.T) {
	c := &cities{}
	refused := func(stage operators.Stage[order, string], parts ...string) {
		t.Helper()
		wantError(t, operatortest.Check(stage, operatortest.Options{}), parts...)
	}
	refused(operators.LookupJoin(lookupOptions{}, nil, c.lookup, cityText), "key function")
	refused(operators.LookupJoin[order, string, string, string](lookupOptions{}, who, nil, cityText), "look-up function")
	refused(operators.LookupJoinKeyed(who, nil, lookupOptions{}, c.lookup, nil), "makes results")
	o := lookupOptions{Cache: operators.LookupCache{ExpireAfterWrite: -1, SkipAbsent: true}}
	o.Async.Capacity = -1
	refused(operators.LookupJoin(o, who, c.lookup, cityText), "Capacity", "ExpireAfterWrite", "Rows is 0")
	refused(operators.LookupJoin(lookupOptions{Cache: operators.LookupCache{Rows: -1}}, who, c.lookup, cityText), "Rows is -1")
}

// TestLookupJoinCache: what is in the cache is not asked for again; the least used row leaves first, and rows expire by write and by read.
func TestLookupJoinCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cities{}
		o := lookupOptions{Cache: operators.LookupCache{Rows: 2, ExpireAfterWrite: 100 * time.Second, ExpireAfterRead: 40 * time.Second}}
		h := operatortest.New(t, operators.LookupJoin(o, who, c.lookup, cityText), operatortest.Options{})
		now := int64(0)
		ask := func(afterSeconds int64, keys ...string) string {
			now += 1000 * afterSeconds
			h.AdvanceProcessingTime(now)
			for _, k := range keys {
				h.Process(order{k, 1}, 5)
				synctest.Wait()
			}
			return c.asked()
		}
		for _, s := range []struct {
			after int64
			keys  []string
			asked string
		}{
			{0, []string{"a", "a", "nobody", "nobody", "a"}, "[a nobody]"},
			{1, []string{"b", "a", "nobody"}, "[b nobody]"}, // "nobody" was used least lately
			{39, []string{"a"}, "[]"},
			{39, []string{"a"}, "[]"},
			{22, []string{"a"}, "[a]"}, // written 101 s ago
			{41, []string{"a"}, "[a]"}, // read 41 s ago
		} {
			if got := ask(s.after, s.keys...); got != s.asked {
				t.Errorf("at %d s, records %q: asked for %s, want %s", now/1000, s.keys, got, s.asked)
			}
		}
		got := fmt.Sprint(h.Outputs())
		if first := "[a1 of city of a@5 a1 of city of a@5 nobody1 of nowhere@5 nobody1 of nowhere@5 a1 of city of a@5 "; len(got) < len(first) || got[:len(first)] != first {
			t.Errorf("got %s, want it to begin with %s", got, first)
		}
	})
}

// TestLookupJoinWithoutCache: each record asks; an inner join drops what is not found; absent rows may be kept out of the cache.
func TestLookupJoinWithoutCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, o := range []lookupOptions{{Inner: true}, {Inner: true, Cache: operators.LookupCache{Rows: 9, SkipAbsent: true}}} {
			c := &cities{}
			h := operatortest.New(t, operators.LookupJoinKeyed(who, nil, o, c.lookup, cityText), operatortest.Options{}).KeyBy(who, nil)
			for _, k := range []string{"nobody", "nobody", "a"} {
				h.Process(order{k, 1}, 5)
				synctest.Wait()
			}
			want(t, "found", h.Outputs(), "a1 of city of a@5")
			if got := c.asked(); got != "[a nobody nobody]" {
				t.Errorf("asked for %s", got)
			}
			h.Close()
		}
	})
}

// TestLookupJoinFailure: a failed call is no answer; it fails the task, unless it is made again with success.
func TestLookupJoinFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cities{fail: errors.New("no answer")}
		o := lookupOptions{Cache: operators.LookupCache{Rows: 9}}
		o.Async.Retry = operators.AsyncRetry[string]{Attempts: 3, Delay: time.Second}
		h := operatortest.New(t, operators.LookupJoin(o, who, c.lookup, cityText), operatortest.Options{})
		h.Process(order{"a", 1}, 5)
		synctest.Wait()
		h.Wake()
		c.mu.Lock()
		c.fail = nil
		c.mu.Unlock()
		h.AdvanceProcessingTime(1000)
		synctest.Wait()
		h.Process(order{"a", 2}, 6)
		synctest.Wait()
		want(t, "results", h.Outputs(), "a1 of city of a@5, a2 of city of a@6")
		if got := c.asked(); got != "[a a]" {
			t.Errorf("asked for %s, want two calls", got)
		}
	})
}

// BenchmarkLookupJoin is one record whose row is in the cache.
func BenchmarkLookupJoin(b *testing.B) {
	o := operators.LookupOptions[benchRecord, int64]{Cache: operators.LookupCache{Rows: 1000, ExpireAfterRead: time.Hour}}
	h := operatortest.New(b, operators.LookupJoin(o, benchKey, func(_ context.Context, k int64) (int64, bool, error) { return k, true, nil },
		func(r benchRecord, row int64, _ bool) int64 { return r.N + row }), operatortest.Options{Discard: true})
	b.ReportAllocs()
	for n := int64(0); b.Loop(); n++ {
		h.Process(benchRecord{Key: n % 1000, N: n}, n)
	}
}

// Orders are enriched by the customer's city, which a service knows; 10,000 cities are kept for up to an hour.
func ExampleLookupJoin() {
	type options = operators.LookupOptions[order, string]
	cities := map[string]string{"ann": "Bern"}
	city := func(_ context.Context, customer string) (string, bool, error) {
		city, found := cities[customer]
		return city, found, nil
	}
	stage := operators.LookupJoin(options{Cache: operators.LookupCache{Rows: 10_000, ExpireAfterWrite: time.Hour}}, who, city,
		func(o order, city string, found bool) string { return fmt.Sprintf("%v from %q", o, city) })
	h := operatortest.New(exampleTB{}, stage, operatortest.Options{})
	h.Process(order{"ann", 30}, 0)
	h.Process(order{"bob", 20}, 0)
	h.EndInput()
	fmt.Println(h.Records())
	h.Close()
	// Output:
	// [ann30 from "Bern" bob20 from ""]
}
