package member

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/view"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// joining is what Run remembers of its attempts to join.
type joining struct {
	// taken is since when joining has been refused because another live process has this node's
	// name; 0 if it is not.
	taken time.Duration
	// undialledBy are the names of the members that could not dial this process back.
	undialledBy string
	// noticed is when usedTwice last logged; 0 means never.
	noticed time.Duration
}

// join asks to be admitted. The error is final: this process cannot be a member.
func (m *Member) join(ctx context.Context, a *epoch.View) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Views.Lease()/2)
	defer cancel()
	addr := m.leaderAddr(a)
	if addr == "" {
		m.say("no member of the mesh is known yet")
		return nil
	}
	wrong := ""
	req := &peerv1.JoinRequest{Member: ringproto.EncodeMember(m.cfg.Self), OldestRelease: m.cfg.Releases.Oldest}
	if a != nil {
		req.Reached, wrong = m.probe(ctx, a.View)
		req.Callers = m.cfg.Claims(a)
	}
	resp, err := m.cfg.Calls.Join(ctx, addr, req)
	if err != nil {
		m.forget(addr)
		m.say(fmt.Sprintf("%s does not answer: %v", addr, err))
		return nil
	}
	if err := m.learn(addr, resp); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	m.say(resp.GetWhy())
	switch resp.GetOutcome() {
	case peerv1.JoinResponse_OUTCOME_NOT_LEADER:
		m.follow(addr, resp.GetLeader())
		if m.joining.taken == 0 {
			m.say("the mesh has no leader now")
		}
		return nil
	case peerv1.JoinResponse_OUTCOME_NAME_TAKEN, peerv1.JoinResponse_OUTCOME_ID_TAKEN:
		return m.refused(resp)
	case peerv1.JoinResponse_OUTCOME_DIRECTORY_IN_USE:
		// V3: this process asks again, and is admitted once the other one is gone. Until then it
		// must not vote under the shared id.
		m.cfg.Doubled(true)
		m.usedTwice(resp.GetWhy())
		return nil
	}
	m.cfg.Doubled(false)
	if wrong != "" {
		m.say(wrong)
	}
	m.joining.taken = 0
	return nil
}

// refused returns an error when another process has had this node's name for two leases. For a
// shorter time it may be an earlier run of this node that has ended.
func (m *Member) refused(resp *peerv1.JoinResponse) error {
	if resp.GetOutcome() == peerv1.JoinResponse_OUTCOME_ID_TAKEN {
		m.cfg.Log.Error("refused by the mesh", "why", resp.GetWhy())
		return fmt.Errorf("join: %s: was the data directory copied, or brought back from a backup?", resp.GetWhy())
	}
	now := m.cfg.Clock()
	if m.joining.taken == 0 {
		m.joining.taken = now
		m.cfg.Log.Error("refused by the mesh", "why", resp.GetWhy())
	}
	if now-m.joining.taken > 2*m.cfg.Views.Lease() {
		return fmt.Errorf("join: %s", resp.GetWhy())
	}
	return nil
}

// usedTwice logs, at most once a minute, that this node's data directory is in use twice (V3).
func (m *Member) usedTwice(notice string) {
	if now := m.cfg.Clock(); m.joining.noticed == 0 || now-m.joining.noticed >= time.Minute {
		m.joining.noticed = now
		m.cfg.Log.Error("the data directory is in use twice", "what", notice)
	}
}

// probe asks the members of a view to dial this process back (V3). It returns those that did, and a
// text for people about the others.
func (m *Member) probe(ctx context.Context, v ring.View) (reached []*peerv1.Identity, wrong string) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Views.Lease()/4)
	defer cancel()
	self := ringproto.EncodeMember(m.cfg.Self)
	undialled := make([]string, len(v.Members))
	silent := make([]string, len(v.Members))
	var wg sync.WaitGroup
	for i, other := range v.Members {
		if other.ID == m.cfg.Self.Identity.ID {
			continue // an earlier run of this process, which this one replaces
		}
		wg.Go(func() {
			resp, err := m.cfg.Calls.Probe(ctx, other, self)
			switch {
			case err != nil:
				silent[i] = fmt.Sprintf("member %s does not answer at %s: %v", other.Name, other.Peer, err)
			case resp.GetEpoch() < v.Epoch:
				// A success that it remembers may be from before this process was removed.
				silent[i] = fmt.Sprintf("member %s is in an older view", other.Name)
			case resp.GetUndialled() != "":
				undialled[i] = fmt.Sprintf("member %s cannot dial this node at %s (mesh.peer_advertise): %s", other.Name, self.GetPeer(), resp.GetUndialled())
			}
		})
	}
	wg.Wait()
	var by, all []string
	for i, other := range v.Members {
		switch {
		case undialled[i] != "":
			by, all = append(by, other.Name), append(all, undialled[i])
		case silent[i] != "":
			all = append(all, silent[i])
		case other.ID != self.GetIdentity().GetId():
			reached = append(reached, ringproto.EncodeIdentity(other.Identity))
		}
	}
	m.reportUndialled(strings.Join(by, ", "), self.GetPeer(), strings.Join(all, "; "))
	return reached, strings.Join(all, "; ")
}

// reportUndialled logs that members cannot dial this process, when that has changed.
func (m *Member) reportUndialled(by, addr, wrong string) {
	if by == m.joining.undialledBy {
		return
	}
	m.joining.undialledBy = by
	if by == "" {
		m.cfg.Log.Info("every member that answers can dial this node", "address", addr)
		return
	}
	m.cfg.Log.Warn("members cannot dial this node, so it is not admitted: is mesh.peer_advertise right, and the port open?",
		"address", addr, "members", by, "error", wrong)
}

// say sets the reason that Why returns, unless why is empty.
func (m *Member) say(why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if why != "" {
		m.why = why
	}
}

// learn installs the view in the answer to a request to join. If that view has a release that this
// program does not work with, and the answer is not the leader's, learn ignores it, so that the
// leader is asked: it refuses this process and logs that (W2).
func (m *Member) learn(addr string, resp *peerv1.JoinResponse) error {
	if err := m.refusedRelease(addr, resp); err != nil {
		return err
	}
	s := view.StateFromProto(resp.GetHistory())
	if resp.GetOutcome() == peerv1.JoinResponse_OUTCOME_NOT_LEADER && s.Epoch() > 0 && m.cfg.Releases.Check(s.View().Release) != nil {
		return nil //nolint:nilerr // the leader refuses it
	}
	return m.cfg.Views.Offer(s)
}

// refusedRelease returns an error if this process cannot join the mesh because of its release (W2).
func (m *Member) refusedRelease(addr string, resp *peerv1.JoinResponse) error {
	theirs := release.Range{Oldest: resp.GetOldestRelease(), Newest: resp.GetRelease()}
	switch {
	case resp.GetOutcome() == peerv1.JoinResponse_OUTCOME_RELEASE:
		return fmt.Errorf("%w: the leader at %s says: %s (this program is %v)", release.ErrMismatch, addr, resp.GetWhy(), m.cfg.Releases)
	case theirs.Newest == 0:
		return fmt.Errorf("%w: %s is %v, this program is %v", release.ErrMismatch, addr, theirs, m.cfg.Releases)
	}
	return nil
}
