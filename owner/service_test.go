package owner

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/ring"
)

// A member that joins takes partitions over alive: the holder keeps its token,
// waiters keep their order, and the old owner drops its copy (G1).
func TestLiveHandOver(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.process("a")
		tb.process("b")
		tb.view([]string{"a"})
		tb.history.Views[0].Members[0] = tb.members["a"].member
		// A key that b will own.
		probe := tb.history
		tb.history = tb.history.Append(ring.View{Epoch: 2, Replicas: 1, Placement: ring.Placement, Members: []ring.Member{tb.members["a"].member, tb.members["b"].member}})
		key := tb.keyOf("b")
		tb.history = probe

		a := tb.members["a"]
		token := tb.granted(tb.ask(a, acquireOf(key, "c1", 0)))
		waiting := tb.ask(a, acquireOf(key, "c2", time.Minute))
		tb.outcome(waiting, Queued, nil)
		tb.view([]string{"a", "b"})
		tb.outcome(waiting, Retry, nil) // A1: what was pending is sent again

		b := tb.owner(key)
		if b.member.ID != "b" {
			t.Fatalf("%s owns %s", b.member.ID, key)
		}
		tb.outcome(tb.ask(a, acquireOf(key, "c3", 0)), Retry, nil)
		if h := tb.granted(tb.ask(b, Request{Kind: Renew, Key: key, Token: token})); h != token {
			t.Errorf("renewed token is %d, want %d", h, token)
		}
		late := tb.ask(b, acquireOf(key, "c3", time.Minute))
		again := tb.ask(b, acquireOf(key, "c2", time.Minute))
		tb.outcome(tb.ask(b, Request{Kind: Release, Key: key, Token: token}), Done, nil)
		if next := tb.granted(again); next <= token {
			t.Errorf("token %d after %d", next, token)
		}
		tb.outcome(late, Queued, nil)
		if c := a.service.Stats(); c.Copies != c.Owned {
			t.Errorf("the old owner holds %d copies and owns %d partitions", c.Copies, c.Owned)
		}
	})
}

// Schedule 5 with one copy: the owner dies, its keys are in quarantine for the
// longest TTL stretched, and a second death neither ends it early nor begins it
// again.
func TestQuarantineSurvivesItsOwner(t *testing.T) {
	bubble(t, func(tb *table) {
		for _, n := range []string{"a", "b", "c"} {
			tb.process(n)
		}
		tb.view([]string{"a", "b", "c"})
		key := tb.keyOf("a")
		before := tb.granted(tb.ask(tb.owner(key), acquireOf(key, "c1", 0)))
		tb.members["a"].service.Stop()
		began := tb.clock()
		tb.view([]string{"b", "c"})
		first := tb.owner(key)
		tb.outcome(tb.ask(first, Request{Kind: Renew, Key: key, Token: before}), Failed, sharelock.ErrStaleToken)
		tb.outcome(tb.ask(first, Request{Kind: Release, Key: key, Token: before}), Done, nil)
		tb.outcome(tb.ask(first, acquireOf(key, "try", 0)), Failed, sharelock.ErrQuarantined)
		tb.outcome(tb.ask(first, Request{Kind: Get, Key: key}), Failed, sharelock.ErrQuarantined)

		// 20 s later it moves, alive, to whoever owns it without the other.
		time.Sleep(20 * time.Second)
		tb.members["d"] = nil
		delete(tb.members, "d")
		tb.process("d")
		other := "b"
		if first.member.ID == "b" {
			other = "c"
		}
		leaving := first.member
		leaving.Leaving = true
		keep := tb.members[first.member.ID].member
		tb.members[first.member.ID].member = leaving
		tb.view([]string{other, "d", first.member.ID})
		tb.members[first.member.ID].member = keep
		second := tb.owner(key)
		if second == first {
			t.Fatal("the key did not move")
		}
		e := tb.ask(second, acquireOf(key, "c2", time.Minute))
		tb.outcome(e, Queued, nil)
		for ; e.last().Outcome == Queued; time.Sleep(time.Second) {
			tb.resend(second, e, acquireOf(key, "c2", time.Minute))
			synctest.Wait()
		}
		waited := tb.clock() - began
		if after := tb.granted(e); after <= before {
			t.Errorf("token %d after %d", after, before)
		}
		if waited < 33*time.Second || waited > 36*time.Second {
			t.Errorf("granted %v after the death, want soon after 33 s", waited)
		}
	})
}

// resend sends a waiting acquire once more, as its node does every period.
func (tb *table) resend(s *seated, e *ear, r Request) {
	r.Send = 2
	s.service.Submit(ring.PartitionOf(r.Key, testPartitions), Ref{Caller: e, ID: 1}, &r)
}

// Schedules 2 and 3: an old copy, with nobody of the later replica sets left to
// speak for it, is not used. A restarted process is no witness.
func TestOldCopyIsNotUsed(t *testing.T) {
	bubble(t, func(tb *table) {
		for _, n := range []string{"a", "b"} {
			tb.process(n)
		}
		tb.view([]string{"a", "b"})
		key := tb.keyOf("a")
		old := tb.granted(tb.ask(tb.members["a"], acquireOf(key, "c1", 0)))
		// a is cut off: b goes on without it, and serves.
		tb.view([]string{"b"}, "b")
		time.Sleep(40 * time.Second) // its quarantine is over
		if tk := tb.granted(tb.ask(tb.members["b"], acquireOf(key, "c2", 0))); tk <= old {
			t.Errorf("token %d after %d", tk, old)
		}
		// b dies and is back at once, with nothing; a comes back with its old copy.
		tb.members["b"].service.Stop()
		tb.process("b")
		tb.view([]string{"a", "b"})
		o := tb.owner(key)
		tb.outcome(tb.ask(o, acquireOf(key, "c3", 0)), Failed, sharelock.ErrQuarantined)
		time.Sleep(34 * time.Second)
		if tk := tb.granted(tb.ask(o, acquireOf(key, "c4", 0))); tk.Epoch() != 3 {
			t.Errorf("token of epoch %d, want 3", tk.Epoch())
		}
	})
}

// Schedule 4 with one copy: an owner that dies before it was active lost
// nothing, if it is proved: the old copy is good as long as a witness answers.
func TestActivationThatNeverCompleted(t *testing.T) {
	bubble(t, func(tb *table) {
		for _, n := range []string{"a", "b"} {
			tb.process(n)
		}
		tb.view([]string{"a"})
		token := map[string]sharelock.Token{}
		for i := range 20 {
			k := fmt.Sprintf("k%d", i)
			token[k] = tb.granted(tb.ask(tb.members["a"], acquireOf(k, "c1", 0)))
		}
		// b owns some in view 2, but a's answers to its asks are held.
		tb.mu.Lock()
		tb.hold["a"] = make(chan struct{})
		tb.mu.Unlock()
		tb.view([]string{"a", "b"})
		key := tb.keyOf("b")
		parked := tb.ask(tb.members["b"], acquireOf(key, "c2", 0))
		tb.outcome(parked, 0, nil) // neither granted nor declared lost, however long
		time.Sleep(20 * time.Second)
		synctest.Wait()
		tb.outcome(parked, 0, nil)
		// b leaves the ring again without having been active, but it is there: its
		// answer proves that the old copy is good.
		b := tb.members["b"]
		leaving := b.member
		leaving.Leaving = true
		b.member, leaving = leaving, b.member
		tb.view([]string{"a", "b"})
		b.member = leaving
		// The answers of the older attempt come now, and change nothing.
		tb.mu.Lock()
		close(tb.hold["a"])
		delete(tb.hold, "a")
		tb.mu.Unlock()
		synctest.Wait()
		tb.outcome(parked, Retry, nil)
		if h := tb.granted(tb.ask(tb.members["a"], Request{Kind: Renew, Key: key, Token: token[key]})); h != token[key] {
			t.Errorf("renewed token is %d, want %d", h, token[key])
		}
		// Had it died instead, nobody could tell: quarantine.
		tb.view([]string{"a", "b"})
		key = tb.keyOf("b")
		tb.outcome(tb.ask(b, Request{Kind: Renew, Key: key, Token: token[key]}), Done, nil)
		b.service.Stop()
		tb.view([]string{"a"})
		tb.outcome(tb.ask(tb.members["a"], acquireOf(key, "c2", 0)), Failed, sharelock.ErrQuarantined)
	})
}

// Schedule 15i: a history that is cut short never counts as the first view.
func TestHistoryCutShort(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.process("a")
		tb.process("b")
		tb.history = ring.History{First: 1, Views: []ring.View{{Epoch: 50, Replicas: 1, Placement: ring.Placement, Members: []ring.Member{tb.members["a"].member}}}}
		tb.view([]string{"a", "b"})
		for _, n := range []string{"a", "b"} {
			tb.outcome(tb.ask(tb.members[n], acquireOf(tb.keyOf(n), "c", 0)), Failed, sharelock.ErrQuarantined)
		}
	})
}

// A2: nothing is answered once the lease has run out; the decision stands, and a
// retry within a new lease finds it.
func TestNoAnswerWithoutLease(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.process("a")
		tb.view([]string{"a"})
		a.service.EndLease()
		e := tb.ask(a, acquireOf("k", "c1", 0))
		tb.outcome(e, Retry, nil)
		a.service.SetLease(tb.clock() + time.Second)
		tb.granted(tb.ask(a, acquireOf("k", "c1", 0)))
		time.Sleep(time.Second)
		tb.outcome(tb.ask(a, Request{Kind: Get, Key: "k"}), Retry, nil)
	})
}

// A1: who is behind, and who asks for another epoch, is told so.
func TestEpochsMustAgree(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.process("a")
		tb.view([]string{"a"})
		for _, epoch := range []uint32{0, 2} {
			if _, err := a.service.Ask(epoch, []uint32{0}); !errors.Is(err, ErrBehind) {
				t.Errorf("ask for epoch %d: %v, want ErrBehind", epoch, err)
			}
			if err := a.service.Active(epoch, []uint32{0}); !errors.Is(err, ErrBehind) {
				t.Errorf("active in epoch %d: %v, want ErrBehind", epoch, err)
			}
			if _, err := a.service.List(t.Context(), epoch, "", "", "", 10); !errors.Is(err, ErrBehind) {
				t.Errorf("list in epoch %d: %v, want ErrBehind", epoch, err)
			}
		}
		if held, err := a.service.Ask(1, []uint32{0, 3, 99}); err != nil || len(held) != 2 {
			t.Errorf("ask: %v, %v, want the two that exist", held, err)
		}
		// An older view changes nothing.
		r, err := ring.Build(tb.history.Current(), testPartitions)
		if err != nil {
			t.Fatal(err)
		}
		tb.granted(tb.ask(a, acquireOf("k", "c1", 0)))
		tb.view([]string{"a"})
		a.service.Install(tb.history, r)
		synctest.Wait()
		if e := a.service.Epoch(); e != 2 {
			t.Errorf("epoch is %d after an older view, want 2", e)
		}
		if st := a.service.Stats(); st.Active != testPartitions || st.Locks != 1 {
			t.Errorf("after an older view: %+v", st)
		}
	})
}

// No TTL is longer than the quarantine that would have to outlast it.
func TestTTLAboveTheMeshsLongest(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.process("a")
		tb.view([]string{"a"})
		r := acquireOf("k", "c1", 0)
		r.TTL = 31 * time.Second
		tb.outcome(tb.ask(a, r), Failed, sharelock.ErrInvalidArgument)
	})
}

// MaxLocks counts keys, over all partitions, and frees them again.
func TestQuota(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.process("a")
		a.service.Stop()
		a.service = NewService(Config{
			Self: a.member.Identity, Name: "a", Partitions: testPartitions, MaxTTL: 30 * time.Second, MaxWaiters: 9, MaxLocks: 2,
			Shards: 2, Clock: tb.clock, Peers: tb, Log: slog.New(slog.DiscardHandler),
		})
		t.Cleanup(a.service.Stop)
		tb.view([]string{"a"})
		first := tb.granted(tb.ask(a, acquireOf("k1", "c1", 0)))
		tb.granted(tb.ask(a, acquireOf("k2", "c2", 0)))
		tb.outcome(tb.ask(a, acquireOf("k3", "c3", 0)), Failed, sharelock.ErrQuota)
		tb.outcome(tb.ask(a, Request{Kind: Release, Key: "k1", Token: first}), Done, nil)
		tb.granted(tb.ask(a, acquireOf("k3", "c4", 0)))
	})
}

// A list has every key once, in order, in pages.
func TestListPages(t *testing.T) {
	bubble(t, func(tb *table) {
		a := tb.process("a")
		tb.view([]string{"a"})
		for i := range 25 {
			tb.granted(tb.ask(a, acquireOf(fmt.Sprintf("p/%02d", i), fmt.Sprintf("c%d", i%2), 0)))
		}
		tb.granted(tb.ask(a, acquireOf("q", "c0", 0)))
		var keys []string
		for after := ""; ; {
			l, err := a.service.List(t.Context(), 1, "p/", "", after, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, lock := range l.Locks {
				keys = append(keys, lock.Key)
				after = lock.Key
			}
			if !l.More {
				break
			}
		}
		for i, k := range keys {
			if k != fmt.Sprintf("p/%02d", i) {
				t.Errorf("key %d of the list is %s", i, k)
			}
		}
		if len(keys) != 25 {
			t.Errorf("%d keys are listed, want 25", len(keys))
		}
		l, err := a.service.List(t.Context(), 1, "", "c0", "", 100)
		if err != nil || len(l.Locks) != 14 || l.More {
			t.Errorf("c0 has %d locks (more: %v, error: %v), want 14", len(l.Locks), l.More, err)
		}
	})
}
