package dynamodbstreams

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/internal/crash"
)

// S14: the job is killed after each of its steps, and started again from the newest checkpoint before it.
func TestS14_CrashAtEachStep(t *testing.T) {
	for _, every := range []int{1, 7, 1000} { // steps between checkpoints; 1000: the first alone
		steps := 0
		for kill := 1; kill == 1 || kill < steps; kill++ {
			synctest.Test(t, func(t *testing.T) {
				st := newModel()
				j := connectortest.NewJob(st.source(), opts{PollMax: 1, Parallelism: 2, Seed: uint64(kill)})
				defer j.Crash()
				st.some(25, 4)
				st.split(0, 2)
				st.some(25, 4)
				st.rollOver()
				st.some(10, 4)
				start(t, j)
				last := checkpoint(t, j, 1)
				n := 0
				for ; j.Len() < len(st.all) && n < 10_000; n++ {
					progress, err := j.Step()
					if err != nil {
						t.Fatal(err)
					}
					if !progress {
						pass(20 * time.Millisecond)
						n--
					}
					if n%every == 0 {
						last = checkpoint(t, j, int64(n))
					}
					if n == kill {
						restart(t, j, last, 1+kill%3)
					}
				}
				steps = max(steps, n)
				complete(t, st, j, 0)
			})
		}
		if steps < 20 {
			t.Fatalf("%d steps are too few to prove anything", steps)
		}
	}
}

// S14 at the named point: pages were fetched, nothing of them was emitted.
func TestS14_CrashAfterFetch(t *testing.T) {
	for n := int64(1); n <= 5; n++ {
		scenario(t, opts{PollMax: 3, Parallelism: 2}, func(o *Options[row]) { o.PageRecords = 5 }, func(t *testing.T, st *model, j *job) {
			st.some(20, 4)
			st.split(0, 2)
			st.some(20, 4)
			var hits atomic.Int64
			killed := errors.New("killed")
			remove := crash.Set(func(point string) error {
				if point == crash.SourceFetched && hits.Add(1) == n {
					return killed
				}
				return nil
			})
			defer remove()
			start(t, j)
			last := checkpoint(t, j, 1)
			for id := int64(2); ; id++ {
				err := j.RunFor(100 * time.Millisecond)
				if errors.Is(err, killed) {
					break
				}
				if err != nil || id > 1000 {
					t.Fatalf("error %v after %d rounds, want the kill", err, id)
				}
				last = checkpoint(t, j, id)
			}
			restart(t, j, last, 3)
			complete(t, st, j, 0)
		})
	}
}

// S20: a storm of throttles on one shard. It is read within the limit, the others go on, and nothing is lost.
func TestS20_ThrottlingStorm(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.split(0, 4)
		victim := st.known()[1].id
		st.fail(func(call, shard string) error {
			if shard == victim {
				return failure("LimitExceededException")
			}
			return nil
		})
		start(t, j)
		st.some(400, 40)
		others := 0
		for _, s := range st.known()[2:] {
			others += len(s.records)
		}
		runFor(t, j, 20*time.Second)
		if j.Len() != others {
			t.Fatalf("%d records within 20 s, want the %d of the shards that answer", j.Len(), others)
		}
		st.fail(nil)
		st.some(400, 40)
		until(t, j, len(st.all))
		_, all, _ := st.log()
		for id, reads := range all {
			for i := range reads {
				if i >= 5 && reads[i].Sub(reads[i-5]) < time.Second {
					t.Fatalf("shard %s was read more than 5 times within %v", id, reads[i].Sub(reads[i-5]))
				}
			}
		}
		complete(t, st, j, 0)
	})
}

// DescribeStream has a limit of its own, also while it is throttled and when many shards end together.
func TestS20_ListingWithinItsLimit(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.split(0, 40)
		st.some(200, 90)
		st.pageSize = 3
		n := 0
		st.fail(func(call, _ string) error {
			if n++; call == "DescribeStream" && n%3 == 0 {
				return failure("ThrottlingException")
			}
			return nil
		})
		start(t, j)
		until(t, j, 200)
		st.rollOver()
		st.some(200, 90)
		complete(t, st, j, 0)
		_, _, lists := st.log()
		for i := range lists {
			if i >= 10 && lists[i].Sub(lists[i-10]) < time.Second {
				t.Fatalf("more than 10 listings within %v", lists[i].Sub(lists[i-10]))
			}
		}
	})
}

// S21: the server does the work, the answer is lost.
func TestS21_AnswersLost(t *testing.T) {
	for _, call := range []string{"DescribeStream", "GetShardIterator", "GetRecords"} {
		t.Run(call, func(t *testing.T) {
			scenario(t, opts{}, func(o *Options[row]) { o.PageRecords = 7 }, func(t *testing.T, st *model, j *job) {
				var n, lost atomic.Int64 // counted by the fetching goroutines
				st.lose = func(c string) bool {
					if c != call || n.Add(1)%3 == 0 {
						return false
					}
					lost.Add(1)
					return true
				}
				st.some(60, 5)
				st.split(0, 2)
				st.some(60, 5)
				start(t, j)
				complete(t, st, j, 0)
				if lost.Load() < 2 {
					t.Errorf("%d answers were lost, want some", lost.Load())
				}
			})
		})
	}
}

// Trouble that does not end fails the job, with the last error.
func TestS21_TroubleWithoutEnd(t *testing.T) {
	for call, code := range map[string]string{"DescribeStream": "InternalServerError", "GetRecords": "InternalServerError", "GetShardIterator": "AccessDenied"} {
		scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
			st.some(5, 2)
			st.fail(func(c, _ string) error {
				if c == call {
					return failure(code)
				}
				return nil
			})
			start(t, j)
			began := time.Now()
			err := j.RunFor(time.Hour)
			if err == nil || !strings.Contains(err.Error(), code) {
				t.Fatalf("%s: error %v, want one with %s", call, err, code)
			}
			if took := time.Since(began); code == "InternalServerError" && (took < 10*time.Minute || took > 12*time.Minute) {
				t.Errorf("%s: failed after %v, want the 10 min of FailAfter", call, took)
			}
		})
	}
}

// S24: one hot shard and 200 idle ones: the idle say so, within the idle timeout, and the hot one does not wait for them.
func TestS24_HotShardAndIdleShards(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.split(0, 201)
		start(t, j)
		runFor(t, j, time.Second)
		for range 20 {
			st.put("hot")
			runFor(t, j, 500*time.Millisecond)
		}
		idle, busy := 0, 0
		for id := range j.Owners() {
			if j.Idle(id) {
				idle++
			} else {
				busy++
			}
		}
		if idle != 200 || busy != 1 {
			t.Errorf("%d shards idle and %d not after 10 s, want 200 and 1", idle, busy)
		}
		if j.Len() != 20 {
			t.Errorf("%d records, want 20", j.Len())
		}
	})
	// A shard that cannot be read is not idle, and must be quiet for the whole timeout again afterwards.
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		start(t, j)
		runFor(t, j, 3*time.Second)
		st.fail(func(call, _ string) error { return failure("InternalServerError") })
		runFor(t, j, time.Minute)
		st.fail(nil)
		for id := range j.Owners() {
			for i, want := range []bool{false, false, true} {
				if j.Idle(id) != want {
					t.Errorf("after the trouble, look %d: idle is %t, want %t", i, !want, want)
				}
				runFor(t, j, 4*time.Second+time.Duration(i)*5*time.Second) // the last back-off may take 5 s
			}
		}
	})
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		start(t, j)
		st.put("hot")
		until(t, j, 1)
		st.fail(func(call, _ string) error { return failure("InternalServerError") })
		st.put("hot")
		runFor(t, j, time.Minute)
		for id := range j.Owners() {
			if j.Idle(id) {
				t.Errorf("shard %s cannot be read and has become idle", id)
			}
		}
	})
}

// S28: a record that cannot be decoded goes to the dead letters once, and the position moves.
func TestS28_Poison(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		poison := func(c Change) (row, error) {
			r, _ := decodeRow(c)
			if r.id == "k1#2" {
				if how == "panic" {
					panic("no such field")
				}
				return row{}, errors.New("no such field")
			}
			return r, nil
		}
		t.Run("dead letter, "+how, func(t *testing.T) {
			scenario(t, opts{PollMax: 2}, func(o *Options[row]) { o.Decode, o.OnPoison = poison, DeadLetterPoison }, func(t *testing.T, st *model, j *job) {
				st.some(12, 3)
				start(t, j)
				until(t, j, 6)
				c := checkpoint(t, j, 1)
				restart(t, j, c, 1)
				until(t, j, 11)
				restart(t, j, checkpoint(t, j, 2), 1)
				runFor(t, j, time.Minute)
				letters := j.DeadLetters()
				if len(letters) != 1 || j.Len() != 11 {
					t.Fatalf("%d dead letters and %d records, want 1 and 11", len(letters), j.Len())
				}
				d := letters[0]
				if !strings.Contains(d.Reason, "no such field") || d.At.Split != st.known()[0].id || d.At.Sequence == "" || d.UID != "source" {
					t.Errorf("dead letter %+v", d)
				}
				want := fmt.Sprintf(`{"dynamodb":{"ApproximateCreationDateTime":946684800,"Keys":{"id":{"S":"k1"}},"NewImage":{"id":{"S":"k1"},"n":{"N":"2"}},"SequenceNumber":"%s"},"eventID":"k1#2","eventName":"MODIFY"}`, d.At.Sequence)
				if string(d.Raw) != want || string(d.Key) != `{"id":{"S":"k1"}}` {
					t.Errorf("raw %s\nwant %s\nkey %s", d.Raw, want, d.Key)
				}
			})
		})
		t.Run("fail, "+how, func(t *testing.T) {
			scenario(t, opts{}, func(o *Options[row]) { o.Decode = poison }, func(t *testing.T, st *model, j *job) {
				st.some(12, 3)
				start(t, j)
				err := j.RunFor(time.Minute)
				if err == nil || !strings.Contains(err.Error(), "no such field") || !strings.Contains(err.Error(), "source/"+st.known()[0].id+"@") {
					t.Fatalf("error %v, want one with cause and coordinates", err)
				}
				if j.Len() != 4 {
					t.Errorf("%d records before the poison, want 4", j.Len())
				}
			})
		})
	}
}

// S29: 5,000 shards. The calls and the state stay bounded.
func TestS29_ManyShards(t *testing.T) {
	scenario(t, opts{Parallelism: 4}, func(o *Options[row]) { o.PollInterval = time.Minute }, func(t *testing.T, st *model, j *job) {
		st.split(0, 5000)
		start(t, j)
		runFor(t, j, 3*time.Minute)
		if got := len(j.Owners()); got != 5000 {
			t.Fatalf("%d shards are read, want 5000", got)
		}
		listings := 0
		_, _, lists := st.log()
		for i := range lists {
			if i == 0 || lists[i].Sub(lists[i-1]) > time.Second {
				listings++
			}
		}
		// 3 min of a 60 s interval: at the start, after one child question, and each minute after the one before; 51 pages each.
		if got := len(lists); listings > 5 || got > 5*51+askTries {
			t.Errorf("%d listings with %d calls in 3 min, want at most 5 of 51 pages", listings, got)
		}
		if size := len(checkpoint(t, j, 1).Enumerator); size > 5001*200 {
			t.Errorf("the state of 5001 shards has %d bytes, want at most 200 each", size)
		}
	})
}
