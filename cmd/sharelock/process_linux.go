package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// drainTime bounds the wait for output of CMD that goes through a pipe of this process, when a
// process that CMD left behind keeps the pipe open.
const drainTime = time.Second

// stopTime is how long CMD may take to stop after SIGTSTP.
const stopTime = 500 * time.Millisecond

// cldStopped is the si_code of a SIGCHLD for a child that stopped, from signal(7).
const cldStopped = 5

// firstRealtime and lastRealtime are the real-time signals that a process can handle. The C library
// keeps those below, and the runtime the one before: SIGRTMIN of glibc ends this process.
const (
	firstRealtime = syscall.Signal(35)
	lastRealtime  = syscall.Signal(64)
)

// forwarded returns the signals that are forwarded to CMD: all that other processes may send and
// that a process can handle, except those of job control, for which see pass. SIGPIPE, SIGXFSZ and
// those of faults are left out: they are about what this process itself does. The runtime uses
// SIGURG.
func forwarded() []os.Signal {
	signals := []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR, syscall.SIGWINCH,
		syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGSTKFLT, syscall.SIGXCPU,
	}
	for sig := firstRealtime; sig <= lastRealtime; sig++ {
		signals = append(signals, sig)
	}
	return signals
}

// counts reports whether a process gets a signal as often as it is sent, and not once for several.
func counts(sig os.Signal) bool { return number(sig) >= int(firstRealtime) }

// leadsSession reports whether this process leads its session, as without a shell. Then it alone
// gets SIGHUP when the terminal hangs up.
func leadsSession() bool {
	session, err := unix.Getsid(0)
	return err == nil && session == os.Getpid()
}

// endsProcess reports whether a signal ends a process that does not handle it.
func endsProcess(sig os.Signal) bool { return sig != syscall.SIGWINCH }

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
	children   *children
	sentinel   *sentinel
	launch     *launch
	tty        *terminal
	// given is set while CMD has the terminal, as far as this process knows.
	given bool
}

var _ process = (*job)(nil)

// startProcess starts CMD in a process group of its own, which the sentinel guards.
//
// If this process is the only process of a shell's job, CMD's group gets the terminal at once.
// Otherwise, in a pipeline or a script, it gets the terminal when it wants to use it. Until then
// Ctrl-C and Ctrl-Z go to the whole pipeline or script, and this process forwards them to CMD.
//
// The kernel kills CMD when the thread that calls startProcess ends, which is sooner than the
// sentinel could kill it. So startProcess must be called from a locked thread.
func (a *app) startProcess(path string, argv, environ []string, s *sentinel) (*job, error) {
	j := &job{
		ends: make(chan struct{}), stops: make(chan syscall.Signal, 1), jobControl: make(chan os.Signal, 8),
		children: a.children, sentinel: s,
	}
	if a.alone {
		j.tty = openTerminal()
	}
	own := unix.Getpgrp()
	j.given = j.tty.foreground() == own && own == os.Getpid() && !isPipe(a.stdin) && !isPipe(a.stdout)
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if j.given {
		attr.Foreground, attr.Ctty = true, int(j.tty.f.Fd())
	}
	// The context never ends: only guard ends CMD.
	j.cmd = exec.CommandContext(context.Background(), path)
	j.cmd.Args = argv
	started := func() {}
	if s != nil {
		var err error
		if j.launch, j.cmd, started, err = newLaunch(path, argv); err != nil {
			j.tty.close()
			return nil, err
		}
	}
	j.cmd.Env, j.cmd.SysProcAttr = environ, attr
	j.cmd.Stdin, j.cmd.Stdout, j.cmd.Stderr = a.stdin, a.stdout, a.stderr
	j.cmd.WaitDelay = drainTime
	err := a.children.start(j.cmd)
	started()
	if err != nil {
		j.tty.close()
		return nil, errors.Join(err, j.launch.failed())
	}
	j.pid = j.cmd.Process.Pid
	s.guard(j.pid)
	if a.alone {
		for _, sig := range []os.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT} {
			if !signal.Ignored(sig) {
				signal.Notify(j.jobControl, sig)
			}
		}
	}
	go j.watch()
	j.launch.run()
	return j, nil
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
	// ESRCH means that the group is empty; exited tells that.
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

// follow does what job control requires after CMD was stopped by a signal.
func (j *job) follow(sig syscall.Signal) step {
	if !j.current() {
		return carryOn // CMD was continued since this stop
	}
	wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
	switch group := j.tty.foreground(); {
	case group < 0:
		// There is no job control: the process that stopped CMD will continue it.
		return carryOn
	case group == j.pid && wants:
		return resumeCMD // CMD got the terminal in the meantime
	case group == unix.Getpgrp() && wants:
		j.give()
		return resumeCMD
	case group == j.pid:
		j.rest(unix.SIGTSTP, true) // Ctrl-Z
		return checkLock
	case wants:
		j.rest(sig, true) // in the background, where no process may read from the terminal
		return checkLock
	default:
		return carryOn
	}
}

// isStopped reports whether a process is stopped.
func isStopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	// The state follows the name, which is in parentheses and may itself contain parentheses.
	i := bytes.LastIndexByte(stat, ')')
	return i < 0 || bytes.HasPrefix(stat[i:], []byte(") T"))
}

// pass does what a job control signal to this process requires.
func (j *job) pass(s os.Signal) step {
	sig := j.merged(syscall.Signal(number(s)))
	if sig == unix.SIGCONT {
		return checkLock
	}
	if sig != unix.SIGTSTP && j.tty.foreground() == j.pid {
		// Another process of our group, in a pipeline with CMD, wants the terminal.
		j.take()
		_ = unix.Kill(0, unix.SIGCONT)
		return carryOn
	}
	j.stop()
	// If the signal was for the other processes of the group, they have got it, too.
	j.rest(sig, false)
	return checkLock
}

// stop stops CMD's group, and returns when CMD has stopped.
func (j *job) stop() {
	j.signal(unix.SIGTSTP)
	if isStopped(j.pid) {
		return // CMD has stopped, or was stopped before: then there is no new stop
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	for {
		select {
		case <-j.stops:
			if !isStopped(j.pid) {
				continue // this was an older stop
			}
		case <-j.ends:
		case <-timer.C:
			// CMD must not run while this process is stopped and does not renew the lock.
			j.signal(unix.SIGSTOP)
		}
		return
	}
}

// rest stops this process, as the shell expects of a job, and returns when the process is
// continued. With others set it also stops the other processes of the group. CMD is stopped and
// stays stopped: the lock must be checked before CMD is continued.
func (j *job) rest(sig syscall.Signal, others bool) {
	given := j.given
	j.take()
	signal.Ignore(sig)
	if others {
		_ = unix.Kill(0, sig)
	}
	setDefault(sig)
	// A signal to the own thread takes effect before the call returns; here, because it is
	// blocked, when it is unblocked. So execution continues after a SIGCONT, or at once if the
	// kernel did not stop the process because no shell could continue it. A SIGCONT that came
	// after CMD was told to stop is not lost: either the kernel drops the pending stop, or the
	// SIGCONT is in jobControl.
	old := block(sig)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
	// A SIGCONT that a thread has taken from the kernel, but not handed to the runtime yet, is not
	// visible. But a shell makes a job the foreground before it continues the job, and a process
	// in the foreground need not stop in order to read from the terminal.
	wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
	if j.merged(sig) == unix.SIGCONT || wants && j.tty.foreground() == unix.Getpgrp() {
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGCONT)
		if others {
			_ = unix.Kill(0, unix.SIGCONT)
		}
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	signal.Notify(j.jobControl, sig)
	j.merged(sig) // drop the signals that stopped the whole group
	if given && j.tty.foreground() == unix.Getpgrp() {
		j.give()
	}
}

// merged takes all pending job control signals and returns the combination of them and sig: SIGCONT
// or SIGTSTP if that is among them, otherwise sig.
//
// The kernel drops a stop when a SIGCONT arrives, except a stop that the runtime has caught. The
// runtime delivers caught signals in numerical order: SIGCONT first, even if the stop is older. So
// merged treats a SIGCONT as the last signal. That is wrong only if a job is stopped at the moment
// in which it is continued, and then it merely leaves the job running. Treating the SIGCONT as the
// first signal would stop this process for ever after fg.
func (j *job) merged(sig syscall.Signal) syscall.Signal {
	// signal.Stop returns after all signals that the runtime has caught are delivered.
	settled := make(chan os.Signal, 1)
	signal.Notify(settled, unix.SIGCONT)
	signal.Stop(settled)
	for {
		select {
		case s := <-j.jobControl:
			if n := syscall.Signal(number(s)); n == unix.SIGCONT || n == unix.SIGTSTP && sig != unix.SIGCONT {
				sig = n
			}
		default:
			return sig
		}
	}
}

// setDefault restores the kernel's default action for a signal. signal.Reset is not sufficient: it
// leaves the runtime's handler in place, which does nothing for job control signals. The next
// signal.Notify installs the handler again.
func setDefault(sig syscall.Signal) {
	var action [8]uintptr                                                                                                   // a zero sigaction is SIG_DFL on every architecture
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, sigsetBytes, 0, 0) //nolint:gosec // the kernel only reads it
}

// sigsetBytes is the size of the kernel's sigset_t.
const sigsetBytes = 8

// resume continues a stopped CMD.
func (j *job) resume() { j.signal(unix.SIGCONT) }

// give makes CMD's group the foreground of the terminal.
func (j *job) give() {
	j.tty.setForeground(j.pid)
	j.given = true
}

// take makes this process's group the foreground again if CMD's group has the terminal.
func (j *job) take() {
	if j.tty.foreground() == j.pid {
		j.tty.setForeground(unix.Getpgrp())
	}
	j.given = false
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
		return ending{code: exitFailed}
	case !ws.Signaled():
		return ending{code: ws.ExitStatus()}
	}
	e := ending{code: exitSignal + int(ws.Signal()), by: ws.Signal(), killed: killed}
	if e.by == unix.SIGINT && atTerminal && !kill {
		// Only CMD got this Ctrl-C. It is also meant for the parents of this process, for
		// example a loop in a script.
		e.shared = true
		_ = unix.Kill(0, unix.SIGINT)
	}
	return e
}
