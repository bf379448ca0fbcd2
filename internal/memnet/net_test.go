package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// pair connects a to b at port 7000.
func pair(tb testing.TB, n *memnet.Net) (atA, atB net.Conn) {
	tb.Helper()
	l, err := n.Host("b").Listen(":7000")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return dialPair(tb, n, l)
}

func dialPair(tb testing.TB, n *memnet.Net, l net.Listener) (atA, atB net.Conn) {
	tb.Helper()
	atA, err := n.Host("a").Dial(context.Background(), l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	atB, err = l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return atA, atB
}

func send(tb testing.TB, c net.Conn, s string) {
	tb.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		tb.Fatalf("write %q: %v", s, err)
	}
}

func expect(tb testing.TB, c net.Conn, want string) {
	tb.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		tb.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// expectNothing fails the test if a byte or the end arrives within d.
func expectNothing(tb testing.TB, c net.Conn, d time.Duration) {
	tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Fatalf("read %d bytes, %v, want the deadline", n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
}

func expectError(tb testing.TB, c net.Conn, want error) {
	tb.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		tb.Fatalf("read: %v, want %v", err, want)
	}
}

// TestNetConn runs the conformance suite for net.Conn, in real time.
func TestNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		atA, atB := pair(t, memnet.New(1))
		return atA, atB, func() { atA.Close(); atB.Close() }, nil
	})
}

func TestNetCut(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		n.Cut("a", "b")
		send(t, atA, "one")
		send(t, atB, "back")
		expect(t, atA, "back") // the other direction goes on
		expectNothing(t, atB, time.Hour)
		send(t, atA, "two")
		if err := atA.Close(); err != nil {
			t.Fatal(err)
		}
		expectNothing(t, atB, time.Hour)
		if _, err := n.Host("a").Listen(":80"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Host("b").Dial(ctx, "a:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial whose answer is cut off: %v, want the deadline", err)
		}
		n.Mend("a", "b")
		expect(t, atB, "onetwo")
		expectError(t, atB, io.EOF)
		if _, err := atB.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write to a closed end: %v, want EPIPE", err)
		}
	})
}

func TestNetSplitAndHeal(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		l, err := n.Host("b").Listen("b:0")
		if err != nil {
			t.Fatal(err)
		}
		atA, atB := dialPair(t, n, l)
		n.Split([]string{"a", "c"}, []string{"b"})
		send(t, atA, "x")
		send(t, atB, "y")
		expectNothing(t, atB, time.Minute)
		expectNothing(t, atA, time.Minute)

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Host("c").Dial(ctx, l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("dial through a split: %v, want the deadline", err)
		}
		if _, err := n.Host("d").Dial(t.Context(), l.Addr().String()); err != nil {
			t.Fatalf("dial from a machine in no group: %v", err)
		}

		healed := time.Now().Add(time.Minute)
		time.AfterFunc(time.Minute, n.Heal)
		if _, err := n.Host("c").Dial(t.Context(), l.Addr().String()); err != nil || time.Now().Before(healed) {
			t.Fatalf("dial: %v, %v before the split was healed", err, time.Until(healed))
		}
		expect(t, atB, "x")
		expect(t, atA, "y")
	})
}

func TestNetDelay(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		n.Delay("a", "b", time.Second)
		start := time.Now()
		send(t, atA, "slow")
		n.Delay("a", "b", 0) // a faster link later must not reorder
		send(t, atA, "fast")
		expect(t, atB, "slowfast")
		if got := time.Since(start); got != time.Second {
			t.Errorf("arrived after %v, want 1s", got)
		}

		n.Delay("a", "b", 300*time.Millisecond)
		n.Delay("b", "a", 200*time.Millisecond)
		l, err := n.Host("b").Listen(":0")
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		dialPair(t, n, l)
		if got := time.Since(start); got != 500*time.Millisecond {
			t.Errorf("a dial took %v, want a round trip of 500ms", got)
		}
	})
}

func TestNetKillAndCrash(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(*memnet.Net)
		// silent: the far end gets nothing until the machine boots.
		silent bool
	}{
		{"kill", func(n *memnet.Net) { n.Kill("a") }, false},
		{"crash", func(n *memnet.Net) { n.Crash("a") }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				n := memnet.New(1)
				old := n.Host("a")
				l, err := old.Listen(":80")
				if err != nil {
					t.Fatal(err)
				}
				s, err := old.ListenPacket(":81")
				if err != nil {
					t.Fatal(err)
				}
				atA, atB := pair(t, n)
				n.Delay("a", "b", time.Second)
				send(t, atA, "on its way")
				test.fault(n)

				expectError(t, atA, net.ErrClosed)
				if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept of the dead process: %v", err)
				}
				if _, _, err := s.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("socket of the dead process: %v", err)
				}
				if _, err := old.Dial(t.Context(), "b:7000"); !errors.Is(err, net.ErrClosed) {
					t.Errorf("dial of the dead process: %v", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err = n.Host("b").Dial(ctx, "a:80")
				if test.silent {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("dial to a dark machine: %v", err)
					}
					send(t, atB, "into the dark")
					expectNothing(t, atB, time.Hour)
					n.Host("a")
				} else if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("dial to a machine without the process: %v", err)
				}
				expectError(t, atB, syscall.ECONNRESET)

				if _, err := n.Host("a").Listen(":80"); err != nil {
					t.Errorf("the next process: %v", err)
				}
				if n.Host("a").IP() != old.IP() {
					t.Error("the machine's address has changed")
				}
			})
		})
	}
}

// TestNetKillKeepsWhatWasClosed: bytes arrive if a process closes a stream in order and then dies.
func TestNetKillKeepsWhatWasClosed(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		n.Delay("a", "b", time.Second)
		send(t, atA, "last words")
		_ = atA.Close()
		n.Kill("a")
		expect(t, atB, "last words")
		expectError(t, atB, io.EOF)
	})
}

func TestNetFreeze(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		n.Freeze("a")
		send(t, atA, "out")
		send(t, atB, "in")
		expectNothing(t, atB, time.Hour)
		expectNothing(t, atA, time.Hour)
		n.Thaw("a")
		expect(t, atB, "out")
		expect(t, atA, "in")
	})
}

func TestNetReset(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		n.Cut("a", "b")
		send(t, atA, "lost")
		n.Reset("a", "b")
		n.Heal()
		expectError(t, atA, syscall.ECONNRESET)
		expectError(t, atB, syscall.ECONNRESET)
	})
}

// TestNetWindow: a writer waits for a reader, until its deadline.
func TestNetWindow(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		atA, atB := pair(t, n)
		sent := bytes.Repeat([]byte("0123456789"), 100_000)
		_ = atA.SetWriteDeadline(time.Now().Add(time.Second))
		wrote, err := atA.Write(sent)
		if !errors.Is(err, os.ErrDeadlineExceeded) || wrote == 0 || wrote == len(sent) {
			t.Fatalf("wrote %d of %d, %v, want a part and the deadline", wrote, len(sent), err)
		}
		_ = atA.SetWriteDeadline(time.Time{})
		go func() {
			_, _ = atA.Write(sent[wrote:])
			_ = atA.Close()
		}()
		got, err := io.ReadAll(atB)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("read %d bytes, %v, want the %d sent", len(got), err, len(sent))
		}
	})
}

func TestNetDatagrams(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		at := func(name string) net.PacketConn {
			s, err := n.Host(name).ListenPacket(":9")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		a, b := at("a"), at("b")
		count := func(sent int) (got int) {
			for range sent {
				if _, err := a.WriteTo([]byte("x"), b.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			for {
				_ = b.SetReadDeadline(time.Now().Add(time.Minute))
				_, from, err := b.ReadFrom(make([]byte, 10))
				if err != nil {
					return got
				}
				if from.String() != a.LocalAddr().String() {
					t.Fatalf("datagram from %v, want %v", from, a.LocalAddr())
				}
				got++
			}
		}
		if got := count(100); got != 100 {
			t.Errorf("%d of 100 arrived", got)
		}
		n.Lose(0.5)
		if got := count(1000); got < 400 || got > 600 {
			t.Errorf("%d of 1000 arrived with a loss of one half", got)
		}
		n.Lose(0)
		n.Double(0.5)
		if got := count(1000); got < 1400 || got > 1600 {
			t.Errorf("%d of 1000 arrived with one half doubled", got)
		}
		n.Heal()
		n.Delay("a", "b", time.Second)
		if got := count(10); got != 10 {
			t.Errorf("%d of 10 arrived over a slow link", got)
		}
		n.Cut("a", "b")
		if got := count(10); got != 0 {
			t.Errorf("%d of 10 arrived through a cut", got)
		}
	})
}

func TestNetAddresses(t *testing.T) {
	n := memnet.New(1)
	a, b := n.Host("a"), n.Host("b")
	n.Resolve("seeds.example", "a", "b")
	n.Resolve("gone.example")
	ctx := t.Context()
	for host, want := range map[string][]string{
		"a": {a.IP()}, "seeds.example": {a.IP(), b.IP()}, "127.0.0.1": {a.IP()}, "localhost": {a.IP()}, "::": {a.IP()},
		"192.0.2.1": {"192.0.2.1"}, "gone.example": nil, "nobody": nil,
	} {
		got, err := a.LookupHost(ctx, host)
		if !slices.Equal(got, want) || (want == nil) != (err != nil) {
			t.Errorf("LookupHost(%q) = %v, %v, want %v", host, got, err, want)
		}
	}
	l, err := a.Listen("a:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ListenPacket(l.Addr().String()); err != nil {
		t.Errorf("a datagram socket on the port of a listener: %v", err)
	}
	for addr, want := range map[string]error{
		l.Addr().String(): syscall.EADDRINUSE, "b:1": syscall.EADDRNOTAVAIL,
	} {
		if _, err := a.Listen(addr); !errors.Is(err, want) {
			t.Errorf("Listen(%q): %v, want %v", addr, err, want)
		}
	}
	for addr, want := range map[string]error{
		"b:1": syscall.ECONNREFUSED, "192.0.2.1:1": syscall.EHOSTUNREACH,
	} {
		if _, err := a.Dial(ctx, addr); !errors.Is(err, want) {
			t.Errorf("Dial(%q): %v, want %v", addr, err, want)
		}
	}
	for _, addr := range []string{"a", "a:x", "a:70000", "nobody:1"} {
		if _, err := a.Dial(ctx, addr); err == nil {
			t.Errorf("Dial(%q) has no error", addr)
		}
		if _, err := a.Listen(addr); err == nil {
			t.Errorf("Listen(%q) has no error", addr)
		}
	}
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	n.Cut("a", "b")
	n.Freeze("b")
	if s := n.String(); !strings.Contains(s, "a->b cut=true") || !strings.Contains(s, "b frozen=true") {
		t.Errorf("String: %s", s)
	}
}
