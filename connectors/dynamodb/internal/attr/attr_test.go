package attr

import (
	"cmp"
	"encoding/json/v2"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// random writes a decimal of up to 38 digits as people and programs do.
func random(rng *rand.Rand) string {
	n := 1 + rng.IntN(38)
	var b strings.Builder
	if rng.IntN(2) == 0 {
		b.WriteByte('-')
	}
	point := rng.IntN(n + 1)
	for i := range n {
		if i == point && i > 0 {
			b.WriteByte('.')
		}
		b.WriteByte(byte('0' + rng.IntN(10)))
	}
	if rng.IntN(3) == 0 {
		fmt.Fprintf(&b, "E%d", rng.IntN(120)-60)
	}
	return b.String()
}

func rat(t *testing.T, s string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no decimal", s)
	}
	return r
}

// TestNumbersAgainstRationals compares value, order and sum with math/big.
func TestNumbersAgainstRationals(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var all []Number
		for range 200 {
			text := random(rng)
			n, err := ParseNumber(text)
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, text, err)
			}
			if rat(t, text).Cmp(rat(t, n.String())) != 0 || strings.ContainsAny(n.String(), "eE+") {
				t.Errorf("seed %d: %s became %s", seed, text, n)
			}
			again, err := ParseNumber(n.String())
			if err != nil || again != n {
				t.Errorf("seed %d: %s read again: %v, %v", seed, n, again, err)
			}
			all = append(all, n)
		}
		for i, a := range all {
			b := all[rng.IntN(len(all))]
			want := rat(t, a.String()).Cmp(rat(t, b.String()))
			if got := a.Cmp(b); got != want || cmp.Compare(a.Sortable(), b.Sortable()) != want {
				t.Errorf("seed %d: %s against %s: %d, want %d", seed, a, b, got, want)
			}
			sum, err := a.Add(all[len(all)-1-i].Negated())
			exact := new(big.Rat).Sub(rat(t, a.String()), rat(t, all[len(all)-1-i].String()))
			if err == nil && rat(t, sum.String()).Cmp(exact) != 0 {
				t.Errorf("seed %d: sum of %s and -%s is %s", seed, a, all[len(all)-1-i], sum)
			}
			if err != nil && len(strings.Trim(strings.Replace(exact.FloatString(130), ".", "", 1), "-0")) <= 38 {
				t.Errorf("seed %d: sum of %s and -%s: %v, but it has at most 38 digits", seed, a, all[len(all)-1-i], err)
			}
		}
	}
}

func TestSets(t *testing.T) {
	v, err := NewSet(NS, []string{"10", "9", "-1", "1e1"})
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Message, "contains duplicates") {
		t.Errorf("10 and 1e1: got %v, %v", v, err)
	}
	a, _ := NewSet(NS, []string{"10", "9", "-1"})
	b, _ := NewSet(NS, []string{"9.0", "8"})
	if got := a.Union(b).Set; !slices.Equal(got, []string{"-1", "8", "9", "10"}) {
		t.Errorf("union %v", got)
	}
	if got := a.Minus(b).Set; !slices.Equal(got, []string{"-1", "10"}) {
		t.Errorf("difference %v", got)
	}
	if !slices.Equal(a.Set, []string{"-1", "9", "10"}) {
		t.Errorf("an operand was changed: %v", a.Set)
	}
}

func TestJSONErrors(t *testing.T) {
	deep := strings.Repeat(`{"L":[`, 40) + `{"S":""}` + strings.Repeat(`]}`, 40)
	for text, want := range map[string]string{
		`{"a":{}}`: "is empty", `{"a":{"S":"x","N":"1"}}`: "more than one datatypes", `{"a":{"S":null}}`: "is empty", `{"a":{"NULL":false}}`: "must have the value of true",
		`{"a":` + deep + `}`: "Nesting Levels", `{"a":{"SS":[]}}`: "may not be empty", `{"a":{"X":1}}`: "is empty",
	} {
		var i Item
		err := json.Unmarshal([]byte(text), &i)
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Message, want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{`{"a":{"S":1}}`, `{"a":{"B":"***"}}`, `{"a":[]}`, `[]`, `{"a":{"L":{}}}`, `{"a":{"BOOL":"true"}}`, `{"a":{"SS":[1]}}`} {
		var i Item
		if err := json.Unmarshal([]byte(text), &i); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %v, want ErrFormat", text, err)
		}
	}
}

// FuzzItem reads random bytes: an error, or an item that is the same after writing and reading.
func FuzzItem(f *testing.F) {
	for _, s := range []string{`{"a":{"S":"x"}}`, `{"a":{"M":{"b":{"L":[{"N":"-1.5e3"},{"BS":["AQ=="]}]}}}}`, `{"a":{"NS":["1","2"]},"b":{"NULL":true},"c":{"BOOL":false}}`, `null`, `{`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var i, again Item
		if json.Unmarshal(b, &i) != nil || i == nil {
			return
		}
		out, err := json.Marshal(i)
		if err != nil {
			t.Fatalf("%q was read but cannot be written: %v", b, err)
		}
		if err := json.Unmarshal(out, &again); err != nil || !again.Equal(i) || again.Size() != i.Size() {
			t.Errorf("%q became %q: %v", b, out, err)
		}
	})
}
