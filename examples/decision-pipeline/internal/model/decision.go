package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Outcome is what was decided.
type Outcome string

// The outcomes.
const (
	Approved Outcome = "APPROVED"
	Rejected Outcome = "REJECTED"
)

// Symbols are the outcomes in the order of the enum of the event schema.
func (Outcome) Symbols() []string { return []string{string(Approved), string(Rejected)} }

// Valid reports whether o is one of the outcomes.
func (o Outcome) Valid() bool { return o == Approved || o == Rejected }

// Decision is one version of one decision. Version 1 is what POST created; each correction adds one and changes outcome, amount and
// reason only, so that a decision never moves to another customer or another time.
type Decision struct {
	ID        string    `json:"id"`
	Customer  string    `json:"customer"`
	Version   int64     `json:"version"`
	Outcome   Outcome   `json:"outcome"`
	Amount    Money     `json:"amount"`
	DecidedAt time.Time `json:"decided_at"` // whole milliseconds, UTC
	Product   string    `json:"product,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	// Attributes are free text by name, for people; the pipeline passes them by.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Fingerprint is the SHA-256, in hex, of the fields that a client sends to create d: two requests with the same one are the same
// request, however their JSON was written.
func (d Decision) Fingerprint() string {
	h := sha256.New()
	for _, s := range []string{d.ID, d.Customer, string(d.Outcome), d.Amount.String(), strconv.FormatInt(d.DecidedAt.UnixMilli(), 10), d.Product, d.Reason} {
		fmt.Fprintf(h, "%d:%s,", len(s), s)
	}
	for _, k := range sortedKeys(d.Attributes) {
		fmt.Fprintf(h, "%d:%s=%d:%s,", len(k), k, len(d.Attributes[k]), d.Attributes[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Correction is a new version of a stored decision.
type Correction struct {
	ID              string
	ExpectedVersion int64 // version that the client has seen; the new one is one higher
	Outcome         Outcome
	Amount          Money
	Reason          string
}

// Fingerprint identifies a repeated request for the same correction.
func (c Correction) Fingerprint() string {
	h := sha256.New()
	for _, s := range []string{c.ID, strconv.FormatInt(c.ExpectedVersion, 10), string(c.Outcome), c.Amount.String(), c.Reason} {
		fmt.Fprintf(h, "%d:%s,", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Variable is what is known of one customer: a fold over the newest versions of all of the customer's decisions.
type Variable struct {
	Customer string `json:"customer"`
	// Version counts the decision versions that are folded in: it grows by one with each.
	Version  int64 `json:"version"`
	Count    int64 `json:"count"`    // decisions
	Rejected int64 `json:"rejected"` // decisions whose newest version is a rejection
	Sum      Money `json:"sum"`      // of all amounts
	// LastID, LastOutcome and LastDecidedAt are those of the decision with the greatest (decided_at, id).
	LastID        string    `json:"last_id"`
	LastOutcome   Outcome   `json:"last_outcome"`
	LastDecidedAt time.Time `json:"last_decided_at"`
	// DayCount and DaySum cover the decisions with decided_at in (LastDecidedAt − 24 h, LastDecidedAt].
	DayCount int64 `json:"day_count"`
	DaySum   Money `json:"day_sum"`
}

// Profile is reference data of a customer.
type Profile struct {
	Segment string `json:"segment"`
	Country string `json:"country"`
}

// RollingWindow is the length of the window of Variable.DayCount and DaySum.
const RollingWindow = 24 * time.Hour
