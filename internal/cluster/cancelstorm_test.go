//go:build linux

package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/mesh"
	"github.com/sgkandale/sharelock/mesh/network"
)

// stormTTL is longer than a storm of cancels, so that nothing that is left expires unnoticed.
const stormTTL = 24 * time.Hour

// grantOf identifies a grant.
type grantOf struct {
	key   string
	token sharelock.Token
}

// witness knows which answers the nodes' systems have accepted, and which requests were in flight
// when nodes were killed.
type witness struct {
	mu sync.Mutex
	// granted holds the grants over HTTP whose answers were accepted completely: no node can know
	// that they were lost on the way. Guarded by mu.
	granted map[grantOf]struct{}
	// kills counts, by address, how often a node's process was killed. interrupted holds the
	// callers whose requests it had not finished. Guarded by mu.
	kills       map[string]int
	interrupted map[string]struct{}
}

// takes removes a grant. It reports whether it was known.
func (h *witness) takes(g grantOf) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.granted[g]
	delete(h.granted, g)
	return ok
}

// kill records that a node is about to be killed.
func (h *witness) kill(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kills[node]++
}

// killsOf returns how often a node was killed.
func (h *witness) killsOf(node string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kills[node]
}

// lost reports whether a caller's node was killed before it was done with the caller's request.
func (h *witness) lost(caller string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.interrupted[caller]
	return ok
}

// witnessedNet is a network that records what one listener's connections carry.
type witnessedNet struct {
	network.Network
	http string
	all  *witness
}

func (n witnessedNet) Listen(addr string) (net.Listener, error) {
	l, err := n.Network.Listen(addr)
	if err == nil && addr == n.http {
		l = &witnessedListener{l, n}
	}
	return l, err
}

type witnessedListener struct {
	net.Listener
	net witnessedNet
}

func (l *witnessedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &witnessedConn{Conn: conn, net: l.net, kills: l.net.all.killsOf(l.net.http)}, nil
}

// witnessedConn is a node's end of a connection with one request.
type witnessedConn struct {
	net.Conn
	net witnessedNet
	// kills is how often the node had been killed when it accepted the connection.
	kills  int
	caller atomic.Pointer[string]
}

// NetConn lets the node see what was acknowledged.
func (c *witnessedConn) NetConn() net.Conn { return c.Conn }

func (c *witnessedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if _, rest, ok := bytes.Cut(b[:n], []byte(`{"clientId":"`)); ok {
		name, _, _ := bytes.Cut(rest, []byte(`"`))
		caller := string(name)
		c.caller.Store(&caller)
	}
	return n, err
}

func (c *witnessedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	_, rest, granted := bytes.Cut(b, []byte(`{"hold":{"key":"`))
	if !granted || err != nil {
		return n, err
	}
	key, rest, _ := bytes.Cut(rest, []byte(`","token":"`))
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	if token, err := strconv.ParseUint(string(digits), 10, 64); err == nil {
		c.net.all.mu.Lock()
		defer c.net.all.mu.Unlock()
		c.net.all.granted[grantOf{string(key), sharelock.Token(token)}] = struct{}{}
	}
	return n, err
}

func (c *witnessedConn) Close() error {
	if caller := c.caller.Load(); caller != nil {
		all := c.net.all
		all.mu.Lock()
		if all.kills[c.net.http] != c.kills {
			all.interrupted[*caller] = struct{}{}
		}
		all.mu.Unlock()
	}
	return c.Conn.Close()
}

// cancelStorm makes acquires and cancels them at random.
type cancelStorm struct {
	c     *cluster.Cluster
	addrs []string // of gRPC
	https []string
	goal  int64
	// done counts all acquires, granted those that were granted in time, and closed those whose
	// client was closed before they could be released.
	done, granted, closed atomic.Int64
	groups                atomic.Int64
	witness               witness

	mu   sync.Mutex
	errs []error // guarded by mu
	// kept holds the holds of clients that were closed. Guarded by mu.
	kept map[grantOf]bool
	// unanswered holds the client and key of acquires for which Close stopped waiting, as documented,
	// because the mesh was unreachable for too long. Guarded by mu.
	unanswered map[[2]string]bool
}

// closeLog handles the log of a client. It records what Close could not release.
type closeLog struct {
	slog.Handler
	storm  *cancelStorm
	client string
}

func (l closeLog) Enabled(context.Context, slog.Level) bool { return true }

func (l closeLog) Handle(_ context.Context, r slog.Record) error {
	if !strings.HasSuffix(r.Message, "given up without an answer") {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "key" {
			l.storm.mu.Lock()
			defer l.storm.mu.Unlock()
			l.storm.unanswered[[2]string{l.client, a.Value.String()}] = true
		}
		return true
	})
	return nil
}

func (s *cancelStorm) over() bool { return s.done.Load() >= s.goal }

// fail records an error. The first few are shown.
func (s *cancelStorm) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && len(s.errs) < 20 {
		s.errs = append(s.errs, err)
	}
}

// soonOver returns a context that ends soon, by its deadline or by cancel.
func soonOver(ctx context.Context) (context.Context, context.CancelFunc) {
	after := time.Duration(rand.IntN(4000)) * time.Microsecond
	if rand.IntN(8) == 0 {
		after *= 10
	}
	if rand.IntN(2) == 0 {
		return context.WithTimeout(ctx, after)
	}
	ctx, cancel := context.WithCancel(ctx)
	t := time.AfterFunc(after, cancel)
	return ctx, func() { t.Stop(); cancel() }
}

// clients creates one client after the other. None of them knows the ring when it begins.
func (s *cancelStorm) clients(ctx context.Context, transport client.Transport, worker int) {
	for n := 0; !s.over() && ctx.Err() == nil; n++ {
		name := fmt.Sprintf("transport-%d-%d-%d", transport, worker, n)
		cl, err := client.Dial(ctx, s.addrs, client.Options{
			Transport: transport, Patience: time.Minute, ClientID: name,
			Logger: slog.New(closeLog{slog.DiscardHandler, s, name}),
		})
		if err != nil {
			s.fail(err)
			return
		}
		var calls sync.WaitGroup
		for range 16 {
			calls.Go(func() {
				for range 32 {
					s.fail(s.acquire(ctx, cl))
				}
			})
		}
		if n%4 == 0 { // close it while acquires are in flight
			pause(ctx, time.Duration(rand.IntN(30))*time.Millisecond)
			s.fail(cl.Close())
		}
		calls.Wait()
		s.fail(cl.Close())
	}
}

func (s *cancelStorm) acquire(ctx context.Context, cl *client.Client) error {
	soon, end := soonOver(ctx)
	defer end()
	l, err := cl.Acquire(soon, fmt.Sprint("storm/client/", rand.IntN(100)), client.TTL(stormTTL), client.Wait(time.Minute))
	s.done.Add(1)
	switch {
	case err == nil:
		s.granted.Add(1)
	case soon.Err() != nil, errors.Is(err, client.ErrClosed):
		return nil
	default:
		return err
	}
	err = l.Release(ctx)
	if errors.Is(err, client.ErrClosed) { // as documented, it keeps what it holds
		s.closed.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept[grantOf{l.Key(), l.Token()}] = true
		return nil
	}
	return err
}

// callers runs HTTP callers that disconnect, in groups that want the same key, each through a
// different node: some are granted the key, others wait. Half of them use a request id, and ask
// with it for the fate of their acquire.
func (s *cancelStorm) callers(ctx context.Context, admin *client.Client) {
	for !s.over() && ctx.Err() == nil {
		key := fmt.Sprint("storm/http/", s.groups.Add(1))
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				id := ""
				if i%2 == 0 {
					id = fmt.Sprint(key, "/", i)
				}
				who := fmt.Sprint(key, "/", i)
				s.call(ctx, i, key, who, id)
				if id != "" {
					s.fail(s.settle(ctx, i+1, key, who, id))
				}
			})
		}
		group.Wait()
		s.sweep(ctx, admin, key)
	}
}

// call sends an acquire and disconnects.
func (s *cancelStorm) call(ctx context.Context, node int, key, who, id string) {
	s.done.Add(1)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.c.Addrs(node%s.c.Len()).HTTP)
	if err != nil {
		return // the node is down
	}
	tcp := conn.(*net.TCPConn)
	body := fmt.Sprintf(`{"clientId":%q,"requestId":%q,"wait":"60s","ttl":"%v"}`, who, id, stormTTL)
	request := fmt.Sprintf("POST /v1/locks/%s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
	if rand.IntN(8) == 0 {
		request = request[:rand.IntN(len(request))] // it disconnects in the middle
	}
	_, err = io.WriteString(conn, request)
	if rand.IntN(4) > 0 {
		soon()
	}
	switch way := rand.IntN(3); {
	case err != nil, way == 0:
		_ = tcp.Close()
	case way == 1:
		_ = reset(tcp)
	default:
		_ = tcp.CloseWrite()
		_ = tcp.SetReadDeadline(time.Now().Add(30 * time.Second)) // it is answered long before, or the node ends
		_, _ = io.Copy(io.Discard, tcp)
		_ = tcp.Close()
	}
}

// settle asks with a request id until the mesh reports its fate, and releases it.
func (s *cancelStorm) settle(ctx context.Context, node int, key, who, id string) error {
	body := fmt.Sprintf(`{"clientId":%q,"requestId":%q,"wait":"0.1s","ttl":"%v"}`, who, id, stormTTL)
	for ; ; node++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		status, text, err := s.ask(ctx, node, http.MethodPost, key, body)
		var answer struct {
			Hold  struct{ Token string }
			Error struct{ Reason, Message string }
		}
		_ = json.Unmarshal(text, &answer)
		switch {
		case err != nil, status == http.StatusServiceUnavailable, strings.Contains(answer.Error.Message, "another call"):
			// Its first send may have arrived after this one.
			pause(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
			continue
		case status == http.StatusOK:
			key += "?token=" + answer.Hold.Token
			for {
				status, text, err = s.ask(ctx, node, http.MethodDelete, key, "")
				if err == nil && status != http.StatusServiceUnavailable || ctx.Err() != nil {
					break
				}
				node++
			}
			if status != http.StatusOK && status != http.StatusNotFound && status != http.StatusPreconditionFailed {
				return fmt.Errorf("release of %s: %d %s, %w", key, status, text, err)
			}
			return nil
		case answer.Error.Reason == "LOCK_HELD", answer.Error.Reason == "REQUEST_OVER":
			return nil
		default:
			return fmt.Errorf("%s with id %s: %d %s", key, id, status, text)
		}
	}
}

// ask makes one request, on a connection of its own.
func (s *cancelStorm) ask(ctx context.Context, node int, method, key, body string) (status int, text []byte, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.c.Addrs(node%s.c.Len()).HTTP)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close() //nolint:errcheck // what counts is the answer
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, nil, err
	}
	_, err = fmt.Fprintf(conn, "%s /v1/locks/%s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, key, len(body), body)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it is the connection's
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// sweep releases what accepted answers have left of a key.
func (s *cancelStorm) sweep(ctx context.Context, admin *client.Client, key string) {
	l, err := admin.Get(ctx, key)
	if err != nil {
		return // usually it is free; the final check finds what is not
	}
	for _, h := range l.Holds {
		if s.witness.takes(grantOf{key, h.Token}) {
			_, err := admin.ReleaseToken(ctx, key, h.Token)
			if !errors.Is(err, sharelock.ErrNotHeld) && !errors.Is(err, sharelock.ErrStaleToken) {
				s.fail(err)
			}
		}
	}
}

// weather restarts and kills the nodes in turn.
func (s *cancelStorm) weather(ctx context.Context) (stops, kills int) {
	for n := 0; !s.over() && ctx.Err() == nil; n++ {
		i := n % s.c.Len()
		if rand.IntN(2) == 0 {
			s.fail(s.c.Stop(ctx, i))
			stops++
		} else {
			s.witness.kill(s.https[i])
			s.c.Kill(i)
			kills++
		}
		s.fail(s.c.Restart(ctx, i))
		s.fail(s.c.WaitReady(ctx))
		for i := range s.c.Len() {
			if st := s.c.Node(i).Status(); st.Quarantined > 0 {
				// Nothing is granted any more, so nothing can be left.
				s.fail(fmt.Errorf("%d partitions of node %d have lost their state", st.Quarantined, i))
				s.done.Store(s.goal)
			}
		}
		pause(ctx, time.Duration(rand.IntN(1000))*time.Millisecond)
	}
	return stops, kills
}

// left returns what is still held or waited for and must not be.
func (s *cancelStorm) left(ctx context.Context, cl *client.Client) (unheard int, err error) {
	for token := ""; ; {
		page, err := cl.List(ctx, sharelock.ListRequest{Prefix: "storm/", PageSize: sharelock.MaxPageSize, PageToken: token})
		if err != nil {
			return unheard, err
		}
		if page.Quarantined > 0 {
			s.fail(fmt.Errorf("%d partitions have lost their state", page.Quarantined))
		}
		for _, l := range page.Locks {
			for _, h := range l.Holds {
				switch {
				case s.kept[grantOf{l.Key, h.Token}], s.unanswered[[2]string{h.ClientID, l.Key}], s.witness.lost(h.ClientID):
				case s.witness.takes(grantOf{l.Key, h.Token}):
					unheard++
				default:
					s.fail(fmt.Errorf("%q is held for %v more: %+v", l.Key, h.ExpiresIn, h))
				}
			}
			for _, w := range l.Waiters {
				if s.unanswered[[2]string{w.ClientID, l.Key}] {
					continue
				}
				s.fail(fmt.Errorf("%q is waited for: %+v", l.Key, w))
			}
		}
		if token = page.NextPageToken; token == "" {
			return unheard, nil
		}
	}
}

// resources returns the numbers of goroutines and descriptors of this process.
func resources(t *testing.T) (goroutines, descriptors int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return runtime.NumGoroutine(), len(files)
}

// awaitResources waits until there are no more of them than given.
func awaitResources(ctx context.Context, t *testing.T, when string, goroutines, descriptors int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		g, d := resources(t)
		if g <= goroutines && d <= descriptors {
			return
		}
		if ctx.Err() != nil {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%s: %d goroutines and %d descriptors, want %d and %d\n%s",
				when, g, d, goroutines, descriptors, stacks[:runtime.Stack(stacks, true)])
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// Acquires are cancelled at random, by new clients over both transports and by HTTP callers that send
// RST and FIN, while the nodes are restarted and killed in turn all the time. They leave no hold, no
// goroutine and no descriptor. SHARELOCK_CANCELS is the number of acquires.
func TestCancelStorm(t *testing.T) {
	given := os.Getenv("SHARELOCK_CANCELS")
	if given == "" {
		t.Skip("SHARELOCK_CANCELS says how many; see make storm-cancels")
	}
	goal, err := strconv.ParseInt(given, 10, 64)
	must(t, err)
	s := &cancelStorm{goal: goal, kept: map[grantOf]bool{}, unanswered: map[[2]string]bool{}}
	s.witness = witness{granted: map[grantOf]struct{}{}, kills: map[string]int{}, interrupted: map[string]struct{}{}}
	goroutines, descriptors := resources(t)
	s.c = cluster.Start(t, cluster.Options{
		Timing: 5 * time.Second, MaxTTL: stormTTL, Without: []cluster.Invariant{cluster.Linearizable},
		Configure: func(_ int, cfg *mesh.Config) {
			cfg.Network = witnessedNet{cfg.Network, cfg.HTTPListen, &s.witness}
		},
	})
	for i := range s.c.Len() {
		s.addrs, s.https = append(s.addrs, s.c.Addrs(i).GRPC), append(s.https, s.c.Addrs(i).HTTP)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute+time.Duration(goal)*10*time.Millisecond)
	defer stop()
	quietGoroutines, quietDescriptors := resources(t)
	admin, err := client.Dial(ctx, s.addrs, client.Options{Patience: time.Minute})
	must(t, err)
	begin := time.Now()
	var work sync.WaitGroup
	for _, transport := range []client.Transport{client.TransportPlain, client.TransportGRPC} {
		for n := range 6 {
			work.Go(func() { s.clients(ctx, transport, n) })
		}
	}
	for range 4 {
		work.Go(func() { s.callers(ctx, admin) })
	}
	var stops, kills int
	work.Go(func() { stops, kills = s.weather(ctx) })
	work.Wait()
	must(t, s.c.WaitReady(ctx))
	pause(ctx, time.Second)
	unheard, err := s.left(ctx, admin)
	s.fail(err)
	must(t, admin.Close())
	for _, err := range s.errs {
		t.Error(err)
	}
	t.Logf("%d acquires in %v, %d of the clients' granted in time; %d restarts and %d kills; "+
		"%d holds of clients closed meanwhile, %d whose answers were on their way; Close could not give back %d",
		s.done.Load(), time.Since(begin).Round(time.Second), s.granted.Load(), stops, kills, s.closed.Load(), unheard, len(s.unanswered))
	// The resources of a connection must be freed when it ends, not only when its node ends.
	awaitResources(ctx, t, "without clients", quietGoroutines+50, quietDescriptors+50)
	must(t, s.c.Close())
	awaitResources(ctx, t, "without nodes", goroutines, descriptors)
}
