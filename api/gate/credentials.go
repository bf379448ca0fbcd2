package gate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/netconn"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// httpCredentials returns the credentials of a request.
func httpCredentials(r *http.Request) (auth.Credentials, error) {
	c := auth.Credentials{Plain: r.TLS == nil, From: remote.IP(remote.Addr(r.Context()))}
	if r.TLS != nil {
		c.Certificate = verifiedCertificate(r.TLS)
	}
	var err error
	if c.Bearer, err = bearerOf(r.Header.Values("Authorization")); c.Bearer == "" && err == nil {
		c.Bearer = cookieToken(r)
	}
	return c, err
}

// GRPCCredentials returns the credentials of a gRPC call.
func GRPCCredentials(ctx context.Context) (auth.Credentials, error) {
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

// ConnCredentials returns the credentials of a connection.
func ConnCredentials(conn net.Conn) auth.Credentials {
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
