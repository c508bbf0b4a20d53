package reference

import "encoding/binary"

// table is a Result that rows are added to.
type table Result

// add adds one row.
func (t *table) add(r row) {
	t.Digest += mix(uint64(r))
	t.Count++
}

// row is the unfinished hash of a row: its fields are folded in one after another.
type row uint64

// newRow is the hash of no field.
const newRow row = 0xCBF29CE484222325

func (r row) step(v uint64) row {
	h := (uint64(r) ^ v) * gamma
	return row(h ^ h>>32)
}

// ints folds in integer fields.
func (r row) ints(fields ...int64) row {
	for _, v := range fields {
		r = r.step(uint64(v))
	}
	return r
}

// strs folds in string fields: the length, then words of eight bytes, the last one padded with zeros.
func (r row) strs(fields ...string) row {
	for _, s := range fields {
		r = r.step(uint64(len(s)))
		for len(s) > 0 {
			var w [8]byte
			s = s[copy(w[:], s):]
			r = r.step(binary.LittleEndian.Uint64(w[:]))
		}
	}
	return r
}

// bid folds in the fields of a bid in the order that all queries use.
func (r row) bid(b bid) row { return r.ints(b.auction, b.bidder, b.price, b.ts).strs(b.extra) }
