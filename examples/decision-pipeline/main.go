// Command decision-pipeline is millrace's main job end to end: decisions come in through an API, and come out enriched in Kafka, archived
// as files and summed up as variables, exactly once, while the pipeline may be killed again and again. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/system"
)

func main() {
	if status, isChild := system.RunChild(os.Stdin, os.Stdout, os.Stderr); isChild {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// tuneMemory lets garbage be collected a third less often than by default, so that requests are slowed less, and more often when a
// busy machine lets the heap come near to its bound. Larger runs than 50,000 cases have none: the embedded services keep everything in
// memory, and a heap that is full of live data must not be collected all the time. GOGC and GOMEMLIMIT win.
func tuneMemory(c system.Config) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	bound := int64(320 << 20)
	if c.Crash > 0 {
		bound = 200 << 20 // the pipeline is not in this process
	} else {
		debug.SetGCPercent(150)
	}
	if c.Decisions <= 50_000 {
		debug.SetMemoryLimit(bound)
	}
}

// run is the command; the exit status is 0 only if the audit holds.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := system.ParseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	tuneMemory(c)
	report, err := system.Run(ctx, c, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
	}
	if report.WallS == 0 {
		return 1 // nothing was audited
	}
	// With -json, standard output holds the object alone.
	table, write := stdout, func() error { return nil }
	if c.JSON {
		table, write = stderr, func() error { return report.WriteJSON(stdout) }
	}
	if err := errors.Join(report.WriteTable(table), write()); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if err != nil || !report.OK() {
		return 1
	}
	return 0
}
