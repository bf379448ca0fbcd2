package view

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// deafLayer is a raft.StreamLayer that reaches no other process.
type deafLayer struct{ closed chan struct{} }

var errDeaf = errors.New("nobody is reached")

func (l deafLayer) Accept() (net.Conn, error) {
	<-l.closed
	return nil, net.ErrClosed
}

func (l deafLayer) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return nil, errDeaf }

func (l deafLayer) Close() error {
	close(l.closed)
	return nil
}

func (l deafLayer) Addr() net.Addr { return &net.TCPAddr{} }

// Raft's pipeline can block forever, so it is not used, see Begin.
func TestNothingIsPipelined(t *testing.T) {
	r, err := Start(Config{
		ID: "a", Lease: lease, LeaseKnown: true, Layer: deafLayer{make(chan struct{})},
		Log: slog.New(slog.DiscardHandler), RaftLog: hclog.New(&hclog.LoggerOptions{Output: io.Discard}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := r.transport.AppendEntriesPipeline("b", "b"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline to b: %v, want none", err)
	}
}

// V4: all of Raft's intervals derive from the cluster's lease. A process without records knows the
// lease only once it has seen a view. Until then it takes no part.
func TestBeginsWithTheClustersLease(t *testing.T) {
	const configured, clusters = 200 * time.Millisecond, 2 * time.Second
	r, err := Start(Config{
		ID: "a", Lease: configured, Layer: deafLayer{make(chan struct{})}, Log: slog.New(slog.DiscardHandler), RaftLog: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seats(); err == nil || r.LeaderCh() != nil || r.Leads() || r.Leader() != "" || r.Term() != 0 || r.Applied() != 0 {
		t.Error("it takes part before it knows the lease")
	}
	select {
	case <-r.Begun():
		t.Fatal("it has begun before it knows the lease")
	default:
	}
	if err := r.Begin(clusters); err != nil {
		t.Fatal(err)
	}
	<-r.Begun()
	if c := r.library.Load().ReloadableConfig(); c.HeartbeatTimeout != clusters/5 || c.ElectionTimeout != clusters/5 {
		t.Errorf("Raft began with %+v, want a fifth of %v", c, clusters)
	}
	c := raftConfig(r.cfg, clusters)
	if c.LeaderLeaseTimeout != clusters/8 || c.CommitTimeout != clusters/20 {
		t.Errorf("a leader steps down after %v and commits after %v", c.LeaderLeaseTimeout, c.CommitTimeout)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Begin(clusters); err == nil {
		t.Error("it begins after Close")
	}
}

// Close works in a process that never saw a view.
func TestCloseBeforeBegin(t *testing.T) {
	layer := deafLayer{make(chan struct{})}
	r, err := Start(Config{ID: "a", Lease: time.Second, Layer: layer, Log: slog.New(slog.DiscardHandler), RaftLog: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-layer.closed:
	default:
		t.Error("the layer is still open")
	}
}

// future is a raft.Future that is done.
type future struct{}

func (future) Error() error { return nil }

// Raft accepts no request while it waits for its disk. The caller returns all the same when its
// context ends.
func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	disk := make(chan struct{})
	defer close(disk)
	cancel()
	if _, err := await(ctx, func() future { <-disk; return future{} }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := await(t.Context(), func() future { return future{} }); err != nil {
		t.Errorf("a future that is done: %v", err)
	}
}
