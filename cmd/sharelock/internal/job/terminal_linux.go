package job

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

// foreground returns the foreground process group of the terminal, or -1 if there is none.
func (t *terminal) foreground() int {
	if t == nil {
		return -1
	}
	group, err := unix.IoctlGetInt(int(t.f.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1 // the terminal hung up
	}
	return group
}

// setForeground makes a process group the foreground of the terminal. It also works from the
// background.
func (t *terminal) setForeground(group int) {
	if t == nil {
		return
	}
	// From the background this raises SIGTTOU, which stops the process unless the thread blocks the
	// signal. The signal must not be ignored, because it also shows that a process of our group wants
	// the terminal.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old := block(unix.SIGTTOU)
	// If the terminal hung up, it has no foreground, and the error does not matter.
	_ = unix.IoctlSetPointerInt(int(t.f.Fd()), unix.TIOCSPGRP, group)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
}

// isPipe reports whether v is a pipe or a socket, whose other end may belong to another process
// of a pipeline.
func isPipe(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// block blocks a signal on this thread, which must be locked, and returns the previous mask.
func block(sig syscall.Signal) (old unix.Sigset_t) {
	var set unix.Sigset_t
	// The words of a set have 32 or 64 bits. In both cases the first word has the bits of the
	// job control signals.
	set.Val[0] = 1 << (sig - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old)
	return old
}
