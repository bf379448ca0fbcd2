package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/share"
	original "github.com/sgkandale/sharelock/proto/sharelock"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// Limits of one gRPC connection.
const (
	maxStreams     = 1000
	maxHeaderBytes = 16 << 10
	// streamWindow is the flow-control window of a stream in bytes, connWindow that of a
	// connection. They are static, because gRPC determines dynamic windows with a ping for
	// every message, which doubles the messages of a session with little traffic.
	streamWindow = 256 << 10
	connWindow   = 1 << 20
	// streamWorkers is the number of goroutines that are reused for calls; further concurrent
	// calls get a new goroutine each. A new goroutine begins with a small stack, and growing
	// it is a fifth of the cost of a call.
	streamWorkers = 128

	handshakeTimeout  = 10 * time.Second
	keepaliveMinimum  = 5 * time.Second
	keepaliveInterval = 10 * time.Second
	keepaliveTimeout  = 3 * time.Second
)

// GRPC is a node's public gRPC server. It serves sharelock.v1.LockService and MeshService, the
// original sharelock.ShareLockService, grpc.health.v1.Health and, if Options.Reflection is set,
// server reflection. On the same port it serves sessions without gRPC, which are cheaper. Make it
// with [NewGRPC]. All methods are safe for concurrent use.
type GRPC struct {
	server *grpc.Server
	health *health
	// framed serves the sessions without gRPC.
	framed *framed
	// drain is closed to end the sessions.
	drain    chan struct{}
	draining sync.Once
}

// NewGRPC returns a server in front of node. It does not listen until [GRPC.Serve] is called.
func NewGRPC(node Node, o Options) *GRPC {
	log, gate := o.logger(), o.gate()
	var secure []grpc.ServerOption
	if o.TLS {
		secure = append(secure, grpc.Creds(newAccepting()))
	}
	unary := []grpc.UnaryServerInterceptor{translateErrors(log), countUnary(o.Calls), endWithDeadline, recoverUnary(log)}
	if o.Traces {
		unary = append(unary, traceUnary)
	}
	streams := []grpc.StreamServerInterceptor{recoverStream(log)}
	if gate != nil {
		unary, streams = append(unary, gate.Unary()), append(streams, gate.Stream())
	}
	s := grpc.NewServer(append(secure,
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
		grpc.ForceServerCodecV2(sessionwire.RawCodec{}), // for sessions, see sessionwire.Frame
		// Outermost first. Recovery is inside of the error translation, so that its error is translated
		// like any other.
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(streams...),
	)...)
	g := &GRPC{
		server: s,
		drain:  make(chan struct{}),
		health: newHealth(node.Ready, []string{
			pb.LockService_ServiceDesc.ServiceName,
			pb.MeshService_ServiceDesc.ServiceName,
			original.ShareLockService_ServiceDesc.ServiceName,
		}),
	}
	l := &locks{node: node, watcher: node, historian: node, drain: g.drain, ring: func() []byte { return ringBytes(node) }, log: log, gate: gate, sessions: share.New(o.MaxSessions)}
	g.framed = newFramed(l, log)
	pb.RegisterLockServiceServer(s, l)
	pb.RegisterMeshServiceServer(s, newMeshes(node, gate, o))
	original.RegisterShareLockServiceServer(s, &legacy{node: node, maxWait: o.MaxWait, gate: gate})
	healthpb.RegisterHealthServer(s, g.health)
	if o.Reflection {
		reflection.Register(s)
	}
	return g
}

// Serve accepts connections on l until Shutdown or Stop, and then returns nil. If these were called
// before, it returns nil at once. It closes l. It may be called for several listeners.
func (g *GRPC) Serve(l net.Listener) error {
	err := g.server.Serve(g.framed.split(l))
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// SetServing(false) makes the health service answer NOT_SERVING, regardless of the node, until
// SetServing(true). Each call also makes the health watches ask the node again at once.
func (g *GRPC) SetServing(serving bool) { g.health.setServing(serving) }

// Shutdown makes the health service answer NOT_SERVING, ends the health watches, refuses new calls,
// waits for calls in flight, and ends each session when its calls are answered. If ctx ends first,
// Shutdown cancels the calls, still waits for their handlers, and returns the cause of ctx.
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

// Stop closes all connections, which ends the contexts of the handlers, and waits for the handlers.
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

// endWithDeadline gives handlers a context that distinguishes a deadline from a cancellation.
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
