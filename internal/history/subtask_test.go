package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

const (
	maxParallelism = 8
	ttl            = 10 * time.Second
)

// subtask is one subtask of the operator under test.
type subtask struct {
	*state.Keyed[string]
	groups state.GroupRange
	value  *state.Value[string]
	sum    *state.Reducing[int64]
	list   *state.List[string]
	table  *state.Map[int64, string]
	mortal *state.Value[int64]
	timers *state.Timers[string]
}

func declare(now func() time.Time) *subtask {
	s := state.NewKeyed(serde.MustFor[string](), state.Config{MaxParallelism: maxParallelism, Now: now})
	return &subtask{
		Keyed: s, value: s.Value[string]("value"), sum: s.Reducing("sum", func(a, b int64) int64 { return a + b }),
		list: s.List[string]("list"), table: s.Map[int64, string]("table"),
		mortal: s.Value[int64]("mortal", state.TTL(ttl)), timers: s.Timers("timers"),
	}
}

var hashKey = serde.HashOf(serde.MustFor[string]())

func groupOf(key string) int { return state.GroupOf(hashKey(key), maxParallelism) }

func (s *subtask) owns(key string) bool { return s.groups.Contains(groupOf(key)) }

func (s *subtask) at(key string) *subtask {
	s.SetCurrent(key, hashKey(key))
	return s
}

// read is everything under a key, as entry.text writes it.
func (s *subtask) read(key string) (string, error) {
	s.at(key)
	e := &entry{table: map[int64]string{}}
	var err error
	fail := func(err2 error) { err = errors.Join(err, err2) }
	var e2 error
	e.value, e2 = s.value.Get()
	fail(e2)
	e.sum, _, e2 = s.sum.Get()
	fail(e2)
	e.list, e2 = s.list.Values()
	fail(e2)
	fail(s.table.Range(func(k int64, v string) error { e.table[k] = v; return nil }))
	e.mortal, e2 = s.mortal.Get()
	fail(e2)
	e.until = 1 << 62
	return e.text(0), err
}

// compare reads every key that the model or the state has, and reports the first difference.
func (s *subtask) compare(m *model, nowMS int64) error {
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		if !s.owns(key) {
			continue
		}
		got, err := s.read(key)
		if err != nil {
			return fmt.Errorf("read %q: %w", key, err)
		}
		if want := m.keys[key].text(nowMS); got != want {
			return fmt.Errorf("key %q of group %d has\n\t%s\nwant\n\t%s", key, groupOf(key), got, want)
		}
	}
	for _, h := range []state.Handle{s.value, s.list, s.table, s.sum} {
		err := s.EachKey(h, func(key string, _ uint64) error {
			if m.keys[key] == nil {
				return fmt.Errorf("key %q is there and was never written", key)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
