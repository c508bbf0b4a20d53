package pebblestate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/pebblestate"
)

const (
	modelGroups = 12
	modelKeys   = 40 // per group
)

// address is that of a value state: group, state, escaped key.
func address(group, stateID, key int) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(group))
	b = binary.BigEndian.AppendUint16(b, uint16(stateID))
	return append(b, fmt.Sprintf("k%02d\x00\x01", key)...)
}

// stored is a value with its head: flags 0, hash.
func stored(group int, value []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{0}, uint64(group)<<32|0xabc), value...)
}

func groupAddress(g int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(g)) }

// member is one subtask: a store, what it must hold, and its part of the last checkpoint.
type member struct {
	groups state.GroupRange
	store  state.Store
	model  map[string]string
	dirty  map[string]bool // since the last delta
	ranges []state.Change
	files  []state.File
}

func (m *member) lo() []byte { return groupAddress(m.groups.Start) }
func (m *member) hi() []byte { return groupAddress(m.groups.End) }

// job is the subtasks of one operator over a storage.
type job struct {
	t       *rapid.T
	files   *remoteFiles
	backend state.Backend
	members []*member
	made    int
}

func (j *job) check(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

// restart closes everything and restores it at the given parallelism.
func (j *job) restart(parallelism int) {
	var handles []state.File
	all := map[string]string{}
	for _, m := range j.members {
		handles = append(handles, m.files...)
		maps.Copy(all, m.model)
		j.check(m.store.Close())
	}
	j.members = nil
	for i := range parallelism {
		m := &member{groups: state.RangeOf(i, parallelism, modelGroups), model: map[string]string{}, dirty: map[string]bool{}}
		var err error
		j.made++
		m.store, err = j.backend.Open(state.OpenOptions{UID: "op", Subtask: i, Attempt: fmt.Sprint(j.made), Groups: m.groups})
		j.check(err)
		for _, h := range handles {
			if h.Groups.Overlaps(m.groups) {
				m.files = append(m.files, h)
			}
		}
		j.check(m.store.Attach(context.Background(), j.files, m.files, m.lo(), m.hi()))
		// What the checkpoint after must say: the same files within the bounds of this subtask.
		for k := range m.files {
			f := &m.files[k]
			if bytes.Compare(f.Lo, m.lo()) < 0 {
				f.Lo = m.lo()
			}
			if f.Hi == nil || bytes.Compare(f.Hi, m.hi()) > 0 {
				f.Hi = m.hi()
			}
			f.Groups = state.GroupRange{Start: max(f.Groups.Start, m.groups.Start), End: min(f.Groups.End, m.groups.End)}
		}
		for k, v := range all {
			if k >= string(m.lo()) && k < string(m.hi()) {
				m.model[k] = v
			}
		}
		j.members = append(j.members, m)
	}
}

// change applies random changes to a member.
func (j *job) change(m *member) {
	var changes []state.Change
	for range rapid.IntRange(1, 60).Draw(j.t, "changes") {
		g := rapid.IntRange(m.groups.Start, m.groups.End-1).Draw(j.t, "group")
		k := rapid.IntRange(0, modelKeys-1).Draw(j.t, "key")
		key := address(g, 1, k)
		switch rapid.IntRange(0, 9).Draw(j.t, "kind") {
		case 0, 1:
			changes = append(changes, state.Change{Kind: state.ChangeDelete, Key: key})
			delete(m.model, string(key))
			m.dirty[string(key)] = true
		case 2:
			end := address(g, 1, min(modelKeys, k+rapid.IntRange(1, 20).Draw(j.t, "width")))
			c := state.Change{Kind: state.ChangeDeleteRange, Key: key, End: end}
			changes = append(changes, c)
			m.ranges = append(m.ranges, c)
			maps.DeleteFunc(m.model, func(k, _ string) bool { return k >= string(key) && k < string(end) })
			maps.DeleteFunc(m.dirty, func(k string, _ bool) bool { return k >= string(key) && k < string(end) })
		default:
			value := stored(g, bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(j.t, "value"))}, rapid.IntRange(0, 2000).Draw(j.t, "size")))
			changes = append(changes, state.Change{Kind: state.ChangeSet, Key: key, Value: value})
			m.model[string(key)] = string(value)
			m.dirty[string(key)] = true
		}
	}
	j.check(m.store.Apply(changes))
	// An index as that of TTL is outside of every base.
	j.check(m.store.Apply([]state.Change{{Kind: state.ChangeSet, Key: []byte{0xff, 0xff, byte(len(changes))}, Value: []byte("index")}}))
}

// delta stores what has changed since the last one.
func (j *job) delta(m *member) {
	table, err := m.store.NewTable()
	j.check(err)
	changes := slices.Clone(m.ranges)
	for k := range m.dirty {
		c := state.Change{Kind: state.ChangeDelete, Key: []byte(k)}
		if v, ok := m.model[k]; ok {
			c.Kind, c.Value = state.ChangeSet, []byte(v)
		}
		changes = append(changes, c)
	}
	slices.SortStableFunc(changes, func(a, b state.Change) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return int(b.Kind) - int(a.Kind) // ranges first
	})
	for _, c := range changes {
		j.check(table.Add(c))
	}
	size, err := table.Finish()
	j.check(err)
	f, err := j.files.Write(context.Background(), m.groups, 1000, func(w io.Writer) error {
		n, err := table.WriteTo(w)
		if n != size {
			j.t.Errorf("Finish says %d bytes, WriteTo wrote %d", size, n)
		}
		return err
	})
	j.check(err)
	j.check(table.Remove())
	f.Kind = state.FileDelta
	m.files = append(m.files, f)
	m.dirty, m.ranges = map[string]bool{}, nil
}

// base replaces the files of a member.
func (j *job) base(m *member) {
	upload := func(ctx context.Context, groups state.GroupRange, fill func(io.Writer) error) (state.File, error) {
		return j.files.Write(ctx, groups, 0, fill)
	}
	var files []state.File
	var err error
	if rapid.IntRange(0, 9).Draw(j.t, "rewrite") == 0 {
		files, err = pebblestate.RewrittenBase(context.Background(), m.store, m.lo(), m.hi(), upload)
	} else {
		files, err = m.store.Base(context.Background(), m.lo(), m.hi(), upload)
	}
	j.check(err)
	for _, f := range files {
		if f.Kind != state.FileBase || bytes.Compare(f.Lo, m.lo()) < 0 || bytes.Compare(f.Hi, m.hi()) > 0 {
			j.t.Fatalf("base of %v has the file %+v", m.groups, f)
		}
	}
	m.files = files
	j.delta(m) // what was changed in the epoch of the base
}

// verify compares a member's store and its files with the model.
func (j *job) verify(m *member) {
	got := map[string]string{}
	last := ""
	j.check(m.store.Scan(m.lo(), m.hi(), func(k, v []byte) (bool, error) {
		if string(k) <= last {
			j.t.Fatalf("scan gives %x after %x", k, last)
		}
		last = string(k)
		got[last] = string(v)
		return true, nil
	}))
	j.same("scan", got, m.model)
	for range 20 {
		k := address(rapid.IntRange(m.groups.Start, m.groups.End-1).Draw(j.t, "group"), 1, rapid.IntRange(0, modelKeys).Draw(j.t, "key"))
		v, ok, err := m.store.Get(nil, k)
		j.check(err)
		if want, there := m.model[string(k)]; ok != there || string(v) != want {
			j.t.Fatalf("get %x: %d bytes, %v; want %d bytes, %v", k, len(v), ok, len(want), there)
		}
	}
}

func (j *job) same(what string, got, want map[string]string) {
	j.t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			j.t.Fatalf("%s: %x is there %v with %d bytes, want %d bytes", what, k, ok, len(g), len(v))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			j.t.Fatalf("%s: %x is there, and should not", what, k)
		}
	}
}

// readEntries compares the files with what the models were at the last delta of everybody.
func (j *job) readEntries(groups state.GroupRange) {
	r := state.Restore{Files: j.files, States: []state.Descriptor{{Name: "other", ID: 0, Kind: state.KindValue}, {Name: "v", ID: 1, Kind: state.KindValue}}}
	want := map[string]string{}
	for _, m := range j.members {
		r.Handles = append(r.Handles, m.files...)
		for k, v := range m.model {
			if k >= string(groupAddress(groups.Start)) && k < string(groupAddress(groups.End)) {
				want[k] = v
			}
		}
	}
	got := map[string]string{}
	_, err := state.ReadEntries(context.Background(), r, groups, func(_ []state.Descriptor, e state.Entry) error {
		if e.Hash != uint64(e.Group)<<32|0xabc || e.State != 1 || len(e.Sub) != 0 {
			j.t.Fatalf("entry %+v", e)
		}
		k := slices.Concat(groupAddress(e.Group), groupAddress(1), e.Key, []byte{0, 1})
		got[string(k)] = string(stored(e.Group, e.Value))
		return nil
	})
	j.check(err)
	j.same("ReadEntries", got, want)
}

// TestAttachModel compares stores with maps through random changes, deltas, bases, compactions, and restarts at any parallelism.
func TestAttachModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := &remoteFiles{local: rapid.Bool().Draw(t, "local"), inline: rapid.Bool().Draw(t, "inline")}
		j := &job{t: t, files: files, backend: pebblestate.New(pebblestate.Options{
			Dir: "dir", FS: vfs.NewMem(), MemTableBytes: 64 << 10, BlockCacheBytes: 64 << 10, ObjectCacheBytes: int64(rapid.SampledFrom([]int{1 << 20, 1 << 30}).Draw(t, "cache")),
		})}
		j.restart(rapid.IntRange(1, 3).Draw(t, "parallelism"))
		for range rapid.IntRange(3, 25).Draw(t, "steps") {
			m := rapid.SampledFrom(j.members).Draw(t, "member")
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0, 1, 2:
				j.change(m)
			case 3:
				j.delta(m)
			case 4:
				j.base(m)
			case 5:
				j.check(pebblestate.Compact(m.store))
			case 6:
				j.check(pebblestate.Flush(m.store))
			default:
				for _, m := range j.members {
					j.delta(m)
				}
				first := rapid.IntRange(0, modelGroups-1).Draw(t, "first group")
				j.readEntries(state.GroupRange{Start: first, End: rapid.IntRange(first+1, modelGroups).Draw(t, "end group")})
				j.restart(rapid.IntRange(1, 4).Draw(t, "parallelism"))
			}
			j.verify(m0(j.members, m))
		}
		for _, m := range j.members {
			j.check(m.store.Close())
		}
		if n := files.open.Load(); n != 0 {
			t.Errorf("%d objects are still open", n)
		}
	})
}

// m0 is m if it still is a member, else the first one.
func m0(members []*member, m *member) *member {
	if slices.Contains(members, m) {
		return m
	}
	return members[0]
}
