package mesh

import (
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/mesh/keyring"
	"github.com/sgkandale/sharelock/mesh/network"
)

// A node does not open itself to a network by accident.
func TestExposure(t *testing.T) {
	certified := TLS{CertFile: "c", KeyFile: "k", CAFile: "a"}
	migrating := certified
	migrating.Members = TLSMigrate
	withoutMembers := certified
	withoutMembers.Members = TLSOff
	for _, tt := range []struct {
		name                               string
		tls                                TLS
		peer, advertise, gossip, gossipOut string
		insecure, keyed                    bool
		want                               string // "" is no error
	}{
		{"loopback", TLS{}, "127.0.0.1:1", "", "[::1]:1", "", false, false, ""},
		{"loopback by name", TLS{}, "localhost:1", "localhost", "127.9.9.9:1", "", false, false, ""},
		{"the defaults", TLS{}, ":50053", "", ":7946", "", false, false, `mesh.peer_listen: ":50053"`},
		{"gossip on a network", TLS{}, "127.0.0.1:1", "", "0.0.0.0:7946", "", false, false, "mesh.gossip_listen"},
		{"advertised", TLS{}, "127.0.0.1:1", "10.0.0.1:1", "127.0.0.1:1", "", false, false, "mesh.peer_advertise"},
		{"gossip advertised", TLS{}, "127.0.0.1:1", "", "127.0.0.1:1", "10.0.0.1", false, false, "mesh.gossip_advertise"},
		{"a name of nobody", TLS{}, "no.such.host.invalid:1", "", "127.0.0.1:1", "", false, false, "mesh.peer_listen"},
		{"told so", TLS{}, ":50053", "", ":7946", "", true, false, ""},
		{"TLS, no keys", certified, ":50053", "", ":7946", "", false, false, "gossip has no keys: set mesh.gossip_keys_file"},
		{"TLS and keys", certified, ":50053", "", ":7946", "", false, true, ""},
		{"keys, no TLS", TLS{}, ":50053", "", ":7946", "", false, true, "members have no TLS"},
		{"TLS for clients only", withoutMembers, ":50053", "", ":7946", "", false, true, "members have no TLS"},
		{"migration", migrating, ":50053", "", ":7946", "", false, true, "set tls.members: required"},
		{"TLS on loopback, no keys", certified, "127.0.0.1:1", "", "127.0.0.1:1", "", false, false, ""},
	} {
		n := &Node{network: network.System{}, cfg: Config{
			TLS: tt.tls, Insecure: tt.insecure, PeerListen: tt.peer, PeerAdvertise: tt.advertise, GossipListen: tt.gossip, GossipAdvertise: tt.gossipOut,
		}}
		err := n.checkExposure(t.Context(), tt.keyed)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "mesh.insecure: true")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	gossiping := &Node{network: network.System{}, cfg: Config{TLS: certified, GossipEncryption: keyring.Migrate, PeerListen: ":1", GossipListen: ":2"}}
	if err := gossiping.checkExposure(t.Context(), false); err == nil || !strings.Contains(err.Error(), "set mesh.gossip_encryption: required") {
		t.Errorf("gossip that migrates: %v", err)
	}
	for addr, ok := range map[string]bool{"": true, "127.0.0.1:6060": true, "localhost:6060": true, ":6060": false, "10.0.0.1:6060": false} {
		n := &Node{network: network.System{}, cfg: Config{TLS: certified, PeerListen: ":1", GossipListen: ":2", DebugListen: addr}}
		if err := n.checkExposure(t.Context(), true); ok != (err == nil) || !ok && !strings.Contains(err.Error(), "debug.listen") {
			t.Errorf("debug.listen %q: %v", addr, err)
		}
	}
	inMemory := &Node{network: memnet.New(1).Host("a"), cfg: Config{PeerListen: ":1", GossipListen: ":1"}}
	if err := inMemory.checkExposure(t.Context(), false); err != nil {
		t.Errorf("in memory: %v", err)
	}
}
