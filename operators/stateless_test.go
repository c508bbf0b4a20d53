package operators_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
)

func TestMapFilterFlatMap(t *testing.T) {
	m := operatortest.New(t, operators.Map(func(n int) string { return strconv.Itoa(n * 2) }), operatortest.Options{})
	m.Process(4, 7)
	m.Process(5, connectors.NoTimestamp)
	m.Watermark(6)
	m.Watermark(6)
	m.Watermark(5)
	m.Idle(true)
	m.Idle(false)
	m.EndInput()
	want(t, "Map", m.Outputs(), "8@7, 10@none, watermark 6, idle, active, watermark end")

	f := operatortest.New(t, operators.Filter(func(n int) bool { return n%2 == 0 }), operatortest.Options{})
	for n := range 4 {
		f.Process(n, int64(n))
	}
	want(t, "Filter", f.Outputs(), "0@0, 2@2")

	fm := operatortest.New(t, operators.FlatMap(func(n int, emit func(int) error) error {
		for i := range n {
			if err := emit(i); err != nil {
				return err
			}
		}
		return nil
	}), operatortest.Options{})
	fm.Process(0, 1)
	fm.Process(2, 5)
	want(t, "FlatMap", fm.Outputs(), "0@5, 1@5")
}

func TestFlatMapFailsWithTheFunctionsError(t *testing.T) {
	boom := errors.New("boom")
	h := operatortest.New(t, operators.FlatMap(func(int, func(int) error) error { return boom }), operatortest.Options{DeadLetters: true})
	if err := h.TryProcess(1, 1); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if d := h.DeadLetters(); len(d) != 0 {
		t.Errorf("FlatMap made dead letters %v: it cannot tell its own errors from those of emit", d)
	}
}

func TestTryMap(t *testing.T) {
	stage := operators.TryMap(strconv.Atoi)
	h := operatortest.New(t, stage, operatortest.Options{UID: "parse", DeadLetters: true})
	h.Process("1", 10)
	h.Process("x", 20)
	h.Process("3", 30)
	want(t, "with dead letters", h.Outputs(), "1@10, 3@30")
	d := h.DeadLetters()
	if len(d) != 1 || d[0].UID != "parse" || d[0].TimestampMS != 20 || d[0].At.Offset != 1 || d[0].Reason != `strconv.Atoi: parsing "x": invalid syntax` {
		t.Errorf("dead letters %+v", d)
	}
	if string(d[0].Raw) != "\x02x" { // Avro: a string of length 1, zigzag
		t.Errorf("raw record %q", d[0].Raw)
	}

	err := operatortest.New(t, stage, operatortest.Options{UID: "parse"}).TryProcess("x", 20)
	wantError(t, err, `step "parse"`, "operatortest/0@0", "invalid syntax")
	if !errors.Is(err, strconv.ErrSyntax) {
		t.Errorf("%v does not wrap the function's error", err)
	}
}

// TestDeadLetterOfARecordWithoutCodec shows the record as text when it has no encoding.
func TestDeadLetterOfARecordWithoutCodec(t *testing.T) {
	type record struct{ C chan int }
	h := operatortest.New(t, operators.TryMap(func(record) (int, error) { return 0, errors.New("no") }), operatortest.Options{DeadLetters: true})
	h.Process(record{}, 1)
	if d := h.DeadLetters(); len(d) != 1 || string(d[0].Raw) != "{C:<nil>}" {
		t.Errorf("dead letters %+v", d)
	}
}

func TestSplit(t *testing.T) {
	odd := operators.NewTag[string]("odd")
	h := operatortest.New(t, operators.Split(odd, func(n int, out func(int) error, side func(string) error) error {
		if n%3 == 0 {
			return nil
		}
		if n%2 == 1 {
			if err := side(strconv.Itoa(n)); err != nil || n < 7 {
				return err
			}
		}
		return out(n)
	}), operatortest.Options{})
	for n := 1; n <= 8; n++ {
		h.Process(n, int64(n*10))
	}
	want(t, "main", h.Outputs(), "2@20, 4@40, 7@70, 8@80")
	want(t, "side", h.SideOutput(odd), "1@10, 5@50, 7@70")
}

func TestFaultsOfSideOutputs(t *testing.T) {
	stage := func(t *operators.Task, emit func(int) error) (func(int) error, error) {
		operators.SideOutput(t, operators.NewTag[string](""))
		operators.SideOutput(t, operators.NewTag[string]("twice"))
		operators.SideOutput(t, operators.NewTag[string]("twice"))
		operators.SideOutput(t, operators.NewTag[int]("twice"))
		return emit, nil
	}
	wantError(t, operatortest.Check(stage, operatortest.Options{UID: "s"}), `step "s"`, "no name", `"twice" is declared with type string and with type int`)
}
