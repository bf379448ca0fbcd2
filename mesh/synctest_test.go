package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/logbridge"
	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/gossip"
	"github.com/sgkandale/sharelock/mesh/peerport"
	"github.com/sgkandale/sharelock/mesh/raftstream"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// simNode is all of a node that has goroutines of others in it: gossip, Raft on
// the port it shares with gRPC, and gRPC itself.
type simNode struct {
	gossip *gossip.Gossip
	port   *peerport.Port
	raft   *raft.Raft
	layer  *raftstream.Layer
	trans  *raft.NetworkTransport
	store  *raft.InmemStore
	server *grpc.Server
	served chan error
}

// countingFSM applies nothing and counts.
type countingFSM struct{ applied int }

func (f *countingFSM) Apply(*raft.Log) any { f.applied++; return f.applied }
func (f *countingFSM) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("not in this test")
}
func (f *countingFSM) Restore(io.ReadCloser) error { return errors.New("not in this test") }

// echoServer answers with what it is asked.
type echoServer struct {
	peerv1.UnimplementedPeerServiceServer
}

// Ask answers with what it was asked.
func (echoServer) Ask(_ context.Context, in *peerv1.AskRequest) (*peerv1.AskResponse, error) {
	return &peerv1.AskResponse{Epoch: in.GetEpoch()}, nil
}

func startSimNode(t *testing.T, n *memnet.Net, name string, seeds []string) *simNode {
	t.Helper()
	host := n.Host(name)
	log := slog.New(slog.DiscardHandler)
	id := ring.Identity{ID: name, Counter: 1, Nonce: 7}
	g, err := gossip.Start(gossip.Config{
		Meta:   &peerv1.Meta{Identity: ringproto.EncodeIdentity(id), Name: name, Cluster: "sim"},
		Listen: ":7946", Seeds: seeds, Network: host, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := host.Listen(":50053")
	if err != nil {
		t.Fatal(err)
	}
	clusterID := []byte("0123456789abcdef")
	s := &simNode{gossip: g, served: make(chan error, 1)}
	s.port = peerport.New(l, log, nil, peerport.Protocol{Magic: raftstream.Magic, Open: func(conn net.Conn) (net.Conn, error) {
		return raftstream.Accept(conn, func(cluster []byte, _ string) bool { return bytes.Equal(cluster, clusterID) })
	}})
	s.layer = raftstream.New(raftstream.Config{
		Listener: s.port.Listener(raftstream.Magic), Dial: host.Dial, Cluster: func() []byte { return clusterID },
		Address: func(id string) string { return id }, Self: l.Addr().String(),
	})
	s.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s.layer, MaxPool: 3, Timeout: 300 * time.Millisecond, Logger: logbridge.NewHCLog(log),
	})
	s.store = raft.NewInmemStore()
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(name)
	c.HeartbeatTimeout, c.ElectionTimeout = 400*time.Millisecond, 400*time.Millisecond
	c.LeaderLeaseTimeout, c.CommitTimeout = 250*time.Millisecond, 10*time.Millisecond
	c.NoLegacyTelemetry = true
	c.Logger = logbridge.NewHCLog(log)
	s.raft, err = raft.NewRaft(c, &countingFSM{}, s.store, s.store, raft.NewInmemSnapshotStore(), s.trans)
	if err != nil {
		t.Fatal(err)
	}
	s.server = grpc.NewServer()
	peerv1.RegisterPeerServiceServer(s.server, echoServer{})
	go func() { s.served <- s.server.Serve(s.port.Rest()) }()
	return s
}

// stop ends a node the way Node.Stop must: what is on top first. It gives every
// goroutine that it started itself time to end; the bubble checks the rest.
func (s *simNode) stop(t *testing.T) {
	t.Helper()
	if err := s.raft.Shutdown().Error(); err != nil {
		t.Errorf("raft: %v", err)
	}
	if err := s.trans.Close(); err != nil {
		t.Errorf("raft transport: %v", err)
	}
	s.server.Stop()
	<-s.served
	if err := errors.Join(s.port.Close(), s.gossip.Close()); err != nil {
		t.Error(err)
	}
}

func dialSim(t *testing.T, host *memnet.Host, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, addr) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// stragglers is the longest that a probe of memberlist goes on after its
// Shutdown, which does not wait: the probe interval times the awareness limit.
// A bubble must not end before, because its time stands still once it ends.
const stragglers = 4 * time.Second

// eventually waits in virtual time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// TestSimulation runs the three libraries that start goroutines together in one
// bubble, over the memory network: see docs/adr/0006-simulation-in-synctest.md.
// That it ends at all says that no goroutine outlives Stop.
func TestSimulation(t *testing.T) {
	wall := wallClock()
	var took time.Duration
	virtual.Test(t, func(t *testing.T) {
		start := time.Now()
		n := memnet.New(1)
		names := []string{"a", "b", "c"}
		var nodes []*simNode
		var servers []raft.Server
		for _, name := range names {
			nodes = append(nodes, startSimNode(t, n, name, names))
			servers = append(servers, raft.Server{
				ID: raft.ServerID(name), Address: raft.ServerAddress(n.Host(name).IP() + ":50053"),
			})
		}
		eventually(t, 10*time.Second, "gossip shows all three everywhere", func() bool {
			for _, s := range nodes {
				if len(s.gossip.Processes()) != 3 {
					return false
				}
			}
			return true
		})
		if err := nodes[0].raft.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
			t.Fatal(err)
		}
		leader := func(among ...*simNode) *simNode {
			var found *simNode
			eventually(t, 10*time.Second, "a leader", func() bool {
				for _, s := range among {
					if s.raft.State() == raft.Leader {
						found = s
					}
				}
				return found != nil
			})
			return found
		}
		first := leader(nodes...)
		if err := first.raft.Apply([]byte("x"), time.Second).Error(); err != nil {
			t.Fatal(err)
		}

		conn := dialSim(t, n.Host("a"), n.Host("b").IP()+":50053")
		peer := peerv1.NewPeerServiceClient(conn)
		echo := func(epoch uint32) error {
			got, err := peer.Ask(t.Context(), &peerv1.AskRequest{Epoch: epoch})
			if err == nil && got.GetEpoch() != epoch {
				err = fmt.Errorf("answer to epoch %d: %v", epoch, got)
			}
			return err
		}
		if err := echo(1); err != nil {
			t.Fatal(err)
		}

		// Nothing for a while, then the leader is cut off, then all is well again.
		time.Sleep(10 * time.Second)
		first = leader(nodes...)
		i := 0
		for nodes[i] != first {
			i++
		}
		rest := append(append([]*simNode(nil), nodes[:i]...), nodes[i+1:]...)
		restNames := append(append([]string(nil), names[:i]...), names[i+1:]...)
		n.Split([]string{names[i]}, restNames)
		second := leader(rest...)
		if err := second.raft.Apply([]byte("y"), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "gossip misses the one that was cut off", func() bool {
			return len(rest[0].gossip.Processes()) == 2 && len(rest[1].gossip.Processes()) == 2 && len(first.gossip.Processes()) == 1
		})
		time.Sleep(40 * time.Second) // memberlist has forgotten it after 30
		n.Heal()
		eventually(t, 20*time.Second, "gossip is one again", func() bool {
			return len(nodes[0].gossip.Processes()) == 3 && len(nodes[1].gossip.Processes()) == 3 && len(nodes[2].gossip.Processes()) == 3
		})
		eventually(t, 10*time.Second, "the old leader has the new entry", func() bool {
			return first.raft.AppliedIndex() >= second.raft.AppliedIndex()
		})
		if err := echo(2); err != nil {
			t.Error(err)
		}

		_ = conn.Close()
		for _, s := range nodes {
			s.stop(t)
		}
		time.Sleep(stragglers)
		took = time.Since(start)
	})
	t.Logf("%v of virtual time in %v", took, wallClock()-wall)
}

// wallClock is a clock that a bubble does not change.
func wallClock() time.Duration { return clock.System()() }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
