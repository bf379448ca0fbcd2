package owner

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/internal/rules"
)

// The schedules about requests that are sent more than once, and about waiters.

// Schedule 11: which send was answered? (Q2, Q3, Q5, A3)
func TestSchedule11WhichSendWasAnswered(t *testing.T) {
	// c1 sends its acquire at 0 s; it is granted, and the answer is lost or late.
	play := func(tb *table, g func(tb *table) *gate) (a *seated, c1 *ear, lost *gate) {
		a = tb.seat("abc", 2)[0]
		tb.deal("abc")
		lost = g(tb)
		c1 = tb.ask(a, acquireOf(tb.keyFor("abc:ab"), "c1", 0))
		tb.outcome(c1, 0, nil)
		lost.open()
		return a, c1, lost
	}
	lose := func(tb *table) *gate { return tb.lose(clientAnswer, "a", "c1") }
	hold := func(tb *table) *gate { return tb.hold(clientAnswer, "a", "c1") }

	t.Run("the second", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, c1, _ := play(tb, lose)
			k := tb.keyFor("abc:ab")
			// Send 2, at 9 s, counts as a renewal: the lock ends at 9 s + 11 s.
			tb.pass(9 * time.Second)
			answer := c1.again(a)
			token := tb.granted(c1)
			if answer.Send != 2 || answer.Holds[0].ExpiresIn != 11*time.Second {
				t.Errorf("answer names send %d, the lock ends in %v, want 2 and 11 s", answer.Send, answer.Holds[0].ExpiresIn)
			}
			if left := tb.judge.left(k, token); left != 10*time.Second {
				t.Errorf("c1 counts %v, want 10 s", left)
			}
			c2 := tb.ask(a, acquireOf(k, "c2", time.Minute))
			tb.within("the rest", tb.until(a, c2), 11*time.Second, 11*time.Second+moment)
		})
	})
	t.Run("the first, late", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, c1, late := play(tb, hold)
			k := tb.keyFor("abc:ab")
			tb.pass(9 * time.Second)
			second := tb.hold(clientAnswer, "a", "c1")
			c1.again(a)
			late.deliver()
			token := tb.granted(c1)
			if left := tb.judge.left(k, token); c1.last().Send != 1 || left != time.Second {
				t.Errorf("c1 counts %v from send %d, want 1 s from 1", left, c1.last().Send)
			}
			second.release()
			if left := tb.judge.left(k, tb.granted(c1)); left != 10*time.Second {
				t.Errorf("c1 counts %v, want 10 s", left)
			}
		})
	})
	t.Run("too late", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, c1, _ := play(tb, lose)
			tb.pass(11*time.Second + time.Millisecond)
			c1.again(a)
			tb.outcome(c1, Failed, sharelock.ErrRequestOver)
			tb.granted(tb.ask(a, acquireOf(tb.keyFor("abc:ab"), "c2", 0)))
		})
	})
}

// Schedule 11, second part: whoever waited long has most of its TTL before it
// when it is granted. (Q3, Q5)
func TestSchedule11WaiterIsGrantedWithMostOfItsTTL(t *testing.T) {
	for _, ttl := range []time.Duration{3 * time.Second, 10 * time.Second} {
		bubble(t, func(tb *table) {
			a := tb.seat("abc", 2)[0]
			tb.deal("abc")
			k := tb.keyFor("abc:ab")
			c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
			r := acquireOf(k, "c2", time.Minute)
			r.TTL = ttl
			c2 := tb.ask(a, r)
			every := rules.Period(ttl)
			for waited := time.Duration(0); waited < time.Minute; waited += every {
				tb.pass(every - time.Millisecond)
				tb.stillHeld(a, k, c1)
				if waited+every >= time.Minute {
					// Just before it would send again.
					tb.ask(a, releaseOf(k, c1))
					break
				}
				tb.pass(time.Millisecond)
				c2.again(a)
			}
			if left := tb.judge.left(k, tb.granted(c2)); left < ttl*2/3 {
				t.Errorf("after a wait %v of %v are left, want two thirds", left, ttl)
			}
		})
	}
}

// Schedule 11, third part: a longer TTL is known to the next owner. (A3)
func TestSchedule11LongerTTLSurvivesTheOwner(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k := tb.keyFor("abc:ab", "bc:b")
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		longer := renewOf(k, c1)
		longer.TTL = 30 * time.Second
		tb.outcome(tb.ask(a, longer), Done, nil)
		a.crash()
		tb.deal("bc")
		c2 := tb.ask(b, acquireOf(k, "c2", time.Minute))
		tb.within("the lock", tb.until(b, c2), 33*time.Second, 33*time.Second+moment)
		tb.epochOf(c2, 2)
	})
}

// Schedule 12: late duplicates of an acquire, a release and a renewal. (Q2)
func TestSchedule12LateDuplicates(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k := tb.keyFor("abc:ab", "bc:b")
		tb.deal("abc")
		acquire := acquireOf(k, "c1", 0)
		c1 := tb.granted(tb.ask(a, acquire))
		tb.outcome(tb.ask(a, releaseOf(k, c1)), Done, nil)
		c2 := tb.granted(tb.ask(a, acquireOf(k, "c2", 0)))
		duplicates := func(at *seated, gone error) {
			t.Helper()
			for _, wait := range []time.Duration{0, time.Minute} {
				acquire.Wait = wait
				if a := tb.ask(at, acquire).last(); a.Outcome != Failed || !errors.Is(a.Err, sharelock.ErrRequestOver) {
					t.Errorf("%s: an acquire that is over is answered %+v", invariant.OneGrant, a)
				}
			}
			tb.outcome(tb.ask(at, releaseOf(k, c1)), Failed, gone)
			tb.outcome(tb.ask(at, renewOf(k, c1)), Failed, gone)
		}
		duplicates(a, sharelock.ErrStaleToken)
		tb.stillHeld(a, k, c2)
		// The owner changes, and they come again.
		a.crash()
		tb.deal("bc")
		duplicates(b, sharelock.ErrStaleToken)
		tb.stillHeld(b, k, c2)
		// And again, after c2 has released.
		tb.outcome(tb.ask(b, releaseOf(k, c2)), Done, nil)
		duplicates(b, sharelock.ErrNotHeld)
		tb.epochOf(tb.ask(b, acquireOf(k, "c3", 0)), 2)
		duplicates(b, sharelock.ErrStaleToken)
	})
}

// Schedule 14: the order of waiters survives their owner. (Q5)
func TestSchedule14FIFOOverTheOwnersDeath(t *testing.T) {
	// c1 holds, c2 and then c3 wait; a dies; at b c1's release arrives first, then c3
	// re-attaches.
	play := func(tb *table) (b *seated, k string, c2, c3 *ear) {
		seats := tb.seat("abc", 2)
		a := seats[0]
		b = seats[1]
		k = tb.keyFor("abc:ab", "bc:b")
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		c2 = tb.ask(a, acquireOf(k, "c2", time.Minute))
		c3 = tb.ask(a, acquireOf(k, "c3", time.Minute))
		tb.outcome(c2, Queued, nil)
		tb.outcome(c3, Queued, nil)
		a.crash()
		tb.deal("bc")
		tb.outcome(tb.ask(b, releaseOf(k, c1)), Done, nil)
		c3.again(b)
		tb.outcome(c3, Queued, nil)
		return b, k, c2, c3
	}
	pass := func(tb *table, b *seated, k string, from, to *ear) {
		tb.t.Helper()
		tb.outcome(to, Queued, nil)
		tb.outcome(tb.ask(b, releaseOf(k, tb.epochOf(from, 2))), Done, nil)
		tb.epochOf(to, 2)
	}
	t.Run("both come back", func(t *testing.T) {
		bubble(t, func(tb *table) {
			b, k, c2, c3 := play(tb)
			c4 := tb.ask(b, acquireOf(k, "c4", time.Minute)) // behind both
			tb.outcome(c4, Queued, nil)
			tb.pass(rules.Period(10*time.Second) - time.Millisecond)
			c2.again(b)
			pass(tb, b, k, c2, c3)
			pass(tb, b, k, c3, c4)
		})
	})
	t.Run("a try does not pass them", func(t *testing.T) {
		bubble(t, func(tb *table) {
			b, k, c2, c3 := play(tb)
			tb.outcome(tb.ask(b, acquireOf(k, "c4", 0)), Failed, sharelock.ErrLockHeld)
			c2.again(b)
			pass(tb, b, k, c2, c3)
		})
	})
	t.Run("the first never comes back", func(t *testing.T) {
		bubble(t, func(tb *table) {
			b, _, c2, c3 := play(tb)
			// c3 has it after one period, not after a TTL.
			tb.within("the wait for c2", tb.until(b, c3), rules.Period(10*time.Second), rules.Period(10*time.Second)+moment)
			tb.epochOf(c3, 2)
			tb.pass(time.Minute)
			tb.outcome(c2, Retry, nil)
		})
	})
	t.Run("the first comes back late", func(t *testing.T) {
		bubble(t, func(tb *table) {
			b, k, c2, c3 := play(tb)
			tb.until(b, c3)
			c4 := tb.ask(b, acquireOf(k, "c4", time.Minute))
			tb.pass(time.Second)
			c2.again(b) // it has kept its place
			pass(tb, b, k, c3, c2)
			pass(tb, b, k, c2, c4)
		})
	})
}

// Schedule 14 for the node in between: the link breaks over which c2's acquire came,
// since its node died. c1's release comes before c2 has found another node.
func TestSchedule14BrokenLink(t *testing.T) {
	play := func(tb *table) (a *seated, k string, c2, c3 *ear) {
		a = tb.seat("abc", 2)[0]
		k = tb.keyFor("abc:ab")
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		c2 = tb.ask(a, acquireOf(k, "c2", time.Minute))
		c3 = tb.ask(a, acquireOf(k, "c3", time.Minute))
		a.service.Broke(c2)
		c2.deaf.Store(true)
		tb.outcome(tb.ask(a, releaseOf(k, c1)), Done, nil)
		if o := c3.last().Outcome; o != Queued {
			tb.t.Fatalf("%s: c3 is answered %v though c2 is before it", invariant.Fair, o)
		}
		return a, k, c2, c3
	}
	t.Run("it comes back", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, k, c2, c3 := play(tb)
			tb.outcome(tb.ask(a, acquireOf(k, "c4", 0)), Failed, sharelock.ErrLockHeld)
			tb.pass(rules.Period(10*time.Second) - time.Millisecond)
			c2.deaf.Store(false)
			c2.again(a)
			tb.outcome(tb.ask(a, releaseOf(k, tb.granted(c2))), Done, nil)
			tb.granted(c3)
		})
	})
	t.Run("it never comes back", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, _, _, c3 := play(tb)
			tb.within("the wait for c2", tb.until(a, c3), rules.Period(10*time.Second), rules.Period(10*time.Second)+moment)
			tb.granted(c3)
		})
	})
	t.Run("its client has gone", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, k, _, c3 := play(tb)
			gone := acquireOf(k, "c2", 0)
			gone.Kind = Cancel // as its node says when it has the link again
			tb.outcome(tb.ask(a, gone), Done, nil)
			tb.granted(c3)
		})
	})
}
