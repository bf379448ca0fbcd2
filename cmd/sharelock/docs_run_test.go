package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/cluster"
)

// A documentBlock says how one shell block of the README or of a page in docs is tested.
type documentBlock struct {
	page, part string // part is a part of the block's text
	// elsewhere says why TestDocsRun does not run the block.
	elsewhere string
	// replace has pairs of an old and a new text, for what would take long or does not exist here.
	replace []string
	// want lists texts that the output contains, in this order.
	want []string
	// endless: each line is a command that runs until it is stopped.
	endless bool
}

var documentBlocks = []documentBlock{
	{page: "README.md", part: "make run", elsewhere: "it is the menu of the Makefile"},
	{page: "README.md", part: "curl -s -X POST", elsewhere: "TestReadme runs it"},
	{
		page: "README.md", part: "sharelock flock -w",
		replace: []string{"./nightly.sh", "echo nightly", "make deploy", "echo deployed"},
		want:    []string{"nightly", "deployed"},
	},
	{page: "docs/getting-started.md", part: "the owner of a key, and its backups", want: []string{"RELEASE", "owner"}},
	{page: "docs/getting-started.md", part: "data/a --http-listen", elsewhere: "it starts nodes that do not end; TestProcessesRehearsal starts such nodes"},
	{page: "docs/getting-started.md", part: "sharelock tls ca create", want: []string{"ca.pem"}},
	{page: "docs/getting-started.md", part: "sharelock serve --config config.yaml", elsewhere: "it needs three hosts; internal/faults starts it on three addresses"},
	{page: "docs/getting-started.md", part: "--tls-ca certs/ca.pem", elsewhere: "it needs three hosts; internal/faults runs it"},
	{page: "docs/operations.md", part: "on 10.0.0.1 (and likewise", elsewhere: "it needs three hosts"},
	{page: "docs/operations.md", part: "docker run", elsewhere: "it needs docker"},
	{
		page: "docs/operations.md", part: "sharelock bench --workers 64 ",
		replace: []string{"sharelock bench", "sharelock bench --duration 3s --warmup 1ms"},
		want:    []string{"64 workers", "16 workers", `"workers"`},
	},
	{page: "docs/performance.md", part: "make bench-peers", elsewhere: "it takes half an hour and other lock services"},
	{page: "docs/performance.md", part: "-bench BenchmarkWatchers", elsewhere: "a benchmark; make bench ONCE=1 runs it once"},
	{
		page: "docs/performance.md", part: "sharelock bench --server",
		replace: []string{"sharelock bench", "sharelock bench --duration 3s --warmup 1ms", "10.0.0.1:50052,10.0.0.2:50052", "127.0.0.1:50052,127.0.0.1:50062"},
		want:    []string{"64 workers", `"workers"`},
	},
	{page: "docs/recovery.md", part: "--recover", elsewhere: "it starts a node that does not end"},
	{page: "docs/lock.md", part: "systemd-run", elsewhere: "it needs systemd"},
	{page: "docs/security.md", part: "sharelock keyring generate", replace: []string{"/var/lib/sharelock", "data"}},
	{page: "docs/security.md", part: "sharelock keyring rotate", elsewhere: "it needs a mesh with gossip keys; internal/cluster and internal/faults rotate them"},
	{page: "docs/clients.md", part: "uuidgen", want: []string{`"token":`}},
	{page: "docs/clients.md", part: "curl -N", endless: true, want: []string{"retry"}},
	{page: "docs/clients.md", part: "sharelock history", elsewhere: "it needs holds that have ended; the tests of the command history have them"},
	{page: "docs/clients.md", part: "go run ./cmd/example_grpc", replace: []string{"go run", "cd \"$ROOT\" && go run"}, want: []string{"lock:   Acquired", "lock:   acquired"}},
}

// Every shell block of the README and of docs either runs against a mesh of three nodes, as printed except
// for ports and times, or the table above says why not.
func TestDocsRun(t *testing.T) {
	for _, tool := range []string{"curl", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	found := make([]string, len(documentBlocks))
	for page, text := range documents(t) {
		if page != "README.md" && filepath.Dir(page) != "docs" {
			continue
		}
		for _, m := range shellBlock.FindAllStringSubmatch(text, -1) {
			i := slices.IndexFunc(documentBlocks, func(b documentBlock) bool { return b.page == page && strings.Contains(m[1], b.part) })
			if i < 0 || found[i] != "" {
				t.Errorf("%s: nothing in documentBlocks says what becomes of this block:\n%s", page, m[1])
				continue
			}
			found[i] = m[1]
		}
	}
	s := newDocumentShell(t)
	for i, b := range documentBlocks {
		switch {
		case found[i] == "":
			t.Errorf("%s has no block with %q", b.page, b.part)
		case b.elsewhere == "":
			t.Run(b.page+" "+b.part, func(t *testing.T) { s.run(t, b, found[i]) })
		}
	}
}

// A documentShell runs blocks in a mesh whose ports are not the usual ones.
type documentShell struct {
	ports *strings.Replacer
	env   []string
}

func newDocumentShell(t *testing.T) *documentShell {
	t.Helper()
	c := cluster.Start(t, cluster.Options{Nodes: 3, MaxTTL: time.Minute, Timing: 5 * time.Second})
	var ports []string
	for i := range 3 {
		for port, addr := range map[int]string{50051 + 10*i: c.Addrs(i).HTTP, 50052 + 10*i: c.Addrs(i).GRPC} {
			ports = append(ports, fmt.Sprintf("localhost:%d", port), addr, fmt.Sprintf("127.0.0.1:%d", port), addr)
		}
	}
	bin := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "sharelock")); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("uuidgen"); err != nil {
		if err := os.WriteFile(filepath.Join(bin, "uuidgen"), []byte("#!/bin/sh\necho \"id-$$\"\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return &documentShell{strings.NewReplacer(ports...), append(os.Environ(),
		"SHARELOCK_TEST_MAIN=1", "SHARELOCK_SERVER="+c.Addrs(0).GRPC, "ROOT="+root, "PATH="+bin+":"+os.Getenv("PATH"))}
}

// run runs a block and checks its output.
func (s *documentShell) run(t *testing.T, b documentBlock, block string) {
	block = s.ports.Replace(strings.NewReplacer(b.replace...).Replace(block))
	if !b.endless {
		s.check(t, b.want, block)
		return
	}
	for line := range strings.SplitSeq(strings.TrimSpace(block), "\n") {
		s.check(t, b.want[:min(len(b.want), strings.Count(line, "curl"))], "timeout 3 "+line+" | grep -m 1 . || true") // a line is enough
	}
}

func (s *documentShell) check(t *testing.T, want []string, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
	cmd.Dir, cmd.Env = t.TempDir(), s.env
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v: %s", err, script)
	}
	rest := string(out)
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("the output lacks %q", w)
		}
		rest = after
	}
}
