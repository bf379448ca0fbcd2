package mesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/network"
)

// checkExposure returns an error if others than this machine could reach the peer port or gossip
// although members have no TLS, or gossip need not be encrypted: anyone there could become a member and
// own locks. keyed says that gossip has keys and must be encrypted. Pprof has no other protection than
// its address. Config.Insecure allows it. A network in memory or of a test
// is not checked, since nobody else is in it.
func (n *Node) checkExposure(ctx context.Context, keyed bool) error {
	if _, system := n.network.(network.System); !system || n.cfg.Insecure {
		return nil
	}
	var open, way string
	switch {
	case n.cfg.TLS.members() != TLSRequired:
		open, way = "members have no TLS", "set tls.cert_file, tls.key_file and tls.ca_file (sharelock tls makes them)"
		if n.cfg.TLS.members() == TLSMigrate {
			open, way = "TLS between members is not required", "set tls.members: required"
		}
	case !keyed:
		open, way = "gossip has no keys", "set mesh.gossip_keys_file (sharelock keyring generate makes a key)"
		if n.cfg.GossipEncryption == keyring.Migrate {
			open, way = "encryption of gossip is not required", "set mesh.gossip_encryption: required"
		}
	}
	if a := n.cfg.DebugListen; a != "" && !n.isLoopback(ctx, a) {
		return fmt.Errorf("debug.listen: %q is not a loopback address, and everyone who reaches it can read this process's memory: use a loopback address, or set mesh.insecure: true (--insecure)", a)
	}
	if open == "" {
		return nil
	}
	for _, a := range []struct{ key, addr string }{
		{"mesh.peer_listen", n.cfg.PeerListen},
		{"mesh.peer_advertise", n.cfg.PeerAdvertise},
		{"mesh.gossip_listen", n.cfg.GossipListen},
		{"mesh.gossip_advertise", n.cfg.GossipAdvertise},
	} {
		if a.addr == "" || n.isLoopback(ctx, a.addr) {
			continue
		}
		return fmt.Errorf("%s: %q is not a loopback address, but %s: %s, or set mesh.insecure: true (--insecure) to trust everyone in the network", a.key, a.addr, open, way)
	}
	return nil
}

// isLoopback reports whether an address, host:port or host, is of this machine only.
func (n *Node) isLoopback(ctx context.Context, addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	if host == "" {
		return false
	}
	addrs, err := n.network.LookupHost(ctx, host)
	if err != nil || len(addrs) == 0 {
		return false
	}
	for _, a := range addrs {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.Unmap().IsLoopback() {
			return false
		}
	}
	return true
}
