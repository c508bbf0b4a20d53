package state_test

import (
	"fmt"
	"math"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
)

// An operator declares its state, opens it, and accesses the entries of the current key. In a job the runtime does everything but the
// declarations and the accesses.
func Example() {
	keys := serde.MustFor[string]()
	hash := serde.HashOf(keys)
	s := state.NewKeyed(keys, state.Config{})
	count := s.Value[int64]("count")
	last := s.List[string]("last", state.TTL(time.Hour))
	must(s.Err())
	must(s.Open(memstate.New(), state.OpenOptions{UID: "example", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
	defer s.Close()

	for _, word := range []string{"ox", "cow", "ox"} {
		s.SetCurrent(word, hash(word))
		n, err := count.Get()
		must(err)
		must(count.Set(n + 1))
		must(last.Append(fmt.Sprint("seen ", n+1)))
	}
	s.SetCurrent("ox", hash("ox"))
	n, _ := count.Get()
	seen, _ := last.Values()
	fmt.Println(n, seen)
	// Output: 2 [seen 1 seen 2]
}

func ExampleMap() {
	s := state.NewKeyed[string](nil, state.Config{})
	byProduct := s.Map[string, int64]("by-product")
	openExample(s)
	s.SetCurrent("customer", 1)
	must(byProduct.Put("tea", 3))
	must(byProduct.Put("ink", 1))
	must(byProduct.Put("tea", 4))
	must(byProduct.Range(func(product string, n int64) error {
		fmt.Println(product, n)
		return nil
	}))
	// Output:
	// ink 1
	// tea 4
}

// State with a time to live in event time is forgotten when the watermark says so, in every run over the same records at the same place. In a job
// the operator gives its clock; here it is a variable.
func ExampleEventTimeTTL() {
	timestamp, watermark := int64(0), int64(math.MinInt64)
	s := state.NewKeyed[string](nil, state.Config{EventTime: func() (int64, int64) { return timestamp, watermark }})
	last := s.Value[string]("last", state.EventTimeTTL(time.Minute))
	openExample(s)
	at := func(ms int64) { timestamp = ms; s.SetCurrent("card", 1) }
	at(10_000)
	must(last.Set("Oslo"))
	for _, watermark = range []int64{69_999, 70_000} {
		at(watermark)
		place, ok, err := last.Lookup()
		must(err)
		fmt.Printf("%q %v\n", place, ok)
	}
	// Output:
	// "Oslo" true
	// "" false
}

func ExampleReducing() {
	s := state.NewKeyed[string](nil, state.Config{})
	highest := s.Reducing("highest", func(a, b int64) int64 { return max(a, b) })
	openExample(s)
	s.SetCurrent("auction", 1)
	for _, bid := range []int64{3, 7, 5} {
		must(highest.Add(bid))
	}
	fmt.Println(highest.Get())
	// Output: 7 true <nil>
}

func ExampleAggregating() {
	type acc struct{ Sum, N int64 }
	s := state.NewKeyed[string](nil, state.Config{})
	mean := s.Aggregating("mean", state.Aggregate[int64, acc, float64]{
		Add:    func(a acc, v int64) acc { return acc{a.Sum + v, a.N + 1} },
		Result: func(a acc) float64 { return float64(a.Sum) / float64(a.N) },
	})
	openExample(s)
	s.SetCurrent("sensor", 1)
	must(mean.Add(1))
	must(mean.Add(2))
	fmt.Println(mean.Get())
	// Output: 1.5 true <nil>
}

func ExampleTimers() {
	s := state.NewKeyed[string](nil, state.Config{})
	timers := s.Timers("timers")
	openExample(s)
	s.SetCurrent("late", 1)
	timers.Register(state.EventTime, 2000)
	s.SetCurrent("early", 2)
	timers.Register(state.EventTime, 1000)
	timers.Register(state.EventTime, 1000) // once is enough
	for {
		key, _, ts, ok := timers.PopDue(state.EventTime, 1999)
		if !ok {
			break
		}
		fmt.Println(key, ts)
	}
	fmt.Println(timers.Next(state.EventTime))
	// Output:
	// early 1000
	// 2000 true
}

func openExample(s *state.Keyed[string]) {
	must(s.Err())
	must(s.Open(memstate.New(), state.OpenOptions{UID: "example", Groups: state.GroupRange{End: state.DefaultMaxParallelism}}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
