package savepoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/millrace-io/millrace/state"
)

// ExportOptions say what is exported. The zero value is everything.
type ExportOptions struct {
	UID   string // "" for all operators
	State string // "" for all states
	// Key of the operator, as JSON in the form of serde.Raw.AppendJSON; nil for all. Text that is no JSON is taken as a string. With it UID is needed.
	Key []byte
	// Progress is called now and then. Optional.
	Progress func(Progress)
}

// Export writes entries to w as lines, see Printer.AppendLine, and returns their number. They come in the order of Entries, operator after operator.
func (s *Savepoint) Export(ctx context.Context, w io.Writer, o ExportOptions) (lines int64, err error) {
	uids := s.UIDs()
	if o.UID != "" {
		if _, err := s.operator(o.UID); err != nil {
			return 0, err
		}
		uids = []string{o.UID}
	}
	if o.Key != nil && o.UID == "" {
		return 0, errors.New("savepoint: to export one key, say of which operator")
	}
	read := newReading(s, o.Progress)
	var p Printer
	var line []byte
	known := false
	for _, uid := range uids {
		op, _ := s.operator(uid)
		known = known || o.State == "" || slices.ContainsFunc(op.States, func(d state.Descriptor) bool { return d.Name == o.State })
		var keys keyFilter
		err := s.entries(ctx, uid, o.State, func(e *Entry) error {
			read.entry(uid, int64(len(e.Key)+len(e.Sub)+len(e.Value)))
			if o.State != "" && e.Of.Name != o.State {
				return nil
			}
			if ok, err := keys.wanted(&p, e, o.Key); !ok || err != nil {
				return err
			}
			if line, err = p.AppendLine(line[:0], uid, e); err != nil {
				return err
			}
			lines++
			_, err := w.Write(line)
			return err
		})
		if err != nil {
			return lines, err
		}
		read.done(op)
	}
	if !known {
		return lines, fmt.Errorf("savepoint: no operator of %q in %s has a state %q", uids, s.uri, o.State)
	}
	return lines, nil
}

// keyFilter encodes the wanted key once for each key schema.
type keyFilter map[string][]byte

func (f *keyFilter) wanted(p *Printer, e *Entry, key []byte) (bool, error) {
	if key == nil {
		return true, nil
	}
	want, ok := (*f)[e.Of.Key]
	if !ok {
		var err error
		if want, err = parseKey(p, key, e.Of.Key); err != nil && !e.Broadcast {
			return false, fmt.Errorf("savepoint: key %s: %w", key, err)
		}
		if *f == nil {
			*f = keyFilter{}
		}
		(*f)[e.Of.Key] = want
	}
	return want != nil && bytes.Equal(want, e.Key), nil
}

// parseKey encodes a key given as JSON or as plain text.
func parseKey(p *Printer, key []byte, schema string) ([]byte, error) {
	encoded, err := p.parse(key, schema)
	if err == nil {
		return encoded, nil
	}
	text, _ := json.Marshal(string(key)) // a string can always be written
	if encoded, again := p.parse(text, schema); again == nil {
		return encoded, nil
	}
	return nil, err
}
