package codegen_test

import (
	"math/big"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// random fills values of any type of the fixture. Maps have one entry at most, as more have no order and so no one encoding.
type random struct {
	*rand.Rand
	// faults is how many of 1000 values are out of range of their schema.
	faults int
}

func (r random) fault() bool { return r.IntN(1000) < r.faults }

func (r random) text() string {
	b := make([]byte, r.IntN(12))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// integer has every number of bits as often.
func (r random) integer() uint64 { return r.Uint64() >> r.IntN(64) }

func (r random) fill(v reflect.Value, field string, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.UnixMilli(r.Int64N(8e12) - 4e12).Add(time.Duration(r.Int64N(1e9)))
		if r.fault() {
			*p = time.Unix(r.Int64()-r.Int64(), 0)
		}
		return
	case *time.Duration:
		*p = time.Duration(r.Int64N(86_400_000)) * time.Millisecond
		if field == "Took" || r.fault() {
			*p = time.Duration(r.integer())
		}
		return
	case *serde.Decimal:
		digits := int64(1e12)
		if r.fault() {
			digits = 1e18
		}
		*p, _ = serde.NewDecimal(r.Int64N(2*digits)-digits, 2)
		return
	case *big.Rat:
		den := int64(4)
		if r.fault() {
			den = 3
		}
		p.SetFrac64(int64(r.integer()>>20)-1000, den)
		return
	case *fixture.Rank:
		*p = fixture.Rank([]string{"LOW", "MIDDLE", "HIGH", "R3", "R9"}[r.IntN(5)])
		if r.fault() {
			*p = "NONE"
		}
		return
	}
	r.kind(v, field, depth)
}

func (r random) kind(v reflect.Value, field string, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.integer()) * int64(1-2*r.IntN(2)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.integer())
		if (field == "LongU" || field == "LongSize") && !r.fault() {
			v.SetUint(v.Uint() >> 1)
		}
	case reflect.Float32, reflect.Float64:
		v.SetFloat(r.NormFloat64())
	case reflect.String:
		v.SetString(r.text())
		if field == "Level" {
			v.SetString([]string{"LOW", "HIGH"}[r.IntN(2)])
		}
	case reflect.Pointer:
		if field == "Always" && !r.fault() || field != "Always" && depth < 6 && r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			r.fill(v.Elem(), "", depth+1)
		}
	case reflect.Slice:
		if depth < 6 && r.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i), "", depth+1)
		}
	case reflect.Map:
		if depth < 6 && r.IntN(4) > 0 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			k.SetString(r.text())
			r.fill(e, "", depth+1)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				r.fill(v.Field(i), f.Name, depth+1)
			}
		}
	}
}
