package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
)

// groupCommitter commits positions of completed checkpoints to a consumer group, for tools that show the lag. It runs beside the task
// and its failures are only logged: nothing is ever read from the group.
type groupCommitter struct {
	adm   *kadm.Client
	group string
	log   *zap.Logger

	// taken are the positions of up to two snapshots not known to be completed. A completion names no snapshot: the older of two
	// is certainly not newer than what was completed.
	taken []kadm.Offsets

	work   chan kadm.Offsets // capacity 1, newest wins
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newGroupCommitter(cl *kgo.Client, group string, log *zap.Logger) *groupCommitter {
	ctx, cancel := context.WithCancel(context.Background())
	g := &groupCommitter{adm: kadm.NewClient(cl), group: group, log: log, work: make(chan kadm.Offsets, 1), cancel: cancel}
	g.done.Go(func() { g.run(ctx) })
	return g
}

func (g *groupCommitter) snapshot(splits map[partition]*split) {
	offsets := kadm.Offsets{}
	for _, sp := range splits {
		if sp.offset >= 0 {
			offsets.Add(kadm.Offset{Topic: sp.topic, Partition: sp.id, At: sp.offset, LeaderEpoch: sp.epoch})
		}
	}
	if g.taken = append(g.taken, offsets); len(g.taken) > 2 {
		g.taken = g.taken[1:]
	}
}

func (g *groupCommitter) completed() {
	if len(g.taken) == 0 {
		return
	}
	offsets := g.taken[0]
	g.taken = g.taken[1:]
	if len(offsets) == 0 {
		return
	}
	select {
	case <-g.work: // a commit that was not begun is out of date now
	default:
	}
	g.work <- offsets
}

func (g *groupCommitter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case offsets := <-g.work:
			if err := g.adm.CommitAllOffsets(ctx, g.group, offsets); err != nil && ctx.Err() == nil {
				g.log.Warn("kafka source could not commit its positions to the group, which is for monitoring only", zap.String("group", g.group), zap.Error(err))
			}
		}
	}
}

func (g *groupCommitter) close() {
	g.cancel()
	g.done.Wait()
}
