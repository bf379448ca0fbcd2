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
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// three deals the first view, with copies copies, to members a, b and c.
func (tb *table) three(copies int) {
	tb.seat("abc", copies)
	tb.deal("abc")
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

// A3: an answer leaves when all backups have the operation, and not before.
func TestAnswersWaitForAllBackups(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(3)
		set := tb.set("k")
		acks := tb.hold(ackMessage, set[1].member.ID, set[0].member.ID)
		e := tb.ask(set[0], acquireOf("k", "c1", 0))
		tb.outcome(e, 0, nil)
		get := tb.ask(set[0], Request{Kind: Get, Key: "k"})
		tb.outcome(get, 0, nil) // a read waits for what it read
		if !bytes.Equal(tb.copyOf(set[0], "k"), tb.copyOf(set[1], "k")) {
			t.Error("a copy differs")
		}
		acks.release()
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

// A backup takes operations only from its owner, in its epoch, on a copy synced
// in it.
func TestBackupsRefuse(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		p := ring.PartitionOf("k", testPartitions)
		tb.granted(tb.ask(set[0], acquireOf("k", "c1", 0)))
		op := ops.Op{Kind: ops.Read, Key: "k"}
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
		if taken, err := set[1].service.Sync(other, 1, []Base{{Held: Held{Partition: p}, Same: true}}); err != nil || taken[0].Why == "" || taken[0].Done {
			t.Error("a base of another owner was taken")
		}
		if taken, err := set[1].service.Sync(set[0].member.Identity, 1, []Base{{Held: Held{Partition: 99}}}); err != nil || taken[0].Why == "" || taken[0].Done {
			t.Error("a base of no partition was taken")
		}
		// What does not fit is not acknowledged. The copy stays: without it the member
		// would be taken for a proof that there was nothing. A new epoch is asked for.
		bad := ops.Op{Kind: ops.Release, Key: "k", Token: 77, Why: ops.Released}
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
		set := func(have uint32, m *machine.Machine) {
			s.inShard(p, func(sh *shard, p *partition) { sh.silence(p); sh.replace(p, m, have) })
		}
		set(0, nil)
		if a.stamp([]Held{{Partition: p, Have: 9, Seq: 3}}) {
			t.Error("an empty copy was taken for the one that was chosen")
		}
		if a.pull(canceled(), tb.members["a"].member, []Held{{Partition: p, Have: 9}}); tb.copyOf(tb.owner("k"), "k") != nil {
			t.Error("a fetch that was cut off has left a copy")
		}
		set(5, machine.New(p, 9))
		if a.stamp([]Held{{Partition: p, Have: 9, Seq: 3}}) || a.stamp([]Held{{Partition: p, Have: 5, Seq: 3}}) {
			t.Error("another copy was taken for the one that was chosen")
		}
		if held, err := s.Ask(1, []uint32{p}); err != nil || held[0].Have != 5 {
			t.Errorf("the copy is now %+v, %v, want it untouched", held, err)
		}
		if !a.stamp([]Held{{Partition: p, Have: 5}}) {
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
		tb.lose(opsMessage, set[0].member.ID, set[1].member.ID)
		tb.ask(set[0], acquireOf("k", "c0", 0))
		e := &ear{table: tb, rate: 1, at: set[0]}
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
		op := ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "r", TTL: 1, Metadata: map[string]string{"m": strings.Repeat("x", 2000)}}
		for range 1000 {
			big.append(0, []ops.Op{op}, &opArena{})
		}
		var parts []Entries
		for e, more := big.unsent(0, &big.backups[0]); more; e, more = big.unsent(0, &big.backups[0]) {
			parts = append(parts, e)
		}
		next := uint64(1)
		for _, part := range parts {
			if part.First != next || len(part.Ops) > maxEntries+4096 {
				t.Errorf("a part of %d bytes begins with %d, want %d", len(part.Ops), part.First, next)
			}
			for left := part.Ops; len(left) > 0; next++ {
				rest, err := new(ops.Op).Decode(left)
				if err != nil {
					t.Fatal(err)
				}
				left = rest
			}
		}
		if next != 1001 || len(parts) < 8 {
			t.Errorf("%d ops came in %d parts, want 1000 in at least 8", next-1, len(parts))
		}
	})
}

// stuck is for whom a member waits, as its renewals see it: what shards say is as of the
// one before.
func (tb *table) stuck(s *seated) []ring.Identity {
	s.service.Stuck(tb.clock() - time.Second)
	synctest.Wait()
	return s.service.Stuck(tb.clock() - time.Second)
}

// V6: who waits says so, as long as it lasts, and no longer.
func TestStuck(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		ops := tb.lose(opsMessage, set[0].member.ID, set[1].member.ID)
		tb.ask(set[0], acquireOf("k", "c0", 0))
		stuck := func() int { return len(tb.stuck(set[0])) }
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d at once", n)
		}
		time.Sleep(1100 * time.Millisecond)
		set[0].service.LinkUp(set[1].member.Identity) // sending again is no progress
		synctest.Wait()
		if got := tb.stuck(set[0]); len(got) != 1 || got[0] != set[1].member.Identity {
			t.Errorf("it complains about %v, want its backup", got)
		}
		// A renewal does not wait for a shard, and does not go by what one has said long ago:
		// since then the backup may have answered.
		sh := set[0].service.shard(ring.PartitionOf("k", testPartitions))
		sh.turn <- struct{}{}
		if got := set[0].service.Stuck(tb.clock() - time.Second); len(got) != 1 {
			t.Errorf("while a shard works it complains about %v", got)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := set[0].service.Stuck(tb.clock() - time.Second); len(got) != 0 {
			t.Errorf("it complains about %v for a shard that has not run since", got)
		}
		<-sh.turn
		ops.open()
		set[0].service.LinkUp(set[1].member.Identity)
		synctest.Wait()
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d after all is confirmed", n)
		}
		// An activation waits for answers.
		asks := tb.hold(askAnswer, set[1].member.ID, set[0].member.ID)
		tb.view([]string{"a", "b", "c"})
		time.Sleep(1100 * time.Millisecond)
		if got := set[0].service.Stuck(tb.clock() - time.Second); len(got) != 1 || got[0] != set[1].member.Identity {
			t.Errorf("it complains about %v, want who does not answer", got)
		}
		asks.release()
		if n := stuck(); n != 0 {
			t.Errorf("it complains about %d after the answer", n)
		}
	})
}
