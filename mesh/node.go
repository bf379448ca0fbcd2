package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/connlimit"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/logbridge"
	"github.com/sgkandale/sharelock/internal/meshhook"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/nodetls"
	"github.com/sgkandale/sharelock/internal/quota"
	"github.com/sgkandale/sharelock/internal/share"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/authfiles"
	"github.com/sgkandale/sharelock/mesh/census"
	"github.com/sgkandale/sharelock/mesh/condition"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/greeting"
	"github.com/sgkandale/sharelock/mesh/history"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/member"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/peerport"
	"github.com/sgkandale/sharelock/mesh/raftstream"
	"github.com/sgkandale/sharelock/mesh/route"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/mesh/watch"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/ring"
	"google.golang.org/grpc"
)

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

	lifetime
	ports
	opsPorts opsPorts
	promises

	secure secure
	// clients bounds the connections of clients.
	clients *connlimit.Limit
	data    *identity.Dir
	keys    gossipKeys
	// began is when New was called, on clock.
	began     time.Duration
	gossip    *gossip.Gossip
	agree     *view.Raft
	peers     *peer.Client
	census    *census.Census
	calls     *peer.Server
	links     *link.Links
	dialBacks *peer.DialBacks
	views     *epoch.Views
	member    *member.Member

	raftStreams *raftstream.Layer
	// double: another live process uses this one's data directory and has its place, so
	// this one takes no part in Raft (V3).
	double atomic.Bool

	// served is closed when this node has been ready once since it started.
	served chan struct{}

	router     *route.Router
	callCounts *metrics.Calls
	tracer     *trace.Tracer // nil if requests are not traced
	watches    *watch.Hub
	// journal records what this member applies; nil if that is off. history asks all members.
	journal    *journal.Journal
	history    *history.History
	greeter    greeting.Greeter
	named      greeting.Named
	stalls     stalls
	leadership leadership
	conditions *condition.Tracker
	// auth knows the principals; nil if callers are not authenticated.
	auth *auth.Authority
	// authFiles compares the auth files of the members.
	authFiles *authfiles.Watch
	// telling are the members that are being told of holds that were taken away.
	telling room
	// draining is closed when waiting calls are sent away to other nodes.
	draining chan struct{}
	// leased wakes WaitReady.
	leased wake.Signal

	drain   sync.Once
	leave   sync.Once
	retired sync.Once
}

var _ api.Node = (*Node)(nil)

// New makes a node: it checks the configuration, opens and locks the data
// directory, and binds all addresses. The node does nothing until Start.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, network: cfg.Network, clock: cfg.Clock,
		served: make(chan struct{}), draining: make(chan struct{}), leased: wake.New(),
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
	n.tracer = trace.New(cfg.TracerProvider, cfg.TraceKeys)
	n.log = n.log.With("node", cfg.Name)
	n.conditions = condition.NewTracker(n.log, n.cfg.Trouble)
	n.began = n.clock()
	n.lifetime.begin()
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// open takes everything that can fail: the data directory and the addresses.
func (n *Node) open() error {
	n.onClose("tasks", func() error { n.tasks.close(); return nil })
	var err error
	if n.data, err = identity.Open(n.cfg.DataDir, n.program()); err != nil {
		return err
	}
	n.onClose("data directory", n.data.Close)
	if n.auth, err = openAuth(n.cfg.Auth, n.cfg.Audit, n.log); err != nil {
		return err
	}
	n.authFiles = n.compareAuth()
	n.self = n.data.Identity()
	if err := n.openHistory(); err != nil {
		return err
	}
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
	if err := n.openKeys(); err != nil {
		return err
	}
	if err := errors.Join(n.checkExposure(n.ctx, n.keys.required()), n.secure.open(&n.cfg, n.network.Dial, func() []gossip.Process { return n.gossip.Processes() }, n.log)); err != nil {
		return err
	}
	if err := n.bind(); err != nil {
		return err
	}
	if err := n.bindOps(); err != nil {
		return err
	}
	if n.cfg.Metrics {
		n.callCounts = metrics.NewCalls()
	}
	n.views = epoch.New(epoch.Config{Follow: n.followCluster, Fits: n.fits, Lease: n.cfg.Lease, Log: n.log})
	n.peers = peer.New(peer.Config{
		Self: n.self, Releases: n.program(), Cluster: n.clusterID, Views: n.views, Dial: n.secure.dialCall, Options: n.hooks.Calls,
		Address: n.addressOf, Leader: n.leaderAtWork, Clock: n.clock, Spawn: n.tasks.Go, Log: n.log,
	})
	n.openKeyring()
	n.onClose("peers", func() error { n.peers.Close(); return nil })
	n.dialBacks = peer.NewDialBacks(n.dialBack, n.clock, n.log)
	n.census = census.New(census.Config{Self: n.self, Views: n.views, Ask: n.peers.Usage, Spawn: n.tasks.Go, Context: n.ctx})
	n.links = link.New(link.Config{
		Self: n.self, Cluster: n.clusterID, Releases: n.program(), Dial: n.secure.dial, Wrap: n.hooks.Links,
		Views: n.views, Clock: n.clock, Spawn: n.tasks.Go, Context: n.ctx, Log: n.log,
	})
	n.onClose("links", func() error { n.links.Close(); return nil })
	n.router = route.New(route.Config{
		Self: n.self, Views: n.views, Links: n.links, Clock: n.clock,
		Limits: sharelock.Limits{DefaultTTL: n.cfg.DefaultTTL, MaxTTL: n.cfg.MaxTTL, DefaultWait: n.cfg.DefaultWait, MaxWait: n.cfg.MaxWait},
		Ready:  n.Ready, AwaitStart: n.awaitStart, StartPatience: n.startPatience(), Leaving: n.draining, List: n.peers.List,
		Spawn: n.tasks.Go, Context: n.ctx, Log: n.log, Calls: n.callCounts, Tracer: n.tracer,
	})
	n.Locker = n.router
	n.history = n.newHistory()
	n.watches = watch.New(watch.Config{
		Self: n.self, Views: n.views, Open: func(m ring.Member) watch.Source { return n.peers.Feed(m) }, Ready: n.Ready,
		AwaitStart: func(ctx context.Context) { n.awaitStart(ctx, n.startPatience()) }, Leaving: n.draining,
		Host: func(ctx context.Context) string { return share.Host(remote.Addr(ctx)) }, Spawn: n.tasks.Go, Context: n.ctx,
	})
	if n.cfg.Recover {
		if err := n.recoverMesh(); err != nil {
			return err
		}
	}
	if err := n.checkRecords(); err != nil {
		return err
	}
	n.raftStreams = raftstream.New(raftstream.Config{
		Listener: n.peer.Listener(raftstream.Magic), Dial: n.secure.dial, Cluster: n.clusterID, Address: n.raftAddressOf, Self: n.self.ID,
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
	n.greeter = greeting.Greeter{
		Self: n.self, Views: n.views, Peers: n.peers, Raft: n.agree, Voters: n.votersToCall, Clock: n.clock, Spawn: n.tasks.Go, Log: n.log,
	}
	n.leadership = leadership{agree: n.agree, config: n.leaderConfig, lease: n.lease, spawn: n.tasks.Go, log: n.log}
	n.member = member.New(member.Config{
		Self: n.asMember(), Releases: n.program(), Volatile: n.data.Volatile(), Views: n.views, Calls: n.peers, Raft: n.agree,
		Processes: n.gossip.Processes, Address: n.addressOf, Complaints: n.complaints, Claims: n.greeter.Claims, Doubled: n.doubled,
		Leased: n.leased.Set, Clock: n.clock, Log: n.log,
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

// Start serves all ports and looks for the mesh. It does not wait: see WaitReady.
func (n *Node) Start() error {
	n.calls = peer.NewServer(peer.ServerConfig{
		Self: n.self, Releases: n.program(), Cluster: n.clusterID, Promise: n.promise, Views: n.views, Callers: &n.greeter.Callers, Clock: n.clock,
		DialBack: n.dialBacks.Check, Raft: n.agree, Double: n.double.Load, Abstains: n.abstains, Leading: n.leadership.now, Leader: n.leaderAddr, Voters: n.voters,
		Silent: func(silent ring.Identity) { n.named.Note(silent, n.clock()) }, Forced: n.router.Forced, Keyring: n.keys.own.Do, History: n.searchHistory(), Log: n.log,
	})
	n.inner = n.calls.GRPC(grpc.UnknownServiceHandler(refuse.Calls(n.wrongPeerPort())), grpc.ConnectionTimeout(2*peerport.HelloTimeout))
	n.serve("peer", func() error { return n.inner.Serve(n.peer.Rest()) })
	n.onClose("peer server", func() error { n.inner.Stop(); return nil })
	n.serve("links", func() error { return n.links.Serve(n.peer.Listener(link.Magic)) })

	httpWrong := n.wrongPort("HTTP", n.addrs.HTTP)
	shown, err := n.metricsHandler()
	if err != nil {
		return err
	}
	o := api.Options{
		Logger:     n.log,
		Reflection: n.cfg.Reflection,
		Dashboard:  n.cfg.Dashboard,
		MaxWait:    n.cfg.MaxWait,
		WrongPort:  httpWrong,
		TLS:        n.cfg.TLS.clients() != nodetls.ClientsOff,
		Audit:      n.cfg.Audit,
		Quotas:     quota.New(n.clock),
		Level:      n.cfg.LogLevel,
		Debug:      n.debugFiles,
		Auth:       n.auth,
		Metrics:    shown,
		Calls:      n.callCounts,
		Traces:     n.tracer != nil,
	}
	n.serveOps(o)
	o.MaxSessions = n.cfg.MaxSessions
	n.grpc, n.http = api.NewGRPC(n, o), api.NewHTTP(n, o)
	n.clients = connlimit.New(n.cfg.MaxConnections, n.log)
	grpcPort := n.clientPort(n.listeners.grpc, "gRPC", n.addrs.GRPC, (*nodetls.Store).GRPC)
	httpPort := n.clientPort(n.listeners.http, "HTTP", n.addrs.HTTP, (*nodetls.Store).HTTP)
	n.serve("gRPC", func() error { return n.grpc.Serve(grpcPort) })
	n.onClose("gRPC server", func() error { n.grpc.Stop(); return nil })
	n.serve("HTTP", func() error { return n.http.Serve(refuse.Sessions(httpPort, httpWrong)) })
	n.onClose("HTTP server", n.http.Close)

	if n.auth != nil {
		n.tasks.Go(func() { n.auth.Run(n.ctx) })
		n.tasks.Go(func() { n.authFiles.Run(n.ctx) })
	}
	n.tasks.Go(func() { n.watchViews(n.ctx) })
	n.tasks.Go(func() { n.watchStart(n.ctx) })
	n.tasks.Go(func() { n.watchConditions(n.ctx) })
	n.tasks.Go(func() { n.leadership.watch(n.ctx) })
	n.tasks.Go(func() { n.founder().Run(n.ctx) })
	n.tasks.Go(func() { n.watchReplaced(n.ctx) })
	if !n.data.Volatile() {
		n.tasks.Go(func() { watchDisk(n.ctx, n.agree, n.lease) })
	}
	n.tasks.Go(func() { n.secure.watch(n.ctx) })
	n.tasks.Go(func() { n.cfg.TLS.warnOfMigration(n.ctx, n.log) })
	n.tasks.Go(func() { n.keys.own.Run(n.ctx) })
	n.tasks.Go(func() { n.keys.all.CatchUp(n.ctx) })
	n.tasks.Go(func() { n.router.Run(n.ctx) })
	n.tasks.Go(func() { n.watches.Run(n.ctx) })
	n.tasks.Go(func() { n.greeter.Run(n.ctx) })
	n.tasks.Go(func() { peer.Collect(n.ctx, n.peers, n.calls) })
	n.tasks.Go(func() {
		// A node that has left goes on answering until Leave or Stop ends it.
		if err := n.member.Run(n.ctx); err != nil && n.ctx.Err() == nil {
			n.end(err)
		}
	})
	return nil
}

// Watch implements api.Watcher.
func (n *Node) Watch(ctx context.Context, r sharelock.WatchRequest, send func([]*event.Event) error) error {
	return n.watches.Watch(ctx, r, send)
}

// lease is the length of a view lease.
func (n *Node) lease() time.Duration { return n.views.Lease() }

func (n *Node) epoch() uint32 { return n.views.Epoch() }

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
