package view

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// A renews, with a clock that is 9 % slow, and is cut off from all others while the answer is in
// flight; B dies too. No view without A is made before A's lease is over, which is L stretched
// after the request arrived (V5).
func TestSchedule07LeaseOfACutOffMember(t *testing.T) {
	play(t, "c d e", "a b c d e", func(t *testing.T, g *group) {
		c := g.elect("c", "c", "d", "e").lead()
		a := g.member("a")
		a.rate = 0.91
		g.renewing(c, "c d e", 0)
		g.renewing(c, "b", 400*time.Millisecond)
		g.pass(time.Second)
		arrived := g.clock()
		held := make(chan struct{})
		g.mu.Lock()
		g.held = held
		g.mu.Unlock()
		go func() {
			if out := a.renew(c); out != renewed {
				t.Errorf("A is answered %v", out)
			}
		}()
		time.Sleep(300 * time.Millisecond) // the round of V4 takes a while
		g.mu.Lock()
		g.held = nil
		g.mu.Unlock()
		close(held)
		g.pass(arrived + limit - 100*time.Millisecond)
		if _, in := g.now().view.Find(a.who); !in {
			t.Errorf("A was removed at %v, its request arrived at %v", g.now().at, arrived)
		}
		g.pass(arrived + limit + 200*time.Millisecond)
		g.want("c d e", arrived+limit, arrived+limit+lease/20)
	})
}

// From before a removal is proposed until it is decided the member is not renewed, even if the
// proposal hangs for so long that the leader gives up waiting for it (V5).
func TestSchedule07NoRenewalUntilDecided(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		g.mu.Lock()
		g.byHand = true
		g.mu.Unlock()
		m := g.member("m")
		for at := limit + 150*time.Millisecond; at < 30*time.Second; at += 3 * time.Second {
			g.pass(at)
			if out := m.renew(x); out != refused {
				t.Errorf("at %v M is answered %v, want %v", at, out, refused)
			}
		}
		g.commit()
		synctest.Wait()
		g.want("x y z", 0, g.clock())
		if out := m.renew(x); out != notMember {
			t.Errorf("M, which was removed, is answered %v, want %v", out, notMember)
		}
	})
}

// A member that a later start of its process replaces is not renewed any more, and its lease is
// waited for, even if one of its renewals was in flight when it died. One view makes the removal
// and the join (V3, V5).
func TestReplacedMemberIsWaitedOut(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		g.pass(700 * time.Millisecond)
		last := g.clock()
		g.member("m").rate = 0.91
		if out := g.member("m").renew(x); out != renewed {
			t.Fatalf("M is answered %v", out)
		}
		g.joins(x, starts("m", 2), "x y z", 0)
		time.Sleep(150 * time.Millisecond) // the leader has seen both
		g.member("m").renew(x)
		g.pass(last + limit + 200*time.Millisecond)
		g.want("x y z m'", last+limit, last+limit+lease/20)
	})
}

// Two renewals after a later start has asked to join mean that both use one data directory: the
// later one is kept out as long as the earlier one renews (V3).
func TestDirectoryInUseTwice(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		const dies = 10 * time.Second
		g.renewing(x, "m", dies)
		g.pass(700 * time.Millisecond)
		g.joins(x, starts("m", 2), "x y z", 0)
		g.pass(dies)
		g.want("x y z m", 0, 0)
		l := x.leader.Load()
		if got := l.Join(&peerv1.JoinRequest{Member: ringproto.EncodeMember(starts("m", 2))}).GetOutcome(); got != peerv1.JoinResponse_OUTCOME_DIRECTORY_IN_USE {
			t.Errorf("the later start is answered %v", got)
		}
		g.joins(x, starts("m", 2), "x y z", 0)
		g.pass(dies + limit + lease/10)
		g.want("x y z m'", dies, dies+limit+lease/10)
	})
}

// A renewal that arrived before the later start asked does not count (V3).
func TestRenewalBeforeALaterStart(t *testing.T) {
	b := newBench(t, "a", "b")
	b.asks(sec, "b", "b", 2, "a")
	j := b.joins["b"]
	j.first = sec
	b.joins["b"] = j
	for _, arrived := range []time.Duration{sec - 2, sec - 1, sec} {
		b.renewedBeside(b.identity("b"), arrived)
	}
	if b.joins["b"].double() {
		t.Error("the directory is taken to be in use twice")
	}
	for range 2 {
		b.renewedBeside(b.identity("b"), sec+1)
	}
	if !b.joins["b"].double() {
		t.Error("two renewals have come since, and the directory is not taken to be in use twice")
	}
}

// A leader that notices that it was paused restarts its waits: members that it did not hear may
// have asked all the time (V5).
func TestPausedLeaderStartsAgain(t *testing.T) {
	play(t, "x", "x m n", func(t *testing.T, g *group) {
		x := g.elect("x", "x").lead()
		g.renewing(x, "x m n", time.Second)
		g.pass(1500 * time.Millisecond)
		g.skip(3 * time.Second)
		back := g.clock()
		g.renewing(x, "x m", 0)
		g.pass(back + limit - 50*time.Millisecond)
		g.want("x m n", 0, 0)
		g.pass(back + limit + 300*time.Millisecond)
		g.want("x m", back+limit, back+limit+lease/10)
	})
}

// A leader that was paused during a proposal restarts its waits, too. A leader whose proposal is
// slow does not: it has heard the members all the time.
func TestPausedInAProposal(t *testing.T) {
	for _, paused := range []time.Duration{0, 3 * time.Second} {
		t.Run(paused.String(), func(t *testing.T) {
			play(t, "x", "x m n", func(t *testing.T, g *group) {
				x := g.elect("x", "x").lead()
				g.renewing(x, "x m", 0)
				g.renewing(x, "n", time.Second)
				g.pass(time.Second)
				g.mu.Lock()
				g.byHand = true
				heard := g.member("n").until - lease
				g.members = append(g.members, &member{g: g, who: starts("q", 1).Identity, rate: 1})
				g.mu.Unlock()
				g.joins(x, starts("q", 1), "x m n", 2*time.Second)
				g.pass(2500 * time.Millisecond)
				if paused > 0 {
					g.skip(paused)
					heard = g.clock()
				}
				g.mu.Lock()
				g.byHand = false
				g.mu.Unlock()
				g.commit()
				synctest.Wait()
				g.want("x m n q", g.clock(), g.clock())
				g.renewing(x, "q", 0)
				g.pass(heard + limit + 300*time.Millisecond)
				g.want("x m q", heard+limit, heard+limit+lease/10)
			})
		})
	}
}

// A leader that hears only a minority of the voters hands over, at most once a minute, and removes
// nobody (V5).
func TestMinorityHandsOver(t *testing.T) {
	play(t, "x y z", "x y z", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x", 0)
		g.pass(limit + 59*time.Second)
		if len(g.transfers) != 1 || g.transfers[0] < limit || g.transfers[0] > limit+lease/20 {
			t.Errorf("%s: leadership was handed over at %v, want once, at %v", invariant.Quiet, g.transfers, limit)
		}
		g.pass(limit + 61*time.Second)
		if len(g.transfers) != 2 {
			t.Errorf("after a minute leadership was handed over at %v, want twice", g.transfers)
		}
		g.want("x y z", 0, 0)
	})
}

// V3: while a member has missed two renewals no join is proposed; later one view makes its removal
// and the join.
func TestNoJoinWhileSomebodyIsLate(t *testing.T) {
	play(t, "x y z", "x y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		g.pass(time.Second)
		g.joins(x, starts("n", 1), "x y z m", 0)
		g.pass(limit + 200*time.Millisecond)
		g.want("x y z n", limit, limit+lease/20)
		if len(g.views) != 2 {
			t.Errorf("%s: %d views came, want one with both changes", invariant.Quiet, len(g.views)-1)
		}
	})
}

// A and B cannot reach each other, and the leader reaches both. The one that joined last is marked,
// is removed when G1 has told it of every partition, and is not admitted again before it reaches
// all members that stay (V3, V6, V6a).
func TestSchedule15aEvictedComesBackWhenItReachesAll(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		g.renewing(l, "a", 0, "b")
		g.pass(2 * lease / 5)
		g.want("l a b*", lease/5, lease/5+lease/10) // a's complaint counts with its second renewal
		g.pass(2 * lease)
		g.want("l a b*", lease/5, lease/5+lease/10)
		g.told(l, "b")
		g.pass(2*lease + lease/10)
		g.want("l a", 2*lease, 2*lease+lease/10)
		g.joins(l, starts("b", 1), "l", 10*time.Second)
		g.pass(10 * time.Second)
		g.want("l a", 0, 2*lease+lease/10)
		g.joins(l, starts("b", 1), "l a", 0)
		g.pass(11 * time.Second)
		g.want("l a b", 10*time.Second, 10*time.Second+lease/10)
	})
}

// A marked member counts as live while it asks to be renewed, so that it keeps its vote (V1, V6).
// Without its vote the voters could lose their majority to a crash that the leader does not know of
// yet.
func TestTheEvictedAreHeard(t *testing.T) {
	play(t, "l a b", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l", "a", "b").lead()
		g.renewing(l, "l", 0)
		g.renewing(l, "a", 0, "b")
		g.renewing(l, "b", 4*lease)
		live := func() bool {
			e, err := l.leader.Load().electorate(t.Context())
			return err == nil && e.live["b"]
		}
		for at := lease / 8; at < 4*lease; at += lease / 8 {
			g.pass(at)
			if !live() {
				t.Fatalf("at %v b is not heard", at)
			}
		}
		g.want("l a b*", lease/5, lease/5+lease/10)
		g.pass(4*lease + limit)
		if live() {
			t.Error("b is heard though it is silent")
		}
	})
}

// A was paused and complains about everybody when it is back. A is in most broken pairs, so A is
// chosen, not the members of which it complains (V6).
func TestSchedule15bMostBrokenPairs(t *testing.T) {
	play(t, "l b c", "l a b c", func(t *testing.T, g *group) {
		l := g.elect("l", "l", "b", "c").lead()
		g.renewing(l, "l b c", 0)
		g.pass(2*time.Second + 50*time.Millisecond)
		back := g.clock()
		g.renewing(l, "a", 0, "l", "b", "c")
		g.pass(back + lease/2)
		g.want("l a* b c", back+lease/5, back+lease/5+lease/10) // its complaints count with its second renewal
	})
}

// A process crashes and comes back every second. It is admitted less and less often, so that it
// does not disturb the others (V3).
func TestSchedule15cComebacksBackOff(t *testing.T) {
	play(t, "x y z", "x y z", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		for counter := range 60 {
			from := time.Duration(counter) * time.Second
			g.pass(from)
			g.joins(x, starts("m", uint64(counter+1)), "x y z", from+time.Second)
		}
		g.pass(time.Minute)
		var gaps []string
		last := time.Duration(0)
		for _, v := range g.views[1:] {
			if _, in := v.view.FindID("m"); in {
				gaps = append(gaps, fmt.Sprint((v.at - last).Round(100*time.Millisecond)))
				last = v.at
			}
		}
		if len(gaps) < 3 || len(gaps) > 8 {
			t.Errorf("%s: M was admitted %d times in a minute, after %s; want 3 to 8", invariant.Quiet, len(gaps), strings.Join(gaps, ", "))
		}
	})
}

// A process crashes after each of its admissions, through two terms of one leader. The time for
// which its back-off keeps it out does not count as time without a removal, so the back-off is not
// forgotten (V3).
func TestSchedule15cBackOffIsKept(t *testing.T) {
	play(t, "x y z", "x y z", func(t *testing.T, g *group) {
		const term = 5 * time.Minute
		x := g.elect("x", "x", "y", "z").lead()
		g.renewing(x, "x y z", 0)
		counter := uint64(0)
		for n := range 2 {
			for at := g.clock(); at < time.Duration(n+1)*term; at = g.clock() {
				if _, in := g.now().view.FindID("m"); !in {
					counter++
					g.joins(x, starts("m", counter), "x y z", at+time.Second)
				}
				g.pass(at + time.Second)
			}
			x.stop()
			synctest.Wait()
			g.elect("x", "x", "y", "z").lead()
		}
		admitted := 0
		for _, v := range g.views {
			if _, in := v.view.FindID("m"); in {
				admitted++
			}
		}
		// After 0, 2, 4, 8, ... 128 seconds, and then every 128 seconds.
		if admitted < 7 || admitted > 11 {
			t.Errorf("%s: M was admitted %d times in %v, want 7 to 11", invariant.Quiet, admitted, 2*term)
		}
	})
}

// Only renewals show that a member lives (V5). M installs views and would answer everybody, gossip
// too, but does not renew, and is removed. N answers nobody, but renews, and stays.
func TestSchedule15eOnlyRenewalsCount(t *testing.T) {
	play(t, "x y z", "x y z m n", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "y", "z").lead()
		g.mu.Lock()
		g.down["n"] = true
		g.mu.Unlock()
		g.renewing(x, "x y z n", 0)
		g.pass(500 * time.Millisecond)
		g.joins(x, starts("o", 1), "x y z m n", 0)
		g.pass(700 * time.Millisecond)
		g.members = append(g.members, &member{g: g, who: starts("o", 1).Identity, rate: 1})
		g.renewing(x, "o", 0)
		g.want("x y z m n o", 500*time.Millisecond, 700*time.Millisecond)
		g.pass(time.Minute)
		g.want("x y z n o", limit, limit+lease/20)
	})
}

// A member that has not renewed with this leader yet is in no broken pair: after the death of a
// leader the members that wait for it complain, and must not be marked because of that.
func TestDeadLeaderBreaksNoPair(t *testing.T) {
	play(t, "x y z", "x z y", func(t *testing.T, g *group) {
		g.elect("z", "x", "y", "z")
		x := g.elect("x", "x", "y").lead()
		g.renewing(x, "x", 0)
		g.renewing(x, "y", 0, "z") // z led, and is dead; y joined after it
		g.pass(limit + 300*time.Millisecond)
		g.want("x y", limit, limit+lease/20)
		g.pass(10 * time.Second)
		g.want("x y", limit, limit+lease/20)
		if out := g.member("y").renew(x); out != renewed {
			t.Errorf("Y is answered %v, want %v", out, peerv1.RenewResponse_OUTCOME_RENEWED)
		}
	})
}
