package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// teller is a node that tells each watch as many events as it may, up to total, and ends those whose key
// is "refused".
type teller struct {
	total int

	mu sync.Mutex
	// watches are those that have not ended, most the largest number of events that were sent ahead, and
	// ended the number of those that their client has ended. Guarded by mu.
	watches map[uint64]*toldWatch
	most    int
	ended   int
}

type toldWatch struct {
	key               string
	told, read, ahead int
}

// watch is fakenode.Node.Watch.
func (n *teller) watch(k *sessionwire.Keep) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch k.Kind {
	case sessionwire.KeepWatch:
		if k.Watch.Key == "refused" {
			return end(k.ID, sharelock.ErrPermissionDenied)
		}
		if n.watches == nil {
			n.watches = map[uint64]*toldWatch{}
		}
		n.watches[k.ID] = &toldWatch{key: k.Watch.Key, ahead: int(k.Events)}
	case sessionwire.KeepUnwatch:
		if n.watches[k.ID] == nil {
			return nil
		}
		delete(n.watches, k.ID)
		n.ended++
		return end(k.ID, context.Canceled)
	case sessionwire.KeepRead:
		if w := n.watches[k.ID]; w != nil {
			w.read += int(k.Events)
		}
	}
	w := n.watches[k.ID]
	if w == nil {
		return nil
	}
	first := w.told
	w.told = min(n.total, w.read+w.ahead)
	n.most = max(n.most, w.told-w.read)
	b, _ := sessionwire.AppendEvents(nil, k.ID, w.told-first, 1<<20, func(b []byte, i int) []byte {
		return sessionwire.AppendEvent(b, &sharelock.Event{Type: sharelock.Acquired, Key: w.key, Token: sharelock.Token(first + i + 1)})
	})
	return b
}

func end(id uint64, why error) []byte {
	b, err := proto.Marshal(sharelockv1.ToStatus(why).Proto())
	if err != nil {
		panic(err)
	}
	return sessionwire.AppendWatchEnd(nil, id, b)
}

// A watch goes over the stream that is there, beside the calls. What is told comes in order; the node may not
// send more than the program has room for, and an end is told with its reason.
func TestWatch(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := &teller{total: 5 * mostAhead}
		s := start(t, &fakenode.Node{Watch: n.watch})
		if err := s.Watch(t.Context(), sharelock.WatchRequest{Key: "k"}, nil); !errors.Is(err, ErrNoWatches) {
			t.Errorf("without a stream: %v", err)
		}
		mustReach(t, s)
		var work sync.WaitGroup
		for _, key := range []string{"a", "b"} {
			work.Go(func() {
				got := 0
				err := s.Watch(t.Context(), sharelock.WatchRequest{Key: key}, func(e sharelock.Event) bool {
					if got++; e.Key != key || e.Token != sharelock.Token(got) {
						t.Errorf("event %d of %s is %+v", got, key, e)
					}
					if got == mostAhead/2 { // a slow program holds up nobody else
						time.Sleep(time.Hour)
						if err := acquire(t.Context(), s, 0); err != nil {
							t.Error(err)
						}
					}
					return got < n.total
				})
				if err != nil || got != n.total {
					t.Errorf("%s was told %d events: %v", key, got, err)
				}
			})
		}
		err := s.Watch(t.Context(), sharelock.WatchRequest{Key: "refused"}, nil)
		wantCode(t, err, codes.PermissionDenied)
		mustAcquire(t, s)
		if s.Idle() {
			t.Error("the session is idle")
		}
		work.Wait()
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.most > mostAhead || n.ended != 2 || len(n.watches) != 0 || !s.Idle() {
			t.Errorf("%d events were ahead, %d watches ended of 2, %d remain, idle %t", n.most, n.ended, len(n.watches), s.Idle())
		}
	})
}

func mustReach(t *testing.T, s *Session) {
	t.Helper()
	if err := s.Reach(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A node of an older version does not say that it takes watches, and none is sent to it.
func TestWatchOfAnOlderNode(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		s := start(t, &fakenode.Node{})
		mustReach(t, s)
		for range 2 {
			if err := s.Watch(t.Context(), sharelock.WatchRequest{Key: "k"}, nil); !errors.Is(err, ErrNoWatches) {
				t.Errorf("got %v", err)
			}
		}
		mustAcquire(t, s)
	})
}

// The end of the context, and of the stream, end a watch.
func TestWatchEnds(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := &teller{total: 3}
		s := start(t, &fakenode.Node{Watch: n.watch})
		mustReach(t, s)
		for _, broken := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			got := 0
			err := s.Watch(ctx, sharelock.WatchRequest{Key: "k"}, func(sharelock.Event) bool {
				if got++; got == n.total && broken {
					s.Reset()
				} else if got == n.total {
					cancel()
				}
				return true
			})
			cancel()
			if want := map[bool]codes.Code{false: codes.Canceled, true: codes.Unavailable}[broken]; status.Code(err) != want || got != n.total {
				t.Errorf("broken %t: %d events, %v, want %v", broken, got, err, want)
			}
		}
	})
}

// A node that is gone is noticed when a watch is sent to it.
func TestWatchOfANodeThatIsGone(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		f := &fakenode.Node{Watch: (&teller{}).watch}
		s := start(t, f)
		mustAcquire(t, s)
		f.Mute.Store(true)
		began := time.Now()
		err := s.Watch(t.Context(), sharelock.WatchRequest{Key: "k"}, nil)
		wantCode(t, err, codes.Unavailable)
		if took := time.Since(began); took > Dead+Quiet {
			t.Errorf("it took %v", took)
		}
	})
}

// More watches than a node takes in a session are not sent to it. One that was left counts until the node has
// ended it.
func TestManyWatches(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n := &teller{total: 1}
		s := start(t, &fakenode.Node{Watch: n.watch})
		mustReach(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for i := range mostWatches {
			work.Go(func() {
				err := s.Watch(ctx, sharelock.WatchRequest{Key: fmt.Sprint(i)}, func(sharelock.Event) bool { return true })
				if status.Code(err) != codes.Canceled {
					t.Errorf("watch %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		one := func() error {
			return s.Watch(t.Context(), sharelock.WatchRequest{Key: "k"}, func(sharelock.Event) bool { return false })
		}
		if err := one(); !errors.Is(err, ErrNoWatches) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		work.Wait()
		synctest.Wait()
		if err := one(); err != nil {
			t.Errorf("after all have ended: %v", err)
		}
	})
}
