package mesh

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/peerport"
	"github.com/sgkandale/sharelock/mesh/raftstream"
	"google.golang.org/grpc"
)

// Addrs are the addresses under which a node is reached.
type Addrs struct{ HTTP, GRPC, Peer, Gossip string }

// ports are what a node listens on, and the servers there.
type ports struct {
	addrs     Addrs
	listeners struct{ http, grpc net.Listener }
	// peer is shared by inner, links and Raft.
	peer  *peerport.Port
	inner *grpc.Server
	grpc  *api.GRPC
	http  *api.HTTP
}

// Addrs are the addresses under which this node is reached.
func (n *Node) Addrs() Addrs { return n.addrs }

// bind opens all listeners and finds out the addresses.
func (n *Node) bind() error {
	listen := func(what, addr string) (net.Listener, error) {
		l, err := n.network.Listen(addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		n.onClose(what, func() error { return network.IgnoreClosed(l.Close()) })
		return l, nil
	}
	var err error
	if n.listeners.http, err = listen("http.listen", n.cfg.HTTPListen); err != nil {
		return err
	}
	if n.listeners.grpc, err = listen("grpc.listen", n.cfg.GRPCListen); err != nil {
		return err
	}
	peer, err := listen("mesh.peer_listen", n.cfg.PeerListen)
	if err != nil {
		return err
	}
	at, err := network.Advertise(n.ctx, n.network, n.cfg.PeerAdvertise, peer.Addr())
	if err != nil {
		return fmt.Errorf("mesh.peer_advertise: %w", err)
	}
	n.addrs = Addrs{
		HTTP: public(n.listeners.http, at.Addr()), GRPC: public(n.listeners.grpc, at.Addr()), Peer: at.String(),
	}
	n.peer = peerport.New(peer, n.log, n.secure.peers, n.peerProtocols()...)
	n.onClose("peer port", n.peer.Close)
	n.gossip, err = gossip.Start(gossip.Config{
		Meta: n.meta(), Listen: n.cfg.GossipListen, Advertise: n.cfg.GossipAdvertise, Seeds: n.cfg.Seeds,
		Unit: n.cfg.Lease / 4, Encryption: n.keys.own.Mode(), Keys: n.keys.own.Ring(), Network: n.network, Log: n.log.With("part", "gossip"),
		Streams: func(l net.Listener) net.Listener {
			var handshake func(net.Conn) (net.Conn, error)
			if n.secure.store != nil {
				handshake = n.secure.store.Refusals().Handshake
			}
			return refuse.Clients(l, n.wrongPort("gossip", l.Addr().String()), handshake)
		},
	})
	if err != nil {
		return err
	}
	n.onClose("gossip", n.gossip.Close)
	n.addrs.Gossip = n.gossip.Addr()
	return n.useKeys() // and announces: its place among the seeds is known only now
}

// public is a listener's address as others see it: with the host of the peer
// address if it listens everywhere.
func public(l net.Listener, host netip.Addr) string {
	bound, err := netip.ParseAddrPort(l.Addr().String())
	if err == nil && bound.Addr().IsUnspecified() {
		return netip.AddrPortFrom(host, bound.Port()).String()
	}
	return l.Addr().String()
}

// peerProtocols are those that share the peer port with gRPC.
func (n *Node) peerProtocols() []peerport.Protocol {
	return []peerport.Protocol{
		{Magic: raftstream.Magic, Open: func(conn net.Conn) (net.Conn, error) { return raftstream.Accept(conn, n.meantByRaft) }},
		{Magic: link.Magic, Open: func(conn net.Conn) (net.Conn, error) {
			stream, err := link.Accept(conn, n.program(), n.meantByLink)
			if err != nil {
				return nil, err
			}
			return stream, nil
		}},
		{Magic: sessionwire.SessionMagic, Open: func(conn net.Conn) (net.Conn, error) {
			err := refuse.Session(conn, n.wrongPeerPort())
			n.log.Debug("a client has used this port instead of the public one", "remote", conn.RemoteAddr(), "error", err)
			return nil, nil
		}},
	}
}

// wrongPeerPort is what clients are told that take the peer port for the public one of gRPC.
func (n *Node) wrongPeerPort() error { return n.wrongPort("peer", n.addrs.Peer) }

// wrongPort is what clients are told that take one of this node's ports for the public one
// of gRPC.
func (n *Node) wrongPort(what, addr string) error {
	return &sharelock.Error{Err: sharelock.ErrWrongPort, Message: fmt.Sprintf("%s is the %s port of node %s; gRPC is %s",
		portOf(addr), what, n.cfg.Name, portOf(n.addrs.GRPC))}
}

// portOf is the port of an address.
func portOf(addr string) string {
	if _, port, err := net.SplitHostPort(addr); err == nil {
		return port
	}
	return addr
}

// closePorts takes no more calls and waits for the open ones. Those that wait for
// a lock are sent away to other nodes, after a moment in which short calls end.
func (n *Node) closePorts(ctx context.Context) []error {
	errs := make([]error, 2)
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = n.http.Shutdown(ctx) })
	wg.Go(func() { errs[1] = n.grpc.Shutdown(ctx) })
	away := time.AfterFunc(n.lease()/8, n.sendAway)
	wg.Wait()
	away.Stop()
	return errs
}
