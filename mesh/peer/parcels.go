package peer

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Collect runs the leaving member's side of the detour until ctx ends: while this process is
// leaving, Collect gets the requests for it from the leader, and sends the replies.
func Collect(ctx context.Context, c *Client, s *Server) {
	var replies []*peerv1.Reply
	for ctx.Err() == nil {
		changed := s.cfg.Views.Changed()
		a := s.cfg.Views.Now()
		if a == nil || !a.Leaving(s.cfg.Self) {
			replies = nil
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		turn, cancel := context.WithTimeout(ctx, s.cfg.Views.Lease())
		resp, err := c.collect(turn, &peerv1.CollectRequest{Member: ringproto.EncodeIdentity(s.cfg.Self), Replies: replies})
		cancel()
		if err != nil {
			s.cfg.Log.Debug("nothing collected", "error", err)
			rest(ctx, s.cfg.Views.Lease()/40)
			continue
		}
		replies = nil
		for _, m := range resp.GetParcels() {
			replies = append(replies, s.open(ctx, m))
		}
	}
}

// open handles a parcel like a direct call: its sender must be a member, and it must be meant for
// this incarnation and for this epoch (A1).
func (p *Server) open(ctx context.Context, m *peerv1.Parcel) *peerv1.Reply {
	reply := &peerv1.Reply{To: m.GetFrom(), Id: m.GetId()}
	resp, err := p.answer(ctx, m)
	if err == nil {
		reply.Response, err = proto.Marshal(resp)
	}
	if err == nil && len(reply.GetResponse()) > view.MaxParcel {
		err = status.Errorf(codes.ResourceExhausted, "a reply of %d bytes, the most is %d", len(reply.GetResponse()), view.MaxParcel)
	}
	if err != nil {
		s := status.Convert(err)
		reply.Code, reply.Message, reply.Response = uint32(s.Code()), s.Message(), nil
		reply.Refused = s.Code() != codes.Aborted // Aborted means another epoch, which is no refusal
	}
	return reply
}

func (p *Server) answer(ctx context.Context, m *peerv1.Parcel) (proto.Message, error) {
	if to := ringproto.DecodeIdentity(m.GetTo()); to != p.cfg.Self {
		return nil, status.Errorf(codes.FailedPrecondition, "this is %s, not %s", p.cfg.Self, to)
	}
	a := p.cfg.Views.Now()
	if a == nil || a.Epoch != m.GetEpoch() {
		return nil, status.Errorf(codes.Aborted, "a parcel of epoch %d in epoch %d", m.GetEpoch(), p.cfg.Views.Epoch())
	}
	if from := ringproto.DecodeIdentity(m.GetFrom()); !a.Has(from) {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is no member", from)
	}
	handle := parcelMethods[m.GetMethod()]
	if handle == nil {
		return nil, status.Errorf(codes.Unimplemented, "%s cannot be relayed", m.GetMethod())
	}
	return handle(ctx, p, m.GetRequest())
}

// parcelMethods are the calls that may be relayed (V6a).
var parcelMethods = map[string]func(context.Context, *Server, []byte) (proto.Message, error){
	peerv1.PeerService_Ask_FullMethodName: func(ctx context.Context, p *Server, data []byte) (proto.Message, error) {
		return opened(ctx, data, &peerv1.AskRequest{}, p.Ask)
	},
	peerv1.PeerService_Fetch_FullMethodName: func(ctx context.Context, p *Server, data []byte) (proto.Message, error) {
		return opened(ctx, data, &peerv1.FetchRequest{}, p.Fetch)
	},
	peerv1.PeerService_Active_FullMethodName: func(ctx context.Context, p *Server, data []byte) (proto.Message, error) {
		return opened(ctx, data, &peerv1.ActiveRequest{}, p.Active)
	},
}

// opened decodes a relayed request and handles it.
func opened[Q, R proto.Message](ctx context.Context, data []byte, req Q, handle func(context.Context, Q) (R, error)) (proto.Message, error) {
	if err := proto.Unmarshal(data, req); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return handle(ctx, req)
}
