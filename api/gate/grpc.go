package gate

import (
	"context"

	"github.com/sgkandale/sharelock/api/remote"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// The doors are the names of the APIs in the audit log.
const (
	DoorGRPC    = "grpc"
	DoorHTTP    = "http"
	DoorSession = "session"
)

// Unary returns an interceptor through which calls pass the gate. The gate must not be nil.
func (g *Gate) Unary() grpc.UnaryServerInterceptor {
	if !g.Authenticates() {
		return g.tellUnary()
	}
	table := GRPCAccess()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		need := table[info.FullMethod]
		if need.scope == openToAll {
			return next(ctx, req)
		}
		ctx, v, err := g.enterGRPC(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		if ctx, err = v.permit(ctx, need, keyOf(req)); err != nil {
			return nil, err
		}
		resp, err := next(ctx, req)
		Done(ctx, resp, err)
		return resp, err
	}
}

// Stream returns an interceptor through which streams pass the gate. The gate must not be nil.
func (g *Gate) Stream() grpc.StreamServerInterceptor {
	if !g.Authenticates() {
		return g.tellStreams()
	}
	table := GRPCAccess()
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		need := table[info.FullMethod]
		if need.scope == openToAll || info.FullMethod == pb.LockService_Session_FullMethodName {
			return next(srv, stream) // a session enters by itself, and may do so again
		}
		ctx, v, err := g.enterGRPC(stream.Context(), info.FullMethod)
		if err == nil {
			ctx, err = v.permit(ctx, need, "")
		}
		if err != nil {
			return pb.ToStatus(err).Err()
		}
		err = next(srv, &visitingStream{stream, ctx})
		Finished(ctx, 0, err)
		return err
	}
}

// visitingStream is a stream with the context of its visit.
type visitingStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a stream has its context
}

// Context implements grpc.ServerStream.
func (s *visitingStream) Context() context.Context { return s.ctx }

func (g *Gate) enterGRPC(ctx context.Context, method string) (context.Context, *visit, error) {
	from := entrance{door: DoorGRPC, method: method, remote: remote.Addr(ctx)}
	c, err := GRPCCredentials(ctx)
	if err != nil {
		v := &visit{gate: g, audit: g.audit, from: from}
		v.refused(ctx, err)
		return ctx, v, err
	}
	return g.enter(ctx, c, from)
}
