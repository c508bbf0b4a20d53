package file

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
)

// TestConformanceSink runs the suite that every sink passes.
func TestConformanceSink(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		connectortest.TestSink(t, connectortest.SinkSuite[order]{
			New: func(t *testing.T) (func() connectors.Sink[order], func() []string) {
				s := store(t)
				sink := func() connectors.Sink[order] {
					sink := NewSink(Options[order]{URL: "unused", OpenFiles: 2, Time: func(o order) time.Time { return o.At }})
					sink.connect = func() (objects, error) { return s, nil }
					return sink
				}
				return sink, func() (ids []string) {
					for _, o := range readNames(t, s, visibleNames(t, s)) {
						ids = append(ids, o.ID)
					}
					return ids
				}
			},
			Record: orderOf, ID: func(o order) string { return o.ID }, ExactlyOnce: true, Histories: 5,
		})
	})
}

// TestConformanceSource runs the suite that every source passes.
func TestConformanceSource(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		var want []string
		for _, o := range archive(t, s, 400) {
			want = append(want, o.ID)
		}
		for _, committed := range []bool{false, true} {
			t.Run(fmt.Sprintf("committed=%v", committed), func(t *testing.T) {
				connectortest.TestSource(t, connectortest.SourceSuite[order]{
					New: func(*testing.T) connectors.Source[order] {
						source := NewSource(SourceOptions[order]{URL: "unused", Committed: committed})
						source.connect = func() (objects, error) { return s, nil }
						return source
					},
					Want: want, ID: func(o order) string { return o.ID },
					// Records of one hour and format are in one file, in order.
					Key:       func(o order) string { return fmt.Sprint(o.At.Hour(), o.ID < "id-00200") },
					Histories: 5,
				})
			})
		}
	})
}
