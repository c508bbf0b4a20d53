package runtime

import (
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/dataflow/why"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/state"
)

// vitals are what a task shows of itself while it runs, even while it hangs: each is written by the task's goroutine, a few times a batch,
// and read by anyone. Times are Unix ns of package time's clock.
type vitals struct {
	activity atomic.Pointer[why.Activity]
	since    atomic.Int64 // of the activity; while working, of the current batch
	began    atomic.Int64
	busyNS   atomic.Int64 // time spent working, without the current batch
	batches  atomic.Int64 // batches of records worked off
	record   atomic.Int64 // when the last records came
	drained  atomic.Bool
	barrier  atomic.Int64 // see alignment.id
	aligned  atomic.Int64 // since when
	held     atomic.Int64 // batches that have come out of the queue and are not worked off
	// overtaken counts the checkpoints that were taken in front of their barriers, recorded the bytes of records stored for them; the second is
	// written beside the task.
	overtaken, recorded atomic.Int64
	channels            []channelVitals
	keys                *sketch // nil: no channel is keyed

	// clock is the time of the last look at it, of the task's goroutine only: what happens within a batch needs no other.
	clock int64
}

// channelVitals are those of one channel.
type channelVitals struct {
	mark, since  atomic.Int64
	idleSince    atomic.Int64 // 0: not idle
	record       atomic.Int64
	ended, block atomic.Bool
}

var opening, working, resting, stopped = why.Opening, why.Working, why.Resting, why.Stopped

// open begins a task's life.
func (v *vitals) open(channels int) {
	now := time.Now().UnixNano()
	v.clock = now
	v.began.Store(now)
	v.since.Store(now)
	v.activity.Store(&opening)
	v.channels = make([]channelVitals, channels)
	for i := range v.channels {
		v.channels[i].mark.Store(operators.NoWatermark)
		v.channels[i].since.Store(now)
	}
}

// work begins work after a rest.
func (v *vitals) work() {
	v.clock = time.Now().UnixNano()
	v.since.Store(v.clock)
	v.activity.Store(&working)
}

// next ends the work on one batch at now and begins that on the next.
func (v *vitals) next(now int64) {
	v.busyNS.Store(v.busyNS.Load() + now - v.clock)
	v.clock = now
	v.since.Store(now)
}

// rest says that there is nothing to do.
func (v *vitals) rest() {
	v.next(time.Now().UnixNano())
	v.activity.Store(&resting)
}

func (v *vitals) stop() {
	v.since.Store(time.Now().UnixNano())
	v.activity.Store(&stopped)
}

// took notes a delivery with records before it is worked off.
func (v *vitals) took(ch int, d exchange.Delivery, n int) {
	v.record.Store(v.clock)
	if ch < len(v.channels) {
		v.channels[ch].record.Store(v.clock)
	}
	v.batches.Store(v.batches.Load() + 1)
	if v.keys != nil {
		v.keys.see(d, n)
	}
}

// control notes a control element.
func (v *vitals) control(ch int, c exchange.Control) {
	if ch >= len(v.channels) {
		return
	}
	in := &v.channels[ch]
	switch c.Kind {
	case exchange.Watermark:
		if c.Value > in.mark.Load() {
			in.mark.Store(c.Value)
			in.since.Store(v.clock)
		}
	case exchange.Idle:
		if c.Value == 1 {
			in.idleSince.Store(v.clock)
		} else {
			in.idleSince.Store(0)
		}
	case exchange.End:
		in.ended.Store(true)
	case exchange.Barrier, exchange.BarrierStop:
		in.block.Store(true)
	}
}

// passed notes a barrier that has no meaning any more.
func (v *vitals) passed(ch int) {
	if ch < len(v.channels) {
		v.channels[ch].block.Store(false)
	}
}

// align shows how far the barrier of checkpoint id has come; 0: there is none.
func (v *vitals) align(id int64) {
	if v.barrier.Load() == id {
		return
	}
	v.barrier.Store(id)
	v.aligned.Store(v.clock)
	if id == 0 {
		for i := range v.channels {
			v.channels[i].block.Store(false)
		}
	}
}

const (
	sketchKeys = 16
	// sketchFade halves all counts after so many records, so that the sketch is about recent ones.
	sketchFade = 1 << 20
	// keyTextBytes bounds the text of a key, keyTextShare and keyTextSamples say when a key is looked at: once it has that share.
	keyTextBytes   = 64
	keyTextShare   = 8
	keyTextSamples = 4
)

// sketch estimates the keys with most records from one record of each batch, which stands for the whole batch. Its task writes it, anyone reads
// it; what is read may be a batch old in one place and new in another.
// Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams" (2005), Space-Saving.
type sketch struct {
	maxParallelism int
	hashes         [sketchKeys]atomic.Uint64
	counts         [sketchKeys]atomic.Int64
	errors         [sketchKeys]atomic.Int64 // what a key inherited when it took the place of another
	texts          [sketchKeys]atomic.Pointer[string]
	seen           atomic.Int64 // records that the counts are about
	samples        atomic.Int64
	turn           uint32
}

// see samples one record of a delivery of n records.
func (s *sketch) see(d exchange.Delivery, n int) {
	// Another place of the batch each time: a sender may put keys in a pattern.
	s.turn = s.turn*1664525 + 1013904223
	pick := int(uint64(s.turn) * uint64(n) >> 32)
	hash, keyed := d.Key(pick)
	if !keyed {
		return
	}
	at, least := -1, 0
	for i := range s.hashes {
		c := s.counts[i].Load()
		if c > 0 && s.hashes[i].Load() == hash {
			at = i
			break
		}
		if c < s.counts[least].Load() {
			least = i
		}
	}
	if at < 0 {
		at = least
		s.errors[at].Store(s.counts[at].Load())
		s.hashes[at].Store(hash)
		s.texts[at].Store(nil)
	}
	count, seen, samples := s.counts[at].Load()+int64(n), s.seen.Load()+int64(n), s.samples.Load()+1
	s.counts[at].Store(count)
	s.seen.Store(seen)
	s.samples.Store(samples)
	if samples >= keyTextSamples && (count-s.errors[at].Load())*keyTextShare > seen && s.texts[at].Load() == nil {
		text := d.KeyText(pick)
		if len(text) > keyTextBytes {
			text = text[:keyTextBytes] + "…"
		}
		s.texts[at].Store(&text)
	}
	if seen >= sketchFade {
		s.fade()
	}
}

func (s *sketch) fade() {
	for i := range s.counts {
		s.counts[i].Store(s.counts[i].Load() / 2)
		s.errors[i].Store(s.errors[i].Load() / 2)
	}
	s.seen.Store(s.seen.Load() / 2)
}

// top is the busiest key, nil before the first.
func (s *sketch) top() *why.Key {
	best := 0
	for i := range s.counts {
		if s.counts[i].Load() > s.counts[best].Load() {
			best = i
		}
	}
	// Without what it inherited: no key is said to be busier than it is.
	count, seen := s.counts[best].Load()-s.errors[best].Load(), s.seen.Load()
	if count <= 0 || seen == 0 {
		return nil
	}
	k := &why.Key{Hash: s.hashes[best].Load(), Share: min(1, float64(count)/float64(seen)), Samples: s.samples.Load()}
	k.Group = state.GroupOf(k.Hash, s.maxParallelism)
	if text := s.texts[best].Load(); text != nil {
		k.Text = *text
	}
	return k
}
