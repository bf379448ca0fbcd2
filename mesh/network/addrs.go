package network

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
)

// Advertise decides under which host:port others reach a listener. What the
// operator wrote wins; its port may be missing or 0, then it is the listener's.
// Otherwise it is the listener's own address, or if that is unspecified one of
// the machine's.
func Advertise(ctx context.Context, network Network, explicit string, listen net.Addr) (netip.AddrPort, error) {
	bound, err := netip.ParseAddrPort(listen.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen address %s: %w", listen, err)
	}
	if explicit != "" {
		list, err := Resolve(ctx, network, explicit, bound.Port())
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("advertise %s: %w", explicit, err)
		}
		if list[0].Addr().IsUnspecified() {
			return netip.AddrPort{}, fmt.Errorf("advertise %s: others cannot reach an unspecified address", explicit)
		}
		return list[0], nil
	}
	ip := bound.Addr().Unmap()
	if ip.IsUnspecified() {
		own, err := InterfaceAddrs()
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("addresses of this machine: %w", err)
		}
		ip = pickAddr(own)
	}
	return netip.AddrPortFrom(ip, bound.Port()), nil
}

// Resolve turns host:port, host, or [v6]:port into addresses, IPv4 first,
// otherwise in the resolver's order. A port that is missing or 0 is
// defaultPort.
func Resolve(ctx context.Context, network Network, addr string, defaultPort uint16) ([]netip.AddrPort, error) {
	host, port, err := SplitAddr(addr, defaultPort)
	if err != nil {
		return nil, err
	}
	names, err := network.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var four, six []netip.AddrPort
	for _, name := range names {
		ip, err := netip.ParseAddr(name)
		if err != nil {
			return nil, fmt.Errorf("resolver gave %q: %w", name, err)
		}
		if ip = ip.Unmap(); ip.Is4() {
			four = append(four, netip.AddrPortFrom(ip, port))
		} else {
			six = append(six, netip.AddrPortFrom(ip, port))
		}
	}
	if list := append(four, six...); len(list) > 0 {
		return list, nil
	}
	return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
}

// SplitAddr splits host:port; the port may be missing.
func SplitAddr(addr string, defaultPort uint16) (host string, port uint16, err error) {
	if ip, err := netip.ParseAddr(addr); err == nil {
		return ip.String(), defaultPort, nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		// No port: try again with one, which also finds what else is wrong.
		if host, service, err = net.SplitHostPort(addr + ":0"); err != nil {
			return "", 0, err
		}
	}
	if host == "" {
		return "", 0, &net.AddrError{Err: "no host", Addr: addr}
	}
	number, err := net.LookupPort("tcp", service)
	if err != nil {
		return "", 0, err
	}
	if number == 0 {
		return host, defaultPort, nil
	}
	return host, uint16(number & math.MaxUint16), nil
}

// InterfaceAddrs are the addresses of this machine's interfaces that are up.
func InterfaceAddrs() ([]netip.Addr, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, i := range list {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				own = append(own, prefix.Addr().Unmap())
			}
		}
	}
	return own, nil
}

// pickAddr is the address that others most likely reach: private before public
// (a mesh is rarely meant for the internet), IPv4 before IPv6, the first before
// the later; loopback if there is nothing else.
func pickAddr(own []netip.Addr) netip.Addr {
	best, bestRank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	for _, ip := range own {
		rank := 0
		switch {
		case !ip.IsGlobalUnicast():
		case ip.Is4() && ip.IsPrivate():
			rank = 4
		case ip.Is4():
			rank = 3
		case ip.IsPrivate():
			rank = 2
		default:
			rank = 1
		}
		if rank > bestRank {
			best, bestRank = ip, rank
		}
	}
	return best
}
