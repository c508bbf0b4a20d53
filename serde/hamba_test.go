package serde

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"
)

// These tests hold that the codecs of this package do not have three faults of hamba/avro, and that hamba/avro still has them: when one of them is
// mended there, the reason for a compiler of our own is to be looked at again.

const (
	linkedV1 = `{"type":"record","name":"link","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","link"]}]}`
	linkedV2 = `{"type":"record","name":"link","fields":[{"name":"v","type":"long"},{"name":"next","type":["null","link"]},{"name":"n","type":"string","default":"d"}]}`
)

type link struct {
	V    int64  `avro:"v"`
	Next *link  `avro:"next"`
	N    string `avro:"n,default=d"`
}

// TestRecursionEndsHamba resolves a recursive schema in a process of its own, which dies of it, and here by Resolve.
func TestRecursionEndsHamba(t *testing.T) {
	if os.Getenv("MILLRACE_HAMBA_RECURSION") != "" {
		// This is the child: the call below ends the process, and no recover can help.
		_, err := avro.NewSchemaCompatibility().Resolve(avro.MustParse(linkedV2), avro.MustParse(linkedV1))
		t.Log("hamba has resolved a recursive schema:", err)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRecursionEndsHamba$", "-test.v")
	child.Env = append(os.Environ(), "MILLRACE_HAMBA_RECURSION=1")
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "stack overflow") {
		t.Errorf("hamba resolves recursive schemas now: %v\n%.300s", err, out)
	}
	s, err := Resolve[link](linkedV1)
	if err != nil {
		t.Fatal(err)
	}
	// By hand: v = 1, next = {v = 2, null}.
	var got link
	if err := s.Decode([]byte{2, 2, 4, 0}, &got); err != nil || !reflect.DeepEqual(got, link{V: 1, N: "d", Next: &link{V: 2, N: "d"}}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

type shelf struct {
	List []int64          `avro:"list"`
	Map  map[string]int64 `avro:"map"`
}

// TestStaleContentOfHamba decodes into a value that was used before.
func TestStaleContentOfHamba(t *testing.T) {
	s := mustAvro[shelf](t)
	empty := []byte{0, 0} // an empty array and an empty map
	full := func() shelf { return shelf{List: []int64{1, 2}, Map: map[string]int64{"old": 1}} }
	theirs := full()
	if err := avro.Unmarshal(avro.MustParse(s.Schema()), empty, &theirs); err != nil {
		t.Fatal(err)
	}
	if len(theirs.Map) == 0 && len(theirs.List) == 0 {
		t.Error("hamba leaves nothing behind now")
	}
	ours := full()
	if err := s.Decode(empty, &ours); err != nil || len(ours.Map) != 0 || len(ours.List) != 0 {
		t.Errorf("content of before is left: %+v, %v", ours, err)
	}
	other := []byte{2, 6, 0, 2, 2, 'n', 8, 0} // [3] and {"n": 4}
	if err := s.Decode(other, &ours); err != nil || !reflect.DeepEqual(ours, shelf{List: []int64{3}, Map: map[string]int64{"n": 4}}) {
		t.Errorf("got %+v, %v", ours, err)
	}
}

// TestContainerOfHamba reads a container file of an older schema: hamba has no place for a reader's schema, so a field that was added stays
// empty instead of taking its default.
func TestContainerOfHamba(t *testing.T) {
	const old = `{"type":"record","name":"item","fields":[{"name":"a","type":"long"}]}`
	type item struct {
		_ struct{} `avro:"item"`
		A int64    `avro:"a"`
		B string   `avro:"b,default=added"`
	}
	var file bytes.Buffer
	enc, err := ocf.NewEncoder(old, &file)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.Encode(map[string]any{"a": int64(5)}); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	dec, err := ocf.NewDecoder(&file)
	if err != nil || !dec.HasNext() {
		t.Fatal(err)
	}
	var theirs item
	if err := dec.Decode(&theirs); err != nil || theirs.A != 5 {
		t.Fatalf("hamba reads %+v, %v", theirs, err)
	}
	if theirs.B == "added" {
		t.Error("hamba's container files know defaults now")
	}
	s, err := Resolve[item](old)
	if err != nil {
		t.Fatal(err)
	}
	var ours item
	if err := s.Decode([]byte{10}, &ours); err != nil || ours != (item{A: 5, B: "added"}) {
		t.Errorf("got %+v, %v", ours, err)
	}
}
