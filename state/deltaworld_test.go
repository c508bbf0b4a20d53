package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"pgregory.net/rapid"

	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// bucketFiles is a storage of objects that is collected by the name rule after every checkpoint: an object that the manifest does not name and
// whose checkpoint is not above the one that completed goes. What a checkpoint needs and does not list is missed at once.
type bucketFiles struct {
	mu      sync.Mutex
	objects map[string][]byte
	ids     map[string]int
	n       int
	fail    int // the fail-th write from now on fails, after it was done; 0: none
}

// checkpointFiles are the state.Files of one checkpoint.
type checkpointFiles struct {
	b  *bucketFiles
	id int
}

var errUpload = errors.New("the storage does not answer")

func (f checkpointFiles) Later() state.Files { return checkpointFiles{f.b, f.id + 1} }

func (f checkpointFiles) Write(ctx context.Context, groups state.GroupRange, inline int, fill func(io.Writer) error) (state.File, error) {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return state.File{}, err
	}
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	f.b.n++
	h := state.File{Size: int64(b.Len()), Groups: groups}
	if b.Len() <= inline && f.b.n%2 == 0 {
		h.Inline = b.Bytes()
		return h, nil
	}
	h.Name = fmt.Sprintf("%d-%d", f.id, f.b.n)
	f.b.objects[h.Name], f.b.ids[h.Name] = b.Bytes(), f.id
	if f.b.fail--; f.b.fail == 0 {
		return state.File{}, errUpload
	}
	return h, ctx.Err()
}

func (f checkpointFiles) Read(_ context.Context, h state.File) (io.ReadCloser, error) {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	b, ok := f.b.objects[h.Name]
	if h.Inline != nil {
		b, ok = h.Inline, true
	}
	if !ok {
		return nil, fmt.Errorf("there is no object %q", h.Name)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (f checkpointFiles) Open(context.Context, state.File) (state.Object, error) {
	return nil, errors.ErrUnsupported
}

func (b *bucketFiles) failAt(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = n
}

// complete collects what the manifest of checkpoint id does not name.
func (b *bucketFiles) complete(id int, parts []state.Written) {
	named := map[string]bool{}
	for _, w := range parts {
		for _, f := range w.Files {
			named[f.Name] = true
		}
		for _, name := range w.Pending {
			named[name] = true
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, of := range b.ids {
		if of <= id && !named[name] {
			delete(b.objects, name)
			delete(b.ids, name)
		}
	}
}

// deltaStates is a state of each shape, with and without references, with and without time to live.
type deltaStates struct {
	*state.Keyed[string]
	hash   func(string) uint64
	number *state.Value[int64]
	text   *state.Value[[]string]
	short  *state.Value[string]
	list   *state.List[string]
	brief  *state.List[string]
	table  *state.Map[string, int64]
	deep   *state.Map[string, []string]
	timers *state.Timers[string]
}

const (
	deltaGroups = 6
	deltaTTL    = 50 // ms
)

func newDeltaStates(nowMS *int64) *deltaStates {
	codec := serde.MustFor[string]()
	s := state.NewKeyed(codec, state.Config{MaxParallelism: deltaGroups, Now: clockAt(nowMS)})
	ttl := state.TTL(deltaTTL * 1e6)
	return &deltaStates{Keyed: s, hash: serde.HashOf(codec), number: s.Value[int64]("number"), text: s.Value[[]string]("text"),
		short: s.Value[string]("short", ttl), list: s.List[string]("list"), brief: s.List[string]("brief", ttl, state.TTLOnRead()),
		table: s.Map[string, int64]("table"), deep: s.Map[string, []string]("deep"), timers: s.Timers("timers")}
}

// mortalWord is a word with the time at which it expires.
type mortalWord struct {
	word string
	at   int64
}

// deltaKey is what the model has for one key.
type deltaKey struct {
	number *int64
	text   []string
	short  mortalWord
	list   []string
	brief  []mortalWord
	table  map[string]int64
	deep   map[string][]string
	timers map[int64]bool
}

// deltaModel is everything as plain values.
type deltaModel map[string]*deltaKey

func (m deltaModel) at(key string) *deltaKey {
	if m[key] == nil {
		m[key] = &deltaKey{table: map[string]int64{}, deep: map[string][]string{}, timers: map[int64]bool{}}
	}
	return m[key]
}

func (m deltaModel) clone() deltaModel {
	c := deltaModel{}
	for name, k := range m {
		d := *k
		d.text, d.list, d.brief = slices.Clone(k.text), slices.Clone(k.list), slices.Clone(k.brief)
		d.table, d.timers, d.deep = maps.Clone(k.table), maps.Clone(k.timers), map[string][]string{}
		for w, v := range k.deep {
			d.deep[w] = slices.Clone(v)
		}
		c[name] = &d
	}
	return c
}

// describe is what a reader sees of k at a time; it renews what reads renew.
func (k *deltaKey) describe(nowMS int64) string {
	short := ""
	if k.short.at > nowMS {
		short = k.short.word
	}
	k.brief = slices.DeleteFunc(k.brief, func(w mortalWord) bool { return w.at <= nowMS })
	var brief []string
	for i := range k.brief {
		k.brief[i].at = nowMS + deltaTTL
		brief = append(brief, k.brief[i].word)
	}
	number := "none"
	if k.number != nil {
		number = fmt.Sprint(*k.number)
	}
	return fmt.Sprintf("number %s text %q short %q list %q brief %q table %v deep %q", number, k.text, short, k.list, brief, k.table, k.deep)
}

// describe is the same of what s has under the current key.
func (s *deltaStates) describe(t *rapid.T) string {
	number := "none"
	n, ok, err := s.number.Lookup()
	succeeds(t, err)
	if ok {
		number = fmt.Sprint(n)
	}
	text, err := s.text.Get()
	succeeds(t, err)
	short, err := s.short.Get()
	succeeds(t, err)
	list, err := s.list.Values()
	succeeds(t, err)
	brief, err := s.brief.Values()
	succeeds(t, err)
	table, deep := map[string]int64{}, map[string][]string{}
	succeeds(t, s.table.Range(func(k string, v int64) error { table[k] = v; return nil }))
	succeeds(t, s.deep.Range(func(k string, v []string) error { deep[k] = v; return nil }))
	return fmt.Sprintf("number %s text %q short %q list %q brief %q table %v deep %q", number, text, short, list, brief, table, deep)
}

// deltaWrite draws a change of the current key and makes it in s and k.
func deltaWrite(t *rapid.T, s *deltaStates, k *deltaKey, nowMS int64) {
	w := rapid.SampledFrom([]string{"", "a", "b", strings.Repeat("c", 40)}).Draw(t, "word")
	switch rapid.IntRange(0, 19).Draw(t, "change") {
	case 0:
		succeeds(t, s.number.Clear())
		k.number = nil
	case 1, 2, 3:
		n := rapid.Int64Range(0, 99).Draw(t, "number")
		succeeds(t, s.number.Set(n))
		k.number = &n
	case 4, 5:
		v, err := s.text.Get()
		succeeds(t, err)
		if len(v) > 1 && w == "" {
			succeeds(t, s.text.Clear())
			k.text = nil
			return
		}
		if len(v) > 2 || len(v) > 0 && w != "" { // in place
			v[0], k.text[0] = w, w
		} else {
			v, k.text = append(v, w), append(k.text, w)
		}
		succeeds(t, s.text.Set(v))
	case 6:
		succeeds(t, s.short.Set(w))
		k.short = mortalWord{w, nowMS + deltaTTL}
	case 7:
		succeeds(t, s.short.Clear())
		k.short = mortalWord{}
	case 8, 9:
		succeeds(t, s.timersOf(t, k))
	case 10, 11, 12:
		succeeds(t, s.changeLists(t, k, w, nowMS))
	default:
		succeeds(t, s.changeMaps(t, k, w))
	}
}

func (s *deltaStates) timersOf(t *rapid.T, k *deltaKey) error {
	at := rapid.Int64Range(0, 9).Draw(t, "timer")
	if rapid.Bool().Draw(t, "register") {
		s.timers.Register(state.EventTime, at)
		k.timers[at] = true
	} else {
		s.timers.Delete(state.EventTime, at)
		delete(k.timers, at)
	}
	return nil
}

func (s *deltaStates) changeLists(t *rapid.T, k *deltaKey, w string, nowMS int64) error {
	n := rapid.SampledFrom([]int{1, 2, 40}).Draw(t, "n")
	var words []string
	var mortals []mortalWord
	for i := range n {
		words = append(words, fmt.Sprint(w, i))
		mortals = append(mortals, mortalWord{fmt.Sprint(w, i), nowMS + deltaTTL})
	}
	switch rapid.IntRange(0, 5).Draw(t, "list") {
	case 0:
		k.list = nil
		return s.list.Clear()
	case 1:
		k.list = words
		return s.list.Set(words)
	case 2, 3:
		k.list = append(k.list, words...)
		return s.list.Append(words...)
	case 4:
		k.brief = nil
		return s.brief.Clear()
	}
	k.brief = append(k.brief, mortals...)
	return s.brief.Append(words...)
}

func (s *deltaStates) changeMaps(t *rapid.T, k *deltaKey, w string) error {
	switch rapid.IntRange(0, 9).Draw(t, "map") {
	case 0:
		clear(k.table)
		return s.table.Clear()
	case 1, 2:
		delete(k.table, w)
		return s.table.Remove(w)
	case 3:
		for i := range int64(40) {
			name := fmt.Sprint("many", i)
			k.table[name] = i
			if err := s.table.Put(name, i); err != nil {
				return err
			}
		}
		return nil
	case 4, 5, 6:
		n := rapid.Int64Range(0, 99).Draw(t, "number")
		k.table[w] = n
		return s.table.Put(w, n)
	case 7:
		clear(k.deep)
		return s.deep.Clear()
	}
	v, ok, err := s.deep.Get(w)
	if err != nil {
		return err
	}
	if ok && len(v) > 1 { // in place
		v[0] += "x"
	} else {
		v = append(v, w)
	}
	k.deep[w] = slices.Clone(v)
	return s.deep.Put(w, v)
}
