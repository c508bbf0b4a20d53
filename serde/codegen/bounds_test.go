package codegen_test

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// TestBoundsOfEncoding sets one field to each value at and beside a bound of its schema, and says which of them are refused.
func TestBoundsOfEncoding(t *testing.T) {
	c := codecsOf[fixture.Limits](t)
	set := func(refused bool, f func(v *fixture.Limits)) {
		t.Helper()
		v := fixture.Limits{Millis: time.UnixMilli(0), Micros: time.UnixMilli(0), Nanos: time.UnixMilli(0), Day: time.UnixMilli(0)}
		f(&v)
		if src := c.encode(t, v); (src == nil) != refused {
			t.Errorf("%+v: refused %v, want %v", v, src == nil, refused)
		} else if src != nil && !c.decode(t, src) {
			t.Errorf("%x is refused", src)
		}
	}
	decimal := func(unscaled int64, scale int) serde.Decimal {
		d, err := serde.NewDecimal(unscaled, scale)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	set(false, func(*fixture.Limits) {})
	far := time.Unix(math.MaxInt64/1_000_000, 0)
	set(true, func(v *fixture.Limits) { v.Millis = far })
	set(true, func(v *fixture.Limits) { v.Micros = far })
	set(true, func(v *fixture.Limits) { v.Day = far })
	set(true, func(v *fixture.Limits) { v.Nanos = time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC) })
	set(false, func(v *fixture.Limits) { v.Nanos = time.Date(2261, 1, 1, 0, 0, 0, 1, time.UTC) })
	set(false, func(v *fixture.Limits) { v.Clock = 24*time.Hour - time.Millisecond })
	set(true, func(v *fixture.Limits) { v.Clock = 24 * time.Hour })
	set(true, func(v *fixture.Limits) { v.Clock = time.Microsecond })
	set(true, func(v *fixture.Limits) { v.Clock = -time.Millisecond })
	set(false, func(v *fixture.Limits) { v.Exactly = time.Microsecond })
	set(true, func(v *fixture.Limits) { v.Exactly = time.Nanosecond })
	set(false, func(v *fixture.Limits) { v.Amount = decimal(-9999, 2) })
	set(true, func(v *fixture.Limits) { v.Amount = decimal(10000, 2) })
	set(true, func(v *fixture.Limits) { v.Amount = decimal(1, 3) })
	set(false, func(v *fixture.Limits) { v.Rat = *big.NewRat(-9999, 100) })
	set(true, func(v *fixture.Limits) { v.Rat = *big.NewRat(100, 1) })
	set(true, func(v *fixture.Limits) { v.Rat = *big.NewRat(1, 3) })
	set(false, func(v *fixture.Limits) { v.Count = math.MaxUint64 })
	set(false, func(v *fixture.Limits) { v.Long = math.MaxInt64 })
	set(true, func(v *fixture.Limits) { v.Long = math.MaxInt64 + 1 })
}

// TestBoundsOfDecoding puts numbers of every size into each field: generated code and the derived codec take and refuse the same.
func TestBoundsOfDecoding(t *testing.T) {
	c := codecsOf[fixture.Limits](t)
	taken, refused := 0, 0
	for field := range 11 {
		numbers := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 86_399_999, 86_400_000, 86_399_999_999, 86_400_000_000, math.MaxInt64}
		for bits := range 63 {
			numbers = append(numbers, 1<<bits, 1<<bits-1, -1<<bits, -1<<bits-1, 4_611_686_018_427*1000+int64(bits)-30)
		}
		for _, n := range numbers {
			src := []byte{}
			for i := range 11 {
				switch {
				case i >= 6 && i < 9: // decimals and the unsigned number
					raw := binary.BigEndian.AppendUint64(nil, uint64(n))
					if i != field {
						raw = nil
					}
					src = append(binary.AppendVarint(src, int64(len(raw))), raw...)
				case i == field:
					src = binary.AppendVarint(src, n)
				default:
					src = append(src, 0)
				}
			}
			if c.decode(t, src) {
				taken++
			} else {
				refused++
			}
		}
	}
	if taken < 300 || refused < 300 {
		t.Errorf("%d inputs taken, %d refused: the test does not test", taken, refused)
	}
}
