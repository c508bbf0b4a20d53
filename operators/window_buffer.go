package operators

import (
	"slices"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// windowBuffer is the list of elements of each window. The newest stand together in one entry, which a record changes; full chunks of them
// stand by themselves and are never changed, so that a checkpoint does not write a long window again and again.
type windowBuffer[E any] struct {
	tails   *state.Map[Window, bufferTail[E]]
	chunks  *state.Map[bufferChunk, []E]
	scratch []E
}

// bufferTail is the newest elements of a window, behind Chunks full chunks.
type bufferTail[E any] struct {
	Chunks   int64
	Elements []E
}

// bufferChunk names the nth chunk of a window.
type bufferChunk struct {
	Window Window
	N      int64
}

// bufferChunkElements is the length of a chunk: what a checkpoint writes of a window with a new record is at most that.
const bufferChunkElements = 256

// newWindowBuffer declares the list of elements of each window. codec nil: the derived one.
func newWindowBuffer[E any, K comparable, T, Out any](b *Keyed[K, T, Out], name string, codec serde.Serde[E]) *windowBuffer[E] {
	list := listCodec(codec)
	return &windowBuffer[E]{
		tails:  b.Map[Window, bufferTail[E]](name, state.Codec(tailCodec(list))),
		chunks: b.Map[bufferChunk, []E]("chunks of "+name, state.Codec(list)),
	}
}

// append adds e at the end and reports whether it is the first.
func (b *windowBuffer[E]) append(w Window, e E) (fresh bool, err error) {
	t, ok, err := b.tails.Get(w)
	if err != nil {
		return false, err
	}
	if len(t.Elements) >= bufferChunkElements {
		if err := b.chunks.Put(bufferChunk{w, t.Chunks}, t.Elements); err != nil {
			return false, err
		}
		t.Chunks, t.Elements = t.Chunks+1, make([]E, 0, bufferChunkElements)
	}
	t.Elements = append(t.Elements, e)
	return !ok, b.tails.Put(w, t)
}

// elements are those of w in the order in which they came. The slice may be changed, and is valid until the next call of a method.
func (b *windowBuffer[E]) elements(w Window) ([]E, error) {
	t, _, err := b.tails.Get(w)
	if err != nil || t.Chunks == 0 {
		return t.Elements, err
	}
	b.scratch = b.scratch[:0]
	for n := range t.Chunks {
		chunk, _, err := b.chunks.Get(bufferChunk{w, n})
		if err != nil {
			return nil, err
		}
		b.scratch = append(b.scratch, chunk...)
	}
	b.scratch = append(b.scratch, t.Elements...)
	return b.scratch, nil
}

// replace makes es the elements of w. es may be a part of what elements has returned.
func (b *windowBuffer[E]) replace(w Window, es []E) error {
	t, _, err := b.tails.Get(w)
	if err != nil {
		return err
	}
	if t.Chunks == 0 && len(es) > 0 && len(es) <= bufferChunkElements {
		t.Elements = es
		return b.tails.Put(w, t)
	}
	if err := b.remove(w); err != nil {
		return err
	}
	t = bufferTail[E]{}
	for len(es) > bufferChunkElements {
		if err := b.chunks.Put(bufferChunk{w, t.Chunks}, slices.Clone(es[:bufferChunkElements])); err != nil {
			return err
		}
		t.Chunks, es = t.Chunks+1, es[bufferChunkElements:]
	}
	if len(es) == 0 {
		return nil
	}
	t.Elements = slices.Clone(es)
	return b.tails.Put(w, t)
}

// remove drops the elements of w.
func (b *windowBuffer[E]) remove(w Window) error {
	t, ok, err := b.tails.Get(w)
	if err != nil || !ok {
		return err
	}
	for n := range t.Chunks {
		if err := b.chunks.Remove(bufferChunk{w, n}); err != nil {
			return err
		}
	}
	return b.tails.Remove(w)
}
