package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Metadata of every call between members: which cluster, who calls, and which
// process is meant (A1).
const (
	mdCluster = "sl-cluster-bin"
	mdFrom    = "sl-from"
	mdTo      = "sl-to"
)

// peers are the connections to other processes, and what this one asks of them.
// Safe for concurrent use.
type peers struct {
	node *Node

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by address; guarded by mu
	done  bool                        // guarded by mu
}

var _ owner.Peers = (*peers)(nil)

func newPeers(n *Node) *peers {
	return &peers{node: n, conns: map[string]*grpc.ClientConn{}}
}

// errClosed: this node has stopped.
var errClosed = errors.New("node is stopped")

// conn gives the connection to an address. It reconnects by itself, fast: a
// member that comes back is needed within a lease.
func (p *peers) conn(addr string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil, errClosed
	}
	if c := p.conns[addr]; c != nil {
		return c, nil
	}
	lease := p.node.lease()
	c, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return p.node.network.Dial(ctx, addr)
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
	}, p.node.cfg.PeerDial...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	p.conns[addr] = c
	return c, nil
}

const (
	// What a stream and a connection may have under way, in bytes. Fixed, because gRPC
	// would ping with every message to find out what they could be.
	streamWindow = 2 << 20
	connWindow   = 8 << 20
)

// at is a client for the process at an address. to is the member that is meant;
// the zero identity means whoever is there.
func (p *peers) at(ctx context.Context, addr string, to ring.Identity) (context.Context, peerv1.PeerServiceClient, error) {
	ctx, c, err := p.dial(ctx, addr, to)
	if err != nil {
		return nil, nil, err
	}
	return ctx, peerv1.NewPeerServiceClient(c), nil
}

// dial is at for calls by the name of their method.
func (p *peers) dial(ctx context.Context, addr string, to ring.Identity) (context.Context, *grpc.ClientConn, error) {
	c, err := p.conn(addr)
	if err != nil {
		return nil, nil, err
	}
	md := metadata.Pairs(mdFrom, p.node.self.String())
	if id := p.node.clusterID(); len(id) > 0 {
		md.Set(mdCluster, string(id))
	}
	if to != (ring.Identity{}) {
		md.Set(mdTo, to.String())
	}
	return metadata.NewOutgoingContext(ctx, md), c, nil
}

func (p *peers) renew(ctx context.Context, addr string, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	return c.Renew(ctx, req)
}

func (p *peers) join(ctx context.Context, addr string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	return c.Join(ctx, req)
}

func (p *peers) promise(ctx context.Context, addr string, to ring.Identity, req *peerv1.PromiseRequest) (*peerv1.PromiseResponse, error) {
	ctx, c, err := p.at(ctx, addr, to)
	if err != nil {
		return nil, err
	}
	return c.Promise(ctx, req)
}

// probe asks a process for its answer; joiner, if it is not nil, is to be dialled back
// first (V3).
func (p *peers) probe(ctx context.Context, m ring.Member, joiner *peerv1.Member) (*peerv1.ProbeResponse, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return nil, err
	}
	req := p.node.ownProbe()
	req.Member = joiner
	resp, err := c.Probe(ctx, req)
	if err == nil {
		err = p.node.speaks(resp)
	}
	return resp, err
}

// clusterOf asks a process which cluster it follows; empty is none.
func (p *peers) clusterOf(ctx context.Context, addr string, to ring.Identity) ([]byte, error) {
	ctx, c, err := p.at(ctx, addr, to)
	if err != nil {
		return nil, err
	}
	resp, err := c.Probe(ctx, p.node.ownProbe())
	if err == nil {
		err = p.node.speaks(resp)
	}
	return resp.GetClusterId(), err
}

// term asks the voter with this id for its Raft term.
func (p *peers) term(ctx context.Context, voter string) (*peerv1.TermResponse, error) {
	addr := p.node.addressOf(voter)
	if addr == "" {
		return nil, fmt.Errorf("no address of voter %s is known", voter)
	}
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	resp, err := c.Term(ctx, &peerv1.TermRequest{Voter: voter})
	if err == nil {
		p.node.reached.note(voter, p.node.clock())
	}
	return resp, err
}

// greet calls the voter with this id for no other reason than to reach it (V5).
func (p *peers) greet(ctx context.Context, voter string) error {
	addr := p.node.addressOf(voter)
	if addr == "" {
		return fmt.Errorf("no address of voter %s is known", voter)
	}
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return err
	}
	if _, err = c.Greet(ctx, &peerv1.GreetRequest{}); err == nil {
		p.node.reached.note(voter, p.node.clock())
	}
	return err
}

// takeOver tells the voter with this id for whose silence it is handed leadership (V5).
func (p *peers) takeOver(ctx context.Context, voter string, term uint64, silent ring.Identity) error {
	addr := p.node.addressOf(voter)
	if addr == "" {
		return fmt.Errorf("no address of voter %s is known", voter)
	}
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err == nil {
		_, err = c.TakeOver(ctx, &peerv1.TakeOverRequest{Silent: ringproto.EncodeIdentity(silent), Term: term})
	}
	return err
}

// relay asks the leader to pass a call on (V6a).
func (p *peers) relay(ctx context.Context, req *peerv1.RelayRequest) (*peerv1.RelayResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.node.lease())
	defer cancel()
	ctx, c, err := p.atLeader(ctx)
	if err != nil {
		return nil, err
	}
	return c.Relay(ctx, req)
}

// collect brings replies to the leader and takes what others ask (V6a).
func (p *peers) collect(ctx context.Context, req *peerv1.CollectRequest) (*peerv1.CollectResponse, error) {
	ctx, c, err := p.atLeader(ctx)
	if err != nil {
		return nil, err
	}
	return c.Collect(ctx, req)
}

// errNoLeader: it is not known who leads.
var errNoLeader = errors.New("no leader is known")

func (p *peers) atLeader(ctx context.Context) (context.Context, peerv1.PeerServiceClient, error) {
	addr := p.node.leaderAtWork()
	if addr == "" {
		return nil, nil, errNoLeader
	}
	return p.at(ctx, addr, ring.Identity{})
}

func (p *peers) install(ctx context.Context, m ring.Member, s view.State) error {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err == nil {
		_, err = c.Install(ctx, &peerv1.InstallRequest{History: view.StateToProto(s)})
	}
	return err
}

// bringUp makes a member that is behind install this node's view, as A1 wants it
// before it handles the message. It fails with owner.ErrBehind if it is this node
// that is behind.
func (p *peers) bringUp(ctx context.Context, m ring.Member, theirs uint32) error {
	a := p.node.views.Now()
	if a == nil || theirs >= a.Epoch { // an activation may be ahead of views.now
		return owner.ErrBehind
	}
	return p.install(ctx, m, a.State)
}

// refusal marks errors with which a member answered, in contrast to those that say
// that none came (V6).
func refusal(err error) error {
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return err
	case codes.Aborted: // it is in another epoch
		return fmt.Errorf("%w: %w", owner.ErrBehind, err)
	default:
		return fmt.Errorf("%w: %w", owner.ErrRefused, err)
	}
}

// Ask implements owner.Peers.
func (p *peers) Ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]owner.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, p.node.lease())
	defer cancel()
	var held []owner.Held
	// What is relayed has a bound (V6a).
	for part := range slices.Chunk(partitions, askedAtOnce) {
		got, err := p.ask(ctx, to, epoch, part)
		if err != nil {
			return nil, err
		}
		held = append(held, got...)
	}
	return held, nil
}

// askedAtOnce is the most partitions in one Ask or Active: what a member holds of them
// fits into a parcel.
const askedAtOnce = 8192

func (p *peers) ask(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) ([]owner.Held, error) {
	for {
		resp := &peerv1.AskResponse{}
		req := &peerv1.AskRequest{Epoch: epoch, Partitions: partitions}
		if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Ask_FullMethodName, req, resp); err != nil {
			return nil, refusal(err)
		}
		if resp.GetEpoch() == epoch {
			return heldFromProto(resp.GetHeld()), nil
		}
		if err := p.bringUp(ctx, to, resp.GetEpoch()); err != nil {
			return nil, err
		}
	}
}

// Fetch implements owner.Peers.
func (p *peers) Fetch(ctx context.Context, to ring.Member, epoch uint32, wants []owner.Want) ([]owner.Piece, error) {
	ctx, cancel := context.WithTimeout(ctx, p.node.lease())
	defer cancel()
	resp := &peerv1.FetchResponse{}
	req := &peerv1.FetchRequest{Epoch: epoch, Wants: wantsToProto(wants)}
	if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Fetch_FullMethodName, req, resp); err != nil {
		return nil, refusal(err)
	}
	if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
		return nil, err
	}
	return piecesFromProto(resp.GetPieces()), nil
}

// Sync implements owner.Peers.
func (p *peers) Sync(ctx context.Context, to ring.Member, epoch uint32, bases []owner.Base) ([]owner.Taken, error) {
	ctx, cancel := context.WithTimeout(ctx, p.node.lease())
	defer cancel()
	out, c, err := p.at(ctx, to.Peer, to.Identity)
	if err != nil {
		return nil, err
	}
	resp, err := c.Sync(out, &peerv1.SyncRequest{Epoch: epoch, Bases: basesToProto(bases)})
	if err != nil {
		return nil, refusal(err)
	}
	if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
		return nil, err
	}
	return takenFromProto(resp.GetTaken()), nil
}

// sameEpoch checks the epoch in which a member has answered. In another one it has done
// nothing; if it was behind it is brought up, and is asked again.
func (p *peers) sameEpoch(ctx context.Context, m ring.Member, epoch, theirs uint32) error {
	if theirs == epoch {
		return nil
	}
	if err := p.bringUp(ctx, m, theirs); err != nil {
		return err
	}
	return owner.ErrBehind
}

// Replicate implements owner.Peers.
func (p *peers) Replicate(to ring.Member, epoch uint32, entries []owner.Entries) {
	p.node.links.Replicate(to, epoch, entries)
}

// Active implements owner.Peers.
func (p *peers) Active(ctx context.Context, to ring.Member, epoch uint32, partitions []uint32) error {
	ctx, cancel := context.WithTimeout(ctx, p.node.lease())
	defer cancel()
	for part := range slices.Chunk(partitions, askedAtOnce) {
		resp := &peerv1.ActiveResponse{}
		req := &peerv1.ActiveRequest{Epoch: epoch, Partitions: part}
		if err := p.invoke(ctx, to, epoch, peerv1.PeerService_Active_FullMethodName, req, resp); err != nil {
			return refusal(err)
		}
		if err := p.sameEpoch(ctx, to, epoch, resp.GetEpoch()); err != nil {
			return err
		}
	}
	return nil
}

// list reads a member's locks.
func (p *peers) list(ctx context.Context, m ring.Member, req *peerv1.ListRequest) (*peerv1.ListResponse, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return nil, err
	}
	return c.List(ctx, req)
}

// keep closes the connections to processes that are in no view any more.
func (p *peers) keep(a *epoch.View) {
	p.mu.Lock()
	// The service may be ahead, and have called new members.
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

func (p *peers) close() {
	p.mu.Lock()
	p.done = true
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close() //nolint:errcheck // only says that it was closed before
	}
}
