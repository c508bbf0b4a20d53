package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	nexmarkPackage = "github.com/millrace-io/millrace/examples/nexmark"
	stderrBytesMax = 400 // of a failed run, in the report
)

// processes runs each job in a process of its own.
type processes struct {
	nexmark, floor, flink string   // commands
	pin                   []string // in front of each command; empty = not pinned
	managed               string
	scratch               string // state and checkpoints of both sides
}

// build compiles what the sides need.
func build(ctx context.Context, o options, log io.Writer) (p *processes, err error) {
	p = &processes{managed: o.Managed, pin: pin(o)}
	if p.scratch, err = os.MkdirTemp("", "nexmark-compare-"); err != nil {
		return nil, fmt.Errorf("compare: no folder for programs and state: %w", err)
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	compile := func(pkg, name string) (string, error) {
		to := filepath.Join(p.scratch, name)
		return to, command(ctx, log, "go", "build", "-o", to, pkg)
	}
	if slices.Contains(o.Sides, millrace) {
		if p.nexmark, err = compile(nexmarkPackage, "nexmark"); err != nil {
			return nil, err
		}
	}
	if o.Floor {
		if p.floor, err = compile(nexmarkPackage+"/floor", "floor"); err != nil {
			return nil, err
		}
	}
	if slices.Contains(o.Sides, flink) {
		dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", nexmarkPackage+"/compare").Output()
		if err != nil {
			return nil, fmt.Errorf("compare: the folder of the Flink programs is not known: %w; start this in the module's tree, or use -sides millrace", err)
		}
		p.flink = filepath.Join(strings.TrimSpace(string(dir)), "flink", "run.sh")
		if err := command(ctx, log, p.flink, "build"); err != nil {
			return nil, fmt.Errorf("%w; Flink needs Java 17 and Maven, -sides millrace does without", err)
		}
	}
	return p, nil
}

func command(ctx context.Context, log io.Writer, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Run(); err != nil {
		return fmt.Errorf("compare: %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// pin is the command that pins what follows to cores.
func pin(o options) []string {
	path, err := exec.LookPath("taskset")
	switch {
	case o.Cores == "none" || o.Cores == "auto" && err != nil:
		return nil
	case err != nil:
		path = "taskset" // asked for: the runs fail, saying so
	}
	cores := o.Cores
	if cores == "auto" {
		n := min(max(2, slices.Max(o.Parallelism)), runtime.NumCPU())
		cores = "0-" + strconv.Itoa(n-1)
	}
	return []string{path, "-c", cores}
}

// pinned says which cores the runs are pinned to; empty if they are not.
func (p *processes) pinned() string {
	if len(p.pin) == 0 {
		return ""
	}
	return p.pin[len(p.pin)-1]
}

// close removes what build and the runs have left.
func (p *processes) close() { _ = os.RemoveAll(p.scratch) } // scratch of a program that ends: what cannot be removed hurts nobody

// arguments are the command line and the additions to the environment of a job.
func (p *processes) arguments(j job) (args, env []string) {
	args = slices.Clone(p.pin)
	common := []string{"-query", j.query, "-events", strconv.FormatInt(j.events, 10), "-seed", strconv.FormatUint(j.seed, 10)}
	env = []string{"TMPDIR=" + p.scratch}
	switch j.side {
	case floored:
		return append(append(args, p.floor), common...), env
	case millrace:
		args = append(append(args, p.nexmark), common...)
		args = append(args, "-parallelism", strconv.Itoa(j.parallelism), "-backend", j.backend, "-checkpoint", j.checkpoint.String(), "-json")
		if j.rate > 0 {
			args = append(args, "-rate", strconv.FormatFloat(j.rate, 'g', -1, 64))
		}
		return args, env
	}
	args = append(append(args, p.flink), common...)
	for i := len(args) - len(common); i < len(args); i += 2 {
		args[i] = "-" + args[i]
	}
	backend := map[string]string{"memory": "heap", "pebble": "rocksdb"}[j.backend]
	args = append(args, "--parallelism", strconv.Itoa(j.parallelism), "--backend", backend, "--managed", p.managed,
		"--checkpoint-ms", strconv.FormatInt(j.checkpoint.Milliseconds(), 10))
	if j.rate > 0 {
		args = append(args, "--rate", strconv.FormatFloat(j.rate, 'g', -1, 64))
	}
	return args, append(env, "HEAP="+j.heap, "JOPTS="+strings.TrimSpace(os.Getenv("JOPTS")+" -Djava.io.tmpdir="+p.scratch))
}

// run implements runner.
func (p *processes) run(ctx context.Context, j job) ([]byte, error) {
	args, env := p.arguments(j)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), env...)
	c.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.Bytes(), errors.New(strings.TrimSpace(err.Error() + " " + excerpt(errs.String())))
	}
	return out.Bytes(), nil
}

// excerpt is the beginning of what a failed run wrote, in one line.
func excerpt(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > stderrBytesMax {
		s = strings.ToValidUTF8(s[:stderrBytesMax], "") + " …"
	}
	return s
}
