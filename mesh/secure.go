package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/internal/netconn"
	"github.com/sgkandale/sharelock/internal/nodetls"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/seldom"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/peerport"
	"github.com/sgkandale/sharelock/ring"
)

// secure is the TLS of a node's streams.
type secure struct {
	store *nodetls.Store // nil without TLS
	// peers secures the streams that come in at the peer port, nil without TLS between members.
	peers *peerport.Secure
	// dial opens streams to other members.
	dial nodetls.Dial
	// announced is what members say of their peer ports.
	announced announced
	// refused bounds the log of members that take TLS only.
	refused seldom.Log
	log     *slog.Logger
}

// open loads the certificate, and decides how streams are opened with dial and accepted. processes are
// those that gossip knows.
func (s *secure) open(cfg *Config, dial nodetls.Dial, processes func() []gossip.Process, log *slog.Logger) error {
	s.log, s.dial = log, dial
	if !cfg.TLS.configured() {
		return nil
	}
	var err error
	if s.store, err = nodetls.Open(nodetls.Config{Source: cfg.TLS.source(), Member: cfg.memberName(), Log: log}); err != nil {
		return err
	}
	members := cfg.TLS.members()
	if members == TLSOff {
		return nil
	}
	migrate := members == TLSMigrate
	s.peers = &peerport.Secure{Handshake: s.store.Members(migrate).Handshake, Plain: nodetls.ErrPlain}
	var speaks func(string) bool
	if migrate {
		speaks = func(addr string) bool { return s.announced.at(addr, processes()) }
	}
	s.dial = s.store.Dialer(dial, speaks).Dial
	return nil
}

// unackedCall is how long a connection of calls goes on without an acknowledgement of what it has
// sent: as long as gRPC waits for the answer to a ping. gRPC sets it only for connections that are
// nothing but TCP.
const unackedCall = 3 * time.Second

// dialCall opens a stream for calls of another member. On one without TLS, the answer of a process
// that takes TLS only, which gRPC does not know, is reported.
func (s *secure) dialCall(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := s.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	network.LimitUnackedTo(conn, unackedCall)
	if _, secure := netconn.TLS(conn); secure {
		return conn, nil
	}
	return &plainCall{Conn: conn, refused: func() {
		if s.refused.Allow(addr) {
			s.log.Error("a member takes streams with TLS only, and this node has none between members (tls.members)", "address", addr)
		}
	}}, nil
}

// plainCall looks at the first byte that a stream without TLS gives. Reads are not concurrent.
type plainCall struct {
	net.Conn
	heard   bool
	refused func()
}

// Read implements net.Conn.
func (c *plainCall) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.heard {
		if c.heard = true; b[0] == peerport.NeedsTLS[0] {
			c.refused()
		}
	}
	return n, err
}

// NetConn returns the stream below, like the method of crypto/tls.Conn.
func (c *plainCall) NetConn() net.Conn { return c.Conn }

// clientPort returns a listener of the connections of clients at one of the public ports, as far as
// there is room for them. It takes over l.
func (n *Node) clientPort(l net.Listener, what, addr string, server func(*nodetls.Store, nodetls.Clients) *nodetls.Server) net.Listener {
	l = n.clients.Listener(l)
	mode := n.cfg.TLS.clients()
	if mode == nodetls.ClientsOff {
		return l
	}
	needs := &sharelock.Error{Err: sharelock.ErrWrongPort, Message: fmt.Sprintf("%s, the %s port of node %s, needs TLS", portOf(addr), what, n.cfg.Name)}
	return server(n.secure.store, mode).Listen(l, func(conn net.Conn) { refuse.Plain(conn, needs) }, n.log)
}

// watch follows changes of the certificate, until ctx ends.
func (s *secure) watch(ctx context.Context) {
	if s.store != nil {
		s.store.Run(ctx)
	}
}

// stats returns counts of the certificates, or the zero value without TLS.
func (s *secure) stats() nodetls.Stats {
	if s.store == nil {
		return nodetls.Stats{}
	}
	return s.store.Stats()
}

// expiry returns when the certificate expires, by its name in metrics; nil without TLS.
func (s *secure) expiry() map[string]time.Time {
	if s.store == nil {
		return nil
	}
	return map[string]time.Time{"node": s.store.Stats().Expires}
}

// announced remembers which peer ports take TLS, as their processes say in gossip: a member that
// gossip has lost for a while is dialed as before. The zero value is ready.
type announced struct {
	mu  sync.Mutex
	tls map[string]bool // by address; guarded by mu
}

// at reports whether the process at an address takes TLS, by the newest of the live processes
// there, or if there is none by what was known before.
func (a *announced) at(addr string, live []gossip.Process) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	var newest ring.Identity
	for _, p := range live {
		who := ringproto.DecodeIdentity(p.Meta.GetIdentity())
		if p.Meta.GetPeer() != addr || newest != (ring.Identity{}) && who.Counter < newest.Counter {
			continue
		}
		if newest = who; a.tls == nil || len(a.tls) >= 2*ring.MaxMembers {
			a.tls = make(map[string]bool)
		}
		a.tls[addr] = p.Meta.GetTls()
	}
	return a.tls[addr]
}
