package client

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// interceptSession serves sessions in the name of a fakeMesh, if it knows them: each
// of their calls is the unary one, faults included.
func (m *fakeMesh) interceptSession(addr string) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		m.mu.Lock()
		known := m.sessions && info.FullMethod == sharelockv1.LockService_Session_FullMethodName
		m.mu.Unlock()
		if !known {
			return next(srv, s)
		}
		f := &fakeSession{mesh: m, addr: addr, stream: s, cancels: map[uint64]context.CancelFunc{}}
		return f.serve()
	}
}

type fakeSession struct {
	mesh   *fakeMesh
	addr   string
	stream grpc.ServerStream

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // guarded by mu
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
		mute, broken := f.mesh.mute, f.mesh.broken
		f.mesh.broken = nil
		f.mesh.mu.Unlock()
		if broken != nil {
			return broken
		}
		if mute {
			continue
		}
		if m.GetPing() {
			f.send(&sharelockv1.SessionResponse{Pong: true})
		}
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
	default:
		req, method = c.GetRelease(), sharelockv1.LockService_Release_FullMethodName
		handle = func(ctx context.Context, req any) (any, error) {
			resp, err := f.mesh.Release(ctx, req.(*sharelockv1.ReleaseRequest))
			hold = resp.GetHold()
			return resp, err
		}
	}
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
