//go:build linux

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// exitCode waits for a command in the background.
func exitCode(t *testing.T, code <-chan int) int {
	t.Helper()
	select {
	case got := <-code:
		return got
	case <-time.After(patience):
		t.Fatal("the command does not end")
		return 0
	}
}

func TestLock(t *testing.T) {
	m := startMesh(t)
	run := func(code int, args ...string) *testApp {
		t.Helper()
		a := remoteApp(m)
		a.stdin = strings.NewReader("from stdin\n")
		a.command(t, code, append([]string{"lock", "--client-id", "w1"}, args...)...)
		if m.isHeld("k") {
			t.Errorf("%v: the key is still held", args)
		}
		return a
	}
	a := run(exit.OK, "k", "--", "sh", "-c", `cat; echo "$SHARELOCK_KEY $SHARELOCK_TOKEN $SHARELOCK_CLIENT_ID"`)
	if got, want := a.out.String(), "from stdin\nk "+token+" w1\n"; got != want {
		t.Errorf("got output %q, want %q", got, want)
	}
	if a.err.String() != "" {
		t.Errorf("got stderr %q", a.err)
	}
	run(7, "k", "--", "sh", "-c", "exit 7")
	run(128+15, "k", "--", "sh", "-c", "kill -TERM $$")
	run(exit.OK, "k", "--ttl", "1m", "-s", "--wait", "2s", "--metadata", "a=b", "--", "true")
	// An argument that looks like a flag is CMD's.
	if a := run(exit.OK, "k", "--", "echo", "-n", "--", "x"); a.out.String() != "-- x" {
		t.Errorf("got output %q", a.out)
	}
	sent := m.calls()
	if want := "acquire k by w1 ttl 1m0s wait 2s SHARED slots 0 metadata map[a:b]"; !slices.Contains(sent, want) {
		t.Errorf("got calls %q, want %q among them", sent, want)
	}
	if want := "acquire k by w1 ttl 0s wait default EXCLUSIVE slots 0 metadata map[]"; sent[0] != want {
		t.Errorf("got call %q, want %q", sent[0], want)
	}

	before := len(sent)
	run(exit.NotFound, "k", "--", "/no/such/command")
	run(exit.NotFound, "k", "--", "no-such-command")
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(exit.CannotRun, "k", "--", plain)
	if after := len(m.calls()); after != before {
		t.Errorf("%d calls for commands that cannot run", after-before)
	}
}

func TestLockNotObtained(t *testing.T) {
	t.Parallel() // a client whose mesh does not answer takes seconds to close
	m := startMesh(t)
	m.take("k", "somebody")
	for _, test := range []struct {
		code int
		args []string
	}{
		{exit.Failed, []string{"-n"}},
		{42, []string{"-n", "-E", "42"}},
		{exit.OK, []string{"-n", "-E", "0"}},
		{42, []string{"--wait", "0s", "-E", "42"}},
	} {
		a := remoteApp(m)
		a.command(t, test.code, slices.Concat([]string{"lock", "k"}, test.args, []string{"--", "echo", "ran"})...)
		if line := oneLineOf(t, a); !strings.Contains(line, "by somebody") || a.out.String() != "" {
			t.Errorf("%v: got stderr %q, output %q", test.args, line, a.out)
		}
	}
	m.setCut()
	a := remoteApp(m)
	a.command(t, exit.Unreachable, "lock", "k", "-E", "42", "--timeout", "50ms", "--", "echo", "ran")
	oneLineOf(t, a)
}

// -E applies only to a lock that others hold, and to no other condition that keeps CMD from running. A mesh
// that cannot serve is not reported as one that does not answer.
func TestLockRefused(t *testing.T) {
	for _, test := range []struct {
		err           error
		lock, acquire int
		says          string
	}{
		{sharelock.ErrModeConflict, exit.Failed, exit.Failed, sharelock.ErrModeConflict.Error()},
		{sharelock.ErrTooManyWaiters, exit.Failed, exit.Failed, sharelock.ErrTooManyWaiters.Error()},
		{sharelock.ErrQuota, exit.Failed, exit.Failed, sharelock.ErrQuota.Error()},
		{sharelock.ErrQuarantined, exit.Unreachable, exit.Unreachable, "the mesh cannot serve: quarantined"},
		{sharelock.ErrInvalidArgument, exit.Usage, exit.Usage, sharelock.ErrInvalidArgument.Error()},
		{sharelock.ErrPermissionDenied, exit.Failed, exit.Failed, sharelock.ErrPermissionDenied.Error()},
		{sharelock.ErrNoQuorum, exit.Unreachable, exit.Unreachable, "the mesh cannot serve: no quorum"},
		{sharelock.ErrNotReady, exit.Unreachable, exit.Unreachable, "the mesh cannot serve: not ready"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			t.Parallel() // giving up at a mesh that cannot serve takes seconds
			m := startMesh(t)
			m.refuse(test.err)
			for _, run := range []struct {
				code int
				args []string
			}{
				{test.lock, []string{"lock", "k", "-E", "42", "--timeout", "50ms", "--", "echo", "ran"}},
				{test.acquire, []string{"acquire", "k", "--timeout", "50ms"}},
			} {
				a := remoteApp(m)
				a.command(t, run.code, run.args...)
				line := oneLineOf(t, a)
				if !strings.Contains(line, test.says) || strings.Contains(line, "reached") || a.out.String() != "" {
					t.Errorf("%s: got stderr %q, output %q", run.args[0], line, a.out)
				}
			}
		})
	}
	// A client-made request id is not replaced by another one.
	m := startMesh(t)
	m.refuse(sharelock.ErrRequestOver)
	a := remoteApp(m)
	a.command(t, exit.Failed, "acquire", "k", "--timeout", "50ms", "--request-id", "r-7")
	if line := oneLineOf(t, a); !strings.Contains(line, sharelock.ErrRequestOver.Error()) {
		t.Errorf("acquire with an id that is over: got stderr %q", line)
	}
}

// A signal during the wait ends the wait, without running CMD.
func TestLockInterruptedWaiting(t *testing.T) {
	m := startMesh(t)
	m.take("k", "somebody")
	a := remoteApp(m)
	code := a.background("lock", "k", "--wait", "1m", "--", "echo", "ran")
	m.await(t, 1)
	a.signals <- syscall.SIGWINCH // has no effect here
	a.signals <- syscall.SIGHUP
	if got := exitCode(t, code); got != 128+1 {
		t.Errorf("got exit code %d, want 129", got)
	}
	if a.out.String() != "" || m.waiting() != 0 {
		t.Errorf("got output %q, %d waiting", a.out, m.waiting())
	}
}

// started is a pipe that CMD writes lines to.
func started(t *testing.T, a *testApp) *bufio.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	a.stdout = w
	t.Cleanup(func() { _ = w.Close() })
	return bufio.NewReader(r)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("reading CMD's output: %v", err)
	}
	return strings.TrimSpace(s)
}

// Signals reach the whole group.
func TestLockForwards(t *testing.T) {
	m := startMesh(t)
	a := remoteApp(m)
	out := started(t, a)
	code := a.background("lock", "k", "--", "sh", "-c",
		`trap 'echo usr1' USR1; trap 'echo term; exit 9' TERM; (trap 'echo child' USR1; echo child ready; while :; do sleep 0.01; done) & echo ready; while :; do sleep 0.01; done`)
	for range 2 {
		line(t, out)
	}
	a.signals <- syscall.SIGUSR1
	got := []string{line(t, out), line(t, out)}
	slices.Sort(got)
	if !slices.Equal(got, []string{"child", "usr1"}) {
		t.Errorf("got %q, want both to see it", got)
	}
	a.signals <- syscall.SIGTERM
	if got := line(t, out); got != "term" {
		t.Errorf("got %q", got)
	}
	if got := exitCode(t, code); got != 9 {
		t.Errorf("got exit code %d, want CMD's own", got)
	}
}

// A lock that is lost ends the whole group, obedient or not.
func TestLockLost(t *testing.T) {
	const stubborn = `trap '' TERM; (echo ready; while :; do sleep 0.01; done) & while :; do sleep 0.01; done`
	for _, test := range []struct {
		name, script string
		lose         func(m *fakeMesh)
	}{
		{"no answers", stubborn, (*fakeMesh).setCut},
		{"taken away", stubborn, func(m *fakeMesh) { m.take("k", "somebody") }},
		{
			"CMD obeys, its child does not",
			`exec 2>/dev/null; (trap '' TERM; echo ready; while :; do sleep 0.01; done) & trap 'exit 0' TERM; while :; do sleep 0.01; done`,
			(*fakeMesh).setCut,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := startMesh(t)
			a := remoteApp(m)
			out := started(t, a)
			code := a.background("lock", "k", "--ttl", "1s", "--timeout", "50ms", "--", "sh", "-c", test.script)
			line(t, out)
			test.lose(m)
			if got := exitCode(t, code); got != exit.Lost {
				t.Errorf("got exit code %d, want %d", got, exit.Lost)
			}
			if err := a.stdout.(*os.File).Close(); err != nil {
				t.Error(err)
			}
			ended(t, out)
			oneLineOf(t, a)
		})
	}
}

// ended waits until nobody has the pipe of CMD's output open any more.
func ended(t *testing.T, out *bufio.Reader) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("a process of CMD's group lives on")
	}
}

func wait(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	select {
	case <-done:
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()) // as a shell says it
		}
		return cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the command does not end")
		return 0
	}
}

// On a terminal CMD is in the foreground: it can read, Ctrl-C is sent only to it, and it survives Ctrl-Z.
func TestLockOnTerminal(t *testing.T) {
	m := startMesh(t)
	t.Run("reads", func(t *testing.T) {
		tty, cmd := atTerminal(t, m, "lock", "k", "--", "sh", "-c", `echo ready; read x; echo "got $x"`)
		tty.until(t, "ready")
		tty.typed(t, "hello\n")
		tty.until(t, "got hello")
		if got := wait(t, cmd); got != exit.OK {
			t.Errorf("got exit code %d", got)
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		tty, cmd := atTerminal(t, m, "lock", "k", "--", "sh", "-c", `trap 'echo mine; exit 3' INT; echo ready; while :; do sleep 0.01; done`)
		tty.until(t, "ready")
		tty.typed(t, "\x03")
		tty.until(t, "mine")
		if got := wait(t, cmd); got != 3 {
			t.Errorf("got exit code %d, want CMD's own", got)
		}
	})
	t.Run("stop", func(t *testing.T) {
		// There is no shell that could continue the job, so the kernel does not let it stop, and CMD must
		// continue at once.
		tty, cmd := atTerminal(t, m, "lock", "k", "--", "sh", "-c", `echo ready; read x; echo "got $x"`)
		tty.until(t, "ready")
		tty.typed(t, "\x1a")
		tty.until(t, "^Z")
		tty.typed(t, "hello\n")
		tty.until(t, "got hello")
		if got := wait(t, cmd); got != exit.OK {
			t.Errorf("got exit code %d", got)
		}
	})
	t.Run("foreground", func(t *testing.T) {
		// CMD is in the foreground from the start, and the shell gets the terminal back.
		tty, cmd := shell(t, m, `"$0" lock k -- sh -c '
			read pid comm state ppid pgrp session tty tpgid rest < /proc/$$/stat; echo "foreground $((pgrp == tpgid))"
			'; echo "then $?"; read x; echo "the shell got $x"`)
		tty.until(t, "foreground 1")
		tty.until(t, "then 0")
		tty.typed(t, "hello\n")
		tty.until(t, "the shell got hello")
		if got := wait(t, cmd); got != exit.OK {
			t.Errorf("got exit code %d", got)
		}
	})
	t.Run("stop and fg", func(t *testing.T) {
		tty, cmd := shell(t, m, `"$0" lock k -- sh -c 'echo ready; read x; echo "got $x"'; echo "the shell is back"; fg; echo "then $?"`)
		tty.until(t, "ready")
		tty.typed(t, "\x1a")
		tty.until(t, "the shell is back")
		tty.typed(t, "hello\n")
		tty.until(t, "got hello")
		tty.until(t, "then 0")
		if got := wait(t, cmd); got != exit.OK {
			t.Errorf("got exit code %d", got)
		}
	})
	t.Run("waiting", func(t *testing.T) {
		m.take("taken", "somebody")
		calls := len(m.calls())
		tty, cmd := atTerminal(t, m, "lock", "taken", "--wait", "1m", "--", "echo", "ran")
		m.await(t, calls+1)
		tty.typed(t, "\x03")
		if got := wait(t, cmd); got != 128+2 {
			t.Errorf("got exit code %d, want 130", got)
		}
	})
}

// A signal that nohup has ignored stays ignored.
func TestLockUnderNohup(t *testing.T) {
	m := startMesh(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `trap '' HUP; exec "$0" "$@"`, self, "lock", "k", "--", "sh", "-c",
		`trap 'echo usr1; exit 4' USR1; echo ready; while :; do sleep 0.01; done`)
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1", "SHARELOCK_SERVER="+m.addr)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out := bufio.NewReader(pipe)
	line(t, out)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if got := line(t, out); got != "usr1" {
		t.Errorf("got %q", got)
	}
	if got := wait(t, cmd); got != 4 {
		t.Errorf("got exit code %d, want CMD's own", got)
	}
}

// Nobody renews the lock of a process that was killed, so CMD must not outlive it.
func TestLockKilled(t *testing.T) {
	m := startMesh(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "lock", "k", "--", "sh", "-c", "echo ready; exec sleep 1000")
	cmd.Env = append(os.Environ(), "SHARELOCK_TEST_MAIN=1", "SHARELOCK_SERVER="+m.addr)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	line(t, out)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended(t, out)
	_ = cmd.Wait()
}
