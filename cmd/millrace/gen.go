package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// genTest is the name of the test that generates: it is compiled into the package, so that it sees unexported types and package main, and
// written nowhere but in an overlay.
const genTest = "TestMillraceGen"

// generate writes the codecs of types into the package of a directory.
func generate(ctx context.Context, args []string, s streams) error {
	f := flag.NewFlagSet("gen", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	names := f.String("type", "", "the types to write codecs for, separated by commas")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(s.out, "millrace gen -type NAMES [DIRECTORY]\n\n")
		f.SetOutput(s.out)
		f.PrintDefaults()
		return nil
	case err != nil:
		return usageError{fmt.Sprintf("gen: %v", err)}
	case *names == "":
		return usageError{"gen: -type is missing: the names of the types, separated by commas"}
	case f.NArg() > 1:
		return usageError{fmt.Sprintf("gen: %d arguments, want one directory or none", f.NArg())}
	}
	dir := "."
	if f.NArg() == 1 {
		dir = f.Arg(0)
	}
	p, err := loadPackage(ctx, dir)
	if err != nil {
		return err
	}
	types := strings.Split(*names, ",")
	if err := p.check(types); err != nil {
		return err
	}
	src, err := p.source(ctx, types)
	if err != nil {
		return err
	}
	return writeChanged(p.target(), src)
}

// goPackage is what `go list` tells of the package.
type goPackage struct {
	Name, ImportPath, Dir                        string
	GoFiles, CgoFiles, TestGoFiles, XTestGoFiles []string
}

func loadPackage(ctx context.Context, dir string) (*goPackage, error) {
	out, err := goCommand(ctx, dir, "list", "-e", "-json=Name,ImportPath,Dir,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles", ".")
	if err != nil {
		return nil, fmt.Errorf("gen: no Go package in %s: %w\n%s", dir, err, out)
	}
	p := new(goPackage)
	if err := json.Unmarshal(out, p); err != nil || p.Name == "" {
		return nil, fmt.Errorf("gen: no Go package in %s: %v\n%s", dir, err, out)
	}
	return p, nil
}

// goCommand runs the go command in dir and returns what it prints; on failure with what it says on standard error.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = dir
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	err := c.Run()
	if err != nil {
		return append(out.Bytes(), said.Bytes()...), err
	}
	return out.Bytes(), nil
}

// target is the file of the generated code.
func (p *goPackage) target() string { return filepath.Join(p.Dir, p.Name+"_millrace.go") }

// check finds each type among the declarations of the package.
func (p *goPackage) check(types []string) error {
	declared := map[string]*ast.TypeSpec{}
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("gen: %w", err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			for _, spec := range decl.Specs {
				ts := spec.(*ast.TypeSpec)
				declared[ts.Name.Name] = ts
			}
		}
	}
	var errs []error
	for i, name := range types {
		spec := declared[name]
		switch {
		case slices.Contains(types[:i], name):
			errs = append(errs, fmt.Errorf("gen: type %s is listed twice", name))
		case spec == nil:
			errs = append(errs, fmt.Errorf("gen: package %s declares no type %q; it has %s", p.ImportPath, name,
				strings.Join(slices.Sorted(maps.Keys(declared)), ", ")))
		case spec.TypeParams != nil:
			errs = append(errs, fmt.Errorf("gen: type %s is generic, and a method cannot belong to one instance; list a struct that embeds the instance, or leave it to the derived codec", name))
		case spec.Assign.IsValid():
			errs = append(errs, fmt.Errorf("gen: type %s is an alias; list the type that it stands for, in its own package", name))
		}
	}
	return errors.Join(errs...)
}

// result is what the generating test hands over.
type result struct{ Source, Error string }

// source runs the generator within the package: only there, its unexported types can be named, and its Symbols methods asked. The package's
// own tests and the code generated before are left out, as they may not compile with the types of now.
func (p *goPackage) source(ctx context.Context, types []string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "millrace-gen-")
	if err != nil {
		return nil, fmt.Errorf("gen: %w", err)
	}
	defer os.RemoveAll(tmp)
	test, handed := filepath.Join(tmp, "gen_test.go"), filepath.Join(tmp, "result.json")
	code, err := p.testSource(types, handed)
	if err != nil {
		return nil, err
	}
	replace := map[string]string{filepath.Join(p.Dir, "zz_millrace_gen_test.go"): test, p.target(): ""}
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		replace[filepath.Join(p.Dir, name)] = ""
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, fmt.Errorf("gen: %w", err)
	}
	plan := filepath.Join(tmp, "overlay.json")
	if err := errors.Join(os.WriteFile(test, code, 0o600), os.WriteFile(plan, overlay, 0o600)); err != nil {
		return nil, fmt.Errorf("gen: %w", err)
	}
	said, err := goCommand(ctx, p.Dir, "test", "-overlay", plan, "-vet=off", "-count=1", "-run", "^"+genTest+"$", ".")
	raw, readErr := os.ReadFile(handed)
	if err != nil || readErr != nil {
		return nil, fmt.Errorf("gen: package %s cannot be compiled and asked for its types, its own tests and generated code left out: %w\n%s",
			p.ImportPath, errors.Join(err, readErr), said)
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("gen: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return []byte(r.Source), nil
}

// testSource is the file that is compiled into the package.
func (p *goPackage) testSource(types []string, handed string) ([]byte, error) {
	var list strings.Builder
	for _, name := range types {
		fmt.Fprintf(&list, "reflect.TypeFor[%s](),\n", name)
	}
	return format.Source(fmt.Appendf(nil, `package %s

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/serde/codegen"
)

func %s(t *testing.T) {
	var r struct{ Source, Error string }
	src, err := codegen.Source(%q, %s)
	if r.Source = string(src); err != nil {
		r.Error = err.Error()
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(%q, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
`, p.Name, genTest, p.Name, list.String(), handed))
}

// writeChanged writes a file that is not so already, at once: who reads it sees the old or the new one.
func writeChanged(path string, src []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, src) {
		return nil
	}
	part := path + ".part"
	if err := os.WriteFile(part, src, 0o644); err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("gen: %w", errors.Join(err, os.Remove(part)))
	}
	return nil
}
