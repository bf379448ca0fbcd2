package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// dialed is a server over a memory connection, and clients of it.
type dialed struct {
	server   *GRPC
	listener *bufconn.Listener
	conn     *grpc.ClientConn
	locks    pb.LockServiceClient
	mesh     pb.MeshServiceClient
	health   healthpb.HealthClient
	served   chan error
}

func dialFake(t testing.TB, node Node, o Options) *dialed {
	t.Helper()
	return dialServer(t, NewGRPC(node, o))
}

func dialServer(t testing.TB, g *GRPC) *dialed {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///node",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
	})
	return &dialed{
		server: g, listener: l, conn: conn, served: served,
		locks: pb.NewLockServiceClient(conn), mesh: pb.NewMeshServiceClient(conn), health: healthpb.NewHealthClient(conn),
	}
}

func wantProto(t testing.TB, got, want proto.Message, err error) {
	t.Helper()
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v\nwant %v", got, err, want)
	}
}

func TestGRPCLocks(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	ctx := t.Context()
	hold := &pb.Hold{
		Key: "k", Token: uint64(sharelock.MakeToken(59712345, 1)), ClientId: "w1", RequestId: "r-7",
		Ttl: durationpb.New(10 * time.Second), ExpiresIn: durationpb.New(9998 * time.Millisecond),
		SafeFor: durationpb.New(10004 * time.Millisecond), Node: "a", Metadata: map[string]string{"why": "demo"},
	}
	a, err := c.locks.Acquire(ctx, &pb.AcquireRequest{
		Key: "k", ClientId: "w1", RequestId: "r-7", Ttl: durationpb.New(10 * time.Second), Metadata: map[string]string{"why": "demo"},
	})
	wantProto(t, a, &pb.AcquireResponse{Hold: hold}, err)

	unsafe := proto.CloneOf(hold)
	unsafe.SafeFor = nil
	l, err := c.locks.Get(ctx, &pb.GetRequest{Key: "k"})
	lock := &pb.Lock{Key: "k", Partition: 17, Owner: "a", Epoch: 59712345, Holds: []*pb.Hold{unsafe}, HoldCount: 1}
	wantProto(t, l, &pb.GetResponse{Lock: lock}, err)
	ls, err := c.locks.List(ctx, &pb.ListRequest{Prefix: "k", ClientId: "w1", PageSize: 1})
	wantProto(t, ls, &pb.ListResponse{Locks: []*pb.Lock{lock}, Quarantined: 3}, err)
	ck, err := c.locks.CheckToken(ctx, &pb.CheckTokenRequest{Key: "k", Token: hold.GetToken()})
	wantProto(t, ck, &pb.CheckTokenResponse{Holds: []*pb.Hold{unsafe}, HoldCount: 1}, err)
	ck, err = c.locks.CheckToken(ctx, &pb.CheckTokenRequest{Key: "k"})
	wantProto(t, ck, &pb.CheckTokenResponse{Stale: true, Holds: []*pb.Hold{unsafe}, HoldCount: 1}, err)

	hold.Ttl = durationpb.New(20 * time.Second)
	rn, err := c.locks.Renew(ctx, &pb.RenewRequest{Key: "k", Token: hold.GetToken(), Ttl: hold.GetTtl()})
	wantProto(t, rn, &pb.RenewResponse{Hold: hold}, err)
	rn, err = c.locks.Renew(ctx, &pb.RenewRequest{Key: "k", Token: hold.GetToken()})
	wantProto(t, rn, &pb.RenewResponse{Hold: hold}, err)

	_, err = c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "w2", Wait: durationpb.New(0)})
	held, ok := errors.AsType[*sharelock.Error](pb.FromError(err))
	if !ok || !errors.Is(held, sharelock.ErrLockHeld) || len(held.Holds) != 1 || uint64(held.Holds[0].Token) != hold.GetToken() {
		t.Errorf("a held lock: %v", err)
	}

	ended := proto.CloneOf(hold)
	ended.SafeFor, ended.ExpiresIn = nil, nil
	rl, err := c.locks.Release(ctx, &pb.ReleaseRequest{Key: "k", Token: hold.GetToken(), SentOnce: true})
	wantProto(t, rl, &pb.ReleaseResponse{Hold: ended}, err)
	if !node.once {
		t.Error("sent_once was lost")
	}
	a, err = c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "w1"})
	if err != nil {
		t.Fatal(err)
	}
	fr, err := c.locks.ForceRelease(ctx, &pb.ForceReleaseRequest{Key: "k", Reason: "stuck"})
	if err != nil || fr.GetHold().GetToken() != a.GetHold().GetToken() || len(fr.GetHolds()) != 1 || node.reason != "stuck" {
		t.Errorf("forced release: %v, %v, reason %q", fr, err, node.reason)
	}
}

func TestGRPCMesh(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	m, err := c.mesh.GetMesh(t.Context(), &pb.GetMeshRequest{})
	wantProto(t, m, &pb.GetMeshResponse{
		Cluster: "sharelock", Node: "b", Epoch: 59712345, Leader: "a", Partitions: 1024, Replicas: 2, Active: 341, Release: 1,
		Lease: &pb.Lease{Valid: true, Remaining: durationpb.New(1600 * time.Millisecond)},
		Members: []*pb.Member{{
			Name: "a", Id: "f00", Incarnation: "1-00000000000000aa", Voter: true, Owns: 341, Backs: 340,
			Http: "10.0.0.1:50051", Grpc: "10.0.0.1:50052", Peer: "10.0.0.1:50053", Release: 2,
		}},
	}, err)
	l, err := c.mesh.Locate(t.Context(), &pb.LocateRequest{Key: "k"})
	wantProto(t, l, &pb.LocateResponse{Key: "k", Partition: 17, Owner: "a", Backups: []string{"c"}, Epoch: 59712345}, err)
	if _, err := c.mesh.Leave(t.Context(), &pb.LeaveRequest{}); err != nil || node.left != 1 {
		t.Errorf("leave: %v, left %d times", err, node.left)
	}
}

// Every error of every call keeps its reason and its code.
func TestGRPCErrors(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	ctx := t.Context()
	calls := map[string]func() error{
		"acquire": func() error { _, err := c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "c"}); return err },
		"renew":   func() error { _, err := c.locks.Renew(ctx, &pb.RenewRequest{Key: "k", Token: 1}); return err },
		"release": func() error { _, err := c.locks.Release(ctx, &pb.ReleaseRequest{Key: "k", Token: 1}); return err },
		"get":     func() error { _, err := c.locks.Get(ctx, &pb.GetRequest{Key: "k"}); return err },
		"list":    func() error { _, err := c.locks.List(ctx, &pb.ListRequest{}); return err },
		"check":   func() error { _, err := c.locks.CheckToken(ctx, &pb.CheckTokenRequest{Key: "k", Token: 1}); return err },
		"force":   func() error { _, err := c.locks.ForceRelease(ctx, &pb.ForceReleaseRequest{Key: "k"}); return err },
		"locate":  func() error { _, err := c.mesh.Locate(ctx, &pb.LocateRequest{Key: "k"}); return err },
		"leave":   func() error { _, err := c.mesh.Leave(ctx, &pb.LeaveRequest{}); return err },
	}
	for _, e := range []error{
		sharelock.ErrInvalidArgument, sharelock.ErrUnauthenticated, sharelock.ErrPermissionDenied, sharelock.ErrLockHeld,
		sharelock.ErrNotHeld, sharelock.ErrStaleToken, sharelock.ErrModeConflict, sharelock.ErrRequestOver,
		sharelock.ErrTooManyWaiters, sharelock.ErrQuota, sharelock.ErrNoQuorum, sharelock.ErrNotReady,
		sharelock.ErrQuarantined, sharelock.ErrMessageTooLarge, sharelock.ErrInternal, context.DeadlineExceeded, context.Canceled,
	} {
		node.set(func(n *fakeNode) { n.err = &sharelock.Error{Err: e, Message: "m", RetryAfter: time.Second} })
		for name, call := range calls {
			err := call()
			got, ok := errors.AsType[*sharelock.Error](pb.FromError(err))
			if !ok || !errors.Is(got, e) || got.Message != "m" || got.RetryAfter != time.Second {
				t.Errorf("%s: %v came back as %v", name, e, err)
			}
			if want := pb.ToStatus(e).Code(); status.Code(err) != want {
				t.Errorf("%s: code %v, want %v", name, status.Code(err), want)
			}
		}
	}
}

func TestGRPCInvalid(t *testing.T) {
	c := dialFake(t, newFake(), Options{})
	acquire := func(change func(*pb.AcquireRequest)) error {
		m := &pb.AcquireRequest{Key: "k", ClientId: "c"}
		change(m)
		_, err := c.locks.Acquire(t.Context(), m)
		return err
	}
	renew := func(token uint64, ttl *durationpb.Duration) error {
		_, err := c.locks.Renew(t.Context(), &pb.RenewRequest{Key: "k", Token: token, Ttl: ttl})
		return err
	}
	ttl := func(d *durationpb.Duration) error { return acquire(func(m *pb.AcquireRequest) { m.Ttl = d }) }
	wait := func(d *durationpb.Duration) error { return acquire(func(m *pb.AcquireRequest) { m.Wait = d }) }
	pairs := map[string]string{}
	for i := range 17 {
		pairs[strings.Repeat("n", i+1)] = ""
	}
	_, release := c.locks.Release(t.Context(), &pb.ReleaseRequest{Key: "k"})
	_, check := c.locks.CheckToken(t.Context(), &pb.CheckTokenRequest{Key: "k", Token: 1 << 63})
	_, force := c.locks.ForceRelease(t.Context(), &pb.ForceReleaseRequest{Key: "k", Token: 1 << 63})
	_, reason := c.locks.ForceRelease(t.Context(), &pb.ForceReleaseRequest{Key: "k", Reason: strings.Repeat("r", 513)})
	_, page := c.locks.List(t.Context(), &pb.ListRequest{PageSize: 1 << 31})
	for name, c := range map[string]struct {
		err   error
		field string
	}{
		"no key":         {acquire(func(m *pb.AcquireRequest) { m.Key = "" }), "key"},
		"long key":       {acquire(func(m *pb.AcquireRequest) { m.Key = strings.Repeat("k", 513) }), "key"},
		"key with NUL":   {acquire(func(m *pb.AcquireRequest) { m.Key = "a\x00b" }), "key"},
		"no client":      {acquire(func(m *pb.AcquireRequest) { m.ClientId = "" }), "client_id"},
		"long request":   {acquire(func(m *pb.AcquireRequest) { m.RequestId = strings.Repeat("r", 65) }), "request_id"},
		"ttl 0":          {ttl(durationpb.New(0)), "ttl"},
		"ttl negative":   {ttl(durationpb.New(-time.Second)), "ttl"},
		"ttl short":      {ttl(durationpb.New(99 * time.Millisecond)), "ttl"},
		"ttl long":       {ttl(durationpb.New(61 * time.Second)), "ttl"},
		"ttl malformed":  {ttl(&durationpb.Duration{Seconds: 1, Nanos: -1}), "ttl"},
		"ttl 300 years":  {ttl(&durationpb.Duration{Seconds: 300 * 365 * 86400}), "ttl"},
		"wait negative":  {wait(durationpb.New(-1)), "wait"},
		"wait -10000 y":  {wait(&durationpb.Duration{Seconds: -315576000000}), "wait"},
		"wait long":      {wait(durationpb.New(10*time.Minute + 1)), "wait"},
		"wait malformed": {wait(&durationpb.Duration{Nanos: 1e9}), "wait"},
		"mode":           {acquire(func(m *pb.AcquireRequest) { m.Mode = 256 }), "mode"},
		"slots":          {acquire(func(m *pb.AcquireRequest) { m.Slots = 1_000_001 }), "slots"},
		"17 pairs":       {acquire(func(m *pb.AcquireRequest) { m.Metadata = pairs }), "metadata"},
		"2 KiB + 1": {acquire(func(m *pb.AcquireRequest) {
			m.Metadata = map[string]string{"n": strings.Repeat("v", 2048)}
		}), "metadata"},
		"renew nothing": {renew(0, nil), "token"},
		"renew token":   {renew(1<<63, nil), "token"},
		"renew ttl 0":   {renew(1, durationpb.New(0)), "ttl"},
		"renew ttl 61s": {renew(1, durationpb.New(61*time.Second)), "ttl"},
		"release":       {release, "token"},
		"check":         {check, "token"},
		"force":         {force, "token"},
		"reason":        {reason, "reason"},
		"page size":     {page, "page_size"},
	} {
		e, ok := errors.AsType[*sharelock.Error](pb.FromError(c.err))
		if !ok || status.Code(c.err) != codes.InvalidArgument || e.Field != c.field {
			t.Errorf("%s: %v, want INVALID_ARGUMENT naming %s", name, c.err, c.field)
		}
	}
}

func TestGRPCPresence(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	for _, tc := range []struct {
		m         *pb.AcquireRequest
		md        []string
		client    string
		ttl, wait time.Duration
	}{
		{&pb.AcquireRequest{Key: "1"}, []string{"x-client-id", "md"}, "md", 0, sharelock.DefaultWait},
		{&pb.AcquireRequest{Key: "2", ClientId: "c"}, []string{"x-client-id", "md"}, "c", 0, sharelock.DefaultWait},
		{&pb.AcquireRequest{Key: "3"}, []string{"x-client-id", "", "x-client-id", "two"}, "two", 0, sharelock.DefaultWait},
		{
			&pb.AcquireRequest{Key: "4", Ttl: durationpb.New(sharelock.MinTTL), Wait: durationpb.New(0)},
			[]string{"x-client-id", "md"},
			"md", sharelock.MinTTL, 0,
		},
	} {
		_, err := c.locks.Acquire(metadata.AppendToOutgoingContext(t.Context(), tc.md...), tc.m)
		if r := node.last; err != nil || r.ClientID != tc.client || r.TTL != tc.ttl || r.Wait != tc.wait {
			t.Errorf("%v: %v, arrived as %+v", tc.m, err, r)
		}
	}
}

// rawCodec sends bytes unchanged, to write what none of our clients would.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = slices.Clone(data); return nil }
func (rawCodec) Name() string                       { return "proto" }

// Every malformed message is answered and has no other effect. (gRPC itself answers INTERNAL to
// data that is not a message; our code does not see it.)
func TestGRPCMalformedMessages(t *testing.T) {
	c := dialFake(t, newFake(), Options{})
	send := func(method string, data []byte) error {
		var out []byte
		return c.conn.Invoke(t.Context(), method, data, &out, grpc.ForceCodec(rawCodec{}))
	}
	for name, data := range map[string][]byte{
		"cut short": {0x0a, 0x05, 'k'},
		"not UTF-8": {0x0a, 0x02, 'k', 0xff},
		"garbage":   {0xff, 0xff, 0xff},
	} {
		for _, method := range []string{pb.LockService_Get_FullMethodName, original.ShareLockService_Lock_FullMethodName} {
			err := send(method, data)
			if status.Code(err) != codes.Internal {
				t.Errorf("%s to %s: %v", name, method, err)
			}
		}
	}
	// An unknown field, number 1000, is ignored.
	if err := send(pb.MeshService_Locate_FullMethodName, []byte{0x0a, 0x01, 'k', 0xc0, 0x3e, 0x01}); err != nil {
		t.Errorf("unknown field: %v", err)
	}
	big := append([]byte{0x0a, 0x81, 0x80, 0x80, 0x02}, make([]byte, 4<<20+1)...)
	if err := send(pb.LockService_Get_FullMethodName, big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too large: %v", err)
	}
	if err := send("/sharelock.v1.LockService/Steal", nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
	md := metadata.AppendToOutgoingContext(t.Context(), "x-big", strings.Repeat("x", 32<<10))
	if _, err := c.locks.Get(md, &pb.GetRequest{Key: "k"}); err == nil || status.Code(err) == codes.NotFound {
		t.Errorf("headers of 32 KiB: %v", err)
	}
}

// The node learns how a call ended: by its deadline, or because the caller left.
func TestGRPCCallerLeaves(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		if _, err := c.locks.Acquire(t.Context(), &pb.AcquireRequest{Key: "k", ClientId: "c"}); err != nil {
			t.Fatal(err)
		}
		wait := func(ctx context.Context) error {
			_, err := c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "c", Wait: durationpb.New(time.Minute)})
			return err
		}
		// Also with a distant deadline.
		for _, parent := range []func() (context.Context, context.CancelFunc){
			func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) },
			func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), time.Hour) },
		} {
			ctx, cancel := parent()
			ended := make(chan error)
			go func() { ended <- wait(ctx) }()
			<-node.waits
			cancel()
			if got := <-node.ends; got != context.Canceled {
				t.Errorf("the node saw %v of a cancelled call", got)
			}
			if err := <-ended; !errors.Is(pb.FromError(err), context.Canceled) {
				t.Errorf("the caller saw %v", err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := wait(ctx)
		<-node.waits
		if got := <-node.ends; got != context.DeadlineExceeded {
			t.Errorf("the node saw %v of a call that ran out of time", got)
		}
		if !errors.Is(pb.FromError(err), context.DeadlineExceeded) {
			t.Errorf("the caller saw %v", err)
		}
		if l, err := c.locks.Get(t.Context(), &pb.GetRequest{Key: "k"}); err != nil || len(l.GetLock().GetWaiters()) != 0 {
			t.Errorf("left behind: %v, %v", l, err)
		}
	})
}

func TestGRPCPanics(t *testing.T) {
	node := newFake()
	var log strings.Builder
	c := dialFake(t, node, Options{Logger: testLogger(&log)})
	node.set(func(n *fakeNode) { n.hook = func() { panic("secret detail") } })
	_, err := c.locks.Get(t.Context(), &pb.GetRequest{Key: "k"})
	if !errors.Is(pb.FromError(err), sharelock.ErrInternal) || status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	node.set(func(n *fakeNode) { n.hook = nil })
	if _, err := c.locks.Get(t.Context(), &pb.GetRequest{Key: "k"}); status.Code(err) != codes.NotFound {
		t.Errorf("after the panic: %v", err)
	}
	c.server.Stop()
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "secret detail") || !strings.Contains(got, "fake_test.go") {
		t.Errorf("log: %s", got)
	}
}

func TestGRPCStreamPanics(t *testing.T) {
	g := NewGRPC(newFake(), Options{})
	g.health.ready = func() error { panic("x") }
	c := dialServer(t, g)
	w, err := c.health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
}

// Waiting calls, however many, leave room for others.
func TestGRPCManyWait(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		c := dialFake(t, node, Options{})
		if _, err := c.locks.Acquire(t.Context(), &pb.AcquireRequest{Key: "k", ClientId: "c"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range 2 * streamWorkers {
			waiting.Go(func() {
				_, err := c.locks.Acquire(ctx, &pb.AcquireRequest{Key: "k", ClientId: "c", Wait: durationpb.New(time.Minute)})
				if !errors.Is(pb.FromError(err), context.Canceled) {
					t.Errorf("a call that waited: %v", err)
				}
			})
			<-node.waits
		}
		if _, err := c.locks.Get(t.Context(), &pb.GetRequest{Key: "k"}); err != nil {
			t.Error(err)
		}
		cancel()
		for range 2 * streamWorkers {
			<-node.ends
		}
		waiting.Wait()
	})
}

func TestGRPCReflection(t *testing.T) {
	for _, on := range []bool{true, false} {
		c := dialFake(t, newFake(), Options{Reflection: on})
		stream, err := reflectionpb.NewServerReflectionClient(c.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Without reflection the stream may be over before the send.
		if err := stream.Send(&reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
		}); err != nil && on {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if !on {
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("off: %v, %v", r, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range r.GetListServicesResponse().GetService() {
			names = append(names, s.GetName())
		}
		for _, want := range []string{"sharelock.v1.LockService", "sharelock.v1.MeshService", "sharelock.ShareLockService", "grpc.health.v1.Health"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s is not listed in %v", want, names)
			}
		}
	}
}

func TestGRPCShutdown(t *testing.T) {
	node := newFake()
	c := dialFake(t, node, Options{})
	if _, err := c.locks.Acquire(t.Context(), &pb.AcquireRequest{Key: "k", ClientId: "c"}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if _, err := c.locks.Acquire(t.Context(), &pb.AcquireRequest{Key: "k", ClientId: "c"}); status.Code(err) != codes.Unavailable &&
			status.Code(err) != codes.Canceled {
			t.Errorf("the call that was cut off: %v", err)
		}
	})
	<-node.waits
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("impatient")
	cancel(impatient)
	if err := c.server.Shutdown(ctx); err != impatient {
		t.Errorf("a shutdown that was cut short returned %v", err)
	}
	if len(node.ends) != 1 {
		t.Error("the shutdown did not wait for the handler")
	}
	if err := <-c.served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// Stop returns when no handler runs any more, so that the node behind them can be stopped.
func TestGRPCStopWaitsForHandlers(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		node := newFake()
		entered, release := make(chan struct{}), make(chan struct{})
		node.hook = func() { close(entered); <-release } // ignores its context
		c := dialFake(t, node, Options{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.locks.Get(t.Context(), &pb.GetRequest{Key: "k"}); status.Code(err) != codes.Unavailable {
				t.Errorf("the call: %v", err)
			}
		})
		<-entered
		stopped := make(chan struct{})
		wg.Go(func() { c.server.Stop(); close(stopped) })
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("Stop did not wait")
		default:
		}
		close(release)
		wg.Wait()
	})
}

// Health watches, which never end by themselves, do not delay a shutdown.
func TestGRPCShutdownEndsWatches(t *testing.T) {
	c := dialFake(t, newFake(), Options{})
	w, err := c.health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", r, err)
	}
	if err := c.server.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if r, err := w.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("last word of the watch: %v, %v", r, err)
	}
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("end of the watch: %v", err)
	}
}
