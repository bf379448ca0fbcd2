//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// story is what a user does at a terminal. It must have the same result with sharelock lock and with
// flock(1).
type story struct {
	name string
	// script is run by a shell with job control. LOCK stands for the words before a command.
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
		// The shell may continue before sharelock has stopped.
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

// reader waits until CMD, which leads a process group, has the terminal and reads it. A Ctrl-Z that is
// typed while CMD is given the terminal, and so is continued, is lost, as at any shell's fg.
func (s *screen) reader(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "CMD to read the terminal", func() bool { return s.foreground(t) == groupOf(pid) && state(pid) == "S" })
}

// foreground returns the process group that has the terminal.
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

// groupOf returns the process group of a process.
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
	// An inner sh -c is in quotes, so its words must not contain quotes.
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

// Any valid key can be locked.
func TestLockKeys(t *testing.T) {
	m := startMesh(t)
	for _, key := range []string{"-key", "--ttl", "--", "-", "k"} {
		a := remoteApp(m)
		a.command(t, exit.OK, "lock", "-n", "--", key, "--", "sh", "-c", `printf %s "$SHARELOCK_KEY"`)
		if got := a.out.String(); got != key {
			t.Errorf("got key %q, want %q", got, key)
		}
	}
}
