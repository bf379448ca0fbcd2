package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// What one gRPC connection may ask for.
const (
	maxStreams     = 1000
	maxHeaderBytes = 16 << 10
	// streamWindow is the most that is read ahead of a stream, in bytes; connWindow what
	// all streams of a connection may have under way. Fixed, because gRPC finds out by a
	// ping with every message what they could be, which doubles the messages of a session
	// with little to say.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	// streamWorkers is how many calls are handled at a time by goroutines that wait for the
	// next one; others get a goroutine each. A new goroutine begins with a small stack, and
	// to let it grow is a fifth of what a call costs.
	streamWorkers = 128

	handshakeTimeout  = 10 * time.Second
	keepaliveMinimum  = 5 * time.Second
	keepaliveInterval = 10 * time.Second
	keepaliveTimeout  = 3 * time.Second
)

// GRPC is a node's public gRPC server: sharelock.v1.LockService and MeshService,
// the original's sharelock.ShareLockService, grpc.health.v1.Health and, if asked
// for, reflection. On the same port it serves sessions without gRPC, which cost less. Make it with [NewGRPC]. All methods are safe for concurrent
// use.
type GRPC struct {
	server *grpc.Server
	health *health
	// framed are the sessions without gRPC.
	framed *framed
	// drain is closed when sessions shall end.
	drain    chan struct{}
	draining sync.Once
}

// NewGRPC builds the server in front of node. It does not listen yet: see
// [GRPC.Serve].
func NewGRPC(node Node, o Options) *GRPC {
	log := o.logger()
	s := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             keepaliveMinimum,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    keepaliveInterval,
			Timeout: keepaliveTimeout,
		}),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(sharelock.MaxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ForceServerCodecV2(pb.RawCodec{}), // for sessions, see pb.Frame
		// Outermost first: recovery is next to the handler, so that its error is
		// translated as any other.
		grpc.ChainUnaryInterceptor(translateErrors(log), endWithDeadline, recoverUnary(log)),
		grpc.ChainStreamInterceptor(recoverStream(log)),
	)
	g := &GRPC{
		server: s,
		drain:  make(chan struct{}),
		health: newHealth(node.Ready, []string{
			pb.LockService_ServiceDesc.ServiceName,
			pb.MeshService_ServiceDesc.ServiceName,
			original.ShareLockService_ServiceDesc.ServiceName,
		}),
	}
	l := &locks{node: node, drain: g.drain, ring: func() []byte { return ringBytes(node) }, log: log}
	g.framed = newFramed(l, log)
	pb.RegisterLockServiceServer(s, l)
	pb.RegisterMeshServiceServer(s, &meshes{node: node})
	original.RegisterShareLockServiceServer(s, &legacy{node: node, maxWait: o.MaxWait})
	healthpb.RegisterHealthServer(s, g.health)
	if o.Reflection {
		reflection.Register(s)
	}
	return g
}

// Serve accepts connections on l until Shutdown or Stop, and then returns nil, also when
// they came first. It closes l. It may be called for several listeners.
func (g *GRPC) Serve(l net.Listener) error {
	err := g.server.Serve(g.framed.split(l))
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// SetServing(false) makes the health service say NOT_SERVING from now on,
// whatever the node says, and stays so until SetServing(true). Either call also
// makes the watches look at the node again at once.
func (g *GRPC) SetServing(serving bool) { g.health.setServing(serving) }

// Shutdown says NOT_SERVING, ends the health watches, refuses new calls, waits for
// the running ones, and ends the sessions when theirs are answered. When ctx ends first it cancels those, still waits for
// their handlers, and returns ctx's error.
func (g *GRPC) Shutdown(ctx context.Context) error {
	g.health.stop()
	g.draining.Do(func() { close(g.drain) }) // GracefulStop would wait for streams for ever
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.server.GracefulStop()
		g.framed.wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		g.framed.stop()
		g.server.Stop() // makes GracefulStop return
	}
	<-done
	return err
}

// Stop closes all connections at once and waits for the handlers, whose contexts
// have ended.
func (g *GRPC) Stop() {
	g.health.stop()
	g.framed.stop()
	g.server.Stop()
	g.framed.wait()
}

// translateErrors turns the errors of package sharelock into statuses.
func translateErrors(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		resp, err := next(ctx, req)
		if err == nil {
			return resp, nil
		}
		logInternal(log, info.FullMethod, err)
		return nil, pb.ToStatus(err).Err()
	}
}

// endWithDeadline gives handlers a context that knows a deadline from a
// cancellation.
func endWithDeadline(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, cancel := withDeadlineError(ctx)
	defer cancel()
	return next(ctx, req)
}

func recoverUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = panicked(log, info.FullMethod, p)
			}
		}()
		return next(ctx, req)
	}
}

func recoverStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = pb.ToStatus(panicked(log, info.FullMethod, p)).Err()
			}
		}()
		return next(srv, stream)
	}
}
