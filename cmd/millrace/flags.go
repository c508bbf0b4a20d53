package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/millrace-io/millrace/checkpoint/savepoint"
)

var errHelp = errors.New("help was asked for")

// flags are the flags of one command.
type flags struct {
	*flag.FlagSet
	quiet *bool
	s     streams
}

func newFlags(name string, s streams) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), s: s}
	f.SetOutput(io.Discard)
	f.quiet = f.Bool("quiet", false, "no progress on standard error")
	f.Usage = func() {}
	return f
}

// parse reads the command line; there must be as many arguments as names.
func (f *flags) parse(args []string, names ...string) ([]string, error) {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(f.s.out, "millrace savepoint %s [flags] %s\n\n", f.Name(), strings.Join(names, " "))
		f.SetOutput(f.s.out)
		f.PrintDefaults()
		return nil, errHelp
	case err != nil:
		return nil, usageError{fmt.Sprintf("savepoint %s: %v", f.Name(), err)}
	case f.NArg() != len(names):
		return nil, usageError{fmt.Sprintf("savepoint %s: %d arguments, want %s (flags come first)", f.Name(), f.NArg(), strings.Join(names, " and "))}
	}
	return f.Args(), nil
}

// progress reports on standard error, once a second.
func (f *flags) progress() func(savepoint.Progress) {
	if *f.quiet {
		return nil
	}
	last := time.Now()
	return func(p savepoint.Progress) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		fmt.Fprintf(f.s.err, "%s: %s\n", f.Name(), describe(p))
	}
}

func describe(p savepoint.Progress) string {
	s := fmt.Sprintf("%d entries, %s", p.Entries, bytesText(p.Bytes))
	if p.AllSize > 0 {
		s += fmt.Sprintf("; files of %s of %s are done", bytesText(p.FilesBytes), bytesText(p.AllSize))
	}
	if p.UID != "" {
		s += fmt.Sprintf("; operator %q, %d of %d are done", p.UID, p.Done, p.Operators)
	}
	return s
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "kMGTP"
	i := -1
	for v >= unit && i < len(units)-1 {
		v, i = v/unit, i+1
	}
	return fmt.Sprintf("%.1f %cB", v, units[i])
}

// list is a flag that may be given many times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// pairs are the names of OLD=NEW.
func (l list) pairs() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range l {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			return nil, usageError{fmt.Sprintf("%q is not OLD=NEW", s)}
		}
		out[from] = to
	}
	return out, nil
}
