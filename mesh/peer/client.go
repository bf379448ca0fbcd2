package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Metadata of every call between members: the cluster, the calling process, and the process that is
// meant (A1).
const (
	mdCluster = "sl-cluster-bin"
	mdFrom    = "sl-from"
	mdTo      = "sl-to"
)

// Config is what a Client needs of the process that it calls for.
type Config struct {
	// Self is the calling process; Releases are those that it works with.
	Self     ring.Identity
	Releases release.Range
	// Cluster returns the id of the cluster that the process follows, empty while it follows none.
	Cluster func() []byte
	Views   *epoch.Views
	// Dial opens a stream to the peer port at an address. Options are further options for gRPC's
	// connections.
	Dial    func(ctx context.Context, addr string) (net.Conn, error)
	Options []grpc.DialOption
	// Address returns the peer address of the process with an id, "" if it is not known.
	Address func(id string) string
	// Leader returns the peer address of the leader that granted this process its last lease, or
	// "".
	Leader func() string
	Clock  func() time.Duration
	// Spawn runs a function in a goroutine, or returns false when the process is stopping.
	Spawn func(func()) bool
	Log   *slog.Logger
}

// Client makes this process's calls to other processes, over one connection for each address. It is
// safe for concurrent use.
type Client struct {
	cfg Config
	// reached are the voters that have answered calls of this process (V5), detours the leaving
	// members that have answered through the leader (V6a).
	reached, detours Contacts

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by address; guarded by mu
	done  bool                        // guarded by mu
}

var _ view.Peers = (*Client)(nil)

// New returns a Client. The caller has to call Close.
func New(cfg Config) *Client {
	return &Client{cfg: cfg, conns: map[string]*grpc.ClientConn{}}
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("node is stopped")

// conn returns the connection to an address. It reconnects by itself, with a short backoff: a
// member that comes back is needed within a lease.
func (p *Client) conn(addr string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil, ErrClosed
	}
	if c := p.conns[addr]; c != nil {
		return c, nil
	}
	lease := p.cfg.Views.Lease()
	c, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return p.cfg.Dial(ctx, addr)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: lease / 80, Multiplier: 1.5, Jitter: 0.2, MaxDelay: lease / 5},
			MinConnectTimeout: lease / 4,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rules.MaxPeerMessage)),
	}, p.cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	p.conns[addr] = c
	return c, nil
}

const (
	// The flow-control windows of a stream and a connection, in bytes. They are fixed, because gRPC
	// would otherwise send a ping with every message to estimate them.
	streamWindow = 2 << 20
	connWindow   = 8 << 20
)

// at returns a gRPC client for the process at an address. to is the member that is meant; the zero
// Identity means any process at that address.
func (p *Client) at(ctx context.Context, addr string, to ring.Identity) (context.Context, peerv1.PeerServiceClient, error) {
	ctx, c, err := p.dial(ctx, addr, to)
	if err != nil {
		return nil, nil, err
	}
	return ctx, peerv1.NewPeerServiceClient(c), nil
}

// dial is like at, but returns the connection, for calls by method name.
func (p *Client) dial(ctx context.Context, addr string, to ring.Identity) (context.Context, *grpc.ClientConn, error) {
	c, err := p.conn(addr)
	if err != nil {
		return nil, nil, err
	}
	md := metadata.Pairs(mdFrom, p.cfg.Self.String())
	if id := p.cfg.Cluster(); len(id) > 0 {
		md.Set(mdCluster, string(id))
	}
	if to != (ring.Identity{}) {
		md.Set(mdTo, to.String())
	}
	return metadata.NewOutgoingContext(ctx, md), c, nil
}

// Keep closes the connections to addresses of no member of the view.
func (p *Client) Keep(a *epoch.View) {
	p.mu.Lock()
	// The service may be ahead of a, and may have called new members already.
	if p.done || a.Epoch < a.Service.Epoch() {
		p.mu.Unlock()
		return
	}
	wanted := map[string]bool{}
	for _, m := range a.Members {
		wanted[m.Peer] = true
	}
	var idle []*grpc.ClientConn
	for addr, c := range p.conns {
		if !wanted[addr] {
			idle = append(idle, c)
			delete(p.conns, addr)
		}
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.Close() //nolint:errcheck // only says that it was closed before
	}
}

// Close closes all connections; calls fail from now on.
func (p *Client) Close() {
	p.mu.Lock()
	p.done = true
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close() //nolint:errcheck // only says that it was closed before
	}
}
