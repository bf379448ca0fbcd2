//go:build !linux

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const drainTime = time.Second

// forwarded are the signals that are passed on to CMD.
func forwarded() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}
}

// job is CMD alone: process groups and job control are done on Linux only, so
// here children of CMD are not stopped when the lock is lost.
type job struct {
	cmd  *exec.Cmd
	ends chan struct{}
}

var _ process = (*job)(nil)

func startProcess(path string, argv []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) (*job, error) {
	cmd := exec.CommandContext(context.Background(), path)
	cmd.Args, cmd.Env = argv, environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.WaitDelay = drainTime
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j := &job{cmd: cmd, ends: make(chan struct{})}
	go func() {
		defer close(j.ends)
		_ = cmd.Wait() // the state says it
	}()
	return j, nil
}

func (j *job) exited() <-chan struct{}  { return j.ends }
func (j *job) stopped() <-chan struct{} { return nil }
func (j *job) suspend()                 {}

func (j *job) signal(sig syscall.Signal) { _ = j.cmd.Process.Signal(sig) }

func (j *job) finish(bool) int {
	<-j.ends
	if code := j.cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return exitFailed
}
