package operators_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

// asyncService is what the steps of the tests call: a call ends when the test says so. Only one goroutine uses it.
type asyncService struct {
	open map[int64]func([]string, error) // the newest call for the record with that number, until it has ended
	seq  map[int64]int                   // when that record was first called for
	n    int
}

func newAsyncService() *asyncService {
	return &asyncService{open: map[int64]func([]string, error){}, seq: map[int64]int{}}
}

func (s *asyncService) call(_ context.Context, o order, done func([]string, error)) {
	if _, again := s.seq[o.N]; !again {
		s.n++
		s.seq[o.N] = s.n
	}
	s.open[o.N] = done
}

// end ends the call for record n.
func (s *asyncService) end(n int64, out []string, err error) {
	done := s.open[n]
	delete(s.open, n)
	done(out, err)
}

// forget drops all calls, as a restart does.
func (s *asyncService) forget() {
	clear(s.open)
	clear(s.seq)
}

// asyncItem is a record or a watermark in the model.
type asyncItem struct {
	o       order
	ts      int64
	mark    int64
	isMark  bool
	calls   int
	waits   bool
	retryAt int64
	until   int64 // deadline
	done    int   // 0: not yet; else the order in which records were
	out     []string
	dead    string
	emitted bool
}

// asyncModel is the step from its definition: it keeps everything for ever, and looks through all of it after each event for what may go out.
type asyncModel struct {
	ordered, keyed bool
	timeout        int64
	attempts       int
	now            int64
	dones          int
	subtasks       []*asyncModelTask
	service        *asyncService
}

type asyncModelTask struct {
	items []*asyncItem
	mark  int64 // the last one put out
	out   []string
	dead  []string
}

func (m *asyncModel) call(x *asyncItem) {
	x.calls++
	x.waits = false
	if x.calls == 1 {
		x.until = m.now + m.timeout
	}
}

// admit calls for x unless a record of its key is before it.
func (m *asyncModel) admit(s *asyncModelTask, x *asyncItem) {
	if m.keyed {
		for _, y := range s.items {
			if y == x {
				break
			}
			if !y.isMark && y.done == 0 && y.o.Who == x.o.Who {
				return
			}
		}
	}
	m.call(x)
}

func (m *asyncModel) settle(s *asyncModelTask, x *asyncItem, out []string, dead string) {
	m.dones++
	x.done, x.out, x.dead = m.dones, out, dead
	if m.keyed {
		for _, y := range s.items {
			if !y.isMark && y.done == 0 && y.o.Who == x.o.Who {
				m.call(y)
				break
			}
		}
	}
	s.flush(m.ordered)
}

// flush puts out what may go.
func (s *asyncModelTask) flush(ordered bool) {
	for {
		var next *asyncItem
		for _, x := range s.items {
			if x.emitted {
				continue
			}
			if x.isMark {
				if !slices.ContainsFunc(s.items[:slices.Index(s.items, x)], func(y *asyncItem) bool { return !y.emitted }) {
					next = x
				}
				break
			}
			if x.done > 0 && (next == nil || x.done < next.done) {
				next = x
			}
			if ordered {
				break
			}
		}
		if next == nil {
			return
		}
		next.emitted = true
		switch {
		case next.isMark && next.mark > s.mark:
			s.mark = next.mark
			s.out = append(s.out, fmt.Sprint("watermark ", next.mark))
		case next.dead != "":
			s.dead = append(s.dead, next.dead)
		default:
			for _, o := range next.out {
				s.out = append(s.out, fmt.Sprintf("%s@%d", o, next.ts))
			}
		}
	}
}

// calling are the records that have a call now.
func (m *asyncModel) calling() (items []*asyncItem, tasks []*asyncModelTask) {
	for _, s := range m.subtasks {
		for _, x := range s.items {
			if !x.isMark && x.done == 0 && x.calls > 0 && !x.waits {
				items, tasks = append(items, x), append(tasks, s)
			}
		}
	}
	return items, tasks
}

// advance moves the clock.
func (m *asyncModel) advance(now int64) {
	m.now = now
	for _, s := range m.subtasks {
		for {
			var first *asyncItem
			at := func(x *asyncItem) int64 {
				if x.waits {
					return min(x.retryAt, x.until)
				}
				return x.until
			}
			for _, x := range s.items {
				if x.isMark || x.done > 0 || x.calls == 0 || at(x) > now {
					continue
				}
				if first == nil || at(x) < at(first) || at(x) == at(first) && m.service.seq[x.o.N] < m.service.seq[first.o.N] {
					first = x
				}
			}
			if first == nil {
				break
			}
			if first.until > now {
				m.call(first)
				continue
			}
			m.settle(s, first, []string{fmt.Sprint("timeout ", first.o.N)}, "")
		}
	}
}

// restore deals the records to other subtasks.
func (m *asyncModel) restore(parallelism int, owner func(order) int) {
	marks := len(m.subtasks) == 1 && parallelism == 1
	low := operators.EndOfTime
	type placed struct {
		place int
		x     *asyncItem
	}
	left := make([][]placed, parallelism)
	for i, s := range m.subtasks {
		low = min(low, s.mark)
		place := 0
		for _, x := range s.items {
			if x.emitted || x.isMark && !marks {
				continue
			}
			to := i % parallelism
			if m.keyed && !x.isMark {
				to = owner(x.o)
			}
			left[to] = append(left[to], placed{place, &asyncItem{o: x.o, ts: x.ts, mark: x.mark, isMark: x.isMark}})
			place++
		}
	}
	m.subtasks = nil
	for _, items := range left {
		if m.keyed {
			slices.SortStableFunc(items, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
		}
		s := &asyncModelTask{mark: low}
		if low != operators.NoWatermark {
			s.out = append(s.out, fmt.Sprint("watermark ", low))
		}
		for _, p := range items {
			s.items = append(s.items, p.x)
			if !p.x.isMark {
				m.admit(s, p.x)
			}
		}
		m.subtasks = append(m.subtasks, s)
	}
}

// TestAsyncAgainstTheModel compares random histories of records, watermarks, results in any order, failures, timeouts and restores at other
// parallelisms. Rapid prints the seed and the shrunk history of a failure.
func TestAsyncAgainstTheModel(t *testing.T) {
	for _, mode := range []string{"ordered", "unordered", "keyed"} {
		t.Run(mode, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { asyncHistory(t, mode) })
		})
	}
}

// asyncRun is one history: the operator in some subtasks, and the model.
type asyncRun struct {
	t       *rapid.T
	service *asyncService
	m       *asyncModel
	stage   operators.Stage[order, string]
	o       operatortest.Options
	tasks   []*operatortest.Harness[order, string]
	emitted map[int64]int
}

var (
	errAsyncBroken = errors.New("broken")
	errAsyncBad    = operators.BadRecord(errors.New("bad"))
)

func newAsyncRun(t *rapid.T, mode string) *asyncRun {
	r := &asyncRun{t: t, service: newAsyncService(), emitted: map[int64]int{}, o: operatortest.Options{MaxParallelism: 8, DeadLetters: true}}
	r.m = &asyncModel{ordered: mode == "ordered", keyed: mode == "keyed", service: r.service,
		timeout: rapid.Int64Range(1, 30).Draw(t, "timeout"), attempts: rapid.IntRange(2, 4).Draw(t, "attempts")}
	o := operators.AsyncOptions[order, string]{
		Capacity: 1000, Unordered: mode == "unordered", Timeout: ms(r.m.timeout),
		OnTimeout: func(o order) ([]string, error) { return []string{fmt.Sprint("timeout ", o.N)}, nil },
		Retry: operators.AsyncRetry[string]{Attempts: r.m.attempts, Delay: 2 * time.Millisecond, Factor: 2, MaxDelay: 5 * time.Millisecond,
			OnResult: func(out []string) bool { return len(out) == 1 && out[0] == "early" }},
	}
	r.stage = operators.AsyncCallback(o, r.service.call)
	if mode == "keyed" {
		r.stage = operators.AsyncKeyedCallback(who, nil, o, r.service.call)
	}
	r.start(1, nil)
	r.m.subtasks = []*asyncModelTask{{mark: operators.NoWatermark}}
	return r
}

func (r *asyncRun) start(parallelism int, from []*operatortest.Snapshot) {
	r.tasks = nil
	for i := range parallelism {
		o := r.o
		o.Subtask, o.Parallelism, o.From, o.NowMS = i, parallelism, from, r.m.now
		h := operatortest.New(r.t, r.stage, o)
		if r.m.keyed {
			h.KeyBy(who, nil)
		}
		r.tasks = append(r.tasks, h)
	}
}

func (r *asyncRun) restore(parallelism int) {
	var from []*operatortest.Snapshot
	for _, h := range r.tasks {
		from = append(from, h.Snapshot())
		h.Close()
	}
	r.service.forget()
	r.start(parallelism, from)
	r.m.restore(parallelism, func(o order) int { return r.tasks[0].Owner(o) })
}

func (r *asyncRun) process(o order, ts int64) {
	to := int(o.N) % len(r.tasks)
	if r.m.keyed {
		to = r.tasks[0].Owner(o)
	}
	r.tasks[to].Process(o, ts)
	s := r.m.subtasks[to]
	x := &asyncItem{o: o, ts: ts}
	s.items = append(s.items, x)
	r.m.admit(s, x)
}

func (r *asyncRun) watermark(ms int64) {
	for i, h := range r.tasks {
		h.Watermark(ms)
		s := r.m.subtasks[i]
		s.items = append(s.items, &asyncItem{isMark: true, mark: ms})
		s.flush(r.m.ordered)
	}
}

// finish ends the call of x in one of the ways in which calls end.
func (r *asyncRun) finish(s *asyncModelTask, x *asyncItem, how string) {
	again := x.calls < r.m.attempts
	text := func(i int) string { return fmt.Sprintf("%d.%d", x.o.N, i) }
	switch {
	case how == "broken" && again:
		r.service.end(x.o.N, nil, errAsyncBroken)
	case how == "early":
		r.service.end(x.o.N, []string{"early"}, nil)
	case how == "bad":
		r.service.end(x.o.N, nil, errAsyncBad)
		again = false
	case how == "nothing":
		r.service.end(x.o.N, nil, nil)
		again = false
	default:
		how, again = "good", false
		r.service.end(x.o.N, []string{text(1), text(2)}, nil)
	}
	if again {
		x.waits, x.retryAt = true, r.m.now+[]int64{2, 4, 5, 5}[x.calls-1]
		return
	}
	switch how {
	case "good":
		r.m.settle(s, x, []string{text(1), text(2)}, "")
	case "early":
		r.m.settle(s, x, []string{"early"}, "")
	case "bad":
		r.m.settle(s, x, nil, "bad")
	default:
		r.m.settle(s, x, nil, "")
	}
}

// check compares what came out, and who is called for.
func (r *asyncRun) check(what string) {
	calls := map[int64]bool{}
	for i, h := range r.tasks {
		s := r.m.subtasks[i]
		var got, dead []string
		for _, e := range h.Outputs() {
			got = append(got, strings.ReplaceAll(e.String(), "watermark end", fmt.Sprint("watermark ", operators.EndOfTime)))
		}
		for _, d := range h.DeadLetters() {
			dead = append(dead, d.Reason)
		}
		if !slices.Equal(got, s.out) || !slices.Equal(dead, s.dead) {
			r.t.Fatalf("%s, subtask %d of %d:\n got %q, dead %q\nwant %q, dead %q", what, i, len(r.tasks), got, dead, s.out, s.dead)
		}
		s.out, s.dead = nil, nil
	}
	items, _ := r.m.calling()
	for _, x := range items {
		calls[x.o.N] = true
	}
	if got, want := slices.Sorted(maps.Keys(r.service.open)), slices.Sorted(maps.Keys(calls)); !slices.Equal(got, want) {
		r.t.Fatalf("%s: called for %v, want %v", what, got, want)
	}
}

func asyncHistory(t *rapid.T, mode string) {
	r := newAsyncRun(t, mode)
	n, mark := int64(0), int64(0)
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		what := rapid.SampledFrom([]string{"record", "record", "record", "end", "end", "end", "watermark", "advance", "restore"}).Draw(t, "step")
		switch what {
		case "record":
			n++
			r.process(order{rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"), n}, rapid.Int64Range(0, 9).Draw(t, "ts"))
		case "end":
			items, tasks := r.m.calling()
			if len(items) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(items)-1).Draw(t, "which")
			r.finish(tasks[i], items[i], rapid.SampledFrom([]string{"good", "good", "nothing", "broken", "early", "bad"}).Draw(t, "how"))
		case "watermark":
			mark += rapid.Int64Range(1, 5).Draw(t, "forward")
			r.watermark(mark)
		case "advance":
			r.advance(rapid.Int64Range(0, 12).Draw(t, "ms"))
		case "restore":
			r.restore(rapid.IntRange(1, 3).Draw(t, "parallelism"))
		}
		r.check(what)
	}
	for {
		items, tasks := r.m.calling()
		for i, x := range items {
			r.finish(tasks[i], x, "good")
		}
		r.check("finish")
		if len(items) == 0 {
			if !slices.ContainsFunc(r.m.subtasks, func(s *asyncModelTask) bool {
				return slices.ContainsFunc(s.items, func(x *asyncItem) bool { return !x.emitted })
			}) {
				break
			}
			r.advance(1)
			r.check("advance")
		}
	}
	r.watermark(operators.EndOfTime)
	r.check("end of input")
}

func (r *asyncRun) advance(by int64) {
	now := r.m.now + by
	for _, h := range r.tasks {
		h.AdvanceProcessingTime(now)
	}
	// Calls that have timed out are not open any more.
	before, _ := r.m.calling()
	r.m.advance(now)
	for _, x := range before {
		if x.done > 0 {
			delete(r.service.open, x.o.N)
		}
	}
}
