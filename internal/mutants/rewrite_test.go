package mutants

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rewritten is a package to be rewritten.
const rewritten = `package p

import "fmt"

type list[T any] struct{ n int }

// len returns the length, if it is known.
func (l *list[T]) len(known bool) int {
	if known && // as mostly
		l.n > 0 {
		return l.n
	}
	fmt.Println(l.n) // it is not known
	return 0
}

func twice() {
	fmt.Println(1)
	fmt.Println(1)
	fmt.Println(2)
}

func other() { fmt.Println(3) }
`

func rewriteOne(t *testing.T, rs ...rewrite) (string, error) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "p"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "p", "a.go"), []byte(rewritten), 0o644))
	files, err := rewriteAll(dir, []mutant{{name: "one", code: rs}})
	return string(files["p/a.go"]), err
}

func TestRewrite(t *testing.T) {
	tests := []struct {
		name, fn, diff string
		old, want      string // of the file; old is replaced by want
	}{
		{"part of a line", "list.len", `
			- known
			+ known || mutated
		`, "if known &&", `if known || mutated("one") &&`},
		{"over a line break and a comment", "list.len", `
			- known && l.n > 0 {
			+ known && (l.n > 0 || mutated) {
		`, "known && // as mostly\n\t\tl.n > 0 {", `known && (l.n > 0 || mutated("one")) {`},
		{"insert behind", "list.len", `
			  return l.n
			  }
			+ if mutated {
			+ 	return 1
			+ }
		`, "\t}\n\tfmt", "\t}\n" + `if mutated("one") {` + "\nreturn 1\n}\n\n\tfmt"},
		{"insert before", "list.len", `
			+ if mutated {
			+ 	return 1
			+ }
			  return 0
		`, "return 0", `if mutated("one") {` + "\nreturn 1\n}\nreturn 0"},
		{"a line among others", "twice", `
			  fmt.Println(1)
			- fmt.Println(2)
			+ if !mutated {
			+ 	fmt.Println(2)
			+ }
		`, "fmt.Println(2)", `if !mutated("one") {` + "\nfmt.Println(2)\n}"},
		{"keep what is between", "twice", `
			+ if mutated {
			  fmt.Println(1)
			+ }
			  fmt.Println(2)
		`, "fmt.Println(1)\n\tfmt.Println(2)", `if mutated("one") {` + "\nfmt.Println(1)\n}\n\tfmt.Println(2)"},
		{"delete", "twice", `
			- fmt.Println(1)
			+ _ = mutated
			- fmt.Println(2)
		`, "fmt.Println(1)\n\tfmt.Println(2)", `_ = mutated("one")`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rewriteOne(t, in("p", tt.fn, tt.diff))
			if want := strings.Replace(rewritten, tt.old, tt.want, 1); err != nil || got != want {
				t.Errorf("error %v\n%s\nwant:\n%s", err, got, want)
			}
		})
	}
}

func TestRewriteAdds(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "p"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "p", "a.go"), []byte(rewritten), 0o644))
	use := in("p", "other", "- fmt.Println(3)\n+ fmt.Println(three(mutated))")
	files, err := rewriteAll(dir, []mutant{{name: "one", code: []rewrite{use, add("p", "func three(bool) int { return 3 }\n")}}})
	must(t, err)
	if got, want := string(files["p/mutated_0.go"]), "package p\n\nfunc three(bool) int { return 3 }\n"; got != want {
		t.Errorf("added:\n%s\nwant:\n%s", got, want)
	}
	if got := string(files["p/mutated.go"]); !strings.HasPrefix(got, "package p\n") || !strings.Contains(got, "func mutated(name string) bool") {
		t.Errorf("the switch is:\n%s", got)
	}
}

// Every rewrite that does not match is reported.
func TestRewriteRefuses(t *testing.T) {
	const good = `
		- fmt.Println(2)
		+ fmt.Println(mutated)
	`
	tests := []struct {
		name     string
		rewrites []rewrite
		want     string
	}{
		{"no such folder", []rewrite{in("q", "twice", good)}, "one: q, twice: there is no package in q"},
		{"no such function", []rewrite{in("p", "list.twice", good)}, "one: p, list.twice: the package has 0 functions"},
		{"not there", []rewrite{in("p", "other", good)}, "has this code 0 times, want once:\nfmt.Println(2)"},
		{"a part of a word", []rewrite{in("p", "list.len", "- know\n+ mutated")}, "has this code 0 times"},
		{"there twice", []rewrite{in("p", "twice", "- fmt.Println(1)\n+ fmt.Println(mutated)")}, "has this code 2 times"},
		{"a wrong place", []rewrite{in("p", "list.len", good)}, "has this code 0 times"},
		{"no switch", []rewrite{in("p", "twice", "- fmt.Println(2)\n+ fmt.Println(3)")}, "does not ask whether it is mutated"},
		{"no change", []rewrite{in("p", "twice", "fmt.Println(2)")}, "changes nothing"},
		{"no place", []rewrite{in("p", "twice", "+ _ = mutated")}, "does not say where"},
		{"not Go", []rewrite{in("p", "twice", "- fmt.Println(2)\n+ if mutated {")}, "the result is not Go"},
		{"nothing uses it", []rewrite{add("p", "func f() {}")}, "no rewrite in p uses"},
		{"a file that is not Go", []rewrite{in("p", "twice", good), add("p", "func f() {")}, "the rewritten file is not Go"},
		{"the same place", []rewrite{in("p", "twice", good), in("p", "twice", good)}, "two rewrites overlap"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rewriteOne(t, tt.rewrites...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
