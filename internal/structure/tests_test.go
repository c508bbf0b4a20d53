package structure

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// bubble is the phrase that the comment of a test helper carries when all its callers are inside synctest.Test.
const bubble = "in a synctest bubble"

// sleepRule finds time.Sleep in tests where it would wait for real: outside the function given to synctest.Test, and
// outside functions whose comment says that they run in a synctest bubble.
func sleepRule(f file) []string {
	if !f.test() {
		return nil
	}
	var out []string
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || fn.Doc != nil && strings.Contains(strings.Join(strings.Fields(fn.Doc.Text()), " "), bubble) {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if isCall(call, "time", "Sleep") {
				out = append(out, f.finding(f.line(call.Pos()), "time.Sleep waits for real: use synctest.Test, a channel or an injected clock"))
			}
			return !isCall(call, "synctest", "Test")
		})
	}
	return out
}

func isCall(c *ast.CallExpr, pkg, name string) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// skipRule finds skipped tests that do not say why: SkipNow, and Skip or Skipf whose first argument is no text of 10 bytes or more.
func skipRule(f file) []string {
	var out []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for _, recv := range []string{"t", "b", "f", "tb"} {
			if isCall(call, recv, "SkipNow") || (isCall(call, recv, "Skip") || isCall(call, recv, "Skipf")) && !hasReason(call) {
				out = append(out, f.finding(f.line(call.Pos()), "test skipped without a reason in words"))
			}
		}
		return true
	})
	return out
}

// hasReason reports whether the first argument starts with a string literal that is long enough to say something.
func hasReason(call *ast.CallExpr) bool {
	if len(call.Args) == 0 {
		return false
	}
	arg := call.Args[0]
	for {
		b, ok := arg.(*ast.BinaryExpr)
		if !ok {
			break
		}
		arg = b.X
	}
	lit, ok := arg.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return false
	}
	text, err := strconv.Unquote(lit.Value)
	return err == nil && len(strings.TrimSpace(text)) >= 10
}

func TestNoSleeps(t *testing.T) { hold(t, sleepRule) }

func TestSkipsHaveReasons(t *testing.T) { hold(t, skipRule) }

func TestSleepRule(t *testing.T) {
	wrap := func(doc, body string) string {
		return "package x\n\n" + doc + "func f(t *testing.T) {\n\t" + body + "\n}\n"
	}
	inside := "synctest.Test(t, func(t *testing.T) { time.Sleep(1) })"
	findings(t, sleepRule, []snippet{
		{"real sleep", "a_test.go", wrap("", "time.Sleep(1)"), 1},
		{"real sleep in a closure", "a_test.go", wrap("", "func() { time.Sleep(1) }()"), 1},
		{"bubble", "a_test.go", wrap("", inside), 0},
		{"sleep beside a bubble", "a_test.go", wrap("", inside+"\n\ttime.Sleep(1)"), 1},
		{"helper in a bubble", "a_test.go", wrap("// f runs in a synctest\n// bubble.\n", "time.Sleep(1)"), 0},
		{"not a test", "a.go", wrap("", "time.Sleep(1)"), 0},
	})
}

func TestSkipRule(t *testing.T) {
	wrap := func(body string) string { return "package x\n\nfunc f(t *testing.T) {\n\t" + body + "\n}\n" }
	findings(t, skipRule, []snippet{
		{"bare", "a_test.go", wrap("t.Skip()"), 1},
		{"now", "a_test.go", wrap("t.SkipNow()"), 1},
		{"empty", "a_test.go", wrap(`t.Skip("  ")`), 1},
		{"only a value", "a_test.go", wrap(`t.Skip(err)`), 1},
		{"reason", "a_test.go", wrap(`t.Skip("KAFKA_BROKERS is not set: needs a real broker")`), 0},
		{"reason and value", "a_test.go", wrap(`t.Skipf("needs a real broker: "+"%v", err)`), 0},
		{"another Skip", "a_test.go", wrap(`r.Skip()`), 0},
	})
}
