package runtime

import (
	"errors"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/operators"
)

// sourceReader is a connectors.Reader with its record type erased.
type sourceReader interface {
	AddSplits(splits []connectors.Split) error
	poll(max int) (connectors.Status, error)
	Wake() <-chan struct{}
	Snapshot() ([]connectors.Split, error)
	CheckpointCompleted(id int64)
	Close() error
}

// sourceDriver keeps, for the task of a source, which splits it reads and which it has finished.
type sourceDriver struct {
	task   *task
	op     *op
	reader sourceReader
	// index numbers the splits of this subtask; live are those not finished.
	index   map[string]int
	numbers int   // given out so far
	unused  []int // of these, the numbers of finished splits
	live    int
	// finished are the splits read to their end that the enumerator may not know of yet: part of every snapshot until it does.
	finished []string
	noMore   bool
	ended    bool
	idle     map[string]bool
	// emitted counts records since the task began.
	emitted int64
	// now is the split of the last record and its number.
	now      string
	nowIndex int
	// polled is emitted at the begin of the current poll; times are those of the splits, by number.
	polled int64
	times  []splitTimes
	// placed says that the splits that were there at the beginning have been given out.
	placed bool
	// align is nil unless the source is aligned with others.
	align *aligner
}

func newSourceDriver() *sourceDriver {
	return &sourceDriver{index: map[string]int{}, idle: map[string]bool{}, nowIndex: -1}
}

// pollRecords is how many records a source emits before it looks at its mailbox.
const pollRecords = exchange.BatchRecords

func (t *task) runSource() error {
	s := t.source
	for first := true; ; first = false {
		if t.queue.Alarm.Raised() {
			if err := t.attend(); err != nil {
				return err
			}
		}
		for _, l := range t.box.take() {
			if w, ok := l.(whyLetter); ok {
				t.answer(w)
				continue
			}
			if err := s.receive(l); err != nil {
				return err
			}
		}
		if first { // not before the splits of a restore have come
			if err := s.sourceIdle(); err != nil {
				return err
			}
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
		status, err := s.poll()
		if err != nil {
			return err
		}
		if err := t.wokenUp(); err != nil {
			return err
		}
		if err := t.fireTimers(); err != nil {
			return err
		}
		t.showMark()
		if status == connectors.More {
			if err := t.between(); err != nil {
				return err
			}
			continue
		}
		if err := t.dry(); err != nil {
			return err
		}
		if t.box.full.Load() || t.woken.Load() && !t.stopped {
			continue
		}
		t.vitals.rest()
		if _, err := t.wait(nil, s.reader.Wake()); err != nil {
			return err
		}
		t.vitals.work()
	}
}

// poll has the reader emit what it has at hand, unless the source is to send nothing now.
func (s *sourceDriver) poll() (connectors.Status, error) {
	t := s.task
	if t.stopped || s.ended {
		return connectors.Idle, nil
	}
	if s.align != nil {
		if held, err := s.align.hold(); held || err != nil {
			return connectors.Idle, err
		}
	}
	before := s.emitted
	s.polled = before
	status, err := s.reader.poll(t.pollMax())
	if err != nil {
		return status, err
	}
	if s.align != nil {
		s.align.publish()
	}
	t.over.pace.n = int(s.emitted - before)
	if s.emitted > before {
		t.records.Store(s.emitted)
		t.vitals.record.Store(t.vitals.clock)
		s.touch(s.nowIndex)
		if err := crash.At(crash.SourceEmitted); err != nil {
			return status, err
		}
	}
	return status, s.endIfDone()
}

// receive acts on one letter. Behind the barrier of a stop only the completion of checkpoints matters: a split, or word that none will
// come, must not send anything more.
func (s *sourceDriver) receive(l letter) error {
	if _, ok := l.(completedLetter); s.task.stopped && !ok {
		return nil
	}
	switch l := l.(type) {
	case splitsLetter:
		s.noMore = s.noMore || l.last
		s.placed = true
		if err := s.add(l.splits); err != nil {
			return err
		}
		return s.endIfDone()
	case knownLetter:
		for i, f := range s.finished {
			if f == l.split {
				s.finished = append(s.finished[:i], s.finished[i+1:]...)
				break
			}
		}
	case completedLetter:
		s.task.completed(l.id)
	case abortedLetter:
		return s.task.aborted(l.id)
	case triggerLetter:
		if l.drain {
			if err := s.end(); err != nil {
				return err
			}
		}
		return s.task.checkpoint(l.id, l.stop, false)
	}
	return nil
}

// add gives splits to the reader, which reads them from now on.
func (s *sourceDriver) add(splits []connectors.Split) error {
	if len(splits) == 0 || s.ended {
		return nil
	}
	if err := crash.At(crash.SourceSplitAssigned); err != nil {
		return err
	}
	wasIdle := s.allIdle()
	for _, sp := range splits {
		if _, ok := s.index[sp.ID]; !ok {
			s.index[sp.ID] = s.number()
		}
		s.live++
		s.begin(s.index[sp.ID])
		s.changed()
		if err := s.tell(s.index[sp.ID], operators.SplitAdded); err != nil {
			return err
		}
	}
	if wasIdle {
		if err := s.op.forwardIdle(false); err != nil {
			return err
		}
	}
	return s.reader.AddSplits(splits)
}

// changed says that the splits are others.
func (s *sourceDriver) changed() {
	if s.align != nil {
		s.align.stale = true
	}
}

// number is a number for a split, one of a finished split if there is one: what operators keep per split stays bounded by the splits that are
// read at a time.
func (s *sourceDriver) number() int {
	if n := len(s.unused); n > 0 {
		i := s.unused[n-1]
		s.unused = s.unused[:n-1]
		return i
	}
	s.numbers++
	return s.numbers - 1
}

// allIdle reports whether no split can advance the watermark now.
func (s *sourceDriver) allIdle() bool { return s.live == len(s.idle) }

// sourceIdle passes on that this subtask has nothing to read, so that it does not hold back the others.
func (s *sourceDriver) sourceIdle() error {
	if s.allIdle() {
		return s.op.forwardIdle(true)
	}
	return nil
}

func (s *sourceDriver) tell(split int, e operators.SplitEvent) error { return s.op.split(split, e) }

// record prepares the context of one record.
func (s *sourceDriver) record(timestampMS int64, at connectors.Coordinates) error {
	c := s.task.opctx
	if at.Split != s.now || s.nowIndex < 0 {
		i, ok := s.index[at.Split]
		if !ok {
			return errors.New("runtime: the reader emits a record of split \"" + at.Split + "\", which it was not given")
		}
		if s.emitted > s.polled {
			s.touch(s.nowIndex)
		}
		s.now, s.nowIndex = at.Split, i
	}
	if len(s.idle) > 0 && s.idle[at.Split] {
		wasIdle := s.allIdle()
		delete(s.idle, at.Split)
		if wasIdle {
			if err := s.op.forwardIdle(false); err != nil {
				return err
			}
		}
	}
	c.TimestampMS, c.At, c.Split, c.KeyHash = timestampMS, at, s.nowIndex, 0
	s.emitted++
	return nil
}

// splitIdle takes the reader's word that a split has no data now.
func (s *sourceDriver) splitIdle(id string) error {
	i, ok := s.index[id]
	if !ok || s.idle[id] {
		return nil
	}
	s.idle[id] = true
	if err := s.tell(i, operators.SplitIdle); err != nil {
		return err
	}
	return s.sourceIdle()
}

// finish takes the end of a split: from here on it is finished in every snapshot, until the enumerator knows.
func (s *sourceDriver) finish(id string) error {
	i, ok := s.index[id]
	if !ok {
		return errors.New("runtime: the reader finishes split \"" + id + "\", which it was not given")
	}
	s.live--
	delete(s.idle, id)
	delete(s.index, id)
	s.changed()
	s.nowIndex = -1
	s.finished = append(s.finished, id)
	if err := s.tell(i, operators.SplitFinished); err != nil {
		return err
	}
	s.unused = append(s.unused, i)
	if err := crash.At(crash.SourceSplitFinished); err != nil {
		return err
	}
	s.task.report(splitFinishedEvent{uid: s.op.node.UID, subtask: s.task.subtask, split: id})
	return s.sourceIdle()
}

// endIfDone ends the input when no split is left and none will come.
func (s *sourceDriver) endIfDone() error {
	if s.noMore && s.live == 0 && !s.ended {
		return s.end()
	}
	return nil
}

// end passes the last watermark and the end of input on.
func (s *sourceDriver) end() error {
	if s.ended {
		return nil
	}
	s.ended = true
	if s.align != nil {
		s.align.end()
	}
	s.task.opctx.Split = -1
	if err := s.op.forwardIdle(false); err != nil {
		return err
	}
	if err := s.op.watermark(operators.EndOfTime); err != nil {
		return err
	}
	return s.task.end()
}

// snapshot adds the splits and their positions.
func (s *sourceDriver) snapshot(st *checkpoint.SubtaskState) error {
	splits, err := s.reader.Snapshot()
	if err != nil {
		return err
	}
	for _, sp := range splits {
		st.Splits = append(st.Splits, checkpoint.SplitState{ID: sp.ID, Position: sp.Position})
	}
	st.Finished = append([]string(nil), s.finished...)
	return crash.At(crash.SourceSnapshot)
}

func (s *sourceDriver) close() error {
	if s.reader == nil {
		return nil
	}
	return s.reader.Close()
}

// reader adapts a typed connectors.Reader: it is the Output that the reader emits to.
type reader[T any] struct {
	connectors.Reader[T]
	d    *sourceDriver
	emit func(T) error
	err  error // of SplitIdle, which cannot return one
}

func (r *reader[T]) poll(max int) (connectors.Status, error) {
	status, err := r.Poll(r, max)
	if err == nil && r.err != nil {
		err, r.err = r.err, nil
	}
	return status, err
}

func (r *reader[T]) pauser() connectors.SplitPauser {
	p, _ := r.Reader.(connectors.SplitPauser)
	return p
}

// Emit implements connectors.Output.
func (r *reader[T]) Emit(v T, timestampMS int64, at connectors.Coordinates) error {
	if err := r.d.record(timestampMS, at); err != nil {
		return err
	}
	return r.emit(v)
}

// DeadLetter implements connectors.Output.
func (r *reader[T]) DeadLetter(l connectors.DeadLetter) error {
	if err := r.d.record(l.TimestampMS, l.At); err != nil {
		return err
	}
	return r.d.op.task.DeadLetter(l)
}

// Finished implements connectors.Output.
func (r *reader[T]) Finished(split string) error { return r.d.finish(split) }

// SplitIdle implements connectors.Output.
func (r *reader[T]) SplitIdle(split string) {
	if err := r.d.splitIdle(split); err != nil && r.err == nil {
		r.err = err
	}
}

// SourceOf erases the record type of a source.
func SourceOf[T any](s connectors.Source[T]) *Source {
	return &Source{
		NewEnumerator: s.NewEnumerator,
		NewReader: func(c connectors.Context, d *sourceDriver, emit any) (sourceReader, error) {
			r, err := s.NewReader(c)
			if err != nil {
				return nil, err
			}
			return &reader[T]{Reader: r, d: d, emit: emit.(func(T) error)}, nil
		},
	}
}
