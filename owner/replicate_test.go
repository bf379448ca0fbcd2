package owner

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/ring"
)

// three deals the first view, with copies copies, to members a, b and c.
func (tb *table) three(copies int) {
	tb.replicas = copies
	for _, n := range []string{"a", "b", "c"} {
		tb.process(n)
	}
	tb.view([]string{"a", "b", "c"})
}

// set is the replica set of a key in the newest view.
func (tb *table) set(key string) []*seated {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Fatal(err)
	}
	var set []*seated
	for _, m := range r.Replicas(r.Partition(key)) {
		set = append(set, tb.members[m.ID])
	}
	return set
}

// others are the members that are not in the list.
func (tb *table) others(not ...*seated) []string {
	var names []string
	for _, n := range []string{"a", "b", "c", "d"} {
		s := tb.members[n]
		skip := s == nil
		for _, x := range not {
			skip = skip || x == s
		}
		if !skip {
			names = append(names, n)
		}
	}
	return names
}

func link(from, to *seated) string { return from.member.ID + ">" + to.member.ID }

// copyOf is the encoded copy that a member holds of a key's partition.
func (tb *table) copyOf(s *seated, key string) []byte {
	var data []byte
	s.service.inShard(ring.PartitionOf(key, testPartitions), func(_ *shard, p *partition) {
		if p.m != nil {
			data = p.m.Encode(0)
		}
	})
	return data
}

// A3: an answer leaves when all backups have the operation, and not before.
func TestAnswersWaitForAllBackups(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(3)
		set := tb.set("k")
		tb.holdAcks(link(set[0], set[1]))
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		get := tb.ask(set[0], Request{Kind: Get, Key: "k"})
		tb.outcome(get, 0, nil) // a read waits for what it read
		if !bytes.Equal(tb.copyOf(set[0], "k"), tb.copyOf(set[1], "k")) {
			t.Error("a copy differs")
		}
		tb.deliver(link(set[0], set[1]))
		tb.granted(e)
		tb.outcome(get, Done, nil)
	})
}

// The death of an owner loses nothing that was acknowledged: holders, their
// tokens, the order of waiters and finished ids are there.
func TestBackupTakesOver(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		token := tb.granted(tb.ask(set[0], acquireOf("k", "c1", 0)))
		over := acquireOf("k2", "c9", 0)
		over.OwnID = true
		for i := 2; tb.owner(over.Key) != set[0] || over.Key == "k"; i++ {
			over.Key = fmt.Sprintf("k%d", i)
		}
		gone := tb.granted(tb.ask(set[0], over))
		tb.outcome(tb.ask(set[0], Request{Kind: Release, Key: over.Key, Token: gone}), Done, nil)
		for _, c := range []string{"c2", "c3"} {
			tb.outcome(tb.ask(set[0], acquireOf("k", c, time.Minute)), Queued, nil)
		}
		set[0].service.Stop()
		tb.view(tb.others(set[0]))
		next := tb.set("k")[0]
		if h := tb.granted(tb.ask(next, Request{Kind: Renew, Key: "k", Token: token})); h != token {
			t.Errorf("renewed token is %d, want %d", h, token)
		}
		tb.outcome(tb.ask(next, over), Failed, sharelock.ErrRequestOver)
		third := tb.ask(next, acquireOf("k", "c3", time.Minute))
		second := tb.ask(next, acquireOf("k", "c2", time.Minute))
		tb.outcome(tb.ask(next, Request{Kind: Release, Key: "k", Token: token}), Done, nil)
		if tk := tb.granted(second); tk <= token {
			t.Errorf("token %d after %d", tk, token)
		}
		tb.outcome(third, Queued, nil)
		if q := next.service.Stats().Quarantined; q != 0 {
			t.Errorf("%d partitions are in quarantine", q)
		}
	})
}

// Schedule 13: an operation that reached one of two backups when the owner died
// stands, and is in both copies of the next epoch.
func TestPartialAcknowledgement(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.process("d")
		tb.three(3)
		set := tb.set("k")
		tb.loseOps(link(set[0], set[2]), true)
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		set[0].service.Stop()
		tb.view(tb.others(set[0]))
		now := tb.set("k")
		retry := tb.ask(now[0], acquireOf("k", "c1", 0))
		if tk := tb.granted(retry); tk.Epoch() != 1 {
			t.Errorf("the retry got a token of epoch %d, want the one that was logged in 1", tk.Epoch())
		}
		tb.outcome(tb.ask(now[0], acquireOf("k", "c2", 0)), Failed, sharelock.ErrLockHeld)
		for _, s := range now[1:] {
			if !bytes.Equal(tb.copyOf(s, "k"), tb.copyOf(now[0], "k")) {
				t.Errorf("the copy of %s differs from the owner's", s.member.ID)
			}
		}
	})
}

// Schedule 15f: operations that were lost with a link are sent again, and those
// that come twice are acknowledged again.
func TestLostOperationsAreSentAgain(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		l := link(set[0], set[1])
		tb.loseOps(l, true)
		first := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.loseOps(l, false)
		second := tb.ask(set[0], acquireOf("k", "c2", time.Minute)) // its entry shows the gap
		tb.granted(first)
		tb.outcome(second, Queued, nil)
		// An acknowledgement is lost with its link.
		tb.holdAcks(l)
		third := tb.ask(set[0], acquireOf("k", "c3", time.Minute))
		tb.mu.Lock()
		delete(tb.held, l)
		tb.mu.Unlock()
		tb.outcome(third, 0, nil)
		set[0].service.LinkUp(set[1].member.Identity)
		synctest.Wait()
		tb.outcome(third, Queued, nil)
		if !bytes.Equal(tb.copyOf(set[0], "k"), tb.copyOf(set[1], "k")) {
			t.Error("the copies differ")
		}
	})
}

// Schedule 1: an acknowledgement of an epoch that is over answers nobody, also
// when the member owns the partition again.
func TestLateAcknowledgement(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		l := link(set[0], set[1])
		tb.holdAcks(l)
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		tb.view([]string{"a", "b", "c"}) // the same members, and owners, in epoch 2
		tb.outcome(e, Retry, nil)
		tb.deliver(l)
		tb.outcome(e, Retry, nil)
		if h := tb.granted(tb.ask(set[0], acquireOf("k", "c1", 0))); h.Epoch() != 1 {
			t.Errorf("the retry got a token of epoch %d, want the grant of 1, which is in the copies", h.Epoch())
		}
	})
}

// Section 4 with backups: only when both are gone is the state lost.
func TestQuarantineWhenAllCopiesAreGone(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		tb.granted(tb.ask(set[0], acquireOf("k", "c1", 0)))
		set[0].service.Stop()
		set[1].service.Stop()
		tb.process("d")
		tb.view(tb.others(set[0], set[1]))
		o := tb.set("k")[0]
		tb.outcome(tb.ask(o, acquireOf("k", "c2", 0)), Failed, sharelock.ErrQuarantined)
		// Schedule 5: the quarantine is on the backup too.
		time.Sleep(20 * time.Second)
		o.service.Stop()
		left := tb.others(set[0], set[1], o)
		tb.process("e")
		tb.view(append(left, "e"))
		o = tb.set("k")[0]
		tb.outcome(tb.ask(o, acquireOf("k", "c3", 0)), Failed, sharelock.ErrQuarantined)
		time.Sleep(13500 * time.Millisecond)
		tb.granted(tb.ask(o, acquireOf("k", "c4", 0)))
	})
}

// A backup takes operations only from its owner, in its epoch, on a copy synced
// in it.
func TestBackupsRefuse(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		p := ring.PartitionOf("k", testPartitions)
		tb.granted(tb.ask(set[0], acquireOf("k", "c1", 0)))
		op := Op{Kind: OpRead, Key: "k"}
		entry := []Entries{{Partition: p, First: 2, Ops: op.Append(nil)}, {Partition: 99, First: 1}}
		other := ring.Identity{ID: "x", Counter: 1}
		for name, try := range map[string]func(func(uint32, Ack)){
			"another owner": func(ack func(uint32, Ack)) { set[1].service.Backup(other, 1, entry, ack) },
			"another epoch": func(ack func(uint32, Ack)) { set[1].service.Backup(set[0].member.Identity, 2, entry, ack) },
			"not a backup":  func(ack func(uint32, Ack)) { set[0].service.Backup(set[0].member.Identity, 1, entry, ack) },
		} {
			try(func(uint32, Ack) { t.Errorf("%s: acknowledged", name) })
			synctest.Wait()
		}
		if err := set[1].service.Sync(other, 1, []Base{{Held: Held{Partition: p}}}); err == nil {
			t.Error("a base of another owner was taken")
		}
		if err := set[1].service.Sync(set[0].member.Identity, 1, []Base{{Held: Held{Partition: 99}}}); err == nil {
			t.Error("a base of no partition was taken")
		}
		// What does not fit is not acknowledged. The copy stays: without it the member
		// would be taken for a proof that there was nothing. A new epoch is asked for.
		bad := Op{Kind: OpRelease, Key: "k", Token: 77, Why: Released}
		set[1].service.Backup(set[0].member.Identity, 1, []Entries{{Partition: p, First: 2, Ops: bad.Append(nil)}},
			func(uint32, Ack) { t.Error("an operation that does not fit was acknowledged") })
		synctest.Wait()
		e := tb.ask(set[0], Request{Kind: Get, Key: "k"})
		tb.outcome(e, 0, nil)
		held, err := set[1].service.Ask(1, []uint32{p})
		if err != nil || len(held) != 1 || held[0].Have != 1 || held[0].Seq != 1 {
			t.Errorf("the backup holds %+v, %v, want what it has acknowledged", held, err)
		}
		if !set[1].service.NeedsRefresh() {
			t.Error("no new epoch is asked for")
		}
		tb.view([]string{"a", "b", "c"})
		tb.outcome(tb.ask(set[0], Request{Kind: Get, Key: "k"}), Done, nil)
	})
}

// Section 4.2: an epoch is written on no copy but the one that was chosen, since
// whatever carries it is chosen before anything older. (A fetch that is cut off by
// a newer view leaves nothing, or an older copy.)
func TestOnlyTheChosenCopyIsStamped(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(1)
		s := tb.owner("k").service
		tb.granted(tb.ask(tb.owner("k"), acquireOf("k", "c1", 0)))
		p := ring.PartitionOf("k", testPartitions)
		r, err := ring.Build(tb.history.Current(), testPartitions)
		if err != nil {
			t.Fatal(err)
		}
		a := &activation{service: s, history: tb.history, ring: r, epoch: 1, view: r.View()}
		set := func(have uint32, m *Machine) {
			s.inShard(p, func(sh *shard, p *partition) { sh.silence(p); sh.replace(p, m, have) })
		}
		set(0, nil)
		if a.stamp([]Held{Held{Partition: p, Have: 9, Seq: 3}}) || a.fetch(canceled(), tb.members["a"].member, []Held{{Partition: p, Have: 9}}) {
			t.Error("an empty copy was taken for the one that was chosen")
		}
		set(5, NewMachine(p, 9))
		if a.stamp([]Held{Held{Partition: p, Have: 9, Seq: 3}}) || a.stamp([]Held{Held{Partition: p, Have: 5, Seq: 3}}) {
			t.Error("another copy was taken for the one that was chosen")
		}
		if held, err := s.Ask(1, []uint32{p}); err != nil || held[0].Have != 5 {
			t.Errorf("the copy is now %+v, %v, want it untouched", held, err)
		}
		if !a.stamp([]Held{Held{Partition: p, Have: 5}}) {
			t.Error("the chosen copy was not taken")
		}
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A backup that does not keep up costs no memory: beyond a bound requests are
// answered Retry, and what is sent again comes in parts.
func TestSlowBackupIsBounded(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		l := link(set[0], set[1])
		tb.loseOps(l, true)
		tb.ask(set[0], acquireOf("k", "c0", 0))
		e := &ear{}
		for i := range maxPending + 100 {
			r := acquireOf("k", fmt.Sprint("c", i+1), 0)
			set[0].service.Submit(ring.PartitionOf("k", testPartitions), Ref{Caller: e, ID: 1}, &r)
		}
		synctest.Wait()
		e.mu.Lock()
		retries := len(e.answers)
		e.mu.Unlock()
		if retries != 101 { // one answer was pending before
			t.Errorf("%d requests were sent away, want 101", retries)
		}
		big := oplog{}
		big.begin([]ring.Member{set[1].member}, 0)
		op := Op{Kind: OpEnqueue, Key: "k", ClientID: "c", RequestID: "r", TTL: 1, Metadata: map[string]string{"m": strings.Repeat("x", 2000)}}
		for range 1000 {
			big.append(0, []Op{op})
		}
		parts := big.unsent(0, &big.backups[0])
		next := uint64(1)
		for _, part := range parts {
			if part.First != next || len(part.Ops) > maxEntries+4096 {
				t.Errorf("a part of %d bytes begins with %d, want %d", len(part.Ops), part.First, next)
			}
			for ops := part.Ops; len(ops) > 0; next++ {
				rest, err := new(Op).Decode(ops)
				if err != nil {
					t.Fatal(err)
				}
				ops = rest
			}
		}
		if next != 1001 || len(parts) < 8 {
			t.Errorf("%d ops came in %d parts, want 1000 in at least 8", next-1, len(parts))
		}
	})
}

// V6: who waits says so, as long as it lasts, and no longer.
func TestStuck(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		l := link(set[0], set[1])
		tb.loseOps(l, true)
		tb.ask(set[0], acquireOf("k", "c0", 0))
		stuck := func() int { return len(set[0].service.Stuck(tb.clock() - time.Second)) }
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d at once", n)
		}
		time.Sleep(1100 * time.Millisecond)
		set[0].service.LinkUp(set[1].member.Identity) // sending again is no progress
		synctest.Wait()
		if got := set[0].service.Stuck(tb.clock() - time.Second); len(got) != 1 || got[0] != set[1].member.Identity {
			t.Errorf("it complains about %v, want its backup", got)
		}
		tb.loseOps(l, false)
		set[0].service.LinkUp(set[1].member.Identity)
		synctest.Wait()
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d after all is confirmed", n)
		}
		// An activation waits for answers.
		tb.mu.Lock()
		tb.hold[set[1].member.ID] = make(chan struct{})
		tb.mu.Unlock()
		tb.view([]string{"a", "b", "c"})
		time.Sleep(1100 * time.Millisecond)
		if got := set[0].service.Stuck(tb.clock() - time.Second); len(got) != 1 || got[0] != set[1].member.Identity {
			t.Errorf("it complains about %v, want who does not answer", got)
		}
		tb.mu.Lock()
		close(tb.hold[set[1].member.ID])
		delete(tb.hold, set[1].member.ID)
		tb.mu.Unlock()
		synctest.Wait()
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d after the answer", n)
		}
	})
}
