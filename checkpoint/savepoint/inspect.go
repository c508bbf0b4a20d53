package savepoint

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/state"
)

// Summary is what a savepoint or checkpoint holds, in figures.
type Summary struct {
	URI string `json:"uri"`
	// Form is "portable savepoint", "native savepoint" or "checkpoint".
	Form           string            `json:"form"`
	Job            string            `json:"job"`
	ID             int64             `json:"id"`
	Created        time.Time         `json:"created"`
	MaxParallelism int               `json:"max_parallelism"`
	Operators      []OperatorSummary `json:"operators"` // sorted by uid
}

// OperatorSummary is the part of one operator.
type OperatorSummary struct {
	UID         string `json:"uid"`
	Parallelism int    `json:"parallelism"`
	// WatermarkMS is the least of its subtasks, Unix ms; absent where one has none.
	WatermarkMS  *int64                  `json:"watermark_ms,omitempty"`
	States       []StateSummary          `json:"states,omitempty"`
	Splits       []checkpoint.SplitState `json:"splits,omitempty"`
	Finished     []string                `json:"finished,omitempty"`
	Enumerator   []byte                  `json:"enumerator,omitempty"`
	Raw          int                     `json:"raw,omitempty"`          // blobs of state without key
	Committables int                     `json:"committables,omitempty"` // that a start commits first
	Files        int                     `json:"files,omitempty"`
	FileBytes    int64                   `json:"file_bytes,omitempty"`
}

// StateSummary is one state. Entries and Bytes are -1 where nobody has counted: only a portable savepoint knows them without being read.
type StateSummary struct {
	Name      string     `json:"name"`
	Kind      state.Kind `json:"kind"`
	Broadcast bool       `json:"broadcast,omitempty"`
	Entries   int64      `json:"entries"`
	// Bytes are those of rows before compression; of keys, sub keys and values where entries were counted by reading them.
	Bytes int64 `json:"bytes"`
	// Schemas; Value is what the program wrote last, Values are all that entries may have.
	Key          string   `json:"key_schema"`
	Sub          string   `json:"map_key_schema,omitempty"`
	Value        string   `json:"value_schema,omitempty"`
	Values       []string `json:"value_schemas,omitempty"`
	TTL          string   `json:"ttl,omitempty"`
	EventTimeTTL bool     `json:"event_time_ttl,omitempty"`
}

// Portable reports whether s is a portable savepoint: all entries in rows, every operator with one subtask. One without entries is portable.
func (s *Savepoint) Portable() bool {
	for _, o := range s.m.Operators {
		for _, t := range o.Subtasks {
			if slices.ContainsFunc(slices.Concat(t.Files, t.Broadcast), func(f state.File) bool { return f.Rows == nil }) {
				return false
			}
		}
	}
	return s.m.Savepoint
}

// Inspect sums s up. With count, entries of anything but a portable savepoint are read to count them; progress may be nil.
func (s *Savepoint) Inspect(ctx context.Context, count bool, progress func(Progress)) (*Summary, error) {
	m := s.m
	out := &Summary{URI: s.uri, Form: "checkpoint", Job: m.Job, ID: m.ID, Created: time.UnixMilli(m.CreatedMS).UTC(), MaxParallelism: m.MaxParallelism}
	portable := s.Portable()
	switch {
	case portable:
		out.Form = "portable savepoint"
	case m.Savepoint:
		out.Form = "native savepoint"
	}
	r := newReading(s, progress)
	for i := range m.Operators {
		o := &m.Operators[i]
		op := summary(o)
		counts := counter{}
		switch {
		case portable:
			counts.manifest(o)
		case count:
			err := s.Entries(ctx, o.UID, func(e *Entry) error {
				n := int64(len(e.Key) + len(e.Sub) + len(e.Value))
				c := counts[stateKey{e.Of.Name, e.Broadcast}]
				counts[stateKey{e.Of.Name, e.Broadcast}] = [2]int64{c[0] + 1, c[1] + n}
				r.entry(o.UID, n)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		r.done(o)
		for _, d := range o.States {
			op.States = append(op.States, counts.state(d, portable || count)...)
		}
		out.Operators = append(out.Operators, op)
	}
	return out, nil
}

// summary is all but the states.
func summary(o *checkpoint.OperatorState) OperatorSummary {
	op := OperatorSummary{UID: o.UID, Parallelism: o.Parallelism, Enumerator: o.Enumerator, Committables: len(o.Committables), FileBytes: stateBytes(o)}
	all := merged(o)
	if all.WatermarkMS != checkpoint.NoWatermark {
		op.WatermarkMS = &all.WatermarkMS
	}
	op.Splits, op.Finished, op.Raw = all.Splits, all.Finished, len(all.Raw)
	slices.SortFunc(op.Splits, func(a, b checkpoint.SplitState) int { return strings.Compare(a.ID, b.ID) })
	for _, t := range o.Subtasks {
		op.Files += len(t.Files) + len(t.Broadcast)
	}
	return op
}

// counter has the number of entries and their bytes.
type counter map[stateKey][2]int64

// manifest takes the counts out of the manifest.
func (c counter) manifest(o *checkpoint.OperatorState) {
	for _, t := range o.Subtasks {
		for broadcast, files := range map[bool][]state.File{false: t.Files, true: t.Broadcast} {
			for _, f := range files {
				k := stateKey{f.Rows.State, broadcast}
				c[k] = [2]int64{c[k][0] + f.Rows.Entries, c[k][1] + f.Rows.Bytes}
			}
		}
	}
}

// state is the summary of d, once for its keyed and once for its broadcast entries, if it has both.
func (c counter) state(d state.Descriptor, counted bool) []StateSummary {
	base := StateSummary{Name: d.Name, Kind: d.Kind, Key: d.Key, Sub: d.Sub, Value: d.Value, Values: d.Schemas, EventTimeTTL: d.EventTimeTTL}
	if d.TTL != 0 {
		base.TTL = d.TTL.String()
	}
	if !counted {
		base.Entries, base.Bytes = -1, -1
		return []StateSummary{base}
	}
	var out []StateSummary
	for _, broadcast := range []bool{false, true} {
		if n, ok := c[stateKey{d.Name, broadcast}]; ok {
			s := base
			s.Broadcast, s.Entries, s.Bytes = broadcast, n[0], n[1]
			out = append(out, s)
		}
	}
	if out == nil {
		out = append(out, base)
	}
	return out
}

// reading reports the progress of reading a savepoint.
type reading struct {
	p        Progress
	report   func(Progress)
	sinceLog int
}

func newReading(s *Savepoint, report func(Progress)) *reading {
	if report == nil {
		report = func(Progress) {}
	}
	r := &reading{report: report}
	r.p.Operators = len(s.m.Operators)
	for i := range s.m.Operators {
		r.p.AllSize += stateBytes(&s.m.Operators[i])
	}
	return r
}

// entry counts one entry of n bytes.
func (r *reading) entry(uid string, n int64) {
	r.p.Entries++
	r.p.Bytes += n
	if r.sinceLog++; r.sinceLog >= reportEvery {
		r.sinceLog, r.p.UID = 0, uid
		r.report(r.p)
	}
}

func (r *reading) done(o *checkpoint.OperatorState) {
	r.p.UID, r.p.Done, r.p.FilesBytes = o.UID, r.p.Done+1, r.p.FilesBytes+stateBytes(o)
	r.report(r.p)
}
