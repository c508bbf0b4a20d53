package structure

import (
	"go/ast"
	"go/token"
	"path"
	"testing"
)

// documentRule finds exported names without a comment. Struct fields, test files and commands are left out; a group of constants or
// variables may share one comment.
func documentRule(f file) []string {
	if f.test() || f.tree.Name.Name == "main" || ast.IsGenerated(f.tree) {
		return nil
	}
	var out []string
	missing := func(p token.Pos, kind, name string) {
		out = append(out, f.finding(f.line(p), "%s %s is exported and not documented", kind, name))
	}
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && receiverExported(d) {
				missing(d.Pos(), "function", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				undocumentedSpec(d, s, missing)
			}
		}
	}
	return out
}

// undocumentedSpec calls missing for each undocumented exported name of one type, constant or variable specification.
func undocumentedSpec(d *ast.GenDecl, s ast.Spec, missing func(token.Pos, string, string)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return
		}
		if s.Doc == nil && d.Doc == nil {
			missing(s.Pos(), "type", s.Name.Name)
		}
		if i, ok := s.Type.(*ast.InterfaceType); ok {
			for _, m := range i.Methods.List {
				if len(m.Names) == 1 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
					missing(m.Pos(), "method", s.Name.Name+"."+m.Names[0].Name)
				}
			}
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				missing(s.Pos(), d.Tok.String(), n.Name)
			}
		}
	}
}

// receiverExported reports whether a function can be seen outside: it is no method, or the method of an exported type.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func TestDocumented(t *testing.T) { hold(t, documentRule) }

// TestPackagesDocumented checks that one file of each package says what the package is for.
func TestPackagesDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range repo(t) {
		if f.tree != nil && !f.test() {
			documented[f.dir()] = documented[f.dir()] || f.tree.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", path.Join(module, dir))
		}
	}
}

func TestDocumentRule(t *testing.T) {
	findings(t, documentRule, []snippet{
		{"function", "a.go", "package x\n\nfunc F() {}\n", 1},
		{"documented function", "a.go", "package x\n\n// F is.\nfunc F() {}\n", 0},
		{"unexported function", "a.go", "package x\n\nfunc f() {}\n", 0},
		{"method", "a.go", "package x\n\nfunc (t *T[A, B]) F() {}\n", 1},
		{"method of an unexported type", "a.go", "package x\n\nfunc (t *tt[A]) F() {}\n", 0},
		{"type", "a.go", "package x\n\ntype T struct{ F int }\n", 1},
		{"interface method", "a.go", "package x\n\n// I is.\ntype I interface {\n\tF()\n\t// G does.\n\tG()\n}\n", 1},
		{"embedded interface", "a.go", "package x\n\n// I is.\ntype I interface{ J }\n", 0},
		{"constant", "a.go", "package x\n\nconst (\n\tA = 1\n\tB = 2 // b\n)\n", 1},
		{"group comment", "a.go", "package x\n\n// The letters.\nconst (\n\tA = 1\n\tB = 2\n)\n", 0},
		{"variable", "a.go", "package x\n\nvar A, B = 1, 2\n", 2},
		{"test file", "a_test.go", "package x\n\nfunc F() {}\n", 0},
		{"command", "a.go", "package main\n\nfunc F() {}\n", 0},
	})
}
