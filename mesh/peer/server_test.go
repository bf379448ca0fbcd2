package peer

import (
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// A process may relay and collect only in its own name (V6a).
func TestRelayInAnothersName(t *testing.T) {
	a, b := ring.Identity{ID: "a", Counter: 1}, ring.Identity{ID: "b", Counter: 1}
	p := NewServer(ServerConfig{Leading: func() *view.Leader { return nil }})
	for _, test := range []struct {
		caller string
		want   codes.Code
	}{{a.String(), codes.Unavailable}, {b.String(), codes.PermissionDenied}, {"", codes.PermissionDenied}} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(mdFrom, test.caller))
		_, err := p.Relay(ctx, &peerv1.RelayRequest{Parcel: &peerv1.Parcel{From: ringproto.EncodeIdentity(a), To: ringproto.EncodeIdentity(b)}})
		if status.Code(err) != test.want {
			t.Errorf("relay by %q: %v, want %v", test.caller, err, test.want)
		}
		_, err = p.Collect(ctx, &peerv1.CollectRequest{Member: ringproto.EncodeIdentity(a)})
		if status.Code(err) != test.want {
			t.Errorf("collect by %q: %v, want %v", test.caller, err, test.want)
		}
	}
}

// member is a process of a cluster, or of none yet, that serves calls on a memory network and makes
// them.
type member struct {
	*Client
	server *Server
}

// start serves a member at its address until the test ends.
func start(t *testing.T, n *memnet.Net, name string, cluster []byte, change func(*ServerConfig)) member {
	t.Helper()
	self, host, now := epochtest.Member(name), n.Host(name), clock.Monotonic()
	views, stop := epochtest.New(name, now)
	follows := func() []byte { return cluster }
	cfg := ServerConfig{
		Self: self.Identity, Releases: release.Own(), Cluster: follows, Views: views, Callers: &Contacts{}, Clock: now,
		Leading: func() *view.Leader { return nil }, Leader: func() string { return "" }, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	m := member{server: NewServer(cfg)}
	l, err := host.Listen(self.Peer)
	if err != nil {
		t.Fatal(err)
	}
	inner := m.server.GRPC()
	served := make(chan error, 1)
	go func() { served <- inner.Serve(l) }()
	m.Client = New(Config{
		Self: self.Identity, Releases: release.Own(), Cluster: follows, Views: views, Dial: host.Dial, Clock: now,
		Address: func(id string) string { return epochtest.Member(id).Peer }, Leader: func() string { return "" },
		Spawn: func(fn func()) bool { go fn(); return true }, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		m.Close()
		inner.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		stop()
	})
	return m
}

// A1, V0: a call from another cluster, or for another process, is refused. A process that follows
// no cluster yet answers only promises, probes and joins.
func TestWhoIsMeant(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		a := start(t, n, "a", []byte("one"), nil)
		b := start(t, n, "b", []byte("one"), nil)
		start(t, n, "c", []byte("two"), nil)
		start(t, n, "d", nil, func(cfg *ServerConfig) {
			cfg.Promise = func([]byte, ring.Identity) error { return nil }
		})
		later := epochtest.Member("b")
		later.Counter++
		for what, test := range map[string]struct {
			to   ring.Member
			want codes.Code
		}{
			"a member":              {epochtest.Member("b"), codes.OK},
			"a later start":         {later, codes.FailedPrecondition},
			"another cluster":       {epochtest.Member("c"), codes.FailedPrecondition},
			"one without a cluster": {epochtest.Member("d"), codes.FailedPrecondition},
		} {
			if err := a.Install(t.Context(), test.to, view.State{}); status.Code(err) != test.want {
				t.Errorf("%s: %v, want %v", what, err, test.want)
			}
		}
		if _, err := a.Probe(t.Context(), epochtest.Member("d"), nil); err != nil {
			t.Errorf("a probe of a process without a cluster: %v", err)
		}
		id := epochtest.Member("d").Identity
		resp, err := a.Promise(t.Context(), "d:1", id, &peerv1.PromiseRequest{
			ClusterId: []byte("one"), Founder: ringproto.EncodeIdentity(epochtest.Member("a").Identity),
		})
		if err != nil || !resp.GetPromised() {
			t.Errorf("a process without a cluster promises: %v, %v", resp, err)
		}
		if !b.server.cfg.Callers.Since(epochtest.Member("a").Identity.String(), 0) {
			t.Error("the member does not know whose calls have reached it")
		}
		if err := a.Greet(t.Context(), "b"); err != nil || !a.Reached("b", 0) || a.Reached("c", 0) {
			t.Errorf("a voter that was greeted: %v, reached %t", err, a.Reached("b", 0))
		}
	})
}

// A member that is behind is brought up before it is asked in the newer view (A1).
func TestBringsUp(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := memnet.New(1)
		a := start(t, n, "a", epochtest.Cluster, nil)
		b := start(t, n, "b", epochtest.Cluster, nil)
		if err := a.cfg.Views.Offer(epochtest.State(epochtest.View(1, "a", "b"))); err != nil {
			t.Fatal(err)
		}
		held, err := a.Ask(t.Context(), epochtest.Member("b"), 1, []uint32{0, 1})
		if err != nil || len(held) != 0 {
			t.Errorf("it holds %v, %v, want nothing", held, err)
		}
		if got := b.server.cfg.Views.Epoch(); got != 1 {
			t.Errorf("it is in epoch %d, want 1", got)
		}
		if _, err := b.Ask(t.Context(), epochtest.Member("a"), 0, []uint32{0}); !errors.Is(err, owner.ErrBehind) {
			t.Errorf("a caller that is behind gets %v, want %v", err, owner.ErrBehind)
		}
	})
}
