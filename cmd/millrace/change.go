package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/checkpoint/savepoint"
	"github.com/millrace-io/millrace/state"
)

// flagType is a flag that was given.
type flagType = flag.Flag

// writeOptions are the flags of what writes a savepoint.
func writeOptions(f *flags) *savepoint.Options {
	o := &savepoint.Options{}
	f.Func("codec", `compression: "zstandard" (the default), "deflate", which every Avro tool reads, or "null"`, func(s string) error {
		o.Codec = state.RowsCodec(s)
		return o.Codec.Validate()
	})
	f.IntVar(&o.Workers, "workers", 0, "how many operators are written at once, each by a core; default 1")
	return o
}

// create makes a portable savepoint.
func create(ctx context.Context, args []string, s streams) (bool, error) {
	f := newFlags("create", s)
	o := writeOptions(f)
	args, err := f.parse(args, "URI", "DESTINATION")
	if err != nil {
		return false, err
	}
	sp, err := savepoint.Open(ctx, args[0])
	if err != nil {
		return false, err
	}
	return false, write(ctx, sp.Edit(), args[1], o, f)
}

// write writes what was built and prints where it is.
func write(ctx context.Context, b *savepoint.Builder, to string, o *savepoint.Options, f *flags) error {
	dst, err := checkpoint.OpenURL(to)
	if err != nil {
		return usageError{err.Error()}
	}
	o.Progress = f.progress()
	uri, err := b.Write(ctx, dst, *o)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f.s.out, uri)
	return err
}

// edit makes a new savepoint with changes.
func edit(ctx context.Context, args []string, s streams) (bool, error) {
	f := newFlags("edit", s)
	o := writeOptions(f)
	file := f.String("changes", "", "`FILE` of changes, lines as export writes them, with \"delete\":true for what goes away; \"-\" for standard input")
	var set, remove, rename, drop list
	f.Var(&set, "set", "`JSON`: one change, as a line of export; may be repeated")
	f.Var(&remove, "delete", "`JSON`: uid, state and key, and map_key, element, or clock and at_ms, of what goes away; may be repeated")
	f.Var(&rename, "rename", "`OLD=NEW`: another uid for an operator; the changes use the new one; may be repeated")
	f.Var(&drop, "drop", "`UID` or UID/STATE to leave out; may be repeated")
	args, err := f.parse(args, "URI", "DESTINATION")
	if err != nil {
		return false, err
	}
	names, err := rename.pairs()
	if err != nil {
		return false, err
	}
	changes, err := readChanges(*file, set, remove, s)
	if err != nil {
		return false, err
	}
	sp, err := savepoint.Open(ctx, args[0])
	if err != nil {
		return false, err
	}
	b := sp.Edit()
	for from, to := range names {
		b.Rename(from, to)
	}
	for _, d := range drop {
		dropIn(b, d)
	}
	var errs []error
	for _, c := range changes {
		errs = append(errs, b.Apply(ctx, c))
	}
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	return false, write(ctx, b, args[1], o, f)
}

// dropIn drops "uid" or "uid/state".
func dropIn(b *savepoint.Builder, name string) {
	if uid, st, ok := strings.Cut(name, "/"); ok {
		b.DropState(uid, st)
		return
	}
	b.Drop(name)
}

// readChanges are those of the file, then those of the flags.
func readChanges(file string, set, remove list, s streams) (changes []savepoint.Change, err error) {
	var in io.Reader = strings.NewReader("")
	switch file {
	case "":
	case "-":
		in = s.in
	default:
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if changes, err = savepoint.ParseChanges(in); err != nil {
		return nil, err
	}
	for i, text := range append(append(list{}, set...), remove...) {
		one, err := savepoint.ParseChanges(strings.NewReader(text))
		if err != nil || len(one) != 1 {
			return nil, usageError{fmt.Sprintf("%q is not one change: %v", text, err)}
		}
		one[0].Delete = one[0].Delete || i >= len(set)
		changes = append(changes, one[0])
	}
	return changes, nil
}
