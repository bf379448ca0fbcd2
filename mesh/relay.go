package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// What an activation asks a leaving member goes by way of the leader if the direct way is
// broken (V6a): the owner calls Relay there, the leaving member Collect. A request is the
// same on both ways, and so are the checks of who sends it, for whom, and in which epoch.

// invoke makes one call to a member: directly, and if it is leaving and that takes long,
// by way of the leader as well.
func (p *peers) invoke(ctx context.Context, to ring.Member, epoch uint32, method string, req, resp proto.Message) error {
	if !to.Leaving {
		return p.direct(ctx, to, method, req, resp)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		resp    proto.Message
		relayed bool
		err     error
	}
	results := make(chan result, 2)
	running := 0
	start := func(relayed bool, call func(context.Context, proto.Message) error) {
		resp := resp.ProtoReflect().New().Interface()
		if p.node.tasks.Go(func() { results <- result{resp, relayed, call(ctx, resp)} }) {
			running++
		}
	}
	start(false, func(ctx context.Context, resp proto.Message) error { return p.direct(ctx, to, method, req, resp) })
	relayed := false
	detour := func() {
		relayed = true
		start(true, func(ctx context.Context, resp proto.Message) error {
			return p.viaLeader(ctx, to, epoch, method, req, resp)
		})
	}
	// A copy has many pieces: the next ones do not try the direct way alone first.
	if p.node.detours.since(to.String(), p.node.clock()-p.node.lease()) {
		detour()
	}
	patience := time.NewTimer(p.node.lease() / 10)
	defer patience.Stop()
	err := errClosed
	for running > 0 || !relayed {
		select {
		case <-patience.C:
			if !relayed {
				detour()
			}
		case r := <-results:
			running--
			if r.err == nil {
				if r.relayed {
					p.node.detours.note(to.String(), p.node.clock())
				}
				proto.Merge(resp, r.resp)
				return nil
			}
			err = r.err
			if isAnswer(err) {
				return err
			}
			if !relayed {
				detour()
			}
		}
	}
	return err
}

// isAnswer reports whether an error came from the other process.
func isAnswer(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return false
	}
	return true
}

// direct makes one call to a member.
func (p *peers) direct(ctx context.Context, to ring.Member, method string, req, resp proto.Message) error {
	ctx, c, err := p.dial(ctx, to.Peer, to.Identity)
	if err != nil {
		return err
	}
	return c.Invoke(ctx, method, req, resp)
}

// viaLeader makes one call to a leaving member by way of the leader. It repeats the call
// there until a reply comes or ctx ends; the leader may change meanwhile.
func (p *peers) viaLeader(ctx context.Context, to ring.Member, epoch uint32, method string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(append([]byte(method), data...))
	parcel := &peerv1.Parcel{
		// The same request has the same id, so that a repeated one finds its reply.
		Id: binary.BigEndian.Uint64(hash[:]) ^ uint64(epoch), From: ringproto.EncodeIdentity(p.node.self), To: ringproto.EncodeIdentity(to.Identity),
		Epoch: epoch, Method: method, Request: data,
	}
	for ctx.Err() == nil {
		reply, err := p.relay(ctx, &peerv1.RelayRequest{Parcel: parcel})
		switch {
		case err == nil && reply.GetReply() == nil:
			continue // nothing yet
		case err == nil && reply.GetReply().GetCode() != 0:
			return status.Error(codes.Code(reply.GetReply().GetCode()), reply.GetReply().GetMessage())
		case err == nil:
			return proto.Unmarshal(reply.GetReply().GetResponse(), resp)
		}
		p.node.log.Debug("not relayed", "to", to.Name, "method", method, "error", err)
		p.node.rest(ctx, p.node.lease()/40)
	}
	return status.FromContextError(ctx.Err()).Err()
}

// rest waits for a while or until ctx ends.
func (n *Node) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// collect runs the leaving member's side: as long as this process is leaving, it takes
// from the leader what others ask it, and brings the replies.
func (n *Node) collect(ctx context.Context) {
	server := &peerServer{node: n}
	var replies []*peerv1.Reply
	for ctx.Err() == nil {
		changed := n.views.Changed()
		a := n.views.Now()
		if a == nil || !a.Leaving(n.self) {
			replies = nil
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		turn, cancel := context.WithTimeout(ctx, n.lease())
		resp, err := n.peers.collect(turn, &peerv1.CollectRequest{Member: ringproto.EncodeIdentity(n.self), Replies: replies})
		cancel()
		if err != nil {
			n.log.Debug("nothing collected", "error", err)
			n.rest(ctx, n.lease()/40)
			continue
		}
		replies = nil
		for _, m := range resp.GetParcels() {
			replies = append(replies, server.open(ctx, m))
		}
	}
}

// open handles a parcel as if it had come directly: its sender must be a member, it must
// be meant for this incarnation, and in its epoch (A1).
func (p *peerServer) open(ctx context.Context, m *peerv1.Parcel) *peerv1.Reply {
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
		reply.Refused = s.Code() != codes.Aborted // which says that it is in another epoch
	}
	return reply
}

func (p *peerServer) answer(ctx context.Context, m *peerv1.Parcel) (proto.Message, error) {
	if to := ringproto.DecodeIdentity(m.GetTo()); to != p.node.self {
		return nil, status.Errorf(codes.FailedPrecondition, "this is %s, not %s", p.node.self, to)
	}
	a := p.node.views.Now()
	if a == nil || a.Epoch != m.GetEpoch() {
		return nil, status.Errorf(codes.Aborted, "a parcel of epoch %d in epoch %d", m.GetEpoch(), p.node.epoch())
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
var parcelMethods = map[string]func(context.Context, *peerServer, []byte) (proto.Message, error){
	peerv1.PeerService_Ask_FullMethodName: func(ctx context.Context, p *peerServer, data []byte) (proto.Message, error) {
		return opened(ctx, data, &peerv1.AskRequest{}, p.Ask)
	},
	peerv1.PeerService_Fetch_FullMethodName: func(ctx context.Context, p *peerServer, data []byte) (proto.Message, error) {
		return opened(ctx, data, &peerv1.FetchRequest{}, p.Fetch)
	},
	peerv1.PeerService_Active_FullMethodName: func(ctx context.Context, p *peerServer, data []byte) (proto.Message, error) {
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

// leaderAtWork is the peer address of the leader that gave this process its last lease,
// else of who is said to lead, or "".
func (n *Node) leaderAtWork() string {
	if n.leading() != nil {
		return n.addrs.Peer
	}
	n.member.mu.Lock()
	id := n.member.leaderID
	n.member.mu.Unlock()
	if id != "" {
		if addr := n.addressOf(id); addr != "" {
			return addr
		}
	}
	return n.leaderAddr()
}
