//go:build linux

package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// A node keeps running when the reader of its log has gone, and leaves in good order.
func TestServeOutlivesItsReader(t *testing.T) {
	port := freePorts(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close() // before the first line
	cmd := exec.Command(self, "dev", "--nodes", "1", "--port", strconv.Itoa(port), "--log-level", "debug")
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1")
	cmd.Stderr = w
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin(t, cmd)
	_ = w.Close()
	if got := line(t, bufio.NewReader(out)); !strings.Contains(got, "ready") {
		t.Errorf("got %q", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, cmd); got != exit.OK {
		t.Errorf("got exit code %d", got)
	}
}

// freePorts finds the first of four ports on which nobody listens, and which the system does
// not use for connections.
func freePorts(t *testing.T) int {
	t.Helper()
	for port := 20000 + os.Getpid()%1000*8; port < 32000; port += 4 {
		free := true
		for i := range 4 {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
			if err != nil {
				free = false
				break
			}
			_ = l.Close()
		}
		if free {
			return port
		}
	}
	t.Fatal("no ports are free")
	return 0
}
