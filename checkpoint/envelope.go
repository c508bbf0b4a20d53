package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/state"
)

// HEAD and manifests are one line of text and then JSON:
//
//	millrace manifest 1 <SHA-256 in hex>\n
//	{ … }
//
// The checksum covers the kind, the version and the JSON, so that a flipped bit anywhere is seen. This line is the same in all
// versions. Unknown fields are refused: what a newer release wrote is never half understood.

const magic = "millrace"

func seal(kind string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%s %s %d %s\n", magic, kind, FormatVersion, envelopeSum(kind, FormatVersion, body)), body...), nil
}

func envelopeSum(kind string, version int, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", kind, version)
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// unseal checks the envelope and decodes the content into v. object names the source of data in errors.
func unseal(object, kind string, data []byte, v any) error {
	line, body, ok := bytes.Cut(data, []byte("\n"))
	parts := strings.Split(string(line), " ")
	if !ok || len(parts) != 4 || parts[0] != magic || parts[1] != kind {
		return &CorruptError{Object: object, Reason: fmt.Sprintf("it does not begin with %q", magic+" "+kind+" …")}
	}
	version, err := strconv.Atoi(parts[2])
	if err != nil || strconv.Itoa(version) != parts[2] || version < 1 {
		return &CorruptError{Object: object, Reason: fmt.Sprintf("%q is not a version", parts[2])}
	}
	if sum := envelopeSum(kind, version, body); sum != parts[3] {
		return &CorruptError{Object: object, Reason: fmt.Sprintf("SHA-256 is %s, recorded is %q", sum, parts[3])}
	}
	if version > FormatVersion {
		return fmt.Errorf("checkpoint: object %q has format version %d, this release reads up to %d; use the release that wrote it or a newer one",
			object, version, FormatVersion)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &CorruptError{Object: object, Reason: "its checksum is right but its content is not: " + err.Error()}
	}
	if d.More() {
		return &CorruptError{Object: object, Reason: "its checksum is right but data follows its content"}
	}
	return nil
}

// encodeManifest gives the bytes of the object that holds m.
func encodeManifest(m *Manifest) ([]byte, error) {
	m.Version = FormatVersion
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return seal("manifest", m)
}

func decodeManifest(object string, data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := unseal(object, "manifest", data, m); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, &CorruptError{Object: object, Reason: "its checksum is right but its content is not: " + err.Error()}
	}
	return m, nil
}

// Validate reports the first way in which the manifest contradicts itself.
func (m *Manifest) Validate() error {
	switch {
	case m.Version < 1 || m.Version > FormatVersion:
		return fmt.Errorf("checkpoint: manifest: version is %d, want 1 to %d", m.Version, FormatVersion)
	case m.ID < 1:
		return fmt.Errorf("checkpoint: manifest: id is %d, want at least 1", m.ID)
	case m.Epoch < 1:
		return fmt.Errorf("checkpoint: manifest %d: epoch is %d, want at least 1", m.ID, m.Epoch)
	case m.MaxParallelism < 1:
		return fmt.Errorf("checkpoint: manifest %d: max parallelism is %d, want at least 1", m.ID, m.MaxParallelism)
	}
	for i, o := range m.Operators {
		if i > 0 && m.Operators[i-1].UID >= o.UID {
			return fmt.Errorf("checkpoint: manifest %d: uid %q comes after %q, want ascending order", m.ID, o.UID, m.Operators[i-1].UID)
		}
		if err := o.validate(m.MaxParallelism); err != nil {
			return fmt.Errorf("checkpoint: manifest %d: uid %q: %w", m.ID, o.UID, err)
		}
	}
	return nil
}

func (o *OperatorState) validate(maxParallelism int) error {
	if o.Parallelism < 1 || o.Parallelism > maxParallelism || len(o.Subtasks) != o.Parallelism {
		return fmt.Errorf("parallelism is %d with %d subtasks, want equal numbers from 1 to %d", o.Parallelism, len(o.Subtasks), maxParallelism)
	}
	for i, d := range o.States {
		if i > 0 && o.States[i-1].Name >= d.Name {
			return fmt.Errorf("state %q comes after %q, want ascending order", d.Name, o.States[i-1].Name)
		}
	}
	splits := map[string]bool{}
	for i, s := range o.Subtasks {
		if want := state.RangeOf(i, o.Parallelism, maxParallelism); s.Groups != want {
			return fmt.Errorf("subtask %d has key groups [%d,%d), want [%d,%d)", i, s.Groups.Start, s.Groups.End, want.Start, want.End)
		}
		for _, f := range s.objects() {
			if err := validFile(f, maxParallelism); err != nil {
				return fmt.Errorf("subtask %d: %w", i, err)
			}
		}
		for _, p := range s.Splits {
			if splits[p.ID] {
				return fmt.Errorf("split %q is there twice", p.ID)
			}
			splits[p.ID] = true
		}
	}
	return nil
}

func validFile(f state.File, maxParallelism int) error {
	if err := ValidName(f.Name); err != nil {
		return err
	}
	if _, err := hex.DecodeString(f.SHA256); err != nil || len(f.SHA256) != 2*sha256.Size {
		return fmt.Errorf("file %q has SHA-256 %q, want %d hex digits", f.Name, f.SHA256, 2*sha256.Size)
	}
	if f.Size < 0 || f.Groups.Start < 0 || f.Groups.End < f.Groups.Start || f.Groups.End > maxParallelism {
		return fmt.Errorf("file %q has size %d and key groups [%d,%d), want a size of 0 or more and a range within [0,%d)",
			f.Name, f.Size, f.Groups.Start, f.Groups.End, maxParallelism)
	}
	return nil
}
