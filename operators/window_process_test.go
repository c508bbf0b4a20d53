package operators_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/operators"
	"github.com/millrace-io/millrace/operators/operatortest"
	"github.com/millrace-io/millrace/state"
	"github.com/millrace-io/millrace/state/memstate"
	"github.com/millrace-io/millrace/state/pebblestate"
)

// TestLongWindows: a window of more records than a chunk holds keeps their order, through restores, evictions and merges, and leaves nothing.
func TestLongWindows(t *testing.T) {
	for name, b := range map[string]func() state.Backend{
		"memory": func() state.Backend { return memstate.New() },
		"pebble": func() state.Backend {
			return pebblestate.New(pebblestate.Options{Dir: "state", FS: vfs.NewMem(), CacheBytes: 4 << 10, BlockCacheBytes: 64 << 10, MemTableBytes: 64 << 10})
		},
	} {
		backend := b()
		s := operators.WindowSpec[order]{Windows: operators.Session(2 * time.Second)}
		var got []int64
		stage := operators.WindowProcess(who, nil, s, func(f *operators.WindowFunc[string, []order, string]) {
			f.OnFire(func(c *operators.WindowCtx[string, string], os []order) error {
				for _, o := range os {
					got = append(got, o.N)
				}
				return c.Emit(fmt.Sprint(len(os)))
			})
		})
		h := operatortest.New(t, stage, operatortest.Options{State: backend}).KeyBy(who, nil)
		for n := range int64(700) {
			h.Process(order{"a", n}, 10_000)
		}
		h = operatortest.New(t, stage, operatortest.Options{State: backend, From: []*operatortest.Snapshot{h.Snapshot()}}).KeyBy(who, nil)
		for n := range int64(700) {
			h.Process(order{"a", 1000 + n}, 13_000)
		}
		h.Process(order{"a", 5000}, 11_500) // joins both
		h.EndInput()
		want(t, name, h.Outputs(), "1401@14999, watermark end")
		for i, n := range got {
			if w := int64(i) + int64(i/700)*300; i < 1400 && n != w || i == 1400 && n != 5000 {
				t.Fatalf("%s: element %d is %d", name, i, n)
			}
		}
		if n := h.Snapshot().Bytes(); n != 0 {
			t.Errorf("%s: %d bytes are left", name, n)
		}
		h.Close()
	}
}

// TestLongWindowsAreEvicted: what an evictor leaves of a long window is what is left.
func TestLongWindowsAreEvicted(t *testing.T) {
	for _, keep := range []int{1, 255, 256, 257, 600} {
		s := operators.SlidingCountWindows[order](int64(keep), 700)
		h := operatortest.New(t, operators.WindowProcess(who, nil, s, func(f *operators.WindowFunc[string, []order, string]) {
			f.OnFire(func(c *operators.WindowCtx[string, string], os []order) error {
				return c.Emit(fmt.Sprint(len(os), " to ", os[len(os)-1].N))
			})
		}), operatortest.Options{}).KeyBy(who, nil)
		for n := range int64(1400) {
			h.Process(order{"a", n}, n)
		}
		want(t, fmt.Sprint(keep), h.Outputs(), fmt.Sprintf("%d to 699@end, %d to 1399@end", keep, keep))
	}
}

// byteCodec is a codec of one's own for records that none is derived for.
type byteCodec struct{}

type opaque struct {
	C chan int
	N byte
}

func (byteCodec) Append(dst []byte, v opaque) ([]byte, error) {
	if v.N == 0 {
		return dst, errors.New("zero has no encoding")
	}
	return append(dst, v.N), nil
}

func (byteCodec) Decode(src []byte, v *opaque) error {
	if len(src) != 1 {
		return fmt.Errorf("%d bytes", len(src))
	}
	v.N = src[0]
	return nil
}

func (byteCodec) Schema() string { return "bytes" }

// TestRecordsWithACodec: windows that keep records use the codec that they are given, with and without an evictor, and for a reduction.
func TestRecordsWithACodec(t *testing.T) {
	key := func(opaque) string { return "k" }
	total := func(f *operators.WindowFunc[string, []opaque, int]) {
		f.OnFire(func(c *operators.WindowCtx[string, int], os []opaque) error {
			sum := 0
			for _, o := range os {
				sum = sum*10 + int(o.N)
			}
			return c.Emit(sum)
		})
	}
	s := operators.WindowSpec[opaque]{Windows: operators.Tumbling(time.Second)}
	wantError(t, operatortest.Check(operators.WindowProcess(key, nil, s, total), operatortest.Options{}), "chan int")
	s.Codec = byteCodec{}
	evicting := s
	evicting.Evictor = operators.TimeEvictor[opaque](time.Minute)
	for name, stage := range map[string]operators.Stage[opaque, int]{
		"kept": operators.WindowProcess(key, nil, s, total), "evicted": operators.WindowProcess(key, nil, evicting, total),
		"reduced": operators.WindowReduce(key, nil, s, func(a, b opaque) opaque { return opaque{N: a.N*10 + b.N} },
			func(_ string, _ operators.Window, o opaque) int { return int(o.N) }),
	} {
		h := operatortest.New(t, stage, operatortest.Options{}).KeyBy(key, nil)
		h.Process(opaque{N: 1}, 3)
		h.Process(opaque{N: 2}, 2)
		h = operatortest.New(t, stage, operatortest.Options{From: []*operatortest.Snapshot{h.Snapshot()}}).KeyBy(key, nil)
		h.Process(opaque{N: 3}, 1)
		h.EndInput()
		want(t, name, h.Outputs(), "123@999, watermark end")
	}
}

// TestFunctionOfAWindow: values of the window go with it and not with a purge, those of the key stay; OnClear comes first; side outputs have the
// window's time.
func TestFunctionOfAWindow(t *testing.T) {
	cleared := operators.NewTag[string]("cleared")
	s := operators.WindowSpec[order]{Windows: operators.Tumbling(10 * time.Millisecond), Trigger: operators.CountTrigger[order](2).Purging(), AllowedLateness: 5 * time.Millisecond}
	h := operatortest.New(t, operators.WindowReduceProcess(who, nil, s, func(a, b order) order { return order{a.Who, a.N + b.N} },
		func(f *operators.WindowFunc[string, order, string]) {
			ofWindow := f.WindowValue[int64]("window", nil)
			side := f.Side(cleared)
			f.OnFire(func(c *operators.WindowCtx[string, string], o order) error {
				before, ok, err := ofWindow.Lookup()
				if err != nil {
					return err
				}
				if err := ofWindow.Set(before + o.N); err != nil {
					return err
				}
				return c.Emit(fmt.Sprint(before, ok, o.N, c.WatermarkMS() < c.Window().LastMS()))
			})
			f.OnClear(func(c *operators.WindowCtx[string, string]) error {
				n, err := ofWindow.Get()
				if err != nil {
					return err
				}
				return side(fmt.Sprint(c.Key(), " ", c.Window().StartMS, " ", n))
			})
		}), operatortest.Options{}).KeyBy(who, nil)
	for n := range int64(5) {
		h.Process(order{"a", n}, 3)
	}
	h.Watermark(10)
	h.Process(order{"a", 5}, 3)
	h.Watermark(14)
	want(t, "main", h.Outputs(), "0 false 1 true@9, 1 true 5 true@9, watermark 10, 6 true 9 false@9, watermark 14")
	want(t, "cleared", h.SideOutput(cleared), "a 0 15@14")
	if n := h.Snapshot().Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestEvictors: before and after the function, for a record without timestamp, and the same for a function of one's own.
func TestEvictors(t *testing.T) {
	s := operators.WindowSpec[order]{Windows: operators.Global(), Trigger: operators.CountTrigger[order](1)}
	run := func(e operators.Evictor[order], ts ...int64) *operatortest.Harness[order, string] {
		s.Evictor = e
		h := operatortest.New(t, operators.WindowProcess(who, nil, s, lists), operatortest.Options{}).KeyBy(who, nil)
		for i, at := range ts {
			h.Process(order{"a", int64(i)}, at)
		}
		return h
	}
	want(t, "before", run(operators.CountEvictor[order](2), 0, 0, 0).Outputs(), "a: 0@end, a: 0 1@end, a: 1 2@end")
	want(t, "after", run(operators.CountEvictor[order](2).AfterFunction(), 0, 0, 0, 0).Outputs(), "a: 0@end, a: 0 1@end, a: 0 1 2@end, a: 1 2 3@end")
	want(t, "time", run(operators.TimeEvictor[order](10*time.Millisecond), 0, 9, 10, 5).Outputs(), "a: 0@end, a: 0 1@end, a: 1 2@end, a: 1 2 3@end")
	want(t, "no time", run(operators.TimeEvictor[order](10*time.Millisecond), connectors.NoTimestamp, 1000).Outputs(), "a: 0@end, a: 0 1@end")
	all := operators.Evictor[order]{Name: "all odd", Before: func(_ *operators.EvictorCtx, es []operators.TimestampedValue[order]) []operators.TimestampedValue[order] {
		if len(es)%2 == 1 {
			return nil
		}
		return es
	}}
	want(t, "nothing is left: no result", run(all, 0, 0).Outputs(), "")
	wantError(t, operators.WindowSpec[order]{Windows: operators.Tumbling(1), Evictor: operators.CountEvictor[order](0)}.Validate(), "keeps 0 records")
	for _, c := range []struct {
		e    operators.Evictor[order]
		says string
	}{
		{operators.TimeEvictor[order](0), "TimeEvictor has the size 0s"}, {operators.DeltaEvictor[order](1, nil), "needs a delta function"},
		{operators.CountEvictor[order](1).AfterFunction().AfterFunction(), "has no Before"},
	} {
		s.Evictor = c.e
		wantError(t, s.Validate(), c.says)
	}
	wantError(t, operators.SlidingCountWindows[order](0, 0).Validate(), "has the size 0", "every 0th record")
	wantError(t, operators.CountWindows[order](0).Validate(), "every 0th record")
}

// TestWindowsOfAWholeStream run in one subtask.
func TestWindowsOfAWholeStream(t *testing.T) {
	stage := func(commutative bool) operators.Stage[order, string] {
		agg := sumOrders()
		agg.Commutative = commutative
		return operators.WindowAggregate(func(order) operators.NoKey { return false }, nil, operators.Sliding(2*time.Second, time.Second), agg,
			func(_ operators.NoKey, w operators.Window, n int64) string { return windowText("", w, n) })
	}
	for _, commutative := range []bool{false, true} {
		if err := operatortest.Check(stage(commutative), operatortest.Options{}); err != nil {
			t.Error(err)
		}
		wantError(t, operatortest.Check(stage(commutative), operatortest.Options{Parallelism: 3}), "in one subtask, this step has parallelism 3", "KeyBy")
	}
}

// TestDamagedStateOfWindows: the codecs of windows that are given one for records refuse what is cut off or too long.
func TestDamagedStateOfWindows(t *testing.T) {
	s := operators.WindowSpec[opaque]{Windows: operators.Tumbling(time.Second), Codec: byteCodec{}, Evictor: operators.TimeEvictor[opaque](time.Minute)}
	list, tail, stamped := operators.WindowCodecs(s.Codec)
	good, err := tail.Append(nil, operators.BufferTail(3, []opaque{{N: 1}, {N: 2}}))
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		v := operators.BufferTail[opaque](0, nil)
		if err := tail.Decode(good[:n], &v); err == nil {
			t.Errorf("the first %d of %d bytes are taken", n, len(good))
		}
	}
	var l []opaque
	for _, bad := range [][]byte{append(good[1:len(good):len(good)], 0), binary.AppendVarint(nil, -1), binary.AppendVarint(nil, 1<<40)} {
		l = nil
		if err := list.Decode(bad, &l); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
	var e operators.TimestampedValue[opaque]
	if err := stamped.Decode(nil, &e); err == nil {
		t.Error("nothing is taken")
	}
	if _, err := list.Append(nil, []opaque{{}}); err == nil {
		t.Error("what has no encoding is taken")
	}
}
