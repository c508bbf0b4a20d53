package operators_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// windowModel keeps every record for ever and computes each window from scratch, straight from the definition: a window [s, s+size) with
// s ≡ offset mod slide holds the records of its interval that came while the watermark was below s+size−1.
type windowModel struct {
	size, slide, offset int64
	watermark           int64
	records             []modelRecord
}

type modelRecord struct {
	key string
	n   int64
	ts  int64
	at  int64 // the watermark when it came
}

func (m *windowModel) starts(ts int64) []int64 {
	var starts []int64
	for s := ts - m.size + 1; s <= ts; s++ {
		if d := s - m.offset; ((d%m.slide)+m.slide)%m.slide == 0 {
			starts = append(starts, s)
		}
	}
	return starts
}

// add takes a record and reports whether it is late: all its windows are over, or it has none and its time has passed.
func (m *windowModel) add(key string, n, ts int64) (late bool) {
	m.records = append(m.records, modelRecord{key, n, ts, m.watermark})
	starts := m.starts(ts)
	for _, s := range starts {
		if s+m.size-1 > m.watermark {
			return false
		}
	}
	return len(starts) > 0 || ts <= m.watermark
}

// advance raises the watermark and returns the windows that fire, by end, then key.
func (m *windowModel) advance(ms int64) string {
	type result struct {
		end int64
		key string
		sum int64
	}
	var fired []result
	for _, r := range m.records {
		for _, s := range m.starts(r.ts) {
			end := s + m.size
			if end-1 <= m.watermark || end-1 > ms || r.at >= end-1 {
				continue
			}
			i := slices.IndexFunc(fired, func(f result) bool { return f.end == end && f.key == r.key })
			if i < 0 {
				i = len(fired)
				fired = append(fired, result{end: end, key: r.key})
			}
			fired[i].sum += r.n
		}
	}
	m.watermark = max(m.watermark, ms)
	slices.SortFunc(fired, func(a, b result) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key)) })
	var text []string
	for _, f := range fired {
		text = append(text, fmt.Sprintf("%s[%d,%d)=%d@%d", f.key, f.end-m.size, f.end, f.sum, f.end-1))
	}
	return strings.Join(text, ", ")
}

// TestWindowsAgainstTheModel compares random histories, with restores at random parallelism, on both backends. Rapid prints the seed and
// the shrunk history of a failure.
func TestWindowsAgainstTheModel(t *testing.T) {
	backends := map[string]func() state.Backend{
		"memory": func() state.Backend { return memstate.New() },
		"pebble": func() state.Backend {
			// A cache of the least size, so that windows come and go between the cache and the store.
			return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
		},
	}
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { windowHistory(t, backend()) })
		})
	}
}

func windowHistory(t *rapid.T, backend state.Backend) {
	m := &windowModel{size: rapid.Int64Range(1, 30).Draw(t, "size"), watermark: operators.NoWatermark}
	m.slide = rapid.OneOf(rapid.Just(m.size), rapid.Int64Range(1, 40)).Draw(t, "slide")
	m.offset = rapid.Int64Range(1-m.slide, m.slide-1).Draw(t, "offset")
	agg := sumOrders()
	agg.Commutative = rapid.Bool().Draw(t, "panes")
	w := operators.Windows{Size: ms(m.size), Slide: ms(m.slide), Offset: ms(m.offset)}
	g := newGroup(t, operators.WindowAggregate(who, nil, w, agg, windowText), who, operatortest.Options{MaxParallelism: 8, State: backend})
	now := rapid.Int64Range(-1000, 1000).Draw(t, "from")
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0:
			g.restore(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		case 1, 2:
			now += rapid.Int64Range(0, 25).Draw(t, "forward")
			checkFired(t, g, m, now)
		default:
			key := rapid.SampledFrom([]string{"a", "b", "c", "dd"}).Draw(t, "key")
			ts, n := now+rapid.Int64Range(-40, 40).Draw(t, "ts"), rapid.Int64Range(1, 9).Draw(t, "n")
			late := ""
			if m.add(key, n, ts) {
				late = fmt.Sprintf("%s%d@%d", key, n, ts)
			}
			g.process(order{key, n}, ts)
			if got := sideText(g); got != late {
				t.Fatalf("record %s%d@%d at watermark %d: late %q, want %q", key, n, ts, m.watermark, got, late)
			}
		}
	}
	checkFired(t, g, m, operators.EndOfTime)
	for _, h := range g.subtasks {
		if n := h.Snapshot().Bytes(); n != 0 {
			t.Fatalf("%d bytes of state are left after every window has fired", n)
		}
	}
}

func checkFired(t *rapid.T, g *group[order, string], m *windowModel, watermark int64) {
	before := m.watermark
	text := m.advance(watermark)
	g.each(func(h *operatortest.Harness[order, string]) { h.Watermark(watermark) })
	var got []string
	for _, e := range g.outputs(func(e operatortest.Element[string]) int64 { return e.TimestampMS }) {
		if e.Kind == operatortest.Record {
			got = append(got, e.String())
		}
	}
	if len(g.subtasks) > 1 { // the keys of one window come from several subtasks
		slices.SortStableFunc(got, func(a, b string) int { return cmp.Compare(windowOrder(a), windowOrder(b)) })
	}
	if s := strings.Join(got, ", "); s != text {
		t.Fatalf("watermark %d to %d:\n got %s\nwant %s", before, watermark, s, text)
	}
}

// windowOrder is what results of one step are ordered by: the timestamp, in a form that sorts as text, then the key.
func windowOrder(result string) string {
	var ts int64
	if _, err := fmt.Sscan(result[strings.LastIndexByte(result, '@')+1:], &ts); err != nil {
		return result
	}
	return fmt.Sprintf("%016d %s", ts+1<<40, result)
}

func sideText(g *group[order, string]) string {
	var text []string
	for _, h := range g.subtasks {
		for _, e := range h.SideOutput(operators.LateRecords[order]()) {
			text = append(text, e.String())
		}
	}
	return strings.Join(text, ", ")
}
