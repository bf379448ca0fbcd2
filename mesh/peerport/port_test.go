package peerport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/virtual"
)

const addr = "server:7000"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// protocols are three: one that takes a byte "m" for more of its hello and refuses others, one that
// takes everything, and one that answers and hands nothing over.
func protocols() []Protocol {
	return []Protocol{
		{"ONE ", func(conn net.Conn) (net.Conn, error) {
			var more [1]byte
			if _, err := io.ReadFull(conn, more[:]); err != nil {
				return nil, err
			}
			if more[0] != 'm' {
				return nil, errors.New("for another process")
			}
			return conn, nil
		}},
		{"TWO ", func(conn net.Conn) (net.Conn, error) { return conn, nil }},
		{"WRNG", func(conn net.Conn) (net.Conn, error) {
			_, err := conn.Write([]byte("wrong port"))
			return nil, err
		}},
	}
}

// inBubble runs a port on the memory network, and checks that Close ends it.
func inBubble(t *testing.T, run func(t *testing.T, n *memnet.Net, p *Port)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		l, err := n.Host("server").Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		p := New(l, quiet(), nil, protocols()...)
		run(t, n, p)
		for range 2 {
			if err := p.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		for name, l := range map[string]net.Listener{"one": p.Listener("ONE "), "two": p.Listener("TWO "), "rest": p.Rest()} {
			if c, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: Accept after Close = %v, %v", name, c, err)
			}
		}
	})
}

// dial opens a stream that says something first.
func dial(t *testing.T, n *memnet.Net, first string) net.Conn {
	t.Helper()
	c, err := n.Host("client").Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(first)); err != nil {
		t.Fatal(err)
	}
	return c
}

// expectDropped checks that a stream ends within a time.
func expectDropped(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(within + time.Second))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > within {
		t.Errorf("read %d, %v after %v, want the end within %v", n, err, time.Since(start), within)
	}
}

// expectOpen checks that the deadline of a new stream is gone.
func expectOpen(t *testing.T, c net.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("the stream ended by itself: %v", err)
	case <-time.After(time.Hour):
	}
	_ = c.Close()
	<-done
}

func TestRoutes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Net, p *Port) {
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		for name, test := range map[string]struct {
			from        net.Listener
			first, want string
		}{
			"the rest":        {p.Rest(), preface, preface}, // whole
			"with more hello": {p.Listener("ONE "), "ONE mvote", "vote"},
			"without":         {p.Listener("TWO "), "TWO vote", "vote"},
		} {
			dial(t, n, test.first)
			c, err := test.from.Accept()
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(test.want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != test.want {
				t.Errorf("%s: reads %q, %v, want %q", name, got, err, test.want)
			}
			if c.LocalAddr().String() != test.from.Addr().String() {
				t.Errorf("%s: listener's address is %v, the stream's %v", name, test.from.Addr(), c.LocalAddr())
			}
			expectOpen(t, c)
		}
	})
}

// TestRefuses: what its protocol refuses, or what never says what it is.
func TestRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		first  string
		within time.Duration
	}{
		"another process":   {"ONE x", time.Millisecond},
		"half a hello":      {"ONE ", HelloTimeout},
		"silent":            {"", HelloTimeout},
		"three bytes":       {"PRI", HelloTimeout},
		"nobody accepts it": {"GET / HTTP/1.1\r\n", HelloTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *memnet.Net, _ *Port) {
				expectDropped(t, dial(t, n, test.first), test.within)
			})
		})
	}
}

// A protocol may answer a stream by itself.
func TestAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Net, _ *Port) {
		c := dial(t, n, "WRNG")
		got := make([]byte, len("wrong port"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "wrong port" {
			t.Errorf("reads %q, %v", got, err)
		}
		expectDropped(t, c, time.Millisecond)
	})
}

// TestSilentStreams: any number of silent streams keep nobody waiting. Those beyond the
// limit take the places of the oldest ones of the host that has the most.
func TestSilentStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Net, p *Port) {
		other, err := n.Host("other").Dial(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		silent := make([]net.Conn, maxOpening+10)
		for i := range silent {
			silent[i] = dial(t, n, "")
			synctest.Wait()
		}
		start := time.Now()
		for range 3 {
			dial(t, n, "PRI ")
			if _, err := p.Rest().Accept(); err != nil || time.Since(start) != 0 {
				t.Errorf("accepted after %v, %v, want at once", time.Since(start), err)
			}
			synctest.Wait() // until that one is no longer counted
		}
		for _, c := range silent[:12] {
			expectDropped(t, c, 0)
		}
		if _, err := other.Write([]byte("PRI ")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Rest().Accept(); err != nil {
			t.Errorf("the stream of a host that has one only: %v", err)
		}
		synctest.Wait()
		if got, want := p.opening.Len(), len(silent)-12; got != want {
			t.Errorf("%d silent streams are left, want %d", got, want)
		}
		time.Sleep(2 * HelloTimeout)
		for _, c := range silent[12:] {
			expectDropped(t, c, 0)
		}
	})
}

// TestHalves: one listener can be closed while the others go on, and Close ends
// streams that are still looked at.
func TestHalves(t *testing.T) {
	inBubble(t, func(t *testing.T, n *memnet.Net, p *Port) {
		_ = p.Listener("TWO ").Close()
		expectDropped(t, dial(t, n, "TWO "), time.Millisecond)
		dial(t, n, "PRI ")
		if _, err := p.Rest().Accept(); err != nil {
			t.Error(err)
		}
		silent := dial(t, n, "")
		start := time.Now()
		_ = p.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
		expectDropped(t, silent, 0)
	})
}

// failingListener fails a few times before it works.
type failingListener struct {
	net.Listener
	failures int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAcceptFails(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		l, err := n.Host("server").Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		p := New(&failingListener{Listener: l, failures: 3}, quiet(), nil)
		dial(t, n, "PRI ")
		if _, err := p.Rest().Accept(); err != nil {
			t.Errorf("Accept after three failures: %v", err)
		}
		// Someone closes the listener below: all parts end.
		_ = l.Close()
		if _, err := p.Rest().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want %v", err, net.ErrClosed)
		}
		_ = p.Close()
	})
}
