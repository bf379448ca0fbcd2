package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/certs"
)

// stranger is a caller that the ports must refuse.
type stranger struct {
	name string
	// pair is its certificate; nil means none. plain means that it does not use TLS.
	pair  *certs.Pair
	plain bool
	// roots are the authorities that it trusts, and host the name that it expects; zero values are correct ones.
	roots *x509.CertPool
	host  string
	// says is the answer that it gets, and node what the node's log says about it.
	says, node string
}

// strangers returns the callers that the peer port refuses, and those that the client ports refuse.
func (s *secureMesh) strangers(t *testing.T) (asMember, asClient []stranger) {
	t.Helper()
	made := func(p certs.Pair, err error) *certs.Pair {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	other, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	past := certs.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	future := certs.Valid(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	const alert = "remote error: tls: "
	asMember = []stranger{
		{name: "no TLS", plain: true, node: "TLS"}, // just closed: no protocol of members begins like this
		{name: "no certificate", says: alert, node: "certificate"},
		{name: "a client's certificate", pair: made(s.ca.Client("thief")), says: alert, node: "member.sharelock.sharelock"},
		{name: "an unknown authority", pair: made(other.Member("a", "sharelock", nil)), says: alert, node: "unknown authority"},
		{name: "expired", pair: made(s.ca.Member("a", "sharelock", nil, past)), says: alert, node: "expired"},
		{name: "not valid yet", pair: made(s.ca.Member("a", "sharelock", nil, future)), says: alert, node: "not yet valid"},
		{name: "another mesh's member", pair: made(s.ca.Member("a", "other", nil)), says: alert, node: "member.sharelock.sharelock"},
		{name: "the name of one host", pair: made(s.ca.Member("a", "sharelock", nil, certs.Names("a.example.com"))), says: alert, node: "member.sharelock.sharelock"},
	}
	asClient = []stranger{
		{name: "no TLS", plain: true, says: "TLS", node: "TLS"},
		{name: "an unknown authority", pair: made(other.Client("me")), says: alert, node: "unknown authority"},
		{name: "expired", pair: made(s.ca.Client("me", past)), says: alert, node: "expired"},
		{name: "not valid yet", pair: made(s.ca.Client("me", future)), says: alert, node: "not yet valid"},
		{name: "does not trust the node", roots: other.Pool(), says: "unknown authority", node: alert},
		{name: "another host", host: "other.example.com", says: "other.example.com", node: alert},
	}
	return asMember, asClient
}

// meet lets a stranger open a stream that begins with some bytes. It returns the answer, and the stranger's
// address.
func (s *secureMesh) meet(t *testing.T, st stranger, to, first, host string, protocols ...string) (told, from string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it is refused
	from = conn.LocalAddr().String()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if !st.plain {
		c := &tls.Config{RootCAs: s.ca.Pool(), ServerName: host, MinVersion: tls.VersionTLS13, NextProtos: protocols}
		if st.roots != nil {
			c.RootCAs = st.roots
		}
		if st.host != "" {
			c.ServerName = st.host
		}
		if st.pair != nil {
			own, err := st.pair.TLS()
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		}
		conn = tls.Client(conn, c)
	}
	if _, err = io.WriteString(conn, first); err == nil {
		var answer []byte
		if answer, err = io.ReadAll(conn); err == nil {
			if err = io.EOF; len(answer) > 0 {
				return string(answer), from
			}
		}
	}
	return err.Error(), from
}

// refusals: a stranger is refused at each port and in each protocol, is told why, and the node logs one line
// about it.
func (s *secureMesh) refusals(t *testing.T) {
	n := s.nodes[0]
	asMember, asClient := s.strangers(t)
	for _, st := range asMember {
		for protocol, first := range map[string]string{"link": "SLLK", "Raft": "SLRF", "gRPC": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
			told, from := s.meet(t, st, n.host+":50053", first, certs.MemberName("sharelock"), "h2", "sharelock/1")
			s.wantRefusal(t, n, "peer port, "+protocol+", "+st.name, st, told, from)
		}
	}
	for _, st := range asClient {
		for protocol, first := range map[string]string{"h2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "sharelock/1": "SLSN\x01" + strings.Repeat("\x00", 19)} {
			if st.plain && protocol == "h2" {
				continue // this needs a call, which the client below makes
			}
			told, from := s.meet(t, st, n.addr(), first, n.host, protocol)
			s.wantRefusal(t, n, "gRPC port, "+protocol+", "+st.name, st, told, from)
		}
		told, from := s.meet(t, st, n.host+":50051", "GET /v1/mesh HTTP/1.1\r\nHost: x\r\n\r\n", n.host, "http/1.1")
		s.wantRefusal(t, n, "HTTP port, "+st.name, st, told, from)
	}
	c, err := client.Dial(t.Context(), []string{n.addr()}, client.Options{OnlyAddrs: true})
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = c.Mesh(ctx)
		c.Close() //nolint:errcheck // nothing is held
	}
	if err == nil || !strings.Contains(err.Error(), "needs TLS") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a client without TLS is told %v", err)
	}
}

// wantRefusal checks both sides of a refusal.
func (s *secureMesh) wantRefusal(t *testing.T, n *node, what string, st stranger, told, from string) {
	t.Helper()
	if !strings.Contains(told, st.says) {
		t.Errorf("%s: is told %q, want %q", what, told, st.says)
	}
	var lines []string
	s.await(t, what+": a line of "+from, func(context.Context) bool {
		lines = linesOf(t, n, from)
		return len(lines) > 0
	})
	if len(lines) != 1 || !strings.Contains(lines[0], st.node) {
		t.Errorf("%s: the log has %q, want one line with %q", what, lines, st.node)
	}
}

// linesOf returns the lines of a node's log that contain some words.
func linesOf(t *testing.T, n *node, words string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(n.logs.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, words) {
			lines = append(lines, line)
		}
	}
	return lines
}

// gossip: a process with a member's certificate and another gossip key stays outside, and both sides log
// it. One with a client's certificate does not start.
func (s *secureMesh) gossip(t *testing.T) {
	config, err := os.ReadFile(s.nodes[0].file)
	if err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(string(config), "data_dir: "+s.nodes[0].data+"\n")
	if out, err := shell(s.dir, "sharelock keyring generate > other.keys"); err != nil {
		t.Fatal(err, out)
	}
	outside := newNode(t, 3, os.Getenv(binaryEnv), s.dir, strings.ReplaceAll(settings, s.dir+"/certs/gossip.keys", s.dir+"/other.keys"))
	outside.start()
	const words = "gossip with another process is not possible"
	s.await(t, "both sides say that the keys differ", func(context.Context) bool {
		said := false
		for _, n := range s.nodes {
			said = said || n.said(words)
		}
		return said && outside.said(words)
	})
	if !s.whole(t.Context()) {
		t.Error("the mesh is not what it was")
	}
	outside.kill()

	pair, err := s.ca.Client("thief")
	if err == nil {
		err = os.Mkdir(filepath.Join(s.dir, "stolen"), 0o700)
	}
	if err == nil {
		err = pair.Write(filepath.Join(s.dir, "stolen"), "thief")
	}
	if err != nil {
		t.Fatal(err)
	}
	stolen := strings.NewReplacer(
		s.dir+"/certs/peers.pem", s.dir+"/stolen/thief.pem", s.dir+"/certs/peers-key.pem", s.dir+"/stolen/thief-key.pem").Replace(settings)
	thief := newNode(t, 4, os.Getenv(binaryEnv), s.dir, stolen)
	thief.start()
	s.await(t, "a node with a client's certificate ends", func(context.Context) bool {
		select {
		case <-thief.ended:
			return true
		default:
			return false
		}
	})
	if code := thief.cmd.ProcessState.ExitCode(); code != 1 || !thief.said(certs.MemberName("sharelock")) {
		t.Errorf("a node with a client's certificate ended with exit code %d; its log: %s", code, fmt.Sprint(linesOf(t, thief, "")))
	}
}
