package operators

import (
	"errors"
	"fmt"
	"sort"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Top says how the rows of a TopN are ranked.
type Top[T any] struct {
	// N is how many ranks there are, at least 1. Rank 1 is the best.
	N int
	// Compare orders rows: negative if a ranks before b, 0 if they rank in the order in which they came. It must be an order, as for
	// slices.SortFunc.
	Compare func(a, b T) int
	// Same reports whether newer is a newer version of the row older, which it then replaces: it ranks by its new contents, behind equal
	// rows, or keeps its place if it compares as equal to what it replaces. Default: each record is a row of its own.
	Same func(older, newer T) bool
	// Spare is how many rows behind rank N are kept as well. Only Top with Same needs some, if rows can get worse: when a row falls behind rank N,
	// the best spare row takes a place; a row that was not kept cannot, until it comes again. Default 0, which is exact for rows
	// that only get better. Memory and the cost of a record grow with N + Spare.
	Spare int
}

// Validate reports every fault.
func (t Top[T]) Validate() error {
	var errs []error
	if t.N < 1 {
		errs = append(errs, fmt.Errorf("operators: Top.N is %d, want at least 1", t.N))
	}
	if t.Spare < 0 {
		errs = append(errs, fmt.Errorf("operators: Top.Spare is %d, want 0 or more", t.Spare))
	}
	if t.Compare == nil {
		errs = append(errs, errors.New("operators: Top.Compare is missing; it says which row ranks before which, e.g. cmp.Compare of a field"))
	}
	if t.Spare > 0 && t.Same == nil {
		errs = append(errs, fmt.Errorf("operators: Top.Spare is %d without Top.Same; rows that are never replaced never leave a rank to a spare one", t.Spare))
	}
	return errors.Join(errs...)
}

// RankChange says what became of a rank.
type RankChange uint8

const (
	// RankAdded is a rank that had no row before.
	RankAdded RankChange = iota
	// RankChanged is a rank that has another row than before, or another version of its row.
	RankChanged
)

// String is "added" or "changed".
func (c RankChange) String() string {
	if c == RankAdded {
		return "added"
	}
	return "changed"
}

// TopN keeps the best rows of each key, and passes on update(key, rank, row, change) for each rank that a record changes, best first, with the
// record's timestamp: whoever writes them under (key, rank) has the current ranking. A record that changes none passes nothing on. Records
// are taken in the order in which they come; time plays no other part.
//
// A row with slices, maps or pointers belongs to the state: update copies what it keeps of them. State kept: a sorted list of N + Spare rows for
// each key, for ever, unless opts bound it: with state.TTL or state.EventTimeTTL the list of a key is forgotten so long after a record
// last changed it (state.TTLOnRead: so long after the last record), nothing is said of that, and the next row has rank 1 again.
// Source: Flink's AppendOnlyTopNFunction and, with Same, UpdatableTopNFunction, both with rank numbers.
func TopN[K comparable, T, U any](key func(T) K, codec serde.Serde[K], top Top[T], update func(key K, rank int, row T, change RankChange) U, opts ...state.Option) Stage[T, U] {
	return func(t *Task, emit func(U) error) (func(T) error, error) {
		err := top.Validate()
		if update == nil {
			err = errors.Join(err, errors.New("operators: TopN has no update function; it makes the output of each rank that has changed"))
		}
		if err != nil {
			return nil, err
		}
		return Process(key, codec, func(b *Keyed[K, T, U]) { rank(b, top, update, opts) })(t, emit)
	}
}

func rank[K comparable, T, U any](b *Keyed[K, T, U], top Top[T], update func(K, int, T, RankChange) U, opts []state.Option) {
	b.Task().UserFuncs(top.Compare, update)
	if top.Same != nil {
		b.Task().UserFuncs(top.Same)
	}
	ranking := b.Value[[]T]("ranking", opts...)
	b.OnRecord(func(c *Ctx[K, U], v T) error {
		rows, err := ranking.Get()
		if err != nil {
			return err
		}
		had := len(rows)
		rows, first, last := top.place(rows, v)
		if first > last {
			return nil
		}
		if err := ranking.Set(rows); err != nil {
			return err
		}
		for i := first; i <= last && i < top.N; i++ {
			change := RankChanged
			if i >= had {
				change = RankAdded
			}
			if err := c.Emit(update(c.Key(), i+1, rows[i], change)); err != nil {
				return err
			}
		}
		return nil
	})
}

// place puts v into rows and returns them with the closed range of indices that have changed; first > last if none has. It works in place.
func (t *Top[T]) place(rows []T, v T) (placed []T, first, last int) {
	if t.Same != nil {
		for i := range rows {
			if t.Same(rows[i], v) {
				first, last = t.replace(rows, i, v)
				return rows, first, last
			}
		}
	}
	at := t.behind(rows, v)
	if at == t.N+t.Spare {
		return rows, 0, -1
	}
	if len(rows) < t.N+t.Spare {
		rows = append(rows, v)
	}
	copy(rows[at+1:], rows[at:])
	rows[at] = v
	return rows, at, len(rows) - 1
}

// replace puts v in the place of rows[old] and moves it where it belongs.
func (t *Top[T]) replace(rows []T, old int, v T) (first, last int) {
	switch order := t.Compare(v, rows[old]); {
	case order < 0:
		at := t.behind(rows[:old], v)
		copy(rows[at+1:old+1], rows[at:old])
		rows[at] = v
		return at, old
	case order > 0:
		at := old + t.behind(rows[old+1:], v)
		copy(rows[old:at], rows[old+1:at+1])
		rows[at] = v
		return old, at
	}
	rows[old] = v
	return old, old
}

// behind is the number of rows that rank before v.
func (t *Top[T]) behind(rows []T, v T) int {
	return sort.Search(len(rows), func(i int) bool { return t.Compare(rows[i], v) > 0 })
}
