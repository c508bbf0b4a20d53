package pattern_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/operators/pattern"
)

// event is the record of the tests: "a1" is of kind a and has number 1.
type event struct {
	Key  string
	Kind string
	N    int64
}

func (e event) String() string { return e.Kind + strconv.FormatInt(e.N, 10) }

func eventKey(e event) string { return e.Key }

// of is the condition that the event's kind is one of kinds.
func of(kinds string) func(event) bool {
	return func(e event) bool { return strings.Contains(kinds, e.Kind) }
}

// parse reads "a1"; a missing number is 0.
func parse(key, text string) event {
	n, err := strconv.ParseInt("0"+text[1:], 10, 64)
	if err != nil {
		panic(err)
	}
	return event{key, text[:1], n}
}

// flat is the text of a match without stages: "a1 a2 b3".
func flat(m pattern.Match[event]) string {
	var events []string
	for _, s := range m.Stages {
		for _, e := range s.Events {
			events = append(events, e.String())
		}
	}
	return strings.Join(events, " ")
}

type harness = operatortest.Harness[event, string]

func stage(p pattern.Pattern[event], o pattern.Options[event]) operators.Stage[event, string] {
	return pattern.Stage(eventKey, nil, p, o, func(_ string, m pattern.Match[event]) string { return flat(m) })
}

func start(t operatortest.TB, p pattern.Pattern[event], o pattern.Options[event], ho operatortest.Options) *harness {
	return operatortest.New(t, stage(p, o), ho).KeyBy(eventKey, nil)
}

// matches are those of a text of events, one ms apart, sorted.
func matches(t *testing.T, p pattern.Pattern[event], text string) []string {
	t.Helper()
	h := start(t, p, pattern.Options[event]{}, operatortest.Options{})
	for i, word := range strings.Fields(text) {
		h.Process(parse("k", word), int64(i))
	}
	h.Watermark(1000)
	got := h.Records()
	slices.Sort(got)
	return got
}

// elements is the text of elements, joined by ", ".
func elements[T any](es []operatortest.Element[T]) string {
	var parts []string
	for _, e := range es {
		parts = append(parts, e.String())
	}
	return strings.Join(parts, ", ")
}

// want compares elements with their text.
func want[T any](t *testing.T, what string, got []operatortest.Element[T], text string) {
	t.Helper()
	if s := elements(got); s != text {
		t.Errorf("%s:\n got %s\nwant %s", what, s, text)
	}
}

// timedOut are the partial matches that have timed out, as "events@deadline".
func timedOut(h *harness) string {
	var parts []string
	for _, e := range h.SideOutput(pattern.TimedOut[event]()) {
		parts = append(parts, fmt.Sprintf("%s@%d", flat(e.Value), e.TimestampMS))
	}
	return strings.Join(parts, ", ")
}

// wantError checks that err says all of parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("got error %v, want one that says %q", err, p)
		}
	}
}

// exampleTB stands for the *testing.T that an example does not have.
type exampleTB struct{}

func (exampleTB) Helper()                        {}
func (exampleTB) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (exampleTB) Cleanup(func())                 {}
func (exampleTB) Context() context.Context       { return context.Background() }
