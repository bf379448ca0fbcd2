package halfclosed

import (
	"encoding/binary"
	"math"
	"net"
	"syscall"
	"unsafe"

	"github.com/sgkandale/sharelock/internal/netconn"
)

// canSeeAcknowledged reports whether seeAcknowledged works for a connection.
func canSeeAcknowledged(conn net.Conn) bool { return netconn.TCP(conn) != nil }

// The TCP states in which the other end may read.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8
)

// seeAcknowledged reports whether the other end of a connection has acknowledged all sent data, and
// whether the connection is still open for sending.
func seeAcknowledged(conn net.Conn) (all, open bool) {
	raw, err := netconn.TCP(conn).SyscallConn()
	if err != nil {
		return false, false
	}
	err = raw.Control(func(fd uintptr) {
		// The order matters: data that a reset has dropped must not look acknowledged.
		var left int32
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&left))) //nolint:gosec // the kernel writes a number there
		info, ierr := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
		if errno != 0 || ierr != nil {
			return
		}
		// The first byte of TCP_INFO is the state.
		state := binary.NativeEndian.AppendUint32(nil, uint32(info&math.MaxUint32))[0]
		all, open = left == 0, state == tcpEstablished || state == tcpCloseWait
	})
	return all, open && err == nil
}
