package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/ring"
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
	hello, err := linkHello{releases: release.Own(), cluster: testCluster, to: "a", from: "b"}.append(nil)
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
	for name, conn := range map[string]net.Conn{"dialled": out, "accepted": in.(*linkStream).Conn} {
		if got := userTimeout(t, conn); got <= 0 || got >= 30*time.Second {
			t.Errorf("the stream that was %s gives up after %v, want less than 30 s", name, got)
		}
	}
}

// Q1: what a link has not sent when it is closed is discarded: it does not arrive later, when
// it was sent again on another link. The other end sees a reset, not an orderly end.
func TestClosedLinkDiscards(t *testing.T) {
	var system network.System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	n := linkNode(t, system)
	if err := n.promise([]byte("one"), ring.Identity{}); err != nil {
		t.Fatal(err)
	}
	to := viewOf("a", "b").Members[1]
	to.Peer = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := n.dialLink(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // of a test
	answer, err := appendHelloAnswer(nil, release.Own(), release.Own())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(answer); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for { // until the buffers of both ends are full, and the link is closed
			if err := f.Send(make([]byte, 1<<20)); err != nil {
				sent <- err
				return
			}
		}
	}()
	// The sender is inside of a Send that cannot end when as much as this has come.
	if _, err := io.ReadFull(in, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	<-sent
	if _, err := io.Copy(io.Discard, in); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other end reads to the end with %v, want a reset", err)
	}
}
