package codegen_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/serde/internal/fixture"
)

// chain is a list of n trees.
func chain(n int) *fixture.Tree {
	var t *fixture.Tree
	for range n {
		t = &fixture.Tree{Next: t}
	}
	return t
}

// TestDepth: records nest 1,000 deep at most, in both directions.
func TestDepth(t *testing.T) {
	c := codecsOf[fixture.Tree](t)
	src := c.encode(t, *chain(1000))
	if src == nil || !c.decode(t, src) {
		t.Error("1,000 records are refused")
	}
	if c.encode(t, *chain(1001)) != nil {
		t.Error("1,001 records are encoded")
	}
	// One more record around: v, name, and next that is there.
	if c.decode(t, append(append([]byte{0, 0, 2}, src...), 0, 0, 0)) {
		t.Error("1,001 records are decoded")
	}
	circle := &fixture.Tree{}
	circle.Next = circle
	if _, err := c.serde.Append(nil, *circle); err == nil || !strings.Contains(err.Error(), "deeper than 1000") {
		t.Errorf("a value that holds itself: %v", err)
	}
}

// TestHostileBytes: a few bytes that claim much cost little, and the error says where.
func TestHostileBytes(t *testing.T) {
	huge := binary.AppendVarint(nil, 1<<40)
	hostile(t, "array count", codecsOf[fixture.Numbers](t), huge)
	hostile(t, "array size", codecsOf[fixture.Numbers](t), []byte{1, 1, 2, 0})
	hostile(t, "negative count", codecsOf[fixture.Numbers](t), binary.AppendVarint(nil, -1<<63))
	hostile(t, "string length", codecsOf[fixture.Names](t), append([]byte{2}, huge...))
	hostile(t, "map count", codecsOf[fixture.Bag](t), huge)
	hostile(t, "large elements", codecsOf[fixture.Bags](t), append([]byte{0, 0, 0, 0}, append(binary.AppendVarint(nil, 250_000), bytes.Repeat([]byte{0xff}, 4<<20)...)...))
	hostile(t, "elements without bytes", codecsOf[fixture.Bags](t), append(make([]byte, 5), huge...))
	hostile(t, "trailing byte", codecsOf[fixture.Token](t), []byte{1, 2, 3, 4, 5})
	hostile(t, "varint of 11 bytes", codecsOf[fixture.Event](t), bytes.Repeat([]byte{0x80}, 11))
	hostile(t, "boolean of 2", codecsOf[fixture.Event](t), append(make([]byte, 14), 2))
	hostile(t, "symbol 10 of 10", codecsOf[fixture.Rank](t), []byte{20})
	hostile(t, "negative symbol", codecsOf[fixture.Rank](t), []byte{1})
	hostile(t, "branch 2 of 2", codecsOf[fixture.Choice](t), []byte{4, 0})
	hostile(t, "nothing", codecsOf[fixture.Event](t), nil)
	if !codecsOf[fixture.Event](t).decode(t, make([]byte, 15)) {
		t.Error("an event of zeros is refused")
	}
}

func hostile[T any](t *testing.T, name string, c codecs[T], src []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := c.serde.Decode(src, new(T))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, serde.ErrCorrupt) {
		t.Errorf("%s: %v, want ErrCorrupt", name, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%s: %d bytes allocated", name, n)
	}
	if c.decode(t, src) {
		t.Errorf("%s is accepted", name)
	}
}

// TestErrorsNameTheField: what generated code refuses is explained by the derived codec.
func TestErrorsNameTheField(t *testing.T) {
	err := serde.MustFor[fixture.Bags]().Decode(append([]byte{2, 2, 'k', 0, 0, 1}, make([]byte, 14)...), new(fixture.Bags))
	if err == nil || !strings.Contains(err.Error(), `field Bag{"k"}.s1`) {
		t.Errorf("%v, want the field", err)
	}
	_, err = serde.MustFor[fixture.Bags]().Append(nil, fixture.Bags{Rank: "NONE"})
	if err == nil || !strings.Contains(err.Error(), `field Rank: "NONE" is no symbol`) {
		t.Errorf("%v, want the field", err)
	}
}

// FuzzGenerated: whatever the bytes are, generated code and the derived codec agree on them.
func FuzzGenerated(f *testing.F) {
	events, trees, all, bags := codecsOf[fixture.Event](f), codecsOf[fixture.Tree](f), codecsOf[fixture.Everything](f), codecsOf[fixture.Bags](f)
	f.Add(events.encode(f, sample))
	f.Add(trees.encode(f, *chain(3)))
	f.Add(all.encode(f, fixture.Everything{Level: "LOW", Rank: "R3", Always: &fixture.Inner{Tags: []string{"x"}}}))
	f.Add(bags.encode(f, fixture.Bags{Rank: "LOW", Bag: fixture.Bag{"k": sample}, Events: []fixture.Event{sample}}))
	f.Add(bytes.Repeat([]byte{0, 0, 2}, 1500))
	f.Fuzz(func(t *testing.T, src []byte) {
		events.decode(t, src)
		trees.decode(t, src)
		all.decode(t, src)
		bags.decode(t, src)
	})
}
