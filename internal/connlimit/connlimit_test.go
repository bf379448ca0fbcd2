package connlimit

import (
	"errors"
	"log/slog"
	"net"
	"testing"
)

// stream is a connection of a host.
type stream struct {
	net.Conn
	remote string
	closed int
}

func (s *stream) RemoteAddr() net.Addr { return addr(s.remote) }
func (s *stream) Close() error         { s.closed++; return nil }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// queue is a listener of connections that have arrived.
type queue struct{ conns []net.Conn }

func (q *queue) Accept() (net.Conn, error) {
	if len(q.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := q.conns[0]
	q.conns = q.conns[1:]
	return c, nil
}
func (q *queue) Close() error   { return nil }
func (q *queue) Addr() net.Addr { return addr("here:1") }

// port is a port with a limit.
type port struct {
	t     *testing.T
	limit *Limit
	q     queue
	l     net.Listener
}

func newPort(t *testing.T, most int) *port {
	p := &port{t: t, limit: New(most, slog.New(slog.DiscardHandler))}
	p.l = p.limit.Listener(&p.q)
	return p
}

// come opens a connection, and returns it and the server's side, nil if it was refused.
func (p *port) come(remote string) (*stream, net.Conn) {
	p.t.Helper()
	s := &stream{remote: remote}
	p.q.conns = append(p.q.conns, s)
	c, err := p.l.Accept()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) || s.closed != 1 {
			p.t.Errorf("%s: %v, closed %d times", remote, err, s.closed)
		}
		return s, nil
	}
	return s, c
}

func TestLimit(t *testing.T) {
	p := newPort(t, 4)
	var flood []*stream
	for range 4 {
		s, c := p.come("10.0.0.1:1")
		if c == nil {
			t.Fatal("refused below the bound")
		}
		flood = append(flood, s)
	}
	if _, c := p.come("10.0.0.1:2"); c != nil {
		t.Error("a host that has all connections got one more")
	}
	_, honest := p.come("10.0.0.2:1")
	if honest == nil || flood[3].closed != 1 || flood[0].closed != 0 {
		t.Error("want another host to take the place of the newest connection of the first")
	}
	if _, c := p.come("10.0.0.2:2"); c == nil || flood[2].closed != 1 {
		t.Error("want the second of the other host to take a place, too")
	}
	for _, remote := range []string{"10.0.0.1:3", "10.0.0.2:3"} {
		if _, c := p.come(remote); c != nil {
			t.Error("hosts that have as many take each other's places")
		}
	}
	if n := p.limit.Open(); n != 4 {
		t.Errorf("%d are open", n)
	}
	for range 2 {
		_ = honest.Close()
	}
	if _, c := p.come("10.0.0.1:4"); c == nil || p.limit.Open() != 4 {
		t.Errorf("no room after a connection was closed; %d are open", p.limit.Open())
	}
}

// A connection that was dropped is also closed by its server, and counts once.
func TestDroppedCountsOnce(t *testing.T) {
	p := newPort(t, 3)
	_, first := p.come("a:1")
	_, _ = p.come("a:2")
	_, newest := p.come("a:3")
	if _, c := p.come("b:1"); c == nil {
		t.Fatal("refused")
	}
	for _, c := range []net.Conn{newest, newest, first} {
		_ = c.Close()
	}
	if n := p.limit.Open(); n != 2 {
		t.Errorf("%d are open, want 2", n)
	}
}

func TestNoBound(t *testing.T) {
	if l := New(0, nil).Listener(&queue{}); l == nil || l.(*queue) == nil {
		t.Error("without a bound the listener is not its own")
	}
}
