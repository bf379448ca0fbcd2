package job

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// drainTime bounds the wait for output of CMD that goes through a pipe of this process, when a
// process that CMD left behind keeps the pipe open.
const drainTime = time.Second

// stopTime is how long CMD may take to stop after SIGTSTP.
const stopTime = 500 * time.Millisecond

// cldStopped is the si_code of a SIGCHLD for a child that stopped, from signal(7).
const cldStopped = 5

// job is a process group whose leader is CMD.
type job struct {
	cmd  *exec.Cmd
	pid  int
	ends chan struct{}
	// stops holds the last stop that was not handled yet.
	stops chan syscall.Signal
	// stopping is held while a stop is moved from the kernel to stops.
	stopping sync.Mutex
	// jobControl receives the job control signals that this process gets.
	jobControl chan os.Signal
	children   *Children
	sentinel   *sentinel
	launch     *launch
	tty        *terminal
	// given is set while CMD has the terminal, as far as this process knows.
	given bool
}

var _ process = (*job)(nil)

// start starts CMD in a process group of its own, which the sentinel guards.
//
// If this process is the only process of a shell's job, CMD's group gets the terminal at once.
// Otherwise, in a pipeline or a script, it gets the terminal when it wants to use it. Until then
// Ctrl-C and Ctrl-Z go to the whole pipeline or script, and this process forwards them to CMD.
//
// The kernel kills CMD when the thread that calls start ends, which is sooner than the sentinel
// could kill it. So start must be called from a locked thread.
func (c *Command) start(path string, environ []string, s *sentinel) (*job, error) {
	j := &job{
		ends: make(chan struct{}), stops: make(chan syscall.Signal, 1), jobControl: make(chan os.Signal, 8),
		children: c.Children, sentinel: s,
	}
	if c.Alone {
		j.tty = openTerminal()
	}
	started, err := j.prepare(path, c.Argv)
	if err != nil {
		j.tty.close()
		return nil, err
	}
	j.cmd.Env, j.cmd.SysProcAttr = environ, j.attributes(c)
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	j.cmd.WaitDelay = drainTime
	err = c.Children.start(j.cmd)
	started()
	if err != nil {
		j.tty.close()
		return nil, errors.Join(err, j.launch.failed())
	}
	j.pid = j.cmd.Process.Pid
	s.guard(j.pid)
	if c.Alone {
		j.notifyJobControl()
	}
	go j.watch()
	j.launch.run()
	return j, nil
}

// prepare makes the command: CMD itself or, if a sentinel guards it, the launcher that becomes CMD.
// The caller must call started after it has started the command.
func (j *job) prepare(path string, argv []string) (started func(), err error) {
	if j.sentinel != nil {
		j.launch, j.cmd, started, err = newLaunch(path, argv)
		return started, err
	}
	// The context never ends: only guard ends CMD.
	j.cmd = exec.CommandContext(context.Background(), path)
	j.cmd.Args = argv
	return func() {}, nil
}

// attributes returns how the kernel starts CMD: as the leader of a process group, which is the
// foreground of the terminal if this process has it to itself.
func (j *job) attributes(c *Command) *syscall.SysProcAttr {
	own := unix.Getpgrp()
	j.given = j.tty.foreground() == own && own == os.Getpid() && !isPipe(c.Stdin) && !isPipe(c.Stdout)
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if j.given {
		attr.Foreground, attr.Ctty = true, int(j.tty.f.Fd())
	}
	return attr
}

// notifyJobControl makes jobControl receive the job control signals that this process gets.
func (j *job) notifyJobControl() {
	for _, sig := range []os.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT} {
		if !signal.Ignored(sig) {
			signal.Notify(j.jobControl, sig)
		}
	}
}

// childOf returns the part of info that is about a child.
func childOf(info *unix.Siginfo) *childInfo { return (*childInfo)(unsafe.Pointer(info)) } //nolint:gosec // info is larger

// childInfo is the beginning of a siginfo_t for SIGCHLD.
type childInfo struct {
	signo, errno, code int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned like a pointer
	pid                int32
	uid                uint32
	status             int32
}

// watch detects stops and the end of CMD. It does not reap CMD; the method finish does. Until then
// the kernel does not reuse CMD's process id, which identifies the group.
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
		j.takeStop()
	}
}

// takeStop moves a stop, and no other state change, from the kernel to stops.
func (j *job) takeStop() {
	j.stopping.Lock()
	defer j.stopping.Unlock()
	sig, ok := j.peekStop(0)
	if !ok {
		return // CMD was continued in the meantime
	}
	select {
	case <-j.stops: // drop an older stop
	default:
	}
	j.stops <- sig
}

// peekStop returns the signal of a stop that the kernel has not reported yet. Without
// WNOWAIT in flags this reports it.
func (j *job) peekStop(flags int) (sig syscall.Signal, ok bool) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, j.pid, &info, unix.WSTOPPED|unix.WNOHANG|flags, nil)
	child := childOf(&info)
	return syscall.Signal(child.status), err == nil && child.pid != 0
}

// current reports whether a stop that was taken from stops is CMD's present stop.
func (j *job) current() bool {
	if !isStopped(j.pid) {
		return false
	}
	j.stopping.Lock()
	defer j.stopping.Unlock()
	_, newer := j.peekStop(unix.WNOWAIT)
	return !newer && len(j.stops) == 0
}

func (j *job) exited() <-chan struct{}        { return j.ends }
func (j *job) stopped() <-chan syscall.Signal { return j.stops }
func (j *job) control() <-chan os.Signal      { return j.jobControl }

func (j *job) signal(sig syscall.Signal) {
	if sig == syscall.SIGHUP && j.given && j.tty.foreground() < 0 && !leadsSession() {
		return // the terminal hung up: its foreground, CMD, gets SIGHUP when the leader of the session ends
	}
	// ESRCH means that the group is empty; exited reports that.
	_ = unix.Kill(-j.pid, sig)
}

// allow tells the sentinel how long CMD may run. If the sentinel has ended without killing CMD,
// allow starts another one.
func (j *job) allow(remaining func() time.Duration) time.Duration {
	if j.sentinel.gone() && !j.sentinel.killed {
		if s, err := startSentinel(j.children, j.pid, j.sentinel.told); err == nil {
			j.sentinel.close()
			j.sentinel = s
		}
	}
	return j.sentinel.allow(remaining)
}

func (j *job) finish(kill bool) ending {
	<-j.ends
	if kill {
		j.signal(unix.SIGKILL)
	}
	atTerminal := j.tty.foreground() == j.pid
	j.take()
	j.tty.close()
	killed := j.sentinel.close()
	signal.Stop(j.jobControl)
	// The error repeats the state, or says that output was cut off.
	_ = j.cmd.Wait()
	if err := j.launch.failed(); err != nil {
		return ending{err: err}
	}
	ws, ok := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return ending{code: exit.Failed}
	case !ws.Signaled():
		return ending{code: ws.ExitStatus()}
	}
	e := ending{code: exit.Signal + int(ws.Signal()), by: ws.Signal(), killed: killed}
	if e.by == unix.SIGINT && atTerminal && !kill {
		// Only CMD got this Ctrl-C. It is also meant for the parents of this process, for
		// example a loop in a script.
		e.shared = true
		_ = unix.Kill(0, unix.SIGINT)
	}
	return e
}
