package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

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
