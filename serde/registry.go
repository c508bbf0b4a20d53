package serde

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrUnknownSchema says that the registry answered and does not have the schema. Whoever reads a stream treats the record as one
	// that cannot be decoded.
	ErrUnknownSchema = errors.New("serde: schema is not in the registry")
	// ErrUnavailable says that the registry did not answer. It says nothing of the record: try again, do not give the record up.
	ErrUnavailable = errors.New("serde: schema registry is unavailable")
)

// Version is one version of a subject.
type Version struct {
	Number int // within the subject, from 1
	ID     int // within the registry
	Schema string
}

// Registry keeps schemas under ids and subjects. *RegistryClient implements it.
//
// Contract:
//  1. What is registered under an id never changes, so answers about ids may be kept for ever.
//  2. "Not there" is ErrUnknownSchema; trouble on the way is ErrUnavailable; what the registry refuses is neither.
//  3. All methods may be called from many goroutines at once.
type Registry interface {
	// SchemaByID returns the schema of an id, with all schemas that it refers to included.
	SchemaByID(ctx context.Context, id int) (string, error)
	// IDOf returns the id of a schema that is registered in subject.
	IDOf(ctx context.Context, subject, schema string) (int, error)
	// Register puts a schema into subject, if it is not there yet, and returns its id.
	Register(ctx context.Context, subject, schema string) (int, error)
	// Versions lists the versions of subject, oldest first; none for a subject that does not exist.
	Versions(ctx context.Context, subject string) ([]Version, error)
	// Compatibility is the mode that the registry enforces on subject.
	Compatibility(ctx context.Context, subject string) (Mode, error)
}

// IncompatibleError reports that a schema may not become the next version of a subject.
type IncompatibleError struct {
	Subject string
	Mode    Mode
	// Found holds every fault; Earlier is the index in Versions.
	Found []Incompatibility
	// Versions are the versions that were compared with.
	Versions []Version
}

// Error names the subject, and version, field and rule of each fault.
func (e *IncompatibleError) Error() string {
	var lines []string
	for _, f := range e.Found {
		lines = append(lines, fmt.Sprintf("version %d: %v", e.Versions[f.Earlier].Number, f))
	}
	return fmt.Sprintf("serde: schema may not become a version of subject %q (%s): %s", e.Subject, e.Mode, strings.Join(lines, "; "))
}

// CheckSubject checks whether schema may become the next version of subject, by the mode that the registry enforces on it. It returns
// an *IncompatibleError when not. Run it before a deployment: it registers nothing.
func CheckSubject(ctx context.Context, reg Registry, subject, schema string) error {
	mode, err := reg.Compatibility(ctx, subject)
	if err != nil {
		return err
	}
	if err := mode.Validate(); err != nil {
		return err
	}
	versions, err := reg.Versions(ctx, subject)
	if err != nil {
		return err
	}
	earlier := make([]string, len(versions))
	for i, v := range versions {
		earlier[i] = v.Schema
	}
	if found := CheckMode(mode, schema, earlier); found != nil {
		return &IncompatibleError{Subject: subject, Mode: mode, Found: found, Versions: versions}
	}
	return nil
}
