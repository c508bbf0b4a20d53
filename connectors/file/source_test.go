package file

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/connectors"
)

// sourceHost runs a source at some parallelism as a host does.
type sourceHost struct {
	t       *testing.T
	source  *Source[order]
	got     []order
	at      []connectors.Coordinates
	dead    letters
	readers []connectors.Reader[order]
	done    map[string]bool // splits finished
	busy    int             // splits handed over and not finished
}

func newSourceHost(t *testing.T, store objects, o SourceOptions[order]) *sourceHost {
	o.URL = "unused"
	h := &sourceHost{t: t, source: NewSource(o), done: map[string]bool{}}
	h.source.connect = func() (objects, error) { return store, nil }
	return h
}

// Emit takes one record.
func (h *sourceHost) Emit(v order, ms int64, at connectors.Coordinates) error {
	h.got, h.at = append(h.got, v), append(h.at, at)
	return nil
}

// DeadLetter takes a record that could not be read.
func (h *sourceHost) DeadLetter(d connectors.DeadLetter) error { return h.dead.add(d) }

// Finished takes the end of a split.
func (h *sourceHost) Finished(id string) error {
	if h.done[id] {
		h.t.Errorf("split %q was finished twice", id)
	}
	h.done[id] = true
	h.busy--
	return nil
}

// SplitIdle is not used by this source.
func (h *sourceHost) SplitIdle(string) {}

// start makes an enumerator and n readers and hands the splits out in turn.
func (h *sourceHost) start(n int, state []byte, restored []connectors.Split) connectors.Enumerator {
	h.t.Helper()
	e, err := h.source.NewEnumerator(hostContext("src", 0), state)
	if err != nil {
		h.t.Fatal(err)
	}
	if next, err := e.Discover(h.t.Context()); err != nil || next != 0 {
		h.t.Fatalf("Discover: %v, %v", next, err)
	}
	splits := append(slices.Clone(restored), e.Assign()...)
	h.readers = nil
	for i := range n {
		r, err := h.source.NewReader(hostContext("src", i))
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() {
			if err := r.Close(); err != nil {
				h.t.Error(err)
			}
		})
		h.readers = append(h.readers, r)
	}
	for i, s := range splits {
		if err := h.readers[i%n].AddSplits([]connectors.Split{s}); err != nil {
			h.t.Fatal(err)
		}
	}
	h.busy = len(splits)
	if !e.Done() {
		h.t.Error("the enumerator is not done after it handed everything over")
	}
	return e
}

// poll polls every reader in turn until all splits are finished or about limit records were emitted.
func (h *sourceHost) poll(limit int) error {
	for h.busy > 0 && len(h.got) < limit {
		idle := true
		for _, r := range h.readers {
			s, err := r.Poll(h, 7)
			if err != nil {
				return err
			}
			idle = idle && s == connectors.Idle
		}
		if idle && h.busy > 0 {
			h.wait()
		}
	}
	return nil
}

// wait blocks until some reader has something.
func (h *sourceHost) wait() {
	deadline := time.After(10 * time.Second)
	never := make(chan struct{})
	c := [2]<-chan struct{}{never, never}
	for i, r := range h.readers {
		c[i%2] = r.Wake()
	}
	select {
	case <-c[0]:
	case <-c[1]:
	case <-deadline:
		h.t.Fatal("no reader woke up within 10 s")
	}
}

// archive writes n orders in both formats, one checkpoint each.
func archive(t *testing.T, s objects, n int) []order {
	t.Helper()
	input := ordersOf(n)
	for i, format := range []Format{Avro, Parquet} {
		p := newPart(t, s, "one", Options[order]{Format: format, Compression: Compression(i * 2)})
		p.write(t, input[i*n/2:(i+1)*n/2])
		p.commit(t, int64(i+1), p.prepare(t, int64(i+1)))
	}
	return input
}

// TestSourceReadsArchive reads Avro and Parquet files at several parallelisms, by visible names and by manifests.
func TestSourceReadsArchive(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		input := archive(t, s, 700)
		for _, o := range []SourceOptions[order]{{}, {Committed: true}, {Committed: true, UID: "archive", Time: func(o order) time.Time { return o.At }}} {
			for _, parallelism := range []int{1, 2} {
				h := newSourceHost(t, s, o)
				h.start(parallelism, nil, nil)
				if err := h.poll(1 << 30); err != nil {
					t.Fatal(err)
				}
				same(t, h.got, input)
				if len(h.dead) > 0 {
					t.Errorf("dead letters: %v", h.dead)
				}
			}
		}
		h := newSourceHost(t, s, SourceOptions[order]{Committed: true, UID: "nobody"})
		h.start(1, nil, nil)
		if err := h.poll(1); err != nil || len(h.got) != 0 {
			t.Errorf("%d records of a sink that wrote none, %v", len(h.got), err)
		}
	})
}

// TestSourceCommittedButNotPublished reads a checkpoint whose commit was interrupted: as a whole by its manifest, and not by visible names.
func TestSourceCommittedButNotPublished(t *testing.T) {
	s := dirOf(t)
	p := newPart(t, s, "one", Options[order]{})
	p.write(t, ordersOf(200))
	list, err := manifests("archive", 1, p.prepare(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.c.record(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.publish(t.Context(), list[0].Files[:1]); err != nil {
		t.Fatal(err)
	}
	h := newSourceHost(t, s, SourceOptions[order]{Committed: true})
	h.start(1, nil, nil)
	if err := h.poll(1 << 30); err != nil {
		t.Fatal(err)
	}
	same(t, h.got, ordersOf(200))
	if got := len(readNames(t, s, visibleNames(t, s))); got != 60 {
		t.Errorf("%d records visible, want the 60 of the first file", got)
	}
}

// TestSourceGoesOnFromSnapshot stops at random records and goes on at another parallelism: each record comes exactly once, with its index.
func TestSourceGoesOnFromSnapshot(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	s := dirOf(t)
	input := archive(t, s, 1500)
	h := newSourceHost(t, s, SourceOptions[order]{})
	var state []byte
	var splits []connectors.Split
	for lives := 0; ; lives++ {
		e := h.start(1+rng.IntN(2), state, splits)
		if err := h.poll(len(h.got) + 1 + rng.IntN(200)); err != nil {
			t.Fatal(err)
		}
		var err error
		if state, err = e.Snapshot(); err != nil {
			t.Fatal(err)
		}
		splits = nil
		for _, r := range h.readers {
			held, err := r.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			splits = append(splits, held...)
		}
		if h.busy == 0 {
			if lives < 5 {
				t.Errorf("only %d lives", lives)
			}
			break
		}
	}
	same(t, h.got, input)
	next := map[string]int64{}
	for _, at := range h.at {
		if at.UID != "src" || at.Offset != next[at.Split] {
			t.Fatalf("record at %v, want offset %d", at, next[at.Split])
		}
		next[at.Split]++
	}
}

// TestSourceCorruptFiles damages files in ways that a disk or a hand does: each is a named error, or a dead letter by option, never a
// panic and never silence.
func TestSourceCorruptFiles(t *testing.T) {
	for _, format := range []Format{Avro, Parquet} {
		for name, damage := range map[string]func([]byte) []byte{
			"empty":     func([]byte) []byte { return nil },
			"truncated": func(b []byte) []byte { return b[:len(b)*2/3] },
			"other":     func([]byte) []byte { return []byte("id,customer\n1,c\n") },
			"start":     func(b []byte) []byte { return append(bytes.Repeat([]byte{0xff}, 8), b[8:]...) },
			"end":       func(b []byte) []byte { return append(slices.Clone(b[:len(b)-8]), 1, 2, 3, 4, 5, 6, 7, 8) },
		} {
			t.Run(format.String()+"/"+name, func(t *testing.T) {
				s := dirOf(t)
				p := newPart(t, s, "one", Options[order]{Format: format})
				p.write(t, ordersOf(50))
				p.commit(t, 1, p.prepare(t, 1))
				file := visibleNames(t, s)[0]
				data, err := os.ReadFile(s.file(file))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(s.file(file), damage(data), 0o644); err != nil {
					t.Fatal(err)
				}
				h := newSourceHost(t, s, SourceOptions[order]{})
				h.start(1, nil, nil)
				var ce *CorruptFileError
				if err := h.poll(1 << 30); !errors.As(err, &ce) || !errors.Is(err, ErrCorrupt) || ce.Path != file {
					t.Errorf("error is %v, want a *CorruptFileError for %s", err, file)
				}
				h = newSourceHost(t, s, SourceOptions[order]{OnCorrupt: DeadLetterCorrupt})
				h.start(1, nil, nil)
				if err := h.poll(1 << 30); err != nil {
					t.Fatal(err)
				}
				if len(h.dead) != 1 || h.dead[0].At.Split != file || !strings.Contains(h.dead[0].Reason, file) {
					t.Errorf("dead letters %+v, want one for %s", h.dead, file)
				}
			})
		}
	}
}

// TestSourceManifestFindsTruncation cuts an Avro file between two blocks, where the file itself does not show it.
func TestSourceManifestFindsTruncation(t *testing.T) {
	s := dirOf(t)
	p := newPart(t, s, "one", Options[order]{Compression: Uncompressed})
	for i := range 30 {
		o := orderOf(i)
		o.Raw = make([]byte, avroBlockBytes) // one block a record
		p.write(t, []order{o})
	}
	p.commit(t, 1, p.prepare(t, 1))
	file := visibleNames(t, s)[0]
	data, err := os.ReadFile(s.file(file))
	if err != nil {
		t.Fatal(err)
	}
	sync := data[len(data)-16:]
	cut := bytes.LastIndex(data[:len(data)-16], sync) + 16
	if err := os.WriteFile(s.file(file), data[:cut], 0o644); err != nil {
		t.Fatal(err)
	}
	h := newSourceHost(t, s, SourceOptions[order]{})
	h.start(1, nil, nil)
	if err := h.poll(1 << 30); err != nil || len(h.got) != 29 {
		t.Fatalf("%d records by the visible name, %v: the cut is not between two blocks", len(h.got), err)
	}
	h = newSourceHost(t, s, SourceOptions[order]{Committed: true})
	h.start(1, nil, nil)
	if err := h.poll(1 << 30); !errors.Is(err, ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "its manifest says") {
		t.Errorf("error is %v, want corruption found by the manifest", err)
	}
}

// oldOrder is what orders looked like in an earlier release.
type oldOrder struct {
	_       struct{} `avro:"order"`
	ID      string   `avro:"id"`
	Version int32    `avro:"version"`
	Gone    string   `avro:"gone"`
}

// newOrder reads them: a field was removed, one promoted, one added with a default.
type newOrder struct {
	_       struct{} `avro:"order"`
	ID      string   `avro:"id"`
	Version int64    `avro:"version"`
	Added   string   `avro:"added,default=none"`
}

// TestF9SchemaChange reads files of an older schema with a newer type; a type that does not fit is an error that names file and field.
func TestF9SchemaChange(t *testing.T) {
	for _, format := range []Format{Avro, Parquet} {
		t.Run(format.String(), func(t *testing.T) {
			url := "file://" + t.TempDir()
			sink := NewSink(Options[oldOrder]{URL: url, Format: format})
			var dead letters
			w, err := sink.NewWriter(writerContext(t, "archive", "one", 0, &dead))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Write(oldOrder{ID: "a", Version: 7, Gone: "x"}, connectors.Meta{TimestampMS: 0}); err != nil {
				t.Fatal(err)
			}
			list, err := w.Prepare(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			c, err := sink.NewCommitter(hostContext("archive", 0))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Commit(t.Context(), 1, list); err != nil {
				t.Fatal(err)
			}
			got, err := readAll[newOrder](t, url)
			if want := (newOrder{ID: "a", Version: 7, Added: "none"}); err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("read %+v, %v, want %+v", got, err, want)
			}
			_, err = readAll[order](t, url)
			if err == nil || !strings.Contains(err.Error(), "customer") || !strings.Contains(err.Error(), "part-1-0-0") {
				t.Errorf("error is %v, want one that names the file and the field", err)
			}
		})
	}
}

// collector takes what a reader emits.
type collector[T any] struct {
	got  []T
	left int
}

func (c *collector[T]) Emit(v T, _ int64, _ connectors.Coordinates) error {
	c.got = append(c.got, v)
	return nil
}
func (c *collector[T]) DeadLetter(d connectors.DeadLetter) error { return errors.New(d.Reason) }
func (c *collector[T]) Finished(string) error                    { c.left--; return nil }
func (c *collector[T]) SplitIdle(string)                         {}

// readAll reads a whole archive with one reader.
func readAll[T any](t *testing.T, url string) ([]T, error) {
	t.Helper()
	s := NewSource(SourceOptions[T]{URL: url})
	e, err := s.NewEnumerator(hostContext("src", 0), nil)
	if err != nil {
		return nil, err
	}
	if _, err := e.Discover(t.Context()); err != nil {
		return nil, err
	}
	r, err := s.NewReader(hostContext("src", 0))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	splits := e.Assign()
	c := &collector[T]{left: len(splits)}
	if err := r.AddSplits(splits); err != nil {
		return nil, err
	}
	for c.left > 0 {
		status, err := r.Poll(c, 100)
		if err != nil {
			return nil, err
		}
		if status == connectors.Idle && c.left > 0 {
			<-r.Wake()
		}
	}
	return c.got, nil
}

// TestSourceOptionsReportEveryFault checks that all faults come at once, and that damaged state is an error.
func TestSourceOptionsReportEveryFault(t *testing.T) {
	err := NewSource(SourceOptions[chan int]{URL: "http://x", UID: "u", OnCorrupt: 5}).Validate()
	for _, want := range []string{"chan int", `"http://x"`, "without Committed", "OnCorrupt is 5"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	s := NewSource(SourceOptions[order]{URL: t.TempDir()})
	if _, err := s.NewEnumerator(hostContext("src", 0), []byte("{")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error is %v", err)
	}
	r, err := s.NewReader(hostContext("src", 0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.AddSplits([]connectors.Split{{ID: "x", Position: []byte("{")}}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error is %v", err)
	}
}
