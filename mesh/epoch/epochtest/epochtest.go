// Package epochtest makes installed views for the tests of mesh's parts: a member that acts in a
// view, with a real service behind it, and without a node, a network or other members.
package epochtest

import (
	"context"
	"log/slog"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Lease is the length of a lease in the views of this package.
const Lease = 2 * time.Second

// Cluster is the id of their cluster.
var Cluster = []byte("one")

// Member returns the member with a name.
func Member(name string) ring.Member {
	return ring.Member{Identity: ring.Identity{ID: name, Counter: 1, Nonce: 7}, Name: name, Peer: name + ":1"}
}

// View returns the view of an epoch with the members of these names. Each key has an owner and no
// backup.
func View(epoch uint32, names ...string) ring.View {
	v := ring.View{Epoch: epoch, Replicas: 1, Placement: ring.Placement, Release: release.Oldest}
	for _, name := range names {
		v.Members = append(v.Members, Member(name))
	}
	return v
}

// State returns an agreed state with views, the oldest first.
func State(views ...ring.View) view.State {
	return view.State{
		Cluster: &peerv1.Cluster{Id: Cluster, Partitions: 8, LeaseNs: int64(Lease), MaxTtlNs: int64(time.Minute)},
		History: ring.History{First: 1, Views: views},
	}
}

// New returns the Views of the member with the given name, without a view yet, and a function that
// stops its service. The service reaches no other member.
func New(self string, clock func() time.Duration) (views *epoch.Views, stop func()) {
	end := func() {} // there is a service only once there is a view
	views = epoch.New(epoch.Config{
		Lease: Lease, Log: slog.New(slog.DiscardHandler),
		Fits: func(ring.View) error { return nil },
		Follow: func(s view.State) (*owner.Service, error) {
			service := owner.NewService(owner.Config{
				Self: Member(self).Identity, Name: self, Partitions: s.Constants().Partitions(), MaxTTL: s.Constants().MaxTTL(),
				MaxWaiters: 100, Shards: 1, Clock: clock, Peers: Nobody{}, Log: slog.New(slog.DiscardHandler),
			})
			end = service.Stop
			return service, nil
		},
	})
	return views, func() { end() }
}

// Nobody implements owner.Peers without an answer: its methods wait until their contexts end.
type Nobody struct{}

var _ owner.Peers = Nobody{}

// Ask implements owner.Peers.
func (Nobody) Ask(ctx context.Context, _ ring.Member, _ uint32, _ []uint32) ([]owner.Held, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Fetch implements owner.Peers.
func (Nobody) Fetch(ctx context.Context, _ ring.Member, _ uint32, _ []owner.Want) ([]owner.Piece, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Sync implements owner.Peers.
func (Nobody) Sync(ctx context.Context, _ ring.Member, _ uint32, _ []owner.Base) ([]owner.Taken, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Replicate implements owner.Peers.
func (Nobody) Replicate(ring.Member, uint32, []owner.Entries) {}

// Active implements owner.Peers.
func (Nobody) Active(ctx context.Context, _ ring.Member, _ uint32, _ []uint32) error {
	<-ctx.Done()
	return ctx.Err()
}
