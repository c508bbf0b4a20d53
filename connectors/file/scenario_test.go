package file

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/millrace-io/millrace/connectors"
)

// part is one sink on a store, with a writer and a committer of the attempt.
type part struct {
	w    connectors.Writer[order]
	c    *committer
	dead letters
}

func newPart(t *testing.T, store objects, attempt string, o Options[order]) *part {
	t.Helper()
	o.URL = "unused"
	sink := NewSink(o)
	sink.connect = func() (objects, error) { return store, nil }
	p := &part{}
	var err error
	if p.w, err = sink.NewWriter(writerContext(t, "archive", attempt, 0, &p.dead)); err != nil {
		t.Fatal(err)
	}
	c, err := sink.NewCommitter(hostContext("archive", 0))
	if err != nil {
		t.Fatal(err)
	}
	p.c = c.(*committer)
	return p
}

func (p *part) write(t *testing.T, list []order) {
	t.Helper()
	for _, o := range list {
		if err := p.w.Write(o, metaOf(o)); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *part) prepare(t *testing.T, id int64) [][]byte {
	t.Helper()
	list, err := p.w.Prepare(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (p *part) commit(t *testing.T, id int64, list [][]byte) {
	t.Helper()
	if err := p.c.Commit(t.Context(), id, list); err != nil {
		t.Fatal(err)
	}
}

// at moves the committer's clock.
func (p *part) at(d time.Duration) { p.c.context.Now = func() time.Time { return time.Now().Add(d) } }

// TestF2FaultyServer runs a sink against a server that fails every third request in all ways it knows; outcomes of conditional creations are
// unknown in some. The script repeats no fault more than a few times in a row, so that the sink must get through without an error.
func TestF2FaultyServer(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, format := range []Format{Avro, Parquet} {
		t.Run(format.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(format)))
			f := newFakeS3(t)
			faults := map[fault]int{}
			f.script = func(method, _ string) fault {
				if rng.IntN(3) > 0 {
					return noFault
				}
				x := fault(1 + rng.IntN(int(conflict)))
				if x == conflict && method != "PUT" {
					x = fail503
				}
				faults[x]++
				return x
			}
			store := f.store(t, "a")
			input := ordersOf(200)
			p := newPart(t, store, "one", Options[order]{Format: format})
			for id := range 40 {
				p.write(t, input[id*5:(id+1)*5])
				list := p.prepare(t, int64(id+1))
				p.commit(t, int64(id+1), list)
			}
			if err := p.c.Recover(t.Context(), 40, nil); err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			f.script = nil
			f.mu.Unlock()
			same(t, readNames(t, store, visibleNames(t, store)), input)
			if n := len(namesIn(t, store, manifestDir, nil)); n != 40 {
				t.Errorf("%d manifests, want 40", n)
			}
			for x := fail500; x <= conflict; x++ {
				if faults[x] == 0 {
					t.Errorf("fault %d was never injected", x)
				}
			}
		})
	}
}

// TestF2UnknownOutcomeOfManifest loses the answer to the creation of the manifest: the next try meets the sink's own object.
func TestF2UnknownOutcomeOfManifest(t *testing.T) {
	for _, lost := range []fault{dropAfter, fail500After} {
		f := newFakeS3(t)
		n := 0
		f.script = func(method, key string) fault {
			if method == "PUT" && strings.Contains(key, manifestDir) {
				if n++; n == 1 {
					return lost
				}
			}
			return noFault
		}
		store := f.store(t, "")
		p := newPart(t, store, "one", Options[order]{})
		p.write(t, ordersOf(3))
		p.commit(t, 1, p.prepare(t, 1))
		if n != 2 {
			t.Errorf("fault %d: manifest was put %d times, want 2", lost, n)
		}
		same(t, readNames(t, store, visibleNames(t, store)), ordersOf(3))
	}
}

// TestF2FinalErrors checks that errors which no repetition can cure come out at once and name bucket and object.
func TestF2FinalErrors(t *testing.T) {
	f := newFakeS3(t)
	store := f.store(t, "")
	store.bucket = "other"
	p := newPart(t, store, "one", Options[order]{})
	p.write(t, ordersOf(1))
	_, err := p.w.Prepare(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), `bucket "other" does not exist`) {
		t.Errorf("error is %v", err)
	}
	if f.calls != 1 {
		t.Errorf("%d requests, want 1", f.calls)
	}
}

// TestF3TwoCoordinators lets two coordinators commit checkpoint 7 at the same time: with the same files both succeed and each file is there
// once; one with other files is refused and changes nothing.
func TestF3TwoCoordinators(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		a, b := newPart(t, s, "one", Options[order]{}), newPart(t, s, "one", Options[order]{})
		a.write(t, ordersOf(300))
		list := a.prepare(t, 7)
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { errs[i] = []*committer{a.c, b.c}[i%2].Commit(t.Context(), 7, list) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		b.write(t, ordersOf(5))
		foreign := b.prepare(t, 7)
		err := b.c.Commit(t.Context(), 7, foreign)
		var fe *ForeignManifestError
		if !errors.As(err, &fe) || fe.Checkpoint != 7 || fe.Theirs == fe.Ours {
			t.Fatalf("error is %v, want a *ForeignManifestError for checkpoint 7", err)
		}
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(300))
	})
}

// TestF4ZombieWriter fences an attempt that is still writing: what it finishes afterwards never becomes visible, and its late commit of what
// is committed already changes nothing.
func TestF4ZombieWriter(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		zombie := newPart(t, s, "one", Options[order]{})
		zombie.write(t, ordersOf(10))
		first := zombie.prepare(t, 1)
		zombie.commit(t, 1, first)
		zombie.write(t, ordersOf(20)[10:]) // not in a checkpoint when the other attempt takes over

		next := newPart(t, s, "two", Options[order]{})
		next.commit(t, 1, first)
		if err := next.c.Recover(t.Context(), 1, first); err != nil {
			t.Fatal(err)
		}
		late := zombie.prepare(t, 2)
		next.write(t, ordersOf(30)[10:])
		next.commit(t, 2, next.prepare(t, 2))
		zombie.commit(t, 1, first)
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(30))

		// The sweep of a later start removes what the zombie staged.
		if len(late) == 0 || len(namesIn(t, s, stagingOf("archive", "one"), nil)) == 0 {
			t.Fatal("the zombie staged nothing")
		}
		third := newPart(t, s, "three", Options[order]{})
		third.at(48 * time.Hour)
		if err := third.c.Recover(t.Context(), 2, nil); err != nil {
			t.Fatal(err)
		}
		if left := namesIn(t, s, stagingDir, nil); len(left) > 0 {
			t.Errorf("staged files are left: %q", left)
		}
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(30))
	})
}

// TestF6SweepBesideSlowWriter starts a job beside writers that are still at work: files younger than the grace, files of a restored
// checkpoint, files that a manifest lists and files of another sink all survive.
func TestF6SweepBesideSlowWriter(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		slow := newPart(t, s, "slow", Options[order]{})
		slow.write(t, ordersOf(10))
		prepared := slow.prepare(t, 1) // completed, and the process died before the commit

		half := newPart(t, s, "half", Options[order]{})
		half.write(t, ordersOf(20)[10:])
		list, err := manifests("archive", 2, half.prepare(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		if err := half.c.record(t.Context(), list[0]); err != nil { // manifest made, nothing published
			t.Fatal(err)
		}
		other := newPart(t, s, "one", Options[order]{})
		other.w.(*writer[order]).context.UID, other.c.context.UID = "other", "other"
		other.write(t, ordersOf(30)[20:])
		theirs := other.prepare(t, 1)

		starter := newPart(t, s, "two", Options[order]{})
		starter.at(time.Hour) // younger than the grace of a day
		if err := starter.c.Recover(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		if got := len(namesIn(t, s, stagingOf("archive", "slow"), nil)); got != 1 {
			t.Fatalf("%d young files are left, want 1", got)
		}
		starter.at(48 * time.Hour)
		if err := starter.c.Recover(t.Context(), 1, prepared); err != nil {
			t.Fatal(err)
		}
		starter.commit(t, 1, prepared)
		other.commit(t, 1, theirs)
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(30))

		orphan := newPart(t, s, "orphan", Options[order]{})
		orphan.write(t, ordersOf(3))
		orphan.prepare(t, 9)
		if err := starter.c.Recover(t.Context(), 1, prepared); err != nil {
			t.Fatal(err)
		}
		if left := namesIn(t, s, stagingDir, nil); len(left) > 0 {
			t.Errorf("orphans are left: %q", left)
		}
	})
}

// TestF8ManyPartitions writes to 1,000 hours in turn: never more than OpenFiles files are open, what is buffered stays within BufferBytes, and
// nothing is lost.
func TestF8ManyPartitions(t *testing.T) {
	for _, format := range []Format{Avro, Parquet} {
		t.Run(format.String(), func(t *testing.T) {
			s := dirOf(t)
			p := newPart(t, s, "one", Options[order]{Format: format, OpenFiles: 5, BufferBytes: 64 << 10})
			w := p.w.(*writer[order])
			var input []order
			for i := range 1000 {
				o := orderOf(i)
				o.At = base.Add(time.Duration(i) * time.Hour)
				o.Raw = make([]byte, 20<<10)
				input = append(input, o)
				p.write(t, input[i:])
				if len(w.open) > 5 || w.buffer > 64<<10+21<<10 {
					t.Fatalf("%d files open and %d bytes buffered, want at most 5 and %d", len(w.open), w.buffer, 64<<10)
				}
			}
			p.commit(t, 1, p.prepare(t, 1))
			same(t, readNames(t, s, visibleNames(t, s)), input)
		})
	}
}

// TestRollBySize ends files at FileBytes.
func TestRollBySize(t *testing.T) {
	for _, format := range []Format{Avro, Parquet} {
		t.Run(format.String(), func(t *testing.T) {
			s := dirOf(t)
			p := newPart(t, s, "one", Options[order]{Format: format, FileBytes: 64 << 10, Compression: Uncompressed})
			rng := rand.New(rand.NewPCG(1, 2))
			var input []order
			for i := range 300 {
				o := orderOf(i)
				o.At, o.Raw = base, make([]byte, 1000)
				for j := range o.Raw {
					o.Raw[j] = byte(rng.Uint32())
				}
				input = append(input, o)
			}
			p.write(t, input)
			p.commit(t, 1, p.prepare(t, 1))
			names := visibleNames(t, s)
			if len(names) < 4 || len(names) > 6 { // 300 records of about 1.1 KB
				t.Errorf("%d files, want 4 to 6", len(names))
			}
			for i, name := range names {
				info, err := os.Stat(s.file(name))
				if err != nil {
					t.Fatal(err)
				}
				if info.Size() > 80<<10 {
					t.Errorf("%s has %d bytes", name, info.Size())
				}
				if want := fmt.Sprintf("dt=2026-11-24/hh=07/part-1-0-%d-", i); !strings.HasPrefix(name, want) {
					t.Errorf("file %d is %s, want %s…", i, name, want)
				}
			}
			same(t, readNames(t, s, names), input)
		})
	}
}

// TestRefused checks what becomes of records that no file can hold.
func TestRefused(t *testing.T) {
	s := dirOf(t)
	p := newPart(t, s, "one", Options[order]{})
	good, bad := orderOf(1), orderOf(2)
	bad.Outcome = "MAYBE"
	at := connectors.Coordinates{UID: "src", Split: "s", Offset: 5}
	for _, c := range []struct {
		o  order
		ms int64
	}{{good, connectors.NoTimestamp}, {good, yearEndMS}, {good, yearFirstMS - 1}, {bad, 0}, {good, good.At.UnixMilli()}} {
		if err := p.w.Write(c.o, connectors.Meta{TimestampMS: c.ms, At: at}); err != nil {
			t.Fatal(err)
		}
	}
	var reasons []string
	for _, d := range p.dead {
		reasons = append(reasons, d.Reason)
		if d.At != at || d.UID != "archive" {
			t.Errorf("dead letter %+v", d)
		}
	}
	for i, want := range []string{"no event time", "outside of the years", "outside of the years", "MAYBE"} {
		if i >= len(reasons) || !strings.Contains(reasons[i], want) {
			t.Errorf("dead letter %d of %q, want %q", i, reasons, want)
		}
	}
	p.commit(t, 1, p.prepare(t, 1))
	same(t, readNames(t, s, visibleNames(t, s)), []order{good})
	if got := len(p.prepare(t, 2)); got != 0 {
		t.Errorf("%d committables of an empty interval, want none", got)
	}
}

// TestTimeOption takes the hour from the record instead of from the dataflow, before 1970 too.
func TestTimeOption(t *testing.T) {
	s := dirOf(t)
	p := newPart(t, s, "one", Options[order]{Time: func(o order) time.Time { return o.At }})
	o := orderOf(0)
	o.At = time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.FixedZone("", 3600))
	if err := p.w.Write(o, connectors.Meta{TimestampMS: connectors.NoTimestamp}); err != nil {
		t.Fatal(err)
	}
	p.commit(t, 1, p.prepare(t, 1))
	if names := visibleNames(t, s); len(names) != 1 || !strings.HasPrefix(names[0], "dt=1969-12-31/hh=22/part-1-0-0-") {
		t.Errorf("files are %q", names)
	}
}

// TestCloseGivesUp leaves nothing of what was not prepared, and everything that was.
func TestCloseGivesUp(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		p := newPart(t, s, "one", Options[order]{OpenFiles: 1})
		p.write(t, ordersOf(100))
		list := p.prepare(t, 1)
		p.write(t, ordersOf(300)[100:]) // ends files on the way
		if err := p.w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := len(namesIn(t, s, stagingDir, nil)); got != 2 {
			t.Errorf("%d staged files, want the 2 of the checkpoint", got)
		}
		p.commit(t, 1, list)
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(100))
	})
}

// TestLostFile removes a file that a completed checkpoint lists.
func TestLostFile(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		p := newPart(t, s, "one", Options[order]{})
		p.write(t, ordersOf(10))
		list := p.prepare(t, 1)
		staged := namesIn(t, s, stagingDir, nil)
		if err := s.remove(t.Context(), staged[0]); err != nil {
			t.Fatal(err)
		}
		var lost *LostFileError
		if err := p.c.Commit(t.Context(), 1, list); !errors.As(err, &lost) || lost.Records != 10 || lost.Staged != staged[0] {
			t.Errorf("error is %v, want a *LostFileError", err)
		}
	})
}

// TestDamagedCommittables gives errors, and never touches a file outside of the archive.
func TestDamagedCommittables(t *testing.T) {
	s := dirStore{root: filepath.Join(t.TempDir(), "archive")}
	p := newPart(t, s, "one", Options[order]{})
	for _, c := range []string{
		"", "{", `{"version":2}`, `{"version":0}`,
		`{"version":1,"files":[{"staged":"_staging/a/b/c","path":"../outside.avro"}]}`,
		`{"version":1,"files":[{"staged":"../x","path":"dt=1/hh=2/part.avro"}]}`,
		`{"version":1,"files":[{"staged":"_staging/a/b/c","path":"_manifests/x"}]}`,
		`{"version":1,"files":[{"staged":"_staging/a/b/c","path":"dt=1/x.avro","bytes":-1}]}`,
	} {
		if err := p.c.Commit(t.Context(), 1, [][]byte{[]byte(c)}); err == nil {
			t.Errorf("committable %q was accepted", c)
		}
	}
	if _, err := os.Stat(s.root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// TestEscape makes names that are single path elements and different for different texts.
func TestEscape(t *testing.T) {
	seen := map[string]string{}
	for _, s := range []string{"", "a", "A", "a/b", "a_b", "a_2fb", "..", ".", "_", "ü", "a b", "a-b", "\x00"} {
		e := escape(s)
		if e == "" || strings.ContainsAny(e, "/.") || !fs.ValidPath(e) {
			t.Errorf("escape(%q) is %q", s, e)
		}
		if other, ok := seen[e]; ok {
			t.Errorf("%q and %q both give %q", s, other, e)
		}
		seen[e] = s
	}
}

// TestOptionsReportEveryFault checks that all faults come at once.
func TestOptionsReportEveryFault(t *testing.T) {
	err := NewSink(Options[order]{
		URL: "http://x", Format: 9, Compression: 9, FileBytes: 1, OpenFiles: -1, BufferBytes: 1, OrphanGrace: time.Second,
	}).Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`"http://x"`, "Format(9)", "Compression(9)", "FileBytes is 1", "OpenFiles is -1", "BufferBytes is 1", "OrphanGrace is 1s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if err := NewSink(Options[order]{URL: "file:///x"}).Validate(); err != nil {
		t.Error(err)
	}
	if err := NewSink(Options[chan int]{URL: "file:///x"}).Validate(); err == nil {
		t.Error("a type without codec was accepted")
	}
	if err := NewSink(Options[string]{URL: "file:///x", Format: Parquet}).Validate(); err == nil || !strings.Contains(err.Error(), "record at the top") {
		t.Errorf("error is %v", err)
	}
}

// TestURLs checks what names an archive.
func TestURLs(t *testing.T) {
	good := map[string]location{
		"file:///a/b/":                   {dir: "/a/b"},
		"a/b":                            {dir: "a/b"},
		"s3://bucket":                    {bucket: "bucket"},
		"s3://bucket/p/q/":               {bucket: "bucket", prefix: "p/q"},
		"s3://bkt?endpoint=http://x:1":   {bucket: "bkt", endpoint: "http://x:1"},
		"s3://bkt/p?region=eu-central-1": {bucket: "bkt", prefix: "p", region: "eu-central-1"},
	}
	for raw, want := range good {
		if got, err := parseURL(raw); err != nil || got != want {
			t.Errorf("parseURL(%q) is %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"", "file://host/x", "file:x://", "s3://B_", "s3://bucket/a//b", "s3://bucket/../x", "s3://key:secret@bucket", "gs://bucket", "s3://bucket?x=1"} {
		if got, err := parseURL(raw); err == nil {
			t.Errorf("parseURL(%q) is %+v, want an error", raw, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	if err := validateLocation("s3://bucket?endpoint=x", S3Options{}); err == nil {
		t.Error("endpoint without scheme was accepted")
	}
}

// TestDirCreateIsExclusive lets many create one object: exactly one does.
func TestDirCreateIsExclusive(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		errs := make([]error, 16)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = s.create(t.Context(), "_manifests/x/1.json", []byte(fmt.Sprint(i))) })
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		for i, err := range errs {
			if i != winner && !errors.Is(err, errExists) {
				t.Errorf("creation %d: %v", i, err)
			}
		}
		if data, err := s.read(t.Context(), "_manifests/x/1.json"); err != nil || string(data) != fmt.Sprint(winner) {
			t.Errorf("content is %q, %v, want that of %d", data, err, winner)
		}
		if _, err := s.read(t.Context(), "_manifests/x/2.json"); !errors.Is(err, errNotFound) {
			t.Errorf("error is %v, want errNotFound", err)
		}
	})
}

// TestDirSyncsBeforeItAnswers checks that files and the folders that name them are flushed to the disk before Prepare and Commit return,
// and that a disk that fails to do so fails them.
func TestDirSyncsBeforeItAnswers(t *testing.T) {
	var mu sync.Mutex
	synced := map[string]bool{}
	var broken error
	s := dirStore{root: t.TempDir()}
	s.fsync = func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		name, err := filepath.Rel(s.root, f.Name())
		synced[filepath.ToSlash(name)] = true
		return errors.Join(err, broken)
	}
	p := newPart(t, s, "one", Options[order]{})
	p.write(t, ordersOf(70))
	list := p.prepare(t, 1)
	for _, name := range append(namesIn(t, s, stagingDir, nil), "_staging/archive/one", "_staging/archive", "_staging", ".") {
		if !synced[name] {
			t.Errorf("%s was not synced by Prepare", name)
		}
	}
	clear(synced)
	p.commit(t, 1, list)
	for _, name := range []string{"_manifests/archive/one", "_manifests/archive", "_manifests", "dt=2026-11-24/hh=07", "dt=2026-11-24/hh=08", "dt=2026-11-24", "."} {
		if !synced[name] {
			t.Errorf("%s was not synced by Commit", name)
		}
	}
	p.write(t, ordersOf(1))
	broken = errors.New("disk failed")
	if _, err := p.w.Prepare(t.Context(), 2); !errors.Is(err, broken) {
		t.Errorf("error is %v, want that of the disk", err)
	}
}

// TestFreshStartAdds starts afresh in an archive that holds files: checkpoint numbers begin again, and nothing is overwritten or refused.
func TestFreshStartAdds(t *testing.T) {
	stores(t, func(t *testing.T, store func(t *testing.T) objects) {
		s := store(t)
		for i, attempt := range []string{"1-aa", "1-bb"} {
			p := newPart(t, s, attempt, Options[order]{})
			if err := p.c.Recover(t.Context(), 0, nil); err != nil {
				t.Fatal(err)
			}
			p.write(t, ordersOf(40)[i*20:i*20+20])
			p.commit(t, 1, p.prepare(t, 1))
		}
		same(t, readNames(t, s, visibleNames(t, s)), ordersOf(40))
	})
}

// TestMetrics checks the counters after one checkpoint of two files and an orphan.
func TestMetrics(t *testing.T) {
	s := dirOf(t)
	p := newPart(t, s, "one", Options[order]{})
	w := p.w.(*writer[order])
	p.write(t, ordersOf(70))
	if got := testutil.ToFloat64(w.metrics.open); got != 2 {
		t.Errorf("open files: %v, want 2", got)
	}
	if got := testutil.ToFloat64(w.metrics.files); got != 0 {
		t.Errorf("staged files before the barrier: %v, want 0", got)
	}
	p.commit(t, 1, p.prepare(t, 1))
	p.write(t, ordersOf(1))
	p.prepare(t, 2)
	p.at(48 * time.Hour)
	if err := p.c.Recover(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.w.Write(orderOf(1), connectors.Meta{TimestampMS: connectors.NoTimestamp}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		c    prometheus.Collector
		want float64
	}{
		{"staged files", w.metrics.files, 3}, {"open files", w.metrics.open, 0}, {"dead letters", w.metrics.refused, 1},
		{"committed files", p.c.metrics.files, 2}, {"committed records", p.c.metrics.records, 70}, {"orphans", p.c.metrics.orphans, 1},
	} {
		if got := testutil.ToFloat64(c.c); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
