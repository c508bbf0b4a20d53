package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/millrace-io/millrace/serde"
)

// reference names a version of a subject that a schema uses.
type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// schema is what is registered under one id.
type schema struct {
	id         int
	identity   string
	text       string
	references []reference
}

type version struct {
	number  int
	schema  *schema
	deleted bool
}

// apiError is an error in the form of the Confluent API.
type apiError struct {
	status  int
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

// Error is the code and the message.
func (e *apiError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// Source of the codes: Confluent Schema Registry API reference, "Errors".
func subjectNotFound(s string) *apiError {
	return &apiError{http.StatusNotFound, 40401, fmt.Sprintf("Subject '%s' not found.", s)}
}

func versionNotFound(v string) *apiError {
	return &apiError{http.StatusNotFound, 40402, fmt.Sprintf("Version %s not found.", v)}
}

func schemaNotFound() *apiError {
	return &apiError{http.StatusNotFound, 40403, "Schema not found"}
}

// store holds all schemas. It is guarded by one lock.
type store struct {
	mu       sync.Mutex
	global   serde.Mode
	modes    map[string]serde.Mode // of subjects
	byID     map[int]*schema
	ids      map[string]*schema // by identity
	subjects map[string][]*version
	last     int // id given last
}

func newStore(global serde.Mode) *store {
	return &store{
		global: global, modes: map[string]serde.Mode{}, byID: map[int]*schema{}, ids: map[string]*schema{},
		subjects: map[string][]*version{},
	}
}

// identityOf is equal for texts that differ in white space and the order of keys alone.
func identityOf(text string, refs []reference) (string, error) {
	var v any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return "", err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	if len(refs) > 0 {
		if err := enc.Encode(refs); err != nil {
			return "", err
		}
	}
	return buf.String(), nil
}

// live lists the versions of subject that are not deleted, oldest first.
func (s *store) live(subject string) []*version {
	var out []*version
	for _, v := range s.subjects[subject] {
		if !v.deleted {
			out = append(out, v)
		}
	}
	return out
}

func (s *store) mode(subject string) serde.Mode {
	if m, ok := s.modes[subject]; ok {
		return m
	}
	return s.global
}

// validate reads the schema as a registry does. Schemas with references cannot be read alone and are taken as they are.
func validate(text string, refs []reference) (string, *apiError) {
	identity, err := identityOf(text, refs)
	if err == nil && len(refs) == 0 {
		if faults := serde.Check(text, text); len(faults) > 0 && faults[0].Rule == serde.RuleSchema {
			err = faults[0]
		}
	}
	if err != nil {
		return "", &apiError{http.StatusUnprocessableEntity, 42201, fmt.Sprintf("Invalid schema %s: %v", text, err)}
	}
	return identity, nil
}

// incompatible lists what the mode of subject forbids about text.
func (s *store) incompatible(subject, text string, refs []reference, against []*version) []string {
	var earlier []string
	for _, v := range against {
		if len(v.schema.references) == 0 && len(refs) == 0 {
			earlier = append(earlier, v.schema.text)
		}
	}
	var out []string
	for _, f := range serde.CheckMode(s.mode(subject), text, earlier) {
		out = append(out, f.Error())
	}
	return out
}

// register adds a version to subject and returns the id of the schema.
func (s *store) register(subject, text string, refs []reference) (int, *apiError) {
	identity, apiErr := validate(text, refs)
	if apiErr != nil {
		return 0, apiErr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.live(subject) {
		if v.schema.identity == identity {
			return v.schema.id, nil
		}
	}
	if faults := s.incompatible(subject, text, refs, s.live(subject)); faults != nil {
		return 0, &apiError{http.StatusConflict, 409, fmt.Sprintf(
			"Schema being registered is incompatible with an earlier schema for subject %q, details: [%s]", subject, strings.Join(faults, ", "))}
	}
	sc := s.ids[identity]
	if sc == nil {
		s.last++
		sc = &schema{id: s.last, identity: identity, text: text, references: refs}
		s.ids[identity], s.byID[sc.id] = sc, sc
	}
	number := 1
	if all := s.subjects[subject]; len(all) > 0 {
		number = all[len(all)-1].number + 1
	}
	s.subjects[subject] = append(s.subjects[subject], &version{number: number, schema: sc})
	return sc.id, nil
}

// lookup finds the version of subject that holds a schema.
func (s *store) lookup(subject, text string, refs []reference) (*version, *apiError) {
	identity, apiErr := validate(text, refs)
	if apiErr != nil {
		return nil, apiErr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.live(subject)
	if live == nil {
		return nil, subjectNotFound(subject)
	}
	for _, v := range live {
		if v.schema.identity == identity {
			return v, nil
		}
	}
	return nil, schemaNotFound()
}

// version finds a version by its number or "latest".
func (s *store) version(subject, which string) (*version, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.live(subject)
	if live == nil {
		return nil, subjectNotFound(subject)
	}
	if which == "latest" || which == "-1" {
		return live[len(live)-1], nil
	}
	for _, v := range live {
		if fmt.Sprint(v.number) == which {
			return v, nil
		}
	}
	return nil, versionNotFound(which)
}

// delete removes a version, or all for which = "", softly or for ever; the latter needs a soft deletion before.
func (s *store) delete(subject, which string, permanent bool) ([]int, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.subjects[subject]
	if len(all) == 0 || (!permanent && len(s.live(subject)) == 0) {
		return nil, subjectNotFound(subject)
	}
	if live := s.live(subject); which == "latest" && len(live) > 0 {
		which = fmt.Sprint(live[len(live)-1].number)
	}
	var gone []int
	var keep []*version
	for _, v := range all {
		if (which != "" && fmt.Sprint(v.number) != which) || (!permanent && v.deleted) {
			keep = append(keep, v)
			continue
		}
		if permanent && !v.deleted {
			return nil, &apiError{http.StatusNotFound, 40405, fmt.Sprintf("Subject '%s' was not deleted first before being permanently deleted", subject)}
		}
		gone = append(gone, v.number)
		if v.deleted = true; !permanent {
			keep = append(keep, v)
		}
	}
	if gone == nil {
		return nil, versionNotFound(which)
	}
	s.subjects[subject] = keep
	return gone, nil
}

// uses lists where the schema of an id is registered.
func (s *store) uses(id int) (sc *schema, subjects []string, numbers []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc = s.byID[id]
	names := make([]string, 0, len(s.subjects))
	for name := range s.subjects {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, v := range s.live(name) {
			if v.schema == sc {
				subjects, numbers = append(subjects, name), append(numbers, v.number)
			}
		}
	}
	return sc, subjects, numbers
}

// names lists the subjects with a live version, sorted.
func (s *store) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for name := range s.subjects {
		if len(s.live(name)) > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
