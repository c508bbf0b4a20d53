package serde

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"
)

// decFunc reads one value into p, which is of the bound Go type and zero.
type decFunc func(r *reader, p unsafe.Pointer) error

type decodeKey struct {
	w *node
	b *bound
}

// decoders compiles decoders of data written with one schema into Go types bound to another: names, promotions and defaults are
// resolved here, once. Data of the reader's own schema is the case of equal nodes.
type decoders struct {
	seen map[decodeKey]*decFunc
	// failed keeps why a pair cannot be read, for when it is met again: a union may have forgiven it the first time.
	failed map[decodeKey][]error
	skip   skippers
	sizes  minSizes
	path   []string
	errs   []error
}

func newDecoders() *decoders {
	sizes := minSizes{}
	return &decoders{seen: map[decodeKey]*decFunc{}, failed: map[decodeKey][]error{}, sizes: sizes, skip: skippers{seen: map[*node]*skipFunc{}, sizes: sizes}}
}

func (c *decoders) fail(rule string, format string, args ...any) decFunc {
	c.errs = append(c.errs, Incompatibility{Path: strings.Join(c.path, ""), Rule: rule, Detail: fmt.Sprintf(format, args...)})
	return nil
}

// in runs f with one more step on the path.
func (c *decoders) in(step string, f func()) {
	if len(c.path) == 0 {
		step = strings.TrimPrefix(step, ".")
	}
	c.path = append(c.path, step)
	f()
	c.path = c.path[:len(c.path)-1]
}

// compile makes the decoder from w to b, or notes why there is none. The notes are in c.errs.
func (c *decoders) compile(w *node, b *bound) decFunc {
	key := decodeKey{w, b}
	if f := c.seen[key]; f != nil {
		if why := c.failed[key]; why != nil {
			c.errs = append(c.errs, why...)
		}
		return func(r *reader, p unsafe.Pointer) error {
			if *f == nil {
				return r.corrupt("%s cannot be read as %s", w.describe(), b.n.describe())
			}
			return (*f)(r, p)
		}
	}
	f := new(decFunc)
	c.seen[key] = f
	before := len(c.errs)
	dec := c.decoder(w, b)
	if len(c.errs) > before {
		c.failed[key] = slices.Clone(c.errs[before:])
		return nil
	}
	*f = dec
	return dec
}

func (c *decoders) decoder(w *node, b *bound) decFunc {
	if b.form == formAlways {
		elem := c.compile(w, b.elem)
		return decPointer(elem, b.typ.Elem())
	}
	if w.kind == kUnion {
		return c.union(w, b)
	}
	if b.form == formPointer {
		if w.kind == kNull {
			return func(*reader, unsafe.Pointer) error { return nil }
		}
		return decPointer(c.compile(w, b.elem), b.typ.Elem())
	}
	if rule, detail := mismatch(w, b.n); rule != "" {
		return c.fail(rule, "%s", detail)
	}
	switch b.form {
	case formRecord:
		return c.record(w, b)
	case formSlice:
		var elem decFunc
		c.in("[]", func() { elem = c.compile(w.item, b.elem) })
		return decSlice(elem, b.typ, c.sizes.of(w.item))
	case formMap:
		var elem decFunc
		c.in("{}", func() { elem = c.compile(w.item, b.elem) })
		return decMap(elem, b.typ, c.sizes.of(w.item)+1)
	default:
		return decLeaf(w, b)
	}
}

// union reads what a union wrote: each branch by its own decoder. A branch that the reader cannot take fails the value that holds it,
// as the specification says; when no branch can be read the schemas do not match.
func (c *decoders) union(w *node, b *bound) decFunc {
	before := len(c.errs)
	branches := make([]decFunc, len(w.branches))
	usable := false
	for i, branch := range w.branches {
		at := len(c.errs)
		d := c.compile(branch, b)
		if len(c.errs) > at {
			why := errors.Join(c.errs[at:]...)
			c.errs = c.errs[:at:at]
			branches[i] = func(r *reader, _ unsafe.Pointer) error {
				return r.corrupt("union branch %d holds %s, which the reader has no place for: %v", i, branch.describe(), why)
			}
			continue
		}
		usable, branches[i] = true, d
	}
	if !usable {
		c.errs = c.errs[:before]
		return c.fail(RuleType, "writer has %s, reader %s", w.describe(), b.n.describe())
	}
	return func(r *reader, p unsafe.Pointer) error {
		i, err := r.index(len(branches), "union branch")
		if err != nil {
			return err
		}
		return branches[i](r, p)
	}
}

func decPointer(elem decFunc, t reflect.Type) decFunc {
	return func(r *reader, p unsafe.Pointer) error {
		v := reflect.New(t).UnsafePointer()
		if err := elem(r, v); err != nil {
			return err
		}
		*(*unsafe.Pointer)(p) = v
		return nil
	}
}

type decField struct {
	dec    decFunc
	offset uintptr
	name   string
}

func (c *decoders) record(w *node, b *bound) decFunc {
	fields := make([]decField, 0, len(w.fields))
	taken := make([]bool, len(b.fields))
	sources := matchFields(w, b.n)
	for wi, wf := range w.fields {
		ri := sources[wi]
		df := decField{name: wf.name}
		if ri < 0 || b.fields[ri].b == nil {
			skip := c.skip.compile(wf.typ)
			df.dec = func(r *reader, _ unsafe.Pointer) error { return skip(r) }
			if ri >= 0 {
				taken[ri] = true
			}
		} else {
			bf := b.fields[ri]
			taken[ri] = true
			c.in("."+bf.f.name, func() { df.dec = c.compile(wf.typ, bf.b) })
			df.offset, df.name = bf.offset, bf.f.name
		}
		fields = append(fields, df)
	}
	for ri, bf := range b.fields {
		if taken[ri] || bf.b == nil {
			continue
		}
		c.in("."+bf.f.name, func() {
			if dec := c.missing(bf); dec != nil {
				fields = append(fields, decField{dec: dec, offset: bf.offset, name: bf.f.name})
			}
		})
	}
	share := b.texts > 1
	return func(r *reader, p unsafe.Pointer) error {
		if err := r.enter(); err != nil {
			return err
		}
		r.share = r.share || share
		for i := range fields {
			f := &fields[i]
			if err := f.dec(r, unsafe.Add(p, f.offset)); err != nil {
				return inField(f.name, err)
			}
		}
		r.depth--
		return nil
	}
}

// missing fills a field that the writer does not have from its default. nil stands for a default that is the zero value.
func (c *decoders) missing(bf boundField) decFunc {
	if !bf.f.hasDefault {
		return c.fail(RuleMissing, "no default and missing in the writer")
	}
	data, err := appendDefault(nil, bf.f.typ, bf.f.def, 0)
	if err != nil {
		return c.fail(RuleMissing, "default: %v", err)
	}
	own := newDecoders()
	dec := own.compile(bf.f.typ, bf.b)
	if len(own.errs) > 0 {
		return c.fail(RuleMissing, "default: %v", errors.Join(own.errs...))
	}
	v := reflect.New(bf.b.typ)
	if err := dec(&reader{src: data}, v.UnsafePointer()); err != nil {
		return c.fail(RuleMissing, "default: %v", err)
	}
	if v.Elem().IsZero() {
		return nil
	}
	return func(_ *reader, p unsafe.Pointer) error { return dec(&reader{src: data}, p) }
}

// trustedItems is the number of items for which a decoder makes room on the word of a block count.
const trustedItems = 256

func decSlice(elem decFunc, t reflect.Type, size int) decFunc {
	step := t.Elem().Size()
	return func(r *reader, p unsafe.Pointer) error {
		s := reflect.NewAt(t, p).Elem()
		for {
			count, err := r.block(size)
			if err != nil || count == 0 {
				return err
			}
			for count > 0 {
				// The count is only a claim: memory grows with what has really been read.
				n := s.Len()
				more := min(count, max(n, trustedItems))
				count -= more
				s.Grow(more)
				s.SetLen(n + more)
				data := (*sliceHeader)(p).data
				for i := n; i < n+more; i++ {
					if err := elem(r, unsafe.Add(data, uintptr(i)*step)); err != nil {
						return inElement(i, err)
					}
				}
			}
		}
	}
}

func decMap(elem decFunc, t reflect.Type, size int) decFunc {
	pool := mapPool(t)
	return func(r *reader, p unsafe.Pointer) error {
		m := reflect.NewAt(t, p).Elem()
		s := pool.Get().(*mapScratch)
		defer s.free(pool)
		for {
			count, err := r.block(size)
			if err != nil || count == 0 {
				return err
			}
			if m.IsNil() {
				m.Set(reflect.MakeMapWithSize(t, min(count, trustedItems)))
			}
			for range count {
				key, err := r.text()
				if err != nil {
					return err
				}
				s.key.SetString(key)
				s.value.SetZero()
				if err := elem(r, s.value.Addr().UnsafePointer()); err != nil {
					return inKey(key, err)
				}
				m.SetMapIndex(s.key, s.value)
			}
		}
	}
}
