package peer

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Install implements A1: it answers when this process no longer acts in an older view.
func (p *Server) Install(_ context.Context, req *peerv1.InstallRequest) (*peerv1.InstallResponse, error) {
	if err := p.cfg.Views.Offer(view.StateFromProto(req.GetHistory())); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &peerv1.InstallResponse{Epoch: p.cfg.Views.Epoch()}, nil
}

// Ask implements step 1 of an activation.
func (p *Server) Ask(_ context.Context, req *peerv1.AskRequest) (*peerv1.AskResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.AskResponse{Epoch: p.cfg.Views.Epoch()}, nil
	}
	held, err := a.Service.Ask(req.GetEpoch(), req.GetPartitions())
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &peerv1.AskResponse{Epoch: req.GetEpoch(), Held: heldToProto(held)}, nil
}

// Fetch implements step 4 of an activation: another member takes a copy from this one.
func (p *Server) Fetch(_ context.Context, req *peerv1.FetchRequest) (*peerv1.FetchResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.FetchResponse{Epoch: p.cfg.Views.Epoch()}, nil
	}
	pieces, err := a.Service.Fetch(req.GetEpoch(), wantsFromProto(req.GetWants()))
	switch {
	case errors.Is(err, owner.ErrBehind):
		return nil, status.Error(codes.Aborted, err.Error())
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &peerv1.FetchResponse{Epoch: req.GetEpoch(), Pieces: piecesToProto(pieces)}, nil
}

// Sync implements step 4 of an activation: the owner gives its copy to this backup.
func (p *Server) Sync(ctx context.Context, req *peerv1.SyncRequest) (*peerv1.SyncResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.SyncResponse{Epoch: p.cfg.Views.Epoch()}, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	from, ok := a.Named(strings.Join(md.Get(mdFrom), ""))
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "the sender is not in the view")
	}
	taken, err := a.Service.Sync(from.Identity, req.GetEpoch(), basesFromProto(req.GetBases()))
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &peerv1.SyncResponse{Epoch: req.GetEpoch(), Taken: takenToProto(taken)}, nil
}

// Active implements G1.
func (p *Server) Active(_ context.Context, req *peerv1.ActiveRequest) (*peerv1.ActiveResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil || a.Service.Active(req.GetEpoch(), req.GetPartitions()) != nil {
		return &peerv1.ActiveResponse{Epoch: p.cfg.Views.Epoch()}, nil //nolint:nilerr // the epoch is the answer
	}
	return &peerv1.ActiveResponse{Epoch: req.GetEpoch()}, nil
}

// List reads the locks that this member owns.
func (p *Server) List(ctx context.Context, req *peerv1.ListRequest) (*peerv1.ListResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil {
		return nil, status.Error(codes.Aborted, owner.ErrBehind.Error())
	}
	part, err := a.Service.List(ctx, req.GetEpoch(), req.GetPrefix(), req.GetClientId(), req.GetAfter(), int(req.GetLimit()))
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	resp := &peerv1.ListResponse{Epoch: req.GetEpoch(), More: part.More, Quarantined: intconv.Uint32(part.Quarantined)}
	for i := range part.Locks {
		resp.Locks = append(resp.Locks, link.LockToProto(&part.Locks[i]))
	}
	return resp, nil
}

// Forced tells this process about holds that were taken away. The request has no epoch, because
// what was decided stays true.
func (p *Server) Forced(_ context.Context, req *peerv1.ForcedRequest) (*peerv1.ForcedResponse, error) {
	holds := make([]sharelock.Hold, 0, len(req.GetHolds()))
	for _, h := range req.GetHolds() {
		holds = append(holds, sharelock.Hold{Key: h.GetKey(), Token: sharelock.Token(h.GetToken()), ClientID: h.GetClientId(), Principal: h.GetPrincipal()})
	}
	p.cfg.Forced(holds, req.GetReason())
	return &peerv1.ForcedResponse{}, nil
}

// Usage implements Q8.
func (p *Server) Usage(ctx context.Context, req *peerv1.UsageRequest) (*peerv1.UsageResponse, error) {
	a := p.cfg.Views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.UsageResponse{Epoch: p.cfg.Views.Epoch()}, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	from, ok := a.Named(strings.Join(md.Get(mdFrom), ""))
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "the sender is not in the view")
	}
	has, known := a.Service.Reveal(from.Identity, req.GetEpoch(), req.GetPrincipal())
	return &peerv1.UsageResponse{Epoch: req.GetEpoch(), Known: known, Holds: uint64(max(has.Holds, 0)), Waiters: uint64(max(has.Waiters, 0))}, nil
}
