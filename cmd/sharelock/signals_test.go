//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// A signal that is sent to all processes of a control group, or to the process and to its group as
// timeout(1) does, reaches CMD once.
func TestLockSignalOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(t *testing.T, pid, cmd int)
	}{
		{"everybody", func(t *testing.T, pid, cmd int) {
			for _, p := range []int{pid, sentinelOf(t, pid), cmd} {
				if err := unix.Kill(p, unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"everybody, CMD first", func(t *testing.T, pid, cmd int) {
			for _, p := range []int{cmd, sentinelOf(t, pid), pid} {
				if err := unix.Kill(p, unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"process and group", func(t *testing.T, pid, _ int) {
			for _, p := range []int{pid, -pid} {
				if err := unix.Kill(p, unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"everybody, USR1", func(t *testing.T, pid, cmd int) {
			for _, p := range []int{pid, sentinelOf(t, pid), cmd} {
				if err := unix.Kill(p, unix.SIGUSR1); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		for i := range 3 {
			t.Run(fmt.Sprintf("%s/%d", test.name, i), func(t *testing.T) {
				t.Parallel()
				c := sharelockContender(t)
				cmd, out := lockProcess(t, c, "sh", "-c", `exec 2>/dev/null; trap 'echo term' TERM USR1; echo $$; while :; do sleep 0.01; done`)
				pid, err := strconv.Atoi(line(t, out))
				if err != nil {
					t.Fatal(err)
				}
				// sharelock counts from the moment at which it gets the first signal, however long this process
				// takes to send the others.
				if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				stops(t, cmd.Process.Pid)
				test.send(t, cmd.Process.Pid, pid)
				if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				if got := line(t, out); got != "term" {
					t.Errorf("got %q", got)
				}
				// HUP is delayed like TERM, so another TERM would arrive before it.
				if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
				if rest, _ := io.ReadAll(out); strings.Contains(string(rest), "term") {
					t.Errorf("got another: %q", rest)
				}
				if got := wait(t, cmd); got != 128+1 {
					t.Errorf("got exit code %d", got)
				}
			})
		}
	}
}

// Orphans are reaped while CMD runs: as PID 1, and those that a shell left to sharelock.
func TestLockReaps(t *testing.T) {
	const orphans = `for i in 1 2 3; do (sleep 0.01 & ) ; done; echo up; exec cat`
	t.Run("PID 1", func(t *testing.T) {
		needNamespaces(t)
		c := sharelockContender(t)
		c.words = append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, c.words...)
		reaps(t, c, orphans, func(t *testing.T, pid int) int { return child(t, pid) })
	})
	t.Run("left by a shell", func(t *testing.T) {
		c := sharelockContender(t)
		c.words = append([]string{"sh", "-c", `sleep 0.01 & exec "$@"`, "sh"}, c.words...)
		reaps(t, c, "echo up; exec cat", func(_ *testing.T, pid int) int { return pid })
	})
}

func reaps(t *testing.T, c *contender, command string, who func(*testing.T, int) int) {
	t.Helper()
	words := slices.Concat(c.words, []string{"sh", "-c", command})
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = c.env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin(t, cmd)
	line(t, bufio.NewReader(out))
	pid := who(t, cmd.Process.Pid)
	// CMD and the sentinel remain.
	eventually(t, "the end of all zombies", func() bool { return len(childrenOf(t, pid)) == 2 })
	_ = in.Close()
	if got := wait(t, cmd); got != exit.OK {
		t.Errorf("got exit code %d", got)
	}
}

// What cannot be run ends as in sh, before any lock is requested. A script without an interpreter is run
// by the shell.
func TestLockPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"plain": "text", "script": "echo \"script $# $1\"\n", "empty": "", "binary": "\x00\x01\x02\x03",
		"broken": "#!/no/such/interpreter\n", "forbidden": "#!/etc/passwd\n", "shebang": "#!/bin/sh\necho shebang\n",
	} {
		mode := os.FileMode(0o700)
		if name == "plain" {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, argv := range [][]string{
		{"./script", "a b"}, {"script", "x"}, {"./empty"}, {"./shebang"}, {"./plain"}, {"plain"}, {"./binary"}, {"./broken"}, {"./forbidden"}, {dir}, {"./nothing"}, {"nothing-at-all"},
	} {
		t.Run(argv[0], func(t *testing.T) {
			sh := exec.Command("bash", "-c", quoted(slices.Clone(argv)...))
			sh.Dir = dir
			want, _ := sh.Output()
			c := sharelockContender(t)
			words := slices.Concat(c.words, argv)
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Dir, cmd.Env = dir, append(c.env, "PATH="+os.Getenv("PATH"))
			got, _ := cmd.Output()
			if string(got) != string(want) || cmd.ProcessState.ExitCode() != sh.ProcessState.ExitCode() {
				t.Errorf("got %q, exit %v; sh has %q, exit %v", got, cmd.ProcessState, want, sh.ProcessState)
			}
			if code := cmd.ProcessState.ExitCode(); code >= exit.CannotRun && len(c.mesh.calls()) > 0 {
				t.Errorf("the mesh was asked: %q", c.mesh.calls())
			}
		})
	}
}

// A CMD that moves into a session of its own is not waited for, and is not killed with the lock, as
// docs/lock.md says. With --wait it is waited for, and its exit code is CMD's.
func TestLockSetsid(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip(err)
	}
	const job = `exec 2>/dev/null; echo $$; read end <"$0"; exit 7`
	for _, test := range []struct {
		args   []string
		waited bool
	}{
		{[]string{"setsid"}, false},
		{[]string{"setsid", "--wait"}, true},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			end, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			c := sharelockContender(t)
			cmd, out := lockProcess(t, c, slices.Concat(test.args, []string{"sh", "-c", job, fifo})...)
			pid, err := strconv.Atoi(line(t, out))
			if err != nil {
				t.Fatal(err)
			}
			code := 0
			if !test.waited {
				if code = wait(t, cmd); state(pid) == "X" || c.held(t) {
					t.Errorf("the job has ended with the lock, or has kept it")
				}
			} else if !c.held(t) {
				t.Error("the lock is not held while CMD runs")
			}
			if _, err := io.WriteString(end, "\n"); err != nil {
				t.Fatal(err)
			}
			want := 0
			if test.waited {
				code, want = wait(t, cmd), 7
			}
			if code != want {
				t.Errorf("got exit code %d, want %d", code, want)
			}
			eventually(t, "the end of the job", func() bool { return state(pid) == "X" })
		})
	}
}

// When a signal ends an acquire, its place in the queue is given up first, and nothing is printed.
func TestInterruptedAcquireProcess(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			m := startMesh(t)
			m.take("k", "somebody")
			cmd := exec.Command(program(t), "acquire", "k", "--wait", "1m", "--server", m.addr)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			begin(t, cmd)
			m.await(t, 1)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, cmd); got != 128+int(sig) || out.Len() > 0 {
				t.Errorf("got exit code %d and %q, want %d and nothing", got, &out, 128+int(sig))
			}
			if n := m.waiting(); n != 0 {
				t.Errorf("%d still wait", n)
			}
		})
	}
}
