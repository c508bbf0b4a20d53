package structure

import (
	"strconv"
	"strings"
	"testing"
)

// rules of the import table: what a package below prefix may import of this module. A trailing "/..." stands for the package
// and all below it. The first row that matches a package decides; internal/crash is allowed everywhere, and a package may always
// import what lies below its own row.
var imports = []struct {
	pkg   string
	allow []string
}{
	{"dataflow/why/...", nil},
	{"serde/...", nil},
	{"state/...", []string{"serde/..."}},
	{"checkpoint/...", []string{"serde/...", "state"}},
	{"connectors", []string{"serde/...", "state", "checkpoint"}},
	{"connectors/connectortest/...", []string{"connectors", "serde/...", "state", "checkpoint"}},
	{"connectors/*/...", []string{"connectors", "serde/...", "state", "checkpoint"}},
	{"operators/...", []string{"connectors", "serde/...", "state/...", "internal/watermark/..."}},
	{"internal/crash/...", nil},
	{"internal/watermark/...", nil},
	{"internal/history/...", []string{"serde/...", "state/...", "checkpoint/..."}},
	{"internal/structure/...", nil},
	{"internal/services/...", nil},
	{"internal/sim/...", []string{"serde/...", "state/...", "checkpoint/...", "connectors/...", "operators/..."}},
	{"internal/exchange/...", []string{"operators/...", "connectors", "serde/...", "state", "checkpoint"}},
	{"internal/runtime/...", []string{"dataflow/why", "internal/exchange/...", "internal/watermark", "operators/...", "connectors", "checkpoint/...", "serde/...", "state/..."}},
	{"dataflow/...", []string{"dataflow/why", "internal/runtime/...", "internal/exchange/...", "operators/...", "connectors", "checkpoint/...", "serde/...", "state/..."}},
	{"examples/...", []string{"..."}},
	{"cmd/...", []string{"..."}},
	{"internal/e2e/...", []string{"..."}},
	{"", nil},
}

// onlyTests is what the tests of every package may import beyond the table: fakes and simulators. Tests of dataflow, where all parts meet,
// may import everything.
var onlyTests = []string{"internal/sim/...", "connectors/dynamodb/dynamodbtest", "connectors/connectortest/...", "state/memstate", "state/statetest/...", "operators/operatortest"}

// wholeJobs are packages whose external tests (package x_test, which nobody imports) may also run whole jobs: the golden vectors of the operators
// are replayed on the runtime.
var wholeJobs = map[string][]string{"operators": {"dataflow", "checkpoint/...", "connectors/memory"}}

// matches reports whether package p (relative to the module) falls under pattern. "*" stands for exactly one path element.
func matches(pattern, p string) bool {
	if pattern == "..." {
		return true
	}
	base, deep := strings.CutSuffix(pattern, "/...")
	want, have := strings.Split(base, "/"), strings.Split(p, "/")
	if len(have) < len(want) || len(have) > len(want) && !deep {
		return false
	}
	for i, w := range want {
		if w != "*" && w != have[i] {
			return false
		}
	}
	return true
}

// sameRow reports whether both packages lie below the same folder that a row names, so that connectors/kafka may import
// connectors/kafka/x but not connectors/file.
func sameRow(row, from, to string) bool {
	base, deep := strings.CutSuffix(row, "/...")
	if !deep {
		return false
	}
	n := len(strings.Split(base, "/"))
	a, b := strings.Split(from, "/"), strings.Split(to, "/")
	return len(a) >= n && len(b) >= n && strings.Join(a[:n], "/") == strings.Join(b[:n], "/")
}

func anyMatches(patterns []string, p string) bool {
	for _, pattern := range patterns {
		if matches(pattern, p) {
			return true
		}
	}
	return false
}

// importRule finds imports that the table does not allow.
func importRule(f file) []string {
	row := -1
	for i, r := range imports {
		if matches(r.pkg, f.dir()) {
			row = i
			break
		}
	}
	if row < 0 {
		return []string{f.finding(1, "package %s has no row in the import table of internal/structure", f.dir())}
	}
	var out []string
	for _, spec := range f.tree.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			out = append(out, f.finding(f.line(spec.Pos()), "import %s: %v", spec.Path.Value, err))
			continue
		}
		p, ours := strings.CutPrefix(name, module)
		if p = strings.TrimPrefix(p, "/"); !ours || p == f.dir() || matches("internal/crash/...", p) {
			continue
		}
		if sameRow(imports[row].pkg, f.dir(), p) || anyMatches(imports[row].allow, p) || f.test() && (anyMatches(onlyTests, p) || matches("dataflow/...", f.dir())) {
			continue
		}
		if f.test() && strings.HasSuffix(f.tree.Name.Name, "_test") && anyMatches(wholeJobs[f.dir()], p) {
			continue
		}
		out = append(out, f.finding(f.line(spec.Pos()), "%s must not import %s (import table of internal/structure)", f.dir(), p))
	}
	return out
}

func TestImports(t *testing.T) { hold(t, importRule) }

func TestImportRule(t *testing.T) {
	one := func(p string) string { return "package x\n\nimport _ \"" + module + "/" + p + "\"\n" }
	findings(t, importRule, []snippet{
		{"outside world", "serde/a.go", "package serde\n\nimport _ \"fmt\"\n", 0},
		{"upwards", "serde/a.go", one("state"), 1},
		{"downwards", "state/a.go", one("serde"), 0},
		{"backend in a connector", "connectors/kafka/a.go", one("state/memstate"), 1},
		{"backend in a connector's test", "connectors/kafka/a_test.go", one("state/memstate"), 0},
		{"connector sees the runtime", "connectors/kafka/a.go", one("internal/runtime"), 1},
		{"connector sees the runtime in a test", "connectors/kafka/a_test.go", one("internal/runtime"), 1},
		{"connector sees dataflow", "connectors/kafka/a.go", one("dataflow"), 1},
		{"connector sees operators", "connectors/file/a.go", one("operators"), 1},
		{"connector sees another", "connectors/file/a.go", one("connectors/kafka"), 1},
		{"connector sees its own parts", "connectors/kafka/a.go", one("connectors/kafka/wire"), 0},
		{"contract sees a connector", "connectors/sink.go", one("connectors/kafka"), 1},
		{"connector and checkpoint", "connectors/file/a.go", one("checkpoint"), 0},
		{"operators see dataflow", "operators/a.go", one("dataflow"), 1},
		{"operators see dataflow in a test", "operators/a_test.go", one("dataflow"), 1},
		{"operators see dataflow in an external test", "operators/a_test.go", strings.Replace(one("dataflow"), "package x", "package x_test", 1), 0},
		{"a part of operators does not", "operators/operatortest/a_test.go", strings.Replace(one("dataflow"), "package x", "package x_test", 1), 1},
		{"operators see connectors", "operators/a.go", one("connectors"), 0},
		{"operators see a connector", "operators/a.go", one("connectors/kafka"), 1},
		{"runtime sees dataflow", "internal/runtime/a.go", one("dataflow"), 1},
		{"dataflow sees a connector", "dataflow/a.go", one("connectors/kafka"), 1},
		{"test of dataflow sees a connector", "dataflow/a_test.go", one("connectors/kafka"), 0},
		{"crash points everywhere", "serde/a.go", one("internal/crash"), 0},
		{"examples see everything", "examples/x/main.go", one("connectors/kafka"), 0},
		{"library sees an example", "dataflow/a.go", one("examples/x"), 1},
		{"no row", "helpers/a.go", one("serde"), 1},
	})
}
