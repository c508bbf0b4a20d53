// Package queries has the queries of the benchmark as a user of the library would write them. SPEC.md, section 4, defines their rows.
package queries

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/dataflow"
	"github.com/millrace-io/millrace/examples/nexmark/internal/digest"
	"github.com/millrace-io/millrace/examples/nexmark/internal/gen"
)

// query adds the steps of one query to a graph: from the events to the sink of its rows.
type query struct {
	name string
	add  func(events dataflow.Stream[gen.Event], total *digest.Total)
}

var all = []query{
	{"q0", q0}, {"q1", q1}, {"q2", q2}, {"q3", q3}, {"q4", q4}, {"q5", q5}, {"q7", q7}, {"q8", q8}, {"q9", q9}, {"q11", q11},
	{"q17", q17}, {"q18", q18}, {"q19", q19}, {"q20", q20},
}

// Names are the names of all queries.
func Names() []string {
	names := make([]string, len(all))
	for i, q := range all {
		names[i] = q.name
	}
	return names
}

// Graph is the named query over the events of a source, its rows added up in total.
func Graph(name string, source gen.Source, total *digest.Total) (*dataflow.Graph, error) {
	i := slices.IndexFunc(all, func(q query) bool { return q.name == name })
	if i < 0 {
		return nil, fmt.Errorf("nexmark: there is no query %q; there are %s", name, strings.Join(Names(), ", "))
	}
	g := dataflow.New("nexmark-" + name)
	all[i].add(g.From("events", source).Timestamps(gen.Watermarks()), total)
	return g, nil
}

// bids are the bids among the events.
func bids(events dataflow.Stream[gen.Event]) dataflow.Stream[gen.Bid] {
	return events.FlatMap(func(e gen.Event, emit func(gen.Bid) error) error {
		if e.Kind() != gen.BidKind {
			return nil
		}
		return emit(e.Bid)
	})
}

// auctions are the auctions among the events.
func auctions(events dataflow.Stream[gen.Event]) dataflow.Stream[gen.Auction] {
	return events.FlatMap(func(e gen.Event, emit func(gen.Auction) error) error {
		if e.Auction == nil {
			return nil
		}
		return emit(*e.Auction)
	})
}

// windowCause is the event that may let the watermark pass the end of a window.
func windowCause(endMS int64) int64 { return gen.FirstBeyond(endMS - 1) }
