package secure

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// GRPC returns the transport credentials of a connection of gRPC to addr. c may be nil. done is called
// with the result of each handshake, of which gRPC keeps only the text.
func (t *Transport) GRPC(addr string, c *Credential, done func(error)) credentials.TransportCredentials {
	return &transportCredentials{transport: t, addr: addr, credential: c, done: done}
}

// transportCredentials performs handshakes with the configuration of the moment.
type transportCredentials struct {
	transport  *Transport
	addr       string
	credential *Credential
	done       func(error)
}

// authInfo is what is known about a connection.
type authInfo struct {
	credentials.CommonAuthInfo
	protocol string
	// refused is why no token may be sent, or nil.
	refused error
}

// AuthType implements credentials.AuthInfo.
func (a authInfo) AuthType() string { return a.protocol }

// ClientHandshake implements credentials.TransportCredentials.
func (t *transportCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := t.transport.Client(ctx, raw, t.addr, ProtoGRPC)
	t.done(err)
	if err != nil {
		return nil, nil, err
	}
	info := authInfo{protocol: t.Info().SecurityProtocol}
	info.SecurityLevel = credentials.NoSecurity
	if t.transport.On() {
		info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	if t.credential != nil {
		info.refused = t.credential.Allow(conn)
		t.credential.Connected()
	}
	return conn, info, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (t *transportCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info implements credentials.TransportCredentials.
func (t *transportCredentials) Info() credentials.ProtocolInfo {
	if t.transport.On() {
		return credentials.ProtocolInfo{SecurityProtocol: "tls"}
	}
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

// Clone implements credentials.TransportCredentials.
func (t *transportCredentials) Clone() credentials.TransportCredentials {
	c := *t
	return &c
}

// OverrideServerName implements credentials.TransportCredentials. The name is in the configuration.
func (t *transportCredentials) OverrideServerName(string) error { return nil }

// PerRPC returns the credentials of calls of gRPC.
func (c *Credential) PerRPC() credentials.PerRPCCredentials { return perRPC{c} }

type perRPC struct{ c *Credential }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (p perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if err := p.allow(ctx); err != nil {
		return nil, err
	}
	t, err := p.c.Known(ctx)
	if err != nil {
		return nil, err
	}
	return t.metadata, nil
}

// allow returns an error if the token must not be sent over the connection of a call.
func (p perRPC) allow(ctx context.Context) error {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if ours, ok := info.AuthInfo.(authInfo); ok {
		return ours.refused
	}
	// The user has chosen other transport credentials.
	if p.c.plaintext || credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) == nil {
		return nil
	}
	return &PlaintextError{Addr: "a node"}
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. A connection within the machine
// needs none, see allow.
func (p perRPC) RequireTransportSecurity() bool { return false }
