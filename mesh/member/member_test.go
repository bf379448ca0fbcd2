package member

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/clock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// calls are Calls that reach no process.
type calls struct{ reached []string }

func (*calls) Renew(context.Context, string, *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	return nil, errors.New("nobody is there")
}

func (*calls) Join(context.Context, string, *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return nil, errors.New("nobody is there")
}

func (*calls) Probe(context.Context, ring.Member, *peerv1.Member) (*peerv1.ProbeResponse, error) {
	return nil, errors.New("nobody is there")
}

func (c *calls) NoteReached(voter string) { c.reached = append(c.reached, voter) }

// alone runs a test in virtual time with a member a that no other process reaches.
func alone(t *testing.T, test func(t *testing.T, m *Member)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		now := clock.Monotonic()
		views, stop := epochtest.New("a", now)
		defer stop()
		test(t, New(Config{
			Self: epochtest.Member("a"), Releases: release.Own(), Views: views, Calls: &calls{}, Leased: func() {}, Clock: now,
			Log: slog.New(slog.DiscardHandler),
		}))
	})
}

// answer returns the leader's answer, with its views, oldest first.
func answer(epoch uint32, views ...ring.View) *peerv1.RenewResponse {
	resp := &peerv1.RenewResponse{Outcome: peerv1.RenewResponse_OUTCOME_RENEWED, Epoch: epoch, LeaderId: "b"}
	if len(views) > 0 {
		resp.History = view.StateToProto(epochtest.State(views...))
	}
	return resp
}

func wantLease(t *testing.T, m *Member, want time.Duration) {
	t.Helper()
	if got := m.cfg.Views.Now().Service.LeaseLeft(); got != want {
		t.Errorf("%s: in epoch %d %v of the lease is left, want %v", invariant.LeaseFromSend, m.cfg.Views.Epoch(), got, want)
	}
}

// The answer arrives 1.5 s after the request. The lease counts from the request (V4).
func TestSchedule07LeaseCountsFromTheSend(t *testing.T) {
	alone(t, func(t *testing.T, m *Member) {
		sent := m.cfg.Clock()
		time.Sleep(1500 * time.Millisecond)
		if !m.take("x:1", sent, answer(1, epochtest.View(1, "a", "b"))) {
			t.Error("a lease was not taken")
		}
		if got := m.cfg.Calls.(*calls).reached; len(got) != 1 || got[0] != "b" || m.Leader() != "b" {
			t.Errorf("the leader that answered is %q, and %v was reached, want b", m.Leader(), got)
		}
		wantLease(t, m, 500*time.Millisecond)
		time.Sleep(500 * time.Millisecond)
		if m.leased() {
			t.Errorf("%s: the lease lasts longer than L", invariant.LeaseFromSend)
		}
	})
}

// A is cut off in epoch 1, removed in 2 and admitted again in 3. An answer that names epoch 3
// without its view grants no lease. With the view, the view is installed first, and then A is not
// active (V4).
func TestSchedule10LeaseForAnEpochNotInstalled(t *testing.T) {
	alone(t, func(t *testing.T, m *Member) {
		first := epochtest.View(1, "a", "b")
		m.take("x:1", m.cfg.Clock(), answer(1, first))
		wantLease(t, m, 2*time.Second)
		time.Sleep(3 * time.Second)
		blocked := epochtest.View(3, "b", "a")
		blocked.Placement = ring.Placement + 1 // as in a later release
		for name, resp := range map[string]*peerv1.RenewResponse{
			"without the view":              answer(3),
			"with an older view":            answer(3, first),
			"with a view it cannot install": answer(3, first, epochtest.View(2, "b"), blocked),
		} {
			if m.take("x:1", m.cfg.Clock(), resp) || m.leased() || m.cfg.Views.Epoch() != 1 {
				t.Errorf("%s: an answer %s: leased %v in epoch %d", invariant.LeaseInView, name, m.leased(), m.cfg.Views.Epoch())
			}
		}
		if !m.take("x:1", m.cfg.Clock(), answer(3, first, epochtest.View(2, "b"), epochtest.View(3, "b", "a"))) {
			t.Error("an answer with its view grants no lease")
		}
		wantLease(t, m, 2*time.Second)
		if st := m.cfg.Views.Now().Service.Stats(); m.cfg.Views.Epoch() != 3 || st.Owned == 0 || st.Active != 0 {
			t.Errorf("in epoch %d %d of %d partitions are active, want 0 in epoch 3", m.cfg.Views.Epoch(), st.Active, st.Owned)
		}
		// An answer from before the removal does not bring back the old epoch (A1).
		m.take("x:1", m.cfg.Clock(), answer(1, first))
		if m.cfg.Views.Epoch() != 3 {
			t.Errorf("a late answer led back to epoch %d", m.cfg.Views.Epoch())
		}
		// In a view without A an answer grants no lease.
		if m.take("x:1", m.cfg.Clock(), answer(4, first, epochtest.View(4, "b"))) {
			t.Error("an answer grants a lease in a view without this member")
		}
	})
}

// A process that has lost its leader asks every other process in turn, even if the list of those
// that it knows changes: each one that cannot be reached costs a quarter of a lease.
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

// V1, V7: nobody counts on the vote of a process that has asked to be let go and does not wait any
// more, whether it got an answer or not.
func TestVoteOfAProcessThatStops(t *testing.T) {
	alone(t, func(t *testing.T, m *Member) {
		m.cfg.Raft = led{}
		m.take("x:1", m.cfg.Clock(), answer(1, epochtest.View(1, "a", "b")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() {
			m.GiveUp(ctx)
			close(done)
		}()
		synctest.Wait()
		if m.Stopping() {
			t.Error("the process waits to be let go, but its vote does not count any more")
		}
		<-done
		if !m.Stopping() {
			t.Error("the process stops, but its vote counts")
		}
	})
}

// led is the Raft of a process that knows a leader.
type led struct{ Raft }

func (led) Leader() string { return "b" }
