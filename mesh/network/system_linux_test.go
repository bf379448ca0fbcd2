package network

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// userTimeout is the TCP_USER_TIMEOUT of a stream.
func userTimeout(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ms := 0
	if cerr := raw.Control(func(fd uintptr) { ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return time.Duration(ms) * time.Millisecond
}

// pair opens a stream of the system's network.
func pair(t *testing.T) (dialled, accepted net.Conn) {
	t.Helper()
	var system System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	if dialled, err = system.Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	return dialled, accepted
}

// Q1: both ends of a stream give up what is not acknowledged, long before request ids are
// forgotten.
func TestStreamsGiveUp(t *testing.T) {
	dialled, accepted := pair(t)
	LimitUnacked(accepted)
	for name, conn := range map[string]net.Conn{"dialled": dialled, "accepted": accepted} {
		if got := userTimeout(t, conn); got != unackedTime || got >= 30*time.Second {
			t.Errorf("the stream that was %s gives up after %v, want %v", name, got, unackedTime)
		}
	}
}

// Q1: what a stream has not sent when it is closed is discarded. The other end sees a reset, not
// an orderly end.
func TestResetOnClose(t *testing.T) {
	dialled, accepted := pair(t)
	ResetOnClose(dialled)
	if err := dialled.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, accepted); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other end reads to the end with %v, want a reset", err)
	}
}
