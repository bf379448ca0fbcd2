package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sgkandale/sharelock/mesh/network"
)

// place is where a node runs: its addresses, which it keeps over restarts, and its network.
type place struct {
	http, grpc, peer, gossip string
	// ip is the address of the machine; empty on loopback, where all nodes share one.
	ip string
	// network returns the network that the node uses; it is called for each start.
	network func() network.Network
	// down disconnects the running process from the network before it is killed, so that it
	// cannot say goodbye.
	down func()
	// close releases the addresses.
	close func() error
}

// peerPort is where nodes of a memory network listen for other members.
const peerPort = 50053

// memoryPlace returns a place on a machine of a memory network.
func memoryPlace(n *MemNet, name string) *place {
	return &place{
		ip: n.Host(name).IP(), http: ":50051", grpc: ":50052", peer: fmt.Sprint(":", peerPort), gossip: ":7946",
		network: func() network.Network { return n.Host(name) },
		down:    func() { n.Kill(name) },
		close:   func() error { return nil },
	}
}

// loopbackPlace reserves four ports of this machine.
func loopbackPlace() (*place, error) {
	l := &loopback{ports: map[string]*reservation{}}
	p := &place{network: func() network.Network { return l }, down: func() {}, close: l.close}
	for _, addr := range []*string{&p.http, &p.grpc, &p.peer, &p.gossip} {
		r, err := reserve()
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.ports[r.addr] = r
		*addr = r.addr
	}
	return p, nil
}

// loopback is the system's network, with some ports reserved.
type loopback struct {
	network.System
	ports map[string]*reservation // read-only once a node uses the network
}

var _ network.Network = (*loopback)(nil)

// Listen implements network.Network.
func (l *loopback) Listen(addr string) (net.Listener, error) {
	if r := l.ports[addr]; r != nil {
		return r.listen()
	}
	return l.System.Listen(addr)
}

// ListenPacket implements network.Network.
func (l *loopback) ListenPacket(addr string) (net.PacketConn, error) {
	if r := l.ports[addr]; r != nil {
		return r.listenPacket()
	}
	return l.System.ListenPacket(addr)
}

// LookupHost implements network.Network.
func (l *loopback) LookupHost(ctx context.Context, host string) ([]string, error) {
	if net.ParseIP(host) != nil {
		return []string{host}, nil // needs no resolver, and so no goroutine of one
	}
	return l.System.LookupHost(ctx, host)
}

func (l *loopback) close() error {
	var errs []error
	for _, r := range l.ports {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}
