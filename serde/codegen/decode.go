package codegen

import (
	"reflect"

	"github.com/millrace-io/millrace/serde"
)

// decodeRecord writes the code that decodes struct v.
func (g *generator) decodeRecord(s *serde.Shape, v value) {
	g.p("if !r.Enter(%v) {\nreturn\n}", s.Shared)
	g.record(s, v, g.decodeValue)
	g.p("r.Leave()")
}

func (g *generator) decodeValue(s *serde.Shape, v value) {
	if g.callable(s) {
		g.need(s)
		g.p("decodeAvro%s(r, %s)", s.Type.Name(), v.addr())
		return
	}
	g.decodeForm(s, v)
}

// decodeForm writes the code in place.
func (g *generator) decodeForm(s *serde.Shape, v value) {
	switch s.Form {
	case serde.FormRecord:
		g.decodeRecord(s, v)
	case serde.FormPointer:
		p := g.fresh("p")
		g.p("if r.Index(2) == %d {\n%s := serde.New(%s)", 1-s.Null, p, v.addr())
		g.decodeValue(s.Elem, value{p, true})
		g.p("}")
	case serde.FormAlways:
		p := g.fresh("p")
		g.p("%s := serde.New(%s)", p, v.addr())
		g.decodeValue(s.Elem, value{p, true})
	case serde.FormSlice:
		n, e := g.fresh("n"), g.fresh("e")
		g.p("for %s := r.Block(%d); %s > 0; %s = r.Block(%d) {", n, s.Elem.BytesMin, n, n, s.Elem.BytesMin)
		g.p("%s = serde.Grow(%s, %s)\nfor range %s {\n%s := serde.Next(%s)", v.get(), v.get(), n, n, e, v.addr())
		g.decodeValue(s.Elem, value{e, true})
		g.p("if r.Failed() {\nreturn\n}\n}\n}")
	case serde.FormMap:
		n, k, e := g.fresh("n"), g.fresh("k"), g.fresh("e")
		g.p("for %s := r.Block(%d); %s > 0; %s = r.Block(%d) {", n, s.Elem.BytesMin+1, n, n, s.Elem.BytesMin+1)
		g.p("%s = serde.Map(%s, %s)\nfor range %s {\n%s, %s := r.Text(), serde.ZeroOf(%s)", v.get(), v.get(), n, n, k, e, v.get())
		g.decodeValue(s.Elem, value{expr: e})
		g.p("if r.Failed() {\nreturn\n}\nserde.Put(%s, %s, %s)\n}\n}", v.get(), k, e)
	case serde.FormEnum:
		g.p("switch r.Index(%d) {", len(s.Symbols))
		for i, symbol := range s.Symbols {
			g.p("case %d:\n%s = %q", i, v.get(), symbol)
		}
		g.p("}")
	default:
		g.decodeLeaf(s, v)
	}
}

// readers are the methods of serde.Reader that give a built-in type, and the functions that store what they read into any type made of one.
var readers = map[serde.Form]struct{ builtin, method, function string }{
	serde.FormBool:    {"bool", "Bool", "ReadBool"},
	serde.FormInt:     {"int32", "Int", "ReadInt"},
	serde.FormLong:    {"int64", "Long", "ReadLong"},
	serde.FormUint64:  {"", "", "ReadUnsigned"},
	serde.FormFloat32: {"float32", "Float", "ReadFloat"},
	serde.FormFloat64: {"float64", "Double", "ReadDouble"},
	serde.FormText:    {"string", "Text", "ReadText"},
	serde.FormBytes:   {"", "", "ReadBytes"},
}

func (g *generator) decodeLeaf(s *serde.Shape, v value) {
	if read, ok := readers[s.Form]; ok {
		g.read(s.Type, v, read.builtin, read.method, read.function)
		return
	}
	switch s.Form {
	case serde.FormFixed:
		g.p("serde.ReadFixed(r, %s[:])", v.expr)
	case serde.FormUUID:
		g.p("serde.ReadUUID(r, %s[:])", v.expr)
	case serde.FormTime:
		g.p("%s = r.Time(%q)", v.get(), s.Unit)
	case serde.FormSpan:
		g.p("%s = r.Span(%q)", v.get(), s.Unit)
	case serde.FormDecimal:
		g.p("%s = r.Decimal(%d, %d)", v.get(), s.Precision, s.Scale)
	case serde.FormRat:
		g.p("r.Rat(%s, %d, %d)", v.addr(), s.Precision, s.Scale)
	}
}

func (g *generator) read(t reflect.Type, v value, builtin, method, function string) {
	if method != "" && t.PkgPath() == "" && t.Name() == builtin {
		g.p("%s = r.%s()", v.get(), method)
		return
	}
	g.p("serde.%s(r, %s)", function, v.addr())
}
