package savepoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// Verification is what Verify has found.
type Verification struct {
	// Objects and Bytes of them that were compared with their checksums.
	Objects int
	Bytes   int64
	// Entries whose key, sub key and value were looked at.
	Entries int64
	// Faults; none when all of it can be restored.
	Faults []checkpoint.Fault
}

// Verify reads everything that uri names (as for Open; of a storage all that its HEAD names) and compares sizes and checksums; then it looks at each entry of
// what Open opens: whether it is in its place and whether its key and value are values of their schemas. It goes on after a fault. The error is
// one that leaves nothing to report. progress may be nil.
func Verify(ctx context.Context, uri string, progress func(Progress)) (*Verification, error) {
	var p Progress
	report := func(c checkpoint.Progress) {
		if p.FilesBytes, p.AllSize = c.Bytes, c.AllBytes; progress != nil {
			progress(p)
		}
	}
	r, err := checkpoint.VerifyURL(ctx, uri, report)
	if err != nil {
		return nil, err
	}
	v := &Verification{Objects: r.Objects, Bytes: r.Bytes, Faults: r.Faults}
	if len(v.Faults) > 0 {
		return v, nil // a damaged file is not worth a look at its entries
	}
	s, err := Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	read := newReading(s, progress)
	for i := range s.m.Operators {
		o := &s.m.Operators[i]
		if err := s.verifyEntries(ctx, o, read); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			v.Faults = append(v.Faults, entryFault(uri, o.UID, err))
		}
		read.done(o)
	}
	v.Entries = read.p.Entries
	return v, nil
}

func entryFault(uri, uid string, err error) checkpoint.Fault {
	f := checkpoint.Fault{Object: uri, Needed: fmt.Sprintf("uid %q", uid), Err: err}
	var c *state.CorruptError
	if errors.As(err, &c) && c.File != "" {
		f.Object, f.Offset = c.File, c.Offset
	}
	return f
}

// verifyEntries looks at each entry of an operator.
func (s *Savepoint) verifyEntries(ctx context.Context, o *checkpoint.OperatorState, read *reading) error {
	var p Printer
	var scan serde.Scanner
	counts := counter{}
	look := func(e *Entry, part, schema string, b []byte) error {
		raw, err := p.raw(schema)
		if err == nil && raw != nil {
			scan.Reset(b)
			if _, err = scan.Next(raw); err == nil && scan.Left() > 0 {
				err = fmt.Errorf("%d bytes follow it: %w", scan.Left(), state.ErrCorrupt)
			}
		}
		if err != nil {
			return undecodable(o.UID, e, part, err)
		}
		return nil
	}
	err := s.Entries(ctx, o.UID, func(e *Entry) error {
		read.entry(o.UID, int64(len(e.Key)+len(e.Sub)+len(e.Value)))
		k := stateKey{e.Of.Name, e.Broadcast}
		counts[k] = [2]int64{counts[k][0] + 1, 0}
		groups := s.m.MaxParallelism
		if e.Broadcast {
			groups = 1
		}
		if g := state.GroupOf(e.Hash, groups); g != e.Group {
			return undecodable(o.UID, e, "place", fmt.Errorf("it is in key group %d, its hash %016x belongs to %d of %d: %w", e.Group, e.Hash, g, groups, state.ErrCorrupt))
		}
		if err := look(e, "key", e.Of.Key, e.Key); err != nil {
			return err
		}
		switch e.Of.Kind {
		case state.KindTimers:
			_, _, err := e.Timer()
			return err
		case state.KindMap:
			if err := look(e, "map key", e.Of.Sub, e.Sub); err != nil {
				return err
			}
		case state.KindList:
			if _, err := elementNumber(e.Sub); err != nil {
				return undecodable(o.UID, e, "element", err)
			}
		}
		return look(e, "value", e.Schema, e.Value)
	})
	if err != nil || !s.Portable() {
		return err
	}
	promised := counter{}
	promised.manifest(o)
	for k, n := range promised {
		if got := counts[k][0]; got != n[0] {
			return fmt.Errorf("savepoint: state %q of operator %q has %d entries, the manifest says %d: %w", k.name, o.UID, got, n[0], state.ErrCorrupt)
		}
	}
	return nil
}
