package serde

import (
	"fmt"
	"reflect"
)

// SharedDecoder is what a Serde can do beside Decode: read values that lie in one buffer so that their strings share one copy of it. A
// receiver of a batch makes that copy once, string(frame), and pays one allocation for all strings of the batch instead of one a value:
//
//	text := string(frame)
//	for _, v := range values { // each at frame[v.start:v.end]
//		err := codec.DecodeShared(frame[v.start:v.end], text[v.start:v.end], &out)
//	}
//
// The codecs of For, Avro, Resolve and Evolve for types that hold strings have it, also those that read another writer's schema. A codec
// without it is used by Decode.
//
// Contract:
//  1. text holds the same bytes as src. Only the lengths are compared: text of other bytes gives other strings.
//  2. Verdicts, errors and values are those of Decode; src is not kept and may be used again after the call. Only text is.
//  3. A string that outlives the batch keeps all of text in memory: who stores it for long clones it (strings.Clone).
type SharedDecoder[T any] interface {
	// DecodeShared reads the one value that src holds, whole, into v, and takes its strings out of text.
	DecodeShared(src []byte, text string, v *T) error
}

func unequalText(t reflect.Type, src []byte, text string) error {
	return fmt.Errorf("serde: decode %v: DecodeShared needs the same bytes twice, and got %d bytes and a text of %d", t, len(src), len(text))
}

// IsDerived reports whether a codec, a Serde of any type, encodes records by the closures that this package derives from Go types: two to
// three times as dear as code that `millrace gen` writes for the type. Codecs of strings, numbers and times, and those of other
// packages, are not derived.
func IsDerived(codec any) bool {
	d, ok := codec.(interface{ derived() bool })
	return ok && d.derived()
}
