package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// root is the module's folder.
const root = "../.."

// randomRun is the random run of package cluster.
const randomRun = "TestSimStorm"

// mostTime ends a test that hangs.
const mostTime = 3 * time.Minute

// TestTableIsWhole: every mutant has a unique name, and something that catches it.
func TestTableIsWhole(t *testing.T) {
	known := map[string]bool{}
	for _, m := range all {
		if known[m.name] {
			t.Errorf("%s is in the table twice", m.name)
		}
		known[m.name] = true
		if m.rule == "" || m.breaks == "" {
			t.Errorf("%s does not say what is broken", m.name)
		}
		if len(m.nets) == 0 && m.seeds == 0 {
			t.Errorf("nothing catches %s", m.name)
		}
		for _, n := range m.nets {
			if len(n.by) == 0 {
				t.Errorf("%s is to fail at %s, and no invariant says why", n.tests, m.name)
			}
		}
	}
}

// TestRewritesApply: every rewrite matches the product as it is now. It builds nothing; `make mutants`
// does.
func TestRewritesApply(t *testing.T) {
	if _, err := rewriteAll(root, all); err != nil {
		t.Error(err)
	}
}

// TestMutants is `make mutants`. SHARELOCK_MUTANTS is full, or short to leave out the random run.
// SHARELOCK_MUTANT=name,name runs only these mutants.
func TestMutants(t *testing.T) {
	how := os.Getenv("SHARELOCK_MUTANTS")
	if how == "" {
		t.Skip("takes minutes: make mutants")
	}
	r := &runner{dir: t.TempDir(), full: how == "full"}
	mutants := all
	if only := os.Getenv("SHARELOCK_MUTANT"); only != "" {
		mutants = slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !slices.Contains(strings.Split(only, ","), m.name) })
	}
	if len(mutants) == 0 {
		t.Fatalf("there is no mutant %s", os.Getenv("SHARELOCK_MUTANT"))
	}
	r.build(t, mutants)
	r.soundness(t, mutants)
	t.Run("each", func(t *testing.T) {
		for _, m := range mutants {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				r.try(t, m)
			})
		}
	})
	r.print(t)
}

// A runner runs test binaries that contain all mutants, with at most one switched on.
type runner struct {
	dir  string
	full bool

	mu   sync.Mutex
	rows []row // guarded by mu
}

// row is one line of the report.
type row struct{ mutant, rule, by, where, seeds, seconds string }

// build compiles the tests once, with all mutants in them.
func (r *runner) build(t *testing.T, mutants []mutant) {
	t.Helper()
	overlay := r.overlay(t)
	var dirs []string
	if r.full {
		dirs = append(dirs, "internal/cluster")
	}
	for _, m := range mutants {
		for _, n := range m.nets {
			if !slices.Contains(dirs, n.dir) {
				dirs = append(dirs, n.dir)
			}
		}
	}
	for _, dir := range dirs {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-c", "-o", r.binary(dir), "./"+dir)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
}

// overlay writes the rewritten files, and returns a file that makes the go command compile them instead of
// those of the product.
func (r *runner) overlay(t *testing.T) string {
	t.Helper()
	files, err := rewriteAll(root, all)
	must(t, err)
	replace := map[string]string{}
	for name, text := range files {
		original, err := filepath.Abs(filepath.Join(root, name))
		must(t, err)
		rewritten := filepath.Join(r.dir, "src", name)
		must(t, os.MkdirAll(filepath.Dir(rewritten), 0o755))
		must(t, os.WriteFile(rewritten, text, 0o644))
		replace[original] = rewritten
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	must(t, err)
	name := filepath.Join(r.dir, "overlay.json")
	must(t, os.WriteFile(name, list, 0o644))
	return name
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *runner) binary(dir string) string {
	return filepath.Join(r.dir, strings.ReplaceAll(dir, "/", "-")+".test")
}

// soundness checks that with no mutant on, all tests that must catch one exist and pass.
func (r *runner) soundness(t *testing.T, mutants []mutant) {
	t.Helper()
	tests, seeds := map[string][]string{}, 0
	for _, m := range mutants {
		for _, n := range m.nets {
			tests[n.dir] = append(tests[n.dir], n.tests)
		}
		seeds = max(seeds, m.seeds)
	}
	for dir, patterns := range tests {
		slices.Sort(patterns)
		pattern := strings.Join(slices.Compact(patterns), "|")
		out, err := r.run(t.Context(), "", dir, pattern, 1)
		if err != nil {
			t.Fatalf("%s: the tests fail without any mutant: %s", dir, ends(out, err))
		}
	}
	for seed := 1; r.full && seed <= seeds; seed++ {
		if out, err := r.run(t.Context(), "", "internal/cluster", randomRun, seed); err != nil {
			t.Fatalf("%s fails without any mutant with seed %d: %s", randomRun, seed, ends(out, err))
		}
	}
}

// run runs tests with a mutant on; "" means none.
func (r *runner) run(ctx context.Context, mutant, dir, tests string, seed int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.binary(dir), "-test.v", "-test.count", "1", "-test.run", "^("+tests+")$")
	cmd.Dir = filepath.Join(root, dir)
	cmd.Env = append(os.Environ(), "SHARELOCK_MUTANT="+mutant, "SHARELOCK_TEST_SEED="+strconv.Itoa(seed),
		"SHARELOCK_SIM_MINUTES=0.1") // one storm, no more
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("not done after %v", mostTime)
	case err == nil && !strings.Contains(out.String(), "--- PASS: "):
		err = errors.New("no such test")
	}
	return out.String(), err
}

// try runs the nets of a mutant.
func (r *runner) try(t *testing.T, m mutant) {
	caught := false
	for _, n := range m.nets {
		began := time.Now()
		out, err := r.run(t.Context(), m.name, n.dir, n.tests, 1)
		by, test := evidence(out, err, n.by)
		if by == "" {
			t.Errorf("%s (%s: %s) survives %s in %s: %v", m.name, m.rule, m.breaks, n.tests, n.dir, ends(out, err))
			continue
		}
		caught = true
		r.note(row{m.name, m.rule, by, n.dir + " " + test, "first", seconds(began)})
	}
	if r.full && m.seeds > 0 {
		began := time.Now()
		var failures []string
		by, seed := "", 0
		for by == "" && seed < m.seeds {
			seed++
			out, err := r.run(t.Context(), m.name, "internal/cluster", randomRun, seed)
			if by, _ = evidence(out, err, caughtByRandomRun); by == "" {
				failures = append(failures, fmt.Sprint("seed ", seed, ": ", ends(out, err)))
			}
		}
		if by == "" {
			t.Errorf("%s (%s: %s) survives %d seeds of %s:\n%s", m.name, m.rule, m.breaks, m.seeds, randomRun, strings.Join(failures, "\n"))
		} else {
			caught = true
			r.note(row{m.name, m.rule, by, "internal/cluster " + randomRun, fmt.Sprint(seed, " of ", m.seeds), seconds(began)})
		}
	}
	if !caught && (r.full || len(m.nets) > 0) {
		r.note(row{m.name, m.rule, "SURVIVES", "", "", ""})
	}
}

var (
	failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	anyPanic   = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE)`)
)

// evidence returns the invariant that a run has found violated, and the test. It returns "" if nothing
// failed, or if it failed for another reason.
func evidence(out string, err error, want []string) (by, test string) {
	failed := failedTest.FindStringSubmatch(out)
	if err == nil || failed == nil || anyPanic.MatchString(out) {
		return "", ""
	}
	for _, i := range want {
		if strings.Contains(out, " "+i+": ") {
			return i, failed[1]
		}
	}
	return "", ""
}

// ends describes how a run ended that caught nothing.
func ends(out string, err error) string {
	if err == nil {
		return "it passes"
	}
	const most = 800
	if at := anyPanic.FindStringIndex(out); at != nil {
		out = out[at[0]:]
	} else if at := strings.Index(out, "--- FAIL"); at >= 0 {
		out = out[at:]
	}
	return fmt.Sprintf("%v\n%s", err, out[:min(len(out), most)])
}

func seconds(since time.Time) string {
	return strconv.FormatFloat(time.Since(since).Seconds(), 'f', 1, 64)
}

func (r *runner) note(x row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, x)
}

// print prints the report in the order of the table.
func (r *runner) print(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	place := map[string]int{}
	for i, m := range all {
		place[m.name] = i
	}
	slices.SortStableFunc(r.rows, func(a, b row) int { return place[a.mutant] - place[b.mutant] })
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "mutant\trule\tbreaks\tin\tseed\tseconds")
	for _, x := range r.rows {
		fmt.Fprintln(w, strings.Join([]string{x.mutant, x.rule, x.by, x.where, x.seeds, x.seconds}, "\t"))
	}
	w.Flush() //nolint:errcheck // into memory
	t.Logf("\n%s", b.String())
}
