package system

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/pipeline"
)

// supervisor runs the pipeline in a child process, kills it a number of times, and starts it again.
type supervisor struct {
	options pipeline.Options
	kills   int
	rnd     *rand.Rand // of the killing goroutine
	stderr  io.Writer

	mu          sync.Mutex
	child       *child
	checkpoints uint64 // of children that are gone
	restarts    int    // of children, and within those that are gone
	killed      int
	since       time.Time // of the last kill, or of the start
	peak        int64     // bytes, of the largest child
	err         error

	done chan struct{} // closed when the pipeline has ended
}

// child is one process.
type child struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	running chan struct{} // closed when the pipeline runs
	exited  chan struct{} // closed after the process is gone and all it said was read

	// Guarded by the supervisor.
	last      childEvent
	completed chan struct{} // closed when a checkpoint has completed
	stopped   bool
	err       error
}

// supervise starts the first child. stop it by Stop.
func supervise(ctx context.Context, o pipeline.Options, kills int, seed uint64, stderr io.Writer) (*supervisor, error) {
	s := &supervisor{options: o, kills: kills, rnd: rand.New(rand.NewPCG(seed, 0x6b696c6c)), stderr: stderr, since: time.Now(), done: make(chan struct{})}
	c, err := s.start()
	if err != nil {
		return nil, err
	}
	s.child = c
	go s.run(ctx)
	return s, nil
}

func (s *supervisor) start() (*child, error) {
	options, err := json.Marshal(s.options)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("decision-pipeline: find the own program: %w", err)
	}
	c := &child{cmd: exec.Command(exe), running: make(chan struct{}), exited: make(chan struct{}), completed: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"="+string(options))
	c.cmd.Stderr = s.stderr
	stdin, errIn := c.cmd.StdinPipe()
	stdout, errOut := c.cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("decision-pipeline: start the pipeline's process: %w", err)
	}
	go s.listen(c, stdout)
	return c, nil
}

// listen takes what the child says until it is gone.
func (s *supervisor) listen(c *child, stdout io.Reader) {
	defer close(c.exited)
	running, completed := false, false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var e childEvent
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // cut by the kill
		}
		s.mu.Lock()
		switch {
		case e.Error != "":
			c.err = errors.New(e.Error)
		case e.Running:
		default:
			c.last, c.stopped = e, e.Stopped
		}
		s.mu.Unlock()
		if e.Running && !running {
			running = true
			close(c.running)
		}
		if e.Checkpoints > 0 && !completed {
			completed = true
			close(c.completed)
		}
	}
	err := c.cmd.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoints += c.last.Checkpoints
	s.restarts += c.last.Restarts
	if c.err == nil && !c.stopped {
		c.err = fmt.Errorf("decision-pipeline: the pipeline's process ended: %w", errors.Join(err, errors.New("without a word")))
	}
}

// run kills and starts children until the kills are done, and then waits for the last one to end.
func (s *supervisor) run(ctx context.Context) {
	defer close(s.done)
	for {
		c := s.current()
		if s.Killed() < s.kills {
			if !s.awaitMoment(ctx, c) {
				s.fail(ctx, c)
				return
			}
			s.note(c)
			c.cmd.Process.Kill() //nolint:errcheck // it may be gone already, and is waited for
			<-c.exited
			next, err := s.start()
			s.mu.Lock()
			s.killed++
			s.restarts++
			s.since = time.Now()
			if err != nil {
				s.err = err
				s.mu.Unlock()
				return
			}
			s.child = next
			s.mu.Unlock()
			continue
		}
		select {
		case <-c.exited:
			s.fail(ctx, c)
		case <-ctx.Done():
			c.cmd.Process.Kill() //nolint:errcheck // see above
			<-c.exited
		}
		return
	}
}

// awaitMoment waits until the moment to kill has come: every second time, on average, only after the child has completed a checkpoint,
// so that the whole goes forward however many kills there are; then a random time of up to one and a half checkpoint
// intervals. It returns false when the child ended by itself or ctx has.
func (s *supervisor) awaitMoment(ctx context.Context, c *child) bool {
	stages := []<-chan struct{}{c.running}
	if s.rnd.IntN(2) == 0 {
		stages = append(stages, c.completed)
	}
	wait := time.Duration(s.rnd.Int64N(int64(s.options.Checkpoint*3/2))) + time.Millisecond
	for _, stage := range stages {
		select {
		case <-stage:
		case <-c.exited:
			return false
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-time.After(wait):
		return true
	case <-c.exited:
		return false
	case <-ctx.Done():
		return false
	}
}

// fail keeps why a child ended by itself, if it did.
func (s *supervisor) fail(ctx context.Context, c *child) {
	if ctx.Err() != nil {
		c.cmd.Process.Kill() //nolint:errcheck // see run
		<-c.exited
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = c.err
}

func (s *supervisor) current() *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child
}

// note reads the child's peak memory while it is there.
func (s *supervisor) note(c *child) {
	n := peakRSS(c.cmd.Process.Pid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak = max(s.peak, n)
}

// Killed is the number of kills so far.
func (s *supervisor) Killed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killed
}

// Stop ends the pipeline with a savepoint once all kills are done.
func (s *supervisor) Stop(ctx context.Context) error {
	for s.Killed() < s.kills {
		select {
		case <-s.done:
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(tick):
		}
	}
	c := s.current()
	select {
	case <-c.running:
	case <-c.exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.note(c)
	if _, err := io.WriteString(c.stdin, stopCommand+"\n"); err != nil {
		return fmt.Errorf("decision-pipeline: tell the pipeline to stop: %w", errors.Join(err, s.Err()))
	}
	select {
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done is closed when the pipeline has ended.
func (s *supervisor) Done() <-chan struct{} { return s.done }

// Err is why the pipeline has ended by itself; nil after Stop.
func (s *supervisor) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stats are the checkpoints and restarts so far, and the peak memory of the largest child in bytes.
func (s *supervisor) Stats() (checkpoints uint64, restarts int, peakBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	checkpoints, restarts = s.checkpoints, s.restarts
	select {
	case <-s.child.exited:
	default:
		checkpoints += s.child.last.Checkpoints
		restarts += s.child.last.Restarts
	}
	return checkpoints, restarts, s.peak
}

// gate lets the load go on as the kills do: case i belongs to the part of the load that is due before kill number i / size, and
// the cases of a part are spread over the time that a part has taken so far. So the pipeline is killed while it works, not after.
func (s *supervisor) gate(decisions int) func(ctx context.Context, i int) error {
	size := float64(decisions) / float64(s.kills+1)
	begin := time.Now()
	return func(ctx context.Context, i int) error {
		for {
			s.mu.Lock()
			killed, since := s.killed, s.since
			s.mu.Unlock()
			expected := s.options.Checkpoint + 500*time.Millisecond
			if killed > 0 {
				expected = since.Sub(begin) / time.Duration(killed)
			}
			share := min(1, float64(time.Since(since))/float64(expected))
			if killed >= s.kills || float64(i) < size*(float64(killed)+share) {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-s.done:
				return errors.New("decision-pipeline: the pipeline has ended")
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
}
