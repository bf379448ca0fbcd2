package peer

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Promise implements V0.
func (p *Server) Promise(_ context.Context, req *peerv1.PromiseRequest) (*peerv1.PromiseResponse, error) {
	founder := ringproto.DecodeIdentity(req.GetFounder())
	if founder == (ring.Identity{}) {
		return &peerv1.PromiseResponse{Why: "the founder does not say who it is"}, nil
	}
	if err := p.cfg.Promise(req.GetClusterId(), founder); err != nil {
		return &peerv1.PromiseResponse{Why: err.Error()}, nil //nolint:nilerr // why is the answer
	}
	return &peerv1.PromiseResponse{Promised: true}, nil
}

// Probe implements V3: a joiner is dialled back before its probe is answered.
func (p *Server) Probe(ctx context.Context, req *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
	undialled := ""
	if req.GetMember() != nil {
		m := ringproto.DecodeMember(req.GetMember())
		if err := view.CheckJoiner(m); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		if err := p.cfg.DialBack(ctx, m); err != nil {
			undialled = err.Error()
		}
	}
	return &peerv1.ProbeResponse{
		Epoch: p.cfg.Views.Epoch(), ClusterId: p.cfg.Cluster(), Undialled: undialled,
		Release: p.cfg.Releases.Newest, OldestRelease: p.cfg.Releases.Oldest,
	}, nil
}

// Join implements V3.
func (p *Server) Join(_ context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	if l := p.cfg.Leading(); l != nil {
		return l.Join(req), nil
	}
	resp := &peerv1.JoinResponse{
		Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, Leader: p.cfg.Leader(),
		Release: p.cfg.Releases.Newest, OldestRelease: p.cfg.Releases.Oldest,
	}
	if a := p.cfg.Views.Now(); a != nil {
		resp.History = view.StateToProto(a.State)
	}
	return resp, nil
}

// Renew implements V4 and V7.
func (p *Server) Renew(ctx context.Context, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	if l := p.cfg.Leading(); l != nil {
		resp := l.Renew(ctx, req)
		if resp.GetOutcome() == peerv1.RenewResponse_OUTCOME_REFUSED && !p.cfg.Raft.Leads() {
			// Raft no longer considers this process the leader, but cannot report that while it
			// waits for its disk, see view.Raft.DiskError.
			return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_NOT_LEADER, Leader: p.cfg.Leader()}, nil
		}
		resp.LeaderId, resp.Voters = p.cfg.Self.ID, p.cfg.Voters()
		return resp, nil
	}
	return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_NOT_LEADER, Leader: p.cfg.Leader()}, nil
}

// Decommission implements V1.
func (p *Server) Decommission(ctx context.Context, req *peerv1.DecommissionRequest) (*peerv1.DecommissionResponse, error) {
	l := p.cfg.Leading()
	if l == nil {
		return &peerv1.DecommissionResponse{Why: "this node does not lead", Leader: p.cfg.Leader()}, nil
	}
	if err := l.Decommission(ctx, req.GetName()); err != nil {
		return &peerv1.DecommissionResponse{Why: err.Error()}, nil //nolint:nilerr // why is the answer
	}
	return &peerv1.DecommissionResponse{Done: true}, nil
}

// Term implements V4: it must read the term after the request arrived.
func (p *Server) Term(_ context.Context, req *peerv1.TermRequest) (*peerv1.TermResponse, error) {
	if req.GetVoter() != p.cfg.Self.ID {
		return nil, status.Errorf(codes.FailedPrecondition, "this is voter %s", p.cfg.Self.ID)
	}
	if p.cfg.Double() {
		return nil, status.Error(codes.FailedPrecondition, "another process has this voter's place")
	}
	return &peerv1.TermResponse{Term: p.cfg.Raft.Term(), Applied: p.cfg.Raft.Applied(), Abstains: p.cfg.Abstains()}, nil
}

// Greet implements V5: the call does nothing but arrive.
func (p *Server) Greet(context.Context, *peerv1.GreetRequest) (*peerv1.GreetResponse, error) {
	return &peerv1.GreetResponse{}, nil
}

// TakeOver implements V5.
func (p *Server) TakeOver(_ context.Context, req *peerv1.TakeOverRequest) (*peerv1.TakeOverResponse, error) {
	if term := p.cfg.Raft.Term(); req.GetTerm() != term {
		return nil, status.Errorf(codes.FailedPrecondition, "this voter is in term %d, not %d", term, req.GetTerm())
	}
	p.cfg.Silent(ringproto.DecodeIdentity(req.GetSilent()))
	return &peerv1.TakeOverResponse{}, nil
}

// calledBy refuses a call in the name of a process other than the caller (V6a).
func calledBy(ctx context.Context, who *peerv1.Identity) error {
	md, _ := metadata.FromIncomingContext(ctx)
	from, named := strings.Join(md.Get(mdFrom), ""), ringproto.DecodeIdentity(who).String()
	if from != named {
		return status.Errorf(codes.PermissionDenied, "%q calls in the name of %s", from, named)
	}
	return nil
}

// Relay implements V6a.
func (p *Server) Relay(ctx context.Context, req *peerv1.RelayRequest) (*peerv1.RelayResponse, error) {
	if err := calledBy(ctx, req.GetParcel().GetFrom()); err != nil {
		return nil, err
	}
	if l := p.cfg.Leading(); l != nil {
		resp, err := l.Relay(ctx, req.GetParcel())
		return resp, notRelayed(err)
	}
	return nil, status.Error(codes.Unavailable, "this process does not lead")
}

// Collect implements V6a.
func (p *Server) Collect(ctx context.Context, req *peerv1.CollectRequest) (*peerv1.CollectResponse, error) {
	if err := calledBy(ctx, req.GetMember()); err != nil {
		return nil, err
	}
	if l := p.cfg.Leading(); l != nil {
		resp, err := l.Collect(ctx, req)
		return resp, notRelayed(err)
	}
	return nil, status.Error(codes.Unavailable, "this process does not lead")
}

// notRelayed returns the gRPC status for an error of the leader's mailbox.
func notRelayed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, view.ErrNotLeaving):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, view.ErrParcel):
		return status.Error(codes.InvalidArgument, err.Error())
	default:
		return status.Error(codes.Unavailable, err.Error())
	}
}
