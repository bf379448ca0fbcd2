//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/certs"
)

// mostMemory bounds the memory of a node beside a stranger, in bytes.
const mostMemory = 1 << 30

// TestHostileSecure is TestHostile with certificates and an auth file, beside a stranger without
// credentials. The stranger opens handshakes and connections, half and whole, guesses tokens, and shows
// huge certificates. The innocent clients must fare as well as beside an honest one.
func TestHostileSecure(t *testing.T) {
	mode := os.Getenv(hostileEnv)
	if mode == "" {
		t.Skip("half an hour with a stranger: make hostile-auth")
	}
	stranger, honest, rest := 20*time.Minute, 10*time.Minute, 20*time.Second
	if mode == "short" {
		stranger, honest, rest = time.Minute, 40*time.Second, 2*time.Second
	}
	g := newGuarded(t)
	var worst, usual noticed
	t.Run("stranger", func(t *testing.T) { worst = g.besides(t, order{Role: "stranger", Time: stranger}, rest) })
	t.Run("honest", func(t *testing.T) {
		usual = g.besides(t, order{
			Role: "honest", Time: honest, Rate: worst.client.rate(), Bytes: int(worst.client.Bytes / max(worst.client.Calls, 1)),
		}, rest)
	})
	slower := float64(worst.p99) / float64(max(usual.p99, 1))
	t.Logf("\n%s%sinnocent p99, stranger / honest: %.2f (at most %d); memory of a node: %d MiB (at most %d)",
		worst, usual, slower, mostSlower, worst.memory>>20, mostMemory>>20)
	if slower > mostSlower {
		t.Errorf("the innocents' p99 is %.2f times that beside an honest client", slower)
	}
	if worst.memory > mostMemory {
		t.Errorf("a node took %d MiB beside a stranger", worst.memory>>20)
	}
	if worst.client.Refused["taken"] > 0 {
		t.Errorf("a stranger got %d calls answered", worst.client.Refused["taken"])
	}
}

// guarded has what the nodes and the clients of a mesh with certificates and an auth file need.
type guarded struct {
	dir   string
	token string
	roots *x509.CertPool
	ca    *certs.CA
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{dir: t.TempDir(), roots: ca.Pool(), ca: ca}
	var stored string
	g.token, stored = auth.NewToken()
	rules := fmt.Sprintf("policies: {all: [{keys: [\"\"], verbs: [acquire, read]}]}\nprincipals: [{name: all, policies: [all], tokens: [%q]}]\n", stored)
	if err = os.WriteFile(filepath.Join(g.dir, "auth.yaml"), []byte(rules), 0o600); err == nil {
		err = ca.WriteCA(g.dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// besides is the function besides in a mesh with certificates.
func (g *guarded) besides(t *testing.T, o order, rest time.Duration) noticed {
	t.Helper()
	if o.CA = filepath.Join(g.dir, "ca.pem"); o.Role == "honest" {
		o.Token = g.token
	}
	return besidesIn(t, o, rest, func(r *rehearsal) {
		name := fmt.Sprintf("node-%s", r.net)
		pair, err := g.ca.Member("peers", "sharelock", []string{r.host(0), r.host(1), r.host(2)})
		if err == nil {
			err = pair.Write(g.dir, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(f, "tls: {ca_file: %s/ca.pem, cert_file: %s/%s.pem, key_file: %s/%s-key.pem}\nauth: {file: %s/auth.yaml}\naudit: {file: %s/%s.audit}\n",
			g.dir, g.dir, name, g.dir, name, g.dir, r.dir, "node")
		if cerr := f.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		r.secure = func(o *client.Options) {
			o.TLS = &tls.Config{RootCAs: g.roots} //nolint:gosec // the least version is the library's
			o.Token = func(context.Context) (string, error) { return g.token, nil }
		}
	})
}

// peak returns the maximum memory of a process so far, in bytes; 0 means unknown.
func peak(p *proc) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// dialOptions returns those of the gRPC connections of an order.
func (o order) dialOptions(t *testing.T) []grpc.DialOption {
	t.Helper()
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots})), //nolint:gosec // the least version is the library's
	}
	if o.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(o.Token)))
	}
	return options
}

// strangersHost dials from another address than the innocent clients, because bounds apply to each host.
var strangersHost = net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 254, 254, 254)}}

// strangersWeb returns an HTTP client that accepts every certificate.
func strangersWeb(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: strangersHost.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it trusts everybody
	}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// bearerToken sends a token with every call.
type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearerToken) RequireTransportSecurity() bool { return true }

// intrude does what a caller without credentials can do, all at the same time.
func (v *villain) intrude(ctx context.Context) {
	huge := hugeCertificate(v.t)
	loose := func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // it trusts nobody anyway
	v.all(ctx, []task{
		{8, func(ctx context.Context, _, round int) { v.handshake(ctx, round, loose()) }},
		{64, v.halfOpen},
		{2, func(ctx context.Context, _, round int) {
			c := loose()
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &huge, nil }
			v.handshake(ctx, round, c)
		}},
		{8, v.guess},
		{4, v.guessOverGRPC},
	})
}

// port returns one of the ports of the nodes, in turn.
func (v *villain) port(round int) string {
	host, _, _ := net.SplitHostPort(v.addrs[round%len(v.addrs)]) //nolint:errcheck // the test has made it
	return net.JoinHostPort(host, []string{"50051", "50052", "50053"}[round/len(v.addrs)%3])
}

// dial opens a stream to a port of a node.
func (v *villain) dial(ctx context.Context, round int) (net.Conn, error) {
	conn, err := strangersHost.DialContext(ctx, "tcp", v.port(round))
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(5 * time.Second))
	}
	return conn, v.did(64, err)
}

// handshake does a whole handshake and sends nothing more.
func (v *villain) handshake(ctx context.Context, round int, c *tls.Config) {
	conn, err := v.dial(ctx, round)
	if err != nil {
		pauseFor(ctx, 10*time.Millisecond)
		return
	}
	defer conn.Close()                                     //nolint:errcheck // the next one comes
	v.did(2000, tls.Client(conn, c).HandshakeContext(ctx)) //nolint:errcheck // counted
}

// halfOpen begins a handshake and lets the node wait.
func (v *villain) halfOpen(ctx context.Context, worker, round int) {
	conn, err := v.dial(ctx, worker+round)
	if err != nil {
		pauseFor(ctx, 10*time.Millisecond)
		return
	}
	defer conn.Close() //nolint:errcheck // the next one comes
	_, err = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01")
	if v.did(6, err) == nil && round%2 == 0 {
		pauseFor(ctx, time.Second)
	}
}

// guess makes calls with random tokens.
func (v *villain) guess(ctx context.Context, worker, round int) {
	host, _, _ := net.SplitHostPort(v.addrs[round%len(v.addrs)]) //nolint:errcheck // the test has made it
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("https://%s:50051/v1/locks/stranger%%2F%d", host, worker), strings.NewReader(`{"clientId":"x"}`))
	if err != nil {
		v.t.Error(err)
		return
	}
	r.Header.Set("Authorization", fmt.Sprintf("Bearer slk_%016x%016x", rand.Uint64(), rand.Uint64())) //nolint:gosec // a guess
	resp, err := v.web.Do(r)
	if v.did(200, err) != nil {
		pauseFor(ctx, 10*time.Millisecond)
		return
	}
	defer resp.Body.Close()        //nolint:errcheck // only its status counts
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // so that the connection is used again
	if resp.StatusCode == http.StatusOK {
		v.mu.Lock()
		v.refused["taken"]++
		v.mu.Unlock()
	}
}

// guessOverGRPC is guess over gRPC.
func (v *villain) guessOverGRPC(ctx context.Context, worker, _ int) {
	if _, err := v.acquire(ctx, request(fmt.Sprintf("stranger/%d", worker))); err == nil {
		v.mu.Lock()
		v.refused["taken"]++
		v.mu.Unlock()
	}
}

// hugeCertificate returns a certificate with more names than fit into a handshake.
func hugeCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	ca, err := certs.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 8000)
	for i := range names {
		names[i] = fmt.Sprintf("name-%08d.huge.example.com", i)
	}
	pair, err := ca.Client("huge", certs.Names(names...))
	if err != nil {
		t.Fatal(err)
	}
	c, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
