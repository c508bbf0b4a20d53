package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/millrace-io/millrace/checkpoint/savepoint"
)

// inspect prints what a savepoint holds.
func inspect(ctx context.Context, args []string, s streams) (bool, error) {
	f := newFlags("inspect", s)
	asJSON := f.Bool("json", false, "print JSON")
	count := f.Bool("count", false, "read the entries of a checkpoint or native savepoint to count them")
	args, err := f.parse(args, "URI")
	if err != nil {
		return false, err
	}
	sp, err := savepoint.Open(ctx, args[0])
	if err != nil {
		return false, err
	}
	sum, err := sp.Inspect(ctx, *count, f.progress())
	if err != nil {
		return false, err
	}
	if *asJSON {
		return false, printJSON(s.out, sum)
	}
	w := bufio.NewWriter(s.out)
	printSummary(w, sum)
	return false, w.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func printSummary(w io.Writer, s *savepoint.Summary) {
	fmt.Fprintf(w, "%s of job %q: checkpoint %d of %s, %d key groups\n%s\n", s.Form, s.Job, s.ID, s.Created.Format(time.RFC3339), s.MaxParallelism, s.URI)
	for _, o := range s.Operators {
		fmt.Fprintf(w, "\noperator %q\n", o.UID)
		if s.Form != "portable savepoint" {
			fmt.Fprintf(w, "  parallelism   %d\n", o.Parallelism)
		}
		if o.WatermarkMS != nil {
			fmt.Fprintf(w, "  watermark     %d (%s)\n", *o.WatermarkMS, time.UnixMilli(*o.WatermarkMS).UTC().Format(time.RFC3339Nano))
		} else {
			fmt.Fprintf(w, "  watermark     none\n")
		}
		if o.Files > 0 {
			fmt.Fprintf(w, "  files         %d, %s\n", o.Files, bytesText(o.FileBytes))
		}
		for _, x := range []struct {
			what string
			n    int
		}{{"enumerator", len(o.Enumerator)}, {"raw state", o.Raw}, {"committables", o.Committables}, {"finished", len(o.Finished)}} {
			if x.n > 0 {
				fmt.Fprintf(w, "  %-13s %d\n", x.what, x.n)
			}
		}
		for _, p := range o.Splits {
			fmt.Fprintf(w, "  split         %s at %s\n", p.ID, text(p.Position))
		}
		for _, st := range o.States {
			printState(w, &st)
		}
	}
}

func printState(w io.Writer, st *savepoint.StateSummary) {
	kind := string(st.Kind)
	if st.Broadcast {
		kind = "broadcast " + kind
	}
	entries := "not counted, see -count"
	if st.Entries >= 0 {
		entries = fmt.Sprintf("%d entries, %s", st.Entries, bytesText(st.Bytes))
	}
	fmt.Fprintf(w, "  state %q: %s, %s\n", st.Name, kind, entries)
	fmt.Fprintf(w, "    key         %s\n", st.Key)
	if st.Sub != "" {
		fmt.Fprintf(w, "    map key     %s\n", st.Sub)
	}
	if st.Value != "" {
		fmt.Fprintf(w, "    value       %s\n", st.Value)
	}
	for _, v := range st.Values {
		if v != st.Value {
			fmt.Fprintf(w, "    older value %s\n", v)
		}
	}
	if st.TTL != "" {
		clock := "processing time"
		if st.EventTimeTTL {
			clock = "event time"
		}
		fmt.Fprintf(w, "    expires     %s after the last write, by %s\n", st.TTL, clock)
	}
}

// text shows an encoded position.
func text(b []byte) string {
	for _, r := range string(b) {
		if r < ' ' || r == 0xfffd || r == 0x7f {
			return fmt.Sprintf("0x%x", b)
		}
	}
	return string(b)
}

// verify reads everything.
func verify(ctx context.Context, args []string, s streams) (bool, error) {
	f := newFlags("verify", s)
	asJSON := f.Bool("json", false, "print JSON")
	args, err := f.parse(args, "URI")
	if err != nil {
		return false, err
	}
	v, err := savepoint.Verify(ctx, args[0], f.progress())
	if err != nil {
		return false, err
	}
	type fault struct {
		Object string `json:"object"`
		Offset int64  `json:"offset,omitempty"`
		Length int64  `json:"length,omitempty"`
		Needed string `json:"needed"`
		Error  string `json:"error"`
	}
	faults := []fault{}
	for _, x := range v.Faults {
		faults = append(faults, fault{x.Object, x.Offset, x.Length, x.Needed, x.Err.Error()})
	}
	if *asJSON {
		return len(faults) > 0, printJSON(s.out, map[string]any{"objects": v.Objects, "bytes": v.Bytes, "entries": v.Entries, "faults": faults})
	}
	for _, x := range v.Faults {
		fmt.Fprintf(s.out, "damaged: %v\n", x)
	}
	fmt.Fprintf(s.out, "%d objects, %s, %d entries: %d faults\n", v.Objects, bytesText(v.Bytes), v.Entries, len(faults))
	return len(faults) > 0, nil
}

// diff compares two savepoints.
func diff(ctx context.Context, args []string, s streams) (bool, error) {
	f := newFlags("diff", s)
	asJSON := f.Bool("json", false, "print JSON")
	samples := f.Int("samples", 3, "how many entries of each kind of change to show for each state")
	var rename list
	f.Var(&rename, "rename", "`OLD=NEW`: an operator of the first is called NEW in the second; may be repeated")
	args, err := f.parse(args, "URI", "URI")
	if err != nil {
		return false, err
	}
	names, err := rename.pairs()
	if err != nil {
		return false, err
	}
	if *samples < 1 {
		return false, usageError{"savepoint diff: -samples is at least 1"}
	}
	a, errA := savepoint.Open(ctx, args[0])
	b, errB := savepoint.Open(ctx, args[1])
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	d, err := savepoint.Compare(ctx, a, b, savepoint.CompareOptions{Rename: names, Samples: *samples, Progress: f.progress()})
	if err != nil {
		return false, err
	}
	if *asJSON {
		return !d.Same(), printJSON(s.out, d)
	}
	w := bufio.NewWriter(s.out)
	printDifference(w, d)
	return !d.Same(), w.Flush()
}

func printDifference(w io.Writer, d *savepoint.Difference) {
	for _, o := range d.Operators {
		switch {
		case o.To == "":
			fmt.Fprintf(w, "operator %q: only in the first\n", o.UID)
			continue
		case o.UID == "":
			fmt.Fprintf(w, "operator %q: only in the second\n", o.To)
			continue
		case o.UID != o.To:
			fmt.Fprintf(w, "operator %q, %q in the second\n", o.UID, o.To)
		default:
			fmt.Fprintf(w, "operator %q\n", o.UID)
		}
		for _, line := range o.Other {
			fmt.Fprintf(w, "  %s\n", line)
		}
		for _, st := range o.States {
			fmt.Fprintf(w, "  state %q: %d equal, %d added, %d removed, %d changed; digest %s", st.Name, st.Equal, st.Added, st.Removed, st.Changed, st.Digests[0])
			if st.Digests[1] != st.Digests[0] {
				fmt.Fprintf(w, " → %s", st.Digests[1])
			}
			fmt.Fprintln(w)
			for _, x := range st.Samples {
				if x.Before != nil {
					fmt.Fprintf(w, "    - %s\n", x.Before)
				}
				if x.After != nil {
					fmt.Fprintf(w, "    + %s\n", x.After)
				}
			}
		}
	}
	if d.Same() {
		fmt.Fprintln(w, "no difference")
	}
}

// export writes entries as lines.
func export(ctx context.Context, args []string, s streams) (_ bool, err error) {
	f := newFlags("export", s)
	var o savepoint.ExportOptions
	f.StringVar(&o.UID, "uid", "", "of one operator only")
	f.StringVar(&o.State, "state", "", "of one state only")
	key := f.String("key", "", "of one `KEY` of the operator only: JSON, or plain text; needs -uid")
	file := f.String("o", "", "write to a new `FILE` instead of standard output")
	if args, err = f.parse(args, "URI"); err != nil {
		return false, err
	}
	f.Visit(func(x *flagType) {
		if x.Name == "key" {
			o.Key = []byte(*key)
		}
	})
	if o.Key != nil && o.UID == "" {
		return false, usageError{"savepoint export: -key needs -uid"}
	}
	sp, err := savepoint.Open(ctx, args[0])
	if err != nil {
		return false, err
	}
	out := s.out
	if *file != "" {
		to, err := os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, to.Close()) }()
		out = to
	}
	o.Progress = f.progress()
	w := bufio.NewWriterSize(out, 1<<16)
	lines, err := sp.Export(ctx, w, o)
	if err = errors.Join(err, w.Flush()); err != nil {
		return false, err
	}
	if !*f.quiet {
		fmt.Fprintf(s.err, "export: %d entries\n", lines)
	}
	return false, nil
}
