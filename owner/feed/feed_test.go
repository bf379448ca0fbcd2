package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/ring"
)

const partitions = 8

// noReader is for feeds that read nothing.
type noReader struct{}

func (noReader) Read(_ context.Context, f *Feed, r Read) { f.Pass(&Part{ID: r.ID, Last: true}) }

// open returns a feed of a new set.
func open(t *testing.T) (*Set, *Feed) {
	t.Helper()
	s := NewSet(partitions)
	f := s.Open(noReader{})
	t.Cleanup(f.Close) // a test may have called it already
	return &s, f
}

// event returns an event of a key.
func event(key string, seq uint64) *Event {
	return &Event{Event: sharelock.Event{Key: key, Type: sharelock.Queued}, Seq: seq}
}

// told returns the keys of the events that a feed returns; a part is "read", and a loss "lost".
func told(t *testing.T, f *Feed) (list []string) {
	t.Helper()
	news, err := f.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range news {
		switch {
		case n.Lost():
			list = append(list, "lost")
		case n.Part != nil:
			list = append(list, "read")
		default:
			list = append(list, n.Event.Key)
		}
	}
	return list
}

// A feed returns the events that it watches, by keys and by prefixes, in order; the results of
// reads are in their place among them.
func TestFeed(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		s, f := open(t)
		p := ring.PartitionOf("k", partitions)
		if s.Wants(p) {
			t.Error("a set that watches nothing wants events")
		}
		f.Watch(Target{Key: "k"})
		f.Watch(Target{Key: "k"}) // counts once
		f.Watch(Target{Prefix: "a/"})
		if f.Targets() != 2 || !s.Wants(p) || !s.WatchesKey(p) {
			t.Errorf("%d targets; wanted %t, the key %t", f.Targets(), s.Wants(p), s.WatchesKey(p))
		}
		s.Tell([]*Event{event("k", 1), event("other", 2), event("a/x", 3)})
		f.Read(t.Context(), Read{ID: 1})
		s.Tell([]*Event{event("k", 4)})
		if got, want := told(t, f), []string{"k", "a/x", "read", "k"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		f.Unwatch(Target{Key: "k"})
		if s.WatchesKey(p) || !s.Wants(p) {
			t.Errorf("without the key: wanted %t, the key %t", s.Wants(p), s.WatchesKey(p))
		}
		s.Tell([]*Event{event("k", 5), event("a/y", 6)})
		s.Lose()
		if got := told(t, f); !slices.Equal(got, []string{"lost"}) {
			t.Errorf("after a loss it returns %q", got)
		}
		f.Unwatch(Target{Prefix: "a/"})
		if s.Wants(p) || f.Targets() != 0 {
			t.Error("what is not watched any more is wanted")
		}
	})
}

// An idle feed returns events at once. A feed with a steady stream of events rests, unless there is
// something other than events.
func TestTakeRests(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		s, f := open(t)
		f.Watch(Target{Key: "k"})
		begin := time.Now()
		const takes = 100
		for i := range takes {
			s.Tell([]*Event{event("k", uint64(i))})
			told(t, f)
		}
		if took, least := time.Since(begin), takes*takeCost-takeCredit-takeCost; took < least {
			t.Errorf("%d takes took %v, want at least %v", takes, took, least)
		}
		begin = time.Now()
		s.Tell([]*Event{event("k", takes)})
		f.Read(t.Context(), Read{})
		if told(t, f); time.Since(begin) > 0 {
			t.Errorf("what was read waited for %v", time.Since(begin))
		}
	})
}

// Take ends with its context and with the feed. A closed feed is removed from its set.
func TestTakeEnds(t *testing.T) {
	s, f := open(t)
	f.Watch(Target{Key: "k"})
	f.Watch(Target{Prefix: "a/"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if news, err := f.Take(ctx); news != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Take: %v, %v", news, err)
	}
	f.Close()
	if news, err := f.Take(t.Context()); news != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("Take of a closed feed: %v, %v", news, err)
	}
	if f.Watch(Target{Key: "k"}); s.Len() != 0 || s.Wants(ring.PartitionOf("k", partitions)) {
		t.Error("a closed feed is known, or wants something")
	}
	if f.AwaitRoom(t.Context()) {
		t.Error("a closed feed has room")
	}
}

// A key is looked up once for each length of a prefix, however many prefixes are watched (Q6), and
// not in the shard's turn.
func TestFeedOfManyPrefixes(t *testing.T) {
	_, f := open(t)
	const n = 20000
	for i := range n {
		f.Watch(Target{Prefix: fmt.Sprint("p", i, "/")})
		f.Watch(Target{Prefix: fmt.Sprint("p", i, "/")}) // counts once
	}
	f.matching.Lock()
	if f.prefixes.Lengths() != 5 || !f.prefixes.Any("p0/k") || !f.prefixes.Any("p19999/") || f.prefixes.Any("p19999") || f.prefixes.Any("p20000/k") || f.prefixes.Any("") {
		t.Errorf("of %d prefixes with %d lengths the wrong ones are wanted", n, f.prefixes.Lengths())
	}
	f.matching.Unlock()
	f.Watch(Target{Prefix: ""})
	f.matching.Lock()
	if !f.prefixes.Any("p20000/k") || !f.prefixes.Any("") {
		t.Error("the empty prefix is not that of every key")
	}
	f.matching.Unlock()
	f.Unwatch(Target{Prefix: ""})
	for i := range n {
		f.Unwatch(Target{Prefix: fmt.Sprint("p", i, "/")})
	}
	f.matching.Lock()
	if f.prefixes.Lengths() > 0 || f.prefixes.Any("p0/k") {
		t.Errorf("%d lengths are left", f.prefixes.Lengths())
	}
	f.matching.Unlock()
}

// A node that does not take its news loses them, and they keep no memory.
func TestFeedIsBounded(t *testing.T) {
	s, f := open(t)
	f.Watch(Target{Key: "k"})
	events := make([]*Event, Most+10)
	for i := range events {
		events[i] = event("k", uint64(i))
	}
	s.Tell(events)
	if news := told(t, f); len(news) != 11 || news[0] != "lost" {
		t.Errorf("%d news wait, want 11, the first of which is that some were lost", len(news))
	}
	f.Close()
	if f.offer(events); f.Pending() { // as a shard does that has read the list of feeds before
		t.Error("a closed feed keeps events")
	}
	if _, err := f.Take(t.Context()); err != ErrClosed { //nolint:errorlint // it is this one
		t.Errorf("a closed feed returns %v", err)
	}
}

// What waits is bounded in bytes, too.
func TestFeedIsBoundedInBytes(t *testing.T) {
	s, f := open(t)
	f.Watch(Target{Key: "k"})
	e := event("k", 1)
	e.Reason = strings.Repeat("x", MostBytes/10)
	for range 10 {
		s.Tell([]*Event{e})
	}
	if news := told(t, f); len(news) != 2 || news[0] != "lost" {
		t.Errorf("%d news wait, want 2, the first of which is that some were lost", len(news))
	}
}

// A tail returns the last events of each key, or reports that some may be missing.
func TestTail(t *testing.T) {
	var tail Tail
	tail.Cut(10)
	if events, ok := tail.After("k", 10); events != nil || !ok {
		t.Errorf("after the last event: %v, %t", events, ok)
	}
	for i := range uint64(TailMost + TailMost/4) {
		tail.Add([]*Event{event("k", 11+2*i), event("x", 12+2*i)})
	}
	if n := tail.Len(); n < TailMost || n >= TailMost+TailMost/4 {
		t.Errorf("%d events are kept, want about %d", n, TailMost)
	}
	last := tail.Last()
	events, ok := tail.After("k", last-4)
	if !ok || len(events) != 2 || events[0].Seq != last-3 || events[1].Seq != last-1 {
		t.Errorf("the last events of the key: %v, %t", events, ok)
	}
	for _, seq := range []uint64{9, 10, last + 1} {
		if _, ok := tail.After("k", seq); ok {
			t.Errorf("all events after %d are said to be known", seq)
		}
	}
	tail.Lose()
	for _, seq := range []uint64{0, last - 1, last} {
		if _, ok := tail.After("k", seq); ok {
			t.Errorf("after a loss, all events after %d are said to be known", seq)
		}
	}
}

func TestSnapshots(t *testing.T) {
	l := sharelock.KeyState{
		Key: "k", Holds: []sharelock.Hold{{Token: 5, ClientID: "a", Mode: sharelock.Shared}}, Waiters: []sharelock.Waiter{{ClientID: "b"}},
		HoldCount: 1, WaiterCount: 4,
	}
	list := Snapshots(&l, Event{Partition: 2, Seq: 7})
	if len(list) != 2 || list[0].Token != 5 || list[0].Reason != "" || list[1].ClientID != "b" || list[1].Token != 0 {
		t.Fatalf("%d snapshots: %+v", len(list), list)
	}
	for _, e := range list {
		if e.Type != sharelock.Snapshot || e.Key != "k" || e.Waiters != 4 || e.Partition != 2 || e.Seq != 7 {
			t.Errorf("a snapshot is %+v", e)
		}
	}
	if want := "0 more holds and 3 more waiters are not shown"; list[1].Reason != want {
		t.Errorf("the last says %q, want %q", list[1].Reason, want)
	}
}
