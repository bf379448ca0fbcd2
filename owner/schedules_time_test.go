package owner

import (
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// The schedules about time: quarantines, leases, and members that say nothing.

// long is an acquire with the longest TTL.
func long(key, client string, wait time.Duration) Request {
	r := acquireOf(key, client, wait)
	r.TTL = 30 * time.Second
	return r
}

// Schedule 5: a quarantine survives its owner, and ends. (4.3, 4)
func TestSchedule05QuarantineSurvivesItsOwner(t *testing.T) {
	// c1 is granted k 1 ms before all of S(p,1) dies. View 2 = (c,d).
	play := func(tb *table) (k string, c1 sharelock.Token, waiting []*ear) {
		seats := tb.seat("abcd", 2)
		a, b, c := seats[0], seats[1], seats[2]
		k = tb.keyFor("abc:ab", "cd:cd", "ad:ad")
		tb.deal("abc")
		c1 = tb.granted(tb.ask(a, long(k, "c1", 0)))
		tb.pass(time.Millisecond)
		a.crash()
		b.crash()
		tb.deal("cd")
		tb.quarantined(c, k, c1)
		waiting = append(waiting, tb.ask(c, acquireOf(k, "c2", time.Minute)), tb.ask(c, acquireOf(k, "c3", time.Minute)))
		tb.outcome(tb.ask(c, releaseOf(k, 77)), Done, nil)
		return k, c1, waiting
	}
	t.Run("the owner dies", func(t *testing.T) {
		bubble(t, func(tb *table) {
			k, c1, waiting := play(tb)
			c := tb.members["c"]
			began := tb.clock()
			for range 10 { // 20 s
				tb.pass(2 * time.Second)
				for _, e := range waiting {
					e.again(c)
				}
			}
			// View 3 = {a',d}, S = (a',d): d's copy is chosen, with 13 s left.
			c.crash()
			a := tb.process("a")
			tb.deal("ad")
			tb.quarantined(a, k, c1)
			waiting[1].again(a)
			waiting[0].again(a)
			tb.until(a, waiting...)
			tb.within("the quarantine", tb.clock()-began, quarantineTime, quarantineTime+moment)
			tb.epochOf(waiting[0], 3)
			tb.outcome(waiting[1], Queued, nil) // c3 is behind c2, as before
		})
	})
	t.Run("its clock is 9 % fast", func(t *testing.T) {
		bubble(t, func(tb *table) {
			tb.rates = map[string]float64{"c": 1.09, "d": 1.09}
			_, _, waiting := play(tb)
			// The judge says whether c1's 30 s were waited out.
			took := tb.until(tb.members["c"], waiting...)
			tb.within("the quarantine", took, 30*time.Second, quarantineTime)
			tb.epochOf(waiting[0], 2)
		})
	})
}

// Schedule 6: a member that renews but does not answer an ask. (4.1, V6)
func TestSchedule06SilentMember(t *testing.T) {
	t.Run("two of them", func(t *testing.T) {
		bubble(t, func(tb *table) {
			seats := tb.seat("abcd", 2)
			a, b, c := seats[0], seats[1], seats[2]
			k := tb.keyFor("ab:ab", "abcd:cd", "bcd:cd")
			tb.deal("ab")
			c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
			// a and b are up, but their answers to c's ask are held.
			answers := []*gate{tb.hold(askAnswer, "a", "c"), tb.hold(askAnswer, "b", "c")}
			tb.deal("abcd")
			c2 := tb.ask(c, acquireOf(k, "c2", 0))
			// However long: c neither chooses nor declares a loss; after 1 s it complains.
			tb.pass(1100 * time.Millisecond)
			stuck := c.service.Stuck(c.clock() - time.Second)
			for _, m := range []*seated{a, b} {
				if !slices.Contains(stuck, m.member.Identity) || len(stuck) != 2 {
					t.Errorf("c complains about %v, want a and b", stuck)
				}
			}
			tb.pass(20 * time.Second)
			tb.outcome(c2, 0, nil)
			if h := tb.have(c, k); h != (Held{}) {
				t.Errorf("c has chosen %+v", h)
			}
			// Only a newer view decides: a is out of it.
			for _, g := range answers {
				g.open()
			}
			tb.deal("bcd")
			tb.outcome(c2, Retry, nil)
			tb.stillHeld(c, k, c1)
			tb.outcome(tb.ask(c, releaseOf(k, c1)), Done, nil)
			tb.epochOf(tb.ask(c, acquireOf(k, "c3", 0)), 3)
		})
	})
	// The old answers are of an older attempt and change nothing: here they say that
	// all is lost, and whoever believes them empties a partition in which a lock is held.
	t.Run("the old answers", func(t *testing.T) {
		bubble(t, func(tb *table) {
			tb.links.late = true
			seats := tb.seat("abcd", 2)
			a, b, c := seats[0], seats[1], seats[2]
			k := tb.keyFor("ab:ab", "abcd:cd", "bcd:cd")
			tb.deal("ab")
			tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
			a.crash()
			b.crash()
			tb.process("a")
			tb.process("b")
			answers := []*gate{tb.hold(askAnswer, "a", "c"), tb.hold(askAnswer, "b", "c")}
			for _, g := range answers {
				tb.t.Cleanup(g.deliver) // c waits for them, whatever comes of this test
			}
			tb.deal("abcd")
			for _, g := range answers {
				g.open()
			}
			tb.deal("bcd")
			c2 := tb.ask(c, acquireOf(k, "c2", time.Minute))
			tb.within("the quarantine", tb.until(c, c2), 32*time.Second, 33*time.Second+moment)
			for _, g := range answers {
				if g.count() == 0 {
					t.Error("no answer was held")
				}
				g.deliver()
			}
			tb.stillHeld(c, k, tb.epochOf(c2, 3))
			// They may as well have come just before the newer view, and what was decided
			// from them too late for it.
			old := &activation{service: c.service, epoch: 2}
			old.quarantine([]Held{{Partition: ring.PartitionOf(k, testPartitions)}})
			tb.stillHeld(c, k, tb.epochOf(c2, 3))
			tb.outcome(tb.ask(c, acquireOf(k, "c3", 0)), Failed, sharelock.ErrLockHeld)
		})
	})
	t.Run("the one with the copy", func(t *testing.T) {
		bubble(t, func(tb *table) {
			seats := tb.seat("abcd", 2)
			a, c := seats[0], seats[2]
			k := tb.keyFor("ab:ab", "cdb:cd")
			tb.deal("ab")
			c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
			a.crash()
			answer := tb.hold(askAnswer, "b", "c")
			tb.deal("cdb")
			c2 := tb.ask(c, acquireOf(k, "c2", 0))
			tb.pass(20 * time.Second)
			tb.outcome(c2, 0, nil)
			answer.release()
			tb.outcome(c2, Failed, sharelock.ErrLockHeld)
			tb.stillHeld(c, k, c1)
		})
	})
}

// Schedule 7, the owner's half: an owner that is cut off, at the edge of its
// lease, by a clock that is 9 % slow. (A2, A3, Q4)
func TestSchedule07EdgeOfTheLease(t *testing.T) {
	const slow = 0.91
	// waitedOut is how long the leader waits after the last request that it renewed.
	waitedOut := rules.Stretch(leaseLength)
	t.Run("with a backup", func(t *testing.T) {
		bubble(t, func(tb *table) {
			tb.rates = map[string]float64{"a": slow}
			seats := tb.seat("abc", 2)
			a, b, c := seats[0], seats[1], seats[2]
			a.ownLeases = true
			k := tb.keyFor("abc:ab", "c:c")
			a.lease(a.clock())
			tb.deal("abc")
			c1 := tb.granted(tb.ask(a, long(k, "c1", 0)))
			a.lease(a.clock())
			tb.cutOff(a)
			// a needs b's acknowledgements, and answers nothing: neither renewals nor reads.
			var deaf []*ear
			for range 22 {
				tb.pass(waitedOut / 22)
				deaf = append(deaf, tb.ask(a, Request{Kind: Get, Key: k}), tb.ask(a, renewOf(k, c1)))
				// Nobody else decides for it.
				tb.outcome(tb.ask(b, acquireOf(k, "c2", 0)), Retry, nil)
				tb.outcome(tb.ask(c, acquireOf(k, "c2", 0)), Retry, nil)
			}
			// b dies too: nobody of S(p,1) is left.
			b.crash()
			tb.deal("c", "c")
			c2 := tb.ask(c, acquireOf(k, "c2", time.Minute))
			tb.within("the quarantine", tb.until(c, c2), quarantineTime, quarantineTime+moment)
			for _, e := range deaf {
				tb.outcome(e, 0, nil)
			}
		})
	})
	t.Run("alone", func(t *testing.T) {
		bubble(t, func(tb *table) {
			tb.rates = map[string]float64{"a": slow}
			seats := tb.seat("abc", 1)
			a, b := seats[0], seats[1]
			a.ownLeases = true
			k := tb.keyFor("abc:a", "bc:b")
			a.lease(a.clock())
			tb.deal("abc")
			c1 := tb.granted(tb.ask(a, long(k, "c1", 0)))
			// a sends a renewal and is cut off; the answer comes 1.5 s later.
			tb.pass(400 * time.Millisecond)
			sent, asked := tb.clock(), a.clock()
			tb.cutOff(a)
			var answered time.Duration
			for left := waitedOut; left > 0; left -= 50 * time.Millisecond {
				if tb.clock()-sent == 1500*time.Millisecond {
					a.lease(asked)
				}
				if tb.ask(a, renewOf(k, c1)).last().Outcome == Done {
					answered = tb.clock() - sent
				}
				tb.pass(50 * time.Millisecond)
			}
			// It answers until 2 s on its own clock after the send, no longer.
			tb.within("answering", answered, 2100*time.Millisecond, leaseLength*100/91)
			// The leader has waited it out. b's quarantine is longer than c1's last
			// deadline, whatever c1 asks a for.
			tb.deal("bc", "b", "c")
			c2 := tb.ask(b, acquireOf(k, "c2", time.Minute))
			began := tb.clock()
			for c2.last().Outcome == Queued && tb.clock()-began < time.Minute {
				tb.pass(time.Second)
				tb.outcome(tb.ask(a, renewOf(k, c1)), Retry, nil)
				c2.again(b)
			}
			tb.within("the quarantine", tb.clock()-began, quarantineTime, quarantineTime+2*time.Second)
			tb.epochOf(c2, 2)
		})
	})
	t.Run("paused before the answer", func(t *testing.T) {
		bubble(t, func(tb *table) {
			seats := tb.seat("abc", 1)
			a, b := seats[0], seats[1]
			k := tb.keyFor("abc:a", "bc:b")
			tb.deal("abc")
			c1 := tb.ask(a, long(k, "c1", 0))
			token := tb.granted(c1)
			// a is paused after it has found its lease valid, for 60 s.
			awake := make(chan struct{})
			pause := func(point string) {
				if point == PointAnswer {
					<-awake
				}
			}
			a.pause.Store(&pause)
			late := tb.ask(a, renewOf(k, token))
			tb.outcome(late, 0, nil)
			tb.pass(waitedOut)
			tb.deal("bc", "b", "c")
			c2 := tb.ask(b, long(k, "c2", time.Minute))
			tb.outcome(c2, Queued, nil)
			tb.within("the quarantine", tb.until(b, c2), quarantineTime, quarantineTime+moment)
			tb.pass(time.Minute - quarantineTime - waitedOut)
			close(awake)
			tb.pass(time.Millisecond)
			// The answer names the send, of a minute ago, so c1 discards it (Q3).
			if left := tb.judge.left(k, token); late.last().Outcome == 0 || left > 0 {
				t.Errorf("c1 was answered %+v and believes for %v", late.last(), left)
			}
		})
	})
}

// Schedule 10, the owner's half: a lease is of no use to a member that has not
// installed the view it is for. (A3; V4 makes it install the view first)
func TestSchedule10LeaseForAnEpochNotInstalled(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a := seats[0]
		a.ownLeases = true
		k := tb.keyFor("abc:ab", "bc:bc")
		a.lease(a.clock())
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, long(k, "c1", 0)))
		// a is cut off in epoch 1, removed in 2, and admitted again in 3, as the same
		// incarnation; the view does not reach it.
		mend := tb.cutOff(a)
		tb.deal("bc", "b", "c")
		tb.pass(3 * time.Second)
		var blocked []*gate // whatever would bring the view with it
		for _, what := range []string{askMessage, fetchMessage, syncMessage, activeNote} {
			blocked = append(blocked, tb.lose(what, anything, "a"))
		}
		tb.deal("abc", "b", "c")
		mend()
		// The answer to its renewal came without the view. c1 renews at a.
		a.lease(a.clock())
		get := tb.ask(a, Request{Kind: Get, Key: k})
		renew := tb.ask(a, renewOf(k, c1))
		tb.pass(time.Second)
		tb.outcome(renew, 0, nil)
		tb.outcome(get, 0, nil)
		if !a.service.LeaseValid() {
			t.Error("a has no lease, so this shows nothing")
		}
		// It installs view 3, and then it is not active yet.
		asks := tb.hold(askAnswer, "b", "a")
		for _, g := range blocked {
			g.open()
		}
		tb.install(a)
		tb.pass(0)
		tb.outcome(renew, Retry, nil)
		tb.outcome(get, Retry, nil)
		again := tb.ask(a, renewOf(k, c1))
		tb.pass(500 * time.Millisecond)
		tb.outcome(again, 0, nil)
		a.lease(a.clock())
		asks.release()
		tb.outcome(again, Done, nil)
		// View 2, which is late, changes nothing (A1).
		old, err := ring.Build(tb.history.Views[1], testPartitions)
		if err != nil {
			t.Fatal(err)
		}
		a.service.Install(tb.history, old)
		tb.pass(0)
		tb.stillHeld(a, k, c1)
		// A lease that was given up is not one, whatever the epoch.
		a.service.EndLease()
		tb.outcome(tb.ask(a, renewOf(k, c1)), Retry, nil)
		if p := ring.PartitionOf(k, testPartitions); tb.have(a, k) != (Held{Partition: p, Have: 3, Seq: tb.have(a, k).Seq}) {
			t.Errorf("a has %+v, want the base of 3", tb.have(a, k))
		}
	})
}
