package job

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sgkandale/sharelock/cmd/sharelock/internal/exit"
)

// launchCommand is the hidden command that waits until it is told to become CMD.
const launchCommand = "launch"

// RunHidden runs the hidden commands, which sharelock starts for itself. It reports false for all
// others.
func RunHidden(args []string) (code int, ok bool) {
	switch {
	case len(args) == 1 && args[0] == sentinelCommand:
		return runSentinel(), true
	case len(args) > 3 && args[0] == launchCommand:
		return runLaunch(args[1], args[2], args[3:]), true
	default:
		return 0, false
	}
}

// launch is a process that waits until it is told to become CMD. So the sentinel knows the process
// before CMD can do anything, even if this process dies between the start of CMD and telling the
// sentinel.
//
// A nil launch stands for a process that is CMD already.
type launch struct{ socket int }

// newLaunch prepares a command that runs path with argv after run is called. The caller must call
// started after it has started the command.
func newLaunch(path string, argv []string) (l *launch, cmd *exec.Cmd, started func(), err error) {
	// The launcher inherits its end of the socket under any free number, because the descriptors
	// that this process was started with are for CMD. No other process is started in the
	// meantime, so none inherits the socket by mistake.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, nil, os.NewSyscallError("socketpair", err)
	}
	unix.CloseOnExec(pair[0])
	cmd = exec.Command("/proc/self/exe", append([]string{launchCommand, strconv.Itoa(pair[1]), path}, argv...)...) //nolint:noctx,gosec // guard ends it, and the caller has typed it
	cmd.Args[0] = "sharelock"
	return &launch{pair[0]}, cmd, func() { _ = unix.Close(pair[1]) }, nil
}

// run tells the process to become CMD.
func (l *launch) run() {
	if l != nil {
		_, _ = unix.SendmsgN(l.socket, []byte{1}, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
}

// failed returns the error if the process has ended because it could not become CMD.
func (l *launch) failed() error {
	if l == nil {
		return nil
	}
	var code [4]byte
	n, _, _, _, err := unix.Recvmsg(l.socket, code[:], nil, unix.MSG_DONTWAIT)
	_ = unix.Close(l.socket)
	if err != nil || n != len(code) {
		return nil //nolint:nilerr // nothing was reported
	}
	return syscall.Errno(binary.LittleEndian.Uint32(code[:]))
}

// runLaunch is the launcher's main function.
func runLaunch(descriptor, path string, argv []string) int {
	socket, err := strconv.Atoi(descriptor)
	if err != nil {
		return exit.Usage
	}
	unix.CloseOnExec(socket)
	var told [1]byte
	for {
		n, err := unix.Read(socket, told[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return exit.Failed // the process that started it is gone
		}
		break
	}
	err = unix.Exec(path, argv, os.Environ())
	if errors.Is(err, unix.ENOEXEC) && !isBinary(path) {
		// A script without #! is run by the shell, as in a shell.
		err = unix.Exec(DefaultShell, append([]string{DefaultShell, path}, argv[1:]...), os.Environ())
	}
	var code syscall.Errno
	errors.As(err, &code)
	_, _ = unix.Write(socket, binary.LittleEndian.AppendUint32(nil, uint32(code)))
	return exit.CannotRun
}
