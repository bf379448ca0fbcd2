package owner

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
	"github.com/sgkandale/sharelock/ring"
)

// full is a machine with as many entries as there may be: locks, a semaphore, queues and
// ids that are over.
func full(t *testing.T, partition uint32, key func(i int) string) *machine.Machine {
	m := machine.New(partition, DefaultBounds.Entries)
	token := sharelock.MakeToken(1, 0)
	apply := func(op ops.Op) {
		t.Helper()
		if err := m.Apply(0, &op); err != nil {
			t.Fatal(err)
		}
	}
	add := func(kind ops.Kind, key, id string, slots uint32) {
		op := ops.Op{Kind: kind, Key: key, ClientID: "c", RequestID: id, TTL: 20 * time.Second, Slots: slots}
		if kind == ops.Grant {
			token++
			op.Token = token
		}
		apply(op)
	}
	most := DefaultBounds.Entries
	for i := range most / 2 {
		add(ops.Grant, key(i), "r", 0)
	}
	for i := range most / 8 {
		add(ops.Grant, key(-1), fmt.Sprint("slot", i), sharelock.MaxSlots)
		add(ops.Enqueue, key(0), fmt.Sprint("waits", i), 0)
		for conn := range uint32(2) {
			id := fmt.Sprint("over", conn, i)
			if i%2 == 0 {
				apply(ops.Op{Kind: ops.Remember, Key: "over", RequestID: id, Conn: 7 + conn})
				continue
			}
			token++
			apply(ops.Op{Kind: ops.Grant, Key: "over", ClientID: "c", RequestID: id, Token: token, TTL: time.Second, Conn: 7 + conn})
			apply(ops.Op{Kind: ops.Release, Key: "over", Token: token, Why: ops.Released, Remember: true})
		}
	}
	m.Touched()
	return m
}

// No step of a shard's turn touches more than a thousand entries, whatever is stored. The
// largest partition that there may be is fetched, synced, activated, listed, loses a link,
// is detached, and all that is in it ends at once, under requests.
func TestStepsAreBounded(t *testing.T) {
	bubble(t, func(tb *table) {
		seats := tb.seat("abc", 2)
		tb.deal("ab")
		k := tb.keyFor("ab:ab", "abc:c")
		p := ring.PartitionOf(k, testPartitions)
		names := map[int]string{}
		for i, n := -1, 0; len(names) < DefaultBounds.Entries/2+1; n++ {
			if name := fmt.Sprint("k", n); ring.PartitionOf(name, testPartitions) == p {
				names[i] = name
				i++
			}
		}
		key := func(i int) string { return names[i] }
		for _, s := range seats[:2] {
			m := full(t, p, key)
			s.service.inShard(p, func(sh *shard, p *partition) {
				was := p.active
				sh.silence(p)
				sh.replace(p, m, sh.epoch)
				if was {
					p.log.begin(nil, m.Seq())
				}
			})
		}
		e := &ear{table: tb, rate: 1, at: seats[2]}
		ask := func(r Request) {
			for i := range 3 * machine.StepEntries {
				r := r
				r.Key, r.RequestID = key(i%len(names)-1), fmt.Sprint("more", i)
				if r.Kind == Renew {
					r.Token = sharelock.MakeToken(1, uint32(i+1))
				}
				for _, s := range seats {
					s.service.Submit(p, Ref{Caller: e, ID: 1}, &r)
				}
			}
		}
		// A join moves it, while requests are there already.
		tb.history = tb.history.Append(tb.next(letters("abc")))
		for _, s := range seats {
			tb.install(s)
		}
		ask(acquireOf("", "c", time.Minute))
		synctest.Wait()
		st := seats[2].service.Stats()
		if st.Active != st.Owned || st.Locks < DefaultBounds.Entries/2 || st.Waiters < DefaultBounds.Entries/8 {
			t.Fatalf("the partition has not moved: %+v", st)
		}
		l, err := seats[2].service.List(t.Context(), 2, "", "", "", 1000)
		if err != nil || len(l.Locks) != 1000 || !l.More {
			t.Errorf("%d keys are listed, %v", len(l.Locks), err)
		}
		// It is watched from here on, and read for that; all that wait are looked for.
		feed := seats[2].service.Feed()
		defer feed.Close()
		feed.Watch(Target{Prefix: "k"})
		feed.Watch(Target{Key: key(-1)})
		feed.Read(tb.t.Context(), Read{ID: 1, Epoch: 2, Target: Target{Prefix: "k"}, Partitions: []uint32{p}})
		feed.Read(tb.t.Context(), Read{ID: 2, Epoch: 2, Target: Target{Key: key(-1)}})
		synctest.Wait()
		if news, err := feed.Take(t.Context()); err != nil || len(news) < 2 || news[len(news)-1].Part == nil || news[len(news)-1].Part.Err != nil {
			t.Errorf("%d news of the reads, %v", len(news), err)
		}
		if list := seats[2].service.Contention(100); len(list) != 100 {
			t.Errorf("%d keys are waited for, want 100", len(list))
		}
		ask(Request{Kind: Renew})
		seats[2].service.Broke(e)
		for i := 0; i < 8*machine.StepEntries; i += MaxRenewals {
			r := Request{Kind: RenewMany, Key: k, TTL: time.Minute}
			for j := range MaxRenewals {
				r.Renewals = append(r.Renewals, &Renewal{Key: key(i + j), Token: sharelock.MakeToken(1, uint32(i+j+1)), TTL: 20 * time.Second})
			}
			seats[2].service.Submit(p, Ref{Caller: e, ID: 1}, &r)
		}
		synctest.Wait()
		// It goes on in a newer epoch, and another view takes it away; then all of it ends.
		tb.deal("abc")
		tb.deal("ab")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, s := range seats {
			for _, sh := range s.service.shards {
				s.service.everyShard(func(*shard) {})
				if sh.most > machine.StepEntries || sh.mostBytes > machine.StepBytes {
					t.Errorf("%s: a step of %s touched %d entries, or %d bytes", invariant.Bounded, s.member.ID, sh.most, sh.mostBytes)
				}
			}
		}
		if st := seats[0].service.Stats(); st.Locks > 0 {
			t.Errorf("%d locks are left", st.Locks)
		}
	})
}
