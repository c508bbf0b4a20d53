package dynamodbstreams

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// script drives a lineage by the commands of testdata/lineage. Shards are written name@hours, for one created that many hours after the
// epoch 2000-01-01, or name alone for an id that tells no time; child<parent names the parent.
type script struct {
	l   *lineage
	now time.Time
	ids map[string]string // name → id
}

// TestLineageScripts replays testdata/lineage.
//
//	new [from=hours]        a fresh lineage, begun at the clock
//	clock hours=n | add=d   sets or moves the clock
//	page                    shards of the input, one a line
//	listed                  the listing is complete
//	finished, asked         of the shards of the input
//	assign, due, give-up
//	restart                 encodes and decodes
func TestLineageScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/lineage", func(t *testing.T, path string) {
		s := &script{now: epoch, ids: map[string]string{}}
		datadriven.RunTest(t, path, s.run)
	})
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *script) ms() int64 { return s.now.UnixMilli() }

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "new":
		var from int64
		if d.HasArg("from") {
			var h int
			d.ScanArgs(t, "from", &h)
			from = epoch.Add(time.Duration(h) * time.Hour).UnixMilli()
		}
		s.l = newLineage("arn", s.ms(), from, time.Minute)
	case "clock":
		if d.HasArg("hours") {
			var h int
			d.ScanArgs(t, "hours", &h)
			s.now = epoch.Add(time.Duration(h) * time.Hour)
			break
		}
		var add string
		d.ScanArgs(t, "add", &add)
		by, err := time.ParseDuration(add)
		if err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(by)
	case "page":
		var shards []listed
		for _, f := range strings.Fields(d.Input) {
			child, parent, _ := strings.Cut(f, "<")
			shards = append(shards, listed{id: s.id(t, child), parent: s.id(t, parent)})
		}
		s.l.page(s.ms(), shards)
	case "listed":
		s.l.listed(s.ms())
	case "finished":
		for _, f := range strings.Fields(d.Input) {
			s.l.finished(s.ms(), s.id(t, f))
		}
	case "asked":
		var ids []string
		for _, f := range strings.Fields(d.Input) {
			ids = append(ids, s.id(t, f))
		}
		s.l.asked(s.ms(), ids)
	case "assign":
		return s.assign()
	case "due":
		w := s.l.due(s.ms())
		return fmt.Sprintf("list=%t ask=%v next=%v\n", w.list, s.names(w.ask), s.l.next(s.ms()))
	case "give-up":
		s.l.giveUp()
	case "restart":
		b, err := s.l.encode()
		if err != nil {
			t.Fatal(err)
		}
		if s.l, err = decodeLineage(b, time.Minute); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	return s.state()
}

// id makes the id of a name; the time is named once.
func (s *script) id(t *testing.T, name string) string {
	if name == "" {
		return ""
	}
	short, at, timed := strings.Cut(name, "@")
	if id, ok := s.ids[short]; ok {
		return id
	}
	id := short
	if timed {
		var h int
		if _, err := fmt.Sscan(at, &h); err != nil {
			t.Fatalf("shard %q: %v", name, err)
		}
		id = fmt.Sprintf("shardId-%020d-%s", epoch.Add(time.Duration(h)*time.Hour).UnixMilli(), short)
	}
	s.ids[short] = id
	return id
}

// names turns ids back to names.
func (s *script) names(ids []string) []string {
	out := []string{}
	for _, id := range ids {
		out = append(out, s.name(id))
	}
	return out
}

func (s *script) name(id string) string { return id[strings.LastIndex(id, "-")+1:] }

// hours is a time as hours after the epoch.
func hours(ms int64) string {
	return fmt.Sprintf("%gh", time.UnixMilli(ms).Sub(epoch).Hours())
}

func (s *script) assign() string {
	var b strings.Builder
	for _, sh := range s.l.assign() {
		p := s.l.start(sh)
		fmt.Fprintf(&b, "%s since=%s", s.name(sh.id), hours(p.SinceMS))
		if p.FromMS > 0 {
			fmt.Fprintf(&b, " from=%s", hours(p.FromMS))
		}
		if p.Spent {
			b.WriteString(" spent")
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "(none)\n"
	}
	return b.String()
}

// state is one line: the shards by phase, those ready, those without their parent, and those lost.
func (s *script) state() string {
	if s.l == nil {
		return ""
	}
	var b strings.Builder
	for p, name := range phaseNames {
		var in []string
		for _, id := range sortedKeys(s.l.shards) {
			if s.l.shards[id].phase == phase(p) {
				in = append(in, s.name(id))
			}
		}
		if len(in) != s.l.counts[p] {
			fmt.Fprintf(&b, "COUNT %d ", s.l.counts[p])
		}
		if len(in) > 0 {
			fmt.Fprintf(&b, "%s=%s ", name, strings.Join(in, ","))
		}
	}
	for _, r := range s.l.ready {
		fmt.Fprintf(&b, "ready:%s ", s.name(r.id))
	}
	for _, p := range sortedKeys(s.l.orphans) {
		for _, o := range s.l.orphans[p] {
			fmt.Fprintf(&b, "orphan:%s(%d) ", s.name(o.id), o.missing)
		}
	}
	for _, o := range s.l.lost {
		fmt.Fprintf(&b, "lost:%s<%s ", s.name(o.id), s.name(o.parent))
	}
	if b.Len() == 0 {
		return "(empty)\n"
	}
	return strings.TrimSpace(b.String()) + "\n"
}
