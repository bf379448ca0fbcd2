package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/event"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/epoch/epochtest"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// fakeSource is a member whose news the test determines.
type fakeSource struct {
	news chan []owner.News

	mu       sync.Mutex
	watched  map[owner.Target]int // guarded by mu
	reads    []owner.Read         // guarded by mu
	lastRead uint64               // guarded by mu
	closed   bool                 // guarded by mu
}

func (s *fakeSource) Watch(t owner.Target)   { s.count(t, 1) }
func (s *fakeSource) Unwatch(t owner.Target) { s.count(t, -1) }

func (s *fakeSource) count(t owner.Target, d int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[t] += d
}

func (s *fakeSource) Read(r owner.Read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, r)
	s.lastRead = r.ID
}

// asked returns the number of reads.
func (s *fakeSource) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reads)
}

func (s *fakeSource) Take(ctx context.Context) ([]owner.News, error) {
	select {
	case n, ok := <-s.news:
		if !ok {
			return nil, errors.New("broken")
		}
		return n, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *fakeSource) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// hostOf is the key of a context value: the host of a caller.
type hostOf struct{}

// rig is the hub of member a, with a fake member b.
type rig struct {
	t     *testing.T
	hub   *Hub
	views *epoch.Views
	key   string // its owner is b

	mu      sync.Mutex
	sources []*fakeSource // the last one is used; guarded by mu
	told    []string      // guarded by mu
	gate    chan struct{} // blocks the reader until it is closed; nil does not block
}

func newRig(t *testing.T) *rig {
	t.Helper()
	began := time.Now()
	views, stop := epochtest.New("a", func() time.Duration { return time.Since(began) })
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	r := &rig{t: t, views: views}
	r.hub = New(Config{
		Self: epochtest.Member("a").Identity, Views: views, Ready: func() error { return nil }, AwaitStart: func(context.Context) {},
		Open: func(ring.Member) Source {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sources = append(r.sources, &fakeSource{news: make(chan []owner.News), watched: map[owner.Target]int{}})
			return r.sources[len(r.sources)-1]
		},
		Host:    func(ctx context.Context) string { name, _ := ctx.Value(hostOf{}).(string); return name },
		Leaving: make(chan struct{}), MaxStreams: 2, Spawn: func(fn func()) bool { tasks.Go(fn); return true }, Context: ctx,
	})
	r.show(1)
	for i := range 100 {
		key := fmt.Sprint("k", i)
		if o, _ := views.Now().Ring.Owner(views.Now().Partition(key)); o.Name == "b" {
			r.key = key
			break
		}
	}
	tasks.Go(func() { r.hub.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		stop()
		tasks.Wait()
	})
	return r
}

// show installs a view of a and b.
func (r *rig) show(epoch uint32) {
	v := epochtest.View(epoch, "a", "b")
	v.Release = MinRelease
	if err := r.views.Offer(epochtest.State(v)); err != nil {
		r.t.Fatal(err)
	}
}

// follow begins a watch. stop ends it and returns why it has ended.
func (r *rig) follow(req sharelock.WatchRequest) (stop func() error) {
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- r.hub.Watch(ctx, req, func(events []*event.Event) error {
			r.mu.Lock()
			for _, e := range events {
				r.told = append(r.told, strings.TrimSpace(string(e.Type)+" "+e.ClientID))
			}
			gate := r.gate
			r.mu.Unlock()
			if gate != nil {
				<-gate
			}
			return nil
		})
	}()
	synctest.Wait()
	return func() error {
		cancel()
		return <-ended
	}
}

// b returns the current source of member b.
func (r *rig) b() *fakeSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources[len(r.sources)-1]
}

// says makes b tell news.
func (r *rig) says(news ...owner.News) {
	r.b().news <- news
	synctest.Wait()
}

func (r *rig) event(kind sharelock.EventType, client string, seq uint64) owner.News {
	v := r.views.Now()
	return owner.News{Event: &owner.Event{
		Event: sharelock.Event{Type: kind, Key: r.key, ClientID: client}, Partition: v.Partition(r.key), Epoch: v.Epoch, Seq: seq,
	}}
}

// answers answers the newest read with a snapshot of one holder.
func (r *rig) answers(client string, seq uint64) {
	s := r.b()
	s.mu.Lock()
	id := s.lastRead
	s.mu.Unlock()
	e := r.event(sharelock.Snapshot, client, seq).Event
	r.says(owner.News{Part: &owner.Part{ID: id, Partition: e.Partition, Epoch: e.Epoch, Seq: seq, Events: []*owner.Event{e}, Done: true, Last: true}})
}

// heard checks what the reader was told since the last call.
func (r *rig) heard(want ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := strings.Join(r.told, ", "); got != strings.Join(want, ", ") {
		r.t.Errorf("told: %s\nwant: %s", got, strings.Join(want, ", "))
	}
	r.told = nil
}

// Events from before the snapshot are included in it. Events after it are passed on, and events of
// another epoch are not.
func TestSnapshotThenEvents(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		r.says(r.event(sharelock.Acquired, "early", 1))
		r.heard()
		r.answers("c", 3)
		old := r.event(sharelock.Released, "c", 4)
		old.Event.Epoch = 0
		r.says(old, r.event(sharelock.Queued, "d", 4))
		r.heard("snapshot c", "synced", "queued d")
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A reader that is too slow is reset when it reads again, and not before; until then nothing is
// kept for it.
func TestSlowReaderIsReset(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		r.gate = make(chan struct{})
		r.answers("c", 1)
		for i := range uint64(2 * queueMost) {
			r.says(r.event(sharelock.Queued, "d", 2+i))
		}
		if n := r.b().asked(); n != 1 {
			t.Errorf("a blocked reader has read %d times", n)
		}
		close(r.gate)
		synctest.Wait()
		r.answers("e", 5000)
		r.heard("snapshot c", "reset", "snapshot e", "synced")
		if r.hub.Resets() != 1 {
			t.Errorf("%d resets are counted", r.hub.Resets())
		}
		stop() //nolint:errcheck // it was cancelled
	})
}

// When a source breaks, or has left something out, the watch begins again.
func TestBrokenSource(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		r.answers("c", 1)
		r.heard("snapshot c", "synced")
		r.says(owner.News{})
		time.Sleep(mostPause)
		r.answers("d", 2)
		r.heard("reset", "snapshot d", "synced")
		close(r.b().news)
		time.Sleep(mostPause)
		r.answers("e", 3)
		r.heard("reset", "snapshot e", "synced")
		if len(r.sources) != 2 || !r.sources[0].closed {
			t.Errorf("%d sources were opened, want 2, the first of which is closed", len(r.sources))
		}
		r.show(2)
		synctest.Wait()
		r.answers("f", 4)
		r.heard("reset", "snapshot f", "synced")
		stop() //nolint:errcheck // it was cancelled
	})
}

// If a read fails after it has shown keys of a partition, they are taken back: they may be gone
// when the partition is read again.
func TestReadFailsHalfWay(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		e := r.event(sharelock.Snapshot, "c", 1).Event
		part := owner.Part{ID: r.b().lastRead, Partition: e.Partition, Epoch: e.Epoch, Events: []*owner.Event{e}}
		failed := owner.Part{ID: part.ID, Partition: e.Partition, Epoch: e.Epoch, Last: true, Err: owner.ErrBehind}
		r.says(owner.News{Part: &part}, owner.News{Part: &failed})
		time.Sleep(mostPause)
		r.answers("d", 2)
		r.heard("snapshot c", "reset", "snapshot d", "synced")
		stop() //nolint:errcheck // it was cancelled
	})
}

// A watch cannot continue from a cursor of another epoch, or from an invalid one.
func TestCursorIsNotKnown(t *testing.T) {
	for _, cursor := range []string{"7.1", "x", "1.x", "."} {
		virtual.Test(t, func(t *testing.T) {
			r := newRig(t)
			stop := r.follow(sharelock.WatchRequest{Key: r.key, Resume: cursor})
			r.heard("reset")
			r.answers("c", 1)
			r.heard("snapshot c", "synced")
			stop() //nolint:errcheck // it was cancelled
		})
	}
}

// A key lingers for a while, so that a watch that comes back is resumed.
func TestKeysLinger(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		target := owner.Target{Key: r.key}
		stop := r.follow(sharelock.WatchRequest{Key: r.key})
		r.answers("c", 1)
		stop() //nolint:errcheck // it was cancelled
		b := r.b()
		if b.watched[target] != 1 {
			t.Errorf("the key is watched %d times when its watch has ended, want 1", b.watched[target])
		}
		stop = r.follow(sharelock.WatchRequest{Key: r.key, Resume: "1.1"})
		if n := len(b.reads); n != 2 || !b.reads[1].Resume || b.reads[1].After != 1 || b.watched[target] != 1 {
			t.Errorf("read %+v, watched %d times", b.reads, b.watched[target])
		}
		stop() //nolint:errcheck // it was cancelled
		time.Sleep(2 * lingerTime)
		synctest.Wait()
		if b.mu.Lock(); b.watched[target] != 0 || !b.closed {
			t.Errorf("%v later the key is watched %d times, closed %t", 2*lingerTime, b.watched[target], b.closed)
		}
		b.mu.Unlock()
	})
}

// The number of watches is bounded, and bad requests are refused.
func TestRefused(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		one, two := r.follow(sharelock.WatchRequest{Key: r.key}), r.follow(sharelock.WatchRequest{Prefix: "k"})
		if err := r.hub.Watch(t.Context(), sharelock.WatchRequest{}, nil); !errors.Is(err, sharelock.ErrQuota) {
			t.Errorf("a third watch: %v", err)
		}
		one() //nolint:errcheck // it was cancelled
		two() //nolint:errcheck // it was cancelled
		for _, bad := range []sharelock.WatchRequest{
			{Key: "a", Prefix: "b"}, {Key: strings.Repeat("x", 513)}, {Key: "a\x00"}, {Prefix: strings.Repeat("x", 513)},
		} {
			if err := r.hub.Watch(t.Context(), bad, nil); !errors.Is(err, sharelock.ErrInvalidArgument) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		if n := r.hub.Streams(); n != 0 {
			t.Errorf("%d watches are counted", n)
		}
	})
}

// Hosts share the places for watches of a node: a host with few watches takes a place of a host
// with many.
func TestHostsShareTheWatches(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		r := newRig(t)
		watch := func(host string) <-chan error {
			ended := make(chan error, 1)
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), hostOf{}, host))
			t.Cleanup(cancel)
			go func() {
				ended <- r.hub.Watch(ctx, sharelock.WatchRequest{Key: r.key}, func([]*event.Event) error { return nil })
			}()
			synctest.Wait()
			return ended
		}
		first, second := watch("10.0.0.1"), watch("10.0.0.1")
		if err := <-watch("10.0.0.1"); !errors.Is(err, sharelock.ErrQuota) {
			t.Errorf("a third watch of a host: %v", err)
		}
		other := watch("10.0.0.2")
		if err := <-second; !errors.Is(err, sharelock.ErrQuota) {
			t.Errorf("the newest watch of the host with the most ends with %v", err)
		}
		select {
		case err := <-first:
			t.Errorf("the first watch has ended: %v", err)
		case err := <-other:
			t.Errorf("the watch of the other host has ended: %v", err)
		default:
		}
	})
}
