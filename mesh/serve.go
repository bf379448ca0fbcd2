package mesh

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// copyPart is the most bytes of a copy in one message.
const copyPart = 256 << 10

// peerServer answers other members.
type peerServer struct {
	peerv1.UnimplementedPeerServiceServer
	node *Node
}

// meant refuses calls of another cluster, or for another process (V0, A1).
//
// Only a process that follows no cluster yet speaks, and is spoken to, without
// naming one; that is how it finds its cluster.
func (p *peerServer) meant(ctx context.Context, method string) error {
	md, _ := metadata.FromIncomingContext(ctx)
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

func (p *peerServer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := p.meant(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (p *peerServer) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := p.meant(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, s)
}

// Promise implements V0.
func (p *peerServer) Promise(_ context.Context, req *peerv1.PromiseRequest) (*peerv1.PromiseResponse, error) {
	founder := view.IdentityFromProto(req.GetFounder())
	if founder == (ring.Identity{}) {
		return &peerv1.PromiseResponse{Why: "the founder does not say who it is"}, nil
	}
	if err := p.node.promise(req.GetClusterId(), founder); err != nil {
		return &peerv1.PromiseResponse{Why: err.Error()}, nil
	}
	return &peerv1.PromiseResponse{Promised: true}, nil
}

// Probe implements V3.
func (p *peerServer) Probe(context.Context, *peerv1.ProbeRequest) (*peerv1.ProbeResponse, error) {
	return &peerv1.ProbeResponse{Epoch: p.node.epoch(), ClusterId: p.node.clusterID()}, nil
}

// Join implements V3.
func (p *peerServer) Join(_ context.Context, req *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	if l := p.node.leading(); l != nil {
		return l.Join(req), nil
	}
	resp := &peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, Leader: p.node.leaderAddr()}
	if a := p.node.views.now(); a != nil {
		resp.History = view.StateToProto(a.state)
	}
	return resp, nil
}

// Renew implements V4 and V7.
func (p *peerServer) Renew(ctx context.Context, req *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	if l := p.node.leading(); l != nil {
		resp := l.Renew(ctx, req)
		resp.LeaderId, resp.Voters = p.node.self.ID, p.node.voters()
		return resp, nil
	}
	return &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_NOT_LEADER, Leader: p.node.leaderAddr()}, nil
}

// Term implements V4: it must read the term after the request arrived.
func (p *peerServer) Term(_ context.Context, req *peerv1.TermRequest) (*peerv1.TermResponse, error) {
	if req.GetVoter() != p.node.self.ID {
		return nil, status.Errorf(codes.FailedPrecondition, "this is voter %s", p.node.self.ID)
	}
	return &peerv1.TermResponse{Term: p.node.agree.Term(), Applied: p.node.agree.Applied()}, nil
}

// Install implements A1: it answers when nothing older is served here any more.
func (p *peerServer) Install(_ context.Context, req *peerv1.InstallRequest) (*peerv1.InstallResponse, error) {
	if err := p.node.views.offer(view.StateFromProto(req.GetHistory())); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &peerv1.InstallResponse{Epoch: p.node.epoch()}, nil
}

// Ask implements section 4.1.
func (p *peerServer) Ask(_ context.Context, req *peerv1.AskRequest) (*peerv1.AskResponse, error) {
	a := p.node.views.now()
	if a == nil || a.epoch() != req.GetEpoch() {
		return &peerv1.AskResponse{Epoch: p.node.epoch()}, nil
	}
	held, err := a.service.Ask(req.GetEpoch(), req.GetPartitions())
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &peerv1.AskResponse{Epoch: req.GetEpoch(), Held: heldToProto(held)}, nil
}

// Fetch implements section 4.4.
func (p *peerServer) Fetch(req *peerv1.FetchRequest, s grpc.ServerStreamingServer[peerv1.FetchResponse]) error {
	a := p.node.views.now()
	if a == nil {
		return status.Error(codes.Aborted, owner.ErrBehind.Error())
	}
	err := a.service.Fetch(s.Context(), req.GetEpoch(), heldFromProto(req.GetHeld()), func(c owner.Copy) error {
		for data, last := c.Data, false; !last; {
			n := min(len(data), copyPart)
			last = n == len(data)
			part := &peerv1.Copy{Partition: c.Partition, Have: c.Have, Seq: c.Seq, Data: data[:n], Last: last}
			if err := s.Send(&peerv1.FetchResponse{Copies: []*peerv1.Copy{part}}); err != nil {
				return err
			}
			data = data[n:]
		}
		return nil
	})
	if errors.Is(err, owner.ErrBehind) {
		return status.Error(codes.Aborted, err.Error())
	}
	return err
}

// Sync implements section 4.4.
func (p *peerServer) Sync(s grpc.ClientStreamingServer[peerv1.SyncRequest, peerv1.SyncResponse]) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	var part []byte
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&peerv1.SyncResponse{Epoch: p.node.epoch()})
		}
		if err != nil {
			return err
		}
		a := p.node.views.now()
		if a == nil || a.epoch() != req.GetEpoch() {
			return s.SendAndClose(&peerv1.SyncResponse{Epoch: p.node.epoch()})
		}
		from, ok := memberNamed(a.view, strings.Join(md.Get(mdFrom), ""))
		if !ok {
			return status.Error(codes.FailedPrecondition, "the sender is not in the view")
		}
		var bases []owner.Base
		bases, part = basesFrom(req.GetBases(), part)
		switch err := a.service.Sync(from.Identity, req.GetEpoch(), bases); {
		case errors.Is(err, owner.ErrBehind):
			return status.Error(codes.Aborted, err.Error())
		case err != nil:
			return status.Error(codes.FailedPrecondition, err.Error())
		}
	}
}

// Active implements G1.
func (p *peerServer) Active(_ context.Context, req *peerv1.ActiveRequest) (*peerv1.ActiveResponse, error) {
	a := p.node.views.now()
	if a == nil || a.service.Active(req.GetEpoch(), req.GetPartitions()) != nil {
		return &peerv1.ActiveResponse{Epoch: p.node.epoch()}, nil
	}
	return &peerv1.ActiveResponse{Epoch: req.GetEpoch()}, nil
}

// List reads the locks that this member owns.
func (p *peerServer) List(ctx context.Context, req *peerv1.ListRequest) (*peerv1.ListResponse, error) {
	a := p.node.views.now()
	if a == nil {
		return nil, status.Error(codes.Aborted, owner.ErrBehind.Error())
	}
	part, err := a.service.List(ctx, req.GetEpoch(), req.GetPrefix(), req.GetClientId(), req.GetAfter(), int(req.GetLimit()))
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	resp := &peerv1.ListResponse{Epoch: req.GetEpoch(), More: part.More, Quarantined: uint32(part.Quarantined)}
	for i := range part.Locks {
		resp.Locks = append(resp.Locks, lockToProto(&part.Locks[i]))
	}
	return resp, nil
}

// Link serves the calls that another member forwards.
func (p *peerServer) Link(s grpc.BidiStreamingServer[peerv1.LinkRequest, peerv1.LinkResponse]) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	c := &linkCaller{node: p.node, from: strings.Join(md.Get(mdFrom), ""), wake: make(chan struct{}, 1)}
	received := make(chan error, 1)
	if !p.node.tasks.Go(func() { received <- c.receive(s) }) {
		return errClosed
	}
	defer c.down()
	for {
		changed := p.node.views.next()
		if a := p.node.views.now(); a != nil {
			if _, in := memberNamed(a.view, c.from); !in {
				// A1: what a process says that is no member (any more) does not count.
				return status.Errorf(codes.FailedPrecondition, "%s is not in view %d", c.from, a.epoch())
			}
		}
		select {
		case <-changed:
			continue
		case err := <-received:
			return err
		case <-p.node.stopping:
			return status.Error(codes.Unavailable, errClosed.Error())
		case <-c.wake:
		}
		for batch := c.take(); batch != nil; batch = c.take() {
			if err := s.Send(batch); err != nil {
				return err
			}
		}
	}
}

// memberNamed finds the member with this printed identity.
func memberNamed(v ring.View, identity string) (ring.Member, bool) {
	for _, m := range v.Members {
		if m.Identity.String() == identity {
			return m, true
		}
	}
	return ring.Member{}, false
}

// linkCaller is the owner's side of a link: it queues the answers that go back.
type linkCaller struct {
	node *Node
	// from is the printed identity of the member at the other end.
	from string
	wake chan struct{}
	dead atomic.Bool
	once sync.Once // of down

	mu      sync.Mutex
	answers []*peerv1.Answer // guarded by mu
	epoch   uint32           // of acks; guarded by mu
	acks    []*peerv1.Ack    // guarded by mu
	pong    bool             // a ping wants an answer; guarded by mu
}

var _ owner.Caller = (*linkCaller)(nil)

// Alive implements owner.Caller: false once the link is down (Q5).
func (c *linkCaller) Alive() bool { return !c.dead.Load() }

// down ends the caller with its stream. Nobody here knows whether the member at the
// other end died or only the link, so the waiters that came over it settle (Q5).
func (c *linkCaller) down() {
	c.once.Do(func() {
		if a := c.node.views.now(); a != nil {
			a.service.Broke(c)
		}
		c.dead.Store(true)
	})
}

// Answer implements owner.Caller.
func (c *linkCaller) Answer(id uint64, a owner.Answer) {
	if c.dead.Load() {
		return
	}
	p := answerToProto(id, c.node.epoch(), &a)
	c.mu.Lock()
	c.answers = append(c.answers, p)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ack queues an acknowledgement. Those of an older epoch are of no use any more.
func (c *linkCaller) ack(epoch uint32, a owner.Ack) {
	c.mu.Lock()
	if epoch > c.epoch {
		c.epoch, c.acks = epoch, nil
	}
	if epoch == c.epoch {
		c.acks = append(c.acks, &peerv1.Ack{Partition: a.Partition, Seq: a.Seq, Gap: a.Gap})
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ping has something sent at once.
func (c *linkCaller) ping() {
	c.mu.Lock()
	c.pong = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take is what waits, as much as fits one message; nil if nothing does.
func (c *linkCaller) take() *peerv1.LinkResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) == 0 && len(c.acks) == 0 && !c.pong {
		return nil
	}
	size, n := 0, 0
	for n < len(c.answers) && n < maxBatch && (n == 0 || size < maxBatchBytes) {
		size += proto.Size(c.answers[n])
		n++
	}
	m := &peerv1.LinkResponse{Epoch: c.epoch, Acks: c.acks, Pong: c.pong}
	m.Answers, c.answers = split(c.answers, n)
	c.acks, c.pong = nil, false
	return m
}

func (c *linkCaller) receive(s grpc.BidiStreamingServer[peerv1.LinkRequest, peerv1.LinkResponse]) error {
	for {
		req, err := s.Recv()
		if err != nil {
			c.down() // before a newer stream's calls can meet this one's
			return err
		}
		for _, call := range req.GetCalls() {
			c.submit(call)
		}
		if len(req.GetEntries()) > 0 {
			c.follow(req)
		}
		if req.GetPing() {
			c.ping()
		}
	}
}

// follow hands an owner's operations to the copies here (A3).
func (c *linkCaller) follow(req *peerv1.LinkRequest) {
	a := c.node.views.now()
	if a == nil {
		return
	}
	if from, in := memberNamed(a.view, c.from); in {
		a.service.Backup(from.Identity, req.GetEpoch(), entriesFromProto(req.GetEntries()), c.ack)
	}
}

// submit hands a call to the owner's service. A call of another epoch is not
// handled: whoever is behind, of the two, has to install the view first (A1). So a
// call that sat in a connection while the mesh went on is never served late (Q1).
func (c *linkCaller) submit(call *peerv1.Call) {
	ref := owner.Ref{Caller: c, ID: call.GetId()}
	r := callFromProto(call)
	a := c.node.views.now()
	if a == nil || call.GetEpoch() != a.epoch() || c.dead.Load() {
		c.Answer(ref.ID, owner.Answer{Outcome: owner.Retry, Send: r.Send})
		return
	}
	a.service.Submit(a.partition(r.Key), ref, r)
}
