package system

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/audit"
)

func (c Config) brokers() []string {
	if c.Kafka == "" {
		return nil
	}
	return strings.Split(c.Kafka, ",")
}

// poll is the pause between reads of a shard. Amazon's service allows five reads a second; the embedded table and emulators any number.
func (c Config) poll() time.Duration {
	if u, err := url.Parse(c.DynamoDB); err == nil && strings.HasSuffix(u.Hostname(), ".amazonaws.com") {
		return 250 * time.Millisecond
	}
	return 20 * time.Millisecond
}

// transactionPrefix belongs to the checkpoints: a pipeline that goes on from them must know the transactions of the one before.
func transactionPrefix(checkpoints string) string {
	h := fnv.New64a()
	h.Write([]byte(checkpoints))
	return fmt.Sprintf("decision-pipeline-%x", h.Sum64())
}

// progress writes a line each second until the returned function is called, which may be called again.
func (s *system) progress(begin time.Time) (stop func()) {
	done := make(chan struct{})
	var finished sync.WaitGroup
	finished.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p, c := s.tail.Progress(), s.policy.Counts()
				checkpoints, restarts, _ := s.runner.Stats()
				fmt.Fprintf(s.stderr, "%4.0f s  cases %d  corrections %d  denied %d  visible records %d  waiting %d  checkpoints %d  restarts %d\n",
					time.Since(begin).Seconds(), c.Cases, c.Corrected, c.Denied, p.Seen, p.Pending, checkpoints, restarts)
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() { close(done) })
		finished.Wait()
	}
}

// audit reads everything back and makes the report.
func (s *system) audit(ctx context.Context, visible time.Duration) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, auditMax)
	defer cancel()
	registry, err := s.endpoints.Subjects()
	if err != nil {
		return Report{}, err
	}
	evidence, err := audit.Sources{
		DynamoDB: s.endpoints.Tables(), Kafka: s.endpoints.Kafka, Registry: registry, Archive: s.places.archive, S3: s.endpoints.Buckets(),
		IDPrefix: s.idPrefix, CustomerPrefix: s.idPrefix,
	}.Gather(ctx)
	if err != nil {
		return Report{}, err
	}
	evidence.Accepted = s.policy.Accepted()
	r := Report{allowDuplicates: s.c.Delivery == AtLeastOnce}
	r.take(audit.Check(evidence))
	counts := s.policy.Counts()
	r.Decisions, r.Denied = int(counts.Cases), counts.Denied
	r.APIP50MS, r.APIP99MS = ms(s.policy.API.Percentile(0.5)), ms(s.policy.API.Percentile(0.99))
	r.VisibleP50MS, r.VisibleP99MS = ms(s.tail.Visible().Percentile(0.5)), ms(s.tail.Visible().Percentile(0.99))
	r.VariableVisibleP99MS = ms(s.policy.VariableVisible.Percentile(0.99))
	var childPeak int64
	r.Checkpoints, r.Restarts, childPeak = s.runner.Stats()
	r.DecisionsPerS = round1(float64(counts.Cases) / visible.Seconds())
	r.PeakRSSMB = round1(float64(peakRSS(os.Getpid())+childPeak) / 1e6)
	r.WallS = round1(time.Since(s.started).Seconds())
	return r, nil
}
