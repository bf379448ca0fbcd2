package mesh

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/identity"
	"github.com/sgkandale/sharelock/mesh/peer"
	"github.com/sgkandale/sharelock/mesh/view"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/owner/mutant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// nobody is where all other members are silent.
type nobody struct{}

var _ owner.Peers = nobody{}

func (nobody) Ask(ctx context.Context, _ ring.Member, _ uint32, _ []uint32) ([]owner.Held, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (nobody) Fetch(ctx context.Context, _ ring.Member, _ uint32, _ []owner.Want) ([]owner.Piece, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (nobody) Sync(ctx context.Context, _ ring.Member, _ uint32, _ []owner.Base) ([]owner.Taken, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (nobody) Replicate(ring.Member, uint32, []owner.Entries) {}

func (nobody) Active(ctx context.Context, _ ring.Member, _ uint32, _ []uint32) error {
	<-ctx.Done()
	return ctx.Err()
}

// alone plays a member a, whom nobody else reaches, to a test inside a bubble.
func alone(t *testing.T, test func(t *testing.T, m *member)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		n := &Node{
			clock: clock.Monotonic(), log: slog.New(slog.DiscardHandler), leaseTo: make(chan struct{}, 1),
			self: viewOf("a").Members[0].Identity,
		}
		n.peers = peer.New(peer.Config{Clock: n.clock})
		var err error
		if n.data, err = identity.Open("", release.Own()); err != nil {
			t.Fatal(err)
		}
		n.views = epoch.New(epoch.Config{Lease: n.cfg.Lease, Fits: n.fits, Log: n.log, Follow: func(s view.State) (*owner.Service, error) {
			service := owner.NewService(owner.Config{
				Self: n.self, Name: "a", Partitions: s.Constants().Partitions(), MaxTTL: time.Minute, MaxWaiters: 1,
				Shards: 1, Clock: n.clock, Peers: nobody{}, Log: n.log,
			})
			t.Cleanup(service.Stop)
			return service, nil
		}})
		test(t, newMember(n))
	})
}

// answer is the leader's, with its views, oldest first.
func answer(epoch uint32, views ...ring.View) *peerv1.RenewResponse {
	resp := &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_RENEWED, Epoch: epoch}
	if len(views) > 0 {
		resp.History = view.StateToProto(view.State{
			Cluster: &peerv1.Cluster{Id: []byte("one"), Partitions: 8, LeaseNs: int64(2 * time.Second), MaxTtlNs: int64(time.Minute)},
			History: ring.History{First: 1, Views: views},
		})
	}
	return resp
}

func viewAt(epoch uint32, names ...string) ring.View {
	v := viewOf(names...)
	v.Epoch = epoch
	return v
}

func wantLease(t *testing.T, m *member, want time.Duration) {
	t.Helper()
	if got := m.node.views.Now().Service.LeaseLeft(); got != want {
		t.Errorf("%s: in epoch %d %v of the lease is left, want %v", mutant.LeaseFromSend, m.node.epoch(), got, want)
	}
}

// The answer comes 1.5 s after the request: the lease counts from the request (V4).
func TestSchedule07LeaseCountsFromTheSend(t *testing.T) {
	alone(t, func(t *testing.T, m *member) {
		sent := m.node.clock()
		time.Sleep(1500 * time.Millisecond)
		if !m.take("x:1", sent, answer(1, viewAt(1, "a", "b"))) {
			t.Error("a lease was not taken")
		}
		wantLease(t, m, 500*time.Millisecond)
		time.Sleep(500 * time.Millisecond)
		if m.node.leased() {
			t.Errorf("%s: the lease goes on after L", mutant.LeaseFromSend)
		}
	})
}

// A is cut off in epoch 1, removed in 2 and admitted again in 3. The answer that
// names epoch 3 comes without its view: it gives no lease. With its view the view
// is installed first, and then A is not active (V4).
func TestSchedule10LeaseForAnEpochNotInstalled(t *testing.T) {
	alone(t, func(t *testing.T, m *member) {
		first := viewAt(1, "a", "b")
		m.take("x:1", m.node.clock(), answer(1, first))
		wantLease(t, m, 2*time.Second)
		time.Sleep(3 * time.Second)
		blocked := viewAt(3, "b", "a")
		blocked.Placement = ring.Placement + 1 // of a later release
		for name, resp := range map[string]*peerv1.RenewResponse{
			"without the view":              answer(3),
			"with an older view":            answer(3, first),
			"with a view it cannot install": answer(3, first, viewAt(2, "b"), blocked),
		} {
			if m.take("x:1", m.node.clock(), resp) || m.node.leased() || m.node.epoch() != 1 {
				t.Errorf("%s: an answer %s: leased %v in epoch %d", mutant.LeaseInView, name, m.node.leased(), m.node.epoch())
			}
		}
		if !m.take("x:1", m.node.clock(), answer(3, first, viewAt(2, "b"), viewAt(3, "b", "a"))) {
			t.Error("an answer with its view gives no lease")
		}
		wantLease(t, m, 2*time.Second)
		if st := m.node.views.Now().Service.Stats(); m.node.epoch() != 3 || st.Owned == 0 || st.Active != 0 {
			t.Errorf("in epoch %d %d of %d partitions are active, want 0 in epoch 3", m.node.epoch(), st.Active, st.Owned)
		}
		// An answer from before the removal does not bring the old epoch back (A1).
		m.take("x:1", m.node.clock(), answer(1, first))
		if m.node.epoch() != 3 {
			t.Errorf("a late answer led back to epoch %d", m.node.epoch())
		}
		// A view without A ends what an answer says.
		if m.take("x:1", m.node.clock(), answer(4, first, viewAt(4, "b"))) {
			t.Error("an answer gives a lease in a view without this member")
		}
	})
}

// A process that has lost its leader asks every other one in turn, also while the list of
// those it knows changes: one that cannot be reached costs a quarter of a lease each time.
func TestFollowing(t *testing.T) {
	lists := [][]string{{"a", "b", "c", "d"}, {"a", "c", "d"}, {"a", "c", "d", "e"}}
	last, asked := "c", ""
	for i := range 6 {
		last = following(last, lists[i%len(lists)])
		asked += last
	}
	if want := "dacdac"; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	if got := following("a", nil); got != "" {
		t.Errorf("the next of none is %q", got)
	}
	if got := following("a", []string{"a"}); got != "a" {
		t.Errorf("the next of one is %q", got)
	}
}
