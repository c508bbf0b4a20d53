package operators

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// TimestampedValue is a record in a window, with its timestamp, Unix ms, or connectors.NoTimestamp.
type TimestampedValue[T any] struct {
	Value       T
	TimestampMS int64
}

// Evictor removes records from a window when it gives a result. What it removes is gone for later results too; a window from which all
// are removed before its function runs gives no result.
// Source: Flink Evictor.
type Evictor[T any] struct {
	// Name is for messages.
	Name string
	// Before is called before the function of the window, and returns the elements that stay, in their order; it may change and return the slice that
	// it is given. nil: all stay. elements are in the order in which they came.
	Before func(c *EvictorCtx, elements []TimestampedValue[T]) []TimestampedValue[T]
	// After is the same, called after the function of the window.
	After func(c *EvictorCtx, elements []TimestampedValue[T]) []TimestampedValue[T]
	// Merges says that the order of elements does not matter: windows that merge may use it.
	Merges bool

	fault error
}

// EvictorCtx is what an evictor sees of the window. It is valid during the call.
type EvictorCtx struct {
	window Window
	task   *Task
}

// Window is the current window.
func (c *EvictorCtx) Window() Window { return c.window }

// WatermarkMS is the current watermark, Unix ms, or NoWatermark.
func (c *EvictorCtx) WatermarkMS() int64 { return c.task.Watermark() }

// Now is the wall clock.
func (c *EvictorCtx) Now() time.Time { return c.task.Now() }

func (e Evictor[T]) set() bool { return e.Before != nil || e.After != nil || e.fault != nil }

// AfterFunction evicts after the function of the window where e evicts before it.
func (e Evictor[T]) AfterFunction() Evictor[T] {
	if e.Before == nil {
		e.fault = errors.Join(e.fault, fmt.Errorf("operators: evictor %q has no Before to be called after the function", e.Name))
	}
	e.Before, e.After = nil, e.Before
	return e
}

// CountEvictor keeps the n newest records, by their order of arrival. n is at least 1.
// Source: Flink CountEvictor.
func CountEvictor[T any](n int) Evictor[T] {
	e := Evictor[T]{Name: "count", Before: func(_ *EvictorCtx, elements []TimestampedValue[T]) []TimestampedValue[T] {
		return elements[max(0, len(elements)-n):]
	}}
	if n < 1 {
		e.fault = fmt.Errorf("operators: CountEvictor keeps %d records, want at least 1", n)
	}
	return e
}

// TimeEvictor keeps the records with timestamps above the largest one of the window less size. size is whole ms, at least 1 ms. Where the first record has no
// timestamp it keeps all.
// Source: Flink TimeEvictor.
func TimeEvictor[T any](size time.Duration) Evictor[T] {
	return Evictor[T]{Name: "time", Merges: true, fault: faultOfInterval("TimeEvictor has the size", size),
		Before: func(_ *EvictorCtx, elements []TimestampedValue[T]) []TimestampedValue[T] {
			if len(elements) == 0 || elements[0].TimestampMS == connectors.NoTimestamp {
				return elements
			}
			newest := elements[0].TimestampMS
			for _, e := range elements {
				newest = max(newest, e.TimestampMS)
			}
			kept := elements[:0]
			for _, e := range elements {
				if addMS(e.TimestampMS, size.Milliseconds()) > newest {
					kept = append(kept, e)
				}
			}
			return kept
		}}
}

// DeltaEvictor keeps the records with delta(record, last) < threshold, where last is the record that came last.
// Source: Flink DeltaEvictor.
func DeltaEvictor[T any](threshold float64, delta func(v, last T) float64) Evictor[T] {
	e := Evictor[T]{Name: "delta", Before: func(_ *EvictorCtx, elements []TimestampedValue[T]) []TimestampedValue[T] {
		if len(elements) == 0 {
			return elements
		}
		last := elements[len(elements)-1].Value
		kept := elements[:0]
		for _, e := range elements {
			if !(delta(e.Value, last) >= threshold) {
				kept = append(kept, e)
			}
		}
		return kept
	}}
	if delta == nil {
		e.fault = errors.New("operators: DeltaEvictor needs a delta function")
	}
	return e
}
