package owner

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// The schedules about backups, and those of which the point is that it goes on.

// equalCopies checks that the replica set of a key holds identical copies.
func (tb *table) equalCopies(key string) {
	tb.t.Helper()
	set := tb.set(key)
	for _, s := range set[1:] {
		if !bytes.Equal(tb.copyOf(s, key), tb.copyOf(set[0], key)) {
			tb.t.Errorf("%s: the copy of %s differs from that of its owner %s", invariant.EqualCopies, s.member.ID, set[0].member.ID)
		}
	}
}

// Schedule 13: an operation has reached one of two backups when its owner dies.
// (A3, 4.2)
func TestSchedule13PartialAcknowledgement(t *testing.T) {
	// S(p,1) = (a,c,b), R = 3. What act does reaches b, not c; a dies, and in view 2
	// c owns k, with b and d.
	play := func(tb *table, before, act func(a *seated, k string) *ear) (c *seated, k string, before1, acted *ear) {
		seats := tb.seat("abcd", 3)
		a := seats[0]
		k = tb.keyFor("abc:acb", "bcd:cb")
		tb.deal("abc")
		if before != nil {
			before1 = before(a, k)
		}
		tb.lose(opsMessage, "a", "c")
		acted = act(a, k)
		tb.outcome(acted, 0, nil) // not all have acknowledged
		if b, c := tb.have(seats[1], k), tb.have(seats[2], k); b.Seq != c.Seq+1 {
			tb.t.Errorf("b has %+v and c %+v, want b one ahead", b, c)
		}
		a.crash()
		tb.deal("bcd")
		tb.equalCopies(k)
		return seats[2], k, before1, acted
	}
	acquires := func(tb *table, client string, wait time.Duration) func(*seated, string) *ear {
		return func(s *seated, k string) *ear { return tb.ask(s, acquireOf(k, client, wait)) }
	}
	t.Run("acquire", func(t *testing.T) {
		bubble(t, func(tb *table) {
			c, k, _, c1 := play(tb, nil, acquires(tb, "c1", 0))
			// c2 stands behind c1, whose retry gets the token that was logged.
			c2 := tb.ask(c, acquireOf(k, "c2", time.Minute))
			tb.outcome(c2, Queued, nil)
			c1.again(c)
			tb.stillHeld(c, k, tb.epochOf(c1, 1))
		})
	})
	t.Run("acquire, and nobody comes back", func(t *testing.T) {
		bubble(t, func(tb *table) {
			c, k, _, _ := play(tb, nil, acquires(tb, "c1", 0))
			c2 := tb.ask(c, acquireOf(k, "c2", time.Minute))
			tb.within("the lock of c1", tb.until(c, c2), 11*time.Second, 11*time.Second+moment)
			tb.epochOf(c2, 2)
		})
	})
	t.Run("release", func(t *testing.T) {
		bubble(t, func(tb *table) {
			var token sharelock.Token
			c, k, _, _ := play(tb, acquires(tb, "c1", 0), func(a *seated, k string) *ear {
				token = 1<<32 | 1
				return tb.ask(a, releaseOf(k, token))
			})
			// It stands.
			tb.outcome(tb.ask(c, renewOf(k, token)), Failed, sharelock.ErrNotHeld)
			tb.epochOf(tb.ask(c, acquireOf(k, "c2", 0)), 2)
		})
	})
	t.Run("enqueue", func(t *testing.T) {
		bubble(t, func(tb *table) {
			var c2 *ear
			c, k, c1, c3 := play(tb, func(a *seated, k string) *ear {
				c1 := tb.ask(a, acquireOf(k, "c1", 0))
				c2 = tb.ask(a, acquireOf(k, "c2", time.Minute))
				return c1
			}, acquires(tb, "c3", time.Minute))
			c4 := tb.ask(c, acquireOf(k, "c4", time.Minute))
			c3.again(c)
			c2.again(c)
			holder := tb.granted(c1)
			for _, next := range []*ear{c2, c3, c4} {
				tb.outcome(next, Queued, nil)
				tb.outcome(tb.ask(c, releaseOf(k, holder)), Done, nil)
				holder = tb.epochOf(next, 2)
			}
			tb.equalCopies(k)
		})
	})
}

// Schedule 15f: operations and acknowledgements that were lost with a link are
// sent again, and what comes twice is acknowledged again. (A3)
func TestSchedule15fLostMessages(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k := tb.keyFor("abc:ab")
		tb.deal("abc")
		lost := tb.lose(opsMessage, "a", "b")
		c1 := tb.ask(a, acquireOf(k, "c1", 0))
		lost.open()
		sent := tb.tap(opsMessage, "a", "b")
		c2 := tb.ask(a, acquireOf(k, "c2", time.Minute)) // its entry shows the gap
		token := tb.granted(c1)
		tb.outcome(c2, Queued, nil)
		tb.equalCopies(k)
		// An acknowledgement is lost, and the link is opened again.
		acks := tb.lose(ackMessage, "b", "a")
		c3 := tb.ask(a, acquireOf(k, "c3", time.Minute))
		tb.outcome(c3, 0, nil)
		acks.open()
		tb.pass(time.Second)
		tb.outcome(c3, 0, nil)
		a.service.LinkUp(b.member.Identity)
		tb.pass(0)
		tb.outcome(c3, Queued, nil)
		// All that was ever sent comes once more: it is acknowledged and not applied.
		again := tb.tap(ackMessage, "b", "a")
		before := tb.have(b, k)
		sent.deliver()
		if again.count() < sent.count() || tb.have(b, k) != before {
			t.Errorf("%d messages had %d acknowledgements, and left %+v of %+v", sent.count(), again.count(), tb.have(b, k), before)
		}
		again.deliver()
		tb.equalCopies(k)
		tb.stillHeld(a, k, token)
	})
}

// Schedule 15g: a member leaves in good order together with the other replica.
// (V7, G1)
func TestSchedule15gBothReplicasLeave(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abcd", 2)
		a, b, c := seats[0], seats[1], seats[2]
		k := tb.keyFor("abcd:ab", "-a-bcd:cd", "cd:cd")
		tb.deal("abcd")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		c2 := tb.ask(a, acquireOf(k, "c2", time.Minute))
		tb.deal("-a-bcd")
		for _, s := range []*seated{a, b} { // they wait for this before they go
			if n := s.service.Stats().Copies; n > 0 {
				t.Errorf("%s still holds %d copies", s.member.ID, n)
			}
		}
		tb.stillHeld(c, k, c1)
		a.crash()
		b.crash()
		tb.deal("cd")
		if q := c.service.Stats().Quarantined; q > 0 {
			t.Errorf("%d partitions are in quarantine", q)
		}
		c2.again(c)
		tb.outcome(tb.ask(c, releaseOf(k, c1)), Done, nil)
		tb.epochOf(c2, 3)
		tb.equalCopies(k)
	})
}

// setCounter makes the newest token of a key's partition one of this counter.
func (tb *table) setCounter(s *seated, key string, counter uint32) {
	s.service.inShard(ring.PartitionOf(key, testPartitions), func(sh *shard, p *partition) {
		// The same copy with another newest token: it is the fifth part of the first record.
		copied := p.m.Encode(tb.clock())
		d := ops.Decoder{Rest: copied[2:]}
		d.Number() // partition
		d.Number() // sequence number
		e := ops.Encoder{Buf: slices.Clone(copied[:len(copied)-len(d.Rest)])}
		e.Number(uint64(sharelock.MakeToken(sh.epoch, counter)))
		d.Number()
		into := machine.NewAssembler(p.id, 10)
		if err := into.Add(tb.clock(), append(e.Buf, d.Rest...)); err != nil {
			tb.t.Fatal(err)
		}
		m, err := into.Machine()
		if err != nil {
			tb.t.Fatal(err)
		}
		sh.replace(p, m, p.have)
		m.Activate(tb.clock(), sh.epoch, s.service.name)
	})
}

// Schedule 15h: a counter that is half used up makes a new view, and never
// overflows. (G2)
func TestSchedule15hCounterHalfUsed(t *testing.T) {
	cycle := func(tb *table, s *seated, k string, i int) sharelock.Token {
		e := tb.ask(s, acquireOf(k, fmt.Sprintf("c%d", i), 0))
		token := tb.granted(e)
		tb.outcome(tb.ask(s, releaseOf(k, token)), Done, nil)
		return token
	}
	t.Run("half", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a := tb.seat("abc", 2)[0]
			k := tb.keyFor("abc:ab")
			tb.deal("abc")
			tb.setCounter(a, k, 1<<31-4)
			for i := range 3 {
				cycle(tb, a, k, i)
			}
			if a.service.NeedsRefresh() {
				t.Error("a new epoch is asked for before half of the counter is used")
			}
			last := cycle(tb, a, k, 3)
			if !a.service.NeedsRefresh() {
				t.Fatalf("%s: no new epoch is asked for when half of the counter is used", invariant.InRange)
			}
			tb.deal("abc") // the same members
			next := cycle(tb, a, k, 4)
			if want := sharelock.MakeToken(2, 1); next != want || next <= last {
				t.Errorf("token %d after %d, want %d", next, last, want)
			}
			if a.service.NeedsRefresh() {
				t.Error("a new epoch is asked for again")
			}
		})
	})
	t.Run("to the end", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a := tb.seat("abc", 2)[0]
			k := tb.keyFor("abc:ab")
			tb.deal("abc")
			tb.setCounter(a, k, math.MaxUint32-2)
			cycle(tb, a, k, 0)
			last := tb.granted(tb.ask(a, acquireOf(k, "last", 0)))
			if last != sharelock.MakeToken(1, math.MaxUint32) {
				t.Errorf("the last token is %d", last)
			}
			waits := tb.ask(a, acquireOf(k, "waits", time.Minute))
			tb.outcome(tb.ask(a, releaseOf(k, last)), Done, nil)
			tb.outcome(waits, Queued, nil)
			tb.deal("abc")
			waits.again(a)
			if got := tb.granted(waits); got != sharelock.MakeToken(2, 1) {
				t.Errorf("token %d after the last of epoch 1, want 2.1", got)
			}
		})
	})
}

// Schedule 15i: a member owns a partition in the first view it ever saw. (4.2)
func TestSchedule15iNewMemberOwns(t *testing.T) {
	// In view 2 nothing becomes active; d joins in view 3.
	play := func(tb *table, cut func()) (d *seated, k string, c1 sharelock.Token) {
		seats := tb.seat("abcd", 2)
		a, d := seats[0], seats[3]
		k = tb.keyFor("abc:ab", "abcd:da")
		tb.deal("abc")
		c1 = tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		asks := tb.lose(askMessage, anything, anything)
		tb.deal("abc")
		asks.open()
		cut()
		tb.deal("abcd")
		return d, k, c1
	}
	t.Run("with the history", func(t *testing.T) {
		bubble(t, func(tb *table) {
			d, k, c1 := play(tb, func() {})
			tb.stillHeld(d, k, c1)
			tb.outcome(tb.ask(d, acquireOf(k, "c2", 0)), Failed, sharelock.ErrLockHeld)
		})
	})
	t.Run("with a history cut short", func(t *testing.T) {
		bubble(t, func(tb *table) {
			// It does not reach back to a's copy, of epoch 1.
			d, k, c1 := play(tb, func() { tb.history.Views = tb.history.Views[1:] })
			tb.quarantined(d, k, c1)
		})
	})
	t.Run("with no view before", func(t *testing.T) {
		bubble(t, func(tb *table) {
			// Nobody holds anything, but that is not the first view of the cluster.
			tb.seat("ab", 1)
			tb.history = ring.History{First: 1, Views: []ring.View{{Epoch: 50, Replicas: 1, Placement: ring.Placement, Members: []ring.Member{tb.members["a"].member}}}}
			tb.deal("ab")
			for _, n := range []string{"a", "b"} {
				tb.quarantined(tb.members[n], tb.keyOf(n), 1)
			}
		})
	})
	t.Run("in the first view of all", func(t *testing.T) {
		bubble(t, func(tb *table) {
			tb.seat("ab", 2)
			tb.deal("ab")
			tb.epochOf(tb.ask(tb.owner("k"), acquireOf("k", "c1", 0)), 1)
		})
	})
}
