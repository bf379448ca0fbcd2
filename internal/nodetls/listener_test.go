package nodetls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// onListener runs a listener of a client port on the memory network, and checks that Close ends it.
func onListener(t *testing.T, mode Clients, run func(t *testing.T, n *memnet.Net, ca *certs.CA, l *Listener)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		ca := newCA(t)
		s, log := open(t, Memory(material(memberOf(t, ca), ca)))
		n := memnet.New(1)
		inner, err := n.Host("server").Listen("server:1")
		if err != nil {
			t.Fatal(err)
		}
		l := s.HTTP(mode).Listen(inner, func(conn net.Conn) { _, _ = conn.Write([]byte("needs TLS")) }, log.logger())
		run(t, n, ca, l)
		for range 2 {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if c, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v, %v", c, err)
		}
	})
}

func dialHost(t *testing.T, n *memnet.Net, host, first string) net.Conn {
	t.Helper()
	c, err := n.Host(host).Dial(t.Context(), "server:1")
	if err != nil {
		t.Fatal(err)
	}
	if first != "" {
		if _, err := c.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// A flood of half-open handshakes, and of silent streams, keeps nobody out.
func TestFloods(t *testing.T) {
	onListener(t, ClientsOn, func(t *testing.T, n *memnet.Net, ca *certs.CA, l *Listener) {
		begin := time.Now()
		var flood []net.Conn
		for i := range maxHandshakes + 100 {
			first := ""
			if i%2 == 0 {
				first = "\x16\x03\x01\x02\x00\x01" // the beginning of a hello
			}
			flood = append(flood, dialHost(t, n, "attacker", first))
			synctest.Wait() // the network's own queue is short
		}
		synctest.Wait()
		if got := l.opening.Len(); got > maxHandshakes {
			t.Errorf("%d handshakes are in progress", got)
		}
		for range 3 {
			go func() {
				c := tls.Client(dialHost(t, n, "honest", ""), clientConfig(t, certs.Pair{}, "localhost", ca))
				if err := c.Handshake(); err != nil {
					t.Error(err)
				}
			}()
			c, err := l.Accept()
			if err != nil || time.Since(begin) > time.Second {
				t.Fatalf("after %v: %v", time.Since(begin), err)
			}
			if _, ok := c.(*tls.Conn); !ok {
				t.Errorf("net/http needs a *tls.Conn, got %T", c)
			}
		}
		time.Sleep(HandshakeTimeout)
		synctest.Wait()
		if got := l.opening.Len(); got != 0 {
			t.Errorf("%d streams of the flood are open after the time for a handshake", got)
		}
		for _, c := range flood {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Fatal("a stream of the flood got an answer")
			}
		}
	})
}

func TestListenerRefusesPlain(t *testing.T) {
	onListener(t, ClientsOn, func(t *testing.T, n *memnet.Net, _ *certs.CA, _ *Listener) {
		if got, err := io.ReadAll(dialHost(t, n, "client", "GET / HTTP/1.1\r\n\r\n")); string(got) != "needs TLS" {
			t.Errorf("read %q, %v", got, err)
		}
	})
	onListener(t, ClientsMigrate, func(t *testing.T, n *memnet.Net, _ *certs.CA, l *Listener) {
		out := dialHost(t, n, "client", "GET / HTTP/1.1\r\n\r\n")
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		// The deadline of the handshake no longer applies.
		time.Sleep(2 * HandshakeTimeout)
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "GET /" {
			t.Errorf("read %q, %v", got, err)
		}
		_ = out.Close()
	})
}

// A refusal is logged as a warning, once a minute for each host. A peer that only connects, or disconnects, is not.
func TestListenerSaysWhoIsRefused(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ca := newCA(t)
		s, _ := open(t, Memory(material(memberOf(t, ca), ca)))
		n := memnet.New(1)
		inner, err := n.Host("server").Listen("server:1")
		if err != nil {
			t.Fatal(err)
		}
		log := new(logged)
		l := s.HTTP(ClientsOn).Listen(inner, func(net.Conn) {}, log.logger())
		meet := func(host, first string) {
			c := dialHost(t, n, host, first)
			if first == "" {
				_ = c.Close()
			}
			synctest.Wait()
		}
		const words = "level=WARN msg=\"refused a connection\""
		want := func(lines int, after string) {
			t.Helper()
			if text := log.take(); strings.Count(text, words) != lines {
				t.Errorf("after %s the log does not have %d warnings: %s", after, lines, text)
			}
		}
		meet("probe", "")
		want(0, "a probe")
		meet("plain", "GET / HTTP/1.1\r\n\r\n")
		meet("plain", "GET / HTTP/1.1\r\n\r\n")
		want(1, "two clients without TLS of one host")
		meet("garbage", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
		want(1, "a bad handshake of another host")
		dialHost(t, n, "silent", "\x16")
		time.Sleep(2 * time.Minute)
		want(0, "a handshake that does not end")
		meet("plain", "GET / HTTP/1.1\r\n\r\n")
		want(1, "a minute")
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzHandshake: any bytes of a stranger end only the handshake.
func FuzzHandshake(f *testing.F) {
	ca, err := certs.NewCA()
	if err != nil {
		f.Fatal(err)
	}
	pair, err := ca.Member("a", "blue", nil)
	if err != nil {
		f.Fatal(err)
	}
	s, err := Open(Config{Source: Memory(Material{pair.Cert, pair.Key, bundle(ca)}), Member: member, Log: new(logged).logger()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"))
	f.Add([]byte("\x16\x03\x03\x40\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, near) //nolint:errcheck // it ends with the pipe
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, server := range []*Server{s.Members(false)} {
				if conn, err := server.Handshake(far); err == nil {
					t.Errorf("%q is a handshake: %v", data, conn)
				}
			}
			_ = far.Close()
		}()
		_ = near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = near.Write(data) // the server may have closed it already
		_ = near.Close()
		<-done
		if n := s.Stats().Streams; n != 0 {
			t.Errorf("%d streams are kept", n)
		}
	})
}
