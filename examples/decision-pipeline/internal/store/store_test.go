package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/millrace-io/millrace/connectors/dynamodb/dynamodbtest"
	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

func open(t *testing.T) *DynamoDB {
	t.Helper()
	s := New(dynamodbtest.New(dynamodbtest.Options{Partitions: 3}).Client())
	if arn, err := s.Setup(t.Context()); err != nil || arn == "" {
		t.Fatalf("Setup = %q, %v", arn, err)
	}
	return s
}

func decision(id string, hour int) model.Decision {
	return model.Decision{ID: id, Customer: "c-1", Outcome: model.Approved, Amount: 1250, DecidedAt: time.UnixMilli(1_750_000_000_000).UTC().Add(time.Duration(hour) * time.Hour)}
}

func TestCreate(t *testing.T) {
	s := open(t)
	first, err := s.Create(t.Context(), decision("d-1", 0))
	if err != nil || first.Version != 1 {
		t.Fatalf("Create = %+v, %v", first, err)
	}
	if again, err := s.Create(t.Context(), decision("d-1", 0)); err != nil || again.Amount != first.Amount || again.Version != 1 {
		t.Errorf("the same again = %+v, %v", again, err)
	}
	other := decision("d-1", 0)
	other.Amount++
	if _, err := s.Create(t.Context(), other); !errors.Is(err, ErrConflict) {
		t.Errorf("another body = %v, want ErrConflict", err)
	}
	if got, err := s.Get(t.Context(), "d-1"); err != nil || got.Amount != 1250 || !got.DecidedAt.Equal(first.DecidedAt) {
		t.Errorf("Get = %+v, %v", got, err)
	}
	if _, err := s.Get(t.Context(), "d-2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing = %v, want ErrNotFound", err)
	}
}

func TestCorrect(t *testing.T) {
	s := open(t)
	var wrote []string
	s.Wrote = func(id string, version int64) { wrote = append(wrote, fmt.Sprint(id, "@", version)) }
	if _, err := s.Create(t.Context(), decision("d-1", 0)); err != nil {
		t.Fatal(err)
	}
	c := model.Correction{ID: "d-1", ExpectedVersion: 1, Outcome: model.Rejected, Amount: 7}
	for range 2 { // the second is a repetition
		if d, err := s.Correct(t.Context(), c); err != nil || d.Version != 2 || d.Outcome != model.Rejected || d.Customer != "c-1" {
			t.Fatalf("Correct = %+v, %v", d, err)
		}
	}
	// A repetition of the first request is still answered as before.
	if d, err := s.Create(t.Context(), decision("d-1", 0)); err != nil || d.Version != 1 || d.Amount != 1250 {
		t.Errorf("the first request again = %+v, %v", d, err)
	}
	c.Amount = 8
	if _, err := s.Correct(t.Context(), c); !errors.Is(err, ErrConflict) {
		t.Errorf("another correction of version 1 = %v, want ErrConflict", err)
	}
	c.ID = "d-9"
	if _, err := s.Correct(t.Context(), c); !errors.Is(err, ErrNotFound) {
		t.Errorf("correction of nothing = %v, want ErrNotFound", err)
	}
	if got := fmt.Sprint(wrote); got != "[d-1@1 d-1@2]" {
		t.Errorf("told of %s, want each version once", got)
	}
}

func TestByCustomerPages(t *testing.T) {
	s := open(t)
	for i := range 7 {
		d := decision(fmt.Sprintf("d-%d", i), i)
		if i%3 == 0 {
			d.Outcome = model.Rejected
		}
		if _, err := s.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	all := func(q Query) (ids []string) {
		t.Helper()
		for range 10 {
			page, next, err := s.ByCustomer(t.Context(), q)
			if err != nil || len(page) > q.Limit {
				t.Fatalf("page of %d, %v", len(page), err)
			}
			for _, d := range page {
				ids = append(ids, d.ID)
			}
			if next == "" {
				return ids
			}
			q.Cursor = next
		}
		t.Fatal("the pages have no end")
		return nil
	}
	base := decision("", 0).DecidedAt
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Customer: "c-1", Limit: 3}, "[d-6 d-5 d-4 d-3 d-2 d-1 d-0]"},
		{Query{Customer: "c-1", Limit: 50}, "[d-6 d-5 d-4 d-3 d-2 d-1 d-0]"},
		{Query{Customer: "c-1", Limit: 1, Outcome: model.Rejected}, "[d-6 d-3 d-0]"},
		{Query{Customer: "c-1", Limit: 2, From: base.Add(2 * time.Hour), To: base.Add(5 * time.Hour)}, "[d-4 d-3 d-2]"},
		{Query{Customer: "c-2", Limit: 2}, "[]"},
	} {
		if got := fmt.Sprint(all(c.q)); got != c.want {
			t.Errorf("%+v = %s, want %s", c.q, got, c.want)
		}
	}
	_, next, err := s.ByCustomer(t.Context(), Query{Customer: "c-1", Limit: 1})
	if err != nil || next == "" {
		t.Fatalf("cursor %q, %v", next, err)
	}
	for _, cursor := range []string{"!!", "e30", next + "x"} {
		if _, _, err := s.ByCustomer(t.Context(), Query{Customer: "c-1", Limit: 1, Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v, want ErrCursor", cursor, err)
		}
	}
	if _, _, err := s.ByCustomer(t.Context(), Query{Customer: "c-2", Limit: 1, Cursor: next}); !errors.Is(err, ErrCursor) {
		t.Errorf("cursor of another customer: %v, want ErrCursor", err)
	}
}

func TestVariableAndProfile(t *testing.T) {
	s := open(t)
	if _, err := s.Variable(t.Context(), "c-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Variable of nobody = %v, want ErrNotFound", err)
	}
	want := model.Variable{Customer: "c-1", Version: 1, Count: 1, Sum: 5, LastID: "d", LastOutcome: model.Approved, LastDecidedAt: time.UnixMilli(9).UTC(), DayCount: 1, DaySum: 5}
	if _, err := s.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(model.VariablesTable), Item: want.Item()}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Variable(t.Context(), "c-1"); err != nil || got != want {
		t.Errorf("Variable = %+v, %v, want %+v", got, err, want)
	}
	var customers []string
	for i := range 60 {
		customers = append(customers, fmt.Sprint("c-", i))
	}
	if err := s.PutProfiles(t.Context(), customers, func(c string) model.Profile { return model.Profile{Segment: c, Country: "AT"} }); err != nil {
		t.Fatal(err)
	}
	for customer, want := range map[string]model.Profile{"c-59": {Segment: "c-59", Country: "AT"}, "c-60": {Segment: "standard"}} {
		if got, err := s.Profile(t.Context(), customer); err != nil || got != want {
			t.Errorf("Profile of %s = %+v, %v, want %+v", customer, got, err, want)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
