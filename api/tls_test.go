package api

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/refuse"
	"github.com/sgkandale/sharelock/internal/certs"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// secured is a listener of connections after the TLS handshake, with a client's certificate.
type secured struct {
	net.Listener
	cfg *tls.Config
}

func (l secured) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := tls.Server(conn, l.cfg)
	return c, c.Handshake()
}

// listenTLS returns such a listener, and the config of a client.
func listenTLS(t *testing.T) (net.Listener, *tls.Config) {
	t.Helper()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	node, nerr := ca.Member("a", "x", nil)
	client, cerr := ca.Client("ci")
	nodeCert, nterr := node.TLS()
	clientCert, cterr := client.TLS()
	if err := errors.Join(nerr, cerr, nterr, cterr); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &tls.Config{
		Certificates: []tls.Certificate{nodeCert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.Pool(),
		NextProtos: []string{"h2", "http/1.1", sessionwire.Protocol},
	}
	return secured{l, server}, &tls.Config{Certificates: []tls.Certificate{clientCert}, RootCAs: ca.Pool(), ServerName: "localhost"}
}

// Handlers of gRPC calls see the client's certificate, and sessions on the same port work.
func TestGRPCOverTLS(t *testing.T) {
	l, cfg := listenTLS(t)
	seen := make(chan credentials.AuthInfo, 1)
	g := NewGRPC(&shownTLS{fakeNode: newFake(), seen: seen}, Options{TLS: true})
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	defer func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := pb.NewLockServiceClient(cc).Get(t.Context(), &pb.GetRequest{Key: "k"}); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	info, ok := (<-seen).(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || info.State.PeerCertificates[0].Subject.CommonName != "ci" {
		t.Errorf("the handler sees %+v", info)
	}
	plain := cfg.Clone()
	plain.NextProtos = []string{sessionwire.Protocol}
	conn, err := tls.Dial("tcp", l.Addr().String(), plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if err := sessionwire.ReadWelcome(conn); err != nil {
		t.Error(err)
	}
}

// shownTLS is a node that exposes the credentials of a call.
type shownTLS struct {
	*fakeNode
	seen chan credentials.AuthInfo
}

func (n *shownTLS) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	if at, ok := peer.FromContext(ctx); ok {
		n.seen <- at.AuthInfo
	}
	return n.fakeNode.Get(ctx, key)
}

// The HTTP port serves HTTP/1.1 and 2 over TLS; gRPC clients and sessions are told the right port.
func TestHTTPOverTLS(t *testing.T) {
	l, cfg := listenTLS(t)
	wrong := &sharelock.Error{Err: sharelock.ErrWrongPort, Message: "gRPC is elsewhere"}
	server := NewHTTP(newFake(), Options{TLS: true, WrongPort: wrong})
	inner := server.Handler
	names := make(chan string, 1)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			names <- r.TLS.PeerCertificates[0].Subject.CommonName
		}
		inner.ServeHTTP(w, r)
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(refuse.Sessions(l, wrong)) }()
	defer func() {
		_ = server.Close()
		<-served
	}()
	for _, proto := range []int{1, 2} {
		transport := &http.Transport{TLSClientConfig: cfg.Clone(), ForceAttemptHTTP2: proto == 2}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != proto {
			t.Errorf("HTTP/%d: %s %s, %v", proto, resp.Proto, resp.Status, err)
		}
		if name := <-names; name != "ci" {
			t.Errorf("HTTP/%d: the handler sees the certificate of %q", proto, name)
		}
		transport.CloseIdleConnections()
	}
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := pb.NewLockServiceClient(cc).Get(t.Context(), &pb.GetRequest{Key: "k"}); !strings.Contains(err.Error(), wrong.Message) {
		t.Errorf("gRPC: %v", err)
	}
	<-names
	session := cfg.Clone()
	session.NextProtos = []string{sessionwire.Protocol}
	conn, err := tls.Dial("tcp", l.Addr().String(), session)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		t.Fatal(err)
	}
	if err := sessionwire.ReadWelcome(conn); !errors.Is(err, sharelock.ErrWrongPort) {
		t.Errorf("a session: %v", err)
	}
}
