package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// client calls the Decision Store API.
type client struct {
	url  string
	http *http.Client
}

func newClient(url string, workers int) *client {
	return &client{url, &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers, MaxIdleConns: 2 * workers, IdleConnTimeout: time.Minute,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext},
	}}
}

type decisionBody struct {
	ID        string        `json:"id"`
	Customer  string        `json:"customer"`
	Outcome   model.Outcome `json:"outcome"`
	Amount    model.Money   `json:"amount"`
	DecidedAt time.Time     `json:"decided_at"`
	Product   string        `json:"product,omitempty"`
	Reason    string        `json:"reason,omitempty"`
}

func postBody(d model.Decision) decisionBody {
	return decisionBody{d.ID, d.Customer, d.Outcome, d.Amount, d.DecidedAt, d.Product, d.Reason}
}

type correctionBody struct {
	ExpectedVersion int64         `json:"expected_version"`
	Outcome         model.Outcome `json:"outcome"`
	Amount          model.Money   `json:"amount"`
	Reason          string        `json:"reason,omitempty"`
}

// send makes a request that may be repeated, until it is answered with want. Another answer than "try again" is an error.
func (c *client) send(ctx context.Context, method, path string, body any, want int) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var last error
	for attempt := range attemptsMax {
		code, answer, err := c.do(ctx, method, path, b)
		switch {
		case err == nil && code == want:
			return nil
		case err == nil && code != http.StatusServiceUnavailable:
			return fmt.Errorf("policy: %s %s %s is answered %d %s", method, path, b, code, answer)
		case err == nil:
			err = fmt.Errorf("policy: %s %s is answered %d %s", method, path, code, answer)
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(20*time.Millisecond<<attempt, time.Second)):
		}
	}
	return fmt.Errorf("policy: gave up after %d attempts: %w", attemptsMax, last)
}

func (c *client) do(ctx context.Context, method, path string, body []byte) (code int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

// variable asks what is known of a customer. Trouble of the API is passed over: a policy that cannot ask decides without.
func (c *client) variable(ctx context.Context, customer string) (v model.Variable, known bool, err error) {
	code, answer, err := c.do(ctx, http.MethodGet, "/variables/"+customer, nil)
	if ctx.Err() != nil {
		return v, false, ctx.Err()
	}
	if err != nil || code != http.StatusOK {
		return v, false, nil
	}
	if err := json.Unmarshal(answer, &v); err != nil {
		return v, false, fmt.Errorf("policy: variable of %q is %s: %w", customer, answer, err)
	}
	return v, true, nil
}
