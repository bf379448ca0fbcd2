package client

import (
	"context"
	"errors"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// interceptSession serves sessions in the name of a fakeMesh, if it knows them: each
// of their calls is the unary one, faults included.
func (m *fakeMesh) interceptSession(addr string) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		m.mu.Lock()
		known := m.sessions && info.FullMethod == sharelockv1.LockService_Session_FullMethodName
		refused := known && m.strict && !m.accepts(bearerOf(s.Context()))
		m.mu.Unlock()
		if refused {
			return sharelockv1.ToStatus(sharelock.ErrUnauthenticated).Err()
		}
		if !known {
			return next(srv, s)
		}
		f := &fakeSession{mesh: m, addr: addr, stream: s, token: bearerOf(s.Context()), cancels: map[uint64]context.CancelFunc{}, kept: map[uint64]context.CancelFunc{}}
		return f.serve()
	}
}

type fakeSession struct {
	mesh   *fakeMesh
	addr   string
	stream grpc.ServerStream

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // guarded by mu
	token   string                        // of the caller; guarded by mu
	// kept are the holds that are attached.
	kept map[uint64]context.CancelFunc // guarded by mu
	// alive is the newest keepalive, and when it came.
	alive   uint64    // guarded by mu
	aliveAt time.Time // guarded by mu
}

func (f *fakeSession) serve() error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, end := context.WithCancel(f.stream.Context())
	defer end()
	for {
		var m sharelockv1.SessionRequest
		if err := f.stream.RecvMsg(&m); err != nil {
			return err
		}
		f.mesh.mu.Lock()
		mute, broken := f.mesh.mute || f.mesh.muted == f.addr, f.mesh.broken
		f.mesh.broken = nil
		f.mesh.mu.Unlock()
		if broken != nil {
			return broken
		}
		if mute {
			continue
		}
		if m.GetToken() != "" {
			f.mu.Lock()
			f.token = m.GetToken()
			f.mu.Unlock()
		}
		if m.GetPing() {
			f.send(&sharelockv1.SessionResponse{Pong: true})
		}
		f.keep(ctx, &work, &m)
		for _, c := range m.GetCalls() {
			f.mu.Lock()
			if c.GetCancel() != nil {
				if cancel := f.cancels[c.GetId()]; cancel != nil {
					cancel()
				}
				f.mu.Unlock()
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			f.cancels[c.GetId()] = cancel
			f.mu.Unlock()
			work.Go(func() {
				defer cancel()
				f.send(&sharelockv1.SessionResponse{Answers: []*sharelockv1.SessionAnswer{f.do(ctx, c)}})
			})
		}
	}
}

// keep takes what a message says of holds to be kept alive.
func (f *fakeSession) keep(ctx context.Context, work *sync.WaitGroup, m *sharelockv1.SessionRequest) {
	f.mesh.mu.Lock()
	refuse, deaf := f.mesh.refuse, f.mesh.deaf
	f.mesh.mu.Unlock()
	if deaf {
		return
	}
	f.mu.Lock()
	if n := m.GetKeepalive(); n > f.alive {
		f.alive, f.aliveAt = n, time.Now()
	}
	for _, h := range m.GetAttach() {
		if refuse != nil {
			b, err := proto.Marshal(sharelockv1.ToStatus(refuse).Proto())
			if err != nil {
				panic(err)
			}
			work.Go(func() {
				f.send(&sharelockv1.SessionResponse{Ended: []*sharelockv1.SessionEnd{{Id: h.GetId(), Status: b}}})
			})
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		f.kept[h.GetId()] = cancel
		work.Go(func() { f.renew(ctx, h) })
	}
	for _, id := range m.GetDetach() {
		if cancel := f.kept[id]; cancel != nil {
			cancel()
			delete(f.kept, id)
		}
	}
	f.mu.Unlock()
	if m.GetKeepalive() > 0 {
		f.mesh.mu.Lock()
		f.mesh.keepalives++
		f.mesh.mu.Unlock()
		f.send(&sharelockv1.SessionResponse{Pong: true})
	}
}

// keepsFrom is the key of a context that has the time from which a renewal counts.
type keepsFrom struct{}

// statusOf is the error of a status in wire format.
func statusOf(b []byte) error {
	var s spb.Status
	if err := proto.Unmarshal(b, &s); err != nil {
		return err
	}
	return status.ErrorProto(&s)
}

// renew keeps one hold alive, until it is detached.
func (f *fakeSession) renew(ctx context.Context, h *sharelockv1.SessionHold) {
	ttl, asOf := h.GetTtl().AsDuration(), uint64(0)
	rest := time.Duration(0)
	for sleep(ctx, rest) {
		f.mu.Lock()
		n, from := f.alive, f.aliveAt
		f.mu.Unlock()
		rest = ttl / 64
		if n <= asOf {
			continue
		}
		a := f.do(context.WithValue(ctx, keepsFrom{}, from), &sharelockv1.SessionCall{
			Call: &sharelockv1.SessionCall_Renew{Renew: &sharelockv1.RenewRequest{Key: h.GetKey(), Token: h.GetToken()}},
		})
		var m sharelockv1.SessionResponse
		switch {
		case a.GetStatus() == nil:
			asOf, rest = n, ttl*3/10
			m.Renewed = []*sharelockv1.SessionRenewed{{Keepalive: n, Ids: []uint64{h.GetId()}}}
		case gone(sharelockv1.FromError(statusOf(a.GetStatus()))), secure.Denied(sharelockv1.FromError(statusOf(a.GetStatus()))):
			m.Ended = []*sharelockv1.SessionEnd{{Id: h.GetId(), Status: a.GetStatus()}}
		default:
			continue
		}
		f.mesh.mu.Lock()
		mute := f.mesh.mute || f.mesh.muted == f.addr
		f.mesh.mu.Unlock()
		if !mute {
			f.send(&m)
		}
		if m.Ended != nil {
			return
		}
	}
}

func (f *fakeSession) send(m *sharelockv1.SessionResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.stream.SendMsg(m)
}

// do makes a call as the unary one.
func (f *fakeSession) do(ctx context.Context, c *sharelockv1.SessionCall) *sharelockv1.SessionAnswer {
	var (
		hold   *sharelockv1.Hold
		req    any
		method string
		handle func(ctx context.Context, req any) (any, error)
	)
	switch {
	case c.GetAcquire() != nil:
		req, method = c.GetAcquire(), sharelockv1.LockService_Acquire_FullMethodName
		if c.GetAcquire().GetTellPosition() {
			ctx = context.WithValue(ctx, tellsPosition{}, func(position int) {
				f.send(&sharelockv1.SessionResponse{Queued: []*sharelockv1.SessionQueued{{Id: c.GetId(), Position: uint32(position)}}})
			})
		}
		handle = func(ctx context.Context, req any) (any, error) {
			resp, err := f.mesh.Acquire(ctx, req.(*sharelockv1.AcquireRequest))
			hold = resp.GetHold()
			return resp, err
		}
	case c.GetRenew() != nil:
		req, method = c.GetRenew(), sharelockv1.LockService_Renew_FullMethodName
		handle = func(ctx context.Context, req any) (any, error) {
			resp, err := f.mesh.Renew(ctx, req.(*sharelockv1.RenewRequest))
			hold = resp.GetHold()
			return resp, err
		}
	case c.GetGiveUp() != nil:
		req, method = c.GetGiveUp(), sharelockv1.LockService_GiveUp_FullMethodName
		handle = func(ctx context.Context, req any) (any, error) {
			resp, err := f.mesh.GiveUp(ctx, req.(*sharelockv1.GiveUpRequest))
			if status.Code(err) == codes.Unimplemented {
				err = sharelock.Invalid("call", "is missing, or not known to this node")
			}
			hold = &sharelockv1.Hold{}
			return resp, err
		}
	default:
		req, method = c.GetRelease(), sharelockv1.LockService_Release_FullMethodName
		handle = func(ctx context.Context, req any) (any, error) {
			resp, err := f.mesh.Release(ctx, req.(*sharelockv1.ReleaseRequest))
			hold = resp.GetHold()
			return resp, err
		}
	}
	f.mu.Lock()
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+f.token))
	f.mu.Unlock()
	_, err := f.mesh.intercept(f.addr)(ctx, req, &grpc.UnaryServerInfo{Server: f.mesh, FullMethod: method}, handle)
	if err == nil {
		return &sharelockv1.SessionAnswer{Id: c.GetId(), Hold: hold}
	}
	b, merr := proto.Marshal(sharelockv1.ToStatus(err).Proto())
	if merr != nil {
		panic(errors.Join(err, merr))
	}
	return &sharelockv1.SessionAnswer{Id: c.GetId(), Status: b}
}
