package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/pipeline"
)

// childVariable is the environment variable that makes a process the pipeline alone: it holds its options as JSON.
const childVariable = "DECISION_PIPELINE_CHILD"

// childEvent is one line of a child's standard output.
type childEvent struct {
	Running     bool   `json:"running,omitempty"`
	Checkpoints uint64 `json:"checkpoints,omitempty"` // completed in this process
	Restarts    int    `json:"restarts,omitempty"`    // within this process
	Stopped     bool   `json:"stopped,omitempty"`
	Error       string `json:"error,omitempty"`
}

// stopCommand is the line on standard input that ends a child with a savepoint; the end of the input ends it without.
const stopCommand = "stop"

// RunChild runs the pipeline if this process was started as a child for it, and returns true with the exit status.
func RunChild(stdin io.Reader, stdout, stderr io.Writer) (status int, isChild bool) {
	text, ok := os.LookupEnv(childVariable)
	if !ok {
		return 0, false
	}
	events := json.NewEncoder(stdout)
	var o pipeline.Options
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = runChild(o, stdin, events, newLogger(stderr))
	}
	if err != nil {
		events.Encode(childEvent{Error: err.Error()}) //nolint:errcheck // the parent sees the exit status too
		return 1, true
	}
	return 0, true
}

// tick is how often a child looks whether there is something to tell.
const tick = 10 * time.Millisecond

func runChild(o pipeline.Options, stdin io.Reader, events *json.Encoder, log *zap.Logger) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	job, err := pipeline.Start(ctx, o, log, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	if err := events.Encode(childEvent{Running: true}); err != nil {
		return err
	}
	commands := make(chan string)
	go func() {
		defer close(commands)
		for s := bufio.NewScanner(stdin); s.Scan(); {
			commands <- strings.TrimSpace(s.Text())
		}
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var told childEvent
	for {
		select {
		case c, open := <-commands:
			if c != stopCommand {
				if open {
					return fmt.Errorf("decision-pipeline: unknown command %q", c)
				}
				return nil // the parent is gone
			}
			if err := job.Stop(ctx); err != nil {
				return err
			}
			return events.Encode(childEvent{Checkpoints: job.Checkpoints(), Restarts: job.Restarts(), Stopped: true})
		case <-job.Done():
			return fmt.Errorf("decision-pipeline: the pipeline ended by itself: %w", job.Err())
		case <-ticker.C:
			if now := (childEvent{Checkpoints: job.Checkpoints(), Restarts: job.Restarts()}); now != told {
				if err := events.Encode(now); err != nil {
					return nil // the parent is gone
				}
				told = now
			}
		}
	}
}
