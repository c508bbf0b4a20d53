package structure

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// module is the path of the module that is checked.
const module = "github.com/millrace-io/millrace"

// file is one file of the repository.
type file struct {
	path string // relative to the root, with slashes
	src  []byte
	fset *token.FileSet
	tree *ast.File // nil unless it is a Go file
}

// dir is the folder of the file, which is also its package path below the module; "" for the root.
func (f file) dir() string {
	if d := path.Dir(f.path); d != "." {
		return d
	}
	return ""
}

func (f file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f file) line(p token.Pos) int { return f.fset.Position(p).Line }

// finding formats one breach of a rule so that editors can jump to it.
func (f file) finding(line int, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.path, line, fmt.Sprintf(format, args...))
}

// parse makes a file from its source; a Go file that does not parse is an error.
func parse(name string, src []byte) (file, error) {
	f := file{path: name, src: src, fset: token.NewFileSet()}
	if !strings.HasSuffix(name, ".go") {
		return f, nil
	}
	var err error
	f.tree, err = parser.ParseFile(f.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	return f, err
}

// root is the folder that holds go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}

// repo reads every file of the repository except version control, caches and test data.
func repo(t *testing.T) []file {
	t.Helper()
	top := root(t)
	var files []file
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".cache", "testdata", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || d.Name() == ".git" { // the latter is how a linked worktree names its repository
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(rel), src)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d files below %s: the tests would check nothing", len(files), top)
	}
	return files
}

// hold runs a rule over the repository's Go files and reports each finding.
func hold(t *testing.T, rule func(file) []string) {
	t.Helper()
	for _, f := range repo(t) {
		if f.tree == nil {
			continue
		}
		for _, msg := range rule(f) {
			t.Error(msg)
		}
	}
}

// snippet is a small file and the number of findings that a rule must have in it.
type snippet struct {
	name, path, src string
	want            int
}

// findings checks a rule against snippets, so that a rule that can no longer fail is itself a failure.
func findings(t *testing.T, rule func(file) []string, cases []snippet) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := parse(c.path, []byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if got := rule(f); len(got) != c.want {
				t.Errorf("%d findings, want %d: %q", len(got), c.want, got)
			}
		})
	}
}
