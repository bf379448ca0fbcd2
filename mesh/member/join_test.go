package member

import (
	"errors"
	"strings"
	"testing"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// W2, the joiner's side: a refusal is final and names both releases.
func TestRefusedJoiner(t *testing.T) {
	for name, c := range map[string]struct {
		resp *peerv1.JoinResponse
		want string // "" for no refusal
	}{
		"refused": {&peerv1.JoinResponse{
			Outcome: peerv1.JoinResponse_OUTCOME_RELEASE, Why: "c is release 1, and this mesh has release 2", Release: 2, OldestRelease: 1,
		}, "this mesh has release 2"},
		"a leader from before release 1": {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT}, "before release 1"},
		"another that does not lead":     {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER}, "before release 1"},
		"waits":                          {&peerv1.JoinResponse{Outcome: peerv1.JoinResponse_OUTCOME_WAIT, Release: 9, OldestRelease: 1}, ""},
	} {
		err := New(Config{Releases: release.Own()}).refusedRelease("x:1", c.resp)
		if (err != nil) != (c.want != "") || err != nil && (!errors.Is(err, release.ErrMismatch) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), release.Own().String())) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// W2: a joiner that learns of a later release from a process other than the leader still asks the
// leader, so that both sides log why it is refused.
func TestJoinerIsRefusedByTheLeader(t *testing.T) {
	alone(t, func(t *testing.T, m *Member) {
		first := epochtest.View(1, "a", "b")
		if err := m.cfg.Views.Offer(epochtest.State(first)); err != nil {
			t.Fatal(err)
		}
		later := epochtest.View(2, "a", "b")
		later.Release = release.Current + 1
		resp := &peerv1.JoinResponse{
			Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, History: view.StateToProto(epochtest.State(first, later)),
			Release: later.Release, OldestRelease: 1,
		}
		if err := m.learn("x:1", resp); err != nil || m.cfg.Views.Epoch() != 1 {
			t.Errorf("from a process that is not the leader: %v, in epoch %d", err, m.cfg.Views.Epoch())
		}
		resp.Outcome, resp.Why = peerv1.JoinResponse_OUTCOME_RELEASE, "a is release 1"
		if err := m.learn("x:1", resp); !errors.Is(err, release.ErrMismatch) {
			t.Errorf("from the leader: %v", err)
		}
		later.Release = release.Current
		resp = &peerv1.JoinResponse{
			Outcome: peerv1.JoinResponse_OUTCOME_NOT_LEADER, History: view.StateToProto(epochtest.State(first, later)), Release: 1, OldestRelease: 1,
		}
		if err := m.learn("x:1", resp); err != nil || m.cfg.Views.Epoch() != 2 {
			t.Errorf("a view that it knows: %v, in epoch %d", err, m.cfg.Views.Epoch())
		}
	})
}
