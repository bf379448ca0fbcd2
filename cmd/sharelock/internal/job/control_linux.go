package job

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

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
	sig := j.merged(syscall.Signal(exit.Number(s)))
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
			if n := syscall.Signal(exit.Number(s)); n == unix.SIGCONT || n == unix.SIGTSTP && sig != unix.SIGCONT {
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
