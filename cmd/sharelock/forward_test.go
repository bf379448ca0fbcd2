//go:build linux

package main

import (
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
	"github.com/sgkandale/sharelock/cmd/sharelock/internal/job"
)

// Every signal that a process can handle reaches CMD, once, and none of them ends only this process.
func TestLockForwardsAll(t *testing.T) {
	for _, sig := range job.Forwarded() {
		switch sig {
		case syscall.SIGWINCH, syscall.SIGPROF, syscall.SIGVTALRM: // they do not end CMD, or the runtime uses them
			continue
		}
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			c := sharelockContender(t)
			cmd, out := lockProcess(t, c, "sh", "-c", "ulimit -c 0; echo up; exec sleep 100")
			line(t, out)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if got, want := wait(t, cmd), 128+exit.Number(sig); got != want {
				t.Errorf("got exit code %d, want %d", got, want)
			}
			if rest, _ := io.ReadAll(out); len(rest) > 0 {
				t.Errorf("got output %q", rest)
			}
			if c.held(t) {
				t.Error("the lock is still held")
			}
		})
	}
}

// Without a shell, as under ssh(1) with a command, only the process that leads the session is told when
// the terminal hangs up. CMD gets the signal, and the lock is released.
func TestLockHangUp(t *testing.T) {
	for _, c := range []*contender{sharelockContender(t), flockContender(t)} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			words := slices.Concat(c.words, []string{"sh", "-c", `echo "up $$."; read f <"$0"`, path})
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Env = c.env
			tty := onPty(t, cmd)
			pid := numberAfter(t, tty, "up ")
			if err := tty.tty.Close(); err != nil {
				t.Fatal(err)
			}
			if got := wait(t, cmd); got != 128+int(syscall.SIGHUP) {
				t.Errorf("got exit code %d", got)
			}
			eventually(t, "the end of CMD", func() bool { return state(pid) == "X" })
			eventually(t, "the end of the lock", func() bool { return !c.held(t) })
		})
	}
}
