package api

import (
	"net"
	"syscall"
	"time"
)

// tcpNotSentLowat is Linux's TCP_NOTSENT_LOWAT; see tcp(7).
const tcpNotSentLowat = 25

// limitUnsent bounds the data that the system buffers before it can be sent, so that urgent
// messages wait behind little data.
func limitUnsent(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, fullMessage)
	}); err != nil {
		return err
	}
	return serr
}

// tcpUserTimeout is Linux's TCP_USER_TIMEOUT, in milliseconds; see tcp(7).
const tcpUserTimeout = 18

// limitUnacknowledged makes the system close a connection when sent data is not acknowledged for d.
// TCP keepalives do not cover this case.
func limitUnacknowledged(conn *net.TCPConn, d time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	}); err != nil {
		return err
	}
	return serr
}
