package operators_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/operators/operatortest"
)

// want compares elements with their text, joined by ", ".
func want[T any](t *testing.T, what string, got []operatortest.Element[T], text string) {
	t.Helper()
	var parts []string
	for _, e := range got {
		parts = append(parts, e.String())
	}
	if s := strings.Join(parts, ", "); s != text {
		t.Errorf("%s:\n got %s\nwant %s", what, s, text)
	}
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

// order is the record of the tests.
type order struct {
	Who string
	N   int64
}

func (o order) String() string { return fmt.Sprint(o.Who, o.N) }

func who(o order) string { return o.Who }
