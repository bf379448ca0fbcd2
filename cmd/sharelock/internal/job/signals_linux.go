package job

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// firstRealtime and lastRealtime are the real-time signals that a process can handle. The C library
// reserves those below, and the Go runtime reserves 34, SIGRTMIN of glibc, which ends this process.
const (
	firstRealtime = syscall.Signal(35)
	lastRealtime  = syscall.Signal(64)
)

// Forwarded returns the signals that are forwarded to CMD: all that other processes may send and
// that a process can handle, except those of job control, for which see pass. It leaves out SIGPIPE,
// SIGXFSZ and faults, because the kernel sends them for what this process itself does, and SIGURG,
// because the Go runtime uses it.
func Forwarded() []os.Signal {
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

// counts reports whether a signal sent several times is delivered several times, and not merged.
func counts(sig os.Signal) bool { return exit.Number(sig) >= int(firstRealtime) }

// leadsSession reports whether this process leads its session, as without a shell. Then it alone
// gets SIGHUP when the terminal hangs up.
func leadsSession() bool {
	session, err := unix.Getsid(0)
	return err == nil && session == os.Getpid()
}

// endsProcess reports whether a signal ends a process that does not handle it.
func endsProcess(sig os.Signal) bool { return sig != syscall.SIGWINCH }
