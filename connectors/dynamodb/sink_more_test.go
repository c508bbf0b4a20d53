package dynamodb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsdynamodb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/millrace-io/millrace/connectors"
	"github.com/millrace-io/millrace/connectors/connectortest"
	"github.com/millrace-io/millrace/connectors/dynamodb"
	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	"github.com/millrace-io/millrace/internal/crash"
)

// history is a stream of records: versions rise for each key, some records delete.
func history(rng *rand.Rand, n int) (records []record, want map[string]int64) {
	want = map[string]int64{}
	next := map[string]int64{}
	for range n {
		id := fmt.Sprint("k", rng.IntN(20))
		next[id]++
		records = append(records, record{ID: id, V: next[id]})
		want[id] = next[id]
	}
	return records, want
}

// TestD8CrashAndReplay kills the writer at a random step of each attempt, in the middle of calls that have random faults, and replays from the last
// completed checkpoint. In the end the table must hold what the stream says. Runs in a synctest bubble.
func TestD8CrashAndReplay(t *testing.T) {
	errCrash := errors.New("crashed")
	for seed := range uint64(12) {
		modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
			rng := rand.New(rand.NewPCG(seed, 8))
			records, want := history(rng, 300)
			var mu sync.Mutex
			faults := []dynamodbtest.Fault{{}, {}, {DropBefore: true}, {DropAfter: true}, {Status: 500}, {Truncate: true}, {Delay: 30 * time.Millisecond}, *throttledCall, {Unprocessed: []int{0}}}
			s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault {
				mu.Lock()
				defer mu.Unlock()
				f := faults[rng.IntN(len(faults))]
				return &f
			})
			done, attempts := 0, 0
			for done < len(records) {
				attempts++
				h := open(t, s, o)
				point, left := []string{"none", crash.SinkBeforeFlush, crash.SinkPrepared, "while writing"}[rng.IntN(4)], 1+rng.IntN(3)
				remove := crash.Set(func(p string) error {
					if p == point {
						if left--; left == 0 {
							return errCrash
						}
					}
					return nil
				})
				for at := done; at < len(records); {
					to := min(len(records), at+1+rng.IntN(60))
					h.write(records[at:to]...)
					at = to
					if left--; point == "while writing" && left == 0 {
						break
					}
					if _, err := h.w.Prepare(context.Background(), int64(attempts)); errors.Is(err, errCrash) {
						break
					} else if err != nil {
						t.Fatalf("seed %d: checkpoint: %v", seed, err)
					}
					done = at
				}
				remove()
				h.close()
				// What a killed process had on the wire has arrived or is gone before the next attempt starts; D9 is about the rest.
				time.Sleep(time.Second)
			}
			got := stored(s)
			for id, v := range want {
				if got[id] != v {
					t.Errorf("seed %d: item %s has version %d, want %d", seed, id, got[id], v)
				}
			}
		})
	}
}

// TestD9OldAfterNew lets the network deliver a write long after its sender gave up and wrote a newer version. Runs in a
// synctest bubble.
func TestD9OldAfterNew(t *testing.T) {
	run := func(t *testing.T, version string) int64 {
		var got int64
		bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
			first := true
			var mu sync.Mutex
			s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if first {
					first = false
					return &dynamodbtest.Fault{Late: 10 * time.Second}
				}
				return nil
			})
			h := open(t, s, dynamodb.Options[record]{Version: version})
			defer h.close()
			h.write(record{ID: "a", V: 1})
			h.prepare()
			h.write(record{ID: "a", V: 2})
			h.prepare()
			h.holds(map[string]int64{"a": 2})
			time.Sleep(11 * time.Second)
			got = stored(s)["a"]
		})
		return got
	}
	if got := run(t, "v"); got != 2 {
		t.Errorf("with versions: version %d is stored after the late write, want 2", got)
	}
	// The limit that the documentation of Options.Version states; and the proof that the late write happens.
	if got := run(t, ""); got != 1 {
		t.Errorf("without versions: version %d is stored after the late write, want 1: the test has lost its fault", got)
	}
}

func TestD9OldVersionInStream(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{Version: "v"})
		defer h.close()
		// The call with version 5 is under way while the others come: they are buffered together.
		s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault { return &dynamodbtest.Fault{Delay: time.Second} })
		for _, v := range []int64{5, 3, 9, 9, 4} {
			h.write(record{ID: "a", V: v})
		}
		h.prepare()
		h.write(record{ID: "a", V: 8}) // against the table
		h.prepare()
		h.holds(map[string]int64{"a": 9})
		if n := h.metric("condition_failures_total"); n != 1 {
			t.Errorf("%v failed conditions, want 1", n)
		}
		if n := h.metric("items_superseded_total"); n != 3 {
			t.Errorf("%v superseded, want 3: versions 3, 9 and 4", n)
		}
	})
}

func TestD10DeleteThenLatePut(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{Version: "v"})
		defer h.close()
		h.write(record{ID: "a", V: 1, Body: "x"})
		h.prepare()
		h.write(record{ID: "a", V: 3, Deleted: true})
		h.prepare()
		h.write(record{ID: "a", V: 2, Body: "late"})
		h.prepare()
		items := s.Items(table)
		if len(items) != 1 || len(items[0]) != 3 || items[0]["deleted"].(*types.AttributeValueMemberBOOL).Value != true {
			t.Errorf("got %v, want the tombstone of version 3", items)
		}
		h.holds(map[string]int64{"a": 3})
	})
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{})
		defer h.close()
		h.write(record{ID: "a", V: 1}, record{ID: "b", V: 1})
		h.prepare()
		h.write(record{ID: "a", V: 2, Deleted: true})
		h.prepare()
		h.holds(map[string]int64{"b": 1})
	})
}

// TestD12Provisioned offers 1000 writes of one unit a second to a table of 100. Runs in a synctest bubble.
func TestD12Provisioned(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		const wcu, seconds = 100, 30
		if err := s.SetLimits(table, dynamodbtest.Limits{WCU: wcu}); err != nil {
			t.Fatal(err)
		}
		s.Fault(slow(3 * time.Millisecond))
		o.Capacity = dynamodb.Provisioned(wcu)
		o.BufferBytesMax = 1 << 20
		h := open(t, s, o)
		defer h.close()
		start := time.Now()
		body := strings.Repeat("x", 900)
		for i := 0; time.Since(start) < seconds*time.Second; i++ {
			h.write(record{ID: fmt.Sprint("k", i), V: 1, Body: body})
			time.Sleep(time.Millisecond)
		}
		used, sent := h.metric("write_units_total"), h.metric("items_sent_total")
		if used < 0.95*wcu*seconds {
			t.Errorf("used %v of %d units, want at least 95 %%", used, wcu*seconds)
		}
		throttled := h.metric("throttles_total") + h.metric("items_unprocessed_total")
		if throttled > 0.02*sent {
			t.Errorf("%v of %v writes throttled, want at most 2 %%", throttled, sent)
		}
		if got := h.metric("items_written_total"); got != used {
			t.Errorf("%v items of one unit written, %v units counted", got, used)
		}
	})
}

// TestD12EstimateIsCorrected runs in a synctest bubble.
func TestD12EstimateIsCorrected(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		h := open(t, s, dynamodb.Options[record]{Version: "v", Capacity: dynamodb.Provisioned(10)})
		defer h.close()
		// Replacing an item of 20 KB by a small one costs 20 units, which the writer cannot know before.
		h.write(record{ID: "a", V: 1, Body: strings.Repeat("x", 20<<10-100)})
		h.prepare()
		time.Sleep(10 * time.Second)
		start := time.Now()
		h.write(record{ID: "a", V: 2})
		h.prepare()
		h.write(record{ID: "b", V: 1})
		h.prepare()
		// The bucket holds 9 units and gets 9.8 a second; 20 are used, so it is at -11 and must reach 1 for b: 12/9.8 s = 1.22 s.
		if d := time.Since(start); d < 1200*time.Millisecond || d > 1240*time.Millisecond {
			t.Errorf("the next write went out after %v, want 1.22 s", d)
		}
	})
}

func TestD13FailFast(t *testing.T) {
	denied := &dynamodbtest.Fault{Err: &dynamodbtest.Error{Code: "AccessDeniedException", Message: "User is not authorized to perform: dynamodb:PutItem"}}
	for name, c := range map[string]struct {
		table string
		fault *dynamodbtest.Fault
		code  string
	}{
		"table missing": {"no-such-table", nil, "ResourceNotFoundException"}, "access denied": {table, denied, "AccessDeniedException"},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
				s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault { return c.fault })
				o.Table = c.table
				h := open(t, s, o)
				defer h.close()
				start := time.Now()
				if err := h.w.Write(record{ID: "a", V: 1}, connectors.Meta{}); err != nil {
					t.Fatal(err)
				}
				_, err := h.w.Prepare(context.Background(), 1)
				if err == nil || !strings.Contains(err.Error(), `"`+c.table+`"`) || !strings.Contains(err.Error(), c.code) || time.Since(start) > time.Second {
					t.Errorf("after %v: got %v, want at once an error that names table %s and %s", time.Since(start), err, c.table, c.code)
				}
				if err := h.w.Idle(); err == nil {
					t.Error("Idle: no error after the writer has failed")
				}
				if err := h.w.Write(record{ID: "b", V: 1}, connectors.Meta{}); err == nil {
					t.Error("Write: no error after the writer has failed")
				}
				if n := len(h.letters); n != 0 {
					t.Errorf("%d dead letters, want none: the records are good", n)
				}
			})
		})
	}
}

func TestD14StuckCheckpoint(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault { return throttledCall })
		h := open(t, s, dynamodb.Options[record]{})
		defer h.close()
		records, _ := numbered(10)
		h.write(records...)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := h.w.Prepare(ctx, 7)
		stuck, ok := errors.AsType[*dynamodb.StuckError](err)
		if !ok || stuck.Items != 10 || stuck.Checkpoint != 7 || stuck.Waited != 20*time.Second {
			t.Fatalf("got %v, want a StuckError for 10 items after 20 s", err)
		}
		for _, part := range []string{"checkpoint 7", "10 items", `table "variables"`, "20s", "ProvisionedThroughputExceededException", "PrepareTimeout"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not say %q", err, part)
			}
		}
		// The records are still held: the next checkpoint takes them when the table can.
		s.Fault(nil)
		h.prepare()
		if len(stored(s)) != 10 {
			t.Errorf("%d items stored, want 10", len(stored(s)))
		}
	})
}

// TestCancelEndsWaits runs in a synctest bubble.
func TestCancelEndsWaits(t *testing.T) {
	bubble(t, func(t *testing.T, s *dynamodbtest.Server) {
		s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault { return throttledCall })
		h := open(t, s, dynamodb.Options[record]{BufferBytesMax: 1 << 20})
		go func() {
			time.Sleep(3 * time.Second)
			h.cancel()
		}()
		var err error
		body := strings.Repeat("x", 100<<10)
		for i := 0; err == nil; i++ {
			err = h.w.Write(record{ID: fmt.Sprint(i), V: 1, Body: body}, connectors.Meta{})
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Write that waits: got %v, want context.Canceled", err)
		}
		if _, err := h.w.Prepare(context.Background(), 1); !errors.Is(err, context.Canceled) {
			t.Errorf("Prepare: got %v, want context.Canceled", err)
		}
		h.close()
	})
}

// TestNoDelayWhenIdle runs in a synctest bubble: in virtual time, what no timer delays takes no time at all.
func TestNoDelayWhenIdle(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		h := open(t, s, o)
		defer h.close()
		for i := range int64(5) {
			start := time.Now()
			h.write(record{ID: "a", V: i + 1})
			synctest.Wait()
			if got := stored(s)["a"]; got != i+1 || time.Since(start) != 0 {
				t.Fatalf("version %d stored after %v, want %d at once, before Idle", got, time.Since(start), i+1)
			}
			time.Sleep(time.Second)
		}
	})
}

// openRefusing opens a writer whose host answers every dead letter with err.
func openRefusing(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record], err error) connectors.Writer[record] {
	o.Client, o.Table, o.Key = s.Client(), table, []string{"id"}
	w, failed := dynamodb.NewSink(o).NewWriter(writerContext(t, func(connectors.DeadLetter) error { return err }))
	if failed != nil {
		t.Fatal(failed)
	}
	return w
}

// TestDeadLetterRefusedEndsTask: the host's error comes out of the first method that finds the service's answer, and no method succeeds
// after it: a checkpoint would claim a record that is neither written nor a dead letter.
func TestDeadLetterRefusedEndsTask(t *testing.T) {
	type method = func(connectors.Writer[record]) error
	write := func(r record) method {
		return func(w connectors.Writer[record]) error { return w.Write(r, connectors.Meta{}) }
	}
	prepare := func(w connectors.Writer[record]) error {
		_, err := w.Prepare(context.Background(), 1)
		return err
	}
	idle := connectors.Writer[record].Idle
	refused := record{ID: "a", V: 1, Amount: "text"} // by the service only
	withoutKey, good := record{ID: "", V: 1}, record{ID: "b", V: 1}
	errNoConsumer := errors.New("no consumer for dead letters")
	open := func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) connectors.Writer[record] {
		return openRefusing(t, s, o, errNoConsumer)
	}
	wantAll := func(t *testing.T, w connectors.Writer[record]) {
		t.Helper()
		for i, m := range []method{prepare, idle, write(good), write(withoutKey), prepare} {
			if err := m(w); !errors.Is(err, errNoConsumer) {
				t.Errorf("method %d afterwards: got %v, want the host's error", i, err)
			}
		}
	}
	early, during := func(answer func()) { answer(); synctest.Wait() }, func(answer func()) { go func() { synctest.Wait(); answer() }() }
	for _, c := range []struct {
		name   string
		answer func(answer func()) // lets the service answer before or during the first method
		first  method
	}{
		{"waiting Prepare", during, prepare},
		{"Prepare", early, prepare},
		{"Idle", early, idle},
		{"next Write", early, write(good)},
		{"Write refused here while a call runs", func(func()) {}, write(withoutKey)},
	} {
		t.Run(c.name, func(t *testing.T) {
			modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
				// No call is answered before Write has returned.
				gate := make(chan struct{})
				answer := sync.OnceFunc(func() { close(gate) })
				s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault { <-gate; return nil })
				w := open(t, s, o)
				defer w.Close()
				defer answer()
				if err := write(refused)(w); err != nil {
					t.Fatal(err)
				}
				c.answer(answer)
				if err := c.first(w); !errors.Is(err, errNoConsumer) {
					t.Errorf("got %v, want the host's error", err)
				}
				wantAll(t, w)
			})
		})
	}
	t.Run("answer at any time", func(t *testing.T) {
		modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
			w := open(t, s, o)
			defer w.Close()
			// The answer may come before Write looks for dead letters for the last time.
			if err := write(refused)(w); err != nil && !errors.Is(err, errNoConsumer) {
				t.Errorf("got %v, want nil or the host's error", err)
			}
			wantAll(t, w)
		})
	})
}

// TestConformance runs the suite for all sinks on the fake.
func TestConformance(t *testing.T) {
	for _, version := range []string{"", "v"} {
		connectortest.TestSink(t, connectortest.SinkSuite[record]{
			New: func(t *testing.T) (func() connectors.Sink[record], func() []string) {
				s := dynamodbtest.New(dynamodbtest.Options{})
				createTable(t, s.Client(), table)
				sink := func() connectors.Sink[record] {
					return dynamodb.NewSink(dynamodb.Options[record]{Client: s.Client(), Table: table, Key: []string{"id"}, Version: version})
				}
				return sink, func() (ids []string) {
					for id := range stored(s) {
						ids = append(ids, id)
					}
					return ids
				}
			},
			Record: func(i int) record { return record{ID: fmt.Sprintf("k%04d", i), V: int64(i)} },
			ID:     func(r record) string { return r.ID },
			Bubble: true,
		})
	}
}

// TestOutside runs what a real server can answer.
func TestOutside(t *testing.T) {
	url := os.Getenv("DYNAMODB_ENDPOINT")
	if url == "" {
		t.Skip("needs a DynamoDB server: set DYNAMODB_ENDPOINT, e.g. by internal/services/dynamodb start")
	}
	client := awsdynamodb.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient: &http.Client{Transport: dynamodbtest.WholeBody(&http.Transport{})}})
	for _, version := range []string{"", "v"} {
		name := fmt.Sprintf("sink-%d-%s", time.Now().UnixNano(), version)
		createTable(t, client, name)
		t.Cleanup(func() {
			client.DeleteTable(context.Background(), &awsdynamodb.DeleteTableInput{TableName: &name}) //nolint:errcheck // only tidies up
		})
		var letters []connectors.DeadLetter
		w, err := dynamodb.NewSink(dynamodb.Options[record]{Client: client, Table: name, Key: []string{"id"}, Version: version}).NewWriter(
			writerContext(t, func(d connectors.DeadLetter) error { letters = append(letters, d); return nil }))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		write := func(r ...record) {
			for _, x := range r {
				if err := w.Write(x, connectors.Meta{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		records, want := history(rand.New(rand.NewPCG(1, 1)), 200)
		write(records...)
		write(record{ID: "too-large", V: 1, Body: strings.Repeat("x", 400<<10)})
		if _, err := w.Prepare(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if version != "" {
			write(records[:50]...) // a replay of old versions changes nothing
			if _, err := w.Prepare(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		for id, v := range want {
			out, err := client.GetItem(t.Context(), &awsdynamodb.GetItemInput{TableName: &name, Key: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}, ConsistentRead: aws.Bool(true)})
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := out.Item["v"].(*types.AttributeValueMemberN); !ok || got.Value != fmt.Sprint(v) {
				t.Errorf("%s: item %s is %v, want version %d", name, id, out.Item, v)
			}
		}
		if len(letters) != 1 {
			t.Errorf("%d dead letters, want 1", len(letters))
		}
	}
	w, err := dynamodb.NewSink(dynamodb.Options[record]{Client: client, Table: "no-such-table", Key: []string{"id"}}).NewWriter(writerContext(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(record{ID: "a", V: 1}, connectors.Meta{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Prepare(t.Context(), 1); err == nil || !strings.Contains(err.Error(), `"no-such-table"`) {
		t.Errorf("missing table: got %v, want an error with its name", err)
	}
}

// TestClientRetriesAreOff: the client's own retryer would hide the throttle for seconds, and the pacing would learn nothing.
func TestClientRetriesAreOff(t *testing.T) {
	modes(t, func(t *testing.T, s *dynamodbtest.Server, o dynamodb.Options[record]) {
		cfg := s.Config()
		cfg.Retryer = func() aws.Retryer { return retry.NewStandard() }
		o.Client = awsdynamodb.NewFromConfig(cfg)
		h := open(t, s, o)
		defer h.close()
		refusals := 3
		var mu sync.Mutex
		s.Fault(func(*dynamodbtest.Call) *dynamodbtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if refusals--; refusals >= 0 {
				return throttledCall
			}
			return nil
		})
		h.write(record{ID: "a", V: 1})
		h.prepare()
		if got := h.metric("throttles_total"); got != 3 {
			t.Errorf("%v throttles seen, want all 3", got)
		}
	})
}
