package mesh

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/network"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// Q2: a call that was cancelled is never sent once more, as it would be after a view change:
// the client's fence may have been at the old owner before it.
func TestCancelledIsNotSentAgain(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := linkNode(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		sent := &acquire{call: newCall(n, owner.Request{Kind: owner.Acquire, Key: "k", RequestID: "r", OwnID: true, TTL: time.Minute})}
		sent.sends = append(sent.sends, n.clock())
		n.showView(t, 2, "a", "b")
		if _, err := sent.run(ctx); !errors.Is(err, context.Canceled) || len(sent.sends) != 1 {
			t.Errorf("acquire: %v after %d sends, want %v after 1", err, len(sent.sends), context.Canceled)
		}
		other := newCall(n, owner.Request{Kind: owner.Release, Key: "k", Token: 1})
		if _, err := other.do(ctx); !errors.Is(err, context.Canceled) || len(other.sends) != 0 {
			t.Errorf("release: %v after %d sends, want %v after none", err, len(other.sends), context.Canceled)
		}
	})
}

// linkNode is as much of the member a, in a view with b, as a link needs.
func linkNode(t *testing.T, on network.Network) *Node {
	t.Helper()
	n := &Node{network: on, clock: clock.Monotonic(), log: quiet(), leaseTo: make(chan struct{}, 1), self: viewOf("a").Members[0].Identity}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.stopping = n.ctx.Done()
	n.cfg.Lease = 2 * time.Second
	var err error
	if n.data, err = identity.Open("", release.Own()); err != nil {
		t.Fatal(err)
	}
	n.views = epoch.New(epoch.Config{Lease: n.cfg.Lease, Fits: n.fits, Log: n.log, Follow: func(s view.State) (*owner.Service, error) {
		service := owner.NewService(owner.Config{
			Self: n.self, Name: "a", Partitions: s.Constants().Partitions(), MaxTTL: time.Minute, MaxWaiters: 1, Shards: 1,
			Clock: n.clock, Peers: epochtest.Nobody{}, Log: n.log,
		})
		t.Cleanup(service.Stop)
		return service, nil
	}})
	n.showView(t, 1, "a", "b")
	t.Cleanup(func() {
		n.cancel()
		n.tasks.close()
		if err := n.data.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// showView has the node act in a view.
func (n *Node) showView(t *testing.T, epoch uint32, names ...string) {
	t.Helper()
	views := []ring.View{epochtest.View(1, "a", "b")}
	if epoch > 1 {
		views = append(views, epochtest.View(epoch, names...))
	}
	if err := n.views.Offer(epochtest.State(views...)); err != nil {
		t.Fatal(err)
	}
}
