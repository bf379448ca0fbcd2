package link

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/network"
)

// Q1: what a link has not sent when it is closed is discarded: it does not arrive later, when
// it was sent again on another link. The other end sees a reset, not an orderly end.
func TestClosedLinkDiscards(t *testing.T) {
	var system network.System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	r := newRig(t, system.Dial)
	to := epochtest.Member("b")
	to.Peer = l.Addr().String()
	f, err := r.dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // of a test
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
