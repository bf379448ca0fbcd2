package metrics

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const (
	root = "../.."
	page = root + "/docs/metrics.md"
)

// markdown returns docs/metrics.md.
func markdown() string {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Made from mesh/metrics/families.go by go test ./mesh/metrics -update. -->

Each node shows its metrics at ` + "`/metrics`" + ` of its HTTP port, unless ` + "`metrics.enabled`" + ` is false: as text, as OpenMetrics or as
protobuf, as the scraper asks. [Operations](operations.md#metrics) says how to scrape them and what to alert on.

All numbers are those of one node. Counters and histograms begin at 0 when the node starts. What concerns a key (holds, waiters, waits)
is counted by the member that owns the key, so add up all nodes. What concerns a call is counted by the node that the client has
asked.

Histograms have classic buckets and native ones with bounds 9 % apart; a scrape with protobuf gets both. Keys, client ids and request
ids are never labels.
`)
	for _, s := range Sections() {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n", s.Title)
		for _, f := range s.Families {
			var labels []string
			for _, l := range f.Labels {
				labels = append(labels, fmt.Sprintf("`%s`: %s", l.Name, l.Values))
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, "; "), f.Help)
		}
	}
	b.WriteString(`
## Go and the process

The metrics that begin with ` + "`go_`" + ` and ` + "`process_`" + ` are those of the Prometheus library for the Go runtime (goroutines, memory,
garbage collection) and the process (processor time, resident memory, open files).
`)
	return b.String()
}

// docs/metrics.md is made of the table.
func TestMetricsPage(t *testing.T) {
	want := markdown()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("docs/metrics.md is not up to date (%v): run go test ./mesh/metrics -update", err)
	}
}

var (
	metricName = regexp.MustCompile(`\bsharelock_[a-z0-9_]+\b`)
	suffix     = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// notMetrics are other names that begin like metrics.
var notMetrics = []string{
	"sharelock_test", // a package
}

// Every metric that a document, a dashboard or a rule names exists, and every metric is in a
// dashboard or a rule.
func TestMetricNames(t *testing.T) {
	known, shown := map[string]bool{}, map[string]bool{}
	for _, s := range Sections() {
		for _, f := range s.Families {
			known[f.Name] = true
			if f.Kind == Histogram {
				known[f.Name+"_bucket"], known[f.Name+"_count"], known[f.Name+"_sum"] = true, true, true
			}
		}
	}
	for _, file := range texts(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !known[name] && !slices.Contains(notMetrics, name) {
				t.Errorf("%s names %s, which is no metric", strings.TrimPrefix(file, root+"/"), name)
			}
			if strings.HasPrefix(file, root+"/deploy/") {
				shown[suffix.ReplaceAllString(name, "")] = true
			}
		}
	}
	for _, s := range Sections() {
		for _, f := range s.Families {
			if !shown[f.Name] {
				t.Errorf("no dashboard or rule uses %s", f.Name)
			}
		}
	}
}

// texts returns all documents, and everything in deploy.
func texts(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "bin" || d.Name() == "data" || d.Name() == "testdata"):
			return fs.SkipDir
		case !d.IsDir() && (filepath.Ext(path) == ".md" || strings.HasPrefix(path, root+"/deploy/")):
			list = append(list, path)
		}
		return nil
	})
	if err != nil || len(list) < 10 {
		t.Fatalf("found %d documents: %v", len(list), err)
	}
	return list
}
