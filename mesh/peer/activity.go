package peer

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"github.com/sgkandale/sharelock/ring"
)

// ActivityOf returns the activity of this process, which has the given name, in a view.
func ActivityOf(a *epoch.View, name string, contended int) sharelock.Activity {
	stats := a.Service.Stats()
	act := sharelock.Activity{
		Name: name, Holds: stats.Holds, Waiters: stats.Waiters, LongestWait: stats.LongestWait,
		CopiesMissing: max(stats.Backed-stats.Synced, 0), Quarantined: stats.Quarantined,
	}
	totals := a.Service.Totals()
	act.Grants = totals.Grants()
	act.Ends = totals.Ends()
	if contended > 0 && stats.Waiters > 0 {
		act.Contended = a.Service.Contention(contended)
	}
	return act
}

// Activity asks a member for its activity as an owner.
func (p *Client) Activity(ctx context.Context, m ring.Member, contended int) (sharelock.Activity, error) {
	ctx, c, err := p.at(ctx, m.Peer, m.Identity)
	if err != nil {
		return sharelock.Activity{}, err
	}
	resp, err := c.Activity(ctx, &peerv1.ActivityRequest{Contended: intconv.Uint32(contended)})
	if err != nil {
		return sharelock.Activity{}, err
	}
	return sharelockv1.ActivityFromProto(resp.GetActivity()), nil
}

// Activity answers with this member's activity as an owner.
func (p *Server) Activity(_ context.Context, req *peerv1.ActivityRequest) (*peerv1.ActivityResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil {
		return nil, status.Error(codes.Aborted, owner.ErrBehind.Error())
	}
	name := p.cfg.Self.ID
	for _, m := range a.Members {
		if m.Identity == p.cfg.Self {
			name = m.Name
		}
	}
	act := ActivityOf(a, name, int(min(req.GetContended(), sharelock.MaxPageSize)))
	return &peerv1.ActivityResponse{Activity: sharelockv1.ActivityToProto(act)}, nil
}
