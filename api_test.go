package sharelock_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateAPI = flag.Bool("update", false, "rewrite the lists of the exported surface")

// promised are the packages that users import. What they export is listed in testdata/api, so that every
// change of it is a reviewed diff. Generated code is not listed: the golden files of the messages
// have all that is in it.
var promised = []string{".", "client", "proto/sharelock/v1", "testcluster", "testcluster/locktest"}

// most is how many identifiers and methods a package may export: a surface that grows without bound
// cannot be kept for years.
var most = map[string]int{"client": 60, "testcluster": 60}

func TestAPI(t *testing.T) {
	for _, dir := range promised {
		t.Run(dir, func(t *testing.T) {
			got, count := surface(t, dir)
			if limit := most[dir]; limit > 0 && count > limit {
				t.Errorf("%s exports %d identifiers and methods, at most %d are allowed", dir, count, limit)
			}
			name := strings.ReplaceAll(dir, "/", "_")
			if dir == "." {
				name = "sharelock"
			}
			file := filepath.Join("testdata", "api", name+".txt")
			if *updateAPI {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the exported surface of %s is not that of %s; if that is meant: go test -run TestAPI -update .\n%s", dir, file, difference(string(want), got))
			}
		})
	}
}

// surface returns the exported declarations of a package on Linux, without comments and bodies, and
// the number of its exported package-level identifiers and methods.
func surface(t *testing.T, dir string) (text string, count int) {
	t.Helper()
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", "amd64", false
	pkg, err := ctx.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range pkg.GoFiles {
		if strings.HasSuffix(name, ".pb.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	p, err := doc.NewFromFiles(fset, files, module+"/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	print := func(decl ast.Node) {
		if err := printer.Fprint(&b, fset, decl); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			for _, name := range v.Names {
				if ast.IsExported(name) {
					count++
				}
			}
			print(v.Decl)
		}
	}
	funcs := func(list []*doc.Func) {
		count += len(list)
		for _, f := range list {
			f.Decl.Body = nil
			print(f.Decl)
		}
	}
	values(p.Consts)
	values(p.Vars)
	funcs(p.Funcs)
	count += len(p.Types)
	for _, typ := range p.Types {
		b.WriteString("\n")
		print(typ.Decl)
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		funcs(typ.Methods)
	}
	return b.String(), count
}

// difference lists the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	only := func(sign, text, other string) {
		lines := map[string]bool{}
		for line := range strings.Lines(other) {
			lines[line] = true
		}
		for line := range strings.Lines(text) {
			if !lines[line] {
				b.WriteString(sign + line)
			}
		}
	}
	only("-", want, got)
	only("+", got, want)
	return b.String()
}
