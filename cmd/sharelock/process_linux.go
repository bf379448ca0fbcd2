package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime is how long output of CMD that goes through a pipe of ours is waited
// for when a process that CMD left behind keeps the pipe open.
const drainTime = time.Second

// stopTime is ample for a stop signal to oneself.
const stopTime = 500 * time.Millisecond

// Values of si_code for SIGCHLD, from signal(7).
const cldStopped = 5

// forwarded are the signals that are passed on to CMD: all that a process may be
// sent by others and can handle.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR, syscall.SIGWINCH,
	}
}

// job is a process group whose leader is CMD.
type job struct {
	cmd  *exec.Cmd
	pid  int
	ends chan struct{}
	// stops has room for one: a stop that nobody has looked at yet stands for all.
	stops chan struct{}
	// tty is the terminal that CMD is in the foreground of, or could be; -1 if stdin
	// is none.
	tty int
}

var _ process = (*job)(nil)

// startProcess starts CMD in a process group of its own. If stdin is our
// controlling terminal, and we are in its foreground, CMD's group is put there in
// our place, so that it may read from it and gets its Ctrl-C.
//
// Should this process be killed, nobody would renew the lock or stop CMD, so the
// kernel kills CMD with the thread that calls startProcess: call it from a locked
// one.
func startProcess(path string, argv []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) (*job, error) {
	// Not CommandContext: guard, and nobody else, ends CMD.
	cmd := exec.CommandContext(context.Background(), path)
	cmd.Args, cmd.Env = argv, environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.WaitDelay = drainTime
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	j := &job{cmd: cmd, ends: make(chan struct{}), stops: make(chan struct{}, 1), tty: -1}
	if f, ok := stdin.(*os.File); ok {
		// Fd would put the file into blocking mode; that is what a CMD expects of it.
		if group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP); err == nil {
			j.tty = int(f.Fd())
			cmd.SysProcAttr.Foreground = group == unix.Getpgrp()
			cmd.SysProcAttr.Ctty = j.tty
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j.pid = cmd.Process.Pid
	if j.tty >= 0 {
		// Otherwise we would be stopped when we take the terminal back. Not before
		// CMD is started, which would inherit it.
		signal.Ignore(syscall.SIGTTOU)
	}
	go j.watch()
	return j, nil
}

// watch notices that CMD stops and ends. It leaves the dead CMD to finish: until
// then its process id, which names the group, is not given to another process.
func (j *job) watch() {
	defer close(j.ends)
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, j.pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || info.Code != cldStopped:
			return
		}
		// Take the stop away, and only the stop.
		if err := unix.Waitid(unix.P_PID, j.pid, &info, unix.WSTOPPED|unix.WNOHANG, nil); err != nil {
			return
		}
		select {
		case j.stops <- struct{}{}:
		default:
		}
	}
}

func (j *job) exited() <-chan struct{}  { return j.ends }
func (j *job) stopped() <-chan struct{} { return j.stops }

func (j *job) signal(sig syscall.Signal) {
	// ESRCH says that there is nobody left, which is what exited is for.
	_ = unix.Kill(-j.pid, sig)
}

// suspend follows CMD when job control has stopped it (Ctrl-Z, or reading from the
// terminal in the background). Without a terminal of ours whoever stopped CMD will
// let it go on.
func (j *job) suspend() {
	if j.tty < 0 {
		return
	}
	if j.foreground() == j.pid {
		j.setForeground(unix.Getpgrp())
	}
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, unix.SIGCONT)
	// The whole job, as the shell sees it. Not SIGSTOP: where nobody could let us go
	// on, the kernel ignores this one.
	_ = unix.Kill(0, unix.SIGTSTP)
	// Another thread may be the one to take the signal, so this one goes on for a
	// moment, and must not touch the terminal. If no SIGCONT comes, the kernel did
	// not stop us.
	select {
	case <-goOn:
	case <-time.After(stopTime):
	}
	signal.Stop(goOn)
	// What happened to the lock meanwhile, guard looks at next.
	if j.foreground() == unix.Getpgrp() {
		j.setForeground(j.pid)
	}
	j.signal(unix.SIGCONT)
}

func (j *job) foreground() int {
	group, err := unix.IoctlGetInt(j.tty, unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return group
}

func (j *job) setForeground(group int) {
	// A terminal that hung up has no foreground; then there is nothing to do.
	_ = unix.IoctlSetPointerInt(j.tty, unix.TIOCSPGRP, group)
}

func (j *job) finish(kill bool) int {
	<-j.ends
	if kill {
		j.signal(unix.SIGKILL)
	}
	if j.tty >= 0 {
		if j.foreground() == j.pid {
			j.setForeground(unix.Getpgrp())
		}
		signal.Reset(syscall.SIGTTOU)
	}
	// Its error is what the state says, or that output was cut off.
	_ = j.cmd.Wait()
	ws, ok := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return exitFailed
	case ws.Signaled():
		return exitSignal + int(ws.Signal())
	default:
		return ws.ExitStatus()
	}
}
