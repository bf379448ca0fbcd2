package client

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// fakeMesh is a lock service in one process behind several addresses: mutexes,
// request ids, waiting in line, TTLs, and faults on demand. It runs on the
// bubble's time.
type fakeMesh struct {
	sharelockv1.UnimplementedLockServiceServer
	sharelockv1.UnimplementedMeshServiceServer

	mu sync.Mutex
	// fault, if set, is asked about every call of the lock service; it must not
	// block.
	fault func(c fakeCall) fault
	token uint64
	locks map[string]*fakeLock
	over  map[string]bool
	calls []fakeCall
	count map[string]int
	// sessions: the nodes know sessions. mute ones hear and say nothing; broken ends a
	// stream when something comes.
	// muted is the address of one that is mute alone.
	sessions, mute bool
	muted          string
	// keepalives counts those that sessions have got. refuse is the answer to a hold that
	// is attached; deaf nodes know nothing of that.
	keepalives int
	refuse     error
	deaf       bool
	// accepts, if set, reports whether a token of a caller is good, or none if it is empty.
	accepts func(token string) bool
	// strict nodes refuse a session as a whole whose token is not good.
	strict bool
	// noFences: the nodes are of a release that does not know GiveUp.
	noFences bool
	// slow, if set, is called by GiveUp.
	slow   func()
	broken error
	// ring is the answer to GetRing; nil is none.
	ring *sharelockv1.GetRingResponse
	// dial opens a connection to a node.
	dial func(ctx context.Context, addr string) (net.Conn, error)
}

// fakeCall is one call as a node saw it.
type fakeCall struct {
	Node   string
	Method string
	// N counts the calls of the method from 1.
	N  int
	At time.Time
	// From is the moment from which a renewal counts: At, or when the keepalive came
	// that had a session renew it.
	From time.Time
	Kept bool
	Req  any
}

// fault is what happens to a call.
type fault struct {
	// before is an error in place of the call; after, in place of its answer.
	before, after error
	// delay and late hold the call, and its answer, back.
	delay, late time.Duration
	// hang holds the call until its caller gives up.
	hang bool
	// detour is how long the call is on its way, whether its caller goes on or not.
	detour time.Duration
}

type fakeLock struct {
	hold    *sharelockv1.Hold
	expires time.Time
	// ends is when a hold with a longest time ends.
	ends  time.Time
	queue []*fakeWaiter
}

type fakeWaiter struct {
	req     *sharelockv1.AcquireRequest
	granted chan *sharelockv1.Hold
	gone    bool
	// tell tells its position; nil if it has not asked.
	tell func(position int)
}

// tellsPosition is the key of a context that has what tells a caller its position.
type tellsPosition struct{}

// tellAll tells waiters where they stand.
func (l *fakeLock) tellAll() {
	for i, w := range l.queue {
		if w.tell != nil {
			w.tell(i + 1)
		}
	}
}

func unavailable() error { return status.Error(codes.Unavailable, "fake: unavailable") }

// startMesh is newMesh for a test.
func startMesh(t *testing.T, addrs ...string) (*fakeMesh, []grpc.DialOption) {
	t.Helper()
	m, opts, stop := newMesh(addrs...)
	t.Cleanup(stop)
	return m, opts
}

// newMesh runs a fakeMesh behind the addresses and gives what a client needs to
// reach it.
func newMesh(addrs ...string) (m *fakeMesh, opts []grpc.DialOption, stop func()) {
	m = &fakeMesh{locks: map[string]*fakeLock{}, over: map[string]bool{}, count: map[string]int{}}
	listeners := map[string]*bufconn.Listener{}
	var serving sync.WaitGroup
	var servers []*grpc.Server
	for _, addr := range addrs {
		l := bufconn.Listen(1 << 16)
		listeners[addr] = l
		s := grpc.NewServer(grpc.UnaryInterceptor(m.intercept(addr)), grpc.StreamInterceptor(m.interceptSession(addr)),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
		sharelockv1.RegisterLockServiceServer(s, m)
		sharelockv1.RegisterMeshServiceServer(s, m)
		healthy := health.NewServer()
		healthy.SetServingStatus(sharelockv1.LockService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
		healthv1.RegisterHealthServer(s, healthy)
		servers = append(servers, s)
		serving.Go(func() { _ = s.Serve(l) })
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		if l, ok := listeners[addr]; ok {
			return l.DialContext(ctx)
		}
		return nil, fmt.Errorf("connection to %s refused", addr)
	}
	m.dial = dial
	return m, []grpc.DialOption{grpc.WithContextDialer(dial)}, func() {
		for _, s := range servers {
			s.Stop()
		}
		serving.Wait()
	}
}

func (m *fakeMesh) intercept(addr string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		method := info.FullMethod[len(sharelockv1.LockService_Acquire_FullMethodName)-len("Acquire"):]
		if info.Server != any(m) || info.FullMethod[:len("/sharelock.v1.LockService/")] != "/sharelock.v1.LockService/" {
			return handle(ctx, req)
		}
		m.mu.Lock()
		m.count[method]++
		c := fakeCall{Node: addr, Method: method, N: m.count[method], At: time.Now(), Req: req}
		if c.From = c.At; ctx.Value(keepsFrom{}) != nil {
			c.Kept = true
			c.From = ctx.Value(keepsFrom{}).(time.Time)
		}
		m.calls = append(m.calls, c)
		var f fault
		if m.fault != nil {
			f = m.fault(c)
		}
		accepts := m.accepts
		m.mu.Unlock()
		if accepts != nil && !accepts(bearerOf(ctx)) {
			return nil, sharelockv1.ToStatus(sharelock.ErrUnauthenticated).Err()
		}
		if f.hang {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		if f.detour > 0 {
			ctx = context.WithoutCancel(ctx)
			time.Sleep(f.detour)
		}
		if !sleep(ctx, f.delay) || f.before != nil {
			return nil, f.before
		}
		resp, err := handle(ctx, req)
		if !sleep(ctx, f.late) { // an answer that is held back does not come early
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		if f.after != nil {
			return nil, f.after
		}
		if err != nil {
			return nil, sharelockv1.ToStatus(err).Err()
		}
		return resp, nil
	}
}

// bearerOf returns the token that a call carries.
func bearerOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.TrimPrefix(strings.Join(md.Get("authorization"), ","), "Bearer ")
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// setFault makes calls fail as f says; nil repairs the mesh.
func (m *fakeMesh) setFault(f func(c fakeCall) fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// seen gives the calls of a method so far.
func (m *fakeMesh) seen(method string) []fakeCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []fakeCall
	for _, c := range m.calls {
		if c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// holder is the token of the key's grant, 0 if none, and the length of its queue.
func (m *fakeMesh) holder(key string) (token uint64, queue int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(key)
	return l.hold.GetToken(), len(l.queue)
}

// lock gives the key's state now. mu is held.
func (m *fakeMesh) lock(key string) *fakeLock {
	l := m.locks[key]
	if l == nil {
		l = &fakeLock{}
		m.locks[key] = l
	}
	// The owner keeps a lock for its TTL stretched.
	if l.hold != nil && !time.Now().Before(l.expires) {
		m.finish(l)
	}
	return l
}

// finish ends the grant and gives the key to the next in line. mu is held.
func (m *fakeMesh) finish(l *fakeLock) {
	m.over[l.hold.RequestId] = true
	l.hold = nil
	for i, w := range l.queue {
		if !w.gone {
			l.queue = slices.Delete(l.queue, i, i+1)
			w.granted <- m.grant(l, w.req)
			l.tellAll()
			return
		}
	}
}

func (m *fakeMesh) grant(l *fakeLock, req *sharelockv1.AcquireRequest) *sharelockv1.Hold {
	m.token++
	ttl := 10 * time.Second
	if req.Ttl != nil {
		ttl = req.Ttl.AsDuration()
	}
	l.hold = &sharelockv1.Hold{
		Key: req.Key, Token: m.token, ClientId: req.ClientId, RequestId: req.RequestId,
		Mode: req.Mode, Ttl: durationpb.New(ttl), Metadata: req.Metadata, Node: "fake", MaxHold: req.MaxHold,
	}
	l.ends = time.Now().Add(req.MaxHold.AsDuration() * 11 / 10)
	return m.touch(l, ttl)
}

func (m *fakeMesh) touch(l *fakeLock, ttl time.Duration) *sharelockv1.Hold {
	l.expires = time.Now().Add(ttl * 11 / 10)
	h := sharelockv1.HoldFromProto(l.hold)
	h.TTL, h.ExpiresIn, h.SafeFor = ttl, ttl*11/10, ttl
	if h.MaxHold > 0 {
		if l.ends.Before(l.expires) {
			l.expires = l.ends
		}
		h.ExpiresIn = time.Until(l.expires)
		h.EndsIn = time.Until(l.ends) * 10 / 11
		h.SafeFor = min(h.SafeFor, h.EndsIn)
	}
	return sharelockv1.HoldToProto(h)
}

func (m *fakeMesh) Acquire(ctx context.Context, req *sharelockv1.AcquireRequest) (*sharelockv1.AcquireResponse, error) {
	began := time.Now()
	m.mu.Lock()
	l := m.lock(req.Key)
	at := slices.IndexFunc(l.queue, func(w *fakeWaiter) bool { return w.req.RequestId == req.RequestId })
	wait := 10 * time.Second
	if req.Wait != nil {
		wait = req.Wait.AsDuration()
	}
	switch {
	case m.over[req.RequestId]:
		m.mu.Unlock()
		return nil, &sharelock.Error{Err: sharelock.ErrRequestOver}
	case l.hold != nil && l.hold.RequestId == req.RequestId:
		defer m.mu.Unlock()
		return &sharelockv1.AcquireResponse{Hold: m.touch(l, l.hold.Ttl.AsDuration())}, nil
	case l.hold == nil:
		defer m.mu.Unlock()
		return &sharelockv1.AcquireResponse{Hold: m.grant(l, req)}, nil
	case wait == 0:
		defer m.mu.Unlock()
		if at >= 0 {
			l.queue = slices.Delete(l.queue, at, at+1)
		}
		return nil, held(l)
	}
	w := &fakeWaiter{req: req, granted: make(chan *sharelockv1.Hold, 1)}
	w.tell, _ = ctx.Value(tellsPosition{}).(func(int))
	if at >= 0 {
		l.queue[at] = w
	} else {
		l.queue = append(l.queue, w)
	}
	l.tellAll()
	m.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case h := <-w.granted:
		// The node re-sent the request just before; it tells how long that was after
		// the caller's send.
		h.SafeFor = durationpb.New(h.SafeFor.AsDuration() + time.Since(began))
		return &sharelockv1.AcquireResponse{Hold: h}, nil
	case <-timer.C:
		m.mu.Lock()
		defer m.mu.Unlock()
		l.queue = slices.DeleteFunc(l.queue, func(o *fakeWaiter) bool { return o == w })
		return nil, held(l)
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		w.gone = true // Q5: its place is kept
		return nil, ctx.Err()
	}
}

func held(l *fakeLock) error {
	return &sharelock.Error{Err: sharelock.ErrLockHeld, Queue: len(l.queue), Holds: []sharelock.Hold{sharelockv1.HoldFromProto(l.hold)}}
}

func (m *fakeMesh) Renew(_ context.Context, req *sharelockv1.RenewRequest) (*sharelockv1.RenewResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(req.Key)
	if err := current(l, req.Token); err != nil {
		return nil, err
	}
	ttl := l.hold.Ttl.AsDuration()
	if req.Ttl != nil {
		if ttl = req.Ttl.AsDuration(); ttl < l.hold.Ttl.AsDuration() && time.Now().Add(ttl).Before(l.expires) {
			// It takes effect when less is left.
			h := proto.Clone(l.hold).(*sharelockv1.Hold)
			h.Ttl, h.SafeFor = req.Ttl, req.Ttl
			return &sharelockv1.RenewResponse{Hold: h}, nil
		}
		l.hold.Ttl = req.Ttl
	}
	if len(req.Metadata) > 0 || req.ClearMetadata {
		l.hold.Metadata = req.Metadata
	}
	return &sharelockv1.RenewResponse{Hold: m.touch(l, ttl)}, nil
}

func (m *fakeMesh) Release(_ context.Context, req *sharelockv1.ReleaseRequest) (*sharelockv1.ReleaseResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(req.Key)
	if err := current(l, req.Token); err != nil {
		return nil, err
	}
	h := l.hold
	m.finish(l)
	return &sharelockv1.ReleaseResponse{Hold: h}, nil
}

func (m *fakeMesh) GiveUp(_ context.Context, req *sharelockv1.GiveUpRequest) (*sharelockv1.GiveUpResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.noFences {
		return nil, status.Error(codes.Unimplemented, "unknown method GiveUp")
	}
	if slow := m.slow; slow != nil {
		m.mu.Unlock()
		slow()
		m.mu.Lock()
	}
	l := m.lock(req.Key)
	m.over[req.RequestId] = true
	l.queue = slices.DeleteFunc(l.queue, func(w *fakeWaiter) bool { return w.req.RequestId == req.RequestId })
	if l.hold.GetRequestId() == req.RequestId {
		m.finish(l)
	}
	return &sharelockv1.GiveUpResponse{}, nil
}

// force takes a key away from its holder.
func (m *fakeMesh) force(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finish(m.lock(key))
}

func current(l *fakeLock, token uint64) error {
	switch {
	case l.hold == nil:
		return &sharelock.Error{Err: sharelock.ErrNotHeld}
	case l.hold.Token != token:
		return &sharelock.Error{Err: sharelock.ErrStaleToken}
	}
	return nil
}

func (m *fakeMesh) Get(_ context.Context, req *sharelockv1.GetRequest) (*sharelockv1.GetResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(req.Key)
	if l.hold == nil {
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	}
	return &sharelockv1.GetResponse{Lock: &sharelockv1.Lock{Key: req.Key, Owner: "fake", Holds: []*sharelockv1.Hold{l.hold}}}, nil
}

func (m *fakeMesh) List(_ context.Context, req *sharelockv1.ListRequest) (*sharelockv1.ListResponse, error) {
	return &sharelockv1.ListResponse{
		Locks:         []*sharelockv1.Lock{{Key: req.Prefix + "1", Owner: req.ClientId}},
		NextPageToken: fmt.Sprint(req.PageSize, req.PageToken),
	}, nil
}

func (m *fakeMesh) CheckToken(_ context.Context, req *sharelockv1.CheckTokenRequest) (*sharelockv1.CheckTokenResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &sharelockv1.CheckTokenResponse{Stale: current(m.lock(req.Key), req.Token) != nil}, nil
}

func (m *fakeMesh) ForceRelease(_ context.Context, req *sharelockv1.ForceReleaseRequest) (*sharelockv1.ForceReleaseResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.lock(req.Key)
	if l.hold == nil {
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	}
	h := l.hold
	m.finish(l)
	return &sharelockv1.ForceReleaseResponse{Hold: h, Holds: []*sharelockv1.Hold{h}}, nil
}

func (m *fakeMesh) GetMesh(context.Context, *sharelockv1.GetMeshRequest) (*sharelockv1.GetMeshResponse, error) {
	return &sharelockv1.GetMeshResponse{Cluster: "fake"}, nil
}

func (m *fakeMesh) Locate(_ context.Context, req *sharelockv1.LocateRequest) (*sharelockv1.LocateResponse, error) {
	return &sharelockv1.LocateResponse{Key: req.Key, Owner: "fake"}, nil
}

func (m *fakeMesh) GetRing(context.Context, *sharelockv1.GetRingRequest) (*sharelockv1.GetRingResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		return nil, unavailable()
	}
	return m.ring, nil
}

// set changes the mesh under its lock.
func (m *fakeMesh) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *fakeMesh) Leave(context.Context, *sharelockv1.LeaveRequest) (*sharelockv1.LeaveResponse, error) {
	return nil, unavailable()
}
