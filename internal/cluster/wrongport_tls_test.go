package cluster_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// A client with TLS at the gossip port is told so at once, like one without, whether or not the node has a
// certificate.
func TestWrongPortWithTLS(t *testing.T) {
	secure := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is about the answer
	for name, who := range map[string]cluster.TLS{
		"no certificate": cluster.NoTLS, "members": cluster.TLSMembers, "all": cluster.TLSAll, "mutual": cluster.TLSMutual,
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{Nodes: 1, TLS: who})
			ctx, at := limited(t), c.Addrs(0)
			port := func(addr string) string {
				_, p, err := net.SplitHostPort(addr)
				must(t, err)
				return p
			}
			says := fmt.Sprintf("%s is the gossip port of node %s; gRPC is %s", port(at.Gossip), c.Name(0), port(at.GRPC))
			for transport, opts := range map[string]client.Options{
				"auto": {}, "plain": {Transport: client.TransportPlain}, "gRPC": {Transport: client.TransportGRPC},
				"options": {DialOptions: []grpc.DialOption{grpc.WithUserAgent("test")}},
			} {
				opts.Patience, opts.TLS = time.Hour, secure
				_, err := client.Dial(ctx, []string{at.Gossip}, opts)
				kind, want := sharelock.ErrWrongPort, "wrong port: "+says
				if who == cluster.NoTLS {
					kind, want = client.ErrUnreachable, "does not speak TLS" // as at the right port
				}
				if !errors.Is(err, kind) || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", transport, err, want)
				}
			}
			answers(t, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}, at.Gossip, who != cluster.NoTLS, says) //nolint:gosec // as above
			answers(t, nil, at.Gossip, true, says)
		})
	}
}

// answers sends an HTTP/1.1 request to a port, with TLS if secure is not nil, and checks the answer. A port
// without TLS answers in clear text.
func answers(t *testing.T, secure *tls.Config, addr string, hasTLS bool, says string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(limited(t), "tcp", addr)
	must(t, err)
	defer conn.Close() //nolint:errcheck // it was read to its end
	must(t, conn.SetDeadline(time.Now().Add(limit)))
	if secure != nil && hasTLS {
		conn = tls.Client(conn, secure)
	}
	request := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	if secure != nil && !hasTLS {
		request = "\x16\x03\x01\x00\x05hello" // a TLS record of a handshake
	}
	_, err = io.WriteString(conn, request)
	must(t, err)
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.0 4") || !strings.Contains(string(got), says) {
		t.Errorf("TLS %v at a port with TLS %v: %q, %v; want %q", secure != nil, hasTLS, got, err, says)
	}
}
