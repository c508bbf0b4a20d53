package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state/internal/ocf"
)

// A rows file is an Avro object container file with the entries of one state in some key groups, whose values all have one schema. Any Avro tool
// reads it. The schema of a row is
//
//	record MillraceRow {
//	  int                   kg      key group
//	  <key schema>          key
//	  <see below>           sub     map: <map key schema>; list: long, the number of the element, ascending within a key, with gaps;
//	                                timers: record MillraceTimer {enum MillraceClock {EVENT_TIME, PROCESSING_TIME} clock; long at (Unix ms)};
//	                                all others: null
//	  <value schema>        value   timers: null
//	  union {null, long}    expiry  Unix ms, by the clock of the state's time to live
//	  fixed MillraceHash(8) hash   hash of the key, big-endian: the key group in any number of key groups follows from it
//	}
//
// Keys and values stand in it as their codec has encoded them: nothing is decoded to write or to read a file. Those of a codec that is not
// Avro are bytes. A named type whose name is taken has another name in the row's schema (serde.RecordSchema); the schemas as they are stand in the
// header. Rows ascend by (kg, key, sub), as bytes; those of timers by kg only.
//
// The header has, beside avro.schema and avro.codec, all as text:
//
//	millrace.version          1
//	millrace.uid, .state      names of operator and state
//	millrace.kind             value, list, map, reducing, aggregating or timers
//	millrace.groups           "first-last" of the key groups that may occur
//	millrace.max_parallelism  number of key groups
//	millrace.key, .sub, .value  schemas as the codecs give them: Avro, or "opaque:…"; .sub is for map states only, .value is that of the values in this file
//	millrace.ttl, .ttl_clock  "24h0m0s"; "processing time" or "event time"; absent without time to live
//
// Blocks and sync marks are those of the Avro specification, codecs null, deflate and zstandard. There are no checksums but zstandard's: they
// stand in the manifest, for each chunk of the file.

// rowsVersion is the version of rows files that this release writes. It reads every version up to this one.
const rowsVersion = 1

const (
	metaRows     = "millrace."
	metaVersion  = metaRows + "version"
	metaUID      = metaRows + "uid"
	metaState    = metaRows + "state"
	metaKind     = metaRows + "kind"
	metaGroups   = metaRows + "groups"
	metaMax      = metaRows + "max_parallelism"
	metaKey      = metaRows + "key"
	metaSub      = metaRows + "sub"
	metaValue    = metaRows + "value"
	metaTTL      = metaRows + "ttl"
	metaTTLClock = metaRows + "ttl_clock"
)

// RowsHeader is what a rows file says of itself.
type RowsHeader struct {
	UID string
	// State has neither ID nor Schemas; Value is the schema of all values in the file.
	State          Descriptor
	Groups         GroupRange // no row is of another key group; not all of them need to have rows
	MaxParallelism int
}

// meta are the entries of the file's header.
func (h *RowsHeader) meta() map[string]string {
	m := map[string]string{
		metaVersion: strconv.Itoa(rowsVersion), metaUID: h.UID, metaState: h.State.Name, metaKind: string(h.State.Kind),
		metaGroups: fmt.Sprintf("%d-%d", h.Groups.Start, h.Groups.End-1), metaMax: strconv.Itoa(h.MaxParallelism),
		metaKey: h.State.Key, metaValue: h.State.Value,
	}
	if h.State.Kind == KindMap {
		m[metaSub] = h.State.Sub
	}
	if h.State.TTL != 0 {
		m[metaTTL], m[metaTTLClock] = h.State.TTL.String(), ProcessingTime.String()
		if h.State.EventTimeTTL {
			m[metaTTLClock] = EventTime.String()
		}
	}
	return m
}

// parse reads what meta has written.
func (h *RowsHeader) parse(m map[string]string) error {
	v, err := strconv.Atoi(m[metaVersion])
	if err != nil {
		return fmt.Errorf("the header's %s is %q: this is no file of a savepoint", metaVersion, m[metaVersion])
	}
	if v < 1 || v > rowsVersion {
		return fmt.Errorf("format version %d, this release reads versions 1 to %d", v, rowsVersion)
	}
	h.UID = m[metaUID]
	h.State = Descriptor{Name: m[metaState], Kind: Kind(m[metaKind]), Key: m[metaKey], Sub: m[metaSub], Value: m[metaValue]}
	if s, ok := m[metaTTL]; ok {
		if h.State.TTL, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("the header's %s: %w", metaTTL, err)
		}
		h.State.EventTimeTTL = m[metaTTLClock] == EventTime.String()
	}
	first, last, _ := strings.Cut(m[metaGroups], "-")
	var errs [3]error
	h.Groups.Start, errs[0] = strconv.Atoi(first)
	h.Groups.End, errs[1] = strconv.Atoi(last)
	h.MaxParallelism, errs[2] = strconv.Atoi(m[metaMax])
	h.Groups.End++
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("the header's key groups: %w", err)
	}
	return h.validate()
}

func (h *RowsHeader) validate() error {
	if h.MaxParallelism < 1 || h.MaxParallelism > maxMaxParallelism || h.Groups.Start < 0 || h.Groups.End < h.Groups.Start || h.Groups.End > h.MaxParallelism {
		return fmt.Errorf("key groups [%d,%d) of %d, want a range within 1 to %d groups", h.Groups.Start, h.Groups.End, h.MaxParallelism, maxMaxParallelism)
	}
	if h.State.Name == "" {
		return errors.New("it names no state")
	}
	switch h.State.Kind {
	case KindValue, KindList, KindMap, KindReducing, KindAggregating, KindTimers:
		return nil
	}
	return fmt.Errorf("state %q is of kind %q, which this release does not know", h.State.Name, h.State.Kind)
}

// Schemas of the parts of a row that are the same in every file.
const (
	schemaNull   = `"null"`
	schemaBytes  = `"bytes"`
	schemaTimer  = `{"type":"record","name":"MillraceTimer","fields":[{"name":"clock","type":{"type":"enum","name":"MillraceClock","symbols":["EVENT_TIME","PROCESSING_TIME"]}},{"name":"at","type":"long"}]}`
	schemaExpiry = `["null","long"]`
	schemaHash   = `{"type":"fixed","name":"MillraceHash","size":8}`
	rowName      = "MillraceRow"
)

// rowField is one of key, sub and value: how its bytes stand in a row.
type rowField struct {
	schema string     // in the row
	raw    *serde.Raw // nil: bytes with a length
}

// fieldOf is the field for the encoding of a codec with the given schema.
func fieldOf(schema string) (rowField, error) {
	if strings.HasPrefix(schema, "opaque:") {
		return rowField{schema: schemaBytes}, nil
	}
	raw, err := serde.ParseRaw(schema)
	return rowField{schema: schema, raw: raw}, err
}

// appendTo appends the encoding b to a row.
func (f *rowField) appendTo(dst, b []byte, s *serde.Scanner) ([]byte, error) {
	if f.raw == nil {
		return append(binary.AppendVarint(dst, int64(len(b))), b...), nil
	}
	s.Reset(b)
	if _, err := s.Next(f.raw); err != nil {
		return dst, err
	}
	if s.Left() > 0 {
		return dst, fmt.Errorf("%d bytes follow the value", s.Left())
	}
	return append(dst, b...), nil
}

// cut reads the encoding out of a row.
func (f *rowField) cut(s *serde.Scanner) ([]byte, error) {
	if f.raw == nil {
		return s.Bytes()
	}
	return s.Next(f.raw)
}

// rowForm is how the entries of one state stand in rows.
type rowForm struct {
	kind            Kind
	key, sub, value rowField
	event           bool   // expiry stamps are of event time
	schema          string // of a row
}

func rowFormOf(d *Descriptor) (rowForm, error) {
	f := rowForm{kind: d.Kind, event: d.EventTimeTTL}
	var err error
	if f.key, err = fieldOf(d.Key); err != nil {
		return f, fmt.Errorf("schema of the key: %w", err)
	}
	switch d.Kind {
	case KindMap:
		if f.sub, err = fieldOf(d.Sub); err != nil {
			return f, fmt.Errorf("schema of the map key: %w", err)
		}
	case KindList:
		f.sub.schema = `"long"`
	case KindTimers:
		f.sub.schema = schemaTimer
	default:
		f.sub.schema = schemaNull
	}
	if d.Kind == KindTimers {
		f.value, err = fieldOf(schemaNull)
	} else {
		f.value, err = fieldOf(d.Value)
	}
	if err != nil {
		return f, fmt.Errorf("schema of the value: %w", err)
	}
	f.schema, err = serde.RecordSchema(rowName, serde.RecordField{Name: "kg", Schema: `"int"`}, serde.RecordField{Name: "key", Schema: f.key.schema},
		serde.RecordField{Name: "sub", Schema: f.sub.schema}, serde.RecordField{Name: "value", Schema: f.value.schema},
		serde.RecordField{Name: "expiry", Schema: schemaExpiry}, serde.RecordField{Name: "hash", Schema: schemaHash})
	return f, err
}

// RowsCodec names how the blocks of a rows file are compressed.
type RowsCodec string

// The codecs. Zstandard is the fastest and smallest; every Avro tool reads Deflate and None.
const (
	RowsZstandard = RowsCodec(ocf.Zstandard)
	RowsDeflate   = RowsCodec(ocf.Deflate)
	RowsNone      = RowsCodec(ocf.Null)
)

// Validate reports a codec that does not exist.
func (c RowsCodec) Validate() error {
	switch c {
	case RowsZstandard, RowsDeflate, RowsNone:
		return nil
	}
	return fmt.Errorf("state: codec %q of rows files is unknown, want %q, %q or %q", string(c), RowsZstandard, RowsDeflate, RowsNone)
}
