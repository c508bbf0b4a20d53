package pebblestate

import (
	"context"
	"sync"
	"time"
)

// prefetch copies the objects of a store in the background: first those that have been read, in the order in which they were read first, because
// their key groups are the busy ones; then the rest in the order of attaching. Nobody waits for it, and its errors are nobody's: what is needed is read again.
// Before all that comes the end of the first upper ones, which every read has to look at.
func (o *objects) prefetch(names []string, upper int) {
	if o.b.opts.Prefetches < 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var tails []*object
	for i, name := range names {
		ob := o.byName[name]
		if ob.file.Name == "" {
			continue
		}
		o.cold = append(o.cold, ob)
		if i < upper {
			tails = append(tails, ob)
		}
	}
	pace := &pacer{rate: o.b.opts.PrefetchBytesPerSecond}
	var first sync.WaitGroup
	work := make(chan *object, len(tails))
	for _, ob := range tails {
		work <- ob
	}
	close(work)
	for range min(tailFetches, len(tails)) {
		first.Add(1)
		o.tasks.Go(func() {
			defer first.Done()
			for ob := range work {
				o.copyTail(ob, pace)
			}
		})
	}
	for range min(o.b.opts.Prefetches, len(o.cold)) {
		o.tasks.Go(func() {
			first.Wait()
			for ob := o.next(); ob != nil; ob = o.next() {
				o.copyWhole(ob, pace)
			}
		})
	}
}

// tailFetches is how many ends of objects are fetched at a time. They are small, and the first read needs all of them.
const tailFetches = 16

// copyTail copies what an object ends with.
func (o *objects) copyTail(ob *object, pace *pacer) {
	if c, err := ob.cached(); err == nil && c != nil {
		if n, err := c.ensure(o.ctx, ob, c.chunks()-1, 1); err == nil {
			_ = pace.wait(o.ctx, n)
		}
	}
}

// touch takes note of a first read.
func (o *objects) touch(ob *object) {
	if ob.touched.Load() || ob.touched.Swap(true) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.cold) > 0 && !ob.taken {
		o.hot = append(o.hot, ob)
	}
}

// next is the next object to be copied, nil when there is none.
func (o *objects) next() *object {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, queue := range []*[]*object{&o.hot, &o.cold} {
		for len(*queue) > 0 && o.ctx.Err() == nil {
			ob := (*queue)[0]
			*queue = (*queue)[1:]
			if !ob.taken {
				ob.taken = true
				return ob
			}
		}
	}
	return nil
}

// copyWhole copies what is missing of an object.
func (o *objects) copyWhole(ob *object, pace *pacer) {
	c, err := ob.cached()
	if err != nil || c == nil {
		return
	}
	for i := 0; i < c.chunks(); {
		n, err := c.ensure(o.ctx, ob, i, prefetchChunks)
		if err != nil || pace.wait(o.ctx, n) != nil {
			return
		}
		i += prefetchChunks
	}
}

// prefetchChunks is how many chunks are fetched by one request in the background.
const prefetchChunks = 4

// pacer holds a rate in bytes per second; 0 is none.
type pacer struct {
	rate int64
	mu   sync.Mutex
	next time.Time // when the bytes so far are paid for
}

// wait takes the time that n bytes cost.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate == 0 || n == 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	d := time.Until(p.next)
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
