package statetest

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

func testTTL(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	for _, onRead := range []bool{false, true} {
		t.Run(fmt.Sprintf("onRead=%v", onRead), func(t *testing.T) {
			c := newClock()
			opts := []state.Option{state.TTL(time.Second)}
			if onRead {
				opts = append(opts, state.TTLOnRead())
			}
			o := start(t, declare(c.Now, opts...), newBackend(t), 0, 1)
			all := map[string]string{"k": "value=1 text=t ref=[r] list=[e] table=[m:2] sum=3 mean=4"}
			write := func() {
				o.at("k")
				must(t, o.value.Set(1))
				must(t, o.text.Set("t"))
				must(t, o.ref.Set([]string{"r"}))
				must(t, o.list.Append("e"))
				must(t, o.table.Put("m", 2))
				must(t, o.sum.Add(3))
				must(t, o.mean.Add(4))
			}
			read := func() map[string]string { return contents(t, o, []string{"k"}) }
			write()
			c.advance(999 * time.Millisecond)
			equal(t, "state 1 ms before it expires", read(), all)
			c.advance(time.Millisecond)
			if onRead {
				equal(t, "state 1 s after the write, read 1 ms ago", read(), all)
				c.advance(time.Second)
			}
			equal(t, "state when it has expired", read(), map[string]string{})
			write()
			equal(t, "state written after it expired", read(), all)
		})
	}
}

func testTTLElements(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := newClock()
	o := start(t, declare(c.Now, state.TTL(time.Second)), newBackend(t), 0, 1)
	o.at("k")
	for i := range 4 {
		o.at("k") // the clock is read once for each record
		must(t, o.list.Append(fmt.Sprint(i)))
		must(t, o.table.Put(fmt.Sprint(i), int64(i)))
		c.advance(400 * time.Millisecond)
	}
	equal(t, "state", contents(t, o, []string{"k"}), map[string]string{"k": "list=[2 3] table=[2:2 3:3]"})
	equal(t, "list length", get[int](t)(o.list.Len()), 2)
	equal(t, "map length", get[int](t)(o.table.Len()), 2)
	if _, ok, _ := o.table.Get("1"); ok {
		t.Fatal("an expired map entry is returned")
	}
	must(t, o.table.Put("2", 22)) // lives on
	c.advance(700 * time.Millisecond)
	equal(t, "state", contents(t, o, []string{"k"}), map[string]string{"k": "table=[2:22]"})
}

func testTTLInSnapshots(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := newClock()
	ttl := state.TTL(time.Second)
	o := start(t, declare(c.Now, ttl), newBackend(t), 0, 1)
	keys := names(60)
	fill(t, o, keys[:30])
	c.advance(600 * time.Millisecond)
	fill(t, o, keys[30:])
	late := contents(t, o, keys[30:])
	c.advance(600 * time.Millisecond)
	var files Files
	handles := snapshot(t, o, &files)
	n := 0
	err := files.Entries(handles, func(e state.Entry) error {
		// What has expired is not taken out of tables: it expires again when it is read.
		if handles[0].Kind == state.FileEntries && e.ExpiresMS != 0 && e.ExpiresMS <= c.now.UnixMilli() {
			t.Errorf("the snapshot holds an entry that expired at %d", e.ExpiresMS)
		}
		n++
		return nil
	})
	must(t, err)
	if n == 0 {
		t.Fatal("the snapshot is empty")
	}
	back := start(t, declare(c.Now, ttl), newBackend(t), 0, 1)
	must(t, back.Restore(context.Background(), files.From(handles)))
	equal(t, "restored state", contents(t, back, keys), late)
	// The stamps are restored with the values, and a state may lose or gain its TTL.
	without := start(t, declare(c.Now), newBackend(t), 0, 1)
	must(t, without.Restore(context.Background(), files.From(handles)))
	c.advance(500 * time.Millisecond)
	equal(t, "restored state after its time", contents(t, back, keys), map[string]string{})
	equal(t, "state that lost its TTL", contents(t, without, keys), late)
	handles = snapshot(t, without, &files)
	gained := start(t, declare(c.Now, ttl), newBackend(t), 0, 1)
	must(t, gained.Restore(context.Background(), files.From(handles)))
	c.advance(999 * time.Millisecond)
	equal(t, "state that gained a TTL", contents(t, gained, keys), late)
	c.advance(time.Millisecond)
	equal(t, "state that gained a TTL, after it", contents(t, gained, keys), map[string]string{})
}

// testTTLSweep checks that expired entries are removed although nobody asks for their keys again.
func testTTLSweep(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := newClock()
	o := start(t, declare(c.Now, state.TTL(time.Second)), newBackend(t), 0, 1)
	old := names(2000)
	fill(t, o, old)
	c.advance(time.Hour)
	for i := range 60_000 {
		o.at(fmt.Sprint("new", i%500))
		must(t, o.value.Set(1))
		must(t, o.list.Append("x"))
		if i%5 == 0 {
			must(t, o.list.Clear())
		}
	}
	c.now = newClock().now // time goes back, so what still exists shows
	must(t, o.at("new0").value.Set(1))
	left := 0
	for _, k := range old {
		if _, ok, err := o.at(k).value.Lookup(); ok {
			must(t, err)
			left++
		}
	}
	if left > len(old)/10 {
		t.Fatalf("%d of %d expired values were never removed", left, len(old))
	}
}

// testExpiredListWhileRange changes a list whose elements have all expired while they are visited for the last time.
func testExpiredListWhileRange(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := newClock()
	o := start(t, declare(c.Now, state.TTL(time.Second), state.ReturnExpiredIfNotCleanedUp(), state.DisableCleanupInBackground()), newBackend(t), 0, 1)
	must(t, o.at("k").list.Append("a", "b"))
	c.advance(time.Second)
	o.at("k")
	var seen []string
	must(t, o.list.Range(func(v string) error {
		seen = append(seen, v)
		return o.list.Append(v + v)
	}))
	equal(t, "expired elements", seen, []string{"a", "b"})
	equal(t, "list", get[[]string](t)(o.list.Values()), []string{"aa", "bb"})
}

// testLateTouch writes with an older timestamp what was written back and evicted long ago: the life that it had stays.
func testLateTouch(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := &ttlClock{timestamp: 1000, watermark: math.MinInt64}
	o := newTTLStates(ttlRules{ttl: 100, event: true}, c)
	open(t, o.Keyed, newBackend(t))
	hash := serde.HashOf(serde.MustFor[string]())
	at := func(key string) *ttlStates {
		o.SetCurrent(key, hash(key))
		return o
	}
	must(t, at("k").value.Set("old"))
	must(t, o.table.Put("m", "old"))
	for i := range 1500 {
		must(t, at(fmt.Sprint("crowd", i)).value.Set("x"))
		must(t, o.table.Put("x", "x"))
	}
	c.timestamp = 500
	must(t, at("k").value.Set("new"))
	must(t, o.table.Put("m", "new"))
	for _, x := range []struct {
		watermark int64
		want      string
	}{{600, "new new"}, {1099, "new new"}, {1100, " "}} {
		c.watermark = x.watermark
		must(t, o.CleanUp())
		v, err := at("k").value.Get()
		must(t, err)
		m, _, err := o.table.Get("m")
		must(t, err)
		equal(t, fmt.Sprintf("state at watermark %d", x.watermark), v+" "+m, x.want)
	}
}

// testTTLRenewal reads, which renews the expiry, between the barrier and the upload: the image must keep the old one.
func testTTLRenewal(t *testing.T, newBackend func(t *testing.T) state.Backend) {
	c := newClock()
	o := start(t, declare(c.Now, state.TTL(time.Second), state.TTLOnRead()), newBackend(t), 0, 1)
	keys := names(20)
	fill(t, o, keys)
	want := c.now.UnixMilli() + 1000
	image := get[state.Snapshot](t)(o.Snapshot())
	c.advance(500 * time.Millisecond)
	contents(t, o, keys)
	var files Files
	handles := get[[]state.File](t)(Store(o, image, &files))
	n := 0
	err := files.Entries(handles, func(e state.Entry) error {
		if e.ExpiresMS != 0 {
			equal(t, "expiry in the image", e.ExpiresMS, want)
			n++
		}
		return nil
	})
	must(t, err)
	if n == 0 {
		t.Fatal("no entry of the image expires")
	}
}
