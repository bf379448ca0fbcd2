package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func TestReleaseAll(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		for i := range 200 {
			mustAcquire(t, c, fmt.Sprint("k", i))
		}
		if err := c.ReleaseAll(t.Context()); err != nil {
			t.Error(err)
		}
		for i := range 200 {
			if token, _ := m.holder(fmt.Sprint("k", i)); token != 0 {
				t.Errorf("k%d is still held", i)
			}
		}
		if st := c.Stats(); st.Held != 0 || st.Lost != 0 {
			t.Errorf("stats %+v", st)
		}
		mustAcquire(t, c, "k")
		m.setFault(func(fakeCall) fault { return fault{before: noQuorum(0)} })
		wantErr(t, "ReleaseAll", c.ReleaseAll(t.Context()), ErrUnreachable)
	})
}

// A renewal with another TTL counts at once, and for the renewals that follow.
func TestLockRenew(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(10*time.Second))
		time.Sleep(4 * time.Second) // a session keeps it by now
		if err := l.Renew(t.Context(), 40*time.Second); err != nil {
			t.Fatal(err)
		}
		if left := l.Remaining(); left != 40*time.Second || l.Hold().TTL != 40*time.Second {
			t.Errorf("%v left, TTL %v", left, l.Hold().TTL)
		}
		time.Sleep(2 * time.Minute)
		if err := l.Err(); err != nil || l.Remaining() < 15*time.Second {
			t.Errorf("%v left: %v", l.Remaining(), err)
		}
		if st := c.Stats(); st.Renewals < 3 || st.Held != 1 {
			t.Errorf("stats %+v", st)
		}
		wantErr(t, "a TTL that is too short", l.Renew(t.Context(), 1), sharelock.ErrInvalidArgument)
		m.force("k")
		wantErr(t, "Renew", l.Renew(t.Context(), 0), ErrLost)
		wantErr(t, "Err", l.Err(), ErrLost)
		if st := c.Stats(); st.Lost != 1 || st.Held != 0 {
			t.Errorf("stats %+v", st)
		}
		wantErr(t, "Release", l.Release(t.Context()), ErrLost)
	})
}

func TestLockCheck(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(time.Minute))
		if err := l.Check(t.Context()); err != nil {
			t.Error(err)
		}
		m.setFault(func(fakeCall) fault { return fault{before: noQuorum(0)} })
		wantErr(t, "Check", l.Check(t.Context()), sharelock.ErrNoQuorum)
		if l.Err() != nil {
			t.Errorf("a check without an answer ended the lock: %v", l.Err())
		}
		m.setFault(nil)
		m.force("k")
		wantErr(t, "Check", l.Check(t.Context()), ErrLost)
		<-l.Done()
	})
}

// A hold that was handed over keeps itself, as one that was acquired here.
func TestAdopt(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		var h *sharelockv1.Hold
		m.set(func() {
			h = m.grant(m.lock("k"), &sharelockv1.AcquireRequest{Key: "k", ClientId: "other", RequestId: "r", Metadata: map[string]string{"a": "b"}})
		})
		l, err := c.Adopt(t.Context(), "k", sharelock.Token(h.Token))
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Adopt(t.Context(), "k", sharelock.Token(h.Token))
		if err != nil || again != l {
			t.Errorf("adopted again: %p, %v; want %p", again, err, l)
		}
		time.Sleep(2 * time.Minute)
		if err := l.Err(); err != nil || l.Hold().ClientID != "other" || l.Hold().Metadata["a"] != "b" {
			t.Errorf("after two minutes: %v, %+v", err, l.Hold())
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		_, err = c.Adopt(t.Context(), "k", sharelock.Token(h.Token))
		wantErr(t, "Adopt of what is over", err, sharelock.ErrNotHeld)
	})
}

func TestHandles(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		mu, rw, sem := c.Mutex("m", TTL(20*time.Second)), c.RWMutex("rw"), c.Semaphore("s", 3)
		want := []struct {
			key  string
			ttl  time.Duration
			mode sharelockv1.Mode
			n    uint32
			wait bool
		}{
			{"m", 20 * time.Second, 0, 0, true},
			{"rw", 0, 0, 0, true},
			{"rw", 0, sharelockv1.Mode_SHARED, 0, true},
			{"s", 0, 0, 3, true},
			{"s", 0, 0, 3, false},
		}
		for _, lock := range []func() (*Lock, error){
			func() (*Lock, error) { return mu.Lock(t.Context()) },
			func() (*Lock, error) { return rw.Lock(t.Context()) },
			func() (*Lock, error) { return rw.RLock(t.Context()) },
			func() (*Lock, error) { return sem.Lock(t.Context()) },
			func() (*Lock, error) { return sem.TryLock(t.Context()) },
		} {
			l, err := lock()
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for i, call := range m.seen("Acquire") {
			r, w := call.Req.(*sharelockv1.AcquireRequest), want[i]
			waits := r.Wait == nil || r.Wait.AsDuration() > 0
			if r.Key != w.key || r.Ttl.AsDuration() != w.ttl || r.Mode != w.mode || r.Slots != w.n || waits != w.wait {
				t.Errorf("acquire %d is %v, want %+v", i, r, w)
			}
		}
		mustAcquire(t, c, "m")
		_, err := mu.TryLock(t.Context())
		wantErr(t, "TryLock", err, sharelock.ErrLockHeld)
	})
}
