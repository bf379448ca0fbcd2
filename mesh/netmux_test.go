package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/network"
)

const muxAddr = "server:7000"

var testCluster = []byte("the cluster")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// itself finds processes whose ids are their addresses.
func itself(id string) string { return id }

// testFilter lets in what is of testCluster and not for another process.
type testFilter struct{}

func (testFilter) meantByRaft(id []byte, voter string) bool {
	return bytes.Equal(id, testCluster) && voter != "other"
}

func (f testFilter) meantByLink(id []byte, to string) bool { return f.meantByRaft(id, to) }

func (testFilter) program() release.Range { return release.Own() }

// inMuxBubble runs a mux on the memory network, and checks that close ends it.
func inMuxBubble(t *testing.T, run func(t *testing.T, n *memnet.Net, m *mux)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		l, err := n.Host("server").Listen(muxAddr)
		if err != nil {
			t.Fatal(err)
		}
		m := newMux(l, testFilter{}, quiet())
		run(t, n, m)
		for range 2 {
			if err := m.close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		for name, l := range map[string]net.Listener{"grpc": m.grpcListener(), "link": m.linkListener(), "raft": m.raftListener()} {
			if c, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: Accept after close = %v, %v", name, c, err)
			}
		}
	})
}

func dialMux(t *testing.T, n *memnet.Net, first string) net.Conn {
	t.Helper()
	c, err := n.Host("client").Dial(t.Context(), muxAddr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(first)); err != nil {
		t.Fatal(err)
	}
	return c
}

// expectDropped says that the mux closes the stream within d.
func expectDropped(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(within + time.Second))
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > within {
		t.Errorf("read %d, %v after %v, want the end within %v", n, err, time.Since(start), within)
	}
}

func TestMuxRoutes(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, m *mux) {
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		dialMux(t, n, preface)
		got := make([]byte, len(preface))
		c, err := m.grpcListener().Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != preface {
			t.Errorf("gRPC reads %q, %v, want the whole preface", got, err)
		}
		expectOpen(t, c)

		preamble, err := appendPreamble(nil, testCluster, "v")
		if err != nil {
			t.Fatal(err)
		}
		dialMux(t, n, string(preamble)+"vote")
		if c, err = m.raftListener().Accept(); err != nil {
			t.Fatal(err)
		}
		got = make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "vote" {
			t.Errorf("raft reads %q, %v, want what follows the preamble", got, err)
		}
		expectOpen(t, c)

		hello, err := link.Hello{Releases: release.Own(), Cluster: testCluster, To: "m", From: "n"}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		dialMux(t, n, string(hello)+"\x00\x00\x00\x05entry")
		if c, err = m.linkListener().Accept(); err != nil {
			t.Fatal(err)
		}
		if from := c.(*link.Stream).From(); from != "n" {
			t.Errorf("the link is from %q, want n", from)
		}
		if message, err := frame.New(c, 100, time.Minute).Recv(); err != nil || string(message) != "entry" {
			t.Errorf("the link's first frame is %q, %v", message, err)
		}
		expectOpen(t, c)
		if c.LocalAddr().String() != m.raftListener().Addr().String() {
			t.Errorf("listener's address is %v, the stream's %v", m.raftListener().Addr(), c.LocalAddr())
		}
	})
}

// expectOpen says that no deadline of the sniffing is left on the stream.
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

// TestMuxRefuses: what is not for this cluster, or never says what it is.
func TestMuxRefuses(t *testing.T) {
	foreign, _ := appendPreamble(nil, []byte("another cluster"), "v")
	other, _ := appendPreamble(nil, testCluster, "other")
	foreignLink, _ := link.Hello{Releases: release.Own(), Cluster: []byte("another cluster"), To: "m", From: "n"}.Append(nil)
	otherLink, _ := link.Hello{Releases: release.Own(), Cluster: testCluster, To: "other", From: "n"}.Append(nil)
	for name, test := range map[string]struct {
		first  string
		within time.Duration
	}{
		"another cluster":     {string(foreign), time.Millisecond},
		"another process":     {string(other), time.Millisecond},
		"no voter":            {raftMagic + "\x02\x01x\x00", time.Millisecond},
		"before release 1":    {raftMagic + "\x01\x01x", time.Millisecond},
		"unknown version":     {raftMagic + "\x03\x01x", time.Millisecond},
		"no cluster":          {raftMagic + "\x02\x00", time.Millisecond},
		"cluster id too long": {raftMagic + "\x02\xff", time.Millisecond},
		"a link's cluster":    {string(foreignLink), time.Millisecond},
		"a link's process":    {string(otherLink), time.Millisecond},
		"an old link":         {link.Magic + "\x01\x01x", time.Millisecond},
		"a link's form":       {link.Magic + "\x03\x01x", time.Millisecond},
		"a link from nobody":  {link.Magic + "\x02\x00\x01\x00\x01\x01x\x01m\x00", time.Millisecond},
		"half a link's hello": {string(otherLink[:len(otherLink)-1]), sniffTimeout},
		"silent":              {"", sniffTimeout},
		"three bytes":         {"PRI", sniffTimeout},
		"half a preamble":     {string(foreign[:len(foreign)-1]), sniffTimeout},
		"nobody accepts it":   {"GET / HTTP/1.1\r\n", sniffTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			inMuxBubble(t, func(t *testing.T, n *memnet.Net, _ *mux) {
				expectDropped(t, dialMux(t, n, test.first), test.within)
			})
		})
	}
}

// A link of a program without a common release is told so, and dropped.
func TestMuxRefusesReleases(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, _ *mux) {
		newer := release.Range{Oldest: release.Current + 1, Newest: release.Current + 1}
		hello, err := link.Hello{Releases: newer, Cluster: testCluster, To: "m", From: "n"}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := dialMux(t, n, string(hello))
		if _, err := link.ReadAnswer(c, newer); !errors.Is(err, release.ErrMismatch) || !strings.Contains(err.Error(), release.Own().String()) {
			t.Errorf("the answer: %v", err)
		}
		expectDropped(t, c, time.Millisecond)
	})
}

// TestMuxSilentStreams: any number of silent streams keep nobody waiting. Those beyond the
// limit take the places of the oldest ones of the host that has the most.
func TestMuxSilentStreams(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, m *mux) {
		other, err := n.Host("other").Dial(t.Context(), muxAddr)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		silent := make([]net.Conn, maxSniffing+10)
		for i := range silent {
			silent[i] = dialMux(t, n, "")
			synctest.Wait()
		}
		start := time.Now()
		for range 3 {
			dialMux(t, n, "PRI ")
			if _, err := m.grpcListener().Accept(); err != nil || time.Since(start) != 0 {
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
		if _, err := m.grpcListener().Accept(); err != nil {
			t.Errorf("the stream of a host that has one only: %v", err)
		}
		synctest.Wait()
		m.mu.Lock()
		if got, want := len(m.sniffing), len(silent)-12; got != want {
			t.Errorf("%d silent streams are left, want %d", got, want)
		}
		m.mu.Unlock()
		time.Sleep(2 * sniffTimeout)
		for _, c := range silent[12:] {
			expectDropped(t, c, 0)
		}
	})
}

// TestMuxHalves: one half can be closed while the other goes on, and close ends
// streams that are still looked at.
func TestMuxHalves(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, m *mux) {
		_ = m.raftListener().Close()
		preamble, _ := appendPreamble(nil, testCluster, "v")
		expectDropped(t, dialMux(t, n, string(preamble)), time.Millisecond)
		dialMux(t, n, "PRI ")
		if _, err := m.grpcListener().Accept(); err != nil {
			t.Error(err)
		}
		silent := dialMux(t, n, "")
		start := time.Now()
		_ = m.close()
		if took := time.Since(start); took != 0 {
			t.Errorf("close took %v", took)
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

func TestMuxAcceptFails(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		l, err := n.Host("server").Listen(muxAddr)
		if err != nil {
			t.Fatal(err)
		}
		m := newMux(&failingListener{Listener: l, failures: 3}, testFilter{}, quiet())
		dialMux(t, n, "PRI ")
		if _, err := m.grpcListener().Accept(); err != nil {
			t.Errorf("Accept after three failures: %v", err)
		}
		// Someone closes the listener below: both halves end.
		_ = l.Close()
		if _, err := m.grpcListener().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v, want %v", err, net.ErrClosed)
		}
		_ = m.close()
	})
}

func TestRaftLayer(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, m *mux) {
		server := newRaftLayer(m.raftListener(), n.Host("server"), func() []byte { return testCluster }, itself, "192.0.2.7:1")
		if got := server.Addr().String(); got != "192.0.2.7:1" {
			t.Errorf("Addr = %s, want its id", got)
		}
		nowhere, err := n.Host("client").Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		var cluster []byte
		client := newRaftLayer(nowhere, n.Host("client"), func() []byte { return cluster }, itself, "client:1")
		if _, err := client.Dial(muxAddr, time.Second); !errors.Is(err, errPreamble) {
			t.Errorf("Dial without a cluster: %v, want %v", err, errPreamble)
		}

		cluster = testCluster
		client.address = func(string) string { return "" }
		if _, err := client.Dial(muxAddr, time.Second); err == nil {
			t.Error("Dial of a voter whose address is not known has no error")
		}
		client.address = itself
		out, err := client.Dial(muxAddr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		in, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}

		n.Cut("client", "server")
		start := time.Now()
		if _, err := client.Dial(muxAddr, time.Second); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Dial through a cut: %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { _ = client.Close() })
		start = time.Now()
		if _, err := client.Dial(muxAddr, time.Hour); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("Dial during Close: %v after %v", err, time.Since(start))
		}
		synctest.Wait() // until Close is done
		if _, err := client.Dial(raft.ServerAddress(muxAddr), time.Second); err == nil {
			t.Error("Dial after Close has no error")
		}
		if _, err := out.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a dialled stream after Close: %v, want %v", err, net.ErrClosed)
		}
		n.Heal()
		_ = server.Close()
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("an accepted stream after Close: %v, want %v", err, net.ErrClosed)
		}
	})
}

// TestRaftLayerForgets: a stream that raft closes is not kept.
func TestRaftLayerForgets(t *testing.T) {
	inMuxBubble(t, func(t *testing.T, n *memnet.Net, m *mux) {
		layer := newRaftLayer(m.raftListener(), n.Host("server"), func() []byte { return testCluster }, itself, muxAddr)
		defer layer.Close()
		for range 10 {
			out, err := layer.Dial(muxAddr, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			in, err := layer.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.Close(), in.Close()
		}
		if n := len(layer.conns); n != 0 {
			t.Errorf("%d streams are kept", n)
		}
	})
}

func FuzzPreamble(f *testing.F) {
	good, _ := appendPreamble(nil, testCluster, "v")
	f.Add(good)
	f.Add(append(good, "more"...))
	f.Add([]byte(raftMagic))
	f.Add([]byte("PRI * HTTP/2.0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		id, voter, err := readPreamble(r)
		if err != nil {
			return
		}
		again, err := appendPreamble(nil, id, voter)
		if err != nil {
			t.Fatalf("id %x of %x: %v", id, b, err)
		}
		if used := len(b) - r.Len(); !bytes.Equal(again, b[:used]) {
			t.Errorf("%x is read as %x, which is written as %x", b[:used], id, again)
		}
	})
}

// TestMuxRealPort is a smoke test on the system's network.
func TestMuxRealPort(t *testing.T) {
	var system network.System
	l, err := system.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMux(l, testFilter{}, quiet())
	layer := newRaftLayer(m.raftListener(), system, func() []byte { return testCluster }, itself, l.Addr().String())
	for i, dial := range []func() (net.Conn, error){
		func() (net.Conn, error) { return layer.Dial(raft.ServerAddress(l.Addr().String()), 5*time.Second) },
		func() (net.Conn, error) {
			c, err := system.Dial(t.Context(), l.Addr().String())
			if err == nil {
				_, err = c.Write([]byte("PRI "))
			}
			return c, err
		},
	} {
		out, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		in, err := []net.Listener{layer, m.grpcListener()}[i].Accept()
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("answer ", i)
		if _, err := in.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(out, got); err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
		_, _ = in.Close(), out.Close()
	}
	if err := errors.Join(layer.Close(), m.close()); err != nil {
		t.Error(err)
	}
}
