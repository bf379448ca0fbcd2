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

// drainTime is how long output of CMD that goes through a pipe of ours is waited
// for when a process that CMD left behind keeps the pipe open.
const drainTime = time.Second

// stopTime is how long CMD may take to stop when it is asked to.
const stopTime = 500 * time.Millisecond

// cldStopped is the si_code of a SIGCHLD for a child that stopped, from signal(7).
const cldStopped = 5

// forwarded are the signals that are passed on to CMD: all that a process may be
// sent by others and can handle. Those of job control are not among them: see pass.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGIO, syscall.SIGPWR, syscall.SIGWINCH,
	}
}

// endsWait reports whether a signal ends a process that does not handle it.
func endsWait(sig os.Signal) bool { return sig != syscall.SIGWINCH }

// job is a process group whose leader is CMD.
type job struct {
	cmd  *exec.Cmd
	pid  int
	ends chan struct{}
	// stops holds the last stop that nobody has looked at yet.
	stops chan syscall.Signal
	// stopping is held from taking a stop from the kernel until it is in stops.
	stopping sync.Mutex
	// jobControl are the signals of job control that this process gets.
	jobControl chan os.Signal
	children   *children
	sentinel   *sentinel
	launch     *launch
	tty        *terminal
	// given is set while the terminal is CMD's, as far as this process knows.
	given bool
}

var _ process = (*job)(nil)

// startProcess starts CMD in a process group of its own, which the sentinel guards.
//
// If this process has the terminal to itself, as the only process of a shell's job, CMD's
// group gets it right away. Otherwise, in a pipeline or a script, it gets it when it wants
// to use it: until then Ctrl-C and Ctrl-Z reach the whole of the pipeline or script, and
// come to CMD from here.
//
// The kernel kills CMD with the thread that calls startProcess: call it from a locked one.
// That is sooner than the sentinel could.
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
	// Not CommandContext: guard, and nobody else, ends CMD.
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

// childOf is what info says of a child.
func childOf(info *unix.Siginfo) *childInfo { return (*childInfo)(unsafe.Pointer(info)) }

// childInfo is the beginning of a siginfo_t for SIGCHLD.
type childInfo struct {
	signo, errno, code int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned as a pointer
	pid                int32
	uid                uint32
	status             int32
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
		j.takeStop()
	}
}

// takeStop moves a stop, and only a stop, from the kernel to stops.
func (j *job) takeStop() {
	j.stopping.Lock()
	defer j.stopping.Unlock()
	sig, ok := j.peekStop(0)
	if !ok {
		return // CMD has been continued since
	}
	select {
	case <-j.stops: // an older one
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

// current reports whether a stop that was taken from stops is the one that CMD is in.
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
	if sig == syscall.SIGHUP && j.given && j.tty.foreground() < 0 {
		return // the terminal hung up and has said so to its foreground, CMD, by itself
	}
	// ESRCH says that there is nobody left, which is what exited is for.
	_ = unix.Kill(-j.pid, sig)
}

// allow tells the sentinel how long CMD may run, and starts another if it has ended without
// having killed CMD.
func (j *job) allow(remaining func() time.Duration) time.Duration {
	if j.sentinel.gone() && !j.sentinel.killed {
		if s, err := startSentinel(j.children, j.pid, j.sentinel.told); err == nil {
			j.sentinel.close()
			j.sentinel = s
		}
	}
	return j.sentinel.allow(remaining)
}

// follow does what job control asks for when CMD was stopped by a signal.
func (j *job) follow(sig syscall.Signal) step {
	if !j.current() {
		return carryOn // this is about a stop that is over
	}
	wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
	switch group := j.tty.foreground(); {
	case group < 0:
		// Nobody's job control: whoever stopped CMD will let it go on.
		return carryOn
	case group == j.pid && wants:
		return resumeCMD // it was given the terminal meanwhile
	case group == unix.Getpgrp() && wants:
		j.give()
		return resumeCMD
	case group == j.pid:
		j.rest(unix.SIGTSTP, true) // Ctrl-Z
		return checkLock
	case wants:
		j.rest(sig, true) // in the background, where nobody may read from the terminal
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
	// The state follows the name, which is in brackets and may contain any.
	i := bytes.LastIndexByte(stat, ')')
	return i < 0 || bytes.HasPrefix(stat[i:], []byte(") T"))
}

// pass does what a signal of job control to this process asks for.
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
	// Those beside us got the signal, too, if they should.
	j.rest(sig, false)
	return checkLock
}

// stop stops CMD's group, and returns when CMD has stopped.
func (j *job) stop() {
	j.signal(unix.SIGTSTP)
	if isStopped(j.pid) {
		return // or had been: it tells no second stop then
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	for {
		select {
		case <-j.stops:
			if !isStopped(j.pid) {
				continue // an older one
			}
		case <-j.ends:
		case <-timer.C:
			// Nobody renews the lock while this process is stopped.
			j.signal(unix.SIGSTOP)
		}
		return
	}
}

// rest stops this process, and perhaps those beside it, as the shell expects of a job, and returns
// when it goes on. CMD is stopped, and stays so: the lock has to be looked at first.
func (j *job) rest(sig syscall.Signal, others bool) {
	given := j.given
	j.take()
	signal.Ignore(sig)
	if others {
		_ = unix.Kill(0, sig)
	}
	setDefault(sig)
	// A signal to the own thread has done what it does when the call returns, and here it does
	// when it is unblocked: so this goes on after a SIGCONT, or at once if the kernel did not
	// stop it, as no shell could let it go on. A SIGCONT that has come since CMD was told to
	// stop is not missed: the kernel drops the stop that is pending, or it is in jobControl.
	old := block(sig)
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), sig)
	// What a thread of ours has taken, but not handed to the runtime yet, cannot be seen. But a
	// shell makes a job the foreground before it continues it, and who may read from the terminal
	// need not stop for that.
	wants := sig == unix.SIGTTIN || sig == unix.SIGTTOU
	if j.merged(sig) == unix.SIGCONT || wants && j.tty.foreground() == unix.Getpgrp() {
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGCONT)
		if others {
			_ = unix.Kill(0, unix.SIGCONT)
		}
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	signal.Notify(j.jobControl, sig)
	j.merged(sig) // what stopped the whole group is over, too
	if given && j.tty.foreground() == unix.Getpgrp() {
		j.give()
	}
}

// merged takes all the signals of job control that have come, and returns what they and sig
// amount to: SIGCONT or SIGTSTP if that is among them, otherwise sig.
//
// The kernel drops a stop when a SIGCONT comes, but not one that the runtime has caught, and the
// runtime delivers what it has caught in the order of the numbers: SIGCONT first, even if the
// stop is older. So a SIGCONT counts as the last. The other order needs somebody who stops a job
// in the moment in which it is continued, and only leaves it running. To take the SIGCONT
// for the first would stop this process for ever after fg.
func (j *job) merged(sig syscall.Signal) syscall.Signal {
	// Stop returns when all the signals that the runtime has caught are delivered.
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

// setDefault makes the kernel do with a signal what it does by default. signal.Reset leaves
// the runtime's handler in place, which does nothing for those of job control. The next
// signal.Notify installs it again.
func setDefault(sig syscall.Signal) {
	var action [8]uintptr // a zero sigaction is SIG_DFL on every architecture
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, sigsetBytes, 0, 0)
}

// sigsetBytes is the size of the kernel's sigset_t.
const sigsetBytes = 8

// resume lets a CMD that was stopped go on.
func (j *job) resume() { j.signal(unix.SIGCONT) }

// give makes CMD's group the foreground of the terminal.
func (j *job) give() {
	j.tty.setForeground(j.pid)
	j.given = true
}

// take makes our own group the foreground again if CMD's is it.
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
	// Its error is what the state says, or that output was cut off.
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
		// A Ctrl-C that only CMD got. Who waits for this process, a loop in a script say,
		// is meant, too.
		e.shared = true
		_ = unix.Kill(0, unix.SIGINT)
	}
	return e
}
