package view

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

const (
	renewed   = peerv1.RenewResponse_OUTCOME_RENEWED
	refused   = peerv1.RenewResponse_OUTCOME_REFUSED
	notMember = peerv1.RenewResponse_OUTCOME_NOT_MEMBER
	notLeader = peerv1.RenewResponse_OUTCOME_NOT_LEADER
)

// Leader X renews M, Y is elected at once and never hears of M. Y knows nothing of
// the lease, so it counts it from its own `lead` (V5).
func TestSchedule08aNewLeaderWaitsOutOldLeases(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.pass(700 * time.Millisecond)
		m := g.member("m")
		m.rate = 0.91
		if out := m.renew(x); out != renewed {
			t.Fatalf("X answers %v", out)
		}
		y := g.elect("y", "y", "z").lead()
		led := g.clock()
		g.renewing(y, "x y z", 0)
		g.pass(led + limit + 200*time.Millisecond)
		g.want("x y z", led+limit, led+limit+lease/20)
	})
}

// X waited for M's lease to end and appended the view without M, but did not commit it. Y is
// elected with that entry in its log. It may not answer M before its own `lead` is applied, because
// only then it knows what X decided (V2).
func TestSchedule08bRenewalBeforeOwnLead(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		g.mu.Lock()
		g.byHand = true
		g.mu.Unlock()
		m := g.member("m")
		if out := m.renew(x); out != renewed {
			t.Fatalf("X answers %v", out)
		}
		before := len(g.log)
		g.pass(limit + 200*time.Millisecond)
		if len(g.log) != before+1 {
			t.Fatalf("X has appended %d entries, want its proposal", len(g.log)-before)
		}
		y := g.elect("y", "y", "z").lead()
		if out := m.renew(y); out != notLeader {
			t.Errorf("before its `lead` is applied Y answers %v, want %v", out, notLeader)
		}
		g.commit()
		synctest.Wait()
		g.want("x y z", 0, g.clock())
		if out := m.renew(y); out != notMember {
			t.Errorf("with its `lead` applied Y answers %v, want %v", out, notMember)
		}
	})
}

// X waited for M's lease to end in term 3 and is paused before it proposes. Y leads in term 4 and
// renews M. X leads again, in term 5, and its old goroutine continues. What it learned by waiting
// in term 3 is no longer valid (V2).
func TestSchedule08cProposalOfAnEarlierTerm(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		g.term = 2
		x := g.elect("x", "x", "y", "z").lead()
		x.gate = make(chan struct{})
		old := g.now()
		g.renewing(x, "x y z", 0)
		g.pass(limit + 200*time.Millisecond)
		y := g.elect("y", "y", "z").lead()
		m := g.member("m")
		if out := m.renew(y); out != renewed {
			t.Fatalf("Y answers %v", out)
		}
		x.stop() // it has lost leadership, but is inside Propose
		again := g.elect("x", "x", "y", "z")
		before := len(g.log)
		close(x.gate)
		synctest.Wait()
		if len(g.log) != before+1 || g.log[before].Term != 5 || again.Term() != 5 {
			t.Fatalf("%d entries in term %d, want the old proposal in term 5", len(g.log)-before, again.Term())
		}
		if now := g.now(); now.view.Epoch != old.view.Epoch {
			t.Errorf("a proposal of term 3 led to %v in term 5", now.view)
		}
	})
}

// X asks the voters for their terms, they answer, and the answers are delayed. Y is elected. Then M
// asks X for a lease, and after that the answers arrive. They confirm members that asked before the
// round began, but not M (V4).
func TestSchedule09StaleConfirmation(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		held := make(chan struct{})
		g.mu.Lock()
		g.held = held
		g.mu.Unlock()
		before, after := make(chan peerv1.RenewResponse_Outcome, 1), make(chan peerv1.RenewResponse_Outcome, 1)
		go func() { before <- g.member("z").renew(x) }()
		synctest.Wait()
		g.elect("y", "y", "z") // X does not hear of it
		go func() { after <- g.member("m").renew(x) }()
		synctest.Wait()
		close(held)
		if out := <-before; out != renewed {
			t.Errorf("a member that asked before the election is answered %v, want %v", out, renewed)
		}
		if out := <-after; out != refused {
			t.Errorf("%s: a member that asked after the election is answered %v, want %v", invariant.Confirmed, out, refused)
		}
	})
}

// Of three voters only the leader itself answers, and two non-voters do, which do not count (V4).
// With one more voter there is a majority.
func TestSchedule09NonVotersDoNotCount(t *testing.T) {
	play(t, "x y z p* q*", "x y z p q m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z", "p", "q").lead()
		g.mu.Lock()
		g.down["y"], g.down["z"] = true, true
		g.mu.Unlock()
		if out := g.member("m").renew(x); out != refused {
			t.Errorf("%s: with one voter of three and two non-voters: %v, want %v", invariant.Confirmed, out, refused)
		}
		g.mu.Lock()
		g.down["y"] = false
		g.mu.Unlock()
		if out := g.member("m").renew(x); out != renewed {
			t.Errorf("with two voters of three: %v, want %v", out, renewed)
		}
	})
}

// The wall clock says the year 2200, or has a value whose seconds do not fit. Epochs continue to
// grow, one by one, and stay within 31 bits, so that a token is a positive number. A counter that
// is half used up makes a new view (G2).
func TestSchedule15hWallClockOfYear2200(t *testing.T) {
	play(t, "x", "x m", func(t *testing.T, g *group) {
		x := g.elect("x", "x").lead()
		g.renewing(x, "x m", 0)
		m := g.member("m")
		for _, year := range []int{2026, 2093, 2094, 2161, 2200, 2400, 1969, 2030} {
			at := secondsAt(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC))
			g.mu.Lock()
			g.seconds = at
			g.mu.Unlock()
			before := g.now().view
			if out := m.ask(x, &peerv1.RenewRequest{Refresh: true}); out != renewed {
				t.Fatalf("in %d M is answered %v", year, out)
			}
			synctest.Wait()
			want := before.Epoch + 1
			if year < 2093 {
				want = max(want, uint32(at))
			}
			if got := g.now().view; got.Epoch != want || len(got.Members) != 2 {
				t.Errorf("%s: in %d view %d is followed by %v, want the same members in epoch %d", invariant.InRange, year, before.Epoch, got, want)
			}
			if token := int64(uint64(g.now().view.Epoch)<<32 | 1<<31); token <= int64(before.Epoch)<<32 {
				t.Errorf("%s: in %d a token is %d", invariant.InRange, year, token)
			}
		}
	})
}
