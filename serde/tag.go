package serde

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// tag is the parsed `avro:"…"` tag of a struct field.
type tag struct {
	skip       bool
	name       string // "" for none
	aliases    []string
	enum       []string // symbols
	fallback   string   // enum default
	logical    string   // timestamp-…, date, time-…, uuid
	long       bool
	notNull    bool
	precision  int // decimal, 0 for none
	scale      int
	hasDefault bool
	def        string // JSON, or bare text
}

// parseTag reads name,option,option=value… The option default takes the whole rest, commas too.
func parseTag(s string) (tag, error) {
	var t tag
	if s == "-" {
		t.skip = true
		return t, nil
	}
	t.name, s, _ = strings.Cut(s, ",")
	for s != "" {
		var opt string
		if rest, ok := strings.CutPrefix(s, "default="); ok {
			t.hasDefault, t.def = true, rest
			break
		}
		opt, s, _ = strings.Cut(s, ",")
		key, value, _ := strings.Cut(opt, "=")
		var err error
		switch key {
		case "alias":
			t.aliases = append(t.aliases, value)
		case "enum":
			t.enum = strings.Split(value, "|")
		case "enum-default":
			t.fallback = value
		case "precision":
			t.precision, err = strconv.Atoi(value)
		case "scale":
			t.scale, err = strconv.Atoi(value)
		case "notnull":
			t.notNull = true
		case "long":
			t.long = true
		case logicalUUID, logicalDate, logicalTimeMillis, logicalTimeMicros,
			logicalTimestampMillis, logicalTimestampMicros, logicalTimestampNanos:
			t.logical = key
		default:
			return t, fmt.Errorf("tag option %q is unknown", opt)
		}
		if err != nil {
			return t, fmt.Errorf("tag option %q wants a number", opt)
		}
	}
	return t, nil
}

// defaultOf is the default of a tag as JSON: bare text for a string or enum needs no quotes.
func (t tag) defaultOf(n *node) any {
	if n.kind == kString || n.kind == kEnum || n.kind == kBytes || n.kind == kFixed {
		if !strings.HasPrefix(t.def, `"`) {
			return t.def
		}
	}
	dec := json.NewDecoder(strings.NewReader(t.def))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return t.def // refused by the check of the default, which names the type
	}
	return v
}

// structField is one field of a Go struct that has a place in the record.
type structField struct {
	name   string // in the schema
	goName string // path from the outer struct: "Embedded.Field"
	offset uintptr
	typ    reflect.Type
	tag    tag
}

// recordName is what the blank field of a struct says of its record: _ struct{} `avro:"name,alias=old"`.
type recordName struct {
	name    string
	aliases []string
}

// structFields lists the fields of struct t in order, those of embedded structs in their place.
func structFields(t reflect.Type) (fields []structField, rec recordName, errs []error) {
	fail := func(f reflect.StructField, format string, args ...any) {
		errs = append(errs, fmt.Errorf("field %s: %s", f.Name, fmt.Sprintf(format, args...)))
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tg, err := parseTag(f.Tag.Get("avro"))
		switch {
		case err != nil:
			fail(f, "%v", err)
		case tg.skip:
		case f.Name == "_":
			if f.Tag.Get("avro") != "" {
				rec = recordName{name: tg.name, aliases: tg.aliases}
			}
		case f.Anonymous && f.Type.Kind() == reflect.Struct && tg.name == "" && !isLeaf(f.Type):
			inner, _, innerErrs := structFields(f.Type)
			for _, in := range inner {
				in.offset += f.Offset
				in.goName = f.Name + "." + in.goName
				fields = append(fields, in)
			}
			for _, e := range innerErrs {
				fail(f, "%v", e)
			}
		case !f.IsExported():
			fail(f, "is not exported, so its value would be lost; export it, or tag it `avro:\"-\"` to leave it out")
		default:
			name := tg.name
			if name == "" {
				name = f.Name
			}
			fields = append(fields, structField{name: name, goName: f.Name, offset: f.Offset, typ: f.Type, tag: tg})
		}
	}
	seen := map[string]string{}
	for _, f := range fields {
		if other, ok := seen[f.name]; ok {
			errs = append(errs, fmt.Errorf("fields %s and %s are both named %q; give one another name by `avro:\"name\"`", other, f.goName, f.name))
		}
		seen[f.name] = f.goName
		for _, name := range append([]string{f.name}, f.tag.aliases...) {
			if err := checkName(name, false); err != nil {
				errs = append(errs, fmt.Errorf("field %s: %w", f.goName, err))
			}
		}
	}
	return fields, rec, errs
}
