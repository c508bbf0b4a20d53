package codegen

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"

	"github.com/millrace-io/millrace/serde"
)

// must writes a call that may refuse its value.
func (g *generator) must(format string, args ...any) {
	g.p("if dst, ok = "+format+"; !ok {\nreturn dst, false\n}", args...)
}

// deep is the depth below so many records.
func deep(level int) string {
	if level == 0 {
		return "depth"
	}
	return fmt.Sprintf("depth+%d", level)
}

// appendRecord writes the code that encodes struct v, which lies in level records of the function.
func (g *generator) appendRecord(s *serde.Shape, v value, level int) {
	g.p("if %s >= serde.MaxDepth {\nreturn dst, false\n}", deep(level))
	g.record(s, v, func(f *serde.Shape, x value) { g.appendValue(f, x, level+1) })
}

func (g *generator) appendValue(s *serde.Shape, v value, level int) {
	if g.callable(s) {
		g.need(s)
		g.must("appendAvro%s(dst, %s, %s)", s.Type.Name(), v.addr(), deep(level))
		return
	}
	g.appendForm(s, v, level)
}

// appendForm writes the code in place.
func (g *generator) appendForm(s *serde.Shape, v value, level int) {
	switch s.Form {
	case serde.FormRecord:
		g.appendRecord(s, v, level)
	case serde.FormPointer:
		g.appendPointer(s, v, level)
	case serde.FormAlways:
		p := g.target(v)
		g.p("if %s == nil {\nreturn dst, false\n}", p.expr)
		g.appendValue(s.Elem, p, level)
	case serde.FormSlice:
		g.appendSlice(s, v, level)
	case serde.FormMap:
		k, e := g.fresh("k"), g.fresh("e")
		g.appendCount(v)
		g.p("for %s, %s := range %s {\ndst = serde.AppendText(dst, %s)", k, e, v.get(), value{expr: k}.as(s.Type.Key(), "string"))
		g.appendValue(s.Elem, value{expr: e}, level)
		g.p("}\n}\ndst = append(dst, 0)")
	case serde.FormEnum:
		g.p("switch %s {", v.get())
		for i, symbol := range s.Symbols {
			g.p("case %q:\ndst = append(dst, %s)", symbol, octets(binary.AppendVarint(nil, int64(i))))
		}
		g.p("default:\nreturn dst, false\n}")
	default:
		g.appendLeaf(s, v)
	}
}

// octets lists bytes.
func octets(b []byte) string {
	var parts []string
	for _, c := range b {
		parts = append(parts, fmt.Sprint(c))
	}
	return strings.Join(parts, ", ")
}

// appendCount begins the block of a slice or map that is not empty.
func (g *generator) appendCount(v value) {
	n := g.fresh("n")
	g.p("if %s := len(%s); %s > 0 {\ndst = serde.AppendLong(dst, int64(%s))", n, v.get(), n, n)
}

func (g *generator) appendSlice(s *serde.Shape, v value, level int) {
	g.appendCount(v)
	e := g.fresh("e")
	switch s.Elem.Type.Kind() {
	case reflect.Struct, reflect.Array:
		i := g.fresh("i")
		list := v.expr
		if v.pointer {
			list = "(*" + v.expr + ")"
		}
		g.p("for %s := range %s {\n%s := &%s[%s]", i, v.get(), e, list, i)
		g.appendValue(s.Elem, value{e, true}, level)
	default:
		g.p("for _, %s := range %s {", e, v.get())
		g.appendValue(s.Elem, value{expr: e}, level)
	}
	g.p("}\n}\ndst = append(dst, 0)")
}

func (g *generator) appendPointer(s *serde.Shape, v value, level int) {
	p := g.target(v)
	g.p("if %s == nil {\ndst = append(dst, %d)\n} else {\ndst = append(dst, %d)", p.expr, s.Null<<1, (1-s.Null)<<1)
	g.appendValue(s.Elem, p, level)
	g.p("}")
}

func (g *generator) appendLeaf(s *serde.Shape, v value) {
	t := s.Type
	switch s.Form {
	case serde.FormBool:
		g.p("dst = serde.AppendBool(dst, %s)", v.as(t, "bool"))
	case serde.FormInt, serde.FormLong:
		if t.Kind() == reflect.Uint || t.Kind() == reflect.Uint64 {
			g.p("if int64(%s) < 0 {\nreturn dst, false\n}", v.get())
		}
		g.p("dst = serde.AppendLong(dst, %s)", v.as(t, "int64"))
	case serde.FormUint64:
		g.p("dst = serde.AppendUnsigned(dst, %s)", v.as(t, "uint64"))
	case serde.FormFloat32:
		g.p("dst = serde.AppendFloat(dst, %s)", v.as(t, "float32"))
	case serde.FormFloat64:
		g.p("dst = serde.AppendDouble(dst, %s)", v.as(t, "float64"))
	case serde.FormText:
		g.p("dst = serde.AppendText(dst, %s)", v.as(t, "string"))
	case serde.FormBytes:
		g.p("dst = serde.AppendBytes(dst, %s)", v.get())
	case serde.FormFixed:
		g.p("dst = serde.AppendFixed(dst, %s[:])", v.expr)
	case serde.FormUUID:
		g.p("dst = serde.AppendUUID(dst, %s[:])", v.expr)
	case serde.FormTime:
		g.must("serde.AppendTime(dst, %s, %q)", v.get(), s.Unit)
	case serde.FormSpan:
		g.must("serde.AppendSpan(dst, %s, %q)", v.get(), s.Unit)
	case serde.FormDecimal:
		g.must("serde.AppendDecimal(dst, %s, %d, %d)", v.get(), s.Precision, s.Scale)
	case serde.FormRat:
		g.must("serde.AppendRat(dst, %s, %d, %d)", v.addr(), s.Precision, s.Scale)
	default:
		g.fail("%v has the form %q, which this generator does not know", t, s.Form)
	}
}
