//go:build !linux

package job

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

const drainTime = time.Second

// RunHidden does nothing: there are no hidden commands on this system.
func RunHidden([]string) (code int, ok bool) { return 0, false }

// sentinel does nothing: it exists on Linux only. Here CMD keeps running when this process is
// killed or stopped.
type sentinel struct{}

func startSentinel(*Children, int, time.Duration) (*sentinel, error) { return nil, nil }

func (*sentinel) ready() error              { return nil }
func (*sentinel) close() bool               { return false }
func (*sentinel) signals() <-chan witnessed { return nil }
func (*sentinel) ask(int64) bool            { return false }

func (*sentinel) allow(remaining func() time.Duration) time.Duration { return remaining() }

// Children does nothing: orphans are reaped on Linux only.
type Children struct{}

func ReapChildren() (c *Children, stop func()) { return nil, func() {} }

// Forwarded returns the signals that are forwarded to CMD.
func Forwarded() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}
}

// endsProcess reports whether a signal ends a process that does not handle it.
func endsProcess(os.Signal) bool { return true }

// counts reports whether a signal sent several times is delivered several times, and not merged.
func counts(os.Signal) bool { return false }

// job is CMD alone: process groups and job control are supported on Linux only. Here children of
// CMD are not stopped when the lock is lost.
type job struct {
	cmd  *exec.Cmd
	ends chan struct{}
}

var _ process = (*job)(nil)

func (c *Command) start(path string, environ []string, _ *sentinel) (*job, error) {
	cmd := exec.CommandContext(context.Background(), path)
	cmd.Args, cmd.Env = c.Argv, environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = drainTime
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j := &job{cmd: cmd, ends: make(chan struct{})}
	go func() {
		defer close(j.ends)
		_ = cmd.Wait() // ProcessState has the result
	}()
	return j, nil
}

func (j *job) exited() <-chan struct{}        { return j.ends }
func (j *job) stopped() <-chan syscall.Signal { return nil }
func (j *job) control() <-chan os.Signal      { return nil }
func (j *job) follow(syscall.Signal) step     { return carryOn }
func (j *job) pass(os.Signal) step            { return carryOn }
func (j *job) resume()                        {}

func (j *job) allow(remaining func() time.Duration) time.Duration { return remaining() }

func (j *job) signal(sig syscall.Signal) { _ = j.cmd.Process.Signal(sig) }

func (j *job) finish(bool) ending {
	<-j.ends
	if code := j.cmd.ProcessState.ExitCode(); code >= 0 {
		return ending{code: code}
	}
	return ending{code: exit.Failed}
}
