package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// A fence overtakes the acquire that it ends: the late one is refused, and nobody holds the
// key. (Q2, Q6)
func TestFenceOvertakes(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Acquire", 1, fault{detour: 2 * time.Second}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Acquire(ctx, "k", TTL(30*time.Second))
		wantErr(t, "Acquire", err, context.DeadlineExceeded)
		time.Sleep(3 * time.Second)
		if n := len(m.seen("Acquire")); n != 1 {
			t.Errorf("got %d acquires, want 1", n)
		}
		if token, queue := m.holder("k"); token != 0 || queue != 0 {
			t.Errorf("token %d holds the key and %d wait, want nobody", token, queue)
		}
	})
}

// A try that is refused may have an earlier send under way, which nobody would know of.
func TestRefusedTryIsFenced(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		var lost *sharelockv1.AcquireRequest
		m.setFault(func(c fakeCall) fault {
			switch {
			case c.Method == "Acquire" && c.N == 2:
				lost = c.Req.(*sharelockv1.AcquireRequest)
				return fault{before: unavailable()}
			case c.Method == "Acquire" && c.N == 3:
				// As a send that arrives long after its caller has gone on.
				late := lost
				time.AfterFunc(2*time.Second, func() { _, _ = m.Acquire(context.Background(), late) })
			}
			return fault{}
		})
		l := mustAcquire(t, c, "k")
		_, err := c.TryAcquire(t.Context(), "k")
		wantErr(t, "TryAcquire", err, sharelock.ErrLockHeld)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d holds the key, want nobody", token)
		}
	})
}

// Q6: the owner may have no room for a fence; it is repeated for 33 s.
func TestFenceIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		began := time.Now()
		m.setFault(func(c fakeCall) fault {
			switch {
			case c.Method == "Acquire":
				return fault{after: unavailable(), late: time.Second}
			case time.Since(began) < 25*time.Second:
				return fault{before: sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrQuota}).Err()}
			}
			return fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := c.Acquire(ctx, "k", TTL(time.Minute))
		wantErr(t, "Acquire", err, context.DeadlineExceeded)
		time.Sleep(28 * time.Second)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d still holds the key", token)
		}
	})
}

// A node of an earlier release gives up by an acquire that does not wait.
func TestGivingUpWithoutFences(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.set(func() { m.noFences = true })
		m.setFault(faults("Acquire", 1, fault{late: 5 * time.Second}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Acquire(ctx, "k")
		wantErr(t, "Acquire", err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d still holds the key", token)
		}
	})
}

// stopped makes this process stand still for some time, as a debugger or SIGSTOP does.
type stopped struct {
	start time.Time
	ahead atomic.Int64
}

func (s *stopped) clock() time.Duration { return time.Since(s.start) + time.Duration(s.ahead.Load()) }

// stopBubble is a bubble whose client can be stopped.
func stopBubble(t *testing.T, f func(t *testing.T, m *fakeMesh, c *Client, stop *stopped)) {
	t.Helper()
	for _, sessions := range []bool{true, false} {
		t.Run(fmt.Sprint("sessions=", sessions), func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				m, opts := startMesh(t, "a:1", "b:1")
				m.set(func() { m.sessions = sessions })
				stop := &stopped{start: time.Now()}
				c, err := Dial(clocked(t.Context(), stop.clock), []string{"a:1", "b:1"}, Options{ClientID: "tester", DialOptions: opts})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close() //nolint:errcheck // nothing is left
				f(t, m, c, stop)
			})
		})
	}
}

// Q2: silence counts from the last moment before the gap. A request id that was silent for
// longer than the mesh remembers it is never sent again.
func TestStoppedWhileWaiting(t *testing.T) {
	stopBubble(t, func(t *testing.T, m *fakeMesh, c *Client, stop *stopped) {
		// The answer to the first acquire comes when the lock is long over.
		m.setFault(func(c fakeCall) fault {
			if c.Method == "Acquire" && c.N == 1 {
				time.AfterFunc(1500*time.Millisecond, func() { stop.ahead.Store(int64(100 * time.Second)) })
				return fault{late: 1600 * time.Millisecond}
			}
			return fault{}
		})
		_, err := c.Acquire(t.Context(), "k", RequestID("x"), TTL(2*time.Second))
		wantErr(t, "Acquire", err, ErrUnreachable)
		if n := len(m.seen("Acquire")); n != 1 {
			t.Errorf("the id was sent %d times, want once", n)
		}
	})
	t.Run("an id of ours", func(t *testing.T) {
		stopBubble(t, func(t *testing.T, m *fakeMesh, c *Client, stop *stopped) {
			m.setFault(func(c fakeCall) fault {
				if c.Method == "Acquire" && c.N == 1 {
					time.AfterFunc(1500*time.Millisecond, func() { stop.ahead.Store(int64(100 * time.Second)) })
					return fault{late: 1600 * time.Millisecond}
				}
				return fault{}
			})
			mustAcquire(t, c, "k", TTL(2*time.Second), Wait(5*time.Minute))
			calls := m.seen("Acquire")
			if len(calls) < 2 || requestID(calls[0]) == requestID(calls[1]) {
				t.Errorf("got %d acquires, want two with different ids", len(calls))
			}
		})
	})
	t.Run("a short gap", func(t *testing.T) {
		stopBubble(t, func(t *testing.T, m *fakeMesh, c *Client, stop *stopped) {
			m.setFault(func(c fakeCall) fault {
				if c.Method == "Acquire" && c.N == 1 {
					time.AfterFunc(1500*time.Millisecond, func() { stop.ahead.Store(int64(20 * time.Second)) })
					return fault{late: 1600 * time.Millisecond}
				}
				return fault{}
			})
			mustAcquire(t, c, "k", RequestID("x"), TTL(2*time.Second), Wait(time.Minute))
		})
	})
}

// Release is sent although its context has ended before the call, or ends during it.
func TestReleaseWithEndedContext(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		l := mustAcquire(t, c, "k")
		if err := l.Release(ended); err != nil {
			t.Errorf("Release: %v", err)
		}
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d still holds the key", token)
		}
		// No node answers: the caller waits for 3 s.
		l = mustAcquire(t, c, "k")
		m.setFault(func(fakeCall) fault { return fault{hang: true} })
		began := time.Now()
		if err := l.Release(ended); err == nil {
			t.Error("Release of a mesh that does not answer is nil")
		}
		if took := time.Since(began); took > backTime+time.Second {
			t.Errorf("Release took %v", took)
		}
	})
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k")
		m.setFault(faults("Release", 1, fault{hang: true}))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, "Release", l.Release(short), context.DeadlineExceeded)
		synctest.Wait()
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d still holds the key", token)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("Release after that: %v", err)
		}
	})
}

// Close waits as long as something is given back, however much that is.
func TestCloseGivesAllBack(t *testing.T) {
	const calls = 200
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k", NoRenew(), TTL(time.Minute))
		turn := make(chan struct{}, 1)
		var work sync.WaitGroup
		for range calls {
			work.Go(func() {
				_, err := c.Acquire(t.Context(), "k", Wait(time.Minute))
				wantErr(t, "Acquire", err, ErrClosed)
			})
		}
		synctest.Wait()
		if _, queue := m.holder("k"); queue != calls {
			t.Fatalf("%d wait, want %d", queue, calls)
		}
		// The mesh gives back ten in a second.
		m.slow = func() {
			turn <- struct{}{} // a mutex would stop the bubble's time
			time.Sleep(100 * time.Millisecond)
			<-turn
		}
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		work.Wait()
		if _, queue := m.holder("k"); queue != 0 {
			t.Errorf("%d still wait after %v", queue, time.Since(began))
		}
		if took := time.Since(began); took > longestClose+time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// Close does not wait for long for a mesh that has gone, or whose nodes are there and do nothing.
func TestCloseOfAMeshThatIsGone(t *testing.T) {
	for _, sessions := range []bool{true, false} {
		bubbleOf(t, sessions, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(func(fakeCall) fault { return fault{hang: true} })
			go func() { _, _ = c.Acquire(t.Context(), "k") }()
			synctest.Wait()
			most := changeClose + lookClose
			if sessions {
				m.set(func() { m.mute = true })
				most = 2 * quietClose
			}
			began := time.Now()
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := time.Since(began); took > most {
				t.Errorf("with sessions %t: Close took %v", sessions, took)
			}
		})
	}
}

// Close gives back what the client has even if the mesh cannot serve for the length of a view
// change, and so does a Release whose context has ended.
func TestGivingBackDuringAViewChange(t *testing.T) {
	const away = 8 * time.Second
	down := func(m *fakeMesh) {
		back := time.Now().Add(away)
		m.setFault(func(fakeCall) fault {
			if time.Now().Before(back) {
				return fault{before: unavailable()}
			}
			return fault{}
		})
	}
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k", NoRenew(), TTL(time.Minute))
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := c.Acquire(t.Context(), "k", Wait(time.Minute))
			wantErr(t, "Acquire", err, ErrClosed)
		})
		synctest.Wait()
		down(m)
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		waiting.Wait()
		if _, queue := m.holder("k"); queue != 0 {
			t.Errorf("%d still wait", queue)
		}
	})
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(time.Minute))
		down(m)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Release(ended); err == nil {
			t.Error("Release of a mesh that cannot serve is nil")
		}
		time.Sleep(away)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %d still holds the key", token)
		}
	})
}

// blocking is a logger's handler that blocks until it is let go.
type blocking struct {
	slog.Handler
	let   chan struct{}
	mu    sync.Mutex
	texts []string
}

func (b *blocking) Enabled(context.Context, slog.Level) bool { return true }

func (b *blocking) Handle(_ context.Context, r slog.Record) error {
	<-b.let
	b.mu.Lock()
	defer b.mu.Unlock()
	b.texts = append(b.texts, r.Message)
	return nil
}

// A logger that blocks does not stop the Done of locks; what it had no room for is counted.
func TestLoggerBlocks(t *testing.T) {
	for _, sessions := range []bool{true, false} {
		virtual.Test(t, func(t *testing.T) {
			m, opts := startMesh(t, "a:1")
			m.set(func() { m.sessions = sessions })
			start := time.Now()
			h := &blocking{Handler: slog.DiscardHandler, let: make(chan struct{})}
			c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) }), []string{"a:1"}, Options{
				DialOptions: opts, Logger: slog.New(h),
			})
			if err != nil {
				t.Fatal(err)
			}
			locks := make([]*Lock, mostLogged+10)
			for i := range locks {
				locks[i] = mustAcquire(t, c, fmt.Sprint("k", i), TTL(4*time.Second))
			}
			m.setFault(func(fakeCall) fault { return fault{before: unavailable()} })
			time.Sleep(6 * time.Second)
			for _, l := range locks {
				select {
				case <-l.Done():
				default:
					t.Fatalf("Done of %s is open 2 s after its end", l.Key())
				}
				if !errors.Is(l.Err(), ErrLost) {
					t.Fatalf("%s: %v", l.Key(), l.Err())
				}
			}
			close(h.let)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if n := len(h.texts); n == 0 || h.texts[n-1] != "log records were dropped because the logger was too slow" {
				t.Errorf("%d records, the last is %q", n, h.texts[max(n-1, 0)])
			}
		})
	}
}
