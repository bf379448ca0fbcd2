package sharelock_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// Documentation names files, tests, make targets and settings. These tests check that what is named
// exists.

// pages returns the Markdown files of the repository, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	return files(t, func(name string) bool { return strings.HasSuffix(name, ".md") })
}

// files returns the text of the files that want selects, by path.
func files(t *testing.T, want func(name string) bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == ".cache" || name == "bin" || name == "data"):
			return fs.SkipDir
		case d.IsDir() || !want(name):
			return nil
		}
		text, err := os.ReadFile(name)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fence   = regexp.MustCompile("(?s)```.*?```")
	quoted  = regexp.MustCompile("`([^`\n]+)`")
)

func TestDocsLinks(t *testing.T) {
	all := pages(t)
	checked := 0
	for name, text := range all {
		if strings.Contains(name, "testdata/") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			checked++
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, m[1])
				continue
			}
			if anchor != "" && !hasAnchor(all[file], anchor) {
				t.Errorf("%s: %s has no heading for #%s", name, file, anchor)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links found", checked)
	}
}

// hasAnchor reports whether a heading of the page has this anchor, as GitHub makes them.
func hasAnchor(page, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		id := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		if id == anchor {
			return true
		}
	}
	return false
}

// Every page has its line in the index of its folder, and the README stays short.
func TestDocsIndex(t *testing.T) {
	all := pages(t)
	for name := range all {
		if path.Dir(name) == "docs" && name != "docs/README.md" && !strings.Contains(all["docs/README.md"], "]("+path.Base(name)+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
		if path.Dir(name) == "docs/adr" && name != "docs/adr/README.md" && !strings.Contains(all["docs/adr/README.md"], "("+path.Base(name)+")") {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
	if n := strings.Count(all["README.md"], "\n"); n > 150 {
		t.Errorf("README.md has %d lines, the most is 150", n)
	}
}

// A table cell that is a paragraph cannot be read: pages have headings and lists for that.
func TestDocsTables(t *testing.T) {
	const most = 500
	rows := 0
	for name, text := range pages(t) {
		if strings.HasPrefix(name, "docs/adr/") || name == "CHANGELOG.md" {
			continue
		}
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			rows++
			for cell := range strings.SplitSeq(line, "|") {
				if n := len([]rune(cell)); n > most {
					t.Errorf("%s has a table cell of %d characters, the most is %d: %.60s…", name, n, most, cell)
				}
			}
		}
	}
	if rows < 200 {
		t.Errorf("only %d rows found", rows)
	}
}

var (
	goFile   = regexp.MustCompile(`\b[\w./-]*\w\.(?:go|proto|yaml|sh|golden|pgo|md)\b`)
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark|Example)[A-Z]\w+\b`)
	testDecl = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	target   = regexp.MustCompile(`(?m)^([a-z-]+):`)
	inMake   = regexp.MustCompile("`make ([a-z-]+)")
	dotted   = regexp.MustCompile(`^(node|http|grpc|metrics|mesh|ring|locks|log)\.([a-z_]+)(?::.*)?$`)
)

// elsewhere lists file names that documents mention and that are not files of this repository.
var elsewhere = map[string]bool{
	"contexts.yaml": true, // in the home of its user
	"lock.json":     true, "sharelock.yaml": true, "shared.yaml": true, "nightly.sh": true, "script.sh": true,
}

func TestDocsNames(t *testing.T) {
	source := files(t, func(name string) bool { return strings.HasSuffix(name, ".go") })
	bases := map[string]bool{}
	for name := range files(t, func(string) bool { return true }) {
		bases[path.Base(name)] = true
	}
	tests := map[string]bool{}
	for name, text := range source {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range testDecl.FindAllStringSubmatch(text, -1) {
			tests[m[1]] = true
		}
	}
	targets := map[string]bool{}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range target.FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	settings := keysOf(t, "config.yaml")

	texts := pages(t)
	delete(texts, "CHANGELOG.md") // tells of what was
	for name, text := range source {
		if !strings.HasSuffix(name, ".pb.go") {
			texts[name] = comments(text)
		}
	}
	for name, text := range texts {
		for _, m := range testName.FindAllString(text, -1) {
			if !tests[m] && !strings.HasPrefix(m, "TestMine") && !isPrefix(tests, m) {
				t.Errorf("%s names %s, which does not exist", name, m)
			}
		}
		for _, m := range goFile.FindAllString(text, -1) {
			if !exists(name, m) && !elsewhere[path.Base(m)] && (strings.Contains(m, "/") || !bases[m]) {
				t.Errorf("%s names the file %s, which does not exist", name, m)
			}
		}
		for _, m := range inMake.FindAllStringSubmatch(text, -1) {
			if !targets[m[1]] {
				t.Errorf("%s names make %s, which does not exist", name, m[1])
			}
		}
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			if k := dotted.FindStringSubmatch(m[1]); k != nil && !settings[k[1]+"."+k[2]] {
				t.Errorf("%s names the setting %s, which does not exist", name, m[1])
			}
		}
	}
}

// comments returns the comment lines of Go source.
func comments(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		if _, c, ok := strings.Cut(line, "//"); ok && strings.HasPrefix(strings.TrimSpace(line), "//") {
			b.WriteString(c)
		}
	}
	return b.String()
}

// isPrefix reports whether the name begins that of several tests, as in a pattern.
func isPrefix(tests map[string]bool, name string) bool {
	for test := range tests {
		if strings.HasPrefix(test, name) {
			return true
		}
	}
	return false
}

// exists reports whether a file is there: seen from the repository, from the document that names
// it, or as the end of a path.
func exists(document, file string) bool {
	file = strings.TrimPrefix(file, "./")
	for _, dir := range []string{".", path.Dir(document), "proto/sharelock", "mesh", "owner", "client"} {
		if m, err := filepath.Glob(path.Join(dir, file)); err == nil && len(m) > 0 {
			return true
		}
	}
	return false
}

// keysOf returns the settings of the sample configuration, as section.key.
func keysOf(t *testing.T, file string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	section := ""
	for line := range strings.Lines(string(text)) {
		name, _, ok := strings.Cut(line, ":")
		switch trimmed := strings.TrimSpace(name); {
		case !ok || strings.HasPrefix(trimmed, "#"):
		case name == trimmed:
			section = name
		default:
			keys[section+"."+trimmed] = true
		}
	}
	return keys
}

var walkRow = regexp.MustCompile("^\\| [abc] \\| `([^`]+)` \\| ([^|]+) \\|")

// The walks of the architecture page name files and functions that exist.
func TestDocsWalks(t *testing.T) {
	text := pages(t)["docs/architecture.md"]
	declared := map[string]map[string]bool{} // by file
	stops, walks := 0, strings.Count(text, "\n### Walk: ")
	for line := range strings.Lines(text) {
		row := walkRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		file := row[1]
		if declared[file] == nil {
			declared[file] = functionsOf(t, file)
		}
		for _, name := range quoted.FindAllStringSubmatch(row[2], -1) {
			stops++
			if !declared[file][name[1]] {
				t.Errorf("docs/architecture.md: %s has no function %s", file, name[1])
			}
		}
	}
	if walks != 3 || stops < 90 {
		t.Errorf("found %d walks with %d functions", walks, stops)
	}
}

// functionsOf returns the functions of a Go file as F, and its methods as T.M.
func functionsOf(t *testing.T, name string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("docs/architecture.md: %v", err)
	}
	found := map[string]bool{}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			typ := f.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok {
				name = id.Name + "." + name
			}
		}
		found[name] = true
	}
	return found
}

var packageRow = regexp.MustCompile("(?m)^\\| `([a-z0-9/.]+)` \\| .* \\| .* \\|$")

// A package imports only packages below it in the table of the architecture page.
func TestDocsPackages(t *testing.T) {
	const module = "github.com/sgkandale/sharelock"
	_, text, _ := strings.Cut(pages(t)["docs/architecture.md"], "\n## Packages\n")
	text, _, _ = strings.Cut(text, "\n## ")
	rank := map[string]int{}
	for i, row := range packageRow.FindAllStringSubmatch(text, -1) {
		rank[path.Join(module, row[1])] = i
	}
	if len(rank) < 20 {
		t.Fatalf("found only %d packages", len(rank))
	}
	for pkg, line := range rank {
		dir := "." + strings.TrimPrefix(pkg, module)
		names, err := filepath.Glob(path.Join(dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Errorf("docs/architecture.md: there is no package %s", pkg)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				imported := strings.Trim(spec.Path.Value, `"`)
				if at, listed := rank[imported]; listed && at <= line {
					t.Errorf("docs/architecture.md lists %s above %s, which imports it", imported, pkg)
				}
			}
		}
	}
}
