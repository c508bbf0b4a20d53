package observe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// decodePlain takes the value for the id of version 1.
func decodePlain(_ context.Context, value []byte) (model.Decision, error) {
	if strings.HasPrefix(string(value), "!") {
		return model.Decision{}, errors.New("no decision")
	}
	return model.Decision{ID: string(value), Version: 1}, nil
}

func TestTailMatchesInEitherOrder(t *testing.T) {
	tail := NewTail(nil, "r1-", decodePlain)
	now := time.UnixMilli(1_000_000)
	record := func(topic, key, value string, after time.Duration) {
		tail.record(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}, now.Add(after))
	}
	tail.Accepted("r1-a", 1, now)
	tail.Accepted("r1-b", 1, now)
	tail.Accepted("r2-x", 1, now)
	record(model.DecisionsTopic, "", "r1-a", 30*time.Millisecond)
	record(model.DecisionsTopic, "", "r1-a", 90*time.Millisecond) // a repetition tells nothing new
	record(model.DecisionsTopic, "", "r2-x", time.Second)         // of another run
	record(model.DecisionsTopic, "", "!", time.Second)
	record(model.DecisionsTopic, "", "r1-c", 5*time.Millisecond)
	tail.Accepted("r1-c", 1, now.Add(10*time.Millisecond)) // told after it was seen
	record(model.DeadLetterTopic, "r1-d", "", 0)
	record(model.DeadLetterTopic, "r1-d", "", 0)
	record(model.DeadLetterTopic, "r2-d", "", 0)
	p := tail.Progress()
	if p.Pending != 1 || p.DeadLetters != 1 || p.Seen != 5 {
		t.Errorf("progress %+v, want 1 pending, 1 dead letter, 5 seen", p)
	}
	if lo, hi := tail.Visible().Percentile(0.5), tail.Visible().Percentile(1); lo != 0 || hi != 30*time.Millisecond {
		t.Errorf("visible after %v to %v, want 0 to 30ms", lo, hi)
	}
}
