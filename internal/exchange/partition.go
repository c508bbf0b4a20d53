package exchange

import "math/rand/v2"

// InTurn returns the function that sends records to the receivers in turn, one record to each, beginning with first modulo their number.
func InTurn[T any](w *Writer[T], first int) func(T) error {
	next := first % len(w.edges)
	return func(v T) error {
		r := next
		if next++; next == len(w.edges) {
			next = 0
		}
		return w.add(r, v, w.context.KeyHash)
	}
}

// AtRandom returns the function that sends each record to a receiver that random draws.
func AtRandom[T any](w *Writer[T], random *rand.Rand) func(T) error {
	return func(v T) error { return w.add(random.IntN(len(w.edges)), v, w.context.KeyHash) }
}

// ByFunction returns the function that sends each record to the receiver that pick gives for it and the number of receivers. What pick gives outside
// of [0, their number) is the error that bad makes of it; the record is not sent.
func ByFunction[T any](w *Writer[T], pick func(v T, n int) int, bad func(got int) error) func(T) error {
	return func(v T) error {
		r := pick(v, len(w.edges))
		if uint(r) >= uint(len(w.edges)) {
			return bad(r)
		}
		return w.add(r, v, w.context.KeyHash)
	}
}
