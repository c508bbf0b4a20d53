// Command millrace looks into savepoints and checkpoints, checks and compares them, and makes new ones, without a job; and it generates
// codecs for Go types.
//
//	millrace gen -type NAMES [DIRECTORY]
//	millrace savepoint inspect [-json] [-count] URI
//	millrace savepoint verify  [-json] URI
//	millrace savepoint diff    [-json] [-samples N] [-rename OLD=NEW] URI URI
//	millrace savepoint export  [-uid UID] [-state NAME] [-key KEY] [-o FILE] URI
//	millrace savepoint create  [-codec CODEC] URI DESTINATION
//	millrace savepoint edit    [-changes FILE] [-set JSON] [-delete JSON] [-rename OLD=NEW] [-drop UID[/STATE]] [-codec CODEC] URI DESTINATION
//
// A URI names a savepoint, a checkpoint, or a directory or S3 prefix with checkpoints, which stands for the newest: "/var/ckpt", "file:///var/ckpt/sp/monday",
// "s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1". A destination is a directory or prefix that holds nothing else. S3 credentials come from
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
//
// Gen writes PACKAGE_millrace.go into the package of a directory, by default the current one: Avro codecs for the types named, separated by
// commas, two to three times as fast as those that package serde derives when the program runs, with the same schema and bytes. Package serde finds
// them by itself. In a source file of the package:
//
//	//go:generate go run github.com/millrace-io/millrace/cmd/millrace gen -type Order,Payment
//
// The package is compiled and its init functions run, but not its tests. When a type has changed and the code was not generated again, serde.For
// refuses it.
//
// Exit status: 0 done, and nothing found; 1 verify has found damage, or diff a difference; 2 the command line is wrong; 3 it could not be
// done, see standard error. Progress goes to standard error, unless -quiet is given.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFound  = 1
	exitUsage  = 2
	exitFailed = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are what a process reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError says that the command line is wrong.
type usageError struct{ reason string }

// Error is the reason.
func (e usageError) Error() string { return e.reason }

const usage = `millrace looks into savepoints and checkpoints, checks and compares them, and makes new ones; and it generates codecs.

  millrace gen -type NAMES [DIRECTORY]
        write Avro codecs for the types named, separated by commas, into PACKAGE_millrace.go
  millrace savepoint inspect [-json] [-count] URI
        what it holds: operators, states, schemas, watermarks, positions
  millrace savepoint verify [-json] URI
        read everything and compare checksums; exit status 1 when something is damaged
  millrace savepoint diff [-json] [-samples N] [-rename OLD=NEW] URI URI
        compare entry by entry; exit status 1 when they differ
  millrace savepoint export [-uid UID] [-state NAME] [-key KEY] [-o FILE] URI
        entries as JSON lines
  millrace savepoint create [-codec CODEC] URI DESTINATION
        make a portable savepoint of a checkpoint
  millrace savepoint edit [-changes FILE] [-set JSON] [-delete JSON] [-rename OLD=NEW] [-drop UID[/STATE]] URI DESTINATION
        make a new savepoint with changes; lines of changes are like those of export

A URI is a directory, file:///directory or s3://bucket/prefix?endpoint=…, of a savepoint, a checkpoint or all checkpoints (the newest).
Every command takes -quiet (no progress). millrace savepoint COMMAND -h tells more.
Exit status: 0 done, 1 damage or difference found, 2 wrong command line, 3 failed.
`

// run is the command. It returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	found, err := dispatch(ctx, args, s)
	var u usageError
	switch {
	case errors.As(err, &u):
		fmt.Fprintf(s.err, "millrace: %s\n\n%s", u.reason, usage)
		return exitUsage
	case err != nil:
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted: %w", err)
		}
		fmt.Fprintf(s.err, "millrace: %v\n", err)
		return exitFailed
	case found:
		return exitFound
	}
	return exitDone
}

// dispatch runs the named command; found says that it has found what verify and diff look for.
func dispatch(ctx context.Context, args []string, s streams) (found bool, err error) {
	if len(args) == 0 {
		return false, usageError{"a command is missing"}
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(s.out, usage)
		return false, err
	case "gen":
		return false, generate(ctx, args[1:], s)
	case "savepoint":
	default:
		return false, usageError{fmt.Sprintf("there is no command %q, there are gen and savepoint", args[0])}
	}
	if len(args) == 1 {
		return false, usageError{"savepoint needs a command"}
	}
	commands := map[string]func(context.Context, []string, streams) (bool, error){
		"inspect": inspect, "verify": verify, "diff": diff, "export": export, "create": create, "edit": edit,
	}
	c, ok := commands[args[1]]
	if !ok {
		return false, usageError{fmt.Sprintf("there is no command savepoint %s", args[1])}
	}
	found, err = c(ctx, args[2:], s)
	if errors.Is(err, errHelp) {
		return false, nil
	}
	return found, err
}
