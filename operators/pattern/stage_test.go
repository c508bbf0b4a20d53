package pattern_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
	"github.com/millrace-io/millrace/serde"
)

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// feed hands over events of key k, written "a1@17".
func feed(h *harness, text string) {
	for word := range strings.FieldsSeq(text) {
		var at int64
		name, ts, _ := strings.Cut(word, "@")
		if _, err := fmt.Sscan(ts, &at); err != nil {
			panic(err)
		}
		h.Process(parse("k", name), at)
	}
}

func ab() pattern.Pattern[event] { return begin("a", "a").FollowedBy("b").Where(of("b")) }

// TestOrderOfTime: records are compared in the order of time when the watermark comes, those of one time in the order of arrival; late ones go
// to the side output and change nothing; the result has the time of the last event.
func TestOrderOfTime(t *testing.T) {
	h := start(t, ab(), pattern.Options[event]{}, operatortest.Options{})
	feed(h, "b1@30 a2@20 b3@10 a4@40 b5@40")
	want(t, "before a watermark", h.Outputs(), "")
	h.Watermark(29)
	want(t, "a is taken, b waits", h.Outputs(), "watermark 29")
	feed(h, "b6@29 b7@30")
	h.Watermark(40)
	want(t, "matches", h.Outputs(), "a2 b1@30, a4 b5@40, watermark 40")
	want(t, "late", h.SideOutput(operators.LateRecords[event]()), "b6@29")
}

func TestKeysAreApart(t *testing.T) {
	h := start(t, ab(), pattern.Options[event]{}, operatortest.Options{})
	h.Process(parse("x", "a1"), 1)
	h.Process(parse("y", "b2"), 2)
	h.Process(parse("x", "b3"), 3)
	h.EndInput()
	want(t, "matches", h.Outputs(), "a1 b3@3, watermark end")
}

// TestTimeouts: a partial match is dropped when its time is over, with the deadline, at the first watermark that reaches it.
func TestTimeouts(t *testing.T) {
	h := start(t, ab().Within(ms(10)), pattern.Options[event]{}, operatortest.Options{})
	feed(h, "a1@5 b2@15")
	h.Watermark(14)
	if got := timedOut(h); got != "" {
		t.Errorf("timed out before the deadline: %s", got)
	}
	h.Watermark(15)
	if got := timedOut(h); got != "a1@15" {
		t.Errorf("timed out: %s, want a1@15", got)
	}
	want(t, "the bound is excluded", h.Outputs(), "watermark 14, watermark 15")
	feed(h, "a3@20 b4@29")
	h.Watermark(100)
	want(t, "in time", h.Outputs(), "a3 b4@29, watermark 100")
	if n := h.Snapshot().Bytes(); n != emptyBytes(t) {
		t.Errorf("%d bytes of state are left, want %d", n, emptyBytes(t))
	}
}

// emptyBytes is the size of the state of a step that holds nothing.
func emptyBytes(t *testing.T) int64 {
	h := start(t, ab().Within(ms(10)), pattern.Options[event]{}, operatortest.Options{})
	return h.Snapshot().Bytes()
}

// TestGapTimeouts: WithinPrevious bounds the time from the event before, with a timer, on all events of its stage; Flink's way to look only when a
// record comes is an option.
func TestGapTimeouts(t *testing.T) {
	p := ab().WithinPrevious(ms(10)).OneOrMore().FollowedBy("c").Where(of("c")).WithinPrevious(ms(20))
	h := start(t, p, pattern.Options[event]{}, operatortest.Options{})
	feed(h, "a1@0 b2@9 b3@18 c4@37")
	h.Watermark(1000)
	want(t, "each gap is in time", h.Outputs(), "a1 b2 b3 c4@37, watermark 1000")
	// Without b3: what waits for c since b2 at 9 is over at 29. With b3 at 18: what passes c4 over at 37 could not take another b then.
	if got := timedOut(h); got != "a1 b2@29, a1 b2 b3@37" {
		t.Errorf("timed out: %s, want a1 b2@29, a1 b2 b3@37", got)
	}
	feed(h, "a5@2000")
	h.Watermark(2009)
	if got := timedOut(h); got != "" {
		t.Errorf("timed out early: %s", got)
	}
	h.Watermark(2010)
	if got := timedOut(h); got != "a5@2010" {
		t.Errorf("timed out: %s, want a5@2010", got)
	}
	lazy := start(t, ab().WithinPrevious(ms(10)), pattern.Options[event]{FlinkTimeouts: true}, operatortest.Options{})
	feed(lazy, "a1@5")
	lazy.Watermark(5)
	lazy.Watermark(100)
	if got := timedOut(lazy); got != "" {
		t.Errorf("FlinkTimeouts: timed out without a record: %s", got)
	}
	feed(lazy, "x2@200")
	lazy.Watermark(200)
	if got := timedOut(lazy); got != "a1@15" {
		t.Errorf("FlinkTimeouts: timed out %q, want a1@15", got)
	}
}

// TestAbsence: a pattern that ends with NotFollowedBy matches when the time has passed; the result has the deadline.
func TestAbsence(t *testing.T) {
	p := ab().NotFollowedBy("c").Where(of("c")).Within(ms(10))
	h := start(t, p, pattern.Options[event]{}, operatortest.Options{})
	feed(h, "a1@0 b2@1 x3@5")
	h.Watermark(9)
	want(t, "not yet", h.Outputs(), "watermark 9")
	h.Watermark(50)
	want(t, "nothing came", h.Outputs(), "a1 b2@10, watermark 50")
	feed(h, "a4@100 b5@101 c6@105 b7@106")
	h.EndInput()
	want(t, "c came", h.Outputs(), "watermark end")
}

// TestExtremeTimes: deadlines beyond the end of time never pass before it, and do not wrap.
func TestExtremeTimes(t *testing.T) {
	h := start(t, ab().Within(ms(100)), pattern.Options[event]{}, operatortest.Options{})
	h.Process(parse("k", "a1"), math.MinInt64+2)
	h.Process(parse("k", "a2"), math.MaxInt64-50)
	h.Watermark(math.MaxInt64 - 10)
	if got, first := timedOut(h), fmt.Sprintf("a1@%d", int64(math.MinInt64)+102); got != first {
		t.Errorf("timed out: %s, want %s", got, first)
	}
	h.EndInput()
	if got, second := timedOut(h), fmt.Sprintf("a2@%d", int64(math.MaxInt64)); got != second {
		t.Errorf("timed out at the end: %s, want %s", got, second)
	}
}

func TestProcessingTime(t *testing.T) {
	p := ab().Within(ms(10))
	h := start(t, p, pattern.Options[event]{ProcessingTime: true}, operatortest.Options{NowMS: 100})
	h.Process(parse("k", "a1"), 5)
	h.Process(parse("k", "b2"), connectors.NoTimestamp)
	want(t, "at once", h.Outputs(), "a1 b2@none")
	h.Process(parse("k", "a3"), 5)
	h.AdvanceProcessingTime(109)
	h.Process(parse("k", "a4"), 5)
	if got := timedOut(h); got != "" {
		t.Errorf("timed out early: %s", got)
	}
	h.AdvanceProcessingTime(110)
	if got := timedOut(h); got != fmt.Sprintf("a3@%d", connectors.NoTimestamp) {
		t.Errorf("timed out: %s", got)
	}
	h.Process(parse("k", "b5"), 5)
	want(t, "the younger one", h.Outputs(), "a4 b5@none")
}

func TestNeedsWatermarks(t *testing.T) {
	h := start(t, ab(), pattern.Options[event]{}, operatortest.Options{})
	if why := h.Task().Hooks().NeedsWatermarks; why == "" {
		t.Error("event time without watermarks is not refused")
	}
	h = start(t, ab(), pattern.Options[event]{ProcessingTime: true}, operatortest.Options{})
	if why := h.Task().Hooks().NeedsWatermarks; why != "" {
		t.Errorf("processing time needs watermarks for %q", why)
	}
}

func TestRecordWithoutTimestamp(t *testing.T) {
	h := start(t, ab(), pattern.Options[event]{}, operatortest.Options{DeadLetters: true})
	h.Process(parse("k", "a1"), connectors.NoTimestamp)
	if d := h.DeadLetters(); len(d) != 1 || !strings.Contains(d[0].Reason, "without timestamp; assign event time") {
		t.Errorf("dead letters: %v", d)
	}
	h = start(t, ab(), pattern.Options[event]{}, operatortest.Options{})
	wantError(t, h.TryProcess(parse("k", "a1"), connectors.NoTimestamp), "without timestamp", "operatortest")
}

// TestExplosion: combinations double the partial matches with every event. Without a consumer of dead letters the task fails and says what to do; with
// one, the event that would exceed the limit is refused, and the step goes on as if it had not come.
func TestExplosion(t *testing.T) {
	p := begin("a", "a").OneOrMore().AllowCombinations().FollowedBy("b").Where(of("b"))
	o := pattern.Options[event]{MaxPartialMatches: 100}
	h := start(t, p, o, operatortest.Options{})
	for i := range int64(20) {
		h.Process(event{"k", "a", i}, i)
	}
	wantError(t, h.TryWatermark(100), "key k has", "partial matches", "the event at", "MaxPartialMatches = 100", "bound the pattern by Within")

	h = start(t, p, o, operatortest.Options{DeadLetters: true})
	few := start(t, p, pattern.Options[event]{}, operatortest.Options{})
	for i := range int64(20) {
		h.Process(event{"k", "a", i}, i)
	}
	h.Process(parse("other", "a1"), 5)
	h.Process(parse("other", "b2"), 50)
	h.Watermark(50)
	refused := h.DeadLetters()
	if len(refused) == 0 || len(refused) >= 20 {
		t.Fatalf("%d of 20 events were refused", len(refused))
	}
	if at := refused[0].TimestampMS; at != 20-int64(len(refused)) || !strings.Contains(refused[0].Reason, "MaxPartialMatches") {
		t.Errorf("the first refused event is that at %d: %s", at, refused[0].Reason)
	}
	want(t, "another key is not concerned", h.Outputs(), "a1 b2@50, watermark 50")
	for i := range refused[0].TimestampMS {
		few.Process(event{"k", "a", i}, i)
	}
	for _, h := range []*harness{h, few} {
		h.Process(parse("k", "b100"), 60)
		h.Watermark(60)
	}
	got, expect := h.Records(), few.Records()
	slices.Sort(got)
	slices.Sort(expect)
	if len(got) == 0 || !slices.Equal(got, expect) {
		t.Errorf("%d matches after the refusals, %d without the refused events", len(got), len(expect))
	}
}

// TestNoLimit: a negative limit is none.
func TestNoLimit(t *testing.T) {
	p := begin("a", "a").OneOrMore().AllowCombinations().FollowedBy("b").Where(of("b"))
	h := start(t, p, pattern.Options[event]{MaxPartialMatches: -1}, operatortest.Options{})
	for i := range int64(14) {
		h.Process(event{"k", "a", i}, i)
	}
	h.Process(parse("k", "b0"), 14)
	h.Watermark(100)
	if n := len(h.Records()); n != 1<<14-1 {
		t.Errorf("%d matches, want every subset but the empty one: %d", n, 1<<14-1)
	}
}

// TestFailOnMiss: a match without an event of the stage to skip to, and one that would skip to its own first event, fail the task.
func TestFailOnMiss(t *testing.T) {
	p := begin("a", "a").FollowedBy("b").Where(of("b")).Optional().FollowedBy("c").Where(of("c"))
	for _, c := range []struct {
		skip   pattern.SkipStrategy
		events string
		fails  string
	}{
		{pattern.SkipToFirst("b"), "a1@1 c2@2", ""},
		{pattern.SkipToFirst("b").FailOnMiss(), "a1@1 c2@2", `SkipToFirst("b")): the match that began at 1 has no event of the stage`},
		{pattern.SkipToLast("a").FailOnMiss(), "a1@1 c2@2", "is the first of the match that began at 1, nothing would be skipped"},
		{pattern.SkipToLast("c").FailOnMiss(), "a1@1 c2@2", ""},
	} {
		h := start(t, p.AfterMatch(c.skip), pattern.Options[event]{}, operatortest.Options{})
		feed(h, c.events)
		err := h.TryWatermark(10)
		if c.fails != "" {
			wantError(t, err, c.fails)
		} else if err != nil {
			t.Errorf("%v: %v", c.skip, err)
		}
	}
}

// TestStateIsDropped: links and events go with the last partial match that leads to them, and the state of a key with the last of these.
func TestStateIsDropped(t *testing.T) {
	p := begin("a", "a").Next("b").Where(of("b")).OneOrMore().Consecutive().Next("c").Where(of("c"))
	h := start(t, p, pattern.Options[event]{}, operatortest.Options{})
	empty := h.Snapshot().Bytes()
	at := int64(0)
	round := func(loops int) {
		for _, kind := range append(append([]string{"a"}, slices.Repeat([]string{"b"}, loops)...), "c", "x") {
			h.Process(event{"k", kind, at}, at)
			at++
		}
		h.Watermark(at - 2)
	}
	round(5)
	short := h.Snapshot().Bytes()
	for range 20 {
		round(500)
	}
	round(5)
	if n := h.Snapshot().Bytes(); n > short+1000 { // some dozens of free places are kept
		t.Errorf("%d bytes of state after long matches, %d after a short one", n, short)
	}
	h.EndInput()
	if n := h.Snapshot().Bytes(); n != empty {
		t.Errorf("%d bytes of state at the end, %d at the start", n, empty)
	}
}

// opaque encodes an event in a way of its own.
type opaque struct{}

func (opaque) Append(dst []byte, e event) ([]byte, error) {
	return fmt.Appendf(dst, "%s/%s/%d", e.Key, e.Kind, e.N), nil
}

func (opaque) Decode(src []byte, e *event) error {
	parts := strings.Split(string(src), "/")
	if len(parts) != 3 {
		return fmt.Errorf("event %q", src)
	}
	e.Key, e.Kind = parts[0], parts[1]
	_, err := fmt.Sscan(parts[2], &e.N)
	return err
}

func (opaque) Schema() string { return "opaque:test" }

// TestEventCodec: events in state are written by the given codec, whatever there is of free places.
func TestEventCodec(t *testing.T) {
	var _ serde.Serde[event] = opaque{}
	o := pattern.Options[event]{Codec: opaque{}}
	h := start(t, ab().NotNext("n").Where(of("n")), o, operatortest.Options{})
	feed(h, "a1@1 a2@2 b3@3 a4@10 b5@30")
	h.Watermark(10)
	s := h.Snapshot()
	h = start(t, ab().NotNext("n").Where(of("n")), o, operatortest.Options{From: []*operatortest.Snapshot{s}})
	feed(h, "x6@40")
	h.Watermark(100)
	if got := strings.Join(h.Records(), ", "); got != "a4 b5" {
		t.Errorf("after the restore: %q, want a4 b5", got)
	}
}

// TestAnotherPatternRefusesTheState: a savepoint of a pattern with other stages is not taken over.
func TestAnotherPatternRefusesTheState(t *testing.T) {
	h := start(t, ab(), pattern.Options[event]{}, operatortest.Options{})
	feed(h, "a1@1")
	h.Watermark(1)
	s := h.Snapshot()
	tb := &fatalTB{T: t}
	func() {
		defer func() { _ = recover() }()
		operatortest.New(tb, stage(ab().OneOrMore(), pattern.Options[event]{}), operatortest.Options{From: []*operatortest.Snapshot{s}})
	}()
	if !strings.Contains(tb.text, "pattern Begin(a) FollowedBy(b)") {
		t.Errorf("the restore says %q", tb.text)
	}
	h = start(t, ab().Within(ms(50)), pattern.Options[event]{}, operatortest.Options{From: []*operatortest.Snapshot{s}})
	h.Watermark(1000)
	if got := timedOut(h); got != "" {
		t.Log(got)
	}
}

// fatalTB keeps the text of Fatalf and panics.
type fatalTB struct {
	*testing.T
	text string
}

func (f *fatalTB) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f.text)
}
