package savepoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Change is a change of one entry, given as JSON: a line of an export, or with Delete what is to go away.
type Change struct {
	UID       string `json:"uid"`
	State     string `json:"state"`
	Broadcast bool   `json:"broadcast,omitempty"`
	Group     *int   `json:"group,omitempty"` // not looked at: it follows from the key
	// Key in the form of serde.Raw.AppendJSON. Not needed for broadcast state.
	Key json.RawMessage `json:"key,omitempty"`
	// MapKey of a map state, Element of a list, Clock and AtMS of timers. To delete all that there is under the key they are left out.
	MapKey  json.RawMessage `json:"map_key,omitempty"`
	Element *int64          `json:"element,omitempty"`
	Clock   string          `json:"clock,omitempty"`
	AtMS    *int64          `json:"at_ms,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	// ExpiresMS is Unix ms by the clock of the state's time to live; nil for never.
	ExpiresMS *int64 `json:"expires_ms,omitempty"`
	Delete    bool   `json:"delete,omitempty"`
}

// ParseChanges reads changes, one JSON object after the other. An unknown field is an error.
func ParseChanges(r io.Reader) ([]Change, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var out []Change
	for {
		var c Change
		err := d.Decode(&c)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("savepoint: change %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
}

// Apply makes a change. What it sets has the newest schema of the state. The hash of a key that the operator does not have yet is computed as a job would do
// it; when the operator's keys show that its hashes come another way, it is an error: use an Editor of the key's type, or Set. Errors are returned and
// not kept: the Builder stays as it was.
func (b *Builder) Apply(ctx context.Context, c Change) error {
	fail := func(err error) error {
		return fmt.Errorf("savepoint: change of state %q of operator %q: %w", c.State, c.UID, err)
	}
	op := b.ops[c.UID]
	if op == nil {
		return fail(fmt.Errorf("there is no such operator, there are %q", b.uids()))
	}
	d, ok := op.descriptor(c.State)
	if !ok {
		return fail(errors.New("there is no such state"))
	}
	if c.Broadcast && c.Key == nil {
		c.Key = json.RawMessage("false")
	}
	e := Entry{Of: &d, Broadcast: c.Broadcast, Schema: d.Value}
	var p Printer
	var err error
	if e.Key, err = p.parse(c.Key, d.Key); err != nil {
		return fail(fmt.Errorf("key: %w", err))
	}
	whole, err := c.sub(&p, &e)
	if err != nil {
		return fail(err)
	}
	switch {
	case c.Delete && (c.Value != nil || c.ExpiresMS != nil):
		return fail(errors.New("it has a value or an expiry and deletes"))
	case c.Delete && whole:
		b.DeleteKey(c.UID, c.State, c.Broadcast, e.Key)
		return nil
	case c.Delete:
		b.Delete(c.UID, c.State, c.Broadcast, e.Key, e.Sub)
		return nil
	case whole && len(e.Sub) == 0 && d.Kind != state.KindValue && d.Kind != state.KindReducing && d.Kind != state.KindAggregating:
		return fail(fmt.Errorf("a %s state needs map_key, element, or clock and at_ms", d.Kind))
	}
	if err := c.value(&p, &e); err != nil {
		return fail(err)
	}
	if !c.Broadcast {
		if e.Hash, err = b.hash(ctx, op, &p, &e); err != nil {
			return fail(err)
		}
	}
	b.Set(c.UID, c.State, e)
	return nil
}

// sub reads the sub key; whole says that none is given.
func (c *Change) sub(p *Printer, e *Entry) (whole bool, err error) {
	given := map[state.Kind]bool{state.KindMap: c.MapKey != nil, state.KindList: c.Element != nil, state.KindTimers: c.Clock != "" || c.AtMS != nil}
	for kind, some := range given {
		if some && kind != e.Of.Kind {
			return false, fmt.Errorf("it has the sub key of a %s state and is a %s state", kind, e.Of.Kind)
		}
	}
	if !given[e.Of.Kind] {
		return true, nil
	}
	switch e.Of.Kind {
	case state.KindMap:
		if e.Sub, err = p.parse(c.MapKey, e.Of.Sub); err != nil {
			return false, fmt.Errorf("map key: %w", err)
		}
	case state.KindList:
		if *c.Element < 0 || *c.Element == math.MaxInt64 {
			return false, fmt.Errorf("element number %d", *c.Element)
		}
		e.Sub = binary.BigEndian.AppendUint64(nil, uint64(*c.Element))
	case state.KindTimers:
		clock := slices.Index([]string{state.EventTime.String(), state.ProcessingTime.String()}, c.Clock)
		if clock < 0 || c.AtMS == nil {
			return false, fmt.Errorf("a timer needs clock (%q or %q) and at_ms", state.EventTime, state.ProcessingTime)
		}
		e.Sub = timerKey(state.Domain(clock), *c.AtMS)
	}
	return false, nil
}

// value reads the value and the expiry.
func (c *Change) value(p *Printer, e *Entry) (err error) {
	if e.Of.Kind == state.KindTimers {
		if c.Value != nil || c.ExpiresMS != nil {
			return errors.New("a timer has neither value nor expiry")
		}
		return nil
	}
	if c.Value == nil {
		return errors.New("it has no value; to delete an entry say so")
	}
	if e.Value, err = p.parse(c.Value, e.Of.Value); err != nil {
		return fmt.Errorf("value: %w", err)
	}
	if c.ExpiresMS == nil {
		return nil
	}
	if e.ExpiresMS = *c.ExpiresMS; e.Of.EventTimeTTL {
		e.ExpiresMS += eventBias
	}
	if e.Of.TTL == 0 || e.ExpiresMS < 1 || e.ExpiresMS >= 2*eventBias {
		return fmt.Errorf("it expires at %d, and the state has time to live %v", *c.ExpiresMS, e.Of.TTL)
	}
	return nil
}

// hashSamples is how many keys of an operator are looked at to know how it hashes.
const hashSamples = 1000

var errEnough = errors.New("enough")

// hash is the hash of a key that may be new.
func (b *Builder) hash(ctx context.Context, op *operatorEdit, p *Printer, e *Entry) (uint64, error) {
	raw, err := p.raw(e.Of.Key)
	if err != nil {
		return 0, err
	}
	var candidates []func([]byte) (uint64, error)
	if raw != nil {
		candidates = raw.Hashes()
	} else if bytesOnly, err := serde.ParseRaw(`"null"`); err == nil {
		candidates = bytesOnly.Hashes() // of the encoding
	}
	keys, hashes, err := b.sampleKeys(ctx, op)
	if err != nil {
		return 0, err
	}
	if i := slices.IndexFunc(keys, func(k []byte) bool { return bytes.Equal(k, e.Key) }); i >= 0 {
		return hashes[i], nil
	}
	for _, f := range candidates {
		fits := true
		for i, k := range keys {
			h, err := f(k)
			fits = fits && err == nil && h == hashes[i]
		}
		if fits {
			return f(e.Key)
		}
	}
	return 0, errors.New("the hashes of the operator's keys do not follow from the keys as those of the library do; set entries by their key type in Go, with the hash")
}

// sampleKeys are some keys of the operator with their hashes.
func (b *Builder) sampleKeys(ctx context.Context, op *operatorEdit) (keys [][]byte, hashes []uint64, err error) {
	if op.base == nil {
		return nil, nil, nil
	}
	if op.sampled {
		return op.sampleKeys, op.sampleHashes, nil
	}
	err = b.base.entries(ctx, op.base.UID, "", func(e *Entry) error {
		if e.Broadcast || len(keys) >= hashSamples {
			return errEnough
		}
		if n := len(keys); n == 0 || !bytes.Equal(keys[n-1], e.Key) {
			keys, hashes = append(keys, bytes.Clone(e.Key)), append(hashes, e.Hash)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, nil, err
	}
	op.sampled, op.sampleKeys, op.sampleHashes = true, keys, hashes
	return keys, hashes, nil
}
