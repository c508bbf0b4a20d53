package runtime

import (
	"errors"
	"github.com/millrace-io/millrace/checkpoint"
	"github.com/millrace-io/millrace/internal/crash"
	"github.com/millrace-io/millrace/internal/exchange"
	"github.com/millrace-io/millrace/state"
)

// checkpoint takes the task's part of checkpoint id: hooks and copies of the state in the order of the chain, then the barrier to every output;
// the copies are written by another goroutine while the task goes on. With overtake the barriers of some inputs are still to come, and what is in
// front of them is recorded.
func (t *task) checkpoint(id int64, stop, overtake bool) error {
	images, err := t.images(id)
	if err == nil {
		err = t.passBarrier(id, stop)
	}
	var rec *recording
	if err == nil && overtake {
		rec, err = t.overtake(id)
	}
	if err != nil {
		for _, img := range images {
			img.release()
		}
		return err
	}
	t.taken(id)
	t.uploads.Go(func() {
		if err := guarded(func() error { t.upload(id, images, rec); return nil }); err != nil {
			t.report(failedEvent{t.ops[0].failAside(err)})
		}
	})
	return nil
}

// images takes the image of every operator; those taken before an error are returned with it.
func (t *task) images(id int64) ([]image, error) {
	if err := crash.At(crash.OperatorAligned); err != nil {
		return nil, err
	}
	images := make([]image, 0, len(t.ops))
	for _, o := range t.ops {
		img, err := o.barrier(t.ctx, id, t.files != nil)
		images = append(images, img)
		if err != nil {
			return images, err
		}
	}
	if t.files != nil {
		t.frozen.begin(t.ops, t.vitals.clock)
	}
	if t.source != nil {
		return images, t.source.snapshot(&images[0].state)
	}
	return images, nil
}

func (t *task) passBarrier(id int64, stop bool) error {
	kind := exchange.Barrier
	if stop {
		kind = exchange.BarrierStop
		t.stopped = true
	}
	due := t.queue.Due(id)
	for _, o := range t.ops {
		if err := o.barrierOn(exchange.Control{Kind: kind, Value: id}, due); err != nil {
			return err
		}
	}
	return crash.At(crash.OperatorSnapshot)
}

// write writes one image of a state of o, if there is one and nothing has failed yet.
func (t *task) write(ack *ackEvent, o *op, snap state.Snapshot) state.Written {
	if snap == nil || ack.err != nil {
		return state.Written{}
	}
	w, err := snap.Write(t.ctx, t.files(ack.id))
	ack.err = o.failAside(err)
	ack.bytes += w.Bytes
	ack.baseBytes += w.BaseBytes
	ack.baseErr = errors.Join(ack.baseErr, w.BaseError)
	return w
}

// upload writes the images and what is recorded, if anything is, and acknowledges. It runs beside the task.
func (t *task) upload(id int64, images []image, rec *recording) {
	ack := ackEvent{id: id, task: t.id()}
	for i := range images {
		img := &images[i]
		if img.keyed != nil {
			img.state.Groups = state.RangeOf(t.subtask, t.chain.parallelism, img.o.task.Config().MaxParallelism)
		}
		keyed, broadcast := t.write(&ack, img.o, img.keyed), t.write(&ack, img.o, img.broadcast)
		img.state.Files, img.state.Broadcast = keyed.Files, broadcast.Files
		img.state.Pending = append(keyed.Pending, broadcast.Pending...)
		img.release()
		if uid := img.o.node.UID; uid != "" {
			ack.snapshots = append(ack.snapshots, checkpoint.SubtaskSnapshot{UID: uid, Subtask: t.subtask, State: img.state, Prepared: img.prepared})
		}
	}
	if err := crash.At(crash.OperatorUploaded); err != nil && ack.err == nil {
		ack.err = err
	}
	if rec != nil && !t.uploadChannels(&ack, rec) {
		return
	}
	t.report(ack)
	if err := crash.At(crash.OperatorAcked); err != nil {
		t.report(failedEvent{err})
	}
}
