package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// documents returns the Markdown files of the repository, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS("../.."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == ".cache" || name == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".md"):
			return nil
		}
		text, err := os.ReadFile(path.Join("../..", name))
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Every sharelock command in a document exists, and so do its flags.
func TestDocsCommands(t *testing.T) {
	checked := 0
	inline := regexp.MustCompile("`(sharelock [^`\n]+)`")
	for name, text := range documents(t) {
		var lines []string
		for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
			lines = append(lines, strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n")...)
		}
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "bin/"))
			if len(words) < 2 || words[0] != "sharelock" {
				continue
			}
			checked++
			if err := known(newApp().root(), words[1:]); err != nil {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d commands found", checked)
	}
}

// known returns an error for anything in a command line that the program does not have. It stops at the
// command that is to be run.
func known(root *cobra.Command, words []string) error {
	// The sentinel is a process that sharelock lock starts; process lists show it like this.
	if strings.HasPrefix(words[0], "-") || words[0] == "…" || words[0] == "sentinel" {
		return nil
	}
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	for _, w := range rest {
		flag, _, _ := strings.Cut(w, "=")
		switch {
		case w == "--" || strings.HasPrefix(w, "#") || w == "|" || w == "&&":
			return nil
		case strings.HasPrefix(w, "--"):
			if cmd.Flag(flag[2:]) == nil {
				return fmt.Errorf("%s has no flag %s", cmd.Name(), flag)
			}
		case strings.HasPrefix(w, "-") && len(w) > 1 && cmd.Flags().ShorthandLookup(flag[1:2]) == nil && cmd.Name() != "flock":
			return fmt.Errorf("%s has no flag %s", cmd.Name(), flag)
		}
	}
	return nil
}

// The README's five minutes work as printed, at a mesh with other ports.
func TestReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	var block string
	for _, m := range shellBlock.FindAllStringSubmatch(documents(t)["README.md"], -1) {
		if strings.Contains(m[1], "curl") {
			block = m[1]
		}
	}
	if block == "" {
		t.Fatal("README.md has no block with curl")
	}
	c := cluster.Start(t, cluster.Options{Nodes: 3, MaxTTL: time.Minute})
	for i := range 3 {
		for port, addr := range map[int]string{50051 + 10*i: c.Addrs(i).HTTP, 50052 + 10*i: c.Addrs(i).GRPC} {
			block = strings.ReplaceAll(block, fmt.Sprintf("localhost:%d", port), addr)
			block = strings.ReplaceAll(block, fmt.Sprintf("127.0.0.1:%d", port), addr)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "bin", "sharelock")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-u", "-c", block)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1", "SHARELOCK_SERVER="+c.Addrs(0).GRPC)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	rest := string(out)
	for _, want := range []string{
		`"token":`,            // the grant
		`"clientId":`,         // who holds it
		"w1",                  // the same from the command line
		"lock is held, by w1", // another client is refused
		"holding with token ", // the command under a lock
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("the output lacks %q after what came before it", want)
		}
		rest = after
	}
	if strings.Contains(rest, `"error"`) {
		t.Errorf("the release failed: %s", rest)
	}
	if l, err := c.Client(0).Get(t.Context(), "orders/42"); !errors.Is(err, sharelock.ErrNotHeld) {
		t.Errorf("after the last step the lock is %+v, %v", l, err)
	}
}
