package operators_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// windowsModel is a window operator written straight from the definitions: every window is an object with all its records and a set of
// timers, every result is computed from scratch, and every question is answered by looking at all windows.
type windowsModel struct {
	assigner, trigger, evictor, function string

	size, slide, offset, gap, lateness  int64 // of the windows, ms
	n, interval, threshold, timeout     int64 // of the trigger
	keep                                int64 // of the evictor
	purging, after, resets, keepTimeout bool

	watermark, clock int64
	windows          []*modelWindow
	fires            map[string]int
	out, late        []string
}

type modelWindow struct {
	key        string
	start, end int64
	records    []modelRecord
	fires      int

	count, next, reference, timeout   int64
	hasNext, hasReference, hasTimeout bool
	eventTimers, processingTimers     map[int64]bool
}

func (m *windowsModel) processing() bool {
	return strings.HasSuffix(m.assigner, "processing")
}

// event reports whether windows end by the watermark.
func (m *windowsModel) event() bool { return !m.processing() && m.assigner != "global" }

func (w *modelWindow) last() int64 {
	if w.end == math.MaxInt64 {
		return w.end
	}
	return w.end - 1
}

func (m *windowsModel) cleanup(w *modelWindow) int64 {
	if w.last() > math.MaxInt64-m.lateness {
		return math.MaxInt64
	}
	return w.last() + m.lateness
}

// bounds are the windows of a record, the latest first.
func (m *windowsModel) bounds(r modelRecord) [][2]int64 {
	at := r.ts
	if m.processing() {
		at = m.clock
	}
	switch strings.Fields(m.assigner)[0] {
	case "global":
		return [][2]int64{{math.MinInt64, math.MaxInt64}}
	case "session":
		return [][2]int64{{at, at + m.gap}}
	case "gaps":
		return [][2]int64{{at, at + m.gap*r.n}}
	}
	var out [][2]int64
	for s := at; s > at-m.size; s-- {
		if d := s - m.offset; ((d%m.slide)+m.slide)%m.slide == 0 {
			out = append(out, [2]int64{s, s + m.size})
		}
	}
	return out
}

func (m *windowsModel) merging() bool {
	return strings.HasPrefix(m.assigner, "session") || strings.HasPrefix(m.assigner, "gaps")
}

// window is the window of key with the bounds, made if there is none; for sessions what it becomes with all that it meets.
func (m *windowsModel) window(key string, start, end int64) *modelWindow {
	w := &modelWindow{key: key, start: start, end: end, eventTimers: map[int64]bool{}, processingTimers: map[int64]bool{}}
	var met []*modelWindow
	for _, o := range m.windows {
		same := o.start == start && o.end == end
		if o.key == key && (same || m.merging() && o.start <= end && start <= o.end) {
			met = append(met, o)
		}
	}
	if len(met) == 0 {
		m.windows = append(m.windows, w)
		return w
	}
	slices.SortFunc(met, func(a, b *modelWindow) int { return cmp.Compare(a.start, b.start) })
	w.start, w.end = min(start, met[0].start), max(end, met[len(met)-1].end)
	if len(met) == 1 && w.start == met[0].start && w.end == met[0].end {
		return met[0]
	}
	for _, o := range met {
		w.records = append(w.records, o.records...)
		w.fires += o.fires
		w.count += o.count
		if o.hasNext && (!w.hasNext || o.next < w.next) {
			w.next, w.hasNext = o.next, true
		}
	}
	m.windows = slices.DeleteFunc(m.windows, func(o *modelWindow) bool { return slices.Contains(met, o) })
	m.windows = append(m.windows, w)
	if w.hasNext {
		m.timers(w, strings.HasSuffix(m.trigger, "processing"))[w.next] = true
	}
	return w
}

func (m *windowsModel) timers(w *modelWindow, processing bool) map[int64]bool {
	if processing {
		return w.processingTimers
	}
	return w.eventTimers
}

func (m *windowsModel) record(r modelRecord) {
	taken := false
	for _, b := range m.bounds(r) {
		had := len(m.windows)
		w := m.window(r.key, b[0], b[1])
		if m.event() && m.cleanup(w) <= m.watermark {
			if len(m.windows) > had {
				m.windows = m.windows[:had]
			}
			continue
		}
		taken = true
		w.records = append(w.records, r)
		m.decide(w, m.onRecord(w, r))
		if c := m.cleanup(w); c != math.MaxInt64 {
			m.timers(w, m.processing())[c] = true
		}
	}
	if !taken && m.event() && r.ts+m.lateness <= m.watermark {
		m.late = append(m.late, fmt.Sprintf("%s%d@%d", r.key, r.n, r.ts))
	}
}

func (m *windowsModel) next(w *modelWindow, at int64) int64 {
	w.next, w.hasNext = min(at-at%m.interval+m.interval, w.last()), true
	return w.next
}

// onRecord is whether the trigger fires.
func (m *windowsModel) onRecord(w *modelWindow, r modelRecord) bool {
	switch m.trigger {
	case "event", "continuous event":
		if w.last() <= m.watermark {
			return true
		}
		w.eventTimers[w.last()] = true
		if m.trigger != "event" && !w.hasNext {
			w.eventTimers[m.next(w, r.ts)] = true
		}
	case "processing":
		w.processingTimers[w.last()] = true
	case "continuous processing":
		if !w.hasNext {
			w.processingTimers[m.next(w, m.clock)] = true
		}
	case "delta":
		if w.hasReference && r.n-w.reference <= m.threshold {
			return false
		}
		fire := w.hasReference
		w.reference, w.hasReference = r.n, true
		return fire
	case "count", "timeout":
		w.count++
		if w.count >= m.n {
			w.count = 0
			m.forgetTimeout(w)
			return true
		}
		if m.trigger == "timeout" && (!w.hasTimeout || m.resets) {
			m.forgetTimeout(w)
			w.timeout, w.hasTimeout = m.clock+m.timeout, true
			w.processingTimers[w.timeout] = true
		}
	}
	return false
}

func (m *windowsModel) forgetTimeout(w *modelWindow) {
	if w.hasTimeout && !(m.processing() && w.timeout == m.cleanup(w)) {
		delete(w.processingTimers, w.timeout)
	}
	w.hasTimeout = false
}

func (m *windowsModel) onTimer(w *modelWindow, at int64, processing bool) bool {
	domain := "event"
	if processing {
		domain = "processing"
	}
	switch {
	case m.trigger == domain:
		return at == w.last()
	case m.trigger == "continuous "+domain:
		if at == w.last() {
			return true
		}
		if !w.hasNext || w.next != at {
			return false
		}
		w.next = min(at+m.interval, w.last())
		if !processing && m.watermark == operators.EndOfTime && w.last() == operators.EndOfTime {
			w.next = w.last()
		}
		m.timers(w, processing)[w.next] = true
		return true
	case m.trigger == "timeout":
		if !m.keepTimeout {
			w.count = 0
			m.forgetTimeout(w)
		}
		return true
	}
	return false
}

func (m *windowsModel) decide(w *modelWindow, fire bool) {
	if !fire {
		return
	}
	if !m.after {
		m.evict(w)
	}
	if len(w.records) > 0 {
		w.fires++
		m.fires[w.key]++
		m.out = append(m.out, fmt.Sprintf("%s[%d,%d)=%s@%d", w.key, w.start, w.end, m.value(w), w.last()))
		if m.after {
			m.evict(w)
		}
	}
	if m.purging {
		w.records = nil
	}
}

func (m *windowsModel) evict(w *modelWindow) {
	newest := int64(math.MinInt64)
	for _, r := range w.records {
		newest = max(newest, r.ts)
	}
	switch m.evictor {
	case "count":
		w.records = w.records[max(0, len(w.records)-int(m.keep)):]
	case "time":
		w.records = slices.DeleteFunc(slices.Clone(w.records), func(r modelRecord) bool { return r.ts <= newest-m.keep })
	case "delta":
		if len(w.records) > 0 {
			last := w.records[len(w.records)-1]
			w.records = slices.DeleteFunc(slices.Clone(w.records), func(r modelRecord) bool { return last.n-r.n >= m.keep })
		}
	}
}

func (m *windowsModel) value(w *modelWindow) string {
	sum, list := int64(0), ""
	for _, r := range w.records {
		sum += r.n
		list += fmt.Sprint(",", r.n)
	}
	switch m.function {
	case "sum", "reduce":
		return fmt.Sprint(sum)
	case "process":
		return fmt.Sprintf("%d/%d%s", w.fires, m.fires[w.key], list)
	}
	return list
}

// advance fires all timers up to the watermark or the clock, in the order of time, key and window.
func (m *windowsModel) advance(to int64, processing bool) {
	for {
		var due *modelWindow
		var at int64
		for _, w := range m.windows {
			for t := range m.timers(w, processing) {
				order := 0
				if due != nil {
					order = cmp.Or(cmp.Compare(t, at), cmp.Compare(w.key, due.key), cmp.Compare(w.end, due.end), cmp.Compare(w.start, due.start))
				}
				if t <= to && (due == nil || order < 0) {
					due, at = w, t
				}
			}
		}
		if due == nil {
			return
		}
		delete(m.timers(due, processing), at)
		m.decide(due, m.onTimer(due, at, processing))
		if processing == m.processing() && at == m.cleanup(due) && at != math.MaxInt64 {
			m.windows = slices.DeleteFunc(m.windows, func(o *modelWindow) bool { return o == due })
		}
	}
}

// drawModel chooses windows that the operator accepts.
func drawModel(t *rapid.T) *windowsModel {
	m := &windowsModel{watermark: operators.NoWatermark, fires: map[string]int{}}
	m.assigner = rapid.SampledFrom([]string{"tumbling", "sliding", "session", "gaps", "global", "tumbling processing", "sliding processing", "session processing", "own"}).Draw(t, "assigner")
	m.size, m.slide = rapid.Int64Range(1, 20).Draw(t, "size"), rapid.Int64Range(1, 25).Draw(t, "slide")
	if strings.HasPrefix(m.assigner, "tumbling") {
		m.slide = m.size
	}
	m.offset = rapid.Int64Range(1-m.slide, m.slide-1).Draw(t, "offset")
	m.gap = rapid.Int64Range(1, 12).Draw(t, "gap")
	if m.event() {
		m.lateness = rapid.SampledFrom([]int64{0, 0, 1, 7, m.slide, 40}).Draw(t, "lateness")
	}
	triggers := []string{"event", "processing", "count", "continuous event", "continuous processing", "delta", "timeout"}
	if m.merging() {
		triggers = triggers[:5]
	}
	m.trigger = rapid.SampledFrom(triggers).Draw(t, "trigger")
	if rapid.Bool().Draw(t, "default") && m.assigner != "global" {
		m.trigger = "event"
		if m.processing() {
			m.trigger = "processing"
		}
	}
	m.n, m.interval = rapid.Int64Range(1, 4).Draw(t, "n"), rapid.Int64Range(1, 15).Draw(t, "interval")
	m.threshold, m.timeout = rapid.Int64Range(0, 5).Draw(t, "threshold"), rapid.Int64Range(1, 20).Draw(t, "timeout")
	m.purging = rapid.IntRange(0, 3).Draw(t, "purging") == 0
	m.resets, m.keepTimeout = rapid.Bool().Draw(t, "resets"), rapid.Bool().Draw(t, "keeps")
	m.evictor = rapid.SampledFrom([]string{"", "", "", "time", "count", "delta"}).Draw(t, "evictor")
	if m.merging() && m.evictor != "time" {
		m.evictor = ""
	}
	m.keep, m.after = rapid.Int64Range(1, 4).Draw(t, "keep"), m.evictor != "" && rapid.Bool().Draw(t, "after")
	m.function = rapid.SampledFrom([]string{"sum", "concat", "reduce", "process"}).Draw(t, "function")
	return m
}

func (m *windowsModel) spec() operators.WindowSpec[order] {
	var s operators.WindowSpec[order]
	switch strings.Fields(m.assigner)[0] {
	case "global":
		s.Windows = operators.Global()
	case "session":
		s.Windows = operators.Session(ms(m.gap))
	case "gaps":
		s = operators.SessionBy(func(o order) time.Duration { return ms(m.gap * o.N) })
	case "own":
		s = operators.AssignBy(func(o order, tsMS int64, ws []operators.Window) []operators.Window {
			for _, b := range m.bounds(modelRecord{ts: tsMS}) {
				ws = append(ws, operators.Window{StartMS: b[0], EndMS: b[1]})
			}
			return ws
		})
	default:
		s.Windows = operators.Sliding(ms(m.size), ms(m.slide)).WithOffset(ms(m.offset))
	}
	if m.processing() {
		s = s.InProcessingTime()
	}
	s.AllowedLateness = ms(m.lateness)
	switch m.trigger {
	case "event":
		s.Trigger = operators.EventTimeTrigger[order]()
	case "processing":
		s.Trigger = operators.ProcessingTimeTrigger[order]()
	case "count":
		s.Trigger = operators.CountTrigger[order](m.n)
	case "continuous event":
		s.Trigger = operators.ContinuousEventTimeTrigger[order](ms(m.interval))
	case "continuous processing":
		s.Trigger = operators.ContinuousProcessingTimeTrigger[order](ms(m.interval))
	case "delta":
		s.Trigger = operators.DeltaTrigger(float64(m.threshold), func(a, b order) float64 { return float64(b.N - a.N) })
	case "timeout":
		s.Trigger = operators.CountTrigger[order](m.n).WithTimeout(operators.Timeout{After: ms(m.timeout), ResetOnRecord: m.resets, KeepState: m.keepTimeout})
	}
	if m.purging {
		s.Trigger = s.Trigger.Purging()
	}
	switch m.evictor {
	case "count":
		s.Evictor = operators.CountEvictor[order](int(m.keep))
	case "time":
		s.Evictor = operators.TimeEvictor[order](ms(m.keep))
	case "delta":
		s.Evictor = operators.DeltaEvictor(float64(m.keep), func(v, last order) float64 { return float64(last.N - v.N) })
	}
	if m.after {
		s.Evictor = s.Evictor.AfterFunction()
	}
	return s
}

func windowString(k string, w operators.Window, v string) string {
	return fmt.Sprintf("%s[%d,%d)=%s", k, w.StartMS, w.EndMS, v)
}

func (m *windowsModel) stage() operators.Stage[order, string] {
	switch m.function {
	case "sum":
		return operators.WindowAggregate(who, nil, m.spec(), sumOrders(), windowText)
	case "concat":
		return operators.WindowAggregate(who, nil, m.spec(), state.Aggregate[order, string, string]{
			Add:    func(s string, o order) string { return fmt.Sprint(s, ",", o.N) },
			Merge:  func(a, b string) string { return a + b },
			Result: func(s string) string { return s },
		}, windowString)
	case "reduce":
		return operators.WindowReduce(who, nil, m.spec(), func(a, b order) order {
			return order{a.Who, a.N + b.N}
		}, func(k string, w operators.Window, o order) string { return windowText(k, w, o.N) })
	}
	return operators.WindowProcess(who, nil, m.spec(), func(f *operators.WindowFunc[string, []order, string]) {
		add := func(a, b int64) int64 { return a + b }
		ofWindow, ofKey := f.WindowValue("window", add), f.Value[int64]("key")
		f.OnFire(func(c *operators.WindowCtx[string, string], os []order) error {
			w, err := ofWindow.Get()
			if err != nil {
				return err
			}
			k, err := ofKey.Get()
			if err != nil {
				return err
			}
			text := fmt.Sprintf("%d/%d", w+1, k+1)
			for _, o := range os {
				text += fmt.Sprint(",", o.N)
			}
			if err := ofWindow.Set(w + 1); err != nil {
				return err
			}
			if err := ofKey.Set(k + 1); err != nil {
				return err
			}
			return c.Emit(windowString(c.Key(), c.Window(), text))
		})
	})
}

// TestAllWindowsAgainstTheModel compares random windows, triggers, evictors and functions on random histories, with restores at random
// parallelism, which keep the watermark or, as Flink does, forget it.
func TestAllWindowsAgainstTheModel(t *testing.T) {
	backends := map[string]func() state.Backend{
		"memory": func() state.Backend { return memstate.New() },
		"pebble": func() state.Backend {
			return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
		},
	}
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { windowsHistory(t, drawModel(t), backend()) })
		})
	}
}

func windowsHistory(t *rapid.T, m *windowsModel, backend state.Backend) {
	g := newGroup(t, m.stage(), who, operatortest.Options{MaxParallelism: 8, State: backend, ForgetWatermark: rapid.Bool().Draw(t, "forgetful")})
	now := rapid.Int64Range(-60, 60).Draw(t, "from")
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		what := ""
		switch rapid.IntRange(0, 11).Draw(t, "step") {
		case 0:
			if g.o.ForgetWatermark {
				m.watermark = operators.NoWatermark
			}
			g.restore(rapid.IntRange(1, 3).Draw(t, "parallelism"))
			what = "restore"
		case 1, 2:
			now += rapid.Int64Range(0, 25).Draw(t, "forward")
			what = fmt.Sprint("watermark ", now)
			if now > m.watermark {
				m.watermark = now
				m.advance(now, false)
			}
			g.each(func(h *operatortest.Harness[order, string]) { h.Watermark(now) })
		case 3, 4:
			m.clock += rapid.Int64Range(0, 15).Draw(t, "tick")
			what = fmt.Sprint("clock ", m.clock)
			m.advance(m.clock, true)
			g.o.NowMS = m.clock
			g.each(func(h *operatortest.Harness[order, string]) { h.AdvanceProcessingTime(m.clock) })
		default:
			r := modelRecord{key: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), n: rapid.Int64Range(1, 9).Draw(t, "n"), ts: now + rapid.Int64Range(-40, 40).Draw(t, "ts")}
			what = fmt.Sprintf("record %+v", r)
			m.record(r)
			g.process(order{r.key, r.n}, r.ts)
		}
		m.compare(t, g, what)
	}
	m.watermark = operators.EndOfTime
	m.advance(operators.EndOfTime, false)
	g.each(func(h *operatortest.Harness[order, string]) { h.EndInput() })
	m.compare(t, g, "end")
	if m.event() && m.function != "process" {
		for _, h := range g.subtasks {
			if n := h.Snapshot().Bytes(); n != 0 {
				t.Fatalf("%d bytes of state are left after every window has gone", n)
			}
		}
	}
}

// compare compares the outputs of a step, key by key.
func (m *windowsModel) compare(t *rapid.T, g *group[order, string], what string) {
	var got []string
	for _, e := range g.outputs(func(operatortest.Element[string]) int64 { return 0 }) {
		if e.Kind == operatortest.Record {
			ts := fmt.Sprint(e.TimestampMS)
			got = append(got, e.Value+"@"+ts)
		}
	}
	byKey := func(a, b string) int { return cmp.Compare(a[0], b[0]) }
	slices.SortStableFunc(got, byKey)
	slices.SortStableFunc(m.out, byKey)
	if !slices.Equal(got, m.out) {
		t.Fatalf("%s at watermark %d, clock %d:\n got %s\nwant %s", what, m.watermark, m.clock, got, m.out)
	}
	if late := sideText(g); late != strings.Join(m.late, ", ") {
		t.Fatalf("%s at watermark %d: late %q, want %q", what, m.watermark, late, m.late)
	}
	m.out, m.late = nil, nil
}
