package owner

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/ring"
)

// The schedules are the nastiest courses of events that we could think of, as
// tests: what an owner has to do with each. All of them are at the table, and its
// judge looks at every answer. Members are a, b, c, d, one key is k, clients are
// c1, c2 and so on; "2.1" is the first token of epoch 2. Here are those about old
// messages and old copies.

// quarantined checks what a member in quarantine says: never "free", and never
// that somebody holds the key (section 4). The token is one of before.
func (tb *table) quarantined(s *seated, key string, before sharelock.Token) {
	tb.t.Helper()
	for _, r := range []Request{acquireOf(key, "try", 0), {Kind: Get, Key: key}} {
		if a := tb.ask(s, r).last(); a.Outcome != Failed || !errors.Is(a.Err, sharelock.ErrQuarantined) {
			tb.t.Errorf("%s: in quarantine %s answers %+v", invariant.NeverFree, s.member.ID, a)
		}
	}
	tb.outcome(tb.ask(s, renewOf(key, before)), Failed, sharelock.ErrStaleToken)
}

// quarantineTime is the longest TTL of the table stretched; grants come at most a
// moment later.
const (
	quarantineTime = 33 * time.Second
	moment         = time.Second
)

// within checks a time that was waited.
func (tb *table) within(what string, got, least, most time.Duration) {
	tb.t.Helper()
	if got < least || got > most {
		tb.t.Errorf("%s: %s took %v, want %v to %v", invariant.OnTime, what, got, least, most)
	}
}

// epochOf checks that an acquire was granted in an epoch.
func (tb *table) epochOf(e *ear, want uint32) sharelock.Token {
	tb.t.Helper()
	token := tb.granted(e)
	if token.Epoch() != want {
		tb.t.Errorf("token %d.%d, want one of epoch %d", token.Epoch(), token.Counter(), want)
	}
	return token
}

// stillHeld checks that a token is the key's grant.
func (tb *table) stillHeld(s *seated, key string, token sharelock.Token) {
	tb.t.Helper()
	if a := tb.ask(s, renewOf(key, token)).last(); a.Outcome != Done || a.Holds[0].Token != token {
		tb.t.Fatalf("%s: the renewal of token %d is answered %+v", invariant.NothingLost, token, a)
	}
}

// Schedule 1: an acknowledgement of an epoch that is over answers nobody. (A1, A2)
func TestSchedule01LateAcknowledgement(t *testing.T) {
	t.Run("another owner in between", func(t *testing.T) {
		bubble(t, func(tb *table) {
			seats := tb.seat("abc", 2)
			a, b := seats[0], seats[1]
			k := tb.keyFor("abc:ab", "bc:bc")
			tb.deal("abc")
			// c1 acquires k: a logs it; b's copy of it is held.
			ops := tb.hold(opsMessage, "a", "b")
			c1 := tb.ask(a, acquireOf(k, "c1", time.Minute))
			tb.outcome(c1, 0, nil)
			// a was cut off and waited out: b is active without the operation, and c2
			// acquires there.
			mend := tb.cutOff(a)
			tb.deal("bc", "b", "c")
			c2 := tb.epochOf(tb.ask(b, acquireOf(k, "c2", 0)), 2)
			// a is admitted again, as the same incarnation, and owns k.
			mend()
			ops.open()
			tb.deal("abc")
			tb.outcome(c1, Retry, nil)
			// c1's retry is to wait behind c2; now the old acknowledgement comes, and
			// its number is that of the retry.
			acks := tb.hold(ackMessage, "b", "a")
			heard := c1.count()
			c1.again(a)
			ops.deliver() // b refuses it
			a.service.Acked(b.member.Identity, 1, []Ack{{Partition: ring.PartitionOf(k, testPartitions), Seq: tb.have(a, k).Seq}})
			tb.pass(time.Second)
			if n := c1.count(); n != heard {
				t.Fatalf("%s: c1 heard %+v from epoch 1", invariant.Replicated, c1.last())
			}
			acks.release()
			tb.outcome(c1, Queued, nil)
			tb.stillHeld(a, k, c2)
			tb.ask(a, releaseOf(k, c2))
			tb.epochOf(c1, 3)
		})
	})
	t.Run("the same owner", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a := tb.seat("abc", 2)[0]
			k := tb.keyFor("abc:ab")
			tb.deal("abc")
			old := tb.hold(ackMessage, "b", "a")
			c1 := tb.ask(a, acquireOf(k, "c1", 0))
			c2 := tb.ask(a, acquireOf(k, "c2", time.Minute))
			tb.outcome(c1, 0, nil)
			old.open()
			tb.deal("abc")
			tb.outcome(c1, Retry, nil)
			tb.outcome(c2, Retry, nil)
			// What c1 and c2 hear is what epoch 2 has acknowledged.
			acks := tb.hold(ackMessage, "b", "a")
			c1.again(a)
			c2.again(a)
			old.deliver()
			tb.outcome(c1, Retry, nil)
			tb.outcome(c2, Retry, nil)
			acks.release()
			tb.epochOf(c1, 1) // the grant of epoch 1 is in the copies
			tb.outcome(c2, Queued, nil)
		})
	})
}

// Schedule 2: the copy of a member that was cut off comes back. (4.2, 4.3)
func TestSchedule02OldCopyComesBack(t *testing.T) {
	// Everybody has seen c1 release in epoch 2, and c2 acquire, but a.
	play := func(tb *table, crash string) (a *seated, k string, c1, c2 sharelock.Token) {
		seats := tb.seat("abc", 2)
		a, b := seats[0], seats[1]
		k = tb.keyFor("abc:ab", "bc:bc")
		tb.deal("abc")
		c1 = tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		mend := tb.cutOff(a)
		for range 5 { // a's copy is longer than those of epoch 2 will be
			tb.outcome(tb.ask(a, renewOf(k, c1)), 0, nil)
		}
		tb.deal("bc", "b", "c")
		tb.outcome(tb.ask(b, releaseOf(k, c1)), Done, nil)
		c2 = tb.epochOf(tb.ask(b, long(k, "c2", 0)), 2)
		for _, name := range letters(crash) {
			tb.members[name].crash()
			tb.process(name)
		}
		mend()
		if h := tb.have(a, k); h.Have != 1 || h.Seq < 6 {
			tb.t.Errorf("a holds %+v, want its copy of epoch 1", h)
		}
		tb.deal("abc")
		return a, k, c1, c2
	}
	t.Run("alone", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, k, c1, c2 := play(tb, "bc")
			// Nobody of S(p,2) answered: a's copy is not used.
			tb.quarantined(a, k, c1)
			tb.quarantined(a, k, c2)
			c3 := tb.ask(a, acquireOf(k, "c3", time.Minute))
			tb.within("the quarantine", tb.until(a, c3), quarantineTime, quarantineTime+moment)
			tb.epochOf(c3, 3)
		})
	})
	t.Run("with a newer one", func(t *testing.T) {
		bubble(t, func(tb *table) {
			a, k, c1, c2 := play(tb, "c")
			// a's copy loses against b's.
			tb.stillHeld(a, k, c2)
			tb.outcome(tb.ask(a, renewOf(k, c1)), Failed, sharelock.ErrStaleToken)
			tb.outcome(tb.ask(a, acquireOf(k, "c3", 0)), Failed, sharelock.ErrLockHeld)
		})
	})
}

// Schedule 3: a restarted process does not speak for the one before it. (1
// "member", 4.2)
func TestSchedule03RestartedWitness(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		a, b, c := seats[0], seats[1], seats[2]
		k := tb.keyFor("abc:ab", "-abc:bc")
		tb.deal("abc")
		c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		// View 2 with a, but off k's replica set; a does not hear that k is active there
		// (G1), so it keeps its copy.
		tb.hold(activeNote, "b", "a")
		tb.deal("-abc")
		tb.outcome(tb.ask(b, releaseOf(k, c1)), Done, nil)
		c2 := tb.epochOf(tb.ask(b, long(k, "c2", 0)), 2)
		// b and c crash and join again under their ids; they hold nothing.
		b.crash()
		c.crash()
		tb.process("b")
		tb.process("c")
		if h := tb.have(a, k); h.Have != 1 {
			t.Errorf("a holds %+v, want its copy of epoch 1", h)
		}
		tb.deal("abc")
		tb.quarantined(a, k, c1)
		tb.quarantined(a, k, c2)
		c3 := tb.ask(a, acquireOf(k, "c3", time.Minute))
		tb.within("the quarantine", tb.until(a, c3), quarantineTime, quarantineTime+moment)
		tb.epochOf(c3, 3)
	})
}

// Schedule 4: an owner dies before it was active. (4.2, 4.4)
func TestSchedule04ActivationNeverCompleted(t *testing.T) {
	// View 1 is (a,b). In view 2 a is off the ring, so c owns k with b as its backup,
	// chooses a's copy, and comes as far as the gate lets it.
	play := func(tb *table, what, from, to string) (k string, token sharelock.Token, g *gate) {
		seats := tb.seat("abc", 2)
		a, c := seats[0], seats[2]
		k = tb.keyFor("ab:ab", "-abc:cb")
		tb.deal("ab")
		token = tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		tb.outcome(tb.ask(a, acquireOf(k, "c2", time.Minute)), Queued, nil)
		g = tb.hold(what, from, to)
		tb.deal("-abc")
		early := tb.ask(c, acquireOf(k, "c3", 0))
		if a := early.last(); a.Outcome != 0 {
			tb.t.Errorf("%s: c answers %+v before its backup has the base", invariant.Replicated, a)
		}
		c.crash()
		tb.outcome(early, Retry, nil)
		return k, token, g
	}
	nothingLost := func(tb *table, k string, token sharelock.Token) {
		tb.t.Helper()
		a := tb.members["a"]
		if q := a.service.Stats().Quarantined; q > 0 {
			tb.t.Errorf("%d partitions are in quarantine", q)
		}
		tb.stillHeld(a, k, token)
		c3 := tb.ask(a, acquireOf(k, "c3", time.Minute))
		tb.outcome(c3, Queued, nil)
		c2 := tb.ask(a, acquireOf(k, "c2", time.Minute))
		tb.outcome(tb.ask(a, releaseOf(k, token)), Done, nil)
		tb.epochOf(c2, 3) // it has kept its place
		tb.outcome(c3, Queued, nil)
	}
	haveIs := func(tb *table, k, name string, want uint32) {
		tb.t.Helper()
		if h := tb.have(tb.members[name], k); h.Have != want {
			tb.t.Errorf("%s: %s has %+v, want the base of %d", invariant.NothingLost, name, h, want)
		}
	}
	t.Run("synced", func(t *testing.T) {
		bubble(t, func(tb *table) {
			k, token, _ := play(tb, syncAnswer, "b", "c")
			haveIs(tb, k, "b", 2)
			haveIs(tb, k, "a", 1)
			fetched := tb.tap(fetchMessage, "a", "b")
			tb.deal("ab")
			if fetched.count() == 0 {
				t.Error("a did not take b's copy, which has the highest epoch")
			}
			nothingLost(tb, k, token)
		})
	})
	t.Run("the sync comes after view 3", func(t *testing.T) {
		bubble(t, func(tb *table) {
			k, token, g := play(tb, syncMessage, "c", "b")
			haveIs(tb, k, "b", 1)
			asks := tb.hold(askAnswer, "b", "a")
			tb.deal("ab")
			g.deliver()
			haveIs(tb, k, "b", 1) // refused
			asks.release()
			haveIs(tb, k, "b", 3)
			nothingLost(tb, k, token)
			before := tb.have(tb.members["b"], k)
			g.deliver()
			if h := tb.have(tb.members["b"], k); h != before {
				t.Errorf("an old base changed %+v to %+v", before, h)
			}
		})
	})
	t.Run("the sync comes before view 3", func(t *testing.T) {
		bubble(t, func(tb *table) {
			k, token, g := play(tb, syncMessage, "c", "b")
			g.deliver()
			haveIs(tb, k, "b", 2)
			tb.deal("ab")
			nothingLost(tb, k, token)
		})
	})
	t.Run("the sync comes after view 3, from the same owner", func(t *testing.T) {
		bubble(t, func(tb *table) {
			seats := tb.seat("abc", 2)
			a, b, c := seats[0], seats[1], seats[2]
			k := tb.keyFor("-abc:cb")
			tb.deal("a")
			c1 := tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
			g := tb.hold(syncMessage, "c", "b") // with the whole copy: b has none
			tb.deal("-abc")
			g.open()
			tb.deal("-abc")
			tb.outcome(tb.ask(c, releaseOf(k, c1)), Done, nil)
			c2 := tb.epochOf(tb.ask(c, acquireOf(k, "c2", 0)), 3)
			before := tb.have(b, k)
			g.deliver()
			if h := tb.have(b, k); h != before {
				t.Errorf("an old base changed %+v to %+v", before, h)
			}
			tb.stillHeld(c, k, c2)
			tb.equalCopies(k)
		})
	})
	t.Run("b dies too", func(t *testing.T) {
		bubble(t, func(tb *table) {
			k, token, _ := play(tb, syncAnswer, "b", "c")
			tb.members["b"].crash()
			tb.deal("a")
			// k never was active in 2, but nobody is left who knows.
			a := tb.members["a"]
			tb.quarantined(a, k, token)
			c3 := tb.ask(a, acquireOf(k, "c3", time.Minute))
			tb.within("the quarantine", tb.until(a, c3), quarantineTime, quarantineTime+moment)
		})
	})
}

// A member that is asked while it stops proves nothing: what its loops held is gone
// with them, and nobody may conclude that it held nothing (section 4.2).
func TestAskedWhileStopping(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abcd", 2)
		a, b, c := seats[0], seats[1], seats[2]
		k := tb.keyFor("ab:ab", "cdb:cd")
		tb.deal("ab")
		tb.granted(tb.ask(a, acquireOf(k, "c1", 0)))
		a.crash()
		ask := tb.hold(askMessage, "c", "b")
		tb.deal("cdb")
		b.service.Stop() // and still answers
		ask.release()
		c2 := tb.ask(c, acquireOf(k, "c2", 0))
		tb.pass(time.Second)
		if n := c2.count(); n > 0 {
			t.Errorf("c2 is answered %+v: the copy on b was lost sight of", c2.last())
		}
	})
}
