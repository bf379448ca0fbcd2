package mesh

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/network"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not name.
const tcpUserTimeout = 0x12

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

// Q1: both ends of a stream between members give up what is not acknowledged, long before
// request ids are forgotten.
func TestStreamsGiveUp(t *testing.T) {
	var system network.System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(l, testFilter{}, quiet())
	defer m.close() //nolint:errcheck // of a test
	out, err := system.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() //nolint:errcheck // of a test
	hello, err := link.Hello{Releases: release.Own(), Cluster: testCluster, To: "a", From: "b"}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(hello); err != nil {
		t.Fatal(err)
	}
	in, err := m.linkListener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // of a test
	for name, conn := range map[string]net.Conn{"dialled": out, "accepted": in.(*link.Stream).Conn} {
		if got := userTimeout(t, conn); got <= 0 || got >= 30*time.Second {
			t.Errorf("the stream that was %s gives up after %v, want less than 30 s", name, got)
		}
	}
}
