package checkpoint

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// HEAD and manifests are one line of text and then JSON:
//
//	millrace manifest 1 <SHA-256 in hex>\n
//	{ … }
//
// The checksum covers the kind, the version and what follows the line, so that a flipped bit anywhere is seen. This line is the same in all
// versions. Unknown fields are refused: what a newer release wrote is never half understood. From version 2 on JSON of more than 4 KiB is
// compressed (RFC 1952; "tail -n +2 | gunzip" shows it): a file costs about 100 bytes then, its name included, instead of 260.

const magic = "millrace"

// plainBytesMax is the size up to which JSON is not compressed, so that what is small can be read as it is.
const plainBytesMax = 4 << 10

func seal(kind string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > plainBytesMax {
		if body, err = compress(body); err != nil {
			return nil, err
		}
	}
	return append(fmt.Appendf(nil, "%s %s %d %s\n", magic, kind, FormatVersion, envelopeSum(kind, FormatVersion, body)), body...), nil
}

func compress(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decompress gives the JSON of a body. It never makes more than jsonBytesMax of it.
func decompress(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, jsonBytesMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(plain) > jsonBytesMax:
		return nil, fmt.Errorf("it has more than %d bytes", jsonBytesMax)
	}
	return plain, nil
}

// jsonBytesMax bounds the JSON of HEAD and of a manifest.
const jsonBytesMax = 1 << 30

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
	corrupt := func(format string, args ...any) error {
		return &CorruptError{Object: object, Length: int64(len(data)), Reason: fmt.Sprintf(format, args...)}
	}
	if !ok || len(parts) != 4 || parts[0] != magic || parts[1] != kind {
		return corrupt("it does not begin with %q", magic+" "+kind+" …")
	}
	version, err := strconv.Atoi(parts[2])
	if err != nil || strconv.Itoa(version) != parts[2] || version < 1 {
		return corrupt("%q is not a version", parts[2])
	}
	if sum := envelopeSum(kind, version, body); sum != parts[3] {
		return corrupt("SHA-256 is %s, recorded is %q", sum, parts[3])
	}
	if version > FormatVersion {
		return fmt.Errorf("checkpoint: object %q has format version %d, this release reads up to %d; use the release that wrote it or a newer one",
			object, version, FormatVersion)
	}
	if version >= 2 && bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		if body, err = decompress(body); err != nil {
			return corrupt("its checksum is right but its content is not: %v", err)
		}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return corrupt("its checksum is right but its content is not: %v", err)
	}
	if d.More() {
		return corrupt("its checksum is right but data follows its content")
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
		return nil, &CorruptError{Object: object, Length: int64(len(data)), Reason: "its checksum is right but its content is not: " + err.Error()}
	}
	return m, nil
}
