package structure

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var metricName = regexp.MustCompile(`^millrace_[a-z0-9_]+$`)

// metricNames are the metrics that the code of f names, as whole literals so that they can be searched for.
func metricNames(f file) []string {
	if f.tree == nil || f.test() || strings.HasPrefix(f.path, "examples/") {
		return nil
	}
	var names []string
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil && metricName.MatchString(s) {
				names = append(names, s)
			}
		}
		return true
	})
	return names
}

// documented are the metrics in the first column of the tables of docs/METRICS.md.
func documented(text string) []string {
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(millrace_[a-z0-9_]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestMetricsDocumented compares the code with docs/METRICS.md: a metric that is missing in either is named.
func TestMetricsDocumented(t *testing.T) {
	code, docs := map[string]bool{}, map[string]bool{}
	for _, f := range repo(t) {
		for _, n := range metricNames(f) {
			code[n] = true
		}
		if f.path == "docs/METRICS.md" {
			for _, n := range documented(string(f.src)) {
				if docs[n] {
					t.Errorf("docs/METRICS.md has %s twice", n)
				}
				docs[n] = true
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(code)) {
		if !docs[n] {
			t.Errorf("%s is not in docs/METRICS.md", n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(docs)) {
		if !code[n] {
			t.Errorf("docs/METRICS.md has %s, which no code makes", n)
		}
	}
}

// TestMetricNamesSelf shows that the two halves of the comparison find names and pass over what is none.
func TestMetricNamesSelf(t *testing.T) {
	f, err := parse("a/a.go", []byte("package a\nvar x = []string{\"millrace_a_total\", \"millrace_\", \"other\"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := metricNames(f); !slices.Equal(got, []string{"millrace_a_total"}) {
		t.Errorf("code: %q", got)
	}
	if got := documented("| `millrace_b` | | x |\ntext `millrace_c`\n"); !slices.Equal(got, []string{"millrace_b"}) {
		t.Errorf("docs: %q", got)
	}
}
