package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/fakenode"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Acquires beyond what a node accepts of a session wait here for room, in their order, and end
// with their contexts and waits; what does not wait, or ends a lock, finds room.
func TestManyCallsInFlight(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const most, beyond = 500, 100
		f := &fakenode.Node{}
		s := start(t, f, func(c *Config) { c.MaxCalls = most })
		mustAcquire(t, s)
		st := s.cur.Load()
		f.Late.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var (
			work    sync.WaitGroup
			stopped atomic.Int64
		)
		begin := func(ctx context.Context) {
			work.Go(func() {
				switch err := acquire(ctx, s, time.Hour); {
				case status.Code(err) == codes.Canceled && ctx.Err() != nil:
					stopped.Add(1)
				case err != nil && status.Code(err) != codes.Canceled:
					t.Error(err)
				}
			})
		}
		first, end := context.WithCancel(t.Context())
		defer end()
		for range most {
			begin(first)
		}
		synctest.Wait()
		for range beyond {
			begin(t.Context())
		}
		synctest.Wait()
		for range 2 * beyond {
			begin(ctx)
		}
		synctest.Wait()
		if st.room.sent != most || len(st.room.heldWaits) != 3*beyond {
			t.Fatalf("%d are sent and %d held back, want %d and %d", st.room.sent, len(st.room.heldWaits), most, 3*beyond)
		}
		began := time.Now()
		err := acquire(t.Context(), s, time.Second)
		if took := time.Since(began); !errors.Is(sharelockv1.FromError(err), sharelock.ErrQuota) || took != time.Second || !Unsent(err) {
			t.Errorf("one whose wait ends: %v after %v", err, took)
		}
		cancel()
		synctest.Wait()
		if n := stopped.Load(); n != 2*beyond || len(st.room.heldWaits) > 2*beyond {
			t.Errorf("%d have ended with their context, and %d are held back", n, len(st.room.heldWaits))
		}
		work.Go(func() {
			if err := acquire(t.Context(), s, 0); err == nil {
				t.Error("granted by a node that is silent")
			}
		})
		synctest.Wait()
		if st.room.tries != 1 {
			t.Errorf("%d tries are in flight, want 1", st.room.tries)
		}
		// What was in flight ends, and what is held back takes its place.
		f.Late.Store(false)
		end()
		synctest.Wait()
		if held := len(st.room.heldWaits); held != 0 {
			t.Errorf("%d are held back still", held)
		}
		s.Abort(false)
		work.Wait()
	})
}
