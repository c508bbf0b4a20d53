package operators_test

import (
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
		want(t, "output", h.Outputs(), "10@10, watermark 9")
	}
}

func TestIdleInput(t *testing.T) {
	h := timestamps(t, operators.Watermarks[int64]{Timestamp: time.UnixMilli}, operatortest.Options{})
	h.Process(10, 1)
	h.Idle(true)
	h.Idle(true)
	want(t, "idle", h.Outputs(), "10@10, watermark 9, idle")
	h.Idle(false)
	h.Process(12, 1)
	h.Dry()
	want(t, "active", h.Outputs(), "active, 12@12, watermark 11")
}

// TestIdleAfter: the input is idle when it has had no record for the time, also when it never had one, and active with the next.
func TestIdleAfter(t *testing.T) {
	w := operators.Watermarks[int64]{Timestamp: time.UnixMilli, IdleAfter: 100 * time.Millisecond}
	h := timestamps(t, w, operatortest.Options{NowMS: 1000})
	h.AdvanceProcessingTime(1099)
	want(t, "99 ms after the start", h.Outputs(), "")
	h.AdvanceProcessingTime(1100)
	want(t, "100 ms after the start", h.Outputs(), "idle")
	h.AdvanceProcessingTime(1150)
	h.Process(5, 1)
	want(t, "a record", h.Outputs(), "active, 5@5")
	h.AdvanceProcessingTime(1200)
	h.Process(7, 1)
	h.AdvanceProcessingTime(1299)
	want(t, "99 ms after the last record", h.Outputs(), "7@7")
	h.AdvanceProcessingTime(1300)
	want(t, "100 ms after it", h.Outputs(), "watermark 6, idle")
	h.AdvanceProcessingTime(1400)
	h.Idle(false)
	want(t, "the source says active", h.Outputs(), "active")
	h.AdvanceProcessingTime(1499)
	want(t, "99 ms later", h.Outputs(), "")
	h.AdvanceProcessingTime(1500)
	want(t, "100 ms later", h.Outputs(), "idle")
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
	for _, w := range []operators.Watermarks[int64]{{OutOfOrderness: -time.Second}, {IdleAfter: -1}, {IdleAfter: time.Microsecond}, {OutOfOrderness: time.Microsecond}} {
		wantError(t, w.Validate(), "OutOfOrderness", "IdleAfter", "want 0 or more whole ms")
		wantError(t, operatortest.Check(operators.Timestamps(w), operatortest.Options{}), "whole ms")
	}
	if err := (operators.Watermarks[int64]{OutOfOrderness: time.Second, IdleAfter: time.Minute}).Validate(); err != nil {
		t.Error(err)
	}
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
