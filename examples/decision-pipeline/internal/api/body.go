package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace-io/millrace/examples/decision-pipeline/internal/model"
)

// FieldError is one fault of a request.
type FieldError struct {
	Path   string `json:"path"` // of the field in the body, such as "attributes.channel"; "" for the body itself; or a query parameter
	Reason string `json:"reason"`
}

// fields reads the members of a JSON object and gathers the faults.
type fields struct {
	prefix string
	raw    map[string]json.RawMessage
	seen   map[string]bool
	errs   []FieldError
}

// The limits of texts, in bytes.
const (
	idBytesMax        = 128
	textBytesMax      = 512
	attributesMax     = 16
	attributeBytesMax = 256
)

// parseObject reads body, which must be one JSON object and nothing after it.
func parseObject(body []byte) *fields {
	f := &fields{seen: map[string]bool{}}
	dec := json.NewDecoder(bytes.NewReader(body))
	err := dec.Decode(&f.raw)
	switch {
	case errors.Is(err, io.EOF):
		f.fail("", "is empty, want a JSON object")
	case err != nil:
		f.fail("", "is no JSON object: %v", err)
	case f.raw == nil:
		f.fail("", "is null, want a JSON object")
	default:
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			f.fail("", "has something after the JSON object")
		}
	}
	return f
}

func (f *fields) fail(name, format string, args ...any) {
	f.errs = append(f.errs, FieldError{f.prefix + name, fmt.Sprintf(format, args...)})
}

// value is the member, or nil when it is missing or null.
func (f *fields) value(name string, required bool) json.RawMessage {
	f.seen[name] = true
	v, ok := f.raw[name]
	if ok && string(v) != "null" {
		return v
	}
	if required {
		f.fail(name, "is required")
	}
	return nil
}

func (f *fields) text(name string, required bool, bytesMax int) string {
	v := f.value(name, required)
	if v == nil {
		return ""
	}
	var s string
	switch err := json.Unmarshal(v, &s); {
	case err != nil:
		f.fail(name, "is %s, want a string", kind(v))
	case s == "" && required:
		f.fail(name, "is empty")
	case len(s) > bytesMax:
		f.fail(name, "has %d bytes, want at most %d", len(s), bytesMax)
	case !utf8.Valid(v) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }):
		f.fail(name, "holds control characters or invalid UTF-8")
	default:
		return s
	}
	return ""
}

const identifierChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:@-"

// identifierFault says why s cannot be an id, or "". "." and ".." are refused because no client can put them into a path.
func identifierFault(s string) string {
	if s == "" || len(s) > idBytesMax || s == "." || s == ".." ||
		strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(identifierChars, r) }) {
		return fmt.Sprintf("is %q, want 1 to %d of letters, digits and . _ : @ -", s, idBytesMax)
	}
	return ""
}

func (f *fields) identifier(name string) string {
	s := f.text(name, true, idBytesMax)
	if fault := identifierFault(s); s != "" && fault != "" {
		f.fail(name, "%s", fault)
	}
	return s
}

func (f *fields) outcome(name string) model.Outcome {
	o := model.Outcome(f.text(name, true, textBytesMax))
	if o != "" && !o.Valid() {
		f.fail(name, "is %q, want APPROVED or REJECTED", o)
	}
	return o
}

// amount takes a JSON string or number; a number is read from its text, never as floating point.
func (f *fields) amount(name string) model.Money {
	v := f.value(name, true)
	if v == nil {
		return 0
	}
	s := string(v)
	if v[0] == '"' {
		s = f.text(name, true, textBytesMax)
		if s == "" {
			return 0
		}
	} else if !strings.ContainsRune("-0123456789", rune(v[0])) {
		f.fail(name, "is %s, want a decimal number", kind(v))
		return 0
	}
	m, err := model.ParseMoney(s)
	switch {
	case err != nil:
		f.fail(name, "%v", err)
	case m < 0:
		f.fail(name, "is %v, want at least 0", m)
	case m > model.MoneyMax:
		f.fail(name, "is %v, want at most %v", m, model.MoneyMax)
	}
	return m
}

func (f *fields) time(name string) time.Time {
	s := f.text(name, true, textBytesMax)
	if s == "" {
		return time.Time{}
	}
	t, reason := parseTime(s)
	if reason != "" {
		f.fail(name, "%s", reason)
	}
	return t
}

// parseTime reads RFC 3339 and cuts to milliseconds; reason is empty when all is well.
func parseTime(s string) (t time.Time, reason string) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Sprintf("is %q, want RFC 3339 such as 2026-01-31T12:00:00.000Z", s)
	}
	if y := t.UTC().Year(); y < 1970 || y > 9998 {
		return time.Time{}, fmt.Sprintf("is in the year %d, want 1970 to 9998", y)
	}
	return t.UTC().Truncate(time.Millisecond), ""
}

func (f *fields) integer(name string) int64 {
	v := f.value(name, true)
	if v == nil {
		return 0
	}
	var n int64
	if err := json.Unmarshal(v, &n); err != nil {
		f.fail(name, "is %s, want a whole number of 64 bits", kind(v))
	}
	return n
}

func (f *fields) attributes(name string) map[string]string {
	v := f.value(name, false)
	if v == nil {
		return nil
	}
	sub := &fields{prefix: f.prefix + name + ".", seen: map[string]bool{}}
	if err := json.Unmarshal(v, &sub.raw); err != nil {
		f.fail(name, "is %s, want an object", kind(v))
		return nil
	}
	if len(sub.raw) > attributesMax {
		f.fail(name, "has %d members, want at most %d", len(sub.raw), attributesMax)
		return nil
	}
	out := make(map[string]string, len(sub.raw))
	for k := range sub.raw {
		if k == "" || len(k) > attributeBytesMax || !utf8.ValidString(k) {
			f.fail(name, "has a member name that is empty or longer than %d bytes", attributeBytesMax)
			continue
		}
		out[k] = sub.text(k, true, attributeBytesMax)
	}
	f.errs = append(f.errs, sub.errs...)
	if len(out) == 0 {
		return nil
	}
	return out
}

// done names the members that no field asked for and returns all faults, sorted by path.
func (f *fields) done() []FieldError {
	for k := range f.raw {
		if !f.seen[k] {
			f.fail(k, "is not known")
		}
	}
	sort.Slice(f.errs, func(i, j int) bool { return f.errs[i].Path < f.errs[j].Path })
	return f.errs
}

func kind(v json.RawMessage) string {
	switch v[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	default:
		return "a number"
	}
}

func parseDecision(body []byte) (model.Decision, []FieldError) {
	f := parseObject(body)
	if len(f.errs) > 0 {
		return model.Decision{}, f.errs
	}
	d := model.Decision{
		ID: f.identifier("id"), Customer: f.identifier("customer"), Outcome: f.outcome("outcome"), Amount: f.amount("amount"),
		DecidedAt: f.time("decided_at"), Product: f.text("product", false, textBytesMax), Reason: f.text("reason", false, textBytesMax),
		Attributes: f.attributes("attributes"),
	}
	return d, f.done()
}

func parseCorrection(id string, body []byte) (model.Correction, []FieldError) {
	f := parseObject(body)
	if len(f.errs) > 0 {
		return model.Correction{}, f.errs
	}
	c := model.Correction{
		ID: id, ExpectedVersion: f.integer("expected_version"), Outcome: f.outcome("outcome"), Amount: f.amount("amount"),
		Reason: f.text("reason", false, textBytesMax),
	}
	const versionMax = 1 << 53 // JSON readers elsewhere hold numbers up to here exactly
	if f.raw["expected_version"] != nil && (c.ExpectedVersion < 1 || c.ExpectedVersion >= versionMax) {
		f.fail("expected_version", "is %d, want 1 to %d", c.ExpectedVersion, versionMax-1)
	}
	return c, f.done()
}
