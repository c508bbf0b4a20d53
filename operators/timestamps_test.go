package operators_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func timestamps(t *testing.T, w operators.Watermarks[int64], o operatortest.Options) *operatortest.Harness[int64, int64] {
	t.Helper()
	return operatortest.New(t, operators.Timestamps(w), o)
}

// TestOutOfOrderness: the watermark is newest − bound − 1 ms, goes out when the input runs dry, never back, and those of the input
// end here, except EndOfTime.
func TestOutOfOrderness(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli, OutOfOrderness: 10 * time.Millisecond}, operatortest.Options{})
	h.Dry()
	h.Process(-5, 1)
	h.Process(100, connectors.NoTimestamp)
	h.Process(95, 1)
	h.Watermark(5000)
	h.Dry()
	h.Dry()
	h.Process(50, 1)
	h.Dry()
	h.Process(101, 1)
	h.Snapshot() // a barrier
	h.EndInput()
	want(t, "output", h.Outputs(), "-5@-5, 100@100, 95@95, watermark 89, 50@50, 101@101, watermark 90, watermark end")
}

func TestWatermarkEveryThousandRecords(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	for n := range int64(2500) {
		h.Process(n, 1)
	}
	got := h.Outputs()
	if len(got) != 2502 {
		t.Fatalf("%d elements, want 2500 records and 2 watermarks", len(got))
	}
	want(t, "around the first", got[998:1002], "998@998, 999@999, watermark 998, 1000@1000")
	want(t, "around the second", got[1999:2003], "1998@1998, 1999@1999, watermark 1998, 2000@2000")
}

func TestTimestampsOfTheSource(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{}, operatortest.Options{UID: "ts", DeadLetters: true})
	h.Process(1, 20)
	h.Process(2, connectors.NoTimestamp)
	h.Process(3, 30)
	h.Dry()
	want(t, "output", h.Outputs(), "1@20, 3@30, watermark 29")
	if d := h.DeadLetters(); len(d) != 1 || d[0].UID != "ts" || d[0].TimestampMS != connectors.NoTimestamp {
		t.Errorf("dead letters %+v", d)
	}
	wantError(t, timestamps(t, operators.Watermarks[int64]{}, operatortest.Options{}).TryProcess(1, connectors.NoTimestamp), "no timestamp", "Watermarks.Timestamp")
}

// TestWatermarkPerSplit: the least of the splits that are active; a split that is added holds the watermark, idle and finished ones
// do not, and what a split has shown counts before it stops counting.
func TestWatermarkPerSplit(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Split(1, operators.SplitAdded)
	h.ProcessSplit(0, 100, 1)
	h.Dry()
	want(t, "split 1 has shown nothing", h.Outputs(), "100@100")
	h.ProcessSplit(1, 50, 1)
	h.Dry()
	want(t, "least of both", h.Outputs(), "50@50, watermark 49")
	h.ProcessSplit(1, 70, 1)
	h.Split(1, operators.SplitIdle)
	want(t, "split 1 idle", h.Outputs(), "70@70, watermark 69, watermark 99")
	h.ProcessSplit(0, 200, 1)
	h.ProcessSplit(1, 80, 1) // active again, and late
	h.Dry()
	want(t, "split 1 active again holds the watermark", h.Outputs(), "200@200, 80@80")
	h.Split(2, operators.SplitAdded)
	h.Split(1, operators.SplitFinished)
	h.Dry()
	want(t, "split 2 has shown nothing", h.Outputs(), "")
	h.ProcessSplit(2, 150, 1)
	h.Dry()
	want(t, "least of 0 and 2", h.Outputs(), "150@150, watermark 149")
	h.Split(0, operators.SplitFinished)
	h.Split(2, operators.SplitFinished)
	h.Dry()
	want(t, "no split is left", h.Outputs(), "")
	h.EndInput()
	want(t, "end", h.Outputs(), "watermark end")
}

// TestLastRecordsOfASplitCount: what the last records of a split have shown goes out although no other split is active.
func TestLastRecordsOfASplitCount(t *testing.T) {
	for _, e := range []operators.SplitEvent{operators.SplitIdle, operators.SplitFinished} {
		h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
		h.Split(0, operators.SplitAdded)
		h.ProcessSplit(0, 10, 1)
		h.Split(0, e)
		got := "10@10, watermark 9"
		if e == operators.SplitIdle {
			got += ", idle"
		}
		want(t, "output", h.Outputs(), got)
	}
}

// TestAllSplitsIdle: the newest of all counts, and the output is idle; the first record makes it active at once, and its split holds the watermark.
func TestAllSplitsIdle(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Split(1, operators.SplitAdded)
	h.ProcessSplit(0, 100, 1)
	h.ProcessSplit(1, 50, 1)
	h.Split(0, operators.SplitIdle)
	want(t, "split 1 counts", h.Outputs(), "100@100, 50@50, watermark 49")
	h.Split(1, operators.SplitIdle)
	want(t, "none counts", h.Outputs(), "watermark 99, idle")
	h.ProcessSplit(1, 60, 1)
	h.ProcessSplit(0, 200, 1)
	h.Dry()
	want(t, "both are back", h.Outputs(), "active, 60@60, 200@200")
	h.ProcessSplit(1, 150, 1)
	h.Dry()
	want(t, "split 1 has caught up", h.Outputs(), "150@150, watermark 149")
}

// TestSubtaskWithoutSplits: the source says that it has none, and then that it has one.
func TestSubtaskWithoutSplits(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Idle(true)
	want(t, "a split speaks for itself", h.Outputs(), "")
	h.Split(0, operators.SplitFinished)
	h.Idle(true)
	h.Idle(true)
	want(t, "no split", h.Outputs(), "idle")
	h.Split(0, operators.SplitAdded)
	h.Idle(false)
	want(t, "a split", h.Outputs(), "active")
}

// TestIdleInput: what the steps before it say of idleness ends here, where it does not stand behind a source.
func TestIdleInput(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Process(10, 1)
	h.Idle(true)
	h.Process(12, 1)
	h.Idle(false)
	h.Dry()
	want(t, "output", h.Outputs(), "10@10, 12@12, watermark 11")
}

// walk lets time pass until ms in steps of the interval of 10 ms.
func walk(h *operatortest.Harness[int64, int64], from, until int64) {
	for now := from; now <= until; now += 10 {
		h.AdvanceProcessingTime(now)
	}
}

// TestIdleAfter: an input is idle when more than the time has passed since the first look that found no record, also when there never was one.
// Behind something else than a source it is active with the next watermark that grows.
func TestIdleAfter(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli, IdleAfter: ms(100), Interval: ms(10)}, operatortest.Options{NowMS: 1000})
	walk(h, 1000, 1110) // the first look is at 1010
	want(t, "100 ms after the first look", h.Outputs(), "")
	walk(h, 1120, 1120)
	want(t, "110 ms after it", h.Outputs(), "idle")
	h.Process(5, 1)
	want(t, "a record", h.Outputs(), "5@5")
	walk(h, 1130, 1130)
	want(t, "its watermark", h.Outputs(), "active, watermark 4")
	walk(h, 1140, 1240)
	want(t, "100 ms after the first look without", h.Outputs(), "")
	walk(h, 1250, 1250)
	want(t, "110 ms after it", h.Outputs(), "idle")
	h.Process(3, 1)
	walk(h, 1260, 1500)
	want(t, "an old record and silence again", h.Outputs(), "3@3")
	h.EndInput()
	want(t, "the end", h.Outputs(), "active, watermark end")
}

// TestOneSilentSplit does not hold the others back, by default after a minute, without anybody having asked for it; NeverIdle lets it.
func TestOneSilentSplit(t *testing.T) {
	for never, out := range map[bool]string{false: "watermark 99", true: ""} {
		w := operators.MonotonousTimestamps[int64]().WithTimestamp(time.UnixMilli)
		if never {
			w = w.WithoutIdleness()
		}
		h := timestamps(t, w, operatortest.Options{})
		h.Split(0, operators.SplitAdded)
		h.Split(1, operators.SplitAdded)
		look := func(until int64) {
			for now := h.Task().Now().UnixMilli() + 200; now <= until; now += 200 {
				h.ProcessSplit(0, 100, 1)
				h.AdvanceProcessingTime(now)
			}
			h.Records()
		}
		look(60_200)
		h.ProcessSplit(0, 100, 1)
		want(t, "a minute after the first look", h.Outputs(), "100@100")
		h.AdvanceProcessingTime(60_400)
		want(t, "at the next", h.Outputs(), out)
	}
}

// TestTimeHeldUpIsNotSilence: the clock of idleness stands still while the task waits for room downstream, and while the split is paused.
func TestTimeHeldUpIsNotSilence(t *testing.T) {
	var now, held int64
	var got []string
	task := operators.NewTask(operators.TaskConfig{Now: func() time.Time { return time.UnixMilli(now) }, InSource: true,
		HeldUp:   func() time.Duration { return ms(held) },
		EmitIdle: func(idle bool) error { got = append(got, fmt.Sprint(idle, " at ", now)); return nil }})
	w := operators.Watermarks[int64]{IdleAfter: ms(100), Interval: ms(10)}
	if _, err := operators.Timestamps(w)(task, func(int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	hooks := task.Hooks()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(hooks.Split[0](0, operators.SplitAdded))
	for ; now <= 2000; now += 10 {
		switch {
		case now > 50 && now <= 550:
			held += 10
		case now == 600:
			do(hooks.Split[0](0, operators.SplitPaused))
		case now == 1200:
			do(hooks.Split[0](0, operators.SplitResumed))
		}
		do(hooks.FireTimers(now))
	}
	// Resumed at 1200, that look counts as one with a record, the next starts the time.
	if s := strings.Join(got, ", "); s != "true at 1320" {
		t.Errorf("idle %s, want true at 1320 alone", s)
	}
}

// TestEmissionWithoutDry: an input that never runs dry and brings few records emits at each interval.
func TestEmissionWithoutDry(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Process(5, 1)
	h.AdvanceProcessingTime(199)
	want(t, "199 ms", h.Outputs(), "5@5")
	h.AdvanceProcessingTime(200)
	want(t, "200 ms", h.Outputs(), "watermark 4")
	h.Process(7, 1)
	h.AdvanceProcessingTime(399)
	want(t, "399 ms", h.Outputs(), "7@7")
	h.AdvanceProcessingTime(1000)
	want(t, "1 s", h.Outputs(), "watermark 6")
}

// TestConsumersBesideTimestamps: another operator on the same stream in the same chain sees the record as it came.
func TestConsumersBesideTimestamps(t *testing.T) {
	var beside int64
	stage := operators.Timestamps(operators.Watermarks[int64]{Timestamp: time.UnixMilli})
	h := operatortest.New(t, func(task *operators.Task, emit func(int64) error) (func(int64) error, error) {
		push, err := stage(task, emit)
		return func(v int64) error {
			if err := push(v); err != nil {
				return err
			}
			beside = task.Context().TimestampMS
			return nil
		}, err
	}, operatortest.Options{})
	h.Process(70, 5)
	want(t, "behind", h.Outputs(), "70@70")
	if beside != 5 {
		t.Errorf("beside it the record has timestamp %d, want 5", beside)
	}
}

// TestExtremeTimestamps: the first times that there are make no watermark that wraps round.
func TestExtremeTimestamps(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{OutOfOrderness: 10 * time.Millisecond}, operatortest.Options{})
	h.Process(1, operators.NoWatermark+3)
	h.Dry()
	want(t, "no watermark", h.Outputs(), "1@-9223372036854775805")
	h.Process(2, operators.NoWatermark+20)
	h.Dry()
	want(t, "the first", h.Outputs(), "2@-9223372036854775788, watermark -9223372036854775799")
}

func TestFaultsOfWatermarks(t *testing.T) {
	type w = operators.Watermarks[int64]
	own := func() operators.WatermarkGenerator[int64] { return &everyTenth{} }
	for _, c := range []struct {
		w    w
		says string
	}{
		{w{OutOfOrderness: -time.Second}, "OutOfOrderness -1s"},
		{w{OutOfOrderness: time.Microsecond}, "OutOfOrderness 1µs"},
		{w{OutOfOrderness: time.Second, Generator: own}, "beside a Generator"},
		{w{IdleAfter: -time.Second}, "NeverIdle"},
		{w{IdleAfter: time.Microsecond}, "IdleAfter 1µs"},
		{w{Interval: -time.Second}, "Interval -1s"},
		{w{Alignment: operators.Alignment{Group: "g"}}, `group "g" and MaxDrift 0s`},
		{w{}.WithAlignment("", time.Second), "the name of a group"},
		{operators.PunctuatedWatermarks[int64](nil), "returns nil"},
		{operators.GeneratedWatermarks[int64](nil), "returns nil"},
		{operators.GeneratedWatermarks(func() operators.WatermarkGenerator[int64] { return (*everyTenth)(nil) }), "returns nil"},
	} {
		wantError(t, c.w.Validate(), c.says)
		wantError(t, operatortest.Check(operators.Timestamps(c.w), operatortest.Options{}), c.says)
	}
	wantError(t, w{OutOfOrderness: -1, IdleAfter: -2, Interval: -3}.Validate(), "OutOfOrderness", "IdleAfter", "Interval")
	for _, ok := range []w{{}, {OutOfOrderness: time.Second, IdleAfter: time.Minute}, w{Generator: own}.WithoutIdleness().WithAlignment("g", ms(1))} {
		if err := ok.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// everyTenth gives a watermark with every tenth record of its split, and with every look one of which it has already given 5 more.
type everyTenth struct {
	records int
	newest  int64
}

func (g *everyTenth) OnRecord(_ int64, tsMS int64) (int64, bool) {
	g.records++
	g.newest = max(g.newest, tsMS)
	return g.newest, g.records%10 == 0
}

func (g *everyTenth) OnPeriodic(time.Time) (int64, bool) { return g.newest + 5, g.records >= 10 }

// TestOwnGenerator has one for each split; what it gives for a record comes behind it, at once.
func TestOwnGenerator(t *testing.T) {
	made := 0
	h := timestamps(t, operators.GeneratedWatermarks(func() operators.WatermarkGenerator[int64] {
		made++
		return &everyTenth{}
	}).WithTimestamp(time.UnixMilli), operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Split(1, operators.SplitAdded)
	before := made
	for n := range int64(10) {
		h.ProcessSplit(0, 100+n, 1)
	}
	h.Dry()
	h.AdvanceProcessingTime(200)
	if got := h.Records(); len(got) != 10 || before < 2 || made != before {
		t.Errorf("%d records and %d generators, then %d", len(got), before, made)
	}
	for n := range int64(10) {
		h.ProcessSplit(1, 50+n, 1)
	}
	h.ProcessSplit(1, 60, 1)
	got := h.Outputs()
	want(t, "split 1 gives its tenth record", got[8:], "58@58, 59@59, watermark 59, 60@60")
	h.AdvanceProcessingTime(400)
	want(t, "a look", h.Outputs(), "watermark 65")
	h.Split(1, operators.SplitIdle)
	want(t, "split 1 is idle", h.Outputs(), "watermark 114")
	h.AdvanceProcessingTime(600)
	h.Split(0, operators.SplitIdle)
	h.AdvanceProcessingTime(800)
	want(t, "looks that show nothing new wake nobody", h.Outputs(), "idle")
}

// TestPunctuated: negative records carry the watermark.
func TestPunctuated(t *testing.T) {
	h := timestamps(t, operators.PunctuatedWatermarks(func(v int64, at time.Time) (time.Time, bool) {
		return at.Add(-time.Millisecond), v < 0
	}), operatortest.Options{})
	h.Process(1, 10)
	h.Dry()
	h.Process(-1, 20)
	h.Process(-1, 15)
	h.Process(2, 30)
	h.AdvanceProcessingTime(1000)
	h.Process(-2, operators.EndOfTime)
	h.Dry()
	want(t, "output", h.Outputs(), "1@10, -1@20, watermark 19, -1@15, 2@30, -2@end, watermark 9223372036854775806")
}

// endless is a generator that takes it on itself to end time.
type endless struct{}

func (endless) OnRecord(int64, int64) (int64, bool)    { return operators.EndOfTime, true }
func (endless) OnPeriodic(now time.Time) (int64, bool) { return operators.EndOfTime, true }

func TestGeneratorsDoNotEndTime(t *testing.T) {
	h := timestamps(t, operators.GeneratedWatermarks(func() operators.WatermarkGenerator[int64] { return endless{} }), operatortest.Options{})
	h.AdvanceProcessingTime(200)
	h.Process(1, 10)
	h.EndInput()
	want(t, "output", h.Outputs(), "watermark 9223372036854775806, 1@10, watermark end")
}

// TestNumberOfAFinishedSplitIsGivenAgain: a split that gets it holds the watermark until its own first record, and is not held to what the
// finished one had shown.
func TestNumberOfAFinishedSplitIsGivenAgain(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{}, operatortest.Options{})
	h.Split(0, operators.SplitAdded)
	h.Split(1, operators.SplitAdded)
	h.ProcessSplit(0, 1, 1000)
	h.ProcessSplit(1, 2, 500)
	h.Split(0, operators.SplitFinished)
	h.Split(0, operators.SplitAdded)
	h.ProcessSplit(1, 3, 900)
	h.Dry()
	want(t, "before the new split has a record", h.Outputs(), "1@1000, 2@500, watermark 499, 3@900")
	h.ProcessSplit(0, 4, 800)
	h.Dry()
	want(t, "after it", h.Outputs(), "4@800, watermark 799")
}
