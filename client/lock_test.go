package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
)

func TestRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(9*time.Second))
		acquired := time.Now()
		time.Sleep(time.Minute)
		if err := l.Err(); err != nil {
			t.Fatalf("lost: %v", err)
		}
		if left := l.Remaining(); left < 6*time.Second || left > 9*time.Second {
			t.Errorf("got %v remaining, want 6s to 9s", left)
		}
		last := acquired
		renewals := m.seen("Renew")
		if len(renewals) < 20 || len(renewals) > 23 {
			t.Errorf("got %d renewals in a minute, want one per 3s or a little less", len(renewals))
		}
		for _, r := range renewals {
			// Earlier than a third of the TTL by chance, and to have a time with others.
			const most, least = 3 * time.Second, 3*time.Second - 9*time.Second/30 - 9*time.Second/together
			if gap := r.At.Sub(last); gap > most || gap < least {
				t.Errorf("got %v between renewals, want %v to %v", gap, least, most)
			}
			last = r.At
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("Release: %v", err)
		}
		time.Sleep(time.Minute)
		if n := len(m.seen("Renew")); n != len(renewals) {
			t.Errorf("%d renewals after the release", n-len(renewals))
		}
	})
}

func TestNoRenew(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(9*time.Second), NoRenew())
		start := time.Now()
		<-l.Done()
		if got := time.Since(start); got != 9*time.Second {
			t.Errorf("lost after %v, want 9s", got)
		}
		wantErr(t, "Err", l.Err(), ErrLost)
		if n := len(m.seen("Renew")); n != 0 {
			t.Errorf("got %d renewals", n)
		}
		// It may still be held at the owner: the release frees it for the next.
		wantErr(t, "Release", l.Release(t.Context()), ErrLost)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %v still holds the key", token)
		}
		wantErr(t, "second Release", l.Release(t.Context()), ErrLost)
		if n := len(m.seen("Release")); n != 1 {
			t.Errorf("got %d releases, want 1", n)
		}
	})
}

// Renewals go to whichever node answers, a hanging one included.
func TestRenewalFailsOver(t *testing.T) {
	for name, f := range map[string]fault{
		"unavailable": {before: unavailable()},
		"hangs":       {hang: true},
		"lost answer": {after: unavailable()},
		"refused":     {before: errors.New("out of order")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
				m.setFault(func(call fakeCall) fault {
					if call.Node != "c:1" {
						return f
					}
					return fault{}
				})
				c.current.Store(2)
				l := mustAcquire(t, c, "k", TTL(9*time.Second))
				c.current.Store(0)
				time.Sleep(30 * time.Second)
				if err := l.Err(); err != nil {
					t.Errorf("lost: %v", err)
				}
			})
		})
	}
}

// Without an answer the lock is lost when the TTL is over, counted from the send
// of the last request that was answered, and before the owner could grant it to
// another.
func TestLostWithoutAnswers(t *testing.T) {
	for name, f := range map[string]fault{
		"unavailable":  {before: unavailable()},
		"hangs":        {hang: true},
		"lost answers": {after: unavailable()},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
				var broken atomic.Bool
				m.setFault(func(call fakeCall) fault {
					if call.Method == "Renew" && broken.Load() {
						return f
					}
					return fault{}
				})
				l := mustAcquire(t, c, "k", TTL(9*time.Second))
				time.Sleep(20 * time.Second)
				renewals := m.seen("Renew")
				last := renewals[len(renewals)-1].From
				broken.Store(true)
				ctx, cancel := l.Context(t.Context())
				defer cancel()
				<-ctx.Done()
				if got, want := time.Since(last), 9*time.Second-900*time.Millisecond; got != want {
					t.Errorf("the context ended %v after the last renewal, want %v", got, want)
				}
				wantErr(t, "cause", context.Cause(ctx), ErrLost)
				if l.Err() != nil || l.Remaining() != 900*time.Millisecond {
					t.Errorf("got err %v, remaining %v: the lock is not lost yet", l.Err(), l.Remaining())
				}
				<-l.Done()
				if got := time.Since(last); got != 9*time.Second {
					t.Errorf("lost %v after the last renewal, want 9s", got)
				}
				wantErr(t, "Err", l.Err(), ErrLost)
				if token, _ := m.holder("k"); token == 0 {
					t.Error("the owner gave the key up before the client knew that it had lost it")
				}
				late, cancel := l.Context(t.Context())
				defer cancel()
				wantErr(t, "cause of a context made after the loss", context.Cause(late), ErrLost)
			})
		})
	}
}

// What ran out here and there is one loss, not two errors.
func TestReleaseAfterExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(9*time.Second), NoRenew())
		<-l.Done()
		m.force("k")
		err := l.Release(t.Context())
		wantErr(t, "Release", err, ErrLost)
		if errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("Release: got %v, want the loss alone", err)
		}
	})
}

// A renewal whose answer takes long extends from its send.
func TestSlowRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(func(c fakeCall) fault {
			if c.Method == "Renew" && c.N == 2 {
				return fault{late: 1400 * time.Millisecond}
			}
			return fault{}
		})
		l := mustAcquire(t, c, "k", TTL(9*time.Second))
		for len(m.seen("Renew")) < 2 {
			time.Sleep(10 * time.Millisecond)
		}
		second := m.seen("Renew")[1]
		time.Sleep(time.Until(second.At.Add(1400 * time.Millisecond)))
		synctest.Wait()
		if got, want := l.Remaining(), 9*time.Second-time.Since(second.From); got != want {
			t.Errorf("got %v remaining, want %v", got, want)
		}
	})
}

// Q3: past the deadline the lock is lost, whatever arrives later: here the answer
// to a renewal that was sent just before, after a nap of the machine.
func TestRenewalAnsweredTooLate(t *testing.T) {
	t.Run("session", func(t *testing.T) { answeredTooLate(t, true) })
	t.Run("unary", func(t *testing.T) { answeredTooLate(t, false) })
}

func answeredTooLate(t *testing.T, sessions bool) {
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "a:1")
		m.set(func() { m.sessions = sessions })
		start, slept := time.Now(), atomic.Int64{}
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) + time.Duration(slept.Load()) }), []string{"a:1"}, Options{
			DialOptions: opts,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var renewed atomic.Bool
		l := mustAcquire(t, c, "k", TTL(9*time.Second))
		acquired := time.Now()
		m.setFault(func(call fakeCall) fault {
			switch {
			case call.Method != "Renew":
				return fault{}
			case call.At.Sub(acquired) < 8*time.Second:
				return fault{before: unavailable()}
			case !renewed.Swap(true):
				slept.Store(int64(2 * time.Second))
			}
			return fault{}
		})
		select {
		case <-l.Done():
		case <-time.After(time.Minute):
		}
		wantErr(t, "Err", l.Err(), errLate)
		if !renewed.Load() {
			t.Error("no renewal was answered")
		}
	})
}

// The owner's word ends a lock at once.
func TestRenewalOfNoGrant(t *testing.T) {
	for name, next := range map[string]bool{"not held": false, "stale token": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
				l := mustAcquire(t, c, "k", TTL(9*time.Second))
				time.Sleep(10 * time.Second)
				m.force("k")
				want := sharelock.ErrNotHeld
				if next {
					mustAcquire(t, c, "k")
					want = sharelock.ErrStaleToken
				}
				start := time.Now()
				<-l.Done()
				if got := time.Since(start); got > 3*time.Second {
					t.Errorf("lost after %v, want at the next renewal", got)
				}
				wantErr(t, "Err", l.Err(), ErrLost)
				wantErr(t, "Err", l.Err(), want)
				token, _ := m.holder("k")
				wantErr(t, "Release", l.Release(t.Context()), ErrLost)
				if after, _ := m.holder("k"); after != token || len(m.seen("Release")) != 0 {
					t.Error("the release of a lock that is known to be gone was sent")
				}
			})
		})
	}
}

// One loop keeps many locks.
func TestManyLocks(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		var locks []*Lock
		for i := range 200 {
			locks = append(locks, mustAcquire(t, c, fmt.Sprint("k", i), TTL(time.Duration(3+i%7)*time.Second)))
		}
		time.Sleep(20 * time.Second)
		for i, l := range locks {
			if l.Err() != nil {
				t.Errorf("lock %d: %v", i, l.Err())
			}
			if i%2 == 0 {
				if err := l.Release(t.Context()); err != nil {
					t.Errorf("Release %d: %v", i, err)
				}
			}
		}
		c.keeper.mu.Lock()
		n := len(c.keeper.due)
		c.keeper.mu.Unlock()
		if n != 100 {
			t.Errorf("the keeper watches %d locks, want 100", n)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for i, l := range locks {
			<-l.Done()
			want := ErrClosed
			if i%2 == 0 {
				want = ErrReleased
			}
			wantErr(t, "Err", l.Err(), want)
		}
		if token, _ := m.holder("k1"); token == 0 {
			t.Error("Close released a lock: whoever works under it may not have stopped")
		}
		wantErr(t, "Release after Close", locks[1].Release(t.Context()), ErrClosed)
	})
}

// A machine that was suspended learns that its locks have run out although no
// timer has.
func TestSuspend(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		_, opts := startMesh(t, "a:1")
		start, slept := time.Now(), atomic.Int64{}
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) + time.Duration(slept.Load()) }), []string{"a:1"}, Options{
			DialOptions: opts,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l := mustAcquire(t, c, "k", TTL(time.Minute))
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		slept.Store(int64(time.Hour))
		if l.Remaining() != 0 {
			t.Errorf("got %v remaining after an hour of sleep", l.Remaining())
		}
		woke := time.Now()
		<-l.Done()
		if got := time.Since(woke); got > look {
			t.Errorf("noticed after %v, want within %v", got, look)
		}
		wantErr(t, "Err", l.Err(), ErrLost)

		// Releasing what ran out while nobody looked is a loss, too.
		l = mustAcquire(t, c, "k2", TTL(time.Minute))
		slept.Add(int64(time.Hour))
		wantErr(t, "Release", l.Release(t.Context()), ErrLost)
	})
}

func TestContext(t *testing.T) {
	bubble(t, func(t *testing.T, _ *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k")
		parent, stop := context.WithCancel(t.Context())
		a, cancelA := l.Context(parent)
		b, cancelB := l.Context(t.Context())
		defer cancelB()
		stop()
		wantErr(t, "cause", context.Cause(a), context.Canceled)
		cancelA()
		if b.Err() != nil {
			t.Errorf("b ended: %v", b.Err())
		}
		if n := len(l.contexts); n != 1 {
			t.Errorf("%d contexts are kept, want b", n)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("Release: %v", err)
		}
		wantErr(t, "cause", context.Cause(b), ErrReleased)
		if n := len(l.contexts); n != 0 {
			t.Errorf("%d contexts are still kept", n)
		}
	})
}
