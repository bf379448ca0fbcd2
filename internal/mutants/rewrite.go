package mutants

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A rewrite is a change of one function of the product, or an added file. Its diff has one line of
// code per line: "- " before code that is replaced, "+ " before its replacement, and neither before
// code that stays and locates the change. Lines may be parts of lines of the source: code is compared
// by its tokens, so white space, comments and line breaks inside brackets do not matter. What is
// replaced and what stays must together occur exactly once in the function. In the new code, mutated
// is true while the mutant is on.
type rewrite struct {
	dir  string // the folder of the package
	fn   string // "function" or "Type.method"; "" if diff is a file to add
	diff string
}

// in returns a rewrite of a function.
func in(dir, fn, diff string) rewrite { return rewrite{dir, fn, diff} }

// add returns a rewrite that adds a file to a package, with declarations that other rewrites of
// the package use. code is the file without its package clause.
func add(dir, code string) rewrite { return rewrite{dir, "", code} }

// String names the place.
func (r rewrite) String() string {
	if r.fn == "" {
		return r.dir
	}
	return r.dir + ", " + r.fn
}

// An edit replaces the bytes from start to end of a file.
type edit struct {
	file       string
	start, end int
	text       string
}

// sources reads the product's packages and rewrites them.
type sources struct {
	root     string
	packages map[string]*source // by folder
}

// A source is one package without its tests.
type source struct {
	name  string // of the package
	files map[string][]byte
	// functions holds the bodies of the functions, by name. A function with variants for several
	// operating systems has several.
	functions map[string][]body
}

// A body is the part of a file between the braces of a function.
type body struct {
	file       string
	start, end int
}

func newSources(root string) *sources { return &sources{root, map[string]*source{}} }

// load reads a package once.
func (s *sources) load(dir string) (*source, error) {
	if p := s.packages[dir]; p != nil {
		return p, nil
	}
	names, err := filepath.Glob(filepath.Join(s.root, dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := &source{files: map[string][]byte{}, functions: map[string][]body{}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.add(path.Join(dir, filepath.Base(name)), text); err != nil {
			return nil, err
		}
	}
	if len(p.files) == 0 {
		return nil, fmt.Errorf("there is no package in %s", dir)
	}
	s.packages[dir] = p
	return p, nil
}

// add adds one file.
func (p *source) add(name string, text []byte) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.name = f.Name.Name
	p.files[name] = text
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
			fn := functionName(d)
			p.functions[fn] = append(p.functions[fn], body{name, fset.Position(d.Body.Lbrace).Offset + 1, fset.Position(d.Body.Rbrace).Offset})
		}
	}
	return nil
}

// functionName returns "function" or "Type.method".
func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
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
		case *ast.Ident:
			return x.Name + "." + d.Name.Name
		default:
			return d.Name.Name
		}
	}
}

// edit finds the place of a mutant's rewrite.
func (s *sources) edit(mutant string, r rewrite) (edit, error) {
	p, err := s.load(r.dir)
	if err != nil {
		return edit{}, err
	}
	found := p.functions[r.fn]
	if len(found) != 1 {
		return edit{}, fmt.Errorf("the package has %d functions of this name, want one", len(found))
	}
	h, err := parseHunk(r.diff)
	if err != nil {
		return edit{}, err
	}
	b := found[0]
	code := scan(p.files[b.file][b.start:b.end])
	at, n := find(code, h.old)
	if n != 1 {
		return edit{}, fmt.Errorf("the function has this code %d times, want once:\n%s", n, strings.Join(h.oldLines, "\n"))
	}
	e := edit{file: b.file, text: mutatedWord.ReplaceAllString(h.text, fmt.Sprintf("mutated(%q)", mutant))}
	switch first, last := at+h.first, at+h.last; {
	case h.first < h.last:
		e.start, e.end = b.start+code[first].start, b.start+code[last-1].end
	case h.first > 0:
		e.start = b.start + code[first-1].end
		e.end, e.text = e.start, "\n"+e.text+"\n"
	default:
		e.start = b.start + code[first].start
		e.end, e.text = e.start, e.text+"\n"
	}
	// The edit alone must leave a file that parses.
	if _, err := parse(b.file, apply(p.files[b.file], []edit{e})); err != nil {
		return edit{}, fmt.Errorf("the result is not Go: %w", err)
	}
	return e, nil
}

var mutatedWord = regexp.MustCompile(`\bmutated\b`)

// A hunk is a diff that has been read.
type hunk struct {
	old      []lexeme // what must be there
	oldLines []string
	// old[first:last] is replaced by text. If that range is empty, text is inserted.
	first, last int
	text        string
}

// parseHunk reads a diff.
func parseHunk(diff string) (hunk, error) {
	type line struct {
		mark byte // '-', '+' or ' '
		code string
	}
	var lines []line
	for l := range strings.Lines(diff) {
		l = strings.TrimSpace(l)
		if l == "" {
			continue
		}
		mark, code := byte(' '), l
		if strings.HasPrefix(l, "- ") || strings.HasPrefix(l, "+ ") {
			mark, code = l[0], strings.TrimSpace(l[2:])
		}
		lines = append(lines, line{mark, code})
	}
	changed := func(l line) bool { return l.mark != ' ' }
	from := slices.IndexFunc(lines, changed)
	if from < 0 {
		return hunk{}, errors.New("the diff changes nothing")
	}
	to := len(lines)
	for !changed(lines[to-1]) {
		to--
	}
	var h hunk
	var text []string
	for i, l := range lines {
		if l.mark != '+' {
			h.oldLines = append(h.oldLines, l.code)
		}
		if i >= from && i < to && l.mark != '-' {
			text = append(text, l.code)
		}
	}
	h.text = strings.Join(text, "\n")
	if !mutatedWord.MatchString(h.text) {
		return hunk{}, errors.New("the new code does not ask whether it is mutated")
	}
	if len(h.oldLines) == 0 {
		return hunk{}, errors.New("the diff does not say where")
	}
	tokens := func(upTo int) int { // of the old code in the lines before upTo
		var code []string
		for _, l := range lines[:upTo] {
			if l.mark != '+' {
				code = append(code, l.code)
			}
		}
		return len(scan([]byte(strings.Join(code, "\n"))))
	}
	h.old = scan([]byte(strings.Join(h.oldLines, "\n")))
	h.first, h.last = tokens(from), tokens(to)
	if h.first > 0 && h.first < h.last && h.old[h.first].text == "\n" {
		h.first++ // the end of the line before
	}
	return h, nil
}

// A lexeme is one token of Go: its bytes in the source and its text. The semicolon that
// Go puts at the end of a line has the text "\n".
type lexeme struct {
	start, end int
	text       string
}

// scan returns the tokens of a piece of Go, without comments, and without the semicolon
// that Go puts at its end.
func scan(code []byte) []lexeme {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(code))
	s.Init(file, code, nil, 0)
	var all []lexeme
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		if text == "" {
			text = tok.String()
		}
		start := file.Offset(pos)
		l := lexeme{start, start + len(text), text}
		if text == "\n" {
			l.end = start
		}
		all = append(all, l)
	}
	if n := len(all); n > 0 && all[n-1].text == "\n" {
		all = all[:n-1]
	}
	return all
}

// find returns the first place of part in code, and how many there are.
func find(code, part []lexeme) (at, n int) {
	same := func(a, b lexeme) bool { return a.text == b.text }
	for i := 0; i+len(part) <= len(code); i++ {
		if slices.EqualFunc(code[i:i+len(part)], part, same) {
			if n == 0 {
				at = i
			}
			n++
		}
	}
	return at, n
}

// apply makes edits of one file, which must be in order and must not overlap.
func apply(text []byte, edits []edit) []byte {
	var out bytes.Buffer
	done := 0
	for _, e := range edits {
		out.Write(text[done:e.start])
		out.WriteString(e.text)
		done = e.end
	}
	out.Write(text[done:])
	return out.Bytes()
}

func parse(name string, text []byte) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
}

// switchFile is the file that every rewritten package gets in addition.
const switchFile = "mutated.go"

// switchCode is the contents of that file, but for the name of the package.
const switchCode = `package %s

import "os"

var mutant = os.Getenv("SHARELOCK_MUTANT")

func mutated(name string) bool { return mutant == name }
`

// rewriteAll returns the new contents of all files that the mutants change, and of files
// that they add, by path below root. It reports every rewrite that does not apply.
func rewriteAll(root string, mutants []mutant) (map[string][]byte, error) {
	s := newSources(root)
	edits := map[string][]edit{}    // by file
	added := map[string][]rewrite{} // by folder
	var problems []error
	for _, m := range mutants {
		for _, r := range m.code {
			if r.fn == "" {
				added[r.dir] = append(added[r.dir], r)
				continue
			}
			e, err := s.edit(m.name, r)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %v: %w", m.name, r, err))
				continue
			}
			edits[e.file] = append(edits[e.file], e)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	files := map[string][]byte{}
	for file, edits := range edits {
		dir := path.Dir(file)
		text, err := s.rewritten(file, edits)
		problems = append(problems, err)
		files[file], files[path.Join(dir, switchFile)] = text, fmt.Appendf(nil, switchCode, s.packages[dir].name)
	}
	for dir, list := range added {
		if files[path.Join(dir, switchFile)] == nil {
			problems = append(problems, fmt.Errorf("no rewrite in %s uses what is added there", dir))
			continue
		}
		for i, r := range list {
			files[path.Join(dir, fmt.Sprintf("mutated_%d.go", i))] = fmt.Appendf(nil, "package %s\n\n%s", s.packages[dir].name, r.diff)
		}
	}
	for file, text := range files {
		if _, err := parse(file, text); err != nil {
			problems = append(problems, fmt.Errorf("the rewritten file is not Go: %w", err))
		}
	}
	return files, errors.Join(problems...)
}

// rewritten returns the new contents of a file.
func (s *sources) rewritten(file string, edits []edit) ([]byte, error) {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.start - b.start })
	for i := range edits[1:] {
		if edits[i].end > edits[i+1].start {
			return nil, fmt.Errorf("%s: two rewrites overlap:\n%s\n%s", file, edits[i].text, edits[i+1].text)
		}
	}
	return apply(s.packages[path.Dir(file)].files[file], edits), nil
}
