package opening

import (
	"net"
	"testing"
)

// fake is a stream of a host.
type fake struct {
	net.Conn
	host   string
	closed int
}

func (s *fake) RemoteAddr() net.Addr { return addr(s.host + ":1") }
func (s *fake) Close() error         { s.closed++; return nil }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func TestSet(t *testing.T) {
	s := New(3)
	begun := 0
	add := func(host string) *fake {
		t.Helper()
		c := &fake{host: host}
		if _, ok := s.Add(c, func() { begun++ }); !ok {
			t.Fatal("the set is closed")
		}
		return c
	}
	one, first, second := add("a"), add("b"), add("b")
	third := add("b")
	if first.closed != 1 || one.closed+second.closed+third.closed != 0 {
		t.Error("want the oldest stream of the host with the most to be closed")
	}
	s.Remove(second)
	fourth := add("c")
	if one.closed+third.closed+fourth.closed != 0 || s.Len() != 3 {
		t.Errorf("a stream was closed although there was room; %d streams", s.Len())
	}
	s.Close()
	if one.closed != 1 || third.closed != 1 || fourth.closed != 1 || second.closed != 0 {
		t.Error("want Close to close what is in the set, and nothing else")
	}
	if _, ok := s.Add(&fake{host: "d"}, func() { begun++ }); ok || begun != 5 || s.Len() != 0 {
		t.Errorf("a stream was added after Close; %d have begun", begun)
	}
}

// A host that chooses its addresses in an IPv6 network counts as one host: it does not displace the streams of
// another host by having one stream of each address.
func TestNetworkIsOneHost(t *testing.T) {
	s := New(4)
	add := func(host string) *fake {
		c := &fake{host: host}
		s.Add(c, func() {})
		return c
	}
	honest := []*fake{add("[2001:db8:2::1]"), add("[2001:db8:2::1]")}
	for _, host := range []string{"[2001:db8:1::1]", "[2001:db8:1::2]", "[2001:db8:1::3]", "[2001:db8:1::4]", "[2001:db8:1::5]"} {
		add(host)
	}
	if honest[1].closed != 0 {
		t.Error("single addresses of one network have pushed out the streams of a host with two")
	}
}
