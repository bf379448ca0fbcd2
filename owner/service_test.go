package owner

import (
	"errors"
	"fmt"
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
		tb.seat("ab", 1)
		tb.deal("a")
		key := tb.keyFor("ab:b")
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
		tb.rest()
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
		cfg := a.config()
		cfg.MaxLocks = 2
		a.service = NewService(cfg)
		t.Cleanup(a.service.Stop)
		tb.view([]string{"a"})
		first := tb.granted(tb.ask(a, acquireOf("k1", "c1", 0)))
		tb.granted(tb.ask(a, acquireOf("k2", "c2", 0)))
		tb.outcome(tb.ask(a, acquireOf("k3", "c3", 0)), Failed, sharelock.ErrQuota)
		tb.outcome(tb.ask(a, Request{Kind: Release, Key: "k1", Token: first}), Done, nil)
		tb.granted(tb.ask(a, acquireOf("k3", "c4", 0)))
	})
}

// What a burst made the lists of a loop grow to is given back when it is over.
func TestBurstGivesItsRoomBack(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 2)
		tb.deal("ab")
		a := tb.owner("k")
		sh := a.service.shard(ring.PartitionOf("k", testPartitions))
		room := func() (most int) {
			for range 2 { // the inbox is two lists, which take turns
				sh.put(item{fn: func(*shard) {
					most = max(most, cap(sh.inbox), cap(sh.ready), cap(sh.touched), cap(sh.out.Replies), cap(sh.out.Ops))
				}})
				synctest.Wait()
			}
			return most
		}
		resume := make(chan struct{})
		sh.put(item{fn: func(*shard) { <-resume }}) // most of what follows is one batch
		for n := range 4 * idleRoom {
			e := &ear{table: tb, rate: 1}
			e.send(a, acquireOf("k", fmt.Sprint("c", n), time.Second))
		}
		close(resume)
		synctest.Wait()
		if most := room(); most <= idleRoom {
			t.Fatalf("room for %d entries after a burst: it was none", most)
		}
		time.Sleep(time.Second) // all waits end at once
		time.Sleep(3 * idleWake)
		if most := room(); most > idleRoom {
			t.Errorf("room for %d entries is kept, the most is %d", most, idleRoom)
		}
	})
}

// An owner and its backup count every request, but not that sessions keep locks alive, and
// nothing without requests.
func TestWorked(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 2)
		tb.deal("ab")
		a, b := tb.members["a"], tb.members["b"]
		counted := func(what string, want uint64, do func()) {
			t.Helper()
			x, y := a.service.Worked(), b.service.Worked()
			do()
			if x, y = a.service.Worked()-x, b.service.Worked()-y; x != want || y != want {
				t.Errorf("%s: %d and %d are counted, want %d", what, x, y, want)
			}
		}
		const n = 20
		var kept []Renewal
		// Each is asked for at one of them, and copied by the other.
		counted("requests", n, func() {
			for i := range n {
				k := fmt.Sprint("k", i)
				token := tb.granted(tb.ask(tb.owner(k), acquireOf(k, "c", 0)))
				kept = append(kept, Renewal{Key: k, Token: token, TTL: 10 * time.Second})
			}
		})
		counted("renewals", 0, func() {
			for i := range kept {
				r := &kept[i]
				tb.outcome(tb.ask(tb.owner(r.Key), Request{Kind: RenewMany, Key: r.Key, TTL: r.TTL, Renewals: []*Renewal{r}}), Done, nil)
			}
		})
		time.Sleep(10 * time.Minute) // the locks are over
		counted("rest", 0, func() { time.Sleep(10 * time.Minute) })
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

// What a principal has is told without waiting for a turn of any shard: every member may be asked for it
// often. It is not told before all partitions are active.
func TestRevealWaitsForNoShard(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("ab", 1)
		tb.deal("ab")
		a, b := tb.members["a"], tb.members["b"]
		epoch := a.service.cur.Load()
		told := false
		a.service.inShard(0, func(*shard, *partition) { _, told = a.service.Reveal(b.member.Identity, epoch, "ci") })
		if !told {
			t.Error("a member whose partitions are all active does not tell what a principal has")
		}
		for _, of := range []uint32{epoch - 1, epoch + 1} {
			if _, told := a.service.Reveal(b.member.Identity, of, "ci"); told {
				t.Errorf("it tells so in epoch %d, which is not %d", of, epoch)
			}
		}
		a.service.inShard(0, func(sh *shard, _ *partition) {
			for _, p := range sh.parts {
				if p.active {
					sh.silence(p)
					break
				}
			}
			_, told = a.service.Reveal(b.member.Identity, epoch, "ci")
		})
		if told {
			t.Error("it tells so although a partition is not active")
		}
	})
}

// A view in which nothing moves costs an owner one message to every other member for
// each step of its activation, however many partitions and replica sets it has.
func TestActivationTakesFewMessages(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("abcde", 3)
		tb.deal("abcde")
		sent := map[string]*gate{}
		for _, what := range []string{activeNote, syncMessage, askMessage} {
			sent[what] = tb.tap(what, "a", anything)
		}
		tb.deal("abcde")
		if st := tb.members["a"].service.Stats(); st.Active != st.Owned || st.Owned < 5 {
			t.Errorf("%d of %d partitions are active", st.Active, st.Owned)
		}
		for what, g := range sent {
			if n := g.count(); n != 4 {
				t.Errorf("%d messages %q went to 4 members", n, what)
			}
		}
	})
}
