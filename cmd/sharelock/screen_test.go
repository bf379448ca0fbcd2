//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// atTerminal runs this binary as the command on a terminal of its own.
func atTerminal(t *testing.T, m *fakeMesh, args ...string) (tty *screen, cmd *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return onTerminal(t, m, exec.Command(self, args...))
}

// shell runs a script on a terminal of its own, in a shell with job control. $0 is the command.
func shell(t *testing.T, m *fakeMesh, script string) (tty *screen, cmd *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return onTerminal(t, m, exec.Command("sh", "-mc", script, self))
}

func onTerminal(t *testing.T, m *fakeMesh, cmd *exec.Cmd) (*screen, *exec.Cmd) {
	t.Helper()
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1", "SHARELOCK_SERVER="+m.addr)
	return onPty(t, cmd), cmd
}

// onPty starts a command as the leader of a session on a terminal of its own.
func onPty(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	tty, end, err := pty.Open()
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer end.Close()
	defer tty.Close()
	// Package pty leaves it blocking: Close would then wait for the Read of newScreen.
	fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), tty.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	begin(t, cmd)
	return newScreen(t, master, cmd.Process.Pid)
}

// screen is the output of a terminal or a pipe.
type screen struct {
	tty *os.File
	// session is the session on it, 0 for a pipe.
	session int
	// rest is what was read and not yet searched.
	rest string
	// file is a named pipe that a command may read.
	file string

	mu     sync.Mutex
	unseen string // what was read since
	ended  bool   // the other end is closed
	// more has capacity 1: it wakes a goroutine that waits for more output.
	more chan struct{}
}

// newScreen reads a terminal or a pipe until the end of the test.
func newScreen(t *testing.T, tty *os.File, session int) *screen {
	t.Helper()
	s := &screen{tty: tty, session: session, more: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read()
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-done
	})
	return s
}

func (s *screen) read() {
	buf := make([]byte, 4096)
	for ended := false; !ended; {
		n, err := s.tty.Read(buf)
		ended = err != nil // EIO: the other end is closed
		s.mu.Lock()
		s.unseen += string(buf[:n])
		s.ended = ended
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

// look adds what was read since to rest. It reports whether the output has ended.
func (s *screen) look() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest += s.unseen
	s.unseen = ""
	return s.ended
}

// until waits for a text.
func (s *screen) until(t *testing.T, text string) {
	t.Helper()
	s.reads(t, text, func(rest string) bool { return strings.Contains(rest, text) })
	_, s.rest, _ = strings.Cut(s.rest, text)
}

// reads waits until something is seen.
func (s *screen) reads(t *testing.T, what string, seen func(rest string) bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		ended := s.look()
		if seen(s.rest) {
			return
		}
		if ended {
			t.Fatalf("the terminal shows %q, want %q", s.rest, what)
		}
		select {
		case <-s.more:
		case <-late.C:
			t.Fatalf("the terminal does not show %q, but %q\n%s", what, s.rest, s.processes())
		}
	}
}

// processes describes the processes of the terminal's session, for a failure.
func (s *screen) processes() string {
	if s.session == 0 {
		return ""
	}
	out, err := exec.Command("ps", "-o", "pid,ppid,pgid,tpgid,stat,pending,args", "-s", strconv.Itoa(s.session)).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func (s *screen) typed(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.tty, text); err != nil {
		t.Fatal(err)
	}
}
