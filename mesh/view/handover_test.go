package view

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// V5: a voter that has restarted and asks to join makes claims as members do. It may be the only
// voter that a cut-off member calls.
func TestJoiningVoterClaims(t *testing.T) {
	b := newBench(t, "a", "b", "m")
	b.vote("a b v")
	now := limit
	asks := func(id string, first, at time.Duration, callers string) {
		j := joining{member: starts(id, 2), first: first, at: at, callers: map[ring.Identity]bool{}}
		for _, c := range ids(callers) {
			j.callers[b.identity(c)] = true
		}
		b.joins[id] = j
	}
	wantHeir := func(want string) {
		t.Helper()
		if d := b.want(now, "", "a b m"); d.heir != want {
			t.Errorf("the heir is %q, want %q", d.heir, want)
		}
	}
	b.member("a").renewed, b.member("b").renewed = now, now
	b.called("b", "a")

	asks("v", 0, claimsFrom(lease)-time.Millisecond, "a b m") // claimed too early to count
	wantHeir("")
	asks("v", 0, claimsFrom(lease), "a b m")
	wantHeir("v")
	asks("v", now-callTime(lease)+time.Millisecond, now, "a b") // m may not have called it yet
	wantHeir("")
	now += callTime(lease)
	b.member("a").renewed, b.member("b").renewed = now, now
	asks("v", now, now, "a b") // it is not waited for again
	b.want(now, "m is silent", "a b")
	asks("v", 0, now, "b m") // not called by all
	b.want(now, "m is silent", "a b")
	b.called("b", "a m") // a member will do as well
	asks("v", 0, now, "a b m")
	wantHeir("b")
	b.called("b", "a")
	b.vote("a b")
	b.want(now, "m is silent", "a b")
	b.vote("a b m v")
	delete(b.joins, "v")
	asks("m", 0, now, "a b m") // a later start of m itself is no heir
	b.want(now, "m is silent", "a b")
}

// The claims come with the request to join.
func TestJoinBringsClaims(t *testing.T) {
	b := newBench(t, "a", "b")
	who := starts("v", 1)
	b.Join(&peerv1.JoinRequest{
		Member: ringproto.EncodeMember(who), OldestRelease: release.Oldest, Callers: []*peerv1.Identity{ringproto.EncodeIdentity(b.identity("b"))},
	})
	if callers := b.joins["v"].callers; len(callers) != 1 || !callers[b.identity("b")] {
		t.Errorf("the callers are %v, want b", callers)
	}
}

// An operator's order to give up a seat is valid for this absence, not for the next one.
func TestDecommissionIsOver(t *testing.T) {
	play(t, "l a b", "l a", func(t *testing.T, g *group) {
		l := g.elect("l", "l", "a").lead()
		g.renewing(l, "l a", 0)
		ctx, cancel := context.WithTimeout(t.Context(), lease)
		defer cancel()
		if err := l.leader.Load().Decommission(ctx, "b"); err == nil {
			t.Error("a seat is given up in a group whose seats do not change")
		}
		synctest.Wait()
		e, err := l.leader.Load().electorate(t.Context())
		if err != nil || len(e.given) > 0 {
			t.Errorf("the seats of %v are given up still, %v", e.given, err)
		}
	})
}

// A leader that hands over proposes nothing, so it stops no member's renewals.
func TestHandOverStopsNobody(t *testing.T) {
	b := newBench(t, "a", "b", "c", "d")
	b.vote("a d")
	b.complain("c", "a")
	b.complain("d", "a")
	b.called("d", "a b c")
	// Marked before, and told of every partition since.
	b.agree.(*proc).fsm.now.History.Views[0].Members[1].Leaving = true
	b.agree.(*proc).fsm.now.History.Views[0].Members[1].Evicted = true
	b.member("b").told = true
	b.time = insist(lease)
	b.look(t.Context())
	if g := b.agree.(*proc).g; len(g.heirs) != 1 || g.heirs[0] != "d" {
		t.Fatalf("leadership was to be handed to %q, want d", g.heirs)
	}
	if b.member("b").stopped {
		t.Error("b is not renewed any more though nothing was proposed")
	}
}
