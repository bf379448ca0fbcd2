package mesh

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// peerServer answers other members.
type peerServer struct {
	peerv1.UnimplementedPeerServiceServer
	node *Node
}

// meant refuses calls of another cluster, or for another process (V0, A1).
//
// Only a process that follows no cluster yet speaks, and is spoken to, without
// naming one; that is how it finds its cluster.
//
// Of those that pass it notes that they come: a voter says whose calls reach it (V5).
func (p *peerServer) meant(ctx context.Context, method string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if err := p.check(md, method); err != nil {
		return err
	}
	if from := md.Get(mdFrom); len(from) > 0 {
		p.node.callers.note(from[0], p.node.clock())
	}
	return nil
}

func (p *peerServer) check(md metadata.MD, method string) error {
	if to := md.Get(mdTo); len(to) > 0 && to[0] != p.node.self.String() {
		return status.Errorf(codes.FailedPrecondition, "this is %s, not %s", p.node.self, to[0])
	}
	theirs, ours := md.Get(mdCluster), p.node.clusterID()
	switch {
	case len(theirs) > 0 && len(ours) > 0 && theirs[0] != string(ours):
		return status.Error(codes.FailedPrecondition, "another cluster")
	case (len(theirs) == 0 || len(ours) == 0) && !beforeCluster(method):
		return status.Error(codes.FailedPrecondition, "no cluster yet")
	}
	return nil
}

// beforeCluster are the calls that come before there is a cluster.
func beforeCluster(method string) bool {
	switch method {
	case peerv1.PeerService_Promise_FullMethodName, peerv1.PeerService_Probe_FullMethodName, peerv1.PeerService_Join_FullMethodName:
		return true
	}
	return false
}

// peerPrefix is what the methods of this service begin with.
const peerPrefix = "/sharelock.peer.v1.PeerService/"

func (p *peerServer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := p.meant(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (p *peerServer) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, peerPrefix) {
		if err := p.meant(s.Context(), info.FullMethod); err != nil {
			return err
		}
	}
	return next(srv, s) // other services are not known here: see Node.wrongPort
}

// Promise implements V0.
func (p *peerServer) Promise(_ context.Context, req *peerv1.PromiseRequest) (*peerv1.PromiseResponse, error) {
	founder := ringproto.DecodeIdentity(req.GetFounder())
	if founder == (ring.Identity{}) {
		return &peerv1.PromiseResponse{Why: "the founder does not say who it is"}, nil
	}
	if err := p.node.promise(req.GetClusterId(), founder); err != nil {
		return &peerv1.PromiseResponse{Why: err.Error()}, nil
	}
	return &peerv1.PromiseResponse{Promised: true}, nil
}

// Probe implements V3: a joiner is dialled back before it is answered.
func (p *peerServer) Probe(ctx context.Context, req *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
	undialled := ""
	if req.GetMember() != nil {
		m := ringproto.DecodeMember(req.GetMember())
		if err := view.CheckJoiner(m); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		if err := p.node.dialBacks.check(ctx, m); err != nil {
			undialled = err.Error()
		}
	}
	return &peerv1.ProbeResponse{
		Epoch: p.node.epoch(), ClusterId: p.node.clusterID(), Undialled: undialled,
		Release: p.node.program().Newest, OldestRelease: p.node.program().Oldest,
	}, nil
}

// Join implements V3.
func (p *peerServer) Join(_ context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	if l := p.node.leading(); l != nil {
		return l.Join(req), nil
	}
	resp := &peerv1.JoinResponse{
		Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, Leader: p.node.leaderAddr(),
		Release: p.node.program().Newest, OldestRelease: p.node.program().Oldest,
	}
	if a := p.node.views.Now(); a != nil {
		resp.History = view.StateToProto(a.State)
	}
	return resp, nil
}

// Renew implements V4 and V7.
func (p *peerServer) Renew(ctx context.Context, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	if l := p.node.leading(); l != nil {
		resp := l.Renew(ctx, req)
		if resp.GetOutcome() == peerv1.RenewResponse_OUTCOME_REFUSED && !p.node.agree.Leads() {
			// Raft has let this process lead no more, but is kept from saying so, see
			// view.Raft.DiskError.
			return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_NOT_LEADER, Leader: p.node.leaderAddr()}, nil
		}
		resp.LeaderId, resp.Voters = p.node.self.ID, p.node.voters()
		return resp, nil
	}
	return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_NOT_LEADER, Leader: p.node.leaderAddr()}, nil
}

// Decommission implements V1.
func (p *peerServer) Decommission(ctx context.Context, req *peerv1.DecommissionRequest) (*peerv1.DecommissionResponse, error) {
	l := p.node.leading()
	if l == nil {
		return &peerv1.DecommissionResponse{Why: "this node does not lead", Leader: p.node.leaderAddr()}, nil
	}
	if err := l.Decommission(ctx, req.GetName()); err != nil {
		return &peerv1.DecommissionResponse{Why: err.Error()}, nil
	}
	return &peerv1.DecommissionResponse{Done: true}, nil
}

// Term implements V4: it must read the term after the request arrived.
func (p *peerServer) Term(_ context.Context, req *peerv1.TermRequest) (*peerv1.TermResponse, error) {
	if req.GetVoter() != p.node.self.ID {
		return nil, status.Errorf(codes.FailedPrecondition, "this is voter %s", p.node.self.ID)
	}
	if p.node.double.Load() {
		return nil, status.Error(codes.FailedPrecondition, "another process has this voter's place")
	}
	return &peerv1.TermResponse{Term: p.node.agree.Term(), Applied: p.node.agree.Applied()}, nil
}

// Greet implements V5: that the call has come is all there is to it.
func (p *peerServer) Greet(context.Context, *peerv1.GreetRequest) (*peerv1.GreetResponse, error) {
	return &peerv1.GreetResponse{}, nil
}

// TakeOver implements V5.
func (p *peerServer) TakeOver(_ context.Context, req *peerv1.TakeOverRequest) (*peerv1.TakeOverResponse, error) {
	if term := p.node.agree.Term(); req.GetTerm() != term {
		return nil, status.Errorf(codes.FailedPrecondition, "this voter is in term %d, not %d", term, req.GetTerm())
	}
	p.node.named.note(ringproto.DecodeIdentity(req.GetSilent()), p.node.clock())
	return &peerv1.TakeOverResponse{}, nil
}

// calledBy refuses a call in the name of another process than the calling one (V6a).
func calledBy(ctx context.Context, who *peerv1.Identity) error {
	md, _ := metadata.FromIncomingContext(ctx)
	from, named := strings.Join(md.Get(mdFrom), ""), ringproto.DecodeIdentity(who).String()
	if from != named {
		return status.Errorf(codes.PermissionDenied, "%q calls in the name of %s", from, named)
	}
	return nil
}

// Relay implements V6a.
func (p *peerServer) Relay(ctx context.Context, req *peerv1.RelayRequest) (*peerv1.RelayResponse, error) {
	if err := calledBy(ctx, req.GetParcel().GetFrom()); err != nil {
		return nil, err
	}
	if l := p.node.leading(); l != nil {
		resp, err := l.Relay(ctx, req.GetParcel())
		return resp, notRelayed(err)
	}
	return nil, status.Error(codes.Unavailable, "this process does not lead")
}

// Collect implements V6a.
func (p *peerServer) Collect(ctx context.Context, req *peerv1.CollectRequest) (*peerv1.CollectResponse, error) {
	if err := calledBy(ctx, req.GetMember()); err != nil {
		return nil, err
	}
	if l := p.node.leading(); l != nil {
		resp, err := l.Collect(ctx, req)
		return resp, notRelayed(err)
	}
	return nil, status.Error(codes.Unavailable, "this process does not lead")
}

// notRelayed is an error of the leader's mailbox as calls have it.
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

// Install implements A1: it answers when nothing older is served here any more.
func (p *peerServer) Install(_ context.Context, req *peerv1.InstallRequest) (*peerv1.InstallResponse, error) {
	if err := p.node.views.Offer(view.StateFromProto(req.GetHistory())); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &peerv1.InstallResponse{Epoch: p.node.epoch()}, nil
}

// Ask implements section 4.1.
func (p *peerServer) Ask(_ context.Context, req *peerv1.AskRequest) (*peerv1.AskResponse, error) {
	a := p.node.views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.AskResponse{Epoch: p.node.epoch()}, nil
	}
	held, err := a.Service.Ask(req.GetEpoch(), req.GetPartitions())
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &peerv1.AskResponse{Epoch: req.GetEpoch(), Held: heldToProto(held)}, nil
}

// Fetch implements section 4.4.
func (p *peerServer) Fetch(_ context.Context, req *peerv1.FetchRequest) (*peerv1.FetchResponse, error) {
	a := p.node.views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.FetchResponse{Epoch: p.node.epoch()}, nil
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

// Sync implements section 4.4.
func (p *peerServer) Sync(ctx context.Context, req *peerv1.SyncRequest) (*peerv1.SyncResponse, error) {
	a := p.node.views.Now()
	if a == nil || a.Epoch != req.GetEpoch() {
		return &peerv1.SyncResponse{Epoch: p.node.epoch()}, nil
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
func (p *peerServer) Active(_ context.Context, req *peerv1.ActiveRequest) (*peerv1.ActiveResponse, error) {
	a := p.node.views.Now()
	if a == nil || a.Service.Active(req.GetEpoch(), req.GetPartitions()) != nil {
		return &peerv1.ActiveResponse{Epoch: p.node.epoch()}, nil
	}
	return &peerv1.ActiveResponse{Epoch: req.GetEpoch()}, nil
}

// List reads the locks that this member owns.
func (p *peerServer) List(ctx context.Context, req *peerv1.ListRequest) (*peerv1.ListResponse, error) {
	a := p.node.views.Now()
	if a == nil {
		return nil, status.Error(codes.Aborted, owner.ErrBehind.Error())
	}
	part, err := a.Service.List(ctx, req.GetEpoch(), req.GetPrefix(), req.GetClientId(), req.GetAfter(), int(req.GetLimit()))
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	resp := &peerv1.ListResponse{Epoch: req.GetEpoch(), More: part.More, Quarantined: uint32(part.Quarantined)}
	for i := range part.Locks {
		resp.Locks = append(resp.Locks, link.LockToProto(&part.Locks[i]))
	}
	return resp, nil
}
