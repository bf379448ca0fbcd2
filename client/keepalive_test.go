package client

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// own counts the renewals that the client sent itself.
func own(m *fakeMesh) int {
	n := 0
	for _, c := range m.seen("Renew") {
		if !c.Kept {
			n++
		}
	}
	return n
}

func (m *fakeMesh) beats() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keepalives
}

func mustHold(t *testing.T, locks []*Lock) {
	t.Helper()
	for _, l := range locks {
		if l.Err() != nil || l.Remaining() == 0 {
			t.Errorf("lock %q: %v", l.Key(), l.Err())
		}
	}
}

func mustAcquireMany(t *testing.T, c *Client, n int, opts ...Option) []*Lock {
	t.Helper()
	var locks []*Lock
	for i := range n {
		locks = append(locks, mustAcquire(t, c, fmt.Sprint("k", i), opts...))
	}
	return locks
}

// One keepalive is for all locks, and the client renews none itself. What is released
// before it needs a renewal costs nothing; what is released after is let go of.
func TestKeptTogether(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		locks := mustAcquireMany(t, c, 100, TTL(12*time.Second))
		if n := m.beats(); n != 0 {
			t.Errorf("%d keepalives before a renewal was due", n)
		}
		time.Sleep(time.Minute)
		mustHold(t, locks)
		// Locks that fall due one after the other bring a keepalive each, once.
		if n := m.beats(); n > 100+120 {
			t.Errorf("%d keepalives in a minute, want two a second", n)
		}
		before := m.beats()
		time.Sleep(time.Minute)
		if n := m.beats() - before; n < 118 || n > 122 {
			t.Errorf("%d keepalives in a minute, want two a second", n)
		}
		if n := own(m); n != 0 {
			t.Errorf("the client sent %d renewals", n)
		}
		if n := c.nodes[0].session.Kept(); n != 100 {
			t.Errorf("%d locks are attached, want 100", n)
		}
		for _, l := range locks {
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := c.nodes[0].session.Kept(); n != 0 {
			t.Errorf("%d locks are attached after their release", n)
		}
		before, renewed := m.beats(), len(m.seen("Renew"))
		time.Sleep(time.Minute)
		if n := m.beats() - before; n > 1 {
			t.Errorf("%d keepalives for nothing", n)
		}
		if n := len(m.seen("Renew")) - renewed; n != 0 {
			t.Errorf("%d renewals of released locks", n)
		}
	})
}

// The shortest TTL says how often a keepalive is sent, as long as its lock is held.
func TestKeepalivePeriod(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		long := mustAcquire(t, c, "long", TTL(2*time.Minute))
		short := mustAcquire(t, c, "short", TTL(600*time.Millisecond))
		time.Sleep(45 * time.Second)
		perMinute := func() int {
			before := m.beats()
			time.Sleep(time.Minute)
			return m.beats() - before
		}
		if n := perMinute(); n < 2300 || n > 2450 {
			t.Errorf("%d keepalives in a minute, want 2400", n)
		}
		if err := short.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if n := perMinute(); n < 11 || n > 14 {
			t.Errorf("%d keepalives in a minute, want 12", n)
		}
		mustHold(t, []*Lock{long})
	})
}

// Whatever ends a session, its locks are attached to another, at a node that is there,
// and no lock is lost.
func TestKeptElsewhere(t *testing.T) {
	for name, fail := range map[string]func(m *fakeMesh){
		"broken": func(m *fakeMesh) { m.broken = status.Error(codes.Unavailable, "broken on purpose") },
		"mute":   func(m *fakeMesh) { m.muted = "a:1" },
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
				locks := mustAcquireMany(t, c, 20, TTL(30*time.Second))
				time.Sleep(time.Minute)
				m.set(func() { fail(m) })
				time.Sleep(time.Minute)
				mustHold(t, locks)
				if n := own(m); n != 0 {
					t.Errorf("the client sent %d renewals", n)
				}
				if a, b := c.nodes[0].session.Kept(), c.nodes[1].session.Kept(); a+b != 20 || b == 0 {
					t.Errorf("%d locks are attached at the node that failed, %d at the next", a, b)
				}
			})
		})
	}
}

// A node that cannot keep a lock, or does not know how, is no harm: the client renews
// it.
func TestNotKept(t *testing.T) {
	for name, how := range map[string]func(m *fakeMesh){
		"refused":   func(m *fakeMesh) { m.refuse = &sharelock.Error{Err: sharelock.ErrQuota} },
		"not ready": func(m *fakeMesh) { m.refuse = &sharelock.Error{Err: sharelock.ErrNotReady} },
		"deaf":      func(m *fakeMesh) { m.deaf = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
				m.set(func() { how(m) })
				locks := mustAcquireMany(t, c, 10, TTL(12*time.Second))
				time.Sleep(time.Minute)
				mustHold(t, locks)
				// Every 4 s, or at least every 7.2.
				if n := own(m); n < 80 || n > 170 {
					t.Errorf("the client sent %d renewals of 10 locks in a minute", n)
				}
			})
		})
	}
}

// When a client does what its node has not done, by the TTL; and that it does with a long
// one.
func TestLongTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		3 * time.Second: 1200 * time.Millisecond, 30 * time.Second: 12 * time.Second,
		44 * time.Second: 15 * time.Second, time.Minute: 15 * time.Second, time.Hour: 15 * time.Minute,
	} {
		if got := lateForNode(ttl); got != want {
			t.Errorf("of a TTL of %v: %v, want %v", ttl, got, want)
		}
	}
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		m.set(func() { m.deaf = true })
		l := mustAcquire(t, c, "k", TTL(time.Minute))
		time.Sleep(44 * time.Second)
		if n := own(m); n != 0 {
			t.Errorf("the client sent %d renewals when 16 s are left", n)
		}
		time.Sleep(2 * time.Second)
		if n := own(m); n != 1 {
			t.Errorf("the client sent %d renewals when 14 s are left", n)
		}
		time.Sleep(5 * time.Minute)
		mustHold(t, []*Lock{l})
	})
}

// A machine that sleeps past a TTL has lost its locks, though its node goes on to
// renew them as soon as it hears a keepalive: Q3.
func TestKeptAfterSuspend(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "a:1")
		m.set(func() { m.sessions = true })
		start, slept := time.Now(), atomic.Int64{}
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) + time.Duration(slept.Load()) }), []string{"a:1"}, Options{
			DialOptions: opts,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l := mustAcquire(t, c, "k", TTL(9*time.Second))
		time.Sleep(20 * time.Second)
		mustHold(t, []*Lock{l})
		slept.Store(int64(9 * time.Second))
		time.Sleep(2 * time.Second)
		wantErr(t, "Err", l.Err(), ErrLost)
		if n := c.nodes[0].session.Kept(); n != 0 {
			t.Errorf("%d locks are attached after the loss", n)
		}
	})
}

// Locks that are due at about the same time are due at the same time, so that one message
// is about all of them; and never later than a third of their TTL.
func TestRenewalsShareTimes(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, _ *fakeMesh, c *Client) {
		const ttl, n = time.Minute, 300
		locks := mustAcquireMany(t, c, n, TTL(ttl))
		k := c.keeper
		k.mu.Lock()
		defer k.mu.Unlock()
		times := map[time.Duration]int{}
		for _, l := range locks {
			times[l.renewAt]++
			if latest := l.deadline - 2*ttl/3; l.renewAt > latest || l.renewAt < latest-ttl/30-ttl/together {
				t.Errorf("due %v before the deadline", l.deadline-l.renewAt)
			}
		}
		if most := together/30 + 2; len(times) > most {
			t.Errorf("%d locks that were taken together are due at %d times, want at most %d", n, len(times), most)
		}
	})
}

// A renewal of the client's own that nobody answers does not keep a lock from being renewed
// that a session has renewed meanwhile.
func TestRenewedBesideARenewal(t *testing.T) {
	bubbleOf(t, false, func(t *testing.T, m *fakeMesh, c *Client) {
		const ttl = 9 * time.Second
		l := mustAcquire(t, c, "k", TTL(ttl))
		m.set(func() { m.fault = func(c fakeCall) fault { return fault{hang: c.Method == "Renew"} } })
		time.Sleep(5 * time.Second)
		k := c.keeper
		k.mu.Lock()
		if l.stopRenewal == nil {
			t.Error("no renewal is under way")
		}
		h := l.hold
		h.SafeFor = ttl
		l.extend(h, c.now()+ttl)
		k.requeue(l)
		k.mu.Unlock()
		m.set(func() { m.locks["k"].expires = time.Now().Add(ttl) })
		time.Sleep(4*time.Second + 100*time.Millisecond) // the renewal has given up: its deadline is over
		m.set(func() { m.fault = nil })
		time.Sleep(ttl)
		mustHold(t, []*Lock{l})
	})
}

// What a session renews counts for the TTL that the lock is attached with, which is all
// that its owner was asked for, however long it was once renewed for.
func TestKeptForItsTTL(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, _ *fakeMesh, c *Client) {
		const ttl = 12 * time.Second
		l := mustAcquire(t, c, "k", TTL(ttl))
		time.Sleep(20 * time.Second)
		if c.nodes[0].session.Kept() != 1 {
			t.Fatal("the lock is not attached")
		}
		k := c.keeper
		k.mu.Lock()
		h := l.hold
		h.TTL, h.SafeFor = 5*ttl, 5*ttl
		l.extend(h, c.now()+h.SafeFor) // as a renewal of its own, after Client.RenewToken
		k.requeue(l)
		k.mu.Unlock()
		time.Sleep(5*ttl - time.Second)
		if left := l.Remaining(); l.Err() != nil || left > ttl {
			t.Errorf("the lock (%v) is trusted for another %v, its session renews it for %v", l.Err(), left, ttl)
		}
	})
}
