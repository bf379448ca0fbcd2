package cluster

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestReservation: a port refuses connections while nobody listens, is given to no other process, and
// can be listened on again.
func TestReservation(t *testing.T) {
	t.Parallel()
	r, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		if c, err := net.Dial("tcp4", r.addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial while nobody listens: %v, %v, want it to be refused", c, err)
		}
		if l, err := net.Listen("tcp4", r.addr); err == nil {
			t.Fatalf("somebody else could listen on %v", l.Addr())
		}
		l, err := r.listen()
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp4", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Close(), accepted.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReservedPackets: packets reach the process that has the socket open now, but not those that
// were sent before; closing the socket ends a read.
func TestReservedPackets(t *testing.T) {
	t.Parallel()
	r, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close() //nolint:errcheck // the test is over
	sender, err := net.Dial("udp4", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close() //nolint:errcheck // the test is over
	send := func(s string) {
		t.Helper()
		if _, err := sender.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		send("lost")
		p, err := r.listenPacket()
		if err != nil {
			t.Fatal(err)
		}
		send("hello")
		buf := make([]byte, 100)
		if err := p.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := p.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		read := make(chan error)
		go func() {
			_, _, err := p.ReadFrom(buf)
			read <- err
		}()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-read; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
			t.Fatalf("the read ended with %v", err)
		}
	}
}
