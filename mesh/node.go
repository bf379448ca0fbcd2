package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/logbridge"
	"github.com/sgkandale/sharelock/internal/meshhook"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/member"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/peerport"
	"github.com/sgkandale/sharelock/mesh/raftstream"
	"github.com/sgkandale/sharelock/mesh/route"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// Addrs are the addresses under which a node is reached.
type Addrs struct{ HTTP, GRPC, Peer, Gossip string }

// Node is one process of the mesh: it finds the others, agrees with them on the
// view, owns its share of the keys, and takes requests for any key.
//
// New binds all addresses; Start begins; WaitReady tells when it may serve; then
// Stop, which leaves in good order, or Kill. Several nodes may live in one
// program. All methods are safe for concurrent use.
type Node struct {
	// Locker takes the requests of callers; it is the router.
	api.Locker

	cfg     Config
	hooks   meshhook.Hooks
	log     *slog.Logger
	network network.Network
	clock   func() time.Duration
	self    ring.Identity
	addrs   Addrs

	data      *identity.Dir
	promising sync.Mutex    // serialises promises
	seedIndex atomic.Uint32 // as announced
	// replaces are the clusters from which the one that it follows was recovered, nil if none.
	replaces atomic.Pointer[[][]byte]
	// began is when New was called, on clock.
	began     time.Duration
	port      *peerport.Port
	gossip    *gossip.Gossip
	agree     *view.Raft
	peers     *peer.Client
	calls     *peer.Server
	links     *link.Links
	dialBacks *peer.DialBacks
	views     *epoch.Views
	member    *member.Member
	grpc      *api.GRPC
	http      *http.Server
	inner     *grpc.Server
	listeners struct{ http, grpc net.Listener }

	raftStreams *raftstream.Layer
	// double: another live process uses this one's data directory and has its place, so
	// this one takes no part in Raft (V3).
	double atomic.Bool

	// served is closed when this node has been ready once since it started.
	served chan struct{}

	router *route.Router
	// callers are the members whose own calls have come (V5).
	callers peer.Contacts
	named   named
	stalls  stalls
	leads   atomic.Pointer[view.Leader]
	// leadMemory passes from one leadership of this process to the next.
	leadMemory view.Memory
	tasks      tasks
	// telling are the members that are being told of holds that were taken away.
	telling room
	// ctx ends when the node stops; stopping is its Done channel.
	ctx      context.Context //nolint:containedctx // the lifetime of the node
	cancel   context.CancelFunc
	stopping <-chan struct{}
	// draining is closed when waiting calls are sent away to other nodes.
	draining chan struct{}
	leaseTo  chan struct{}

	mu       sync.Mutex
	cleanups []cleanup // guarded by mu
	err      error     // guarded by mu
	done     chan struct{}
	ended    sync.Once
	drain    sync.Once
	leave    sync.Once
	retired  sync.Once
}

var _ api.Node = (*Node)(nil)

// cleanup is one named step of stopping; the last one registered runs first.
type cleanup struct {
	name string
	fn   func() error
}

// New makes a node: it checks the configuration, opens and locks the data
// directory, and binds all addresses. The node does nothing until Start.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, network: cfg.Network, clock: cfg.Clock,
		served: make(chan struct{}), draining: make(chan struct{}), leaseTo: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.network == nil {
		n.network = network.System{}
	}
	if n.clock == nil {
		n.clock = clock.System()
	}
	if cfg.Hooks != nil {
		n.hooks = *cfg.Hooks
	}
	n.log = n.log.With("node", cfg.Name)
	n.began = n.clock()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.stopping = n.ctx.Done()
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *Node) onClose(name string, fn func() error) {
	n.mu.Lock()
	n.cleanups = append(n.cleanups, cleanup{name, fn})
	n.mu.Unlock()
}

// open takes everything that can fail: the data directory and the addresses.
func (n *Node) open() error {
	n.onClose("tasks", func() error { n.tasks.close(); return nil })
	var err error
	if n.data, err = identity.Open(n.cfg.DataDir, n.program()); err != nil {
		return err
	}
	n.onClose("data directory", n.data.Close)
	n.self = n.data.Identity()
	lease, known := n.cfg.Lease, false
	if name, fixed := n.data.Cluster(); name != "" {
		if name != n.cfg.Cluster {
			return fmt.Errorf("mesh.cluster is %q, but the data directory %s belongs to the cluster %q", n.cfg.Cluster, n.data.Path(), name)
		}
		lease, known = fixed, true
	}
	if _, _, follows := n.data.Promise(); !follows && len(n.cfg.Seeds) == 0 && !n.cfg.Found {
		return errors.New("mesh.seeds is empty: name the seeds, or found a cluster of one with --found")
	}
	if err := n.bind(); err != nil {
		return err
	}
	n.views = epoch.New(epoch.Config{Follow: n.followCluster, Fits: n.fits, Lease: n.cfg.Lease, Log: n.log})
	n.peers = peer.New(peer.Config{
		Self: n.self, Releases: n.program(), Cluster: n.clusterID, Views: n.views, Dial: n.network.Dial, Options: n.hooks.Calls,
		Address: n.addressOf, Leader: n.leaderAtWork, Clock: n.clock, Spawn: n.tasks.Go, Log: n.log,
	})
	n.onClose("peers", func() error { n.peers.Close(); return nil })
	n.dialBacks = peer.NewDialBacks(n.dialBack, n.clock, n.log)
	n.links = link.New(link.Config{
		Self: n.self, Cluster: n.clusterID, Releases: n.program(), Dial: n.network.Dial, Wrap: n.hooks.Links,
		Views: n.views, Clock: n.clock, Spawn: n.tasks.Go, Context: n.ctx, Log: n.log,
	})
	n.onClose("links", func() error { n.links.Close(); return nil })
	n.router = route.New(route.Config{
		Self: n.self, Views: n.views, Links: n.links, Clock: n.clock,
		Limits: sharelock.Limits{DefaultTTL: n.cfg.DefaultTTL, MaxTTL: n.cfg.MaxTTL, DefaultWait: n.cfg.DefaultWait, MaxWait: n.cfg.MaxWait},
		Ready:  n.Ready, AwaitStart: n.awaitStart, StartPatience: n.startPatience(), Leaving: n.draining, List: n.peers.List,
		Spawn: n.tasks.Go, Context: n.ctx, Log: n.log,
	})
	n.Locker = n.router
	if n.cfg.Recover {
		if err := n.recoverMesh(); err != nil {
			return err
		}
	}
	if err := n.checkRecords(); err != nil {
		return err
	}
	n.raftStreams = raftstream.New(raftstream.Config{
		Listener: n.port.Listener(raftstream.Magic), Dial: n.network.Dial, Cluster: n.clusterID, Address: n.raftAddressOf, Self: n.self.ID,
	})
	raftLog := logbridge.NewHCLog(n.log.With("part", "raft"))
	n.agree, err = view.Start(view.Config{
		ID: n.self.ID, Dir: n.data.RaftDir(), SyncDir: identity.SyncDir, Lease: lease, LeaseKnown: known, Layer: n.raftStreams, Log: n.log, RaftLog: raftLog,
		Unknown: n.outdated, Fault: n.hooks.Disk, Program: n.program(),
	})
	if err != nil {
		return errors.Join(err, n.raftStreams.Close())
	}
	n.onClose("agreement", func() error {
		raftLog.Silence() // it reports every stream that is closed with it
		return n.agree.Close()
	})
	n.member = member.New(member.Config{
		Self: n.asMember(), Releases: n.program(), Volatile: n.data.Volatile(), Views: n.views, Calls: n.peers, Raft: n.agree,
		Processes: n.gossip.Processes, Address: n.addressOf, Complaints: n.complaints, Claims: n.claims, Doubled: n.doubled,
		LostMajority: n.lostMajority, Leased: n.leaseChanged, Clock: n.clock, Log: n.log,
	})
	return nil
}

// checkRecords refuses a data directory that has lost Raft's records, but not its
// identity: this process may have voted, and would not know how (protocol,
// assumptions).
func (n *Node) checkRecords() error {
	if _, founder, follows := n.data.Promise(); !follows || founder != (ring.Identity{}) || n.data.RaftDir() == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(n.data.RaftDir(), view.LogFile)); err != nil {
		return fmt.Errorf("the data directory has lost the records of its votes, so it must not be used any more; start with an empty one: %w", err)
	}
	return nil
}

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
	n.port = peerport.New(peer, n.log, n.peerProtocols()...)
	n.onClose("peer port", n.port.Close)
	n.gossip, err = gossip.Start(gossip.Config{
		Meta: n.meta(), Listen: n.cfg.GossipListen, Advertise: n.cfg.GossipAdvertise, Seeds: n.cfg.Seeds,
		Unit: n.cfg.Lease / 4, Network: n.network, Log: n.log.With("part", "gossip"),
	})
	if err != nil {
		return err
	}
	n.onClose("gossip", n.gossip.Close)
	n.addrs.Gossip = n.gossip.Addr()
	n.announce() // its place among the seeds is known only now
	return nil
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

// Start serves all ports and looks for the mesh. It does not wait: see WaitReady.
func (n *Node) Start() error {
	n.calls = peer.NewServer(peer.ServerConfig{
		Self: n.self, Releases: n.program(), Cluster: n.clusterID, Promise: n.promise, Views: n.views, Callers: &n.callers, Clock: n.clock,
		DialBack: n.dialBacks.Check, Raft: n.agree, Double: n.double.Load, Leading: n.leading, Leader: n.leaderAddr, Voters: n.voters,
		Silent: func(silent ring.Identity) { n.named.note(silent, n.clock()) }, Forced: n.router.Forced, Log: n.log,
	})
	n.inner = n.calls.GRPC(grpc.UnknownServiceHandler(api.WrongPort(n.wrongPeerPort())), grpc.ConnectionTimeout(2*peerport.HelloTimeout))
	n.serve("peer", func() error { return n.inner.Serve(n.port.Rest()) })
	n.onClose("peer server", func() error { n.inner.Stop(); return nil })
	n.serve("links", func() error { return n.links.Serve(n.port.Listener(link.Magic)) })

	httpWrong := n.wrongPort("HTTP", n.addrs.HTTP)
	o := api.Options{Logger: n.log, Reflection: n.cfg.Reflection, MaxWait: n.cfg.MaxWait, WrongPort: httpWrong}
	n.grpc, n.http = api.NewGRPC(n, o), api.NewHTTP(n, o)
	n.serve("gRPC", func() error { return n.grpc.Serve(n.listeners.grpc) })
	n.onClose("gRPC server", func() error { n.grpc.Stop(); return nil })
	n.serve("HTTP", func() error { return n.http.Serve(api.RefuseSessions(n.listeners.http, httpWrong)) })
	n.onClose("HTTP server", n.http.Close)

	n.tasks.Go(func() { n.watchViews(n.ctx) })
	n.tasks.Go(func() { n.watchStart(n.ctx) })
	n.tasks.Go(func() { n.watchLeadership(n.ctx) })
	n.tasks.Go(func() { n.birth(n.ctx) })
	n.tasks.Go(func() { n.watchReplaced(n.ctx) })
	n.tasks.Go(func() { n.watchDisk(n.ctx) })
	n.tasks.Go(func() { n.router.Run(n.ctx) })
	n.tasks.Go(func() { n.greet(n.ctx) })
	n.tasks.Go(func() { peer.Collect(n.ctx, n.peers, n.calls) })
	n.tasks.Go(func() {
		// A node that has left goes on answering until Leave or Stop ends it.
		if err := n.member.Run(n.ctx); err != nil && n.ctx.Err() == nil {
			n.end(err)
		}
	})
	return nil
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
			err := api.RefuseSession(conn, n.wrongPeerPort())
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

// serve runs a server until it ends; ending before the node stops ends the node.
func (n *Node) serve(what string, fn func() error) {
	n.tasks.Go(func() {
		err := fn()
		if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) && n.ctx.Err() == nil {
			n.end(fmt.Errorf("%s server: %w", what, err))
		}
	})
}

// followCluster makes the service when the first view of a cluster comes.
func (n *Node) followCluster(s view.State) (*owner.Service, error) {
	if s.Cluster.GetName() != n.cfg.Cluster {
		return nil, fmt.Errorf("%w: its name is %q", epoch.ErrOtherCluster, s.Cluster.GetName())
	}
	if old := s.Cluster.GetReplaces(); len(old) > 0 {
		n.replaces.Store(&old)
		n.announce()
	}
	if err := n.promise(s.Cluster.GetId(), ring.Identity{}); err != nil {
		return nil, err
	}
	c := s.Constants()
	n.reportConstants(c)
	if has := s.View().Release; n.ownRelease() < has {
		n.log.Warn("mesh.hold_release has no effect: the view's release never falls", "configured", n.cfg.HoldRelease, "used", has)
	}
	if err := n.agree.Begin(c.Lease()); err != nil {
		if n.ctx.Err() == nil {
			n.end(err)
		}
		return nil, err
	}
	if err := n.data.SetCluster(c.GetName(), c.Lease()); err != nil {
		n.log.Error("cannot write the cluster's name and lease to the data directory: is the disk full?", "error", err)
	}
	service := owner.NewService(owner.Config{
		Self: n.self, Name: n.cfg.Name, Partitions: c.Partitions(), MaxTTL: c.MaxTTL(), MaxHold: n.cfg.MaxHold,
		MaxWaiters: n.cfg.MaxWaitersPerKey, MaxLocks: n.cfg.MaxLocks,
		Shards: 2 * runtime.GOMAXPROCS(0), Clock: n.clock, Peers: ownerPeers{n.peers, n.links}, Log: n.log, Forced: n.tellForced, Pause: n.hooks.Pause,
		Unknown: n.retire,
	})
	n.onClose("service", func() error { service.Stop(); return nil })
	return service, nil
}

// ownerPeers is what an owner asks of other members: by calls, and over links.
type ownerPeers struct {
	*peer.Client
	links *link.Links
}

var _ owner.Peers = ownerPeers{}

// Replicate implements owner.Peers.
func (p ownerPeers) Replicate(to ring.Member, epoch uint32, entries []owner.Entries) {
	p.links.Replicate(to, epoch, entries)
}

// reportConstants says once where the file differs from what was fixed at the
// cluster's birth.
func (n *Node) reportConstants(c view.Constants) {
	for _, k := range []struct {
		key         string
		file, fixed any
	}{
		{"mesh.lease", n.cfg.Lease, c.Lease()},
		{"ring.partitions", n.cfg.Partitions, c.Partitions()},
		{"ring.replicas", n.cfg.Replicas, int(c.GetReplicas())},
		{"locks.max_ttl", n.cfg.MaxTTL, c.MaxTTL()},
	} {
		if k.file != k.fixed {
			n.log.Warn("the configuration differs from the values that were fixed when the cluster was founded; those are used",
				"key", k.key, "configured", k.file, "used", k.fixed)
		}
	}
}

// lease is the length of a view lease.
func (n *Node) lease() time.Duration { return n.views.Lease() }

func (n *Node) epoch() uint32 { return n.views.Epoch() }

func (n *Node) asMember() ring.Member {
	return ring.Member{
		Identity: n.self, Name: n.cfg.Name,
		Peer: n.addrs.Peer, Gossip: n.addrs.Gossip, HTTP: n.addrs.HTTP, GRPC: n.addrs.GRPC,
		Release: n.program().Newest, Hold: n.cfg.HoldRelease,
	}
}

// addressOf is the peer address of the process with this id, or "": of the member of the
// view while gossip knows it alive, since a later run may be a copy of its data directory
// (V3); else of the newest run.
func (n *Node) addressOf(id string) string {
	if id == n.self.ID {
		return n.addrs.Peer
	}
	var member ring.Member
	if a := n.views.Now(); a != nil {
		member, _ = a.FindID(id)
	}
	addr, counter := member.Peer, member.Counter
	for _, g := range n.gossip.Processes() {
		who := ringproto.DecodeIdentity(g.Meta.GetIdentity())
		switch {
		case who.ID != id:
		case who == member.Identity:
			return member.Peer
		case who.Counter >= counter:
			addr, counter = g.Meta.GetPeer(), who.Counter
		}
	}
	return addr
}

// raftAddressOf is addressOf for Raft's streams, which a double does not open.
func (n *Node) raftAddressOf(id string) string {
	if n.double.Load() {
		return ""
	}
	return n.addressOf(id)
}

// doubled keeps this process out of Raft while another one has its place, or lets it take
// part again (V3): two processes that vote with one id could elect two leaders.
func (n *Node) doubled(is bool) {
	if n.double.Swap(is) != is && is {
		n.raftStreams.HangUp()
	}
}

// leaderAddr is the peer address of the leader, or "".
func (n *Node) leaderAddr() string {
	if id := n.agree.Leader(); id != "" {
		return n.addressOf(id)
	}
	return n.member.Hint()
}

// leaderAtWork is the peer address of the leader that gave this process its last lease,
// else of who is said to lead, or "".
func (n *Node) leaderAtWork() string {
	if n.leading() != nil {
		return n.addrs.Peer
	}
	if id := n.member.Leader(); id != "" {
		if addr := n.addressOf(id); addr != "" {
			return addr
		}
	}
	return n.leaderAddr()
}

// leaseChanged wakes WaitReady.
func (n *Node) leaseChanged() {
	select {
	case n.leaseTo <- struct{}{}:
	default:
	}
}

// watchViews installs what Raft has agreed on, and keeps the connections in step
// with the view.
func (n *Node) watchViews(ctx context.Context) {
	for {
		changed := n.views.Changed()
		if a := n.views.Now(); a != nil {
			n.links.Keep(a)
			n.peers.Keep(a)
			n.dialBacks.Keep(a.View)
			known := make([]string, 0, len(a.Members))
			for _, m := range a.Members {
				known = append(known, m.Gossip)
			}
			n.gossip.SetKnown(known)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-n.agree.Changed():
			if err := n.views.Offer(n.agree.State()); err != nil {
				n.log.Error("view refused", "error", err)
			}
		}
	}
}

// dialBack opens a link to a process and calls it, both at once, as members do that ask
// it, sync it and forward to it.
func (n *Node) dialBack(ctx context.Context, m ring.Member) error {
	ctx, cancel := context.WithTimeout(ctx, n.lease()/5) // the prober waits for lease/4
	defer cancel()
	var linked, called error
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.links.Try(ctx, m); err != nil {
			linked = fmt.Errorf("link: %w", err)
		}
	})
	wg.Go(func() {
		if _, err := n.peers.Probe(ctx, m, nil); err != nil {
			called = fmt.Errorf("gRPC: %w", err)
		}
	})
	wg.Wait()
	return errors.Join(linked, called)
}
