package nodetls

import (
	"crypto/tls"
	"time"
)

// Protocol is the name of streams between members, and of plain sessions, in ALPN.
const Protocol = "sharelock/1"

// Clients says how clients connect.
type Clients int

// The modes.
const (
	// ClientsOff: without TLS.
	ClientsOff Clients = iota
	// ClientsOn: with TLS. A certificate of a client is verified if there is one.
	ClientsOn
	// ClientsMutual: with TLS and a certificate.
	ClientsMutual
	// ClientsMigrate: as ClientsOn, or without TLS.
	ClientsMigrate
)

// clientPort is a port for clients: what it speaks, and whether it asks for certificates.
type clientPort struct{ http, mutual bool }

// configure makes the configs of a set.
func (s *Set) configure(member string, clock func() time.Time) {
	base := func(least uint16, protocols ...string) *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{s.cert},
			ClientCAs:    s.pool,
			RootCAs:      s.pool,
			MinVersion:   least,
			NextProtos:   protocols,
			Time:         clock,
			// Streams live long, and a resumed one would rely on what was verified before a reload.
			SessionTicketsDisabled: true,
			// A batch is one record, or as few as possible.
			DynamicRecordSizingDisabled: true,
		}
	}
	s.clients = make(map[clientPort]*tls.Config)
	for _, mutual := range []bool{false, true} {
		grpc := base(tls.VersionTLS12, "h2", Protocol)
		// Protocol is not served at the HTTP port, but refused with an answer: see api.RefuseSession.
		http := base(tls.VersionTLS12, "h2", "http/1.1", Protocol)
		for _, c := range []*tls.Config{grpc, http} {
			if c.ClientAuth = tls.VerifyClientCertIfGiven; mutual {
				c.ClientAuth = tls.RequireAndVerifyClientCert
			}
		}
		s.clients[clientPort{http: false, mutual: mutual}] = grpc
		s.clients[clientPort{http: true, mutual: mutual}] = http
	}
	// Clients that can choose the protocol get an answer that people can read.
	s.refusals = base(tls.VersionTLS12, "http/1.1", Protocol, "h2")
	if member == "" {
		return
	}
	// crypto/tls calls VerifyConnection after it has verified the chain and its usages, also for
	// resumed connections.
	verify := func(state tls.ConnectionState) error { return checkMember(state.PeerCertificates[0], member) }
	// Members use Protocol for everything that they send; h2 is for tools that call them.
	s.memberServer = base(tls.VersionTLS13, Protocol, "h2")
	s.memberServer.ClientAuth = tls.RequireAndVerifyClientCert
	s.memberServer.VerifyConnection = verify
	s.memberClient = base(tls.VersionTLS13, Protocol)
	s.memberClient.ServerName = member
	s.memberClient.VerifyConnection = verify
}
