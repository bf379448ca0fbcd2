package peerport

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/mesh/network"
)

// Q1: a stream that is accepted gives up what is not acknowledged, long before request ids are
// forgotten. It is a smoke test on the system's network, too.
func TestStreamsGiveUp(t *testing.T) {
	var system network.System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(l, quiet(), nil, protocols()...)
	defer p.Close() //nolint:errcheck // of a test
	out, err := system.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // of a test
	if _, err := out.Write([]byte("TWO ")); err != nil {
		t.Fatal(err)
	}
	in, err := p.Listener("TWO ").Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // of a test
	raw, err := in.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const tcpUserTimeout = 0x12 // TCP_USER_TIMEOUT, which package syscall does not name
	ms := 0
	if cerr := raw.Control(func(fd uintptr) { ms, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if got := time.Duration(ms) * time.Millisecond; got <= 0 || got >= 30*time.Second {
		t.Errorf("the stream gives up after %v, want less than 30 s", got)
	}
}
