package runtime

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/state"
)

// A file of records in flight is channelMagic, and then for each recorded batch its length (uvarint) and the batch (package exchange).
const channelMagic = "MRCHAN\x01"

const (
	// partBytes is the size at which what was recorded goes to the storage while more comes.
	partBytes = 8 << 20
	// inlineChannelBytes is the size up to which records in flight stand in the manifest: most queues are short.
	inlineChannelBytes = 4 << 10
)

// recording stores what comes on the channels of a task in front of the barriers of one checkpoint. The task's goroutine adds; another
// takes the parts and writes them.
type recording struct {
	id      int64
	flows   []flow
	pending []bool // channels whose barrier has not come
	left    int    // of them
	open    []part // by edge of the head
	scratch []byte

	mu    sync.Mutex
	parts []part
	done  bool  // no part follows
	err   error // why there is no recording; set before done
	wake  chan struct{}
}

// part is a run of recorded batches of one edge.
type part struct {
	edge    int
	records int64
	data    []byte
}

// errOvertakenAgain ends a recording whose barriers will not come, because the checkpoint was given up.
var errOvertakenAgain = errors.New("runtime: the checkpoint was given up")

// newRecording makes the recording of the channels that are not blocked: on those that are the barrier has come.
func newRecording(id int64, flows []flow, blocked []bool, edges int) *recording {
	r := &recording{id: id, flows: flows, pending: make([]bool, len(blocked)), open: make([]part, edges), wake: make(chan struct{}, 1)}
	for ch, b := range blocked {
		if !b {
			r.pending[ch] = true
			r.left++
		}
	}
	if r.left == 0 {
		r.finish(nil)
	}
	return r
}

// take records a delivery, from the record of index from on, if it comes in front of the barrier.
func (r *recording) take(d exchange.Delivery, from int) {
	ch := d.Channel()
	if r.left == 0 || !r.pending[ch] {
		return
	}
	if n := d.Len() - from; n > 0 {
		var err error
		if r.scratch, err = d.Record(r.scratch[:0], from); err != nil {
			r.finish(err)
			return
		}
		p := &r.open[r.flows[ch].edge]
		p.edge = r.flows[ch].edge
		p.records += int64(n)
		p.data = append(binary.AppendUvarint(p.data, uint64(len(r.scratch))), r.scratch...)
		if len(p.data) >= partBytes {
			r.hand(*p)
			*p = part{}
		}
	}
	c := d.Control()
	if c.Kind != exchange.Barrier && c.Kind != exchange.BarrierStop || c.Value < r.id {
		return
	}
	if c.Value > r.id {
		r.finish(errOvertakenAgain)
		return
	}
	r.pending[ch] = false
	if r.left--; r.left == 0 {
		r.finish(nil)
	}
}

// finish ends the recording: it is complete, or err says why there is none.
func (r *recording) finish(err error) {
	r.left = 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.open {
		if p.records > 0 {
			r.parts = append(r.parts, p)
		}
	}
	r.open, r.scratch = nil, nil
	r.done, r.err = true, err
	r.signal()
}

func (r *recording) hand(p part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = append(r.parts, p)
	r.signal()
}

func (r *recording) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next waits for parts; done says that no others follow.
func (r *recording) next(ctx context.Context) (parts []part, done bool, err error) {
	for {
		r.mu.Lock()
		parts, done, err = r.parts, r.done, r.err
		r.parts = nil
		r.mu.Unlock()
		if len(parts) > 0 || done {
			return parts, done, err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// uploadChannels writes what r records, beside the task, and adds it to the acknowledgement. It returns false if the checkpoint was given up: nobody
// waits for the acknowledgement.
func (t *task) uploadChannels(ack *ackEvent, r *recording) bool {
	for done := false; !done && ack.err == nil; {
		var parts []part
		var err error
		if parts, done, err = r.next(t.ctx); errors.Is(err, errOvertakenAgain) {
			return false
		}
		ack.err = t.ops[0].failAside(err)
		for _, p := range parts {
			t.uploadPart(ack, p)
		}
	}
	if err := crash.At(crash.OperatorRecorded); err != nil && ack.err == nil {
		ack.err = err
	}
	return true
}

func (t *task) uploadPart(ack *ackEvent, p part) {
	if ack.err != nil {
		return
	}
	e := t.chain.nodes[0].Inputs[p.edge]
	maxParallelism := t.ops[0].task.Config().MaxParallelism
	f, err := t.files(ack.id).Write(t.ctx, state.GroupRange{End: maxParallelism}, inlineChannelBytes, func(w io.Writer) error {
		if _, err := io.WriteString(w, channelMagic); err != nil {
			return err
		}
		_, err := w.Write(p.data)
		return err
	})
	if err != nil {
		ack.err = t.ops[0].failAside(fmt.Errorf("store records in flight: %w", err))
		return
	}
	ack.bytes += f.Size
	t.vitals.recorded.Add(f.Size)
	ack.channels = append(ack.channels, checkpoint.ChannelState{Edge: e.name, Schema: e.codec.schema, To: t.subtask, Receivers: t.chain.parallelism,
		Records: p.records, File: f})
}

// readChannel calls f with each recorded batch of a file, the object of that name with size bytes.
func readChannel(r io.Reader, object string, size int64, f func(batch []byte) error) error {
	corrupt := func(err error, format string, args ...any) error {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return &checkpoint.CorruptError{Object: object, Reason: fmt.Sprintf("records in flight: "+format, args...)}
	}
	in := bufio.NewReader(r)
	magic := make([]byte, len(channelMagic))
	if n, err := io.ReadFull(in, magic); err != nil || string(magic) != channelMagic {
		return corrupt(err, "it begins with %q, want %q", magic[:n], channelMagic)
	}
	var batch []byte
	for {
		n, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil
		}
		if err != nil || n > uint64(size) {
			return corrupt(err, "a batch of %d bytes in a file of %d", n, size)
		}
		if uint64(cap(batch)) < n {
			batch = make([]byte, n)
		}
		batch = batch[:n]
		if _, err := io.ReadFull(in, batch); err != nil {
			return corrupt(err, "it ends in the middle of a batch of %d bytes", n)
		}
		if err := f(batch); err != nil {
			return err
		}
	}
}
