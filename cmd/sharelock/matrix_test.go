//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// contender is sharelock lock or, for comparison, flock(1).
type contender struct {
	name string
	// words come before CMD.
	words []string
	env   []string
	mesh  *fakeMesh
	file  *os.File
}

// sharelockContender is sharelock lock with a mesh of its own.
func sharelockContender(t *testing.T, flags ...string) *contender {
	t.Helper()
	m := startMesh(t)
	return &contender{
		name: "sharelock", mesh: m,
		words: slices.Concat([]string{program(t), "lock", "k"}, flags, []string{"--"}),
		env:   append(os.Environ(), "SHARELOCK_SERVER="+m.addr),
	}
}

func flockContender(t *testing.T) *contender {
	t.Helper()
	program, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("no flock(1) here")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &contender{name: "flock", file: f, words: []string{program, f.Name()}, env: os.Environ()}
}

// take makes another client hold the lock.
func (c *contender) take(t *testing.T) {
	t.Helper()
	if c.mesh != nil {
		c.mesh.take("k", "somebody")
	} else if err := unix.Flock(int(c.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
}

// awaitWaiter returns when the contender waits for the lock.
func (c *contender) awaitWaiter(t *testing.T) {
	t.Helper()
	var inode unix.Stat_t
	if c.mesh == nil {
		if err := unix.Fstat(int(c.file.Fd()), &inode); err != nil {
			t.Fatal(err)
		}
	}
	blocked := regexp.MustCompile(fmt.Sprintf(`-> FLOCK .*:%d `, inode.Ino))
	eventually(t, "a waiter", func() bool {
		if c.mesh != nil {
			return c.mesh.waiting() > 0
		}
		locks, err := os.ReadFile("/proc/locks")
		return err == nil && blocked.Match(locks)
	})
}

// held reports whether somebody holds the lock.
func (c *contender) held(t *testing.T) bool {
	t.Helper()
	if c.mesh != nil {
		return c.mesh.isHeld("k")
	}
	f, err := os.Open(c.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// state returns the letter that ps shows for a process, or X if there is none.
func state(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "X"
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	if len(rest) == 0 || rest[0] == 'Z' {
		return "X"
	}
	return string(rest[:1])
}

// quoted returns a command for a shell.
func quoted(words ...string) string {
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " ")
}

// scene is a running command.
type scene struct {
	cmd *exec.Cmd
	// at shows its output: a terminal, or a pipe.
	at *screen
	// who returns the process that gets signals that are not typed, 0 for the command itself.
	who func(t *testing.T) int
}

// stage is a way to run a command.
type stage struct {
	name string
	// start runs the contender's command line with CMD appended; then, where there is a
	// shell, it prints "then" and the exit code as the shell sees it.
	start func(t *testing.T, c *contender, words []string) *scene
	// typed: signals come from the terminal.
	typed bool
	// interrupt: SIGINT is the only signal that is tried.
	interrupt bool
	// pid1: the command is PID 1 of a namespace. Signals that flock does not handle, which are all of
	// them, have no effect there.
	pid1 bool
	// shell: a shell prints the exit code.
	shell bool
}

func inShell(options, script string) func(t *testing.T, c *contender, words []string) *scene {
	return in("sh", options, script)
}

func in(shell, options, script string) func(t *testing.T, c *contender, words []string) *scene {
	return func(t *testing.T, c *contender, words []string) *scene {
		if _, err := exec.LookPath(shell); err != nil {
			t.Skip(err) // the shell is not installed
		}
		cmd := exec.Command(shell, options, strings.ReplaceAll(script, "LOCK", quoted(slices.Clone(words)...)))
		cmd.Env = c.env
		tty := onPty(t, cmd)
		return &scene{cmd: cmd, at: tty, who: func(t *testing.T) int { return numberAfter(t, tty, "job ") }}
	}
}

// plain runs the words without a terminal, after the words in before.
func plain(before ...string) func(t *testing.T, c *contender, words []string) *scene {
	return func(t *testing.T, c *contender, words []string) *scene {
		words = slices.Concat(before, words)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = c.env
		// setsid(1) would start another process if it led a process group.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: words[0] != "setsid"}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = w, w
		begin(t, cmd)
		_ = w.Close()
		return &scene{cmd: cmd, at: newScreen(t, r, 0), who: func(*testing.T) int { return cmd.Process.Pid }}
	}
}

// begin starts a command, and ends what is left of its session at the end of the test.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// child returns the only child of a process.
func child(t *testing.T, pid int) (of int) {
	t.Helper()
	eventually(t, "a child", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if fields := strings.Fields(string(b)); err == nil && len(fields) > 0 {
			of, _ = strconv.Atoi(fields[0])
		}
		return of > 0
	})
	return of
}

// numberAfter returns the number that the terminal shows after a text, and before a full stop. What it
// has read can be searched again.
func numberAfter(t *testing.T, s *screen, text string) int {
	t.Helper()
	number := regexp.MustCompile(regexp.QuoteMeta(text) + `([0-9]+)\.`)
	s.reads(t, number.String(), number.MatchString)
	n, err := strconv.Atoi(number.FindStringSubmatch(s.rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var stages = []stage{
	{name: "foreground", start: inShell("-mc", `trap : INT; LOCK; echo "then $?."; read end`), typed: true, shell: true},
	{name: "background", start: inShell("-mc", `LOCK & echo "job $!."; wait $!; echo "then $?."; read end`), shell: true},
	{name: "stdin a pipe", start: inShell("-mc", `trap : INT; echo in | LOCK; echo "then $?."; read end`), typed: true, shell: true},
	{name: "stdout a pipe", start: inShell("-mc", `trap : INT; { trap : INT QUIT; LOCK; echo "then $?." >&2; } | (trap "" INT QUIT; cat); read end`), typed: true, shell: true},
	{name: "script", start: inShell("-c", `trap : INT QUIT; LOCK; echo "then $?."; read end`), typed: true, shell: true},
	// Unlike dash, bash ends a loop only if the command in it was killed by SIGINT, and not if only its exit
	// code says so. The loop would then continue, and nothing would follow.
	{name: "loop", start: in("bash", "-c", `trap : INT; (trap - INT; while :; do LOCK; code=$?; test $code -ge 128 || exit $code; done); echo "then $?."; read end`), typed: true, shell: true, interrupt: true},
	{name: "no tty", start: plain()},
	{name: "setsid", start: plain("setsid")},
	{name: "nested", start: func(t *testing.T, c *contender, words []string) *scene {
		outer := *c
		if c.mesh != nil {
			o := sharelockContender(t)
			outer.words = o.words
			return plain(append([]string{"env", "SHARELOCK_SERVER=" + o.mesh.addr}, o.words...)...)(t, c,
				append([]string{"env", "SHARELOCK_SERVER=" + c.mesh.addr}, words...))
		}
		return plain(flockContender(t).words...)(t, c, words)
	}},
	{name: "PID 1", pid1: true, start: func(t *testing.T, c *contender, words []string) *scene {
		s := plain("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")(t, c, words)
		s.who = func(t *testing.T) int { return child(t, s.cmd.Process.Pid) }
		return s
	}},
}

// The commands that run under the lock. Each prints its process id as the test sees it.
const (
	obedient = `echo "up $$."; exec sleep 100`
	tidy     = `trap "echo bye; exit 7" INT TERM HUP QUIT USR1; echo "up $$."; while :; do sleep 0.02; done`
)

type matrixSignal struct {
	sig syscall.Signal
	key string // what types it
}

var matrixSignals = []matrixSignal{
	{syscall.SIGINT, "\x03"}, {syscall.SIGQUIT, "\x1c"}, {syscall.SIGTERM, ""}, {syscall.SIGHUP, ""}, {syscall.SIGUSR1, ""},
}

// outcome is the expected result of a stage, a signal and a phase: the exit code as a shell shows it,
// whether CMD has ended, and whether the lock is free.
type outcome struct {
	code       int
	gone, free bool
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d, CMD gone %v, lock free %v", o.code, o.gone, o.free)
}

// expected returns the outcomes of sharelock lock and of flock(1).
func expected(s stage, sig syscall.Signal, phase string) (sharelockOptions, theirs outcome) {
	n := 128 + int(sig)
	switch phase {
	case "waiting":
		return outcome{n, true, false}, outcome{n, true, false}
	case "holding":
		// A signal to flock alone does not reach CMD, which keeps running with the lock.
		return outcome{n, true, true}, outcome{n, s.typed, s.typed}
	default:
		// CMD's own exit code counts. flock is ended by the signal.
		return outcome{7, true, true}, outcome{n, s.typed, s.typed}
	}
}

// The phase "losing" is the same for every signal, and flock has no such phase.
func TestMatrixLosing(t *testing.T) {
	for _, s := range stages {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.pid1 {
				needNamespaces(t)
			}
			c := sharelockContender(t, "--ttl", "1s")
			sc := s.start(t, c, slices.Concat(c.words, []string{"sh", "-c", `trap "" TERM; echo "up $$."; while :; do sleep 0.02; done`}))
			if !s.typed {
				sc.who(t)
			}
			pid := numberAfter(t, sc.at, "up ")
			c.mesh.setCut()
			var code int
			if s.shell {
				code = numberAfter(t, sc.at, "then ")
			} else {
				code = wait(t, sc.cmd)
			}
			if code != exit.Lost {
				t.Errorf("got exit code %d, want %d; the terminal shows %q", code, exit.Lost, sc.at.rest)
			}
			if !s.pid1 {
				eventually(t, "the end of CMD", func() bool { return state(pid) == "X" })
			}
		})
	}
}

// TestMatrix is the table of docs/lock.md: every signal, in every stage, in every phase of a lock, also
// with flock(1).
func TestMatrix(t *testing.T) {
	for _, s := range stages {
		for _, sig := range matrixSignals {
			if s.typed && sig.key == "" || s.interrupt && sig.sig != syscall.SIGINT {
				continue
			}
			for _, phase := range []string{"waiting", "holding", "ending"} {
				sharelockOptions, theirs := expected(s, sig.sig, phase)
				name := fmt.Sprintf("%s/%v/%s", s.name, sig.sig, phase)
				t.Run(name+"/sharelock", func(t *testing.T) {
					t.Parallel()
					runCell(t, s, sig, phase, sharelockContender(t), sharelockOptions)
				})
				if s.pid1 {
					continue
				}
				t.Run(name+"/flock", func(t *testing.T) {
					t.Parallel()
					runCell(t, s, sig, phase, flockContender(t), theirs)
				})
			}
		}
	}
}

func runCell(t *testing.T, s stage, sig matrixSignal, phase string, c *contender, want outcome) {
	if s.pid1 {
		needNamespaces(t)
	}
	command := obedient
	switch phase {
	case "waiting":
		c.take(t)
	case "ending":
		command = tidy
	}
	sc := s.start(t, c, slices.Concat(c.words, []string{"sh", "-c", command}))
	var who, pid int
	if !s.typed {
		who = sc.who(t)
	}
	if phase == "waiting" {
		c.awaitWaiter(t)
	} else {
		pid = numberAfter(t, sc.at, "up ")
	}
	if s.pid1 {
		pid = 0 // it has another id here, and ends with PID 1
	}
	if s.typed {
		sc.at.typed(t, sig.key)
	} else if err := unix.Kill(who, sig.sig); err != nil {
		t.Fatal(err)
	}
	got := outcome{gone: true}
	if s.shell {
		got.code = numberAfter(t, sc.at, "then ")
	} else {
		got.code = wait(t, sc.cmd)
	}
	if pid > 0 && want.gone {
		eventually(t, "the end of CMD", func() bool { return state(pid) == "X" })
	} else if pid > 0 && state(pid) != "X" {
		got.gone = false
		defer unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it has been seen
	}
	got.free = !c.held(t)
	if got != want {
		t.Errorf("got %v, want %v; the terminal shows %q", got, want, sc.at.rest)
	}
	if s.shell {
		_, _ = io.WriteString(sc.at.tty, "\n")
	}
}

// needNamespaces skips a test where a process cannot have process ids of its own.
func needNamespaces(t *testing.T) {
	t.Helper()
	if err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
}
