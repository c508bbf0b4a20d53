package dynamodbstreams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/connectors/connectortest"
)

type (
	job  = connectortest.Job[row]
	opts = connectortest.Options
)

func TestS01_OneShardInOrder(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		start(t, j)
		until(t, j, 10)
		st.some(10, 3)
		complete(t, st, j, 0)
		for i, r := range j.Output() {
			if r.Value.id != st.all[i] {
				t.Fatalf("record %d is %s, want %s: one shard keeps the order of all its records", i, r.Value.id, st.all[i])
			}
			if r.At.Sequence != r.Value.change.Sequence || r.At.Split != st.known()[0].id {
				t.Fatalf("record %d has coordinates %v, want %s of %s", i, r.At, r.Value.change.Sequence, st.known()[0].id)
			}
			if r.TimestampMS != r.Value.change.CreatedMS || r.TimestampMS%1000 != 0 {
				t.Fatalf("record %d has timestamp %d, want the creation time %d", i, r.TimestampMS, r.Value.change.CreatedMS)
			}
		}
	})
}

func TestS02_FullPages(t *testing.T) {
	scenario(t, opts{PollMax: 300}, nil, func(t *testing.T, st *model, j *job) {
		st.some(3500, 7)
		start(t, j)
		complete(t, st, j, 0)
		if calls, _, _ := st.log(); calls["GetRecords"] < 4 {
			t.Errorf("%d reads for 3500 records, want at least 4", calls["GetRecords"])
		}
	})
}

func TestS03_EmptyPagesBeforeData(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.empties = 50
		st.some(5, 2)
		start(t, j)
		complete(t, st, j, 0)
	})
}

func TestS04_ClosedAndDrained(t *testing.T) {
	for _, children := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d children", children), func(t *testing.T) {
			scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
				st.some(20, 4)
				parent := st.known()[0]
				if children == 0 {
					parent.closed = time.Now()
				} else {
					st.split(0, children)
					st.some(20, 4)
				}
				start(t, j)
				complete(t, st, j, 0)
				if got := j.Finished(); !slices.Contains(got, parent.id) || len(got) != 1 {
					t.Errorf("finished %v, want %s alone", got, parent.id)
				}
				if got := len(j.Owners()); got != children {
					t.Errorf("%d shards are read, want %d", got, children)
				}
			})
		})
	}
}

func TestS05_SixRollOvers(t *testing.T) {
	for _, parallelism := range []int{1, 3} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			scenario(t, opts{Parallelism: parallelism, Seed: 5}, func(o *Options[row]) { o.PollInterval = 5 * time.Second }, func(t *testing.T, st *model, j *job) {
				start(t, j)
				for range 6 {
					st.some(40, 5)
					runFor(t, j, 4*time.Hour)
					st.rollOver()
				}
				st.some(40, 5)
				complete(t, st, j, 0)
			})
		})
	}
}

// S6: the children's records must wait for the parent's last.
func TestS06_SplitInFour(t *testing.T) {
	scenario(t, opts{Parallelism: 2, Seed: 6}, nil, func(t *testing.T, st *model, j *job) {
		st.some(50, 12)
		start(t, j)
		until(t, j, 20)
		st.some(50, 12)
		parent := st.known()[0].id
		st.split(0, 4)
		st.some(100, 12)
		complete(t, st, j, 0)
		var last int
		subtasks := map[int]bool{}
		for i, r := range j.Output() {
			if r.At.Split == parent {
				last = i
			}
			subtasks[r.Subtask] = true
		}
		if len(subtasks) != 1 {
			t.Errorf("subtasks %v have read the family, want one: in an exchange, children's records would overtake", subtasks)
		}
		if last != 99 {
			t.Errorf("the parent's last record came as number %d, want 99: children began before", last)
		}
	})
}

func TestS07_ChildClosedBeforeParentIsDone(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.some(30, 6)
		st.split(0, 2)
		st.some(30, 6)
		st.rollOver()
		st.some(30, 6)
		st.rollOver()
		st.some(30, 6)
		start(t, j)
		complete(t, st, j, 0)
	})
}

func TestS08_ParentMissing(t *testing.T) {
	t.Run("in one listing", func(t *testing.T) {
		scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
			st.some(20, 4)
			st.split(0, 2)
			st.some(20, 4)
			st.hidden[st.known()[0].id] = 2
			start(t, j)
			complete(t, st, j, 0)
		})
	})
	t.Run("really expired", func(t *testing.T) {
		scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
			st.some(20, 4)
			pass(time.Hour)
			st.split(0, 2)
			pass(retention + time.Hour)
			st.some(20, 4)
			start(t, j)
			until(t, j, 20)
			if _, _, lists := st.log(); len(lists) < goneListings {
				t.Errorf("the parent was given up after %d listings, want at least %d", len(lists), goneListings)
			}
			complete(t, st, j, 20)
		})
	})
	// Not listed, but its child is young: its records may still be there, whatever the number of listings.
	t.Run("young", func(t *testing.T) {
		scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
			st.some(20, 4)
			st.split(0, 2)
			st.some(20, 4)
			st.hidden[st.known()[0].id] = 20
			start(t, j)
			runFor(t, j, 10*time.Minute)
			if j.Len() != 0 {
				t.Fatalf("%d records came before the parent was listed", j.Len())
			}
			complete(t, st, j, 0)
		})
	})
}

func TestS09_ManyPagesOfShards(t *testing.T) {
	scenario(t, opts{Parallelism: 2}, nil, func(t *testing.T, st *model, j *job) {
		st.some(500, 450)
		st.split(0, 230)
		st.some(500, 450)
		pages := 0
		st.onListing = func(int) {
			if pages++; pages == 1 { // a shard is born between two pages
				st.split(7, 2)
				st.some(450, 450)
			}
		}
		start(t, j)
		complete(t, st, j, 0)
		if pages < 2 {
			t.Errorf("%d pages, want several", pages)
		}
	})
}

func TestS10_ChildFilter(t *testing.T) {
	for _, filter := range []string{"", "ignored", "fails"} {
		t.Run("filter "+filter, func(t *testing.T) {
			scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
				st.filter = filter
				st.some(30, 9)
				start(t, j)
				until(t, j, 30)
				for range 3 {
					before := time.Now()
					st.rollOver()
					st.some(30, 9)
					until(t, j, len(st.all))
					if took := time.Since(before); took > 3*time.Second {
						t.Errorf("children were read %v after their birth: they waited for a listing", took)
					}
				}
				complete(t, st, j, 0)
			})
		})
	}
}

func TestS11_LatestWhileShardsAreBorn(t *testing.T) {
	latest := func(o *Options[row]) { o.Start = Latest() }
	scenario(t, opts{}, latest, func(t *testing.T, st *model, j *job) {
		st.some(200, 50)
		st.split(0, 100)
		pass(10 * time.Second)
		st.pageSize = 10
		st.onListing = func(page int) { // more are born, and written, while the first listing runs
			st.split(page, 2)
			st.some(20, 50)
		}
		start(t, j)
		runFor(t, j, 5*time.Second)
		st.mu.Lock()
		st.onListing = nil
		st.mu.Unlock()
		st.some(100, 50)
		complete(t, st, j, 200)
	})
}

// S12: a start at LATEST is a moment, not a standing order: what is written while the job is down is read.
func TestS12_LatestCrashBeforeTheFirstRecord(t *testing.T) {
	for _, times := range []bool{true, false} {
		t.Run(fmt.Sprintf("server starts by time %t", times), func(t *testing.T) {
			latest := func(o *Options[row]) { o.Start = Latest() }
			scenario(t, opts{}, latest, func(t *testing.T, st *model, j *job) {
				st.noTimes = !times
				pass(7 * time.Second) // a time in whole minutes would be read as one of a server that rounds to the minute
				st.some(10, 3)
				pass(3 * time.Second)
				start(t, j)
				runFor(t, j, time.Minute)
				c := checkpoint(t, j, 1)
				if c.Len() != 0 {
					t.Fatalf("%d records older than the start", c.Len())
				}
				if err := j.Crash(); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				st.some(10, 3)
				st.rollOver()
				st.some(10, 3)
				if err := j.Start(c); err != nil {
					t.Fatal(err)
				}
				complete(t, st, j, 10)
			})
		})
	}
}

// The checkpoint is taken before the first listing has found a shard.
func TestS12_LatestCrashBeforeTheFirstListing(t *testing.T) {
	latest := func(o *Options[row]) { o.Start = Latest() }
	scenario(t, opts{}, latest, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		pass(3 * time.Second)
		start(t, j)
		c := checkpoint(t, j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		st.some(10, 3)
		pass(time.Hour)
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		complete(t, st, j, 10)
	})
}

func TestS13_IteratorExpired(t *testing.T) {
	for name, before := range map[string]int{"before the first record": 0, "after it": 2500} {
		t.Run(name, func(t *testing.T) {
			scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
				st.some(before, 3)
				start(t, j)
				until(t, j, min(before, 1))
				runFor(t, j, 100*time.Millisecond)
				stalled := false
				st.fail(func(call, _ string) error { // no call gets through for 16 minutes
					stalled = true
					return failure("ThrottlingException")
				})
				runFor(t, j, 16*time.Minute)
				st.fail(nil)
				st.some(10, 3)
				complete(t, st, j, 0)
				if calls, _, _ := st.log(); !stalled || calls["GetShardIterator"] < 2 {
					t.Errorf("%d iterators, want a second one after expiry", calls["GetShardIterator"])
				}
			})
		})
	}
}

// A consumer that stops for 16 minutes lets the iterator of the fetched-ahead page expire.
func TestS13_IteratorExpiredUnderBackpressure(t *testing.T) {
	scenario(t, opts{PollMax: 10}, nil, func(t *testing.T, st *model, j *job) {
		st.some(5000, 3)
		start(t, j)
		until(t, j, 10)
		pass(16 * time.Minute)
		complete(t, st, j, 0)
	})
}

func TestS15_CrashAfterDrainBeforeFinishedIsRecorded(t *testing.T) {
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		st.split(0, 2)
		st.some(10, 3)
		start(t, j)
		until(t, j, 10)
		c := checkpoint(t, j, 1) // the reader has drained the parent or is about to; no child was handed over
		restart(t, j, c, 1)
		complete(t, st, j, 0)
		c = checkpoint(t, j, 2)
		restart(t, j, c, 3)
		complete(t, st, j, 0)
	})
}

func TestS16_ThreeGenerationsWhileDown(t *testing.T) {
	scenario(t, opts{Parallelism: 2}, nil, func(t *testing.T, st *model, j *job) {
		st.some(50, 9)
		start(t, j)
		until(t, j, 20)
		c := checkpoint(t, j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			st.split(1, 3)
			st.some(50, 9)
			pass(4 * time.Hour)
			st.rollOver()
			st.some(50, 9)
		}
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		complete(t, st, j, 0)
	})
}

// loses drives the job until it fails with a DataLossError.
func loses(t *testing.T, j *job) *DataLossError {
	t.Helper()
	err := j.RunFor(10 * time.Minute)
	var loss *DataLossError
	if !errors.As(err, &loss) {
		t.Fatalf("error %v, want a DataLossError", err)
	}
	return loss
}

func TestS17_DownForLongerThanTheRetention(t *testing.T) {
	for name, c := range map[string]struct {
		read   int // records read before the crash
		roll   bool
		policy LossPolicy
	}{
		"position trimmed":                 {read: 10, policy: FailOnLoss},
		"shard gone":                       {read: 10, roll: true, policy: FailOnLoss},
		"no record yet, records trimmed":   {read: 0, policy: FailOnLoss},
		"no record yet, shard gone":        {read: 0, roll: true, policy: FailOnLoss},
		"skip: position trimmed":           {read: 10, policy: SkipLoss},
		"skip: shard and its child gone":   {read: 10, roll: true, policy: SkipLoss},
		"skip: no record yet, shards gone": {read: 0, roll: true, policy: SkipLoss},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, opts{}, func(o *Options[row]) { o.OnDataLoss = c.policy }, func(t *testing.T, st *model, j *job) {
				st.some(c.read, 3)
				start(t, j)
				until(t, j, c.read)
				runFor(t, j, time.Second)
				cp := checkpoint(t, j, 1)
				if err := j.Crash(); err != nil {
					t.Fatal(err)
				}
				shard := st.known()[0].id
				st.some(10, 3)
				if c.roll {
					st.rollOver()
					st.some(10, 3)
					st.rollOver()
				}
				pass(retention + time.Hour)
				old := len(st.all)
				st.some(10, 3)
				if err := j.Start(cp); err != nil {
					t.Fatal(err)
				}
				if c.policy == SkipLoss {
					until(t, j, c.read+10)
					runFor(t, j, 5*time.Minute)
					same(t, j, slices.Concat(st.all[:c.read], st.all[old:]))
					return
				}
				loss := loses(t, j)
				if loss.Shard != shard || (loss.After == "") != (c.read == 0) || loss.ToMS < loss.FromMS {
					t.Errorf("loss %+v, want one of shard %s", loss, shard)
				}
				if !strings.Contains(loss.Error(), shard) || !strings.Contains(loss.Error(), "SkipLoss") {
					t.Errorf("message %q names neither shard nor remedy", loss)
				}
			})
		})
	}
}

// A shard whose whole life fell into the downtime is not even listed any more: its child shows the gap.
func TestS17_WholeShardMissed(t *testing.T) {
	for _, policy := range []LossPolicy{FailOnLoss, SkipLoss} {
		scenario(t, opts{}, func(o *Options[row]) { o.OnDataLoss = policy }, func(t *testing.T, st *model, j *job) {
			st.some(10, 3)
			st.rollOver()
			start(t, j)
			runFor(t, j, time.Minute)
			cp := checkpoint(t, j, 1)
			if err := j.Crash(); err != nil {
				t.Fatal(err)
			}
			st.rollOver() // its shard begins and ends unseen
			st.some(10, 3)
			missed := st.known()[2].id
			pass(time.Hour)
			st.rollOver()
			pass(retention + time.Hour)
			st.some(10, 3)
			restart(t, j, cp, 1)
			// The shard that was held is gone as well: skip that first.
			if policy == FailOnLoss {
				if loss := loses(t, j); loss.Shard != st.known()[0].parent && loss.Shard != missed && loss.After != "" {
					t.Errorf("loss %+v", loss)
				}
				return
			}
			until(t, j, 20)
			runFor(t, j, 5*time.Minute)
			same(t, j, slices.Concat(st.all[:10], st.all[20:]))
		})
	}
}

func TestS18_TrimmedBetweenIteratorAndRead(t *testing.T) {
	scenario(t, opts{}, func(o *Options[row]) { o.PollInterval = time.Minute }, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		start(t, j)
		until(t, j, 10)
		runFor(t, j, time.Second)
		code := "ThrottlingException"
		st.fail(func(call, _ string) error {
			if call == "DescribeStream" {
				return nil
			}
			return failure(code)
		})
		runFor(t, j, retention+time.Hour) // never answered for longer than the retention
		st.mu.Lock()
		code = "TrimmedDataAccessException"
		st.mu.Unlock()
		if loss := loses(t, j); loss.After == "" {
			t.Errorf("loss %+v, want the position in it", loss)
		}
	})
	// The oldest record may go while the first answer is on its way: nothing was promised of it.
	scenario(t, opts{}, nil, func(t *testing.T, st *model, j *job) {
		st.some(10, 3)
		times := 0
		st.fail(func(call, _ string) error {
			if times++; call == "GetRecords" && times < 5 {
				return failure("TrimmedDataAccessException")
			}
			return nil
		})
		start(t, j)
		complete(t, st, j, 0)
	})
}

// A shard that was quiet for two days is no loss, although the record at its position is trimmed.
func TestS18_TrimmedPositionOfAQuietShard(t *testing.T) {
	scenario(t, opts{}, func(o *Options[row]) { o.PollInterval = 3 * time.Second }, func(t *testing.T, st *model, j *job) {
		st.strict = true
		st.some(10, 3)
		start(t, j)
		runFor(t, j, 2*retention)
		c := checkpoint(t, j, 1)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		st.some(10, 3)
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		complete(t, st, j, 0)
		if err := j.Crash(); err != nil {
			t.Fatal(err)
		}
		// But after a downtime beyond the retention nobody knows what is missing.
		pass(2 * retention)
		if err := j.Start(c); err != nil {
			t.Fatal(err)
		}
		loses(t, j)
	})
}

// The times of records are whole seconds: a change made after the start, in the same second, must not be taken for an older one.
func TestStartAtTimestamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newModel()
		st.some(10, 3)
		pass(5*time.Second + 700*time.Millisecond)
		from := time.Now()
		pass(200 * time.Millisecond)
		st.some(10, 3)
		st.rollOver()
		pass(time.Hour)
		st.some(10, 3)
		j := connectortest.NewJob(st.source(func(o *Options[row]) { o.Start = AtTimestamp(from) }), opts{})
		defer j.Crash()
		start(t, j)
		complete(t, st, j, 10)
	})
	// A start in the future is waited for.
	synctest.Test(t, func(t *testing.T) {
		st := newModel()
		st.some(10, 3)
		j := connectortest.NewJob(st.source(func(o *Options[row]) { o.Start = AtTimestamp(time.Now().Add(time.Minute)) }), opts{})
		defer j.Crash()
		start(t, j)
		runFor(t, j, 59*time.Second)
		st.some(10, 3)
		runFor(t, j, 30*time.Second)
		st.some(10, 3)
		complete(t, st, j, 20)
	})
}
