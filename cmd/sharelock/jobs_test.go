//go:build linux

package main

import (
	"bufio"
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
)

// story is what a user does at a terminal. It must go the same way with sharelock lock and
// with flock(1).
type story struct {
	name string
	// script is run by a shell with job control; LOCK is what comes before a command.
	script string
	tell   func(t *testing.T, tty *screen)
}

var stories = []story{
	{"Ctrl-Z and fg", `LOCK sh -c 'echo "up $$."; read x; echo "got $x."'; echo "back."; read go; fg >/dev/null; echo "then $?."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.typed(t, "\x1a")
		tty.until(t, "back.")
		stops(t, pid)
		tty.typed(t, "go\n")
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
	}},
	{"Ctrl-Z and bg", `LOCK sh -c 'echo "up $$."; read f <"$0"; echo "done."' FILE; echo "back."; read x; bg >/dev/null; wait; echo "over."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.typed(t, "\x1a")
		tty.until(t, "back.")
		stops(t, pid)
		tty.typed(t, "\n")
		eventually(t, "CMD to go on", func() bool { return state(pid) != "T" })
		letGo(t, tty.file)
		tty.until(t, "done.")
		tty.until(t, "over.")
	}},
	{"Ctrl-Z in a pipeline", `echo in | LOCK sh -c 'echo "up $$."; read x </dev/tty; echo "got $x."' | cat; echo "back."; read go; fg >/dev/null; echo "over."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.reader(t, pid)
		tty.typed(t, "\x1a")
		tty.until(t, "back.")
		stops(t, pid)
		tty.typed(t, "go\n")
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "over.")
	}},
	{"Ctrl-Z in a script", `sh -c 'LOCK sh -c "echo \"up \$\$.\"; read x; echo \"got \$x.\""; echo "then $?."'; echo "back."; read go; fg >/dev/null; echo "over."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.reader(t, pid)
		tty.typed(t, "\x1a")
		tty.until(t, "back.")
		stops(t, pid)
		tty.typed(t, "go\n")
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
		tty.until(t, "over.")
	}},
	{"Ctrl-Z in a script that does not read", `sh -c 'LOCK sh -c "echo \"up \$\$.\"; read f <\"\$0\"; echo done." FILE; echo "then $?."'; echo "back."; read go; fg >/dev/null; echo "over."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.typed(t, "\x1a")
		// The shell may be back before sharelock has stopped.
		tty.until(t, "back.")
		tty.typed(t, "go\n")
		letGo(t, tty.file)
		tty.until(t, "done.")
		tty.until(t, "then 0.")
		tty.until(t, "over.")
		eventually(t, "the end of CMD", func() bool { return state(pid) == "X" })
	}},
	{"kill -TSTP and -CONT of a job", `LOCK sh -c 'echo "up $$."; read f <"$0"; echo "done."' FILE & read x; kill -TSTP %1; read x; kill -CONT %1; fg >/dev/null 2>&1; echo "over."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.typed(t, "\n")
		stops(t, pid)
		tty.typed(t, "\n")
		eventually(t, "CMD to go on", func() bool { return state(pid) != "T" })
		letGo(t, tty.file)
		tty.until(t, "done.")
		tty.until(t, "over.")
	}},
	{"reads the terminal, stdin a pipe", `echo d | LOCK sh -c 'read x </dev/tty; echo "got $x."'; echo "then $?."`, func(t *testing.T, tty *screen) {
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
	}},
	{"reads the terminal, stdout a pipe", `LOCK sh -c 'read x; echo "got $x."' | cat; echo "then $?."`, func(t *testing.T, tty *screen) {
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
	}},
	{"reads the terminal in a script", `sh -c 'LOCK sh -c "read x; echo \"got \$x.\""; read y; echo "then $y."'`, func(t *testing.T, tty *screen) {
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.typed(t, "two\n")
		tty.until(t, "then two.")
	}},
	{"sets the terminal in a pipeline", `echo d | LOCK sh -c 'stty -echo </dev/tty; echo "set $?."'; echo "then $?."`, func(t *testing.T, tty *screen) {
		tty.until(t, "set 0.")
		tty.until(t, "then 0.")
	}},
	{"a pager reads the terminal after CMD", `LOCK sh -c 'read x </dev/tty; echo "got $x."; read f <"$0"; read y </dev/tty; echo "then $y."' FILE | sh -c 'read a; echo "$a"; read k </dev/tty; echo "key $k."; cat'; echo "over."`, func(t *testing.T, tty *screen) {
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.typed(t, "two\n")
		tty.until(t, "key two.")
		letGo(t, tty.file)
		tty.typed(t, "three\n")
		tty.until(t, "then three.")
		tty.until(t, "over.")
	}},
	{"reads the terminal in the background", `LOCK sh -c 'echo "up $$."; read x; echo "got $x."' & read go; fg >/dev/null; echo "then $?."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		stops(t, pid)
		tty.typed(t, "go\n")
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
	}},
	{"Ctrl-C ends a loop", `sh -c 'while :; do LOCK sh -c "echo \"up \$\$.\"; exec sleep 100"; done'; echo "then $?."`, func(t *testing.T, tty *screen) {
		numberAfter(t, tty, "up ")
		tty.typed(t, "\x03")
		tty.until(t, "then 130.")
	}},
	{"Ctrl-C ends a loop of bash", `bash -c 'while :; do LOCK sh -c "echo \"up \$\$.\"; exec sleep 100"; done'; echo "then $?."`, func(t *testing.T, tty *screen) {
		numberAfter(t, tty, "up ")
		tty.typed(t, "\x03")
		tty.until(t, "then 130.")
	}},
	{"Ctrl-C ends a loop whose command has read the terminal", `bash -c 'while :; do LOCK sh -c "read x; echo \"got \$x.\"; exec sleep 100"; done'; echo "then $?."`, func(t *testing.T, tty *screen) {
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.typed(t, "\x03")
		tty.until(t, "then 130.")
	}},
	{"nested locks", `LOCK LOCK2 sh -c 'echo "up $$."; read x; echo "got $x."'; echo "back."; read go; fg >/dev/null; echo "then $?."`, func(t *testing.T, tty *screen) {
		pid := numberAfter(t, tty, "up ")
		tty.typed(t, "\x1a")
		tty.until(t, "back.")
		stops(t, pid)
		tty.typed(t, "go\n")
		tty.typed(t, "one\n")
		tty.until(t, "got one.")
		tty.until(t, "then 0.")
	}},
}

// reader waits until CMD, which leads a process group, has the terminal and reads it. A
// Ctrl-Z that is typed while CMD is given the terminal, and so is continued, is lost, as
// it is at any shell's fg.
func (s *screen) reader(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "CMD to read the terminal", func() bool { return s.foreground(t) == groupOf(pid) && state(pid) == "S" })
}

// foreground is the process group that has the terminal.
func (s *screen) foreground(t *testing.T) (group int) {
	t.Helper()
	raw, err := s.tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { group, _ = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) }); err != nil {
		t.Fatal(err)
	}
	return group
}

// groupOf is the process group of a process.
func groupOf(pid int) int {
	group, err := unix.Getpgid(pid)
	if err != nil {
		return -1
	}
	return group
}

func stops(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "a process to stop", func() bool { return state(pid) == "T" })
}

// letGo lets a CMD that reads a named pipe continue.
func letGo(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStories(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name+"/sharelock", func(t *testing.T) {
			t.Parallel()
			tell(t, s, sharelockContender(t))
		})
		t.Run(s.name+"/flock", func(t *testing.T) {
			t.Parallel()
			tell(t, s, flockContender(t))
		})
	}
}

func tell(t *testing.T, s story, c *contender) {
	file := filepath.Join(t.TempDir(), "go")
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	inner := slices.Clone(c.words)
	if c.mesh != nil {
		inner[2] = "k2"
	} else {
		inner[1] += "2"
	}
	// Within the quotes of an inner sh -c there are no others.
	plainly := func(words []string) string { return strings.Join(words, " ") }
	script := strings.NewReplacer("LOCK2", plainly(inner), "LOCK", plainly(c.words), "FILE", file).Replace(s.script)
	cmd := exec.Command("sh", "-mc", "trap : INT; "+script+"\nread end")
	cmd.Env = c.env
	tty := onPty(t, cmd)
	tty.file = file
	s.tell(t, tty)
	tty.typed(t, "\n")
	wait(t, cmd)
	eventually(t, "the end of the lock", func() bool { return !c.held(t) })
}

// A lock is taken by force while its job is stopped: CMD does not continue when the job does, not
// even until the next renewal.
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
	if code := numberAfter(t, tty, "then "); code != exitLost {
		t.Errorf("got exit code %d, want %d", code, exitLost)
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

// Whatever keeps sharelock from watching over CMD, the group does not outlive the lock.
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
		// then is the exit code of sharelock if it is continued.
		then int
	}{
		{"killed", kill(syscall.SIGKILL), 0},
		{"stopped", kill(syscall.SIGSTOP), exitLost},
		{"stopped by job control", kill(syscall.SIGTSTP), exitLost},
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
		}, exitLost},
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

// childrenOf are the children of a process, and theirs.
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

// sentinelOf is the sentinel of a sharelock lock, 0 if it has none.
func sentinelOf(t *testing.T, pid int) int {
	t.Helper()
	for _, child := range childrenOf(t, pid) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && string(b) == "sharelock\x00"+sentinelCommand+"\x00" {
			return child
		}
	}
	return 0
}

// The sentinel keeps nothing open that sharelock was started with.
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
	if got := wait(t, cmd); got != exitOK {
		t.Errorf("got exit code %d", got)
	}
}

// A signal that is sent to all processes of a control group, or to the process and to its
// group as timeout(1) does, is one signal to CMD.
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
	} {
		for i := range 3 {
			t.Run(fmt.Sprintf("%s/%d", test.name, i), func(t *testing.T) {
				t.Parallel()
				c := sharelockContender(t)
				cmd, out := lockProcess(t, c, "sh", "-c", `exec 2>/dev/null; trap 'echo term' TERM; echo $$; while :; do sleep 0.01; done`)
				pid, err := strconv.Atoi(line(t, out))
				if err != nil {
					t.Fatal(err)
				}
				// sharelock counts from the moment in which it gets the first, however long this
				// process takes to send the others.
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
				// HUP takes the same way as TERM, so another TERM would be there before it.
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
	if got := wait(t, cmd); got != exitOK {
		t.Errorf("got exit code %d", got)
	}
}

// What cannot be run ends as in sh, before anybody is asked for a lock; a script without
// an interpreter is the shell's.
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
			if code := cmd.ProcessState.ExitCode(); code >= exitCannotRun && len(c.mesh.calls()) > 0 {
				t.Errorf("the mesh was asked: %q", c.mesh.calls())
			}
		})
	}
}

// Any legal key can be locked.
func TestLockKeys(t *testing.T) {
	m := startMesh(t)
	for _, key := range []string{"-key", "--ttl", "--", "-", "k"} {
		a := remoteApp(m)
		a.command(t, exitOK, "lock", "-n", "--", key, "--", "sh", "-c", `printf %s "$SHARELOCK_KEY"`)
		if got := a.out.String(); got != key {
			t.Errorf("got key %q, want %q", got, key)
		}
	}
}

// A stop that the runtime delivers behind the SIGCONT that ended it does not stop again.
func TestSignalsMerged(t *testing.T) {
	for _, test := range []struct {
		sig  syscall.Signal
		come []os.Signal
		want syscall.Signal
	}{
		{unix.SIGTSTP, nil, unix.SIGTSTP},
		{unix.SIGCONT, []os.Signal{unix.SIGTSTP}, unix.SIGCONT},
		{unix.SIGCONT, []os.Signal{unix.SIGTSTP, unix.SIGTTIN}, unix.SIGCONT},
		{unix.SIGTSTP, []os.Signal{unix.SIGCONT}, unix.SIGCONT},
		{unix.SIGTTIN, []os.Signal{unix.SIGTSTP, unix.SIGCONT}, unix.SIGCONT},
		{unix.SIGTTIN, []os.Signal{unix.SIGTSTP}, unix.SIGTSTP},
		{unix.SIGTTOU, []os.Signal{unix.SIGTTIN}, unix.SIGTTOU},
	} {
		j := &job{jobControl: make(chan os.Signal, 8)}
		for _, sig := range test.come {
			j.jobControl <- sig
		}
		if got := j.merged(test.sig); got != test.want || len(j.jobControl) > 0 {
			t.Errorf("%v and %v: got %v, want %v; %d are left", test.sig, test.come, got, test.want, len(j.jobControl))
		}
	}
}

// A CMD that goes into a session of its own is not waited for, and is out of the lock's reach, as
// docs/lock.md says; with --wait it is waited for, and its exit code is CMD's.
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
