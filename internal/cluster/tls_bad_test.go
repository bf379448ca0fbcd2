package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/link"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// logLines keeps what nodes log.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func memberPair(t *testing.T, ca *certs.CA, opts ...certs.Option) certs.Pair {
	t.Helper()
	p, err := ca.Member("stranger", "testcluster", nil, opts...)
	must(t, err)
	return p
}

// stranger is a process outside the mesh that dials node 0 with a certificate, or without one.
type stranger struct {
	c    *cluster.Cluster
	pair certs.Pair
	// ca is the authority that it trusts.
	ca *certs.CA
	// most is the newest TLS version that it speaks, 0 is any; plain means without TLS.
	most  uint16
	plain bool
}

func (s stranger) config(t *testing.T, protocols ...string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{ServerName: "localhost", RootCAs: s.ca.Pool(), NextProtos: protocols, MaxVersion: s.most}
	if s.pair.Cert != nil {
		cert, err := s.pair.TLS()
		must(t, err)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return cfg
}

// dial opens a stream to an address.
func (s stranger) dial(ctx context.Context, t *testing.T, addr string, protocols ...string) (net.Conn, error) {
	t.Helper()
	conn, err := s.c.DialContext(ctx, addr)
	if err != nil || s.plain {
		return conn, err
	}
	c := tls.Client(conn, s.config(t, protocols...))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// talk sends the beginning of a stream and reads n bytes of the answer.
func (s stranger) talk(ctx context.Context, t *testing.T, addr string, hello []byte, n int) ([]byte, error) {
	t.Helper()
	conn, err := s.dial(ctx, t, addr, "sharelock/1")
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // of a test
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	answer := make([]byte, n)
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

func (s stranger) link(ctx context.Context, t *testing.T) error {
	n := s.c.Node(0).Status()
	to := n.Members[0]
	for _, m := range n.Members {
		if m.Name == n.Node {
			to = m
		}
	}
	hello, err := link.Hello{Releases: release.Own(), Cluster: clusterID(ctx, t, s.c), To: to.ID + "." + to.Incarnation, From: "stranger"}.Append(nil)
	must(t, err)
	answer, err := s.talk(ctx, t, s.c.Addrs(0).Peer, hello, len(link.Magic))
	if err == nil && string(answer) != link.Magic {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

// raft opens a Raft stream. It has no answer: an accepted stream stays open.
func (s stranger) raft(ctx context.Context, t *testing.T) error {
	st := s.c.Node(0).Status()
	var id string
	for _, m := range st.Members {
		if m.Name == st.Node {
			id = m.ID
		}
	}
	follows := clusterID(ctx, t, s.c)
	hello := append([]byte("SLRF\x02"), byte(len(follows)))
	hello = append(append(hello, follows...), byte(len(id)))
	answer, err := s.talk(ctx, t, s.c.Addrs(0).Peer, append(hello, id...), 1)
	if err == nil {
		err = fmt.Errorf("answer %q", answer)
	}
	if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() {
		return nil
	}
	return err
}

func (s stranger) client(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if !s.plain {
		creds = credentials.NewTLS(s.config(t))
	}
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(s.c.DialContext))
	must(t, err)
	return cc
}

// peerCall makes a call between members.
func (s stranger) peerCall(ctx context.Context, t *testing.T) error {
	cc := s.client(t, s.c.Addrs(0).Peer)
	defer cc.Close() //nolint:errcheck // of a test
	_, err := peerv1.NewPeerServiceClient(cc).Probe(ctx, &peerv1.ProbeRequest{Release: 1, OldestRelease: 1})
	return err
}

func (s stranger) grpc(ctx context.Context, t *testing.T) error {
	cc := s.client(t, s.c.Addrs(0).GRPC)
	defer cc.Close() //nolint:errcheck // of a test
	_, err := pb.NewMeshServiceClient(cc).GetMesh(ctx, &pb.GetMeshRequest{})
	return err
}

func (s stranger) session(ctx context.Context, t *testing.T) error {
	conn, err := s.dial(ctx, t, s.c.Addrs(0).GRPC, "sharelock/1")
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // of a test
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		return err
	}
	return sessionwire.ReadWelcome(conn)
}

func (s stranger) http(ctx context.Context, t *testing.T) error {
	scheme := "https://"
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return s.c.DialContext(ctx, addr) },
		ForceAttemptHTTP2: true,
	}
	if s.plain {
		scheme = "http://"
	} else {
		transport.TLSClientConfig = s.config(t)
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+s.c.Addrs(0).HTTP+"/v1/mesh", nil)
	must(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// clusterID asks node 0 for the id of its cluster.
func clusterID(ctx context.Context, t *testing.T, c *cluster.Cluster) []byte {
	t.Helper()
	ca := c.CA()
	if ca == nil {
		ca = newCA(t)
	}
	for _, s := range []stranger{{c: c, ca: ca, pair: memberPair(t, ca)}, {c: c, plain: true}} {
		cc := s.client(t, c.Addrs(0).Peer)
		resp, err := peerv1.NewPeerServiceClient(cc).Probe(ctx, &peerv1.ProbeRequest{Release: 1, OldestRelease: 1})
		_ = cc.Close()
		if err == nil {
			return resp.GetClusterId()
		}
	}
	t.Fatal("node 0 answers no probe")
	return nil
}

// dialMember opens a connection to the peer port of node 0.
func dialMember(ctx context.Context, t *testing.T, c *cluster.Cluster, pair certs.Pair, ca *certs.CA) error {
	t.Helper()
	conn, err := stranger{c: c, pair: pair, ca: ca}.dial(ctx, t, c.Addrs(0).Peer, "sharelock/1")
	if err == nil {
		err = conn.Close()
	}
	return err
}

func plainMember(ctx context.Context, t *testing.T, c *cluster.Cluster) error {
	t.Helper()
	return stranger{c: c, plain: true}.link(ctx, t)
}

// way is one protocol at one port.
type way struct {
	name string
	try  func(stranger, context.Context, *testing.T) error
}

var (
	memberWays = []way{{"link", stranger.link}, {"raft", stranger.raft}, {"peer gRPC", stranger.peerCall}}
	clientWays = []way{{"HTTP", stranger.http}, {"gRPC", stranger.grpc}, {"session", stranger.session}}
)

// No port and no protocol accepts a bad certificate, whatever is wrong with it.
func TestSimBadCertificates(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var logs logLines
		c := cluster.Start(t, cluster.Options{Nodes: 1, Net: cluster.Memory, TLS: cluster.TLSAll, Logs: &logs})
		ca, now := c.CA(), time.Now()
		clientOf := func(ca *certs.CA, opts ...certs.Option) certs.Pair {
			p, err := ca.Client("ci", opts...)
			must(t, err)
			return p
		}
		for _, tt := range []struct {
			name           string
			s              stranger
			member, client bool
			said           string
		}{
			{"a member", stranger{pair: memberPair(t, ca)}, true, true, ""},
			{"none", stranger{}, false, true, "client didn't provide a certificate"},
			{"a client", stranger{pair: clientOf(ca)}, false, true, `\"ci\" (ci) is not one of a member`},
			{"expired", stranger{pair: memberPair(t, ca, certs.Valid(now.Add(-2*time.Hour), now.Add(-time.Hour)))}, false, false, "certificate has expired"},
			{"not valid yet", stranger{pair: memberPair(t, ca, certs.Valid(now.Add(time.Hour), now.Add(2*time.Hour)))}, false, false, "is not yet valid"},
			{"another authority", stranger{pair: memberPair(t, newCA(t))}, false, false, "unknown authority"},
			{"another cluster", stranger{pair: memberPair(t, ca, certs.Names("member.other.sharelock"))}, false, true, "(member.other.sharelock) is not one of a member"},
			{"addresses only", stranger{pair: memberPair(t, ca, certs.Names("127.0.0.1"))}, false, true, "(127.0.0.1) is not one of a member"},
			{"another usage", stranger{pair: memberPair(t, ca, certs.Usages(x509.ExtKeyUsageServerAuth))}, false, false, "incompatible key usage"},
			{"TLS 1.2", stranger{pair: memberPair(t, ca), most: tls.VersionTLS12}, false, true, "unsupported versions"},
			{"no TLS", stranger{plain: true}, false, false, "this node has TLS between members, and who sent it has not"},
		} {
			tt.s.c, tt.s.ca = c, ca
			time.Sleep(time.Minute) // each error is logged at most once a minute
			before := len(logs.String())
			for _, w := range append(memberWays, clientWays...) {
				want := tt.client
				if strings.Contains("link raft peer gRPC", w.name) && w.name != "gRPC" {
					want = tt.member
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if err := w.try(tt.s, ctx, t); (err == nil) != want {
					t.Errorf("%s, %s: %v, want served %v", tt.name, w.name, err, want)
				}
				cancel()
			}
			synctest.Wait() // the stranger may notice the refusal before the node has logged it
			if said := logs.String()[before:]; !strings.Contains(said, tt.said) || tt.said != "" && !strings.Contains(said, "level=WARN") {
				t.Errorf("%s: logged %q, want %q", tt.name, said, tt.said)
			}
		}
	})
}

// A client without TLS is told so in its own protocol, and so is a client with TLS at a port without it.
func TestSimWrongTransport(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		ctx := long(t)
		secure := cluster.Start(t, cluster.Options{Nodes: 1, Net: cluster.Memory, TLS: cluster.TLSAll})
		s := stranger{c: secure, plain: true}
		for _, tt := range []struct {
			name, want string
			err        error
		}{
			{"HTTP", "400 Bad Request: 50051, the HTTP port of node n0, needs TLS", s.http(ctx, t)},
			{"gRPC", "50052, the gRPC port of node n0, needs TLS", s.grpc(ctx, t)},
			{"session", "50052, the gRPC port of node n0, needs TLS", s.session(ctx, t)},
		} {
			if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf("%s without TLS: %v, want %q", tt.name, tt.err, tt.want)
			}
		}
		plain := cluster.Start(t, cluster.Options{Nodes: 1, Net: cluster.Memory})
		s = stranger{c: plain, ca: newCA(t)}
		for name, err := range map[string]error{"HTTP": s.http(ctx, t), "gRPC": s.grpc(ctx, t), "session": s.session(ctx, t), "link": s.link(ctx, t)} {
			if err == nil || !strings.Contains(err.Error(), "first record does not look like a TLS handshake") && !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
				t.Errorf("%s with TLS: %v", name, err)
			}
		}
	})
}

// While a port migrates, each client gets what it asks for.
func TestSimMigratingPorts(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(t, cluster.Options{Nodes: 1, Net: cluster.Memory, TLS: cluster.TLSAll, Configure: func(_ int, cfg *mesh.Config) {
			cfg.TLS.Members, cfg.TLS.Clients = mesh.TLSMigrate, mesh.TLSMigrate
		}})
		for _, w := range append(memberWays, clientWays...) {
			for _, s := range []stranger{{c: c, plain: true}, {c: c, ca: c.CA(), pair: memberPair(t, c.CA())}} {
				if err := w.try(s, long(t), t); err != nil {
					t.Errorf("%s, plain %v: %v", w.name, s.plain, err)
				}
			}
		}
	})
}
