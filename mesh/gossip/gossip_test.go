package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/network"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

func testMeta(name string, counter uint64) *peerv1.Meta {
	return &peerv1.Meta{
		Identity: ringproto.EncodeIdentity(ring.Identity{ID: "id-" + name, Counter: counter, Nonce: 5}),
		Name:     name, Cluster: "mesh", Peer: name + ":50053",
	}
}

// gossips is a group of processes in a bubble. It ends them all, and waits for
// memberlist's stragglers.
type gossips struct {
	t   *testing.T
	net *memnet.Net
	all map[string]*Gossip
}

func gossipBubble(t *testing.T, run func(*gossips)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		gs := &gossips{t: t, net: memnet.New(1), all: make(map[string]*Gossip)}
		run(gs)
		for _, g := range gs.all {
			for range 2 {
				if err := g.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
		}
		time.Sleep(stragglers)
	})
}

// start runs a process on the machine of its name; change may alter its
// configuration.
func (gs *gossips) start(meta *peerv1.Meta, change func(*Config), seeds ...string) *Gossip {
	gs.t.Helper()
	cfg := Config{Meta: meta, Listen: ":7946", Seeds: seeds, Network: gs.net.Host(meta.GetName()), Log: quiet()}
	if change != nil {
		change(&cfg)
	}
	g, err := Start(cfg)
	if err != nil {
		gs.t.Fatal(err)
	}
	gs.all[meta.GetName()] = g
	return g
}

// kill ends a process without a word.
func (gs *gossips) kill(name string) {
	gs.net.Kill(name)
	_ = gs.all[name].Close()
	delete(gs.all, name)
}

// trio starts a, b and c, which all have a for a seed, and waits until they know
// one another.
func (gs *gossips) trio() (a, b, c *Gossip) {
	gs.t.Helper()
	a = gs.start(testMeta("a", 1), nil, "a")
	b = gs.start(testMeta("b", 1), nil, "a")
	c = gs.start(testMeta("c", 1), nil, "a")
	gs.expect(5*time.Second, "a.1 b.1 c.1", a, b, c)
	return a, b, c
}

// seen lists who a process sees, as name.counter.
func seen(g *Gossip) string {
	var names []string
	for _, n := range g.Processes() {
		names = append(names, fmt.Sprintf("%s.%d", n.Meta.GetName(), n.Meta.GetIdentity().GetCounter()))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// expect waits until all of these see exactly want.
func (gs *gossips) expect(within time.Duration, want string, list ...*Gossip) {
	gs.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		var got []string
		for _, g := range list {
			got = append(got, seen(g))
		}
		if !slices.ContainsFunc(got, func(s string) bool { return s != want }) {
			return
		}
		if time.Now().After(end) {
			gs.t.Fatalf("after %v they see %q, want %q everywhere", within, got, want)
		}
	}
}

// stays says that these see exactly want all the time.
func (gs *gossips) stays(during time.Duration, want string, list ...*Gossip) {
	gs.t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, g := range list {
			if got := seen(g); got != want {
				gs.t.Fatalf("it sees %q, want %q all the time", got, want)
			}
		}
	}
}

func TestGossipFindsEachOther(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a, b, c := gs.trio()
		for _, g := range []*Gossip{a, b, c} {
			for _, n := range g.Processes() {
				want := testMeta(n.Meta.GetName(), 1)
				if addr := gs.net.Host(n.Meta.GetName()).IP() + ":7946"; !proto.Equal(n.Meta, want) || n.Addr != addr {
					t.Errorf("node %v at %s, want %v at %s", n.Meta, n.Addr, want, addr)
				}
			}
		}
		if want := gs.net.Host("b").IP() + ":7946"; b.Addr() != want {
			t.Errorf("addr is %s, want %s", b.Addr(), want)
		}
		// What the caller got is the caller's.
		for _, n := range a.Processes() {
			n.Meta.Name = "changed"
		}
		if got := seen(a); got != "a.1 b.1 c.1" {
			t.Errorf("a sees %q after the answer was changed", got)
		}
	})
}

func TestGossipUpdateMeta(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a, b, c := gs.trio()
		synctest.Wait()
		drain(b.Changed())
		meta := testMeta("a", 1)
		meta.ClusterId = []byte("cluster")
		if err := a.UpdateMeta(meta); err != nil {
			t.Fatal(err)
		}
		meta.ClusterId[0] = 'X' // gossip must not keep it
		select {
		case <-b.Changed():
		case <-time.After(time.Second):
			t.Error("no signal of the change")
		}
		for _, g := range []*Gossip{a, b, c} {
			eventually(t, 2*time.Second, "the new meta", func() bool {
				return slices.ContainsFunc(g.Processes(), func(n Process) bool { return string(n.Meta.GetClusterId()) == "cluster" })
			})
		}

		other, cluster := testMeta("a", 2), testMeta("a", 1)
		cluster.Cluster = "another"
		for _, bad := range []*peerv1.Meta{other, cluster} {
			if err := a.UpdateMeta(bad); !errors.Is(err, errBadMeta) {
				t.Errorf("update to %v: %v, want %v", bad, err, errBadMeta)
			}
		}
		long := testMeta("a", 1)
		long.Http = strings.Repeat("x", memberlist.MetaMaxSize)
		if err := a.UpdateMeta(long); !errors.Is(err, errMetaTooLarge) {
			t.Errorf("update to a long Meta: %v, want %v", err, errMetaTooLarge)
		}
	})
}

// TestGossipRepairsLostUpdate: what was never broadcast, or always lost, comes with
// the next exchange of lists, and that is soon. There are two processes, since whom one
// exchanges lists with is left to chance.
func TestGossipRepairsLostUpdate(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a, b := gs.start(testMeta("a", 1), nil, "a"), gs.start(testMeta("b", 1), nil, "a")
		gs.expect(5*time.Second, "a.1 b.1", a, b)
		gs.net.Lose(1)
		meta := testMeta("a", 1)
		meta.SeedIndex = 1
		if err := a.UpdateMeta(meta); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*exchangeEvery*defaultUnit, "the new meta", func() bool {
			return slices.ContainsFunc(b.Processes(), func(n Process) bool { return n.Meta.GetSeedIndex() == 1 })
		})
	})
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// TestGossipMetaSize: a node that would not fit once it follows a cluster does
// not start.
func TestGossipMetaSize(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		meta := testMeta("a", 1)
		meta.Cluster = strings.Repeat("x", memberlist.MetaMaxSize-clusterIDRoom-proto.Size(meta)+len(meta.GetCluster())-1)
		g := gs.start(meta, nil)
		meta = proto.CloneOf(meta)
		meta.ClusterId = make([]byte, rules.MaxClusterID)
		if err := g.UpdateMeta(meta); err != nil {
			t.Errorf("the longest cluster id: %v", err)
		}
		meta.ClusterId = nil
		meta.Name = strings.Repeat("y", clusterIDRoom)
		if _, err := Start(Config{Meta: meta, Listen: ":0", Network: gs.net.Host("b"), Log: quiet()}); !errors.Is(err, errMetaTooLarge) {
			t.Errorf("start: %v, want %v", err, errMetaTooLarge)
		}
		bad := testMeta("\xff", 1)
		if _, err := Start(Config{Meta: bad, Listen: ":0", Network: gs.net.Host("b"), Log: quiet()}); !errors.Is(err, errBadMeta) {
			t.Errorf("start with a name that is not UTF-8: %v, want %v", err, errBadMeta)
		}
	})
}

// TestGossipCrashAndRestart: a crash is seen within seconds, and a process that
// comes back at once at the same address is another one.
func TestGossipCrashAndRestart(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a, b, _ := gs.trio()
		gs.kill("c")
		gs.expect(8*time.Second, "a.1 b.1", a, b)
		c := gs.start(testMeta("c", 2), nil, "a")
		gs.expect(2*time.Second, "a.1 b.1 c.2", a, b, c)
		gs.kill("c")
		c = gs.start(testMeta("c", 3), nil, "a")
		gs.expect(8*time.Second, "a.1 b.1 c.3", a, b, c)
	})
}

// TestGossipRejoins: after a split so long that memberlist has forgotten the
// other half, the seeds bring it together, and so do the addresses of the view.
func TestGossipRejoins(t *testing.T) {
	for _, how := range []string{"seeds", "known"} {
		t.Run(how, func(t *testing.T) {
			gossipBubble(t, func(gs *gossips) {
				a, b, c := gs.trio()
				cut := "c" // has a for a seed
				if how == "known" {
					cut = "a" // is everybody's seed; here nobody finds it by its name
					gs.net.Resolve("a")
					a.SetKnown([]string{a.Addr(), b.Addr(), c.Addr()})
				}
				rest := slices.DeleteFunc([]string{"a", "b", "c"}, func(s string) bool { return s == cut })
				gs.net.Split([]string{cut}, rest)
				gs.expect(10*time.Second, cut+".1", gs.all[cut])
				gs.expect(10*time.Second, rest[0]+".1 "+rest[1]+".1", gs.all[rest[0]], gs.all[rest[1]])
				time.Sleep(time.Minute)
				gs.net.Heal()
				gs.expect(10*time.Second, "a.1 b.1 c.1", a, b, c)
			})
		})
	}
}

// TestGossipSeedsAreResolvedAgain: a name that means nothing at first.
func TestGossipSeedsAreResolvedAgain(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a := gs.start(testMeta("a", 1), nil)
		b := gs.start(testMeta("b", 1), nil, "seeds.example:7946")
		gs.stays(time.Minute, "b.1", b)
		gs.net.Resolve("seeds.example", "b", "a") // itself too
		gs.expect(10*time.Second, "a.1 b.1", a, b)
	})
}

// TestGossipKeepsApart: processes of another mesh, or of another cluster of a
// mesh of the same name, are never in the list, though they try to join.
func TestGossipKeepsApart(t *testing.T) {
	withCluster := func(name, cluster, id string) *peerv1.Meta {
		m := testMeta(name, 1)
		m.Cluster, m.ClusterId = cluster, []byte(id)
		return m
	}
	gossipBubble(t, func(gs *gossips) {
		a := gs.start(withCluster("a", "mesh", "one"), nil, "b", "c", "d")
		b := gs.start(withCluster("b", "mesh", "two"), nil, "a", "c")
		c := gs.start(withCluster("c", "other mesh", ""), nil, "a", "b", "d")
		// d follows nobody yet: both clusters see it, and it sees both.
		d := gs.start(withCluster("d", "mesh", ""), nil, "a", "b")
		gs.expect(10*time.Second, "a.1 d.1", a)
		gs.expect(10*time.Second, "b.1 d.1", b)
		gs.expect(10*time.Second, "a.1 b.1 d.1", d)
		gs.stays(time.Minute, "c.1", c)
		gs.stays(time.Minute, "a.1 d.1", a)
		// Now it follows one of them.
		if err := d.UpdateMeta(withCluster("d", "mesh", "one")); err != nil {
			t.Fatal(err)
		}
		gs.expect(20*time.Second, "a.1 d.1", a, d)
		gs.expect(20*time.Second, "b.1", b)
		gs.stays(time.Minute, "b.1", b)
		gs.stays(time.Minute, "a.1 d.1", a, d)
	})
}

func TestGossipLabel(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		labels := make(map[string]string)
		for _, cluster := range []string{"", "a", "b", strings.Repeat("x", 300)} {
			meta := testMeta("a", 1)
			meta.Cluster = cluster
			g := gs.start(meta, nil)
			label := g.memberlistConfig().Label
			if other, ok := labels[label]; ok || label == "" || len(label) > memberlist.LabelMaxSize {
				t.Errorf("label of %q is %q, as that of %q", cluster, label, other)
			}
			labels[label] = cluster
			_ = g.Close()
		}
	})
}

func TestGossipSeedIndex(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		for _, name := range []string{"a", "b", "c"} {
			gs.net.Host(name)
		}
		gs.net.Resolve("both.example", "a", "b")
		gs.net.Resolve("self.example", "a", "a")
		ip := gs.net.Host("a").IP()
		for _, test := range []struct {
			seeds  []string
			index  int
			unique bool
			fails  bool
		}{
			{[]string{"a:7946", "b:7946"}, 1, true, false},
			{[]string{"b", "c", "a"}, 3, true, false},
			{[]string{"b:7946", ip + ":7946"}, 2, true, false},
			{[]string{"localhost"}, 1, true, false},
			{[]string{"self.example"}, 1, true, false},
			{[]string{"a:7947", "b:7946"}, 0, false, false}, // another port of this machine
			{nil, 0, false, false},
			{[]string{"both.example:7946"}, 1, false, false},
			{[]string{"b", "a", "a:7946"}, 2, false, false},
			{[]string{"nobody.example", "b"}, 0, false, true},
			{[]string{"nobody.example", "a"}, 2, true, false}, // it is not there yet
		} {
			g := gs.start(testMeta("a", 1), nil, test.seeds...)
			index, unique, err := g.SeedIndex()
			if (index != test.index) || (index != 0 && unique != test.unique) || (err != nil) != test.fails {
				t.Errorf("%v: seed %d, unique %t, %v, want %+v", test.seeds, index, unique, err, test)
			}
			_ = g.Close()
		}
		// An advertised address that is not this machine's own (address translation).
		g := gs.start(testMeta("a", 1), func(c *Config) { c.Advertise = "192.0.2.1:9" }, "b", "192.0.2.1:9")
		if index, unique, err := g.SeedIndex(); index != 2 || !unique || err != nil || g.Addr() != "192.0.2.1:9" {
			t.Errorf("advertised elsewhere at %s: seed %d, unique %t, %v", g.Addr(), index, unique, err)
		}
	})
}

// TestGossipOwnAddrs: a process that listens at one address is not taken for
// another of the same machine and port.
func TestGossipOwnAddrs(t *testing.T) {
	for listen, wantLoopback := range map[string]bool{"127.0.0.2:0": false, "127.0.0.1:0": true, ":0": true} {
		g, err := Start(Config{Meta: testMeta("a", 1), Listen: listen, Network: network.System{}, Log: quiet()})
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			continue // this system has only one loopback address
		}
		if err != nil {
			t.Fatal(err)
		}
		own, err := g.OwnAddrs()
		if err != nil {
			t.Error(err)
		}
		if got := own[netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), g.transport.port)]; got != wantLoopback {
			t.Errorf("%s: 127.0.0.1 is this process: %t, want %t (%v)", listen, got, wantLoopback, own)
		}
		udp, err := netip.ParseAddrPort(g.transport.socket.LocalAddr().String())
		if self := netip.MustParseAddrPort(g.Addr()); err != nil || self.Port() == 0 || udp.Port() != self.Port() {
			t.Errorf("%s: advertises %s, UDP on %s, %v", listen, g.Addr(), udp, err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// busyUDP is a Network on which some UDP ports are taken.
type busyUDP struct {
	network.Network
	failures int
}

func (b *busyUDP) ListenPacket(addr string) (net.PacketConn, error) {
	if b.failures > 0 {
		b.failures--
		return nil, syscall.EADDRINUSE
	}
	return b.Network.ListenPacket(addr)
}

func TestGossipPortForBoth(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		busy := func(failures int) func(*Config) {
			return func(c *Config) { c.Listen, c.Network = ":0", &busyUDP{c.Network, failures} }
		}
		gs.start(testMeta("a", 1), busy(bindAttempts-1))
		for listen, failures := range map[string]int{":0": bindAttempts, ":7946": 1} {
			cfg := Config{Meta: testMeta("b", 1), Listen: listen, Network: &busyUDP{gs.net.Host("b"), failures}, Log: quiet()}
			if _, err := Start(cfg); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s with the UDP port taken: %v, want %v", listen, err, syscall.EADDRINUSE)
			}
			// Nothing is left open.
			l, err := cfg.Network.Listen(":7946")
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		}
	})
}

// TestGossipCloseEndsDials: a seed that never answers does not hold up close.
func TestGossipCloseEndsDials(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		gs.net.Host("b")
		gs.net.Cut("a", "b")
		a := gs.start(testMeta("a", 1), nil, "b")
		synctest.Wait()
		start := time.Now()
		if err := a.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("close: %v after %v", err, time.Since(start))
		}
	})
}

// TestGossipStreamLimit: streams beyond the limit are dropped, and those that
// say nothing make room after a while.
func TestGossipStreamLimit(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a := gs.start(testMeta("a", 1), nil)
		dial := func() net.Conn {
			c, err := gs.net.Host("b").Dial(context.Background(), a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return c
		}
		for range maxStreams {
			dial()
		}
		expectDropped(t, dial(), 0)
		time.Sleep(30 * defaultUnit)
		b := gs.start(testMeta("b", 1), nil, "a")
		gs.expect(time.Second, "a.1 b.1", a, b)
		silent := dial()
		_ = a.Close()
		expectDropped(t, silent, 0)
	})
}

// A host that keeps all streams busy does not keep another one out: a new process finds the others at
// once.
func TestGossipStreamShare(t *testing.T) {
	gossipBubble(t, func(gs *gossips) {
		a := gs.start(testMeta("a", 1), nil)
		var newest net.Conn
		for range maxStreams {
			c, err := gs.net.Host("stranger").Dial(context.Background(), a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			newest = c
		}
		synctest.Wait()
		b := gs.start(testMeta("b", 1), nil, "a")
		gs.expect(time.Second, "a.1 b.1", a, b)
		expectDropped(t, newest, 0)
	})
}
