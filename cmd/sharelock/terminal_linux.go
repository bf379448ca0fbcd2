package main

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal of this process, whatever its stdin is. A nil
// terminal stands for none.
type terminal struct{ f *os.File }

// openTerminal returns nil if there is no controlling terminal.
func openTerminal() *terminal {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	return &terminal{os.NewFile(uintptr(fd), "/dev/tty")}
}

func (t *terminal) close() {
	if t != nil {
		_ = t.f.Close()
	}
}

// foreground is the process group that has the terminal, -1 if there is none.
func (t *terminal) foreground() int {
	if t == nil {
		return -1
	}
	group, err := unix.IoctlGetInt(int(t.f.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1 // it hung up
	}
	return group
}

// setForeground gives the terminal to a process group, also from the background.
func (t *terminal) setForeground(group int) {
	if t == nil {
		return
	}
	// From the background this is a SIGTTOU, which stops the process, unless the thread
	// blocks it. It must not be ignored: it also says that a process of our group wants
	// the terminal.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old := block(unix.SIGTTOU)
	// A terminal that hung up has no foreground; then there is nothing to do.
	_ = unix.IoctlSetPointerInt(int(t.f.Fd()), unix.TIOCSPGRP, group)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}

// isPipe reports whether v is a pipe or a socket: then another process of a pipeline may
// be at its other end.
func isPipe(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// block blocks a signal on this thread, which must be locked, and returns what was blocked.
func block(sig syscall.Signal) (old unix.Sigset_t) {
	var set unix.Sigset_t
	// The words of a set are of 32 or 64 bits; the first holds those of job control in
	// either case.
	set.Val[0] = 1 << (sig - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return old
}
