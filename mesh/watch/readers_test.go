package watch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/owner"
)

// A reader that does not read costs other readers nothing: a reader that reads gets every event,
// and for the other one nothing is kept, passed on or read.
func TestDeadReaderCostsOthersNothing(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		r.answers("c", 1)
		r.heard("snapshot c", "synced")
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_ = r.hub.Watch(ctx, sharelock.WatchRequest{Key: r.key}, func([]*event.Event) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		synctest.Wait()
		r.answers("c", 1)
		const events = 3 * queueMost
		for i := range uint64(events) {
			r.says(r.event(sharelock.Queued, "d", 2+i))
			if i%queueMost == 0 {
				time.Sleep(time.Second) // the one that reads takes everything
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.mu.Lock()
		if len(r.told) != events || r.told[events-1] != "queued d" {
			t.Errorf("the reader that reads was told %d events, want %d", len(r.told), events)
		}
		r.told = nil
		r.mu.Unlock()
		v := r.views.Now()
		m, _ := v.Ring.Owner(v.Partition(r.key))
		s, err := r.hub.source(v, m)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		if n := len(s.keys[r.key]); n != 1 {
			t.Errorf("events are given to %d readers, want 1", n)
		}
		s.mu.Unlock()
		if n := r.hub.budget.kept.Load(); n != 0 {
			t.Errorf("%d bytes are kept", n)
		}
		if n := r.b().asked(); n != 2 {
			t.Errorf("%d reads, want 2", n)
		}
		cancel()
		<-gone
		stop() //nolint:errcheck // it was cancelled
		if n := r.hub.budget.resting.Load(); n != 0 {
			t.Errorf("%d readers rest", n)
		}
	})
}

// A reader that is too slow again begins again only after a pause, because everything must be read
// for it.
func TestSlowAgainWaits(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		for round, wait := range []time.Duration{0, leastLag, 2 * leastLag} {
			r.answers("c", 1)
			time.Sleep(2 * credit) // it need not rest
			r.mu.Lock()
			gate := make(chan struct{})
			r.gate = gate
			r.mu.Unlock()
			for i := range uint64(queueMost + 2) {
				r.says(r.event(sharelock.Queued, "d", 2+i))
			}
			reads := r.b().asked()
			r.mu.Lock()
			r.gate = nil
			r.mu.Unlock()
			close(gate)
			if wait > 0 {
				time.Sleep(wait - time.Millisecond)
				synctest.Wait()
				if n := r.b().asked() - reads; n != 0 {
					t.Errorf("round %d: begins again before %v", round, wait)
				}
				time.Sleep(2 * time.Millisecond)
			}
			synctest.Wait()
			if n := r.b().asked() - reads; n != 1 {
				t.Errorf("round %d: after %v it has read %d times, want once", round, wait, n)
			}
		}
		stop() //nolint:errcheck // it was cancelled
	})
}

// When too much waits for all readers together, those with more than their share are reset.
func TestBudget(t *testing.T) {
	var all budget
	all.streams.Store(2)
	open := func() *inbox {
		b := &inbox{wake: wake.New(), budget: &all}
		b.begin(1)
		b.expect([]uint32{3})
		b.part(nil, &owner.Part{Partition: 3, Epoch: 1, Done: true})
		return b
	}
	e := &owner.Event{Event: sharelock.Event{Key: "k"}, Partition: 3, Epoch: 1, Seq: 2}
	slow, quick := open(), open()
	slow.keep(keptMost/2 + 1)
	quick.keep(keptMost / 4)
	if !slow.event(told{e, event.New(&e.Event)}) {
		t.Error("a watch is reset although there is room")
	}
	quick.keep(keptMost / 4)
	quick.keep(-500)
	if !quick.event(told{e, event.New(&e.Event)}) {
		t.Error("a watch with less than its share is reset")
	}
	if slow.event(told{e, event.New(&e.Event)}) || !slow.take().full {
		t.Error("a watch with more than its share is not reset")
	}
	quick.close()
	if n := all.kept.Load(); n != 0 {
		t.Errorf("%d bytes are kept of what is left out", n)
	}
}

// The held back events of a partition whose read has failed are not counted any more.
func TestHeldBackIsReleased(t *testing.T) {
	var all budget
	b := &inbox{wake: wake.New(), budget: &all}
	b.begin(1)
	b.expect([]uint32{3, 4})
	for i := range uint64(10) {
		for _, p := range []uint32{3, 4} {
			e := &owner.Event{Event: sharelock.Event{Key: "k"}, Partition: p, Epoch: 1, Seq: 1 + i}
			b.event(told{e, event.New(&e.Event)})
		}
	}
	b.part(nil, &owner.Part{Partition: 3, Epoch: 1, Done: true, Last: true, Seq: 5})
	if rest, _ := b.unread([]uint32{3, 4}); len(rest) != 1 || rest[0] != 4 {
		t.Errorf("partitions %d are not read yet, want 4", rest)
	}
	if n := len(b.take().events); n != 5 {
		t.Errorf("%d events, want the 5 after the read", n)
	}
	if b.live != 0 || b.held != 0 || b.bytes != 0 || b.heldBytes != 0 || all.kept.Load() != 0 {
		t.Errorf("live %d, held %d, bytes %d, held bytes %d, kept %d; want 0", b.live, b.held, b.bytes, b.heldBytes, all.kept.Load())
	}
}

// A reset that the reader has not taken yet is not lost when the queue overflows.
func TestOverflowKeepsTheReset(t *testing.T) {
	b := &inbox{wake: wake.New()}
	b.put(about(sharelock.Synced, "k", ""))
	b.take()
	b.takeBack(about(sharelock.Reset, "k", "why"), false)
	b.begin(1)
	b.mu.Lock()
	b.overflow()
	b.mu.Unlock()
	b.takeBack(about(sharelock.Reset, "k", "why"), false)
	if events := b.take().events; len(events) != 1 || events[0].Type != sharelock.Reset {
		t.Errorf("the reader takes %d events, want the reset", len(events))
	}
}
