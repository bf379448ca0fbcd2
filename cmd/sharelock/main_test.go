package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/host"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/job"
	"github.com/sgkandale/sharelock/mesh"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if code, ok := job.RunHidden(os.Args[1:]); ok {
		syscall.Exit(code) // os.Exit sleeps for a second under the race detector
	}
	if os.Getenv("SHARELOCK_TEST_MAIN") != "" {
		main() // this binary acts as the command, for tests that need a process
	}
	// The commands that tests run do not sleep before they end either.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	// Under nohup(1) SIGHUP is ignored, also in every process that is started here. A signal that is caught
	// is reset to its default in them.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
		os.Exit(code)
	}))
}

// patience bounds the waits of tests. No wait should come near it.
const patience = 20 * time.Second

// eventually polls for conditions for which the system has no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// built is the program that [program] builds once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// program returns the path of the program as users have it. Tests that start hundreds of
// processes use it: one under the race detector takes three times as long to start.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sharelock-test-"); built.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-pgo=off", "-o", filepath.Join(built.dir, "sharelock"), ".").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build the program: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "sharelock")
}

// buffer is an output that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// testApp is an app without a process around it.
type testApp struct {
	*app
	out, err *buffer
	// signals carries the signals of the process.
	signals chan os.Signal
}

func newApp() *testApp {
	t := &testApp{out: &buffer{}, err: &buffer{}, signals: make(chan os.Signal, 4)}
	t.app = &app{
		stdin: strings.NewReader(""), stdout: t.out, stderr: t.err,
		notify:  func(...os.Signal) (<-chan os.Signal, func()) { return t.signals, func() {} },
		newNode: func(mesh.Config) (host.Node, error) { return nil, errors.New("no nodes here") },
	}
	return t
}

// command runs a command and checks its exit code.
func (a *testApp) command(t *testing.T, code int, args ...string) {
	t.Helper()
	if got := a.run(context.Background(), args); got != code {
		t.Errorf("sharelock %s: got exit code %d, want %d; stderr: %s", strings.Join(args, " "), got, code, a.err)
	}
}

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// oneLineOf checks that stderr is one line without a stack trace, and returns it.
func oneLineOf(t *testing.T, a *testApp) string {
	t.Helper()
	text := a.err.String()
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "sharelock: ") {
		t.Errorf("got stderr %q, want one line", text)
	}
	return text
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"serve", "--nonsense"},
		{"serve", "extra"},
		{"dev", "--nodes", "0"},
		{"dev", "--nodes", "27"},
		{"dev", "--nodes", "x"},
		{"dev", "--port", "65530"},
		{"dev", "--log-level", "loud"},
		{"acquire"},
		{"acquire", "k", "-w", "5s", "-n"},
		{"acquire", "k", "-s", "--slots", "3"},
		{"get", "k", "-o", "xml"},
		{"get", "k", "--server", "nowhere"},
		{"get", "k", "--server", "host:"},
		{"get", "k", "--timeout", "0s"},
		{"get", "k", "--client-id", strings.Repeat("x", 129)},
		{"lock", "k", "true"},
		{"lock", "k", "--"},
		{"lock", "k", "extra", "--", "true"},
		{"lock", "--", "true"},
		{"lock", "k", "-E", "256", "--", "true"},
		{"lock", "k", "--wait=-1s", "--", "true"},
		{"lock", "k", "--ttl", "99ms", "--", "true"},
		{"lock", "k", "--metadata", "novalue", "--", "true"},
	} {
		a := newApp()
		a.command(t, exit.Usage, args...)
		oneLineOf(t, a)
		if a.out.String() != "" {
			t.Errorf("%v: got output %q", args, a.out)
		}
	}
}

// The help of every command is a golden file, because users see it.
func TestHelp(t *testing.T) {
	a := newApp()
	a.command(t, exit.OK, "help")
	golden(t, "help", a.out.String())
	for _, name := range []string{
		"serve", "dev", "lock", "flock", "acquire", "renew", "release", "get", "list", "members", "locate", "leave", "version", "completion",
	} {
		a := newApp()
		a.command(t, exit.OK, name, "--help")
		if name != "version" && name != "completion" {
			if !strings.Contains(a.out.String(), "Examples:") {
				t.Errorf("%s: the help has no example", name)
			}
		}
		if !strings.Contains(a.out.String(), "Usage:") {
			t.Errorf("%s: got help %q", name, a.out)
		}
	}
	a = newApp()
	a.command(t, exit.OK, "lock", "--help")
	golden(t, "help_lock", a.out.String())
}

func TestVersionAndCompletion(t *testing.T) {
	a := newApp()
	a.command(t, exit.OK, "version")
	if !strings.HasPrefix(a.out.String(), "sharelock ") || !strings.Contains(a.out.String(), " go1.") || !strings.Contains(a.out.String(), "release ") {
		t.Errorf("got %q", a.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		a := newApp()
		a.command(t, exit.OK, "completion", shell)
		if !strings.Contains(a.out.String(), "sharelock") {
			t.Errorf("%s: got %q", shell, a.out)
		}
	}
}
