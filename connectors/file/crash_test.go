package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// errKilled is what every call returns once the process is dead.
var errKilled = errors.New("killed")

// process is one life of the job: it dies at the n-th of its steps, counted from 1; 0 means never.
type process struct {
	mu           sync.Mutex // files are stored side by side
	steps, dieAt int
	trace        []string
}

func (p *process) step(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps++
	p.trace = append(p.trace, name)
	if p.dieAt > 0 && p.steps >= p.dieAt {
		return errKilled
	}
	return nil
}

// mortal is a store of a process that may die before and after everything it does.
type mortal struct {
	objects
	p *process
}

func (m mortal) around(name string, f func() error) error {
	if err := m.p.step(name + " before"); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return m.p.step(name + " after")
}

func (m mortal) stage(ctx context.Context, name string) (s stagedObject, err error) {
	err = m.around("create", func() error { s, err = m.objects.stage(ctx, name); return err })
	return mortalStaged{s, m}, err
}

type mortalStaged struct {
	stagedObject
	m mortal
}

func (s mortalStaged) commit(ctx context.Context) error {
	return s.m.around("put", func() error { return s.stagedObject.commit(ctx) })
}

// A killed process cleans nothing up.
func (s mortalStaged) abort() {}

func (m mortal) settle(ctx context.Context, dir string) error {
	return m.around("settle", func() error { return m.objects.settle(ctx, dir) })
}

func (m mortal) create(ctx context.Context, name string, data []byte) error {
	return m.around("manifest", func() error { return m.objects.create(ctx, name, data) })
}

func (m mortal) publish(ctx context.Context, files []stagedFile) error {
	for _, f := range files { // one by one, to die between any two
		if err := m.around("publish", func() error { return m.objects.publish(ctx, []stagedFile{f}) }); err != nil {
			return err
		}
	}
	return nil
}

func (m mortal) remove(ctx context.Context, name string) error {
	return m.around("sweep", func() error { return m.objects.remove(ctx, name) })
}

// checkpointed is what the last completed checkpoint holds.
type checkpointed struct {
	id           int64
	position     int
	committables [][]byte
}

// job runs the sink as a host does, with lives that end by being killed.
type job struct {
	t        *testing.T
	store    objects
	format   Format
	input    []order
	every    int // records between checkpoints
	done     checkpointed
	nextID   int64
	attempts int
	trace    map[string]bool
}

// live runs one life; it reports whether the whole input is archived and committed.
func (j *job) live(dieAt int) bool {
	j.t.Helper()
	p := &process{dieAt: dieAt}
	err := j.run(p)
	for _, s := range p.trace {
		j.trace[s] = true
	}
	if err != nil && !errors.Is(err, errKilled) {
		j.t.Fatalf("life %d, step %d %q: %v", j.attempts, p.steps, p.trace[len(p.trace)-1], err)
	}
	return err == nil
}

func (j *job) run(p *process) error {
	j.attempts++
	attempt := fmt.Sprintf("attempt/%d", j.attempts)
	sink := NewSink(Options[order]{URL: "unused", Format: j.format, OpenFiles: 2, FileBytes: 4 << 10, OrphanGrace: time.Minute})
	sink.connect = func() (objects, error) { return mortal{j.store, p}, nil }
	c := hostContext("archive", 0)
	c.Now = func() time.Time { return time.Now().Add(time.Hour) } // whatever is staged is old
	committer, err := sink.NewCommitter(c)
	if err != nil {
		return err
	}
	ctx := j.t.Context()
	if j.done.id > 0 {
		if err := committer.Commit(ctx, j.done.id, j.done.committables); err != nil {
			return err
		}
	}
	if err := committer.Recover(ctx, j.done.id, j.done.committables); err != nil {
		return err
	}
	var dead letters
	var writers []connectors.Writer[order]
	for i := range 2 {
		w, err := sink.NewWriter(writerContext(j.t, "archive", attempt, i, &dead))
		if err != nil {
			return err
		}
		writers = append(writers, w)
	}
	for at := j.done.position; at < len(j.input); {
		end := min(at+j.every, len(j.input))
		for ; at < end; at++ {
			if err := writers[at%2].Write(j.input[at], metaOf(j.input[at])); err != nil {
				return err
			}
		}
		if err := j.checkpoint(ctx, p, at, writers, committer); err != nil {
			return err
		}
	}
	if len(dead) > 0 {
		j.t.Errorf("dead letters: %v", dead)
	}
	return nil
}

// checkpoint takes one checkpoint and commits it.
func (j *job) checkpoint(ctx context.Context, p *process, position int, writers []connectors.Writer[order], c connectors.Committer) error {
	j.nextID++ // an id is never used twice, also when its checkpoint never completes
	next := checkpointed{id: j.nextID, position: position}
	for _, w := range writers {
		list, err := w.Prepare(ctx, next.id)
		if err != nil {
			return err
		}
		if err := p.step("ack"); err != nil {
			return err
		}
		next.committables = append(next.committables, list...)
	}
	j.done = next
	if err := p.step("completed"); err != nil {
		return err
	}
	return c.Commit(ctx, next.id, next.committables)
}

// atMostOnce checks what a reader sees at this very moment: no record twice, none that is unknown.
func (j *job) atMostOnce() {
	j.t.Helper()
	seen := map[string]bool{}
	for _, o := range readNames(j.t, j.store, visibleNames(j.t, j.store)) {
		if seen[o.ID] {
			j.t.Fatalf("a reader sees %s twice", o.ID)
		}
		seen[o.ID] = true
	}
}

// exactly checks the archive after the last life.
func (j *job) exactly() {
	j.t.Helper()
	same(j.t, readNames(j.t, j.store, visibleNames(j.t, j.store)), j.input)
	// The next start finds what earlier lives left over.
	c := hostContext("archive", 0)
	c.Now = func() time.Time { return time.Now().Add(time.Hour) }
	committer := &committer{context: c, store: j.store, grace: time.Minute, metrics: newCommitterMetrics(c.Metrics)}
	if err := committer.Recover(j.t.Context(), j.done.id, nil); err != nil {
		j.t.Fatal(err)
	}
	if left := namesIn(j.t, j.store, stagingDir, nil); len(left) > 0 {
		j.t.Errorf("staged files are left: %q", left)
	}
	same(j.t, readNames(j.t, j.store, visibleNames(j.t, j.store)), j.input)
}

// stores are the stores that every scenario runs on.
func stores(t *testing.T, f func(t *testing.T, store func(t *testing.T) objects)) {
	t.Run("dir", func(t *testing.T) {
		t.Parallel()
		f(t, func(t *testing.T) objects { return dirOf(t) })
	})
	t.Run("fake S3", func(t *testing.T) {
		t.Parallel()
		f(t, func(t *testing.T) objects { return newFakeS3(t).store(t, "archive/x") })
	})
	t.Run("S3", func(t *testing.T) {
		f(t, func(t *testing.T) objects { return realS3(t) })
	})
}

// dirOf is a directory that does not wait for the disk: these tests kill processes, not machines.
func dirOf(t testing.TB) dirStore {
	return dirStore{root: t.TempDir(), fsync: func(*os.File) error { return nil }}
}

// TestF1CrashAtEveryStep kills the process at each step that it takes (create, put, ack, manifest, publish, sweep, before and after), lets it
// start again, and finds each record exactly once in the end and at most once at any moment.
func TestF1CrashAtEveryStep(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		for _, format := range []Format{Avro, Parquet} {
			t.Run(format.String(), func(t *testing.T) {
				t.Parallel()
				reached := map[string]bool{}
				dieAt, finished := 1, false
				for ; !finished; dieAt++ {
					j := &job{t: t, store: store(t), format: format, input: ordersOf(90)[30:], every: 30, trace: reached}
					if finished = j.live(dieAt); !finished {
						j.atMostOnce()
						if dieAt%3 == 0 { // killed again, as late in its second life
							j.live(dieAt)
							j.atMostOnce()
						}
						if !j.live(0) {
							t.Fatal("killed without a reason")
						}
					}
					j.exactly()
				}
				t.Logf("%d steps", dieAt-2)
				for _, step := range []string{"create", "put", "manifest", "publish", "sweep"} {
					if !reached[step+" before"] || !reached[step+" after"] {
						t.Errorf("no life reached step %q", step)
					}
				}
				if !reached["ack"] || !reached["completed"] {
					t.Errorf("no life reached the acknowledgement or the completion")
				}
			})
		}
	})
}

// TestF1RandomCrashes kills many lives of one job at random steps.
func TestF1RandomCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		rng := rand.New(rand.NewPCG(seed, 1))
		j := &job{t: t, store: store(t), format: Format(rng.IntN(2)), input: ordersOf(400), every: 37, trace: map[string]bool{}}
		for range 25 {
			if j.live(1 + rng.IntN(60)) {
				break
			}
			j.atMostOnce()
		}
		j.live(0)
		j.exactly()
		if j.attempts < 2 {
			t.Errorf("the job was never killed")
		}
	})
}
