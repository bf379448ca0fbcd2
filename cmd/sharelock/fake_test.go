package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// fakeMesh answers the commands on a loopback port: locks as mutexes that never
// expire, and the rest from a script.
type fakeMesh struct {
	sharelockv1.UnimplementedLockServiceServer
	sharelockv1.UnimplementedMeshServiceServer
	addr string

	mu    sync.Mutex
	token uint64
	held  map[string]*sharelockv1.Hold
	// queued holds the request ids of waiting calls. The end of a hold wakes them all.
	queued map[string]bool
	woken  chan struct{}
	// cut makes every call fail as at a node without a quorum.
	cut bool
	// maxWait is the maximum wait; 0 means no limit. Current waits end when waitsEnd is closed.
	maxWait  time.Duration
	waitsEnd chan struct{}
	// refusal, if set, is the answer to every Acquire.
	refusal error
	// seen lists the calls, without the parts that change from run to run.
	seen []string
	// changed is closed and replaced at every call, and when a call begins to wait.
	changed chan struct{}
	// lists are the pages of List.
	lists []*sharelockv1.ListResponse
}

func startMesh(t *testing.T) *fakeMesh {
	t.Helper()
	m := &fakeMesh{
		token: 256460173377011712, held: map[string]*sharelockv1.Hold{}, queued: map[string]bool{},
		woken: make(chan struct{}), changed: make(chan struct{}), waitsEnd: make(chan struct{}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().String()
	s := grpc.NewServer(grpc.UnaryInterceptor(m.intercept),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
	sharelockv1.RegisterLockServiceServer(s, m)
	sharelockv1.RegisterMeshServiceServer(s, m)
	healthy := health.NewServer()
	healthy.SetServingStatus(sharelockv1.LockService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(s, healthy)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return m
}

func (m *fakeMesh) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if _, ok := req.(*healthv1.HealthCheckRequest); ok {
		return handle(ctx, req)
	}
	m.mu.Lock()
	if _, ok := req.(*sharelockv1.GetRingRequest); !ok { // asked in the background, or not
		m.seen = append(m.seen, describeCall(req))
	}
	close(m.changed)
	m.changed = make(chan struct{})
	cut := m.cut
	m.mu.Unlock()
	if cut {
		return nil, sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrNoQuorum}).Err()
	}
	resp, err := handle(ctx, req)
	if err != nil {
		return nil, sharelockv1.ToStatus(err).Err()
	}
	return resp, nil
}

func describeCall(req any) string {
	switch r := req.(type) {
	case *sharelockv1.AcquireRequest:
		wait := "default"
		if r.Wait != nil {
			wait = r.Wait.AsDuration().Round(time.Second).String()
		}
		return fmt.Sprintf("acquire %s by %s ttl %v wait %s %v slots %d metadata %v",
			r.Key, r.ClientId, r.GetTtl().AsDuration(), wait, r.Mode, r.Slots, r.Metadata)
	case *sharelockv1.RenewRequest:
		return fmt.Sprintf("renew %s %d ttl %v", r.Key, r.Token, r.GetTtl().AsDuration())
	case *sharelockv1.ReleaseRequest:
		return fmt.Sprintf("release %s %d", r.Key, r.Token)
	case *sharelockv1.ForceReleaseRequest:
		return fmt.Sprintf("force %s %d %q", r.Key, r.Token, r.Reason)
	case *sharelockv1.ListRequest:
		return fmt.Sprintf("list %q %q %d %q", r.Prefix, r.ClientId, r.PageSize, r.PageToken)
	case *sharelockv1.ChangeKeyringRequest:
		return fmt.Sprintf("keyring %v %q %t", r.Action, r.GossipKey, r.WithoutAbsent)
	default:
		return fmt.Sprintf("%T", req)
	}
}

// calls returns the calls so far.
func (m *fakeMesh) calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.seen...)
}

// await waits until the n-th call has come.
func (m *fakeMesh) await(t *testing.T, n int) {
	t.Helper()
	for {
		m.mu.Lock()
		seen, changed := len(m.seen), m.changed
		m.mu.Unlock()
		if seen >= n {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("call %d did not come; got %q", n, m.calls())
		}
	}
}

// take grants a key to another client.
func (m *fakeMesh) take(key, client string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.grant(&sharelockv1.AcquireRequest{Key: key, ClientId: client, Ttl: durationpb.New(time.Minute)})
}

// free ends the hold of a key, if there is one.
func (m *fakeMesh) free(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(key)
}

func (m *fakeMesh) setMaxWait(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.maxWait = d
}

// awaitWaiter waits until a call waits for a hold to end.
func (m *fakeMesh) awaitWaiter(t *testing.T) {
	t.Helper()
	for {
		m.mu.Lock()
		waiters, changed := len(m.queued), m.changed
		m.mu.Unlock()
		if waiters > 0 {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("no call waits; got %q", m.calls())
		}
	}
}

// endWaits ends all current waits.
func (m *fakeMesh) endWaits() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.waitsEnd)
	m.waitsEnd = make(chan struct{})
}

func (m *fakeMesh) setCut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = true
}

func (m *fakeMesh) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusal = err
}

func (m *fakeMesh) isHeld(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[key] != nil
}

func (m *fakeMesh) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queued)
}

func (m *fakeMesh) grant(req *sharelockv1.AcquireRequest) *sharelockv1.Hold {
	m.token++
	ttl := req.Ttl
	if ttl == nil {
		ttl = durationpb.New(time.Minute)
	}
	h := &sharelockv1.Hold{
		Key: req.Key, Token: m.token, ClientId: req.ClientId, RequestId: req.RequestId, Mode: req.Mode, Slots: req.Slots,
		Ttl: ttl, ExpiresIn: durationpb.New(ttl.AsDuration() * 11 / 10), SafeFor: ttl, Node: "a", Metadata: req.Metadata,
	}
	m.held[req.Key] = h
	return h
}

func (m *fakeMesh) Acquire(ctx context.Context, req *sharelockv1.AcquireRequest) (*sharelockv1.AcquireResponse, error) {
	came := time.Now()
	for {
		// No mesh grants a late send of a request that its client has given up and cleaned up after
		// (Q2).
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.mu.Lock()
		if err := m.refusal; err != nil {
			m.mu.Unlock()
			return nil, &sharelock.Error{Err: err}
		}
		if most := m.maxWait; most > 0 && req.Wait.AsDuration() > most {
			m.mu.Unlock()
			return nil, sharelock.Invalid("wait", "is above max_wait")
		}
		h, woken, end := m.held[req.Key], m.woken, m.waitsEnd
		if h == nil || h.RequestId == req.RequestId {
			delete(m.queued, req.RequestId)
			h = m.grant(req)
			m.mu.Unlock()
			return &sharelockv1.AcquireResponse{Hold: h}, nil
		}
		if req.Wait != nil && req.Wait.AsDuration() == 0 {
			delete(m.queued, req.RequestId)
			m.mu.Unlock()
			return nil, &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: []sharelock.Hold{sharelockv1.HoldFromProto(h)}, Queue: 2}
		}
		m.queued[req.RequestId] = true
		close(m.changed)
		m.changed = make(chan struct{})
		m.mu.Unlock()
		wait := 10 * time.Second
		if req.Wait != nil {
			wait = req.Wait.AsDuration()
		}
		ends := time.NewTimer(wait - time.Since(came))
		defer ends.Stop()
		select {
		case <-woken:
		case <-ends.C:
			return nil, &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: []sharelock.Hold{sharelockv1.HoldFromProto(h)}, Queue: 1}
		case <-end:
			return nil, &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: []sharelock.Hold{sharelockv1.HoldFromProto(h)}, Queue: 1}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *fakeMesh) current(key string, token uint64) (*sharelockv1.Hold, error) {
	switch h := m.held[key]; {
	case h == nil:
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	case h.Token != token:
		return nil, &sharelock.Error{Err: sharelock.ErrStaleToken}
	default:
		return h, nil
	}
}

func (m *fakeMesh) Renew(_ context.Context, req *sharelockv1.RenewRequest) (*sharelockv1.RenewResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.current(req.Key, req.Token)
	if err != nil {
		return nil, err
	}
	if req.Ttl != nil {
		h.Ttl, h.ExpiresIn, h.SafeFor = req.Ttl, durationpb.New(req.Ttl.AsDuration()*11/10), req.Ttl
	}
	return &sharelockv1.RenewResponse{Hold: h}, nil
}

func (m *fakeMesh) CheckToken(_ context.Context, req *sharelockv1.CheckTokenRequest) (*sharelockv1.CheckTokenResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.current(req.Key, req.Token)
	return &sharelockv1.CheckTokenResponse{Stale: err != nil}, nil
}

func (m *fakeMesh) Release(_ context.Context, req *sharelockv1.ReleaseRequest) (*sharelockv1.ReleaseResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, err := m.current(req.Key, req.Token)
	if err != nil {
		return nil, err
	}
	m.drop(req.Key)
	return &sharelockv1.ReleaseResponse{Hold: &sharelockv1.Hold{Key: h.Key, Token: h.Token, ClientId: h.ClientId, Ttl: h.Ttl, Node: h.Node}}, nil
}

// drop ends a hold. mu is held.
func (m *fakeMesh) drop(key string) {
	delete(m.held, key)
	close(m.woken)
	m.woken = make(chan struct{})
}

func (m *fakeMesh) ForceRelease(_ context.Context, req *sharelockv1.ForceReleaseRequest) (*sharelockv1.ForceReleaseResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.held[req.Key]
	if h == nil {
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	}
	m.drop(req.Key)
	return &sharelockv1.ForceReleaseResponse{Hold: h, Holds: []*sharelockv1.Hold{h}}, nil
}

func (m *fakeMesh) Get(_ context.Context, req *sharelockv1.GetRequest) (*sharelockv1.GetResponse, error) {
	switch req.Key {
	case "free":
		return nil, &sharelock.Error{Err: sharelock.ErrNotHeld}
	case "lost":
		return nil, &sharelock.Error{Err: sharelock.ErrQuarantined}
	case "broken":
		return nil, status.Error(codes.Internal, "a line\nand another")
	}
	return &sharelockv1.GetResponse{Lock: scriptedLock(req.Key)}, nil
}

// scriptedLock is a lock with every kind of content, some of it hostile.
func scriptedLock(key string) *sharelockv1.Lock {
	return &sharelockv1.Lock{
		Key: key, Partition: 17, Owner: "a", Epoch: 59712345, HoldCount: 2, WaiterCount: 1,
		Holds: []*sharelockv1.Hold{
			{
				Key: key, Token: 256460173377011713, ClientId: "w1", RequestId: "r-7", Mode: sharelockv1.Mode_SHARED, Node: "a",
				Ttl: durationpb.New(10 * time.Second), ExpiresIn: durationpb.New(9998 * time.Millisecond),
				Metadata: map[string]string{"why": "demo", "host": "h1"},
			},
			{
				Key: key, Token: 256460173377011714, ClientId: "w\x1b[2J", RequestId: "r-8", Mode: sharelockv1.Mode_SHARED, Node: "a",
				Ttl: durationpb.New(100 * time.Millisecond), ExpiresIn: durationpb.New(87 * time.Millisecond),
			},
		},
		Waiters: []*sharelockv1.Waiter{{ClientId: "w2", RequestId: "r-9", Waiting: durationpb.New(1200 * time.Millisecond)}},
	}
}

func (m *fakeMesh) List(_ context.Context, req *sharelockv1.ListRequest) (*sharelockv1.ListResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.lists) == 0 {
		return &sharelockv1.ListResponse{}, nil
	}
	page := m.lists[0]
	m.lists = m.lists[1:]
	return page, nil
}

func (m *fakeMesh) GetActivity(context.Context, *sharelockv1.GetActivityRequest) (*sharelockv1.GetActivityResponse, error) {
	return &sharelockv1.GetActivityResponse{Members: []*sharelockv1.MemberActivity{
		sharelockv1.ActivityToProto(sharelock.Activity{
			Name: "a", Holds: 7, Waiters: 3, LongestWait: 1200 * time.Millisecond, Grants: 90, Ends: 83, Quarantined: 1,
			Contended: []sharelock.Contention{{Key: "orders/42", Holds: 2, Waiters: 1, LongestWait: 1200 * time.Millisecond}},
		}),
		sharelockv1.ActivityToProto(sharelock.Activity{
			Name: "b", Holds: 1, Waiters: 9, LongestWait: 3 * time.Second, Grants: 5, CopiesMissing: 2,
			Contended: []sharelock.Contention{{Key: "orders/42\x1b[2J", Holds: 1, Waiters: 9, LongestWait: 3 * time.Second}},
		}),
		sharelockv1.ActivityToProto(sharelock.Activity{Name: "c", Err: "it does not answer"}),
	}}, nil
}

func (m *fakeMesh) GetMesh(context.Context, *sharelockv1.GetMeshRequest) (*sharelockv1.GetMeshResponse, error) {
	return &sharelockv1.GetMeshResponse{
		Cluster: "sharelock", Node: "b", Epoch: 59712345, Leader: "a",
		Lease:      &sharelockv1.Lease{Valid: true, Remaining: durationpb.New(1600 * time.Millisecond)},
		Partitions: 1024, Replicas: 2, Active: 341, Release: 1,
		Members: []*sharelockv1.Member{
			{Name: "a", Id: "57db61999020eee1", Incarnation: "1-0000000000000001", Voter: true, Owns: 341, Backs: 340, Http: "10.0.0.1:50051", Grpc: "10.0.0.1:50052", Peer: "10.0.0.1:50053", Release: 1},
			{Name: "b", Id: "4d90942e34dcec23", Incarnation: "1-0000000000000002", Leaving: true, Http: "10.0.0.2:50051", Grpc: "10.0.0.2:50052", Peer: "10.0.0.2:50053", Release: 2},
		},
	}, nil
}

func (m *fakeMesh) Locate(_ context.Context, req *sharelockv1.LocateRequest) (*sharelockv1.LocateResponse, error) {
	return &sharelockv1.LocateResponse{Key: req.Key, Partition: 17, Owner: "a", Backups: []string{"c", "d"}, Epoch: 59712345}, nil
}

var fakeKeyring = sharelock.Keyring{
	Keys: []sharelock.GossipKey{
		{Fingerprint: "8ecae77e1eea4271", Installed: 2, Primary: 2}, {Fingerprint: "a94ca083eec82489", Installed: 1},
	},
	Members: []sharelock.KeyringMember{
		{Name: "a", Encryption: "required"}, {Name: "b", Encryption: "migrate", FromFile: true}, {Name: "c", Err: "context deadline exceeded"}, {Name: "d", Encryption: "off"},
	},
}

func (m *fakeMesh) GetKeyring(_ context.Context, req *sharelockv1.GetKeyringRequest) (*sharelockv1.GetKeyringResponse, error) {
	k := sharelockv1.KeyringToProto(fakeKeyring)
	if req.GetShowKeys() {
		k.Keys[0].Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	}
	return &sharelockv1.GetKeyringResponse{Keyring: k}, nil
}

func (m *fakeMesh) ChangeKeyring(_ context.Context, req *sharelockv1.ChangeKeyringRequest) (*sharelockv1.ChangeKeyringResponse, error) {
	if req.GetAction() == sharelockv1.KeyringAction_KEYRING_ACTION_ROTATE && !req.GetWithoutAbsent() {
		return nil, &sharelock.Error{Err: sharelock.ErrNotConfirmed, Message: "use: c"}
	}
	return &sharelockv1.ChangeKeyringResponse{Keyring: sharelockv1.KeyringToProto(fakeKeyring)}, nil
}

func (m *fakeMesh) Decommission(context.Context, *sharelockv1.DecommissionRequest) (*sharelockv1.DecommissionResponse, error) {
	return &sharelockv1.DecommissionResponse{}, nil
}

func (m *fakeMesh) Leave(context.Context, *sharelockv1.LeaveRequest) (*sharelockv1.LeaveResponse, error) {
	return &sharelockv1.LeaveResponse{}, nil
}
