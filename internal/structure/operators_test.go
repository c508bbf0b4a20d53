package structure

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var operatorName = regexp.MustCompile("`([a-z]+)\\.([A-Z][A-Za-z0-9]*(?:\\.[A-Z][A-Za-z0-9]*)?)`")

// tableNames are the names, "package.Name" or "package.Type.Method", in the first column of the tables of a document.
func tableNames(text string) []string {
	var names []string
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || cells[0] != "" {
			continue
		}
		for _, m := range operatorName.FindAllStringSubmatch(cells[1], -1) {
			names = append(names, m[1]+"."+m[2])
		}
	}
	return names
}

// exported are the exported names that a file declares, as "package.Name" or "package.Type.Method".
func exported(f file) []string {
	if f.tree == nil || f.test() {
		return nil
	}
	pkg := path.Base(f.dir()) + "."
	var names []string
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, pkg+receiver(d)+d.Name.Name)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if t, ok := s.(*ast.TypeSpec); ok {
					names = append(names, pkg+t.Name.Name)
				}
				if v, ok := s.(*ast.ValueSpec); ok && d.Tok != token.IMPORT {
					for _, n := range v.Names {
						names = append(names, pkg+n.Name)
					}
				}
			}
		}
	}
	return names
}

// receiver is the name of a method's type with a dot, empty for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return ""
	}
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if i, ok := n.(*ast.Ident); ok && name == "" {
			name = i.Name + "."
		}
		return name == ""
	})
	return name
}

// TestOperatorsExist: every name in the first column of docs/OPERATORS.md is one of the code.
func TestOperatorsExist(t *testing.T) {
	have := map[string]bool{}
	var names []string
	for _, f := range repo(t) {
		for _, n := range exported(f) {
			have[n] = true
		}
		if f.path == "docs/OPERATORS.md" {
			names = tableNames(string(f.src))
		}
	}
	if len(names) < 50 {
		t.Errorf("docs/OPERATORS.md names %d operators, want 50 and more: are its tables still found?", len(names))
	}
	for _, n := range names {
		if !have[n] {
			t.Errorf("docs/OPERATORS.md names %s, which the code does not have", n)
		}
	}
}

// TestOperatorNamesSelf shows that both halves of the comparison find what they should.
func TestOperatorNamesSelf(t *testing.T) {
	text := "text `a.No`\n| `a.F`, `a.T.M` with `b` | `a.Other` | x |\n"
	if got := tableNames(text); !slices.Equal(got, []string{"a.F", "a.T.M"}) {
		t.Errorf("document: %q", got)
	}
	f, err := parse("a/a.go", []byte("package a\nfunc F() {}\ntype T[X any] struct{}\nfunc (t *T[X]) M() {}\nconst C = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := exported(f); !slices.Equal(got, []string{"a.F", "a.T", "a.T.M", "a.C"}) {
		t.Errorf("code: %q", got)
	}
}
