package operators

import "github.com/millrace-io/millrace/serde"

// WindowCodecs are the codecs of what windows keep of records with a codec of their own.
func WindowCodecs[T any](of serde.Serde[T]) (serde.Serde[[]T], serde.Serde[bufferTail[T]], serde.Serde[TimestampedValue[T]]) {
	list := listCodec(of)
	return list, tailCodec(list), timestampedCodec(of)
}

// BufferTail is the newest elements of a window behind full chunks.
func BufferTail[E any](chunks int64, es []E) bufferTail[E] { return bufferTail[E]{chunks, es} }
