//go:build linux

package main

import (
	"bufio"
	"fmt"
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

// A lock is taken by force while its job is stopped: when the job continues, CMD does not, not even until
// the next renewal.
func TestLockTakenWhileStopped(t *testing.T) {
	c := sharelockContender(t)
	cmd := exec.Command("sh", "-mc", quoted(slices.Concat(c.words, []string{"sh", "-c", `echo "up $$."; read x; echo "got $x."`})...)+
		`; echo "back."; read go; fg >/dev/null; echo "then $?."; read end`)
	cmd.Env = c.env
	tty := onPty(t, cmd)
	pid := numberAfter(t, tty, "up ")
	tty.typed(t, "\x1a")
	tty.until(t, "back.")
	stops(t, pid)
	c.mesh.take("k", "somebody")
	tty.typed(t, "one\n") // the shell's
	if code := numberAfter(t, tty, "then "); code != exit.Lost {
		t.Errorf("got exit code %d, want %d", code, exit.Lost)
	}
	if state(pid) != "X" {
		t.Error("CMD runs on")
	}
	if calls := c.mesh.calls(); slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "renew ") }) {
		t.Errorf("a renewal told: %q", calls)
	}
	tty.typed(t, "\n")
	wait(t, cmd)
}

// lockProcess starts sharelock lock with flags, without a terminal, and returns its output.
func lockProcess(t *testing.T, c *contender, command ...string) (cmd *exec.Cmd, out *bufio.Reader) {
	t.Helper()
	words := slices.Concat(c.words, command)
	cmd = exec.Command(words[0], words[1:]...)
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	begin(t, cmd)
	_ = w.Close()
	return cmd, bufio.NewReader(r)
}

// guardedGroup is a CMD with a child in its group, neither of which ends by itself.
const guardedGroup = `trap "" TERM INT HUP; (trap "" TERM INT HUP; echo "child $(exec sh -c 'echo $PPID')."; while :; do sleep 0.02; done) & while :; do sleep 0.02; done`

// Whatever keeps sharelock from guarding CMD, the group does not outlive the lock.
func TestLockSentinel(t *testing.T) {
	kill := func(sig syscall.Signal) func(*testing.T, *exec.Cmd) {
		return func(t *testing.T, cmd *exec.Cmd) {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name string
		do   func(t *testing.T, cmd *exec.Cmd)
		// then is the exit code of sharelock after it is continued.
		then int
	}{
		{"killed", kill(syscall.SIGKILL), 0},
		{"stopped", kill(syscall.SIGSTOP), exit.Lost},
		{"stopped by job control", kill(syscall.SIGTSTP), exit.Lost},
		{"killed with its group", func(t *testing.T, cmd *exec.Cmd) {
			if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"stopped with the group of CMD", func(t *testing.T, cmd *exec.Cmd) {
			for _, pid := range childrenOf(t, cmd.Process.Pid) {
				if pid != sentinelOf(t, cmd.Process.Pid) {
					_ = unix.Kill(-pid, unix.SIGSTOP)
				}
			}
			// Last, as it would wake the group.
			kill(syscall.SIGSTOP)(t, cmd)
		}, exit.Lost},
		{"killed after its sentinel", func(t *testing.T, cmd *exec.Cmd) {
			old := sentinelOf(t, cmd.Process.Pid)
			if err := unix.Kill(old, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "another sentinel", func() bool {
				now := sentinelOf(t, cmd.Process.Pid)
				return now != 0 && now != old
			})
			kill(syscall.SIGKILL)(t, cmd)
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd, out := lockProcess(t, sharelockContender(t, "--ttl", "1s"), "sh", "-c", guardedGroup)
			line(t, out)
			test.do(t, cmd)
			if test.then == 0 {
				_ = cmd.Wait()
				ended(t, out)
				return
			}
			group := childrenOf(t, cmd.Process.Pid)
			eventually(t, "the end of CMD's group", func() bool {
				return !slices.ContainsFunc(group, func(pid int) bool { return state(pid) != "X" })
			})
			if got := state(cmd.Process.Pid); got != "T" {
				t.Errorf("sharelock is in state %s, not stopped", got)
			}
			kill(syscall.SIGCONT)(t, cmd)
			if got := wait(t, cmd); got != test.then {
				t.Errorf("got exit code %d, want %d", got, test.then)
			}
			ended(t, out)
		})
	}
}

// childrenOf returns the descendants of a process.
func childrenOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(append(all, child), childrenOf(t, child)...)
		}
	}
	return all
}

// sentinelOf returns the sentinel of a sharelock lock, 0 if it has none.
func sentinelOf(t *testing.T, pid int) int {
	t.Helper()
	for _, child := range childrenOf(t, pid) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && string(b) == "sharelock\x00sentinel\x00" {
			return child
		}
	}
	return 0
}

// The sentinel keeps none of the files open with which sharelock was started.
func TestSentinelFiles(t *testing.T) {
	c := sharelockContender(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(c.words[0], append(c.words[1:], "sh", "-c", "echo up; exec cat")...)
	cmd.Env = c.env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	begin(t, cmd)
	_ = w.Close()
	line(t, bufio.NewReader(out))
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", sentinelOf(t, cmd.Process.Pid)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", sentinelOf(t, cmd.Process.Pid), f.Name()))
		if name != "/dev/null" && !strings.HasPrefix(name, "anon_inode:") && !strings.HasPrefix(name, "socket:") {
			t.Errorf("the sentinel has %s open", name)
		}
	}
	_ = in.Close()
	if got := wait(t, cmd); got != exit.OK {
		t.Errorf("got exit code %d", got)
	}
}
