package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Renew asks the leader at an address for a lease (V4).
func (p *Client) Renew(ctx context.Context, addr string, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	return c.Renew(ctx, req)
}

// Join asks the leader at an address to be admitted (V3).
func (p *Client) Join(ctx context.Context, addr string, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	return c.Join(ctx, req)
}

// Promise asks a process to follow a cluster (V0).
func (p *Client) Promise(ctx context.Context, addr string, to ring.Identity, req *peerv1.PromiseRequest) (*peerv1.PromiseResponse, error) {
	ctx, c, err := p.at(ctx, addr, to)
	if err != nil {
		return nil, err
	}
	return c.Promise(ctx, req)
}

// Probe probes a process. If joiner is not nil, the process dials it back before it answers (V3).
func (p *Client) Probe(ctx context.Context, m ring.Member, joiner *peerv1.Member) (*peerv1.ProbeResponse, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return nil, err
	}
	req := p.ownProbe()
	req.Member = joiner
	resp, err := c.Probe(ctx, req)
	if err == nil {
		err = p.speaks(resp)
	}
	return resp, err
}

// ClusterOf asks a process which cluster it follows; empty means none.
func (p *Client) ClusterOf(ctx context.Context, addr string, to ring.Identity) ([]byte, error) {
	ctx, c, err := p.at(ctx, addr, to)
	if err != nil {
		return nil, err
	}
	resp, err := c.Probe(ctx, p.ownProbe())
	if err == nil {
		err = p.speaks(resp)
	}
	return resp.GetClusterId(), err
}

// Decommission asks the leader at an address to give up the seat of an absent voter (V1).
func (p *Client) Decommission(ctx context.Context, addr, name string) (*peerv1.DecommissionResponse, error) {
	ctx, c, err := p.at(ctx, addr, ring.Identity{})
	if err != nil {
		return nil, err
	}
	return c.Decommission(ctx, &peerv1.DecommissionRequest{Name: name})
}

// atVoter is at for the voter with this id, at its current address.
func (p *Client) atVoter(ctx context.Context, voter string) (context.Context, peerv1.PeerServiceClient, error) {
	addr := p.cfg.Address(voter)
	if addr == "" {
		return nil, nil, fmt.Errorf("no address of voter %s is known", voter)
	}
	return p.at(ctx, addr, ring.Identity{})
}

// Vote implements view.Peers.
func (p *Client) Vote(ctx context.Context, voter string) (view.Vote, error) {
	ctx, c, err := p.atVoter(ctx, voter)
	if err != nil {
		return view.Vote{}, err
	}
	resp, err := c.Term(ctx, &peerv1.TermRequest{Voter: voter})
	if err != nil {
		return view.Vote{}, err
	}
	p.NoteReached(voter)
	return view.Vote{Term: resp.GetTerm(), Applied: resp.GetApplied(), Abstains: resp.GetAbstains()}, nil
}

// Greet calls the voter with this id only to show that the call arrives (V5).
func (p *Client) Greet(ctx context.Context, voter string) error {
	ctx, c, err := p.atVoter(ctx, voter)
	if err != nil {
		return err
	}
	if _, err = c.Greet(ctx, &peerv1.GreetRequest{}); err == nil {
		p.NoteReached(voter)
	}
	return err
}

// NoteReached notes that the voter with this id has answered a call, so that it need not be
// greeted.
func (p *Client) NoteReached(voter string) { p.reached.Note(voter, p.cfg.Clock()) }

// Reached reports whether the voter with this id has answered a call at the given time or later.
func (p *Client) Reached(voter string, when time.Duration) bool { return p.reached.Since(voter, when) }

// TakeOver implements view.Peers: it tells the voter with this id because of which member's silence
// it is handed leadership (V5).
func (p *Client) TakeOver(ctx context.Context, voter string, term uint64, silent ring.Identity) error {
	ctx, c, err := p.atVoter(ctx, voter)
	if err == nil {
		_, err = c.TakeOver(ctx, &peerv1.TakeOverRequest{Silent: ringproto.EncodeIdentity(silent), Term: term})
	}
	return err
}

// relay asks the leader to pass a call on (V6a).
func (p *Client) relay(ctx context.Context, req *peerv1.RelayRequest) (*peerv1.RelayResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	ctx, c, err := p.atLeader(ctx)
	if err != nil {
		return nil, err
	}
	return c.Relay(ctx, req)
}

// collect sends replies to the leader and returns what other members ask (V6a).
func (p *Client) collect(ctx context.Context, req *peerv1.CollectRequest) (*peerv1.CollectResponse, error) {
	ctx, c, err := p.atLeader(ctx)
	if err != nil {
		return nil, err
	}
	return c.Collect(ctx, req)
}

// errNoLeader is returned while no leader is known.
var errNoLeader = errors.New("no leader is known")

func (p *Client) atLeader(ctx context.Context) (context.Context, peerv1.PeerServiceClient, error) {
	addr := p.cfg.Leader()
	if addr == "" {
		return nil, nil, errNoLeader
	}
	return p.at(ctx, addr, ring.Identity{})
}

// Install implements view.Peers: it sends a member a newer view (A1).
func (p *Client) Install(ctx context.Context, m ring.Member, s view.State) error {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err == nil {
		_, err = c.Install(ctx, &peerv1.InstallRequest{History: view.StateToProto(s)})
	}
	return err
}

// ownProbe returns a probe with the releases of this program.
func (p *Client) ownProbe() *peerv1.ProbeRequest {
	return &peerv1.ProbeRequest{Release: p.cfg.Releases.Newest, OldestRelease: p.cfg.Releases.Oldest}
}

// speaks checks that the program that answered a probe has a release in common with this program
// (W2).
func (p *Client) speaks(resp *peerv1.ProbeResponse) error {
	theirs := release.Range{Oldest: resp.GetOldestRelease(), Newest: resp.GetRelease()}
	if _, ok := theirs.Common(p.cfg.Releases); !ok {
		return fmt.Errorf("%w: it is %v, this program is %v", release.ErrMismatch, theirs, p.cfg.Releases)
	}
	return nil
}

// List reads the locks that a member owns in an epoch.
func (p *Client) List(ctx context.Context, m ring.Member, epoch uint32, r sharelock.ListRequest) (owner.Listing, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return owner.Listing{}, err
	}
	resp, err := c.List(ctx, &peerv1.ListRequest{
		Epoch: epoch, Prefix: r.Prefix, ClientId: r.ClientID, After: r.PageToken, Limit: intconv.Uint32(r.PageSize),
	})
	if err != nil {
		return owner.Listing{}, err
	}
	part := owner.Listing{More: resp.GetMore(), Quarantined: int(resp.GetQuarantined())}
	for _, l := range resp.GetLocks() {
		part.Locks = append(part.Locks, *link.LockFromProto(l))
	}
	return part, nil
}

// Usage asks a member what claims a principal has there, in an epoch. It returns false if the
// member cannot tell now.
func (p *Client) Usage(ctx context.Context, m ring.Member, epoch uint32, principal string) (owner.Claims, bool, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return owner.Claims{}, false, err
	}
	resp, err := c.Usage(ctx, &peerv1.UsageRequest{Epoch: epoch, Principal: principal})
	if err != nil {
		return owner.Claims{}, false, err
	}
	has := owner.Claims{Holds: int(resp.GetHolds()), Waiters: int(resp.GetWaiters())} //nolint:gosec // bounded by a member's memory
	return has, resp.GetKnown() && resp.GetEpoch() == epoch, nil
}

// Forced tells a member about holds that were taken away.
func (p *Client) Forced(ctx context.Context, m ring.Member, req *peerv1.ForcedRequest) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Views.Lease())
	defer cancel()
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err == nil {
		_, err = c.Forced(ctx, req)
	}
	return err
}
