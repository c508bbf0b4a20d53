package serde

import (
	"math"
	"reflect"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// HashOf makes the hash of keys that decides their key group: the same in every process, release and machine, and well mixed in all
// bits. Integers take the first output of SplitMix64 seeded with the key, strings xxh3 of their bytes, floats SplitMix64 of
// their bits with -0 as 0, and other types xxh3 of their encoding by s.
//
// The returned function reuses a buffer: it belongs to one goroutine. A key that s refuses hashes to 0; whoever encodes the key then
// reports the refusal. A struct key with float fields must not tell -0 from 0, which are equal in Go and differ in bytes.
//
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014), with the constants of Vigna's splitmix64.c.
func HashOf[K comparable](s Serde[K]) func(K) uint64 {
	kind := reflect.TypeFor[K]().Kind()
	switch {
	case kind == reflect.String:
		return func(k K) uint64 { return xxh3.HashString(*as[string](&k)) }
	case kind == reflect.Int64 || kind == reflect.Uint64:
		return func(k K) uint64 { return splitMix64(*as[uint64](&k)) }
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return func(k K) uint64 { return splitMix64(uint64(integer(&k, kind))) }
	case kind == reflect.Float32:
		return func(k K) uint64 { return splitMix64(math.Float64bits(float64(*as[float32](&k)) + 0)) }
	case kind == reflect.Float64:
		return func(k K) uint64 { return splitMix64(math.Float64bits(*as[float64](&k) + 0)) }
	}
	if d, ok := s.(*avroSerde[K]); ok && d.appendOwn == nil {
		return hashDerived(d)
	}
	var buf []byte
	return func(k K) uint64 {
		out, err := s.Append(buf[:0], k)
		if err != nil {
			return 0
		}
		buf = out
		return xxh3.Hash(out)
	}
}

// hashDerived is HashOf by a derived codec without the guards of its Append: the box is the function's own.
func hashDerived[K comparable](s *avroSerde[K]) func(K) uint64 {
	var buf []byte
	box := new(K)
	return func(k K) uint64 {
		*box = k
		out, err := s.enc(buf[:0], unsafe.Pointer(box), 0)
		if err != nil {
			return 0
		}
		buf = out
		return xxh3.Hash(out)
	}
}

func splitMix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
