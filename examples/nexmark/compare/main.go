// Command compare runs the Nexmark queries on millrace and on Apache Flink in turn, A B A B, pinned to the same cores, and prints tables of medians
// and ratios. A run whose result differs from that of package reference counts for nothing and is shown as refused; one that fails is shown
// as failed. Either makes the exit status 1, and the rest of the table stays.
//
//	go run ./examples/nexmark/compare -queries q0,q5,q18 -backend memory,pebble -rounds 5 -md result.md
//
// It needs Java 17 and Maven for Flink; "-sides millrace" does without. Interrupt it, and it prints what it has.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/millrace-io/millrace/examples/nexmark/internal/reference"
)

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = compare(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// compare builds both sides, runs everything and prints the report to out, also after a failure or an interrupt; progress goes to log.
func compare(ctx context.Context, o options, out, log io.Writer) error {
	p, err := build(ctx, o, log)
	if err != nil {
		return err
	}
	defer p.close()
	s := newSession(o, p, reference.Compute, log)
	about := machine(p.pinned())
	if o.MD != "" {
		s.saved = func() error { return os.WriteFile(o.MD, []byte(markdown(report(s, about))), 0o644) }
	}
	ran := s.perform(ctx)
	if _, err := io.WriteString(out, text(report(s, about))); err != nil {
		return errors.Join(ran, err)
	}
	return errors.Join(ran, s.verdict())
}
