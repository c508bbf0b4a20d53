package pattern

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/serde"
	"github.com/millrace-io/millrace/state"
)

// DefaultMaxPartialMatches is Options.MaxPartialMatches when none is given.
const DefaultMaxPartialMatches = 10_000

// Options of a pattern step. The zero value works.
type Options[T any] struct {
	// MaxPartialMatches is how many partial matches one key may have, those that a skip strategy holds back included. An event that would make more
	// changes nothing; it becomes a dead letter if the graph consumes the step's dead letters, and else fails the task. Default
	// DefaultMaxPartialMatches; negative: no limit, a pattern whose combinations explode then takes all memory.
	MaxPartialMatches int
	// ProcessingTime has records be compared at once, in the order of arrival, with the wall clock as their time. No record is late then, and
	// windows end by the clock.
	ProcessingTime bool
	// Codec encodes events in state. Default: the codec that package serde derives.
	Codec serde.Serde[T]
	// FlinkTimeouts finds partial matches that have outlived their time only when Flink 2.3 does. There, no timer waits for the end of a WithinPrevious, or
	// for that of a Within whose first event is not after 1970: they end with the next record of the key, and never without one; a
	// stage with a quantifier, and an optional one before which an event was passed over, ignore WithinPrevious; matches that waited for the end of a
	// time have the time of the event or watermark that showed it; and times that overflow wrap. For results that must equal those of a job on Flink.
	FlinkTimeouts bool
}

// check reports every fault of what Stage was given beside the pattern.
func (o Options[T]) check(noResult bool) error {
	var errs []error
	if noResult {
		errs = append(errs, errors.New("pattern: a pattern step needs a function that makes results of matches"))
	}
	if o.Codec == nil {
		if _, err := serde.For[T](); err != nil {
			errs = append(errs, fmt.Errorf("pattern: events wait in state, but have no codec: %w; give one by Options.Codec", err))
		}
	}
	return errors.Join(errs...)
}

// TimedOut is the tag of the side output that takes the partial matches of a pattern step over events of T that have outlived Within or
// WithinPrevious. The timestamp of each is its deadline: first (previous) event + duration.
func TimedOut[T any]() operators.Tag[Match[T]] {
	return operators.NewTag[Match[T]]("timed-out")
}

// Stage compares the events of each key with p and passes on result(key, match) for each match, with the time of the event that completed it. A
// match that waited for the end of a time (NotFollowedBy at the end of the pattern), or that a skip strategy held back until the time of an earlier
// partial match was over, has that deadline instead. See the package documentation for what is a match.
//
// Records wait until the watermark reaches their timestamp, and are then compared in the order of time, those of one time in the order of
// arrival. A record at or before the watermark goes to the side output operators.LateRecords and changes nothing. Partial matches that outlive the
// pattern's time go to the side output TimedOut. A record without timestamp, and one that would exceed Options.MaxPartialMatches, becomes a dead
// letter, or fails the task without consumer for them. When a skip strategy with FailOnMiss misses, the task fails.
//
// State kept: per key the waiting records, and the partial matches with the events they took; dropped as soon as no partial match leads to them, with
// the key's whole state when there is none. One timer per key. A changed pattern must not go on with the state of another: the names of stages and
// their quantifiers are part of the name of the state, so that a savepoint of another pattern is refused.
// Source: Flink org.apache.flink.cep.operator.CepOperator.
func Stage[K comparable, T, Out any](key func(T) K, codec serde.Serde[K], p Pattern[T], o Options[T], result func(K, Match[T]) Out) operators.Stage[T, Out] {
	return func(t *operators.Task, emit func(Out) error) (func(T) error, error) {
		if err := errors.Join(p.Validate(), o.check(result == nil)); err != nil {
			return nil, err
		}
		if !o.ProcessingTime {
			t.NeedsWatermarks("a pattern in event time")
		}
		a := compile(&p, o.FlinkTimeouts)
		t.UserFuncs(append(a.users, result)...)
		return operators.Process(key, codec, func(b *operators.Keyed[K, T, Out]) {
			newStep(t, b, a, &p, o, result)
		})(t, emit)
	}
}

// step is a pattern step in one subtask.
type step[K comparable, T, Out any] struct {
	t      *operators.Task
	o      Options[T]
	m      *matcher[T]
	state  *state.Value[*keyState[T]]
	result func(K, Match[T]) Out
	late   func(T) error
	out    func(Match[T]) error // TimedOut
	ctx    *operators.Ctx[K, Out]
	spare  []*keyState[T] // states of keys that are done, for new keys
}

func newStep[K comparable, T, Out any](t *operators.Task, b *operators.Keyed[K, T, Out], a *automaton[T], p *Pattern[T], o Options[T], result func(K, Match[T]) Out) {
	limit := o.MaxPartialMatches
	if limit == 0 {
		limit = DefaultMaxPartialMatches
	}
	s := &step[K, T, Out]{t: t, o: o, m: newMatcher(a, limit), result: result, out: b.Side(TimedOut[T]()), late: b.Side(operators.LateRecords[T]())}
	s.m.flink, s.m.match, s.m.expire = o.FlinkTimeouts, s.onMatch, s.onExpired
	s.state = b.Value[*keyState[T]]("pattern "+p.shape(), stateCodec(o.Codec))
	if o.ProcessingTime {
		b.OnRecord(s.onRecordNow)
		b.OnProcessingTimer(func(c *operators.Ctx[K, Out], at time.Time) error {
			return s.onTimer(c, at.UnixMilli(), c.Now().UnixMilli())
		})
		return
	}
	b.OnRecord(s.onRecord)
	b.OnTimer(func(c *operators.Ctx[K, Out], at time.Time) error {
		return s.onTimer(c, at.UnixMilli(), c.WatermarkMS())
	})
}

// key is the state of the current key, new if it has none.
func (s *step[K, T, Out]) key() (*keyState[T], error) {
	k, err := s.state.Get()
	if k != nil || err != nil {
		return k, err
	}
	if n := len(s.spare); n > 0 {
		k = s.spare[n-1]
		s.spare = s.spare[:n-1]
		return k, nil
	}
	k = &keyState[T]{}
	k.reset()
	return k, nil
}

// keep stores the state of the current key, or drops it when it holds nothing.
func (s *step[K, T, Out]) keep(k *keyState[T]) error {
	if !k.idle() {
		k.compact()
		return s.state.Set(k)
	}
	if len(s.spare) < spareMax && cap(k.Partials) <= spareSize && cap(k.Events) <= spareSize && cap(k.Links) <= spareSize && cap(k.Queue) <= spareSize {
		k.reset()
		s.spare = append(s.spare, k)
	}
	return s.state.Clear()
}

// How many states of keys are kept for new keys, and of what size at most.
const (
	spareMax  = 8192
	spareSize = 32
)

func (s *step[K, T, Out]) onRecord(c *operators.Ctx[K, Out], v T) error {
	tsMS := c.TimestampMS()
	if tsMS == connectors.NoTimestamp {
		return operators.BadRecord(errors.New("pattern: a record without timestamp; assign event time by Timestamps before the pattern, or use ProcessingTime"))
	}
	if tsMS <= c.WatermarkMS() {
		s.t.CountLate()
		return s.late(v)
	}
	k, err := s.key()
	if err != nil {
		return err
	}
	k.enqueue(v, tsMS)
	s.arm(c, k, k.Queue[0].TimestampMS)
	return s.state.Set(k)
}

// arm has the current key be looked at when its time reaches atMS.
func (s *step[K, T, Out]) arm(c *operators.Ctx[K, Out], k *keyState[T], atMS int64) {
	if k.Armed && k.TimerMS <= atMS {
		return
	}
	k.Armed, k.TimerMS = true, atMS
	s.register(c, atMS)
}

func (s *step[K, T, Out]) register(c *operators.Ctx[K, Out], atMS int64) {
	if s.o.ProcessingTime {
		c.ProcessingTimerAt(time.UnixMilli(atMS))
	} else {
		c.TimerAt(time.UnixMilli(atMS))
	}
}

// onRecordNow takes a record in processing time.
func (s *step[K, T, Out]) onRecordNow(c *operators.Ctx[K, Out], v T) error {
	k, err := s.key()
	if err != nil {
		return err
	}
	nowMS := c.Now().UnixMilli()
	s.open(c, k)
	if err := s.m.advanceTime(nowMS); err != nil {
		return err
	}
	if err := s.compare(v, nowMS); err != nil {
		return err
	}
	return s.close(k)
}

// onTimer compares the records that the watermark has reached and ends what has outlived its time.
func (s *step[K, T, Out]) onTimer(c *operators.Ctx[K, Out], atMS, nowMS int64) error {
	k, err := s.state.Get()
	if k == nil || err != nil {
		return err
	}
	if k.Armed && k.TimerMS == atMS {
		k.Armed = false
	}
	s.open(c, k)
	due := 0
	for due < len(k.Queue) && k.Queue[due].TimestampMS <= nowMS {
		e := &k.Queue[due]
		if due == 0 || k.Queue[due-1].TimestampMS != e.TimestampMS {
			if err := s.m.advanceTime(e.TimestampMS); err != nil {
				return err
			}
		}
		if err := s.compare(e.Value, e.TimestampMS); err != nil {
			return err
		}
		due++
	}
	k.dequeue(due)
	if err := s.m.advanceTime(nowMS); err != nil {
		return err
	}
	return s.close(k)
}

func (s *step[K, T, Out]) open(c *operators.Ctx[K, Out], k *keyState[T]) {
	s.ctx = c
	s.m.load(k)
	s.m.began = false
}

// close arms the next timer of the current key and stores its state.
func (s *step[K, T, Out]) close(k *keyState[T]) error {
	if len(k.Queue) > 0 {
		s.arm(s.ctx, k, k.Queue[0].TimestampMS)
	}
	if !s.o.FlinkTimeouts {
		if ms, ok := s.m.deadline(); ok {
			s.arm(s.ctx, k, ms)
		}
	}
	return s.keep(k)
}

// compare hands an event to the automaton.
func (s *step[K, T, Out]) compare(v T, tsMS int64) error {
	err := s.m.process(v, tsMS)
	if errors.Is(err, errExplosion) {
		return s.explode(v, tsMS)
	}
	if err != nil {
		return err
	}
	if s.o.FlinkTimeouts && s.m.began && s.m.a.windowMS > 0 && tsMS > 0 {
		s.register(s.ctx, tsMS+s.m.a.windowMS)
	}
	return nil
}

// explode refuses an event that would make too many partial matches.
func (s *step[K, T, Out]) explode(v T, tsMS int64) error {
	c := s.t.Context()
	defer func(ms int64) { c.TimestampMS = ms }(c.TimestampMS)
	c.TimestampMS = tsMS
	k := s.m.s
	return operators.Refuse(s.t, v, fmt.Errorf("pattern: key %v has %d partial matches, and the event at %d would make more than Options.MaxPartialMatches = %d; "+
		"bound the pattern by Within, a skip strategy, Until or narrower conditions, avoid AllowCombinations and FollowedByAny, or raise the limit",
		s.ctx.Key(), len(k.Partials)-1+len(k.Completed), tsMS, s.m.limit))
}

func (s *step[K, T, Out]) onMatch(m Match[T], tsMS int64) error {
	s.at(tsMS)
	return s.ctx.Emit(s.result(s.ctx.Key(), m))
}

func (s *step[K, T, Out]) onExpired(m Match[T], tsMS int64) error {
	s.at(tsMS)
	return s.out(m)
}

// at sets the timestamp of what is passed on.
func (s *step[K, T, Out]) at(tsMS int64) {
	if s.o.ProcessingTime {
		tsMS = connectors.NoTimestamp
	}
	s.t.Context().TimestampMS = tsMS
}
