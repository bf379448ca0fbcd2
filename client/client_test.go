package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/clientid"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs f with a fake mesh behind the addresses a, b and c and a client of
// it, in fake time: once with nodes that know sessions, once with others.
func bubble(t *testing.T, f func(t *testing.T, m *fakeMesh, c *Client)) {
	t.Helper()
	t.Run("session", func(t *testing.T) { bubbleOf(t, true, f) })
	t.Run("unary", func(t *testing.T) { bubbleOf(t, false, f) })
}

// clocked returns a context in which Dial makes a client with this clock.
func clocked(ctx context.Context, clock func() time.Duration) context.Context {
	return clienthook.With(ctx, clienthook.Hooks{Clock: clock})
}

func bubbleOf(t *testing.T, sessions bool, f func(t *testing.T, m *fakeMesh, c *Client)) {
	t.Helper()
	retryBubble(t, sessions, Retry{}, f)
}

// retryBubble is bubbleOf with a client that has its own idea of retries.
func retryBubble(t *testing.T, sessions bool, retry Retry, f func(t *testing.T, m *fakeMesh, c *Client)) {
	t.Helper()
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "a:1", "b:1", "c:1")
		m.set(func() { m.sessions = sessions })
		start := time.Now()
		c, err := Dial(clocked(t.Context(), func() time.Duration { return time.Since(start) }), []string{"a:1", "b:1", "c:1"}, Options{
			ClientID:    "tester",
			Retry:       retry,
			DialOptions: opts,
		})
		if err != nil {
			t.Fatalf("Dial: %v", err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		f(t, m, c)
	})
}

func mustAcquire(t *testing.T, c *Client, key string, opts ...Option) *Lock {
	t.Helper()
	l, err := c.Acquire(t.Context(), key, opts...)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return l
}

// faults makes the first n calls of a method fail in some way.
func faults(method string, n int, f fault) func(fakeCall) fault {
	return func(c fakeCall) fault {
		if c.Method == method && c.N <= n {
			return f
		}
		return fault{}
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func TestAcquireRelease(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k", TTL(20*time.Second), Metadata(map[string]string{"why": "test"}), Shared())
		if l.Key() != "k" || l.Token() != 1 || l.Err() != nil || l.Remaining() != 20*time.Second {
			t.Errorf("got key %q token %v err %v remaining %v", l.Key(), l.Token(), l.Err(), l.Remaining())
		}
		h := l.Hold()
		if h.ClientID != "tester" || h.TTL != 20*time.Second || h.Metadata["why"] != "test" || h.Mode != sharelock.Shared {
			t.Errorf("got hold %+v", h)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("Release: %v", err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("second Release: %v", err)
		}
		<-l.Done()
		wantErr(t, "Err", l.Err(), ErrReleased)
		if l.Remaining() != 0 {
			t.Errorf("got %v remaining after the release", l.Remaining())
		}
		releases := m.seen("Release")
		if len(releases) != 1 || !releases[0].Req.(*sharelockv1.ReleaseRequest).SentOnce {
			t.Errorf("got releases %v, want one with sent_once", releases)
		}
	})
}

func TestAcquireHeld(t *testing.T) {
	bubble(t, func(t *testing.T, _ *fakeMesh, c *Client) {
		l := mustAcquire(t, c, "k")
		_, err := c.TryAcquire(t.Context(), "k")
		wantErr(t, "TryAcquire", err, sharelock.ErrLockHeld)
		e, ok := errors.AsType[*sharelock.Error](err)
		if !ok || len(e.Holds) != 1 || e.Holds[0].Token != l.Token() {
			t.Errorf("got %+v, want the holder", e)
		}
		start := time.Now()
		_, err = c.Acquire(t.Context(), "k", Wait(3*time.Second))
		wantErr(t, "Acquire", err, sharelock.ErrLockHeld)
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("waited %v, want 3s", got)
		}
	})
}

func TestAcquireRefused(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		for name, opts := range map[string][]Option{
			"":                       nil,
			strings.Repeat("k", 513): nil,
			"a":                      {ClientID(strings.Repeat("c", 129))},
			"b":                      {Metadata(map[string]string{"": "x"})},
		} {
			_, err := c.Acquire(t.Context(), name, opts...)
			wantErr(t, name, err, sharelock.ErrInvalidArgument)
		}
		if n := len(m.seen("Acquire")); n != 0 {
			t.Errorf("%d acquires were sent", n)
		}
		m.setFault(faults("Acquire", 1, fault{before: status.Error(codes.PermissionDenied, "no")}))
		_, err := c.Acquire(t.Context(), "k")
		wantErr(t, "Acquire", err, sharelock.ErrPermissionDenied)
		if n := len(m.seen("Acquire")); n != 1 {
			t.Errorf("%d acquires were sent, want 1: a refusal is no reason to retry", n)
		}
	})
}

// Every attempt goes to the next node with the same request id; what is left of
// the wait is what the next one is told.
func TestAcquireFailsOver(t *testing.T) {
	for name, f := range map[string]fault{
		"unavailable": {before: unavailable()},
		"lost answer": {after: unavailable()},
		// By a node that ends at once: it is not the caller who cancelled.
		"cancelled": {before: status.Error(codes.Canceled, "context canceled")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
				m.setFault(faults("Acquire", 5, f))
				l := mustAcquire(t, c, "k", Wait(30*time.Second))
				calls := m.seen("Acquire")
				if len(calls) != 6 {
					t.Fatalf("got %d sends, want 6", len(calls))
				}
				for i, call := range calls {
					req, first := call.Req.(*sharelockv1.AcquireRequest), calls[0].Req.(*sharelockv1.AcquireRequest)
					if want := []string{"a:1", "b:1", "c:1"}[i%3]; call.Node != want {
						t.Errorf("send %d went to %s, want %s", i, call.Node, want)
					}
					if req.RequestId != first.RequestId || req.RequestId == "" {
						t.Errorf("send %d has request id %q, the first %q", i, req.RequestId, first.RequestId)
					}
					if got, want := req.Wait.AsDuration(), 30*time.Second-call.At.Sub(calls[0].At); got != want {
						t.Errorf("send %d waits %v, want %v", i, got, want)
					}
				}
				if l.Token() != 1 {
					t.Errorf("got token %v, want 1: one request id, one grant", l.Token())
				}
				if err := l.Release(t.Context()); err != nil {
					t.Errorf("Release: %v", err)
				}
				if m.seen("Release")[0].Req.(*sharelockv1.ReleaseRequest).SentOnce {
					t.Error("sent_once is set although the acquire was sent six times")
				}
			})
		})
	}
}

func TestAcquireUnreachable(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Acquire", 1e9, fault{before: sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrNoQuorum}).Err()}))
		start := time.Now()
		_, err := c.TryAcquire(t.Context(), "k")
		wantErr(t, "TryAcquire", err, ErrUnreachable)
		wantErr(t, "TryAcquire", err, sharelock.ErrNoQuorum)
		if got := time.Since(start); got < defaultPatience || got > defaultPatience+defaultLongestPause {
			t.Errorf("looked for %v, want about %v", got, defaultPatience)
		}
		start = time.Now()
		_, err = c.Acquire(t.Context(), "k", Wait(20*time.Second))
		wantErr(t, "Acquire", err, ErrUnreachable)
		if got := time.Since(start); got < 20*time.Second || got > 21*time.Second {
			t.Errorf("looked for %v, want as long as the wait", got)
		}
	})
}

// In quarantine no other node knows better.
func TestAcquireQuarantined(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Acquire", 1e9, fault{before: sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrQuarantined}).Err()}))
		_, err := c.TryAcquire(t.Context(), "k")
		wantErr(t, "TryAcquire", err, sharelock.ErrQuarantined)
		if n := len(m.seen("Acquire")); n != 1 {
			t.Errorf("got %d sends, want 1", n)
		}
	})
}

// Q3: the life counts from the send, not from the answer.
func TestDeadlineCountsFromSend(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(func(f fakeCall) fault {
			if f.Method == "Acquire" && f.N == 1 {
				return fault{after: unavailable()} // not from the first send either
			}
			return fault{late: 4 * time.Second}
		})
		l := mustAcquire(t, c, "k", TTL(10*time.Second), NoRenew())
		if got := l.Remaining(); got != 6*time.Second {
			t.Errorf("got %v remaining, want 10s - 4s", got)
		}
	})
}

// An answer that comes when the lock has run out by our clock is no lock.
func TestAnswerAfterDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Acquire", 1, fault{late: 1050 * time.Millisecond}))
		l := mustAcquire(t, c, "k", TTL(time.Second))
		if n := len(m.seen("Acquire")); n != 2 {
			t.Errorf("got %d sends, want 2", n)
		}
		if got := l.Remaining(); got != time.Second {
			t.Errorf("got %v remaining, want 1s", got)
		}
		if l.Token() != 1 {
			t.Errorf("got token %v, want the first grant renewed", l.Token())
		}
	})
}

// A TTL that is shorter than the round trip has an error of its own, and nothing stays held.
func TestTTLShorterThanRoundTrip(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(func(f fakeCall) fault {
			if f.Method == "Acquire" {
				return fault{late: 300 * time.Millisecond}
			}
			return fault{}
		})
		_, err := c.Acquire(t.Context(), "k", TTL(200*time.Millisecond), Wait(0))
		wantErr(t, "Acquire", err, errTooSlow)
		wantErr(t, "Acquire", err, ErrLost)
		if errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v, though the nodes were reached", err)
		}
	})
}

// A node that refused sessions once is asked again after a while.
func TestSessionsRelearned(t *testing.T) {
	bubbleOf(t, false, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k", NoRenew())
		n := c.nodes[0].session
		if _, ok := n.Reserve(); ok {
			t.Fatal("the node is not taken for one without sessions")
		}
		m.set(func() { m.sessions = true })
		time.Sleep(session.Relearn)
		mustAcquire(t, c, "other", NoRenew())
		if _, ok := n.Reserve(); !ok || !n.IsThere() {
			t.Error("sessions are not tried again")
		}
	})
}

// A request id that ended while its answers were lost is replaced.
func TestRequestOver(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		// The first answer comes after even the owner's, stretched, TTL.
		m.setFault(faults("Acquire", 1, fault{late: 3 * time.Second}))
		l := mustAcquire(t, c, "k", TTL(time.Second))
		if l.Token() != 2 || l.Remaining() != time.Second {
			t.Errorf("got token %v with %v remaining, want a second grant", l.Token(), l.Remaining())
		}

		m.setFault(nil)
		own := mustAcquire(t, c, "own", RequestID("mine"))
		if err := own.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := c.Acquire(t.Context(), "own", RequestID("mine"))
		wantErr(t, "Acquire with an old id", err, sharelock.ErrRequestOver)
	})
}

// Q2: an id that went unanswered for 30 s is never sent again.
func TestSilentRequestIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		var down atomic.Bool
		down.Store(true)
		m.setFault(func(f fakeCall) fault {
			if f.Method == "Acquire" && down.Load() {
				return fault{before: unavailable()}
			}
			return fault{}
		})
		time.AfterFunc(40*time.Second, func() { down.Store(false) })
		mustAcquire(t, c, "k", Wait(time.Minute))
		calls := m.seen("Acquire")
		first, last := calls[0], calls[len(calls)-1]
		if first.Req.(*sharelockv1.AcquireRequest).RequestId == last.Req.(*sharelockv1.AcquireRequest).RequestId {
			t.Errorf("the request id of the first send was still sent %v later", last.At.Sub(first.At))
		}
		for _, call := range calls {
			if call.At.Sub(first.At) > silence+defaultLongestPause && call.Req.(*sharelockv1.AcquireRequest).RequestId == first.Req.(*sharelockv1.AcquireRequest).RequestId {
				t.Errorf("the first request id was sent after %v", call.At.Sub(first.At))
			}
		}
		down.Store(true)
		_, err := c.Acquire(t.Context(), "k2", Wait(time.Minute), RequestID("mine"))
		wantErr(t, "Acquire", err, ErrUnreachable)
	})
}

// A caller that gives up leaves neither a place in the queue nor a grant.
func TestGivingUpLeavesNothing(t *testing.T) {
	t.Run("cancelled in the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			mustAcquire(t, c, "k")
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("changed my mind")
			time.AfterFunc(2*time.Second, func() { cancel(why) })
			_, err := c.Acquire(ctx, "k")
			wantErr(t, "Acquire", err, context.Canceled)
			wantErr(t, "Acquire", err, why)
			synctest.Wait()
			if _, queue := m.holder("k"); queue != 0 {
				t.Errorf("%d wait, want nobody", queue)
			}
		})
	})
	t.Run("deadline in the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			mustAcquire(t, c, "k")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Acquire(ctx, "k")
			wantErr(t, "Acquire", err, context.DeadlineExceeded)
			synctest.Wait()
			if _, queue := m.holder("k"); queue != 0 {
				t.Errorf("%d wait, want nobody", queue)
			}
		})
	})
	t.Run("cancelled as the grant is on its way", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(faults("Acquire", 1, fault{late: 5 * time.Second}))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := c.Acquire(ctx, "k")
			wantErr(t, "Acquire", err, context.Canceled)
			synctest.Wait()
			if token, _ := m.holder("k"); token != 0 {
				t.Errorf("token %v still holds the key", token)
			}
			if n := len(m.seen("GiveUp")); n != 1 {
				t.Errorf("got %d fences, want 1", n)
			}
		})
	})
	t.Run("closed in the queue", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			mustAcquire(t, c, "k")
			time.AfterFunc(time.Second, func() {
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			_, err := c.Acquire(t.Context(), "k")
			wantErr(t, "Acquire", err, ErrClosed)
			c.Close() // waits for the settling
			if _, queue := m.holder("k"); queue != 0 {
				t.Errorf("%d wait, want nobody", queue)
			}
		})
	})
}

func TestReleaseRepeated(t *testing.T) {
	t.Run("lost answer", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(faults("Release", 1, fault{after: unavailable()}))
			l := mustAcquire(t, c, "k")
			if err := l.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
			if n := len(m.seen("Release")); n != 2 {
				t.Errorf("got %d sends, want 2", n)
			}
		})
	})
	t.Run("lost answer, next holder", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(faults("Release", 1, fault{after: unavailable()}))
			l := mustAcquire(t, c, "k")
			next := make(chan *Lock, 1)
			go func() {
				n, err := c.Acquire(t.Context(), "k")
				if err != nil {
					t.Errorf("Acquire: %v", err)
				}
				next <- n
			}()
			synctest.Wait()
			if err := l.Release(t.Context()); err != nil {
				t.Errorf("Release: %v", err)
			}
			n := <-next
			if token, _ := m.holder("k"); token != uint64(n.Token()) {
				t.Errorf("token %v holds the key, want %v: a repeated release touched it", token, n.Token())
			}
		})
	})
	t.Run("over several calls", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(faults("Release", 1, fault{late: time.Hour}))
			l := mustAcquire(t, c, "k")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			wantErr(t, "Release", l.Release(ctx), context.DeadlineExceeded)
			if err := l.Release(t.Context()); err != nil {
				t.Errorf("second Release: %v", err)
			}
		})
	})
	t.Run("not held at the first send", func(t *testing.T) {
		bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
			_, err := c.ReleaseToken(t.Context(), "k", 7)
			wantErr(t, "ReleaseToken", err, sharelock.ErrNotHeld)
			m.setFault(faults("Release", 2, fault{before: unavailable()}))
			h, err := c.ReleaseToken(t.Context(), "k", 7)
			if err != nil || h.Token != 7 || h.Key != "k" {
				t.Errorf("got %+v, %v, want done after a send without an answer", h, err)
			}
		})
	})
}

func TestDo(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		ran := false
		err := c.Do(t.Context(), "k", func(ctx context.Context, l *Lock) error {
			ran = true
			token, _ := m.holder("k")
			if ctx.Err() != nil || token != uint64(l.Token()) {
				t.Errorf("got ctx %v, holder %v", ctx.Err(), token)
			}
			return nil
		})
		if err != nil || !ran {
			t.Errorf("got %v, ran %v", err, ran)
		}
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %v still holds the key", token)
		}

		failed := errors.New("failed")
		wantErr(t, "Do", c.Do(t.Context(), "k", func(context.Context, *Lock) error { return failed }), failed)

		// A cancelled caller still releases.
		ctx, cancel := context.WithCancel(t.Context())
		err = c.Do(ctx, "k", func(ctx context.Context, _ *Lock) error {
			cancel()
			<-ctx.Done()
			return nil
		})
		if token, _ := m.holder("k"); err != nil || token != 0 {
			t.Errorf("got %v, holder %v", err, token)
		}

		// Losing the lock is an error even if fn saw none.
		err = c.Do(t.Context(), "k", func(ctx context.Context, _ *Lock) error {
			m.force("k")
			<-ctx.Done()
			wantErr(t, "cause", context.Cause(ctx), ErrLost)
			return nil
		})
		wantErr(t, "Do", err, ErrLost)
		wantErr(t, "Do", err, sharelock.ErrNotHeld)

		func() {
			defer func() { _ = recover() }()
			_ = c.Do(t.Context(), "k", func(context.Context, *Lock) error { panic("fn") })
		}()
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %v holds the key after a panic", token)
		}
	})
}

func TestOtherCalls(t *testing.T) {
	bubble(t, func(t *testing.T, m *fakeMesh, c *Client) {
		ctx := t.Context()
		_, err := c.Get(ctx, "k")
		wantErr(t, "Get", err, sharelock.ErrNotHeld)
		l := mustAcquire(t, c, "k", NoRenew())
		m.setFault(func(c fakeCall) fault {
			if c.N == 1 {
				return fault{before: unavailable()}
			}
			return fault{}
		})
		if lock, err := c.Get(ctx, "k"); err != nil || lock.Holds[0].Token != l.Token() {
			t.Errorf("Get: %+v, %v", lock, err)
		}
		if h, err := c.RenewToken(ctx, "k", l.Token(), 40*time.Second); err != nil || h.TTL != 40*time.Second || h.SafeFor != 40*time.Second {
			t.Errorf("Renew: %+v, %v", h, err)
		}
		if check, err := c.CheckToken(ctx, "k", l.Token()); err != nil || !check.Current {
			t.Errorf("CheckToken: %+v, %v", check, err)
		}
		if check, err := c.CheckToken(ctx, "k", l.Token()+1); err != nil || check.Current {
			t.Errorf("CheckToken: %+v, %v", check, err)
		}
		page, err := c.List(ctx, sharelock.ListRequest{Prefix: "p", ClientID: "w", PageSize: 7, PageToken: "t"})
		if err != nil || page.NextPageToken != "7t" || page.Locks[0].Key != "p1" || page.Locks[0].Owner != "w" {
			t.Errorf("List: %+v, %v", page, err)
		}
		_, err = c.List(ctx, sharelock.ListRequest{PageSize: -1})
		wantErr(t, "List", err, sharelock.ErrInvalidArgument)
		if holds, err := c.ForceRelease(ctx, "k", 0, "test"); err != nil || len(holds) != 1 {
			t.Errorf("ForceRelease: %v, %v", holds, err)
		}
		if mesh, err := c.Mesh(ctx); err != nil || mesh.Cluster != "fake" {
			t.Errorf("Mesh: %v, %v", mesh, err)
		}
		if where, err := c.Locate(ctx, "k"); err != nil || where.Owner != "fake" {
			t.Errorf("Locate: %v, %v", where, err)
		}
		wantErr(t, "Leave with three addresses", c.Leave(ctx, false), sharelock.ErrInvalidArgument)

		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		_, err = c.Get(ctx, "k")
		wantErr(t, "Get", err, ErrClosed)
		_, err = c.Acquire(ctx, "k")
		wantErr(t, "Acquire", err, ErrClosed)
	})
}

func TestDial(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		m, opts := startMesh(t, "b:1")
		start := time.Now()
		clock := func() time.Duration { return time.Since(start) }
		c, err := Dial(clocked(t.Context(), clock), []string{"a:1", "b:1"}, Options{DialOptions: opts})
		if err != nil {
			t.Fatalf("Dial with one of two there: %v", err)
		}
		mustAcquire(t, c, "k")
		if got := m.seen("Acquire")[0].Req.(*sharelockv1.AcquireRequest).ClientId; got != clientid.Default() {
			t.Errorf("got client id %q, want the default %q", got, clientid.Default())
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}

		one, err := Dial(clocked(t.Context(), clock), []string{"b:1"}, Options{DialOptions: opts})
		if err != nil {
			t.Fatalf("Dial: %v", err)
		}
		wantErr(t, "Leave without an answer", one.Leave(t.Context(), false), ErrUnreachable)
		if err := one.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}

		began := time.Now()
		_, err = Dial(clocked(t.Context(), clock), []string{"x:1"}, Options{DialOptions: opts, Patience: 2 * time.Second})
		wantErr(t, "Dial with nobody there", err, ErrUnreachable)
		if !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %q, want the reason in it", err)
		}
		if got := time.Since(began); got > 4*time.Second {
			t.Errorf("looked for %v, want about 2s", got)
		}
		for _, addrs := range [][]string{nil, {"nohost"}} {
			if _, err := Dial(t.Context(), addrs, Options{}); err == nil {
				t.Errorf("Dial(%q) did not fail", addrs)
			}
		}
	})
}

func TestDefaultClientID(t *testing.T) {
	id := clientid.Default()
	if err := sharelock.CheckClientID(id); err != nil {
		t.Errorf("%q: %v", id, err)
	}
	if !strings.Contains(id, "@") || !strings.Contains(id, ":") {
		t.Errorf("got %q, want user@host:pid", id)
	}
}
