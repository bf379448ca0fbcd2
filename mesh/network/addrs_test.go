package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/sgkandale/sharelock/internal/memnet"
)

func TestPickAddr(t *testing.T) {
	for want, own := range map[string][]string{
		"127.0.0.1":     {},
		"192.168.1.5":   {"127.0.0.1", "::1", "fe80::1", "8.8.8.8", "2001:db8::1", "192.168.1.5", "10.0.0.1"},
		"8.8.8.8":       {"127.0.0.1", "fd00::1", "8.8.8.8", "2001:db8::1"},
		"fd00::1":       {"::1", "2001:db8::1", "fd00::1"},
		"2001:db8::1":   {"169.254.1.1", "fe80::1", "2001:db8::1"},
		"172.16.0.1":    {"172.16.0.1", "10.0.0.1"},
		"100.64.0.1":    {"127.0.0.1", "100.64.0.1"},
		"10.1.2.3":      {"224.0.0.1", "10.1.2.3"},
		"198.51.100.77": {"198.51.100.77"},
	} {
		var addrs []netip.Addr
		for _, a := range own {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got := pickAddr(addrs).String(); got != want {
			t.Errorf("pickAddr(%v) = %s, want %s", own, got, want)
		}
	}
}

func TestAdvertise(t *testing.T) {
	n := memnet.New(1)
	host := n.Host("a")
	n.Host("b")
	n.Resolve("nobody")
	listen := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.1:7946"))
	for explicit, want := range map[string]string{
		"":                "10.0.0.1:7946",
		"b":               "10.0.0.2:7946",
		"b:1":             "10.0.0.2:1",
		"192.0.2.1:0":     "192.0.2.1:7946",
		"2001:db8::1":     "[2001:db8::1]:7946",
		"[2001:db8::1]:5": "[2001:db8::1]:5",
		"nobody:1":        "",
		"b:x":             "",
		"a:b:c":           "",
		":7":              "",
	} {
		got, err := Advertise(t.Context(), host, explicit, listen)
		if want == "" {
			if err == nil {
				t.Errorf("advertise %q = %s, want an error", explicit, got)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("advertise %q = %s, %v, want %s", explicit, got, err, want)
		}
	}
	everywhere := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[::]:7946"))
	if _, err := Advertise(t.Context(), System{}, "0.0.0.0:1", everywhere); err == nil {
		t.Error("advertising an unspecified address has no error")
	}
	got, err := Advertise(t.Context(), System{}, "", everywhere)
	own, ownErr := InterfaceAddrs()
	if err != nil || ownErr != nil || got.Port() != 7946 || !slices.Contains(append(own, netip.MustParseAddr("127.0.0.1")), got.Addr()) {
		t.Errorf("listening everywhere advertises %s, %v, not one of %v, %v", got, err, own, ownErr)
	}
}

func TestResolveOrder(t *testing.T) {
	got, err := Resolve(t.Context(), staticNames{"n": {"2001:db8::1", "192.0.2.1", "::ffff:192.0.2.2"}}, "n", 9)
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("192.0.2.2:9"), netip.MustParseAddrPort("[2001:db8::1]:9"),
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Resolve = %v, %v, want %v", got, err, want)
	}
	if got, err := Resolve(t.Context(), staticNames{"n": {}}, "n", 9); err == nil {
		t.Errorf("a name without addresses = %v", got)
	}
	if got, err := Resolve(t.Context(), staticNames{"n": {"rubbish"}}, "n", 9); err == nil {
		t.Errorf("a name with a malformed address = %v", got)
	}
}

// staticNames is a Network that only resolves.
type staticNames map[string][]string

func (s staticNames) LookupHost(_ context.Context, host string) ([]string, error) {
	return s[host], nil
}
func (staticNames) Listen(string) (net.Listener, error)            { panic("not in this test") }
func (staticNames) ListenPacket(string) (net.PacketConn, error)    { panic("not in this test") }
func (staticNames) Dial(context.Context, string) (net.Conn, error) { panic("not in this test") }
