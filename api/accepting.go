package api

import (
	"net"

	"github.com/sgkandale/sharelock/internal/netconn"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// accepting are the transport credentials of a gRPC server whose connections have completed their TLS
// handshake already, because the handshake comes before the port detects the protocol. Handlers find
// credentials.TLSInfo in peer.Peer.AuthInfo.
type accepting struct {
	credentials.TransportCredentials // of a connection without TLS
}

func newAccepting() credentials.TransportCredentials { return accepting{insecure.NewCredentials()} }

// ServerHandshake implements credentials.TransportCredentials.
func (a accepting) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	state, ok := netconn.TLS(conn)
	if !ok {
		return a.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (a accepting) Clone() credentials.TransportCredentials {
	return accepting{a.TransportCredentials.Clone()}
}
