package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/netconn"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// doors are the names of the APIs in the audit log.
const (
	doorGRPC    = "grpc"
	doorHTTP    = "http"
	doorSession = "session"
)

// unary returns an interceptor that lets calls pass the gate.
func (g *gate) unary() grpc.UnaryServerInterceptor {
	table := grpcAccess()
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
		done(ctx, resp, err)
		return resp, err
	}
}

// stream returns an interceptor that lets streams pass the gate.
func (g *gate) stream() grpc.StreamServerInterceptor {
	table := grpcAccess()
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
		finished(ctx, 0, err)
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

func (g *gate) enterGRPC(ctx context.Context, method string) (context.Context, *visit, error) {
	from := entrance{door: doorGRPC, method: method, remote: remote.Addr(ctx)}
	c, err := grpcCredentials(ctx)
	if err != nil {
		v := &visit{gate: g, audit: g.audit, from: from}
		v.refused(ctx, err)
		return ctx, v, err
	}
	return g.enter(ctx, c, from)
}

// grpcCredentials returns the credentials of a gRPC call.
func grpcCredentials(ctx context.Context) (auth.Credentials, error) {
	c := auth.Credentials{Plain: true}
	if p, ok := peer.FromContext(ctx); ok {
		c.From = remote.IP(p.Addr)
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			c.Plain, c.Certificate = false, verifiedCertificate(&info.State)
		}
	}
	var err error
	c.Bearer, err = bearerOf(metadata.ValueFromIncomingContext(ctx, "authorization"))
	return c, err
}

// connCredentials returns the credentials of a connection.
func connCredentials(conn net.Conn) auth.Credentials {
	c := auth.Credentials{Plain: true, From: remote.IP(conn.RemoteAddr())}
	if state, secure := netconn.TLS(conn); secure {
		c.Plain, c.Certificate = false, verifiedCertificate(&state)
	}
	return c
}

// verifiedCertificate returns the certificate of the other end of a connection if it was verified,
// or nil.
func verifiedCertificate(state *tls.ConnectionState) *x509.Certificate {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// bearerOf returns the bearer token in the values of the header Authorization, or "" if there are
// none.
func bearerOf(headers []string) (string, error) {
	if len(headers) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if token = strings.TrimSpace(token); len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: `want one header Authorization with "Bearer" and a token`}
	}
	return token, nil
}
