package locktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
)

// Locker is the lock service as seen by one client. Its errors match those of package sharelock with
// errors.Is, or are the context's. It must be safe for concurrent use and must not renew holds by
// itself.
type Locker interface {
	// Acquire acquires for the client that the Locker was made for, whatever r.ClientID says. The
	// hold's SafeFor counts from the call or later.
	Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error)
	// Renew restarts the TTL; ttl 0 keeps its length.
	Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error)
	Release(ctx context.Context, key string, token sharelock.Token) error
	// Get fails with sharelock.ErrNotHeld for a key that nobody holds.
	Get(ctx context.Context, key string) (sharelock.KeyState, error)
	CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error)
}

const (
	// longTTL outlasts every test except those of expiry, which use shortTTL.
	longTTL  = 2 * time.Second
	shortTTL = 300 * time.Millisecond
	// longWait is longer than any wait that ends with a grant.
	longWait = 10 * time.Second
	// limit ends a call that hangs.
	limit = 30 * time.Second
)

// Run runs the whole suite as subtests. newLocker returns a client with the given id. It is called
// several times in a test, and must close the clients with t.Cleanup.
func Run(t *testing.T, newLocker func(t *testing.T, clientID string) Locker) {
	for _, c := range []struct {
		name string
		f    func(*suite)
	}{
		{"AcquireRelease", acquireRelease},
		{"Keys", keys},
		{"TryHeld", tryHeld},
		{"WaitEnds", waitEnds},
		{"WaiterGetsIt", waiterGetsIt},
		{"FIFO", fifo},
		{"CancelledWaiterLeaves", cancelledWaiterLeaves},
		{"SameRequestID", sameRequestID},
		{"RequestIDIsOver", requestIDIsOver},
		{"NotReentrant", notReentrant},
		{"Renew", renew},
		{"Expiry", expiry},
		{"ReleaseOfAnother", releaseOfAnother},
		{"Shared", shared},
		{"SharedWaitsBehindExclusive", sharedWaitsBehindExclusive},
		{"Slots", slots},
		{"ModeConflict", modeConflict},
		{"TokensGrow", tokensGrow},
		{"CheckToken", checkToken},
		{"Metadata", metadata},
		{"InvalidArguments", invalidArguments},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			c.f(&suite{
				T: t, ctx: ctx, key: "locktest/" + t.Name(),
				a: newLocker(t, "a"), b: newLocker(t, "b"), c: newLocker(t, "c"),
			})
		})
	}
}

// suite is one test with three clients and a key of its own.
type suite struct {
	*testing.T
	ctx     context.Context //nolint:containedctx // the lifetime of the test
	key     string
	a, b, c Locker
}

// want returns an acquire of the test's key.
func (s *suite) want(change ...func(*sharelock.AcquireRequest)) sharelock.AcquireRequest {
	r := sharelock.AcquireRequest{Key: s.key, TTL: longTTL, Wait: longWait}
	for _, f := range change {
		f(&r)
	}
	return r
}

func try(r *sharelock.AcquireRequest)        { r.Wait = 0 }
func inShared(r *sharelock.AcquireRequest)   { r.Mode = sharelock.Shared }
func shortLived(r *sharelock.AcquireRequest) { r.TTL = shortTTL }

func withSlots(n uint32) func(*sharelock.AcquireRequest) {
	return func(r *sharelock.AcquireRequest) { r.Slots = n }
}

func withID(id string) func(*sharelock.AcquireRequest) {
	return func(r *sharelock.AcquireRequest) { r.RequestID = id }
}

// take acquires the lock, and fails the test if that fails.
func (s *suite) take(l Locker, change ...func(*sharelock.AcquireRequest)) sharelock.Hold {
	s.Helper()
	r := s.want(change...)
	h, err := l.Acquire(s.ctx, r)
	if err != nil {
		s.Fatalf("acquire of %q: %v", r.Key, err)
	}
	return h
}

// refused tries to acquire the lock, and fails the test unless that fails with want.
func (s *suite) refused(want error, l Locker, change ...func(*sharelock.AcquireRequest)) error {
	s.Helper()
	r := s.want(change...)
	h, err := l.Acquire(s.ctx, r)
	if !errors.Is(err, want) {
		s.Fatalf("acquire %+v: %+v, %v, want %v", r, h, err, want)
	}
	return err
}

func (s *suite) release(l Locker, h sharelock.Hold) {
	s.Helper()
	if err := l.Release(s.ctx, h.Key, h.Token); err != nil {
		s.Fatalf("release of %q: %v", h.Key, err)
	}
}

// pending is an acquire in flight.
type pending struct {
	s    *suite
	done chan struct{}
	hold sharelock.Hold
	err  error
}

// queue begins an acquire and returns when its request is the n-th in the queue.
func (s *suite) queue(ctx context.Context, n int, l Locker, change ...func(*sharelock.AcquireRequest)) *pending {
	s.Helper()
	r := s.want(change...)
	p := &pending{s: s, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.hold, p.err = l.Acquire(ctx, r)
	}()
	s.untilQueued(n)
	return p
}

// untilQueued waits until n requests are in the queue.
func (s *suite) untilQueued(n int) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := s.c.Get(s.ctx, s.key)
		switch {
		case errors.Is(err, sharelock.ErrNotHeld) && n == 0, err == nil && len(lock.Waiters) == n:
			return
		case err != nil && !errors.Is(err, sharelock.ErrNotHeld):
			s.Fatalf("get of %q: %v", s.key, err)
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("%q has the waiters %+v, want %d", s.key, lock.Waiters, n)
		}
	}
}

// granted waits for the acquire and returns its hold.
func (p *pending) granted() sharelock.Hold {
	p.s.Helper()
	<-p.done
	if p.err != nil {
		p.s.Fatalf("acquire of %q after a wait: %v", p.s.key, p.err)
	}
	return p.hold
}

// still fails the test if the acquire has ended.
func (p *pending) still() {
	p.s.Helper()
	select {
	case <-p.done:
		p.s.Fatalf("an acquire of %q that had to wait ended: %+v, %v", p.s.key, p.hold, p.err)
	default:
	}
}
