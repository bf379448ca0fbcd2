package owner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
	"github.com/sgkandale/sharelock/owner/feed"
	"github.com/sgkandale/sharelock/ring"
)

// reader takes what a feed tells.
type reader struct {
	tb   *table
	feed *Feed
	read uint64
}

// follow makes a feed of a member that watches something, and reads its present state.
func (tb *table) follow(s *seated, target Target) (*reader, []News) {
	tb.t.Helper()
	r := &reader{tb: tb, feed: s.service.Feed()}
	tb.t.Cleanup(r.feed.Close)
	r.feed.Watch(target)
	return r, r.ask(s, Read{Target: target})
}

// ask reads a target.
func (r *reader) ask(s *seated, read Read) []News {
	r.read++
	read.ID, read.Epoch = r.read, s.service.Epoch()
	if read.Key == "" {
		for p := range uint32(testPartitions) {
			if owner, _ := r.tb.ring().Owner(p); owner.Identity == s.member.Identity {
				read.Partitions = append(read.Partitions, p)
			}
		}
	}
	r.feed.Read(r.tb.t.Context(), read)
	return r.take()
}

// take returns what the feed has told.
func (r *reader) take() []News {
	r.tb.t.Helper()
	r.tb.rest()
	ctx, cancel := context.WithCancel(r.tb.t.Context())
	defer cancel()
	if !r.feed.Pending() {
		return nil
	}
	news, err := r.feed.Take(ctx)
	if err != nil {
		r.tb.t.Fatal(err)
	}
	return news
}

// ring is that of the newest view.
func (tb *table) ring() *ring.Ring {
	r, err := ring.Build(tb.history.Current(), testPartitions)
	if err != nil {
		tb.t.Fatal(err)
	}
	return r
}

// said writes news in short.
func said(news []News) string {
	var list []string
	event := func(e *Event) string {
		s := fmt.Sprintf("%s %s/%d", e.Type, e.ClientID, e.Waiters)
		if e.Token != 0 {
			s += " token"
		}
		if e.Reason != "" {
			s += " (" + e.Reason + ")"
		}
		return s
	}
	for _, n := range news {
		switch {
		case n.Lost():
			list = append(list, "lost")
		case n.Event != nil:
			list = append(list, event(n.Event))
		case n.Part.Err != nil:
			list = append(list, n.Part.Err.Error())
		default:
			for _, e := range n.Part.Events {
				list = append(list, event(e))
			}
			if n.Part.Last {
				list = append(list, "read")
			}
		}
	}
	return strings.Join(list, ", ")
}

func wants(t *testing.T, news []News, want string) {
	t.Helper()
	if got := said(news); got != want {
		t.Errorf("told: %s\nwant: %s", got, want)
	}
}

// A feed tells what happens to a key, in its order.
func TestFeedTells(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.owner("k")
		r, news := tb.follow(s, Target{Key: "k"})
		wants(t, news, "read")

		first := tb.granted(tb.ask(s, acquireOf("k", "c1", 0)))
		second := tb.ask(s, acquireOf("k", "c2", time.Minute))
		tb.ask(s, acquireOf("k", "c3", time.Second))
		tb.ask(s, acquireOf("other", "c9", 0)) // is not watched
		wants(t, r.take(), "acquired c1/0 token, queued c2/1, queued c3/2")
		tb.pass(1100 * time.Millisecond)
		wants(t, r.take(), "left_queue c3/1 (wait over)")
		second.again(s)
		tb.ask(s, releaseOf("k", first))
		wants(t, r.take(), "released c1/1 token, acquired c2/0 token")
		tb.ask(s, Request{Kind: Force, Key: "k", Token: tb.granted(second), Reason: "deploy"})
		wants(t, r.take(), "forced c2/0 token (deploy)")
		tb.granted(tb.ask(s, acquireOf("k", "c4", 0)))
		tb.pass(12 * time.Second)
		wants(t, r.take(), "acquired c4/0 token, expired c4/0 token")
		tb.granted(tb.ask(s, acquireOf("k", "c5", 0)))
		tb.ask(s, Request{Kind: Cancel, Key: "k", ClientID: "c5", RequestID: "c5-1", Drop: true})
		wants(t, r.take(), "acquired c5/0 token, released c5/0 token (cancelled)")
	})
}

// A3: what the backups do not have is not told.
func TestFeedWaitsForTheBackups(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		r, _ := tb.follow(set[0], Target{Key: "k"})
		lost := tb.lose(opsMessage, set[0].member.ID, set[1].member.ID)
		tb.ask(set[0], acquireOf("k", "c1", 0))
		if news := r.take(); len(news) > 0 {
			t.Errorf("%s: told before the backup knows it: %s", invariant.Replicated, said(news))
		}
		lost.open()
		set[0].service.LinkUp(set[1].member.Identity)
		wants(t, r.take(), "acquired c1/0 token")
	})
}

// A2: an owner whose lease has run out tells nothing, and says so when it may tell again.
func TestFeedNeedsTheLease(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.owner("k")
		r, _ := tb.follow(s, Target{Key: "k"})
		s.service.EndLease()
		tb.ask(s, acquireOf("k", "c1", 0))
		wants(t, r.take(), "lost")
		wants(t, r.ask(s, Read{Target: Target{Key: "k"}}), ErrBehind.Error())
		s.service.SetLease(s.clock() + time.Hour)
		wants(t, r.ask(s, Read{Target: Target{Key: "k"}}), "snapshot c1/0 token, read")
	})
}

// A snapshot has its place among the events.
func TestFeedReadsInOrder(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		set := tb.set("k")
		r, _ := tb.follow(set[0], Target{Key: "k"})
		acks := tb.hold(ackMessage, set[1].member.ID, set[0].member.ID)
		token := tb.ask(set[0], acquireOf("k", "c1", 0))
		r.feed.Read(t.Context(), Read{ID: 7, Epoch: set[0].service.Epoch(), Target: Target{Key: "k"}})
		tb.ask(set[0], acquireOf("k", "c2", time.Minute))
		if news := r.take(); len(news) > 0 {
			t.Errorf("%s: told early: %s", invariant.Replicated, said(news))
		}
		acks.release()
		wants(t, r.take(), "acquired c1/0 token, snapshot c1/0 token, read, queued c2/1")
		tb.granted(token)
	})
}

// A watch of a key goes on from its cursor as long as the events are known.
func TestFeedResumes(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.owner("k")
		r, _ := tb.follow(s, Target{Key: "k"})
		token := tb.granted(tb.ask(s, acquireOf("k", "c0", 0)))
		news := r.take()
		seen := news[len(news)-1].Event.Seq
		tb.ask(s, releaseOf("k", token))
		resume := Read{Target: Target{Key: "k"}, Resume: true, After: seen}
		wants(t, r.ask(s, resume), "released c0/0 token, released c0/0 token, read")
		for i := range feed.TailMost {
			token := tb.granted(tb.ask(s, acquireOf("k", fmt.Sprint("d", i), 0)))
			tb.ask(s, releaseOf("k", token))
		}
		r.take()
		last := tb.granted(tb.ask(s, acquireOf("k", "c9", 0)))
		r.take()
		wants(t, r.ask(s, resume), "snapshot c9/0 token, read")
		resume.After = 1 << 40 // is of another life of the partition
		wants(t, r.ask(s, resume), "snapshot c9/0 token, read")
		tb.ask(s, releaseOf("k", last))
	})
}

// A feed of a prefix has all keys that begin with it, and no others.
func TestFeedOfPrefix(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.members["a"]
		var in, out []string
		for i := 0; len(in) < 30; i++ {
			if k := fmt.Sprintf("in/%d", i); tb.owner(k) == s {
				in = append(in, k)
			}
			if k := fmt.Sprintf("out/%d", i); tb.owner(k) == s {
				out = append(out, k)
			}
		}
		for _, k := range slices.Concat(in, out) {
			tb.ask(s, acquireOf(k, "c", 0))
		}
		r, news := tb.follow(s, Target{Prefix: "in/"})
		var read []string
		for _, n := range news {
			for _, e := range n.Part.Events {
				read = append(read, e.Key)
				if e.Type != sharelock.Snapshot || e.Seq == 0 {
					t.Errorf("%+v is no snapshot", e)
				}
			}
		}
		slices.Sort(read)
		slices.Sort(in)
		if !slices.Equal(read, in) {
			t.Errorf("read %v\nwant %v", read, in)
		}
		tb.ask(s, acquireOf(out[0], "d", time.Minute))
		tb.ask(s, acquireOf(in[0], "d", time.Minute))
		wants(t, r.take(), "queued d/1")
		wants(t, r.ask(tb.members["b"], Read{Target: Target{Prefix: "in/"}}), ErrBehind.Error())
	})
}

// While nobody watches nothing is told, and nothing is kept.
func TestUnwatchedCostsNothing(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.owner("k")
		r, _ := tb.follow(s, Target{Key: "k"})
		token := tb.granted(tb.ask(s, acquireOf("k", "c", 0)))
		r.feed.Unwatch(Target{Key: "k"})
		tb.ask(s, releaseOf("k", token))
		s.service.inShard(ring.PartitionOf("k", testPartitions), func(_ *shard, p *partition) {
			if p.m.Observed() || p.tail.Len() > 0 {
				t.Error("an unwatched partition keeps events")
			}
		})
		r.feed.Close()
		if s.service.watched.Len() > 0 {
			t.Error("a closed feed is known")
		}
	})
}

// Events that were decided without the lease are told to nobody; a watch is not resumed across them,
// however many follow.
func TestFeedIsNotResumedAcrossALoss(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.three(2)
		s := tb.owner("k")
		r, _ := tb.follow(s, Target{Key: "k"})
		turns := func(who string, n int) {
			for i := range n {
				token := tb.granted(tb.ask(s, acquireOf("k", fmt.Sprint(who, i), 0)))
				tb.ask(s, releaseOf("k", token))
			}
		}
		turns("before", feed.TailMost/2-4)
		first := tb.granted(tb.ask(s, acquireOf("k", "c0", 0)))
		news := r.take()
		seen := news[len(news)-1].Event.Seq
		s.service.EndLease()
		tb.ask(s, releaseOf("k", first))
		s.service.SetLease(s.clock() + time.Hour)
		turns("after", feed.TailMost/4) // the tail forgets events from before the loss, but not all of them
		last := tb.granted(tb.ask(s, acquireOf("k", "c9", 0)))
		r.take()
		wants(t, r.ask(s, Read{Target: Target{Key: "k"}, Resume: true, After: seen}), "snapshot c9/0 token, read")
		tb.ask(s, releaseOf("k", last))
	})
}

// The read of a prefix waits for a node that does not take its news.
func TestFeedReadWaitsForRoom(t *testing.T) {
	bubble(t, func(tb *table) {
		tb.seat("a", 1)
		tb.deal("a")
		s := tb.members["a"]
		r, _ := tb.follow(s, Target{Prefix: "k"})
		e := &Event{Event: sharelock.Event{Key: "k", Type: sharelock.Queued, Reason: strings.Repeat("x", feed.MostBytes/2)}}
		s.service.watched.Tell([]*Event{e})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.feed.Read(tb.t.Context(), Read{ID: 9, Epoch: s.service.Epoch(), Target: Target{Prefix: "k"}, Partitions: []uint32{0}})
		}()
		wants(t, r.take(), "queued /0 ("+e.Reason+")")
		<-ended
		wants(t, r.take(), "read")
	})
}
