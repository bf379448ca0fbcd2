package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// node is a place for a process: a namespace, a data directory, a configuration file, and the
// process that runs there now.
type node struct {
	t          testing.TB
	name, host string
	binary     string
	file, data string
	logs       *os.File
	ended      chan struct{} // closed when the process has ended; nil before the first
	cmd        *exec.Cmd
	// asked is a client of this node only.
	asked *client.Client
}

// newNode prepares a node with the default configuration, except for what must differ and the given
// lines.
func newNode(t testing.TB, number int, binary, dir string, settings string) *node {
	t.Helper()
	n := &node{t: t, name: namespace(number), host: nodeHost(number), binary: binary}
	n.file, n.data = filepath.Join(dir, n.name+".yaml"), filepath.Join(dir, n.name)
	text := fmt.Sprintf("node:\n  name: %s\n  data_dir: %s\n%s", n.name, n.data, settings)
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if n.logs, err = os.Create(filepath.Join(t.ArtifactDir(), n.name+".log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if n.asked != nil {
			n.asked.Close() //nolint:errcheck // nothing is held
		}
		n.showLog()
		n.logs.Close() //nolint:errcheck // only read from here on
	})
	return n
}

// shownLines is how many lines of a node's log a failure shows.
const shownLines = 30

func (n *node) showLog() {
	if !n.t.Failed() {
		return
	}
	text, err := os.ReadFile(n.logs.Name())
	if err != nil {
		n.t.Log(err)
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	n.t.Logf("end of %s:\n%s", n.logs.Name(), strings.Join(lines[max(0, len(lines)-shownLines):], "\n"))
}

func (n *node) addr() string { return n.host + ":50052" }

// start starts the process (again).
func (n *node) start() {
	n.t.Helper()
	n.cmd = exec.Command("ip", "netns", "exec", n.name, n.binary, "serve", "--config", n.file)
	n.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	n.cmd.Stdout, n.cmd.Stderr = n.logs, n.logs
	// The process ends when the test is killed.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait() //nolint:errcheck // usually killed on purpose
		close(ended)
	}(n.cmd, n.ended)
}

// signal sends a signal to a running process. ip has replaced itself by it, so its id is known.
func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatalf("%v to %s: %v", s, n.name, err)
	}
}

// kill is kill -9, also of a process that was stopped.
func (n *node) kill() {
	if n.ended != nil {
		n.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-n.ended
	}
}

// stop sends SIGTERM, and waits until the process has left in good order.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.ended:
		if code := n.cmd.ProcessState.ExitCode(); code != 0 {
			n.t.Errorf("%s ended with exit code %d", n.name, code)
		}
	case <-time.After(40 * time.Second): // shutdown_timeout and some more time
		n.t.Fatalf("%s does not end after SIGTERM", n.name)
	}
}

func (n *node) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.host+":50051/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close() //nolint:errcheck // only its status counts
	return resp.StatusCode == http.StatusOK
}

// view returns the mesh as this node sees it; nil if the node does not answer.
func (n *node) view(ctx context.Context) *sharelock.MeshState {
	if n.asked == nil {
		c, err := client.Dial(ctx, []string{n.addr()}, client.Options{OnlyAddrs: true})
		if err != nil {
			return nil
		}
		n.asked = c
	}
	m, err := n.asked.Mesh(ctx)
	if err != nil {
		return nil
	}
	return &m
}

// fill leaves no space in the node's data directory, which must be a small disk of its own.
func (n *node) fill() {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.data, "ballast"))
	if err != nil {
		n.t.Fatal(err)
	}
	block := make([]byte, 1<<12)
	for err == nil {
		_, err = f.Write(block)
	}
	if cerr := f.Close(); cerr != nil || !errors.Is(err, syscall.ENOSPC) {
		n.t.Fatalf("the disk of %s does not fill up: %v, %v", n.name, err, cerr)
	}
}

// said reports whether the node's log contains the words.
func (n *node) said(words string) bool {
	n.t.Helper()
	text, err := os.ReadFile(n.logs.Name())
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Contains(string(text), words)
}

// makeRoom undoes fill.
func (n *node) makeRoom() {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.data, "ballast")); err != nil {
		n.t.Fatal(err)
	}
}

// smallDisk mounts a separate disk for the data, before the node is first started.
func (n *node) smallDisk() {
	n.t.Helper()
	if err := os.MkdirAll(n.data, 0o700); err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", n.data, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		n.t.Fatal("mount: ", err)
	}
	n.t.Cleanup(func() {
		n.kill()
		if err := syscall.Unmount(n.data, 0); err != nil {
			n.t.Error("unmount: ", err)
		}
	})
}
