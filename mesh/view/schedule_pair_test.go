package view

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Schedule 16, for the leader alone: which members it marks and removes, and to which voter it
// hands over.

// wantHeir checks to which voter leadership was to be handed over, and when first.
func (g *group) wantHeir(want string, from, to time.Duration) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case want == "" && len(g.heirs) > 0:
		g.t.Errorf("%s: leadership was to be handed to %q at %v, want to nobody", invariant.Quiet, g.heirs, g.transfers)
	case want == "":
	case len(g.heirs) != 1 || g.heirs[0] != want:
		g.t.Errorf("%s: leadership was to be handed to %q at %v, want once to %s", invariant.LiveStay, g.heirs, g.transfers, want)
	case g.transfers[0] < from || g.transfers[0] > to:
		g.t.Errorf("leadership was to be handed over at %v, want %v to %v", g.transfers, from, to)
	}
}

// (g) The leader is one of the cut pair: M does not renew, but voter V hears it and everybody else.
// Then V leads, and does not hand over for the same silence; M renews with V.
func TestSchedule16gLeaderIsCutOff(t *testing.T) {
	play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w").lead()
		g.renewing(x, "x v w", 0)
		g.reach("v", "x w m")
		g.reach("w", "x v")
		g.pass(limit + 200*time.Millisecond)
		g.want("x v w m", 0, 0)
		g.wantHeir("v", limit, limit+lease/20)
		m := g.member("m")
		if len(g.named) != 1 || g.named[0] != m.who {
			t.Errorf("named are %v, want M", g.named)
		}
		x.stop()
		v := g.elect("v", "x", "v", "w").lead(m.who)
		led := g.clock()
		g.renewing(v, "x v w m", 0)
		g.pass(led + 4*lease)
		g.want("x v w m", 0, 0)
		if len(g.heirs) != 1 {
			t.Errorf("%s: leadership was handed over %d times", invariant.Quiet, len(g.heirs))
		}
	})
}

// (o) M calls the voters, but renews with nobody: one hand-over, then it is removed.
func TestSchedule16oCallsButDoesNotRenew(t *testing.T) {
	play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w").lead()
		g.renewing(x, "x v w", 0)
		g.reach("v", "x w m")
		g.reach("w", "x v m")
		g.pass(limit + 200*time.Millisecond)
		g.wantHeir("v", limit, limit+lease/20)
		x.stop()
		v := g.elect("v", "x", "v", "w").lead(g.member("m").who)
		led := g.clock()
		g.renewing(v, "x v w", 0)
		g.pass(led + limit + 200*time.Millisecond)
		g.want("x v w", led+limit, led+limit+lease/20)
		if len(g.heirs) != 1 {
			t.Errorf("%s: leadership was handed over %d times, want once", invariant.Quiet, len(g.heirs))
		}
	})
}

// V and W hear M, and V dies just before it is asked to take over. Then W is asked: M is not removed
// because the first heir has died (V5).
func TestSchedule16gHeirDies(t *testing.T) {
	play(t, "x v w y z", "x v w y z m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w", "y", "z").lead()
		g.renewing(x, "x w y z", 0)
		g.renewing(x, "v", limit-20*time.Millisecond)
		g.reach("v", "x w y z m")
		g.reach("w", "x y z v m")
		g.reach("y", "x w z v")
		g.reach("z", "x w y v")
		g.pass(limit - 20*time.Millisecond)
		g.mu.Lock()
		g.down["v"] = true
		g.mu.Unlock()
		g.pass(limit + lease)
		g.want("x v w y z m", 0, 0)
		g.wantHeir("w", limit, limit+lease)
	})
}

// The only voter that hears M does not answer when it is asked to take over. M gets L, in which the
// voter may come back, or M's renewals arrive; then it is removed (V5).
func TestSchedule16gOnlyHeirDies(t *testing.T) {
	for _, back := range []bool{false, true} {
		play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
			x := g.elect("x", "x", "v", "w").lead()
			g.renewing(x, "x w", 0)
			g.renewing(x, "v", limit-20*time.Millisecond)
			g.reach("v", "x w m")
			g.reach("w", "x v")
			down := func(is bool) {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.down["v"] = is
			}
			g.pass(limit - 20*time.Millisecond)
			down(true)
			g.pass(limit + lease - 200*time.Millisecond)
			g.want("x v w m", 0, 0)
			g.wantHeir("", 0, 0)
			if back {
				down(false)
				g.renewing(x, "v", 0)
				g.pass(limit + lease)
				g.wantHeir("v", limit, limit+lease)
				return
			}
			g.pass(limit + lease + lease/10)
			g.want("x v w", limit+lease, limit+lease+lease/10)
			g.pass(limit + 2*lease) // until the new view has not reached v
		})
	}
}

// A voter was promoted while M was silent. Its claims count when M has had the time to call it (V5).
func TestPromotedVoterIsAskedLater(t *testing.T) {
	b := newBench(t, "a", "b", "m")
	b.vote("a b m")
	now := limit
	wantHeir := func(want string) {
		t.Helper()
		b.member("a").renewed, b.member("b").renewed = now, now
		if d := b.want(now, "", "a b m"); d.heir != want {
			t.Errorf("at %v the heir is %q, want %q", now, d.heir, want)
		}
	}
	b.promoted["b"] = now
	b.called("b", "a")
	wantHeir("")
	now += callTime(lease) - time.Millisecond
	wantHeir("")
	now += time.Millisecond
	b.called("b", "a m")
	wantHeir("b")
	b.called("b", "a")
	b.want(now, "m is silent", "a b")

	// A voter that does not renew delays the decision for L at most.
	b.promoted["b"] = now
	b.want(now+lease-time.Millisecond, "", "a b m")
	b.want(now+lease, "m is silent", "a b")
}

// A leader that M itself still calls removes it without a hand-over (V5).
func TestSchedule16oCallsTheLeader(t *testing.T) {
	play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w").lead()
		g.renewing(x, "x v w", 0)
		g.reach("x", "v w m")
		g.reach("v", "x w m")
		g.pass(limit + 200*time.Millisecond)
		g.want("x v w", limit, limit+lease/20)
		g.wantHeir("", 0, 0)
	})
}

// (n) A plain crash: M called the voters until it died. Claims from before 4L/5 of silence do not
// count, so the leader waits once and does not hand over.
func TestSchedule16nPlainCrash(t *testing.T) {
	play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w").lead()
		g.renewing(x, "x v w", 0)
		g.reach("v", "x w m")
		g.reach("w", "x v m")
		g.pass(2 * lease / 5) // the voters no longer claim it after 2L/5
		g.reach("v", "x w")
		g.reach("w", "x v")
		g.pass(limit + 200*time.Millisecond)
		g.want("x v w", limit, limit+lease/20)
		g.wantHeir("", 0, 0)
	})
}

// V5: M is removed only when every other voter that renews has renewed since 4L/5 of M's silence
// and has not claimed to be called by M. A voter that is silent itself is not waited for.
func TestRemovalWaitsForClaims(t *testing.T) {
	b := newBench(t, "a", "b", "c", "m")
	b.vote("a b c")
	at := func(name string, when time.Duration, callers string) {
		b.member(name).renewed = when
		b.called(name, callers)
	}
	now := limit
	at("a", now, "")
	at("b", now, "a c")
	at("c", claimsFrom(lease)-time.Millisecond, "a b")
	b.want(now, "", "a b c m")
	// A voter that misses renewals is waited for, too.
	at("c", claimsFrom(lease)-missed(lease), "a b")
	b.want(now, "", "a b c m")
	at("c", claimsFrom(lease), "a b")
	b.want(now, "m is silent", "a b c")
	at("c", claimsFrom(lease), "a b m")
	if d := b.want(now, "", "a b c m"); d.heir != "c" {
		t.Errorf("the heir is %q, want c", d.heir)
	}
	// A voter that is not called by all that renew is no heir, nor is one that is marked because it
	// leaves.
	at("c", claimsFrom(lease), "a m")
	b.want(now, "m is silent", "a b c")
	at("c", claimsFrom(lease), "a b m")
	b.view.Members[2].Leaving = true
	b.want(now, "m is silent", "a b c(leaving)")
	// A voter that is marked because of a broken pair is the last choice.
	b.view.Members[2].Evicted = true
	if d := b.want(now, "", "a b c(leaving) m"); d.heir != "c" {
		t.Errorf("the heir is %q, want c, which is marked", d.heir)
	}
	at("b", now, "a c m")
	if d := b.want(now, "", "a b c(leaving) m"); d.heir != "b" {
		t.Errorf("the heir is %q, want b, which is not marked", d.heir)
	}
	at("b", now, "a c")
	b.member("c").leaving = true
	b.want(now, "m is silent", "a b c(leaving)")
	b.member("c").leaving = false
	b.view.Members[2].Leaving, b.view.Members[2].Evicted = false, false
	at("b", now, "a")
	at("c", -sec, "a b m") // silent for longer: it is not waited for, and is removed, too
	b.want(now, "c is silent, m is silent", "a b")
	// Another incarnation is another member.
	at("b", now, "a c")
	at("c", claimsFrom(lease), "a b m")
	other := b.identity("m")
	other.Nonce++
	delete(b.member("c").callers, b.identity("m"))
	b.member("c").callers[other] = true
	b.want(now, "m is silent", "a b c")
}

// V5: if the hand-over fails, M is removed.
func TestHandOverThatFails(t *testing.T) {
	play(t, "x v w", "x v w m", func(t *testing.T, g *group) {
		x := g.elect("x", "x", "v", "w").lead()
		g.renewing(x, "x v w", 0)
		g.reach("v", "x w m")
		g.pass(limit + lease + 200*time.Millisecond)
		g.wantHeir("v", limit, limit+lease/20)
		g.want("x v w", limit+lease, limit+lease+lease/20)
	})
}

// (b), (d), (e) A member in a broken pair is marked, and is still renewed and asked until G1 has
// told it of every partition in that view or a later one.
func TestSchedule16MarkedUntilTold(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		g.renewing(l, "a", 0, "b")
		g.pass(lease)
		g.want("l a b*", lease/5, lease/5+lease/10)
		g.pass(10 * lease)
		g.want("l a b*", lease/5, lease/5+lease/10)
		b := g.member("b")
		if out := b.renew(l); out != renewed {
			t.Errorf("a marked member is answered %v", out)
		}
		// Having been told in an older view is not enough.
		if out := b.ask(l, &peerv1.RenewRequest{Told: true, Epoch: g.now().view.Epoch - 1}); out != renewed {
			t.Errorf("a marked member is answered %v", out)
		}
		g.pass(10*lease + lease/10)
		g.want("l a b*", lease/5, lease/5+lease/10)
		g.told(l, "b")
		g.pass(10*lease + lease/5)
		g.want("l a", 10*lease, 10*lease+lease/5)
	})
}

// (l) Leadership moves while a member is marked: the mark is part of the view.
func TestSchedule16lLeadershipMoves(t *testing.T) {
	play(t, "l a c", "l a b c", func(t *testing.T, g *group) {
		l := g.elect("l", "l", "a", "c").lead()
		g.renewing(l, "l b c", lease)
		g.renewing(l, "a", lease, "b")
		g.pass(lease)
		g.want("l a b* c", lease/5, lease/5+lease/10)
		c := g.elect("c", "l", "a", "c").lead()
		l.stop()
		g.renewing(c, "l b c", 0)
		g.renewing(c, "a", 0, "b") // a still waits for b
		g.pass(4 * lease)
		g.want("l a b* c", lease/5, lease/5+lease/10)
		g.told(c, "b")
		g.pass(4*lease + lease/10)
		g.want("l a c", 4*lease, 4*lease+lease/10)
	})
}

// (h) A marked member that renews but answers nothing else is deaf: it is removed, as V5 says, when
// something has waited for it for 2 L.
func TestSchedule16hDeaf(t *testing.T) {
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		g.renewing(l, "a", 0, "b")
		g.pass(lease)
		g.want("l a b*", lease/5, lease/5+lease/10)
		go func() {
			for t.Context().Err() == nil && l.leader.Load() != nil {
				_, _ = l.leader.Load().Relay(t.Context(), g.parcel("a", "b", 1, nil))
				wait(t.Context(), lease/40)
			}
		}()
		g.pass(3*lease + limit - lease/5 - lease/20)
		g.want("l a b*", lease/5, lease/5+lease/10)
		g.pass(3*lease + limit + lease/10)
		g.want("l a", 3*lease+limit-lease/5, 3*lease+limit+lease/10)
	})
}

// A view keeps an unmarked member (V7): when the last one is removed, the marks of V6a are removed,
// unless a joiner is admitted with the same view.
func TestMarksFallAway(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.view.Members[1].Leaving, b.view.Members[1].Evicted = true, true
	b.view.Members[2].Leaving, b.view.Members[2].Evicted = true, true
	b.member("c").leaving = true // it has asked to leave in the meantime
	b.member("b").renewed, b.member("c").renewed = limit, limit
	b.want(limit, "a is silent, b has to stay", "b c(leaving)")
	b.asks(limit, "d", "d", 1, "b", "c")
	b.want(limit, "a is silent, d joins", "b(leaving) c(leaving) d")
}

// A mark is removed, too, if the other members were told to stop and cannot be marked, or if the
// marked member would be removed with the last one that stays (V7).
func TestMarkFallsAwayForThoseToldToStop(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.view.Members[1].Leaving, b.view.Members[1].Evicted = true, true
	b.member("c").leaving = true
	b.member("b").renewed, b.member("c").renewed = limit, limit
	b.want(limit, "a is silent, b has to stay", "b c")
	b.member("b").told = true
	b.want(limit, "a is silent, b has to stay", "b c")
	b.member("a").renewed = limit
	b.want(limit, "b was marked and is not needed any more, c is leaving", "a c(leaving)")
}

// V6a: a leader that is marked hands over to a voter that all members call.
func TestMarkedLeaderYields(t *testing.T) {
	b := newBench(t, "a", "b", "c")
	b.vote("a b c")
	for _, name := range []string{"a", "b", "c"} {
		b.member(name).renewed = 0
	}
	b.called("b", "a")
	b.called("c", "a b")
	if heir := b.yield(0, b.view); heir != "" {
		t.Errorf("a leader that is not marked hands over to %s", heir)
	}
	b.view.Members[0].Leaving = true
	if heir := b.yield(0, b.view); heir != "c" {
		t.Errorf("a marked leader hands over to %q, want c", heir)
	}
}

func (g *group) parcel(from, to string, id uint64, data []byte) *peerv1.Parcel {
	return &peerv1.Parcel{
		Id: id, From: ringproto.EncodeIdentity(g.member(from).who), To: ringproto.EncodeIdentity(g.member(to).who), Request: data,
	}
}

// relaying calls test with a leader l and the members a and b; b is marked.
func relaying(t *testing.T, test func(t *testing.T, g *group, l *Leader)) {
	t.Helper()
	play(t, "l", "l a b", func(t *testing.T, g *group) {
		l := g.elect("l", "l").lead()
		g.renewing(l, "l b", 0)
		g.renewing(l, "a", 0, "b")
		g.pass(lease)
		g.want("l a b*", 0, lease)
		test(t, g, l.leader.Load())
	})
}

func answered(m *peerv1.Parcel, data string) *peerv1.Reply {
	return &peerv1.Reply{To: m.GetFrom(), Id: m.GetId(), Response: []byte(data)}
}

// V6a: both sides call the leader. The request reaches the leaving member, and its reply the member
// that asked, even if that has to ask again in the meantime.
func TestRelay(t *testing.T) {
	relaying(t, func(t *testing.T, g *group, l *Leader) {
		b := ringproto.EncodeIdentity(g.member("b").who)
		got := make(chan *peerv1.Parcel, 1)
		go func() {
			resp, err := l.Collect(t.Context(), &peerv1.CollectRequest{Member: b})
			if err != nil || len(resp.GetParcels()) != 1 {
				t.Errorf("collected %v: %v", resp, err)
				close(got)
				return
			}
			got <- resp.GetParcels()[0]
		}()
		synctest.Wait()
		asked := g.parcel("a", "b", 7, []byte("what"))
		replied := make(chan *peerv1.Reply, 1)
		go func() {
			for {
				resp, err := l.Relay(t.Context(), asked)
				if err != nil {
					t.Error(err)
				}
				if resp.GetReply() != nil || err != nil {
					replied <- resp.GetReply()
					return
				}
			}
		}()
		m := <-got
		if string(m.GetRequest()) != "what" || m.GetId() != 7 {
			t.Fatalf("collected %v", m)
		}
		wait(t.Context(), 4*lease/5) // the member that asks repeats it
		if _, err := l.Collect(cancelled(t), &peerv1.CollectRequest{Member: b, Replies: []*peerv1.Reply{answered(m, "that")}}); err != nil {
			t.Error(err)
		}
		if r := <-replied; string(r.GetResponse()) != "that" {
			t.Errorf("the reply is %v", r)
		}
		synctest.Wait()
		if l.relay.size != 0 || len(l.relay.parcels) != 0 {
			t.Errorf("%d parcels of %d bytes are still held", len(l.relay.parcels), l.relay.size)
		}
	})
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// What the leader relays is bounded, and it relays only from members to leaving members.
func TestRelayRefuses(t *testing.T) {
	relaying(t, func(t *testing.T, g *group, l *Leader) {
		stranger := g.parcel("a", "b", 1, nil)
		stranger.From = ringproto.EncodeIdentity(ring.Identity{ID: "x", Counter: 1})
		for name, tt := range map[string]struct {
			parcel *peerv1.Parcel
			want   error
		}{
			"to one that is not leaving": {g.parcel("a", "l", 1, nil), ErrNotLeaving},
			"of a stranger":              {stranger, ErrNotLeaving},
			"too big":                    {g.parcel("a", "b", 1, make([]byte, MaxParcel+1)), ErrParcel},
		} {
			if _, err := l.Relay(t.Context(), tt.parcel); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
		}
		if _, err := l.Collect(t.Context(), &peerv1.CollectRequest{Member: ringproto.EncodeIdentity(g.member("a").who)}); !errors.Is(err, ErrNotLeaving) {
			t.Errorf("one that is not leaving collects: %v", err)
		}
		// 16 MiB and no more.
		full := 0
		for id := uint64(1); ; id++ {
			_, err := l.Relay(cancelled(t), g.parcel("a", "b", id, make([]byte, MaxParcel)))
			if err != nil {
				if !errors.Is(err, ErrRelayFull) {
					t.Errorf("the mailbox is full: %v", err)
				}
				break
			}
			if full += MaxParcel; full > maxRelayed {
				t.Fatalf("%d bytes are held", full)
			}
		}
		if full < maxRelayed-MaxParcel {
			t.Errorf("%d bytes are held at most, want almost %d", full, maxRelayed)
		}
		// No sender asks for these any more.
		wait(t.Context(), lease+lease/10)
		if _, err := l.Relay(cancelled(t), g.parcel("a", "b", 1<<20, nil)); err != nil {
			t.Errorf("parcels that no sender asks for are held forever: %v", err)
		}
	})
}

// A refusal is not progress, so a member that always refuses is deaf; any other reply is progress
// (V6, V6a).
func TestRelayRefusalIsNoProgress(t *testing.T) {
	relaying(t, func(t *testing.T, g *group, l *Leader) {
		b := g.member("b").who
		for i, refused := range []bool{false, true} {
			id, began := uint64(i+1), g.clock()
			for g.clock()-began < 2*lease+lease/5 {
				m := g.parcel("a", "b", id, nil)
				if _, err := l.Relay(cancelled(t), m); err != nil {
					t.Fatal(err)
				}
				other := g.parcel("a", "b", id+10, nil) // which continues to wait
				if _, err := l.Relay(cancelled(t), other); err != nil {
					t.Fatal(err)
				}
				reply := answered(m, "")
				reply.Refused = refused
				l.relay.collect(cancelled(t), b, []*peerv1.Reply{reply})
				if _, err := l.Relay(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				wait(t.Context(), lease/10)
			}
			if got := l.relay.deaf(g.clock(), b, 2*lease); got != refused {
				t.Errorf("one whose replies are refusals, %t, is deaf: %t", refused, got)
			}
			wait(t.Context(), 2*lease) // everything is forgotten
		}
	})
}

// A reply counts only if it comes from the member that the parcel was for.
func TestRelayTakesNoReplyOfOthers(t *testing.T) {
	relaying(t, func(t *testing.T, g *group, l *Leader) {
		m := g.parcel("a", "b", 3, nil)
		if _, err := l.Relay(cancelled(t), m); err != nil {
			t.Fatal(err)
		}
		l.relay.collect(cancelled(t), g.member("l").who, []*peerv1.Reply{answered(m, "no")})
		if resp, _ := l.Relay(cancelled(t), m); resp.GetReply() != nil {
			t.Errorf("a reply of another member was passed on: %v", resp)
		}
	})
}
