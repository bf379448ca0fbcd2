package share

import (
	"net"
	"net/netip"
)

// Host returns the host of an address for counting. For IPv6 that is the /64 network, in which a host
// can choose its addresses.
func Host(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	return HostOf(addr.String())
}

// HostOf is [Host] of the text of an address.
func HostOf(text string) string {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return text
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = Network(ip); ip.Is6() {
		return ip.String() + "/64"
	}
	return ip.String()
}

// Network is [Host] of an IP address: the first address of the /64 of an IPv6 address, and otherwise
// the IPv4 address.
func Network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
