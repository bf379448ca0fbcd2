package client

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// retrying is bubble with a client that has its own idea of retries.
func retrying(t *testing.T, retry Retry, f func(t *testing.T, m *fakeMesh, c *Client)) {
	t.Helper()
	t.Run("session", func(t *testing.T) { retryBubble(t, true, retry, f) })
	t.Run("unary", func(t *testing.T) { retryBubble(t, false, retry, f) })
}

func noQuorum(hint time.Duration) error {
	return sharelockv1.ToStatus(&sharelock.Error{Err: sharelock.ErrNoQuorum, RetryAfter: hint}).Err()
}

// waiting are the acquires that were sent with a wait: not those that end one which
// was given up.
func waiting(m *fakeMesh) []fakeCall {
	return slices.DeleteFunc(m.seen("Acquire"), func(c fakeCall) bool {
		wait := c.Req.(*sharelockv1.AcquireRequest).Wait
		return wait != nil && wait.AsDuration() == 0
	})
}

func requestID(c fakeCall) string { return c.Req.(*sharelockv1.AcquireRequest).RequestId }

// Every call ends after as many attempts as it may make.
func TestRetryAttempts(t *testing.T) {
	retrying(t, Retry{Attempts: 4}, func(t *testing.T, m *fakeMesh, c *Client) {
		ctx := t.Context()
		l := mustAcquire(t, c, "held", NoRenew())
		for method, call := range map[string]func() error{
			"Acquire":      func() error { _, err := c.Acquire(ctx, "k", Wait(time.Minute)); return err },
			"Get":          func() error { _, err := c.Get(ctx, "k"); return err },
			"List":         func() error { _, err := c.List(ctx, sharelock.ListRequest{}); return err },
			"Renew":        func() error { _, err := c.RenewToken(ctx, "k", 1, 0); return err },
			"Release":      func() error { return l.Release(ctx) },
			"CheckToken":   func() error { _, err := c.CheckToken(ctx, "k", 1); return err },
			"ForceRelease": func() error { _, err := c.ForceRelease(ctx, "k", 1, ""); return err },
		} {
			before := len(m.seen(method))
			m.setFault(func(c fakeCall) fault {
				if c.Method == method {
					return fault{before: noQuorum(0)}
				}
				return fault{}
			})
			err := call()
			wantErr(t, method, err, ErrUnreachable)
			wantErr(t, method, err, sharelock.ErrNoQuorum)
			after := len(m.seen(method))
			if method == "Acquire" {
				before, after = 1, len(waiting(m))
			}
			if n := after - before; n != 4 {
				t.Errorf("%s: got %d sends, want 4", method, n)
			}
		}
		before := len(m.seen("Release"))
		m.setFault(func(fakeCall) fault { return fault{before: noQuorum(0)} })
		_, err := c.ReleaseToken(ctx, "k", 7)
		wantErr(t, "ReleaseToken", err, ErrUnreachable)
		if n := len(m.seen("Release")) - before; n != 4 {
			t.Errorf("ReleaseToken: got %d sends, want 4", n)
		}
		// One attempt less fails, and the last one counts.
		m.setFault(faults("Acquire", len(m.seen("Acquire"))+3, fault{before: unavailable()}))
		mustAcquire(t, c, "other", Wait(time.Minute))
	})
}

// An acquire whose attempts are used up may have been granted all the same: that is
// released in the background, however many attempts and however long it takes.
func TestRetryGivenUpGrant(t *testing.T) {
	retrying(t, Retry{Attempts: 2, FirstPause: time.Minute}, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(func(c fakeCall) fault {
			switch {
			case c.Method == "Acquire" && c.N <= 2:
				return fault{after: unavailable()}
			case c.N <= 7:
				return fault{before: unavailable()}
			}
			return fault{}
		})
		_, err := c.Acquire(t.Context(), "k", Wait(time.Minute))
		wantErr(t, "Acquire", err, ErrUnreachable)
		if token, _ := m.holder("k"); token != 1 {
			t.Fatalf("token %v holds the key, want 1: nothing is there to be released", token)
		}
		time.Sleep(3 * time.Second)
		if token, _ := m.holder("k"); token != 0 {
			t.Errorf("token %v still holds the key", token)
		}
		acquires, fences := m.seen("Acquire"), m.seen("GiveUp")
		if len(acquires) != 2 || len(fences) != 8 || fences[7].Req.(*sharelockv1.GiveUpRequest).RequestId != requestID(acquires[0]) {
			t.Errorf("got %d acquires and %d fences, want 2 and 8 with one request id", len(acquires), len(fences))
		}
	})
}

// As is its place in the queue.
func TestRetryGivenUpPlace(t *testing.T) {
	retryBubble(t, true, Retry{Attempts: 1}, func(t *testing.T, m *fakeMesh, c *Client) {
		mustAcquire(t, c, "k", NoRenew(), TTL(time.Minute))
		time.AfterFunc(time.Millisecond, func() { m.set(func() { m.muted = "a:1" }) })
		_, err := c.Acquire(t.Context(), "k", Wait(time.Minute))
		wantErr(t, "Acquire", err, ErrUnreachable)
		if _, queue := m.holder("k"); queue != 1 {
			t.Fatalf("%d wait, want the one who was given up", queue)
		}
		time.Sleep(3 * time.Second)
		if _, queue := m.holder("k"); queue != 0 {
			t.Errorf("%d wait, want nobody", queue)
		}
	})
}

// Who waited for long until its node was lost begins anew; a call that does not wait
// has made an attempt, however long that took.
func TestRetryCountsAnew(t *testing.T) {
	retrying(t, Retry{Attempts: 2}, func(t *testing.T, m *fakeMesh, c *Client) {
		slow := func(c fakeCall) fault {
			switch c.N {
			case 1:
				return fault{before: unavailable()}
			case 2, 3:
				return fault{delay: unseen + time.Second, before: unavailable()}
			}
			return fault{}
		}
		m.setFault(slow)
		mustAcquire(t, c, "k", Wait(time.Minute))
		_, err := c.Get(t.Context(), "k")
		wantErr(t, "Get", err, ErrUnreachable)
		if n := len(m.seen("Get")); n != 2 {
			t.Errorf("got %d sends, want 2", n)
		}
		m.setFault(func(f fakeCall) fault { f.N -= 4; return slow(f) })
		_, err = c.TryAcquire(t.Context(), "k2")
		wantErr(t, "TryAcquire", err, ErrUnreachable)
	})
}

// After every round of the addresses the pause doubles; chance takes less than half of
// it, and no hint of a node makes it longer than it may be.
func TestRetryPauses(t *testing.T) {
	for name, hint := range map[string]time.Duration{"own": 0, "hint": time.Hour} {
		t.Run(name, func(t *testing.T) {
			retrying(t, Retry{FirstPause: 100 * time.Millisecond, LongestPause: 500 * time.Millisecond}, func(t *testing.T, m *fakeMesh, c *Client) {
				m.setFault(faults("Acquire", 18, fault{before: noQuorum(hint)}))
				mustAcquire(t, c, "k")
				calls := m.seen("Acquire")
				if len(calls) != 19 {
					t.Fatalf("got %d sends, want 19", len(calls))
				}
				whole := true
				for i := 1; i < len(calls); i++ {
					got, least, most := calls[i].At.Sub(calls[i-1].At), time.Duration(0), time.Duration(0)
					if i%3 == 0 {
						most = []time.Duration{100, 200, 400, 500, 500, 500}[i/3-1] * time.Millisecond
						least = most / 2
						whole = whole && got == most
					}
					if hint > 0 && most > 0 {
						least, most = 500*time.Millisecond, 500*time.Millisecond
					}
					if got < least || got > most {
						t.Errorf("got %v before send %d, want %v to %v", got, i, least, most)
					}
				}
				if whole && hint == 0 {
					t.Error("the pauses are not left to chance")
				}
			})
		})
	}
}

// However long pauses may be, they do not overflow.
func TestRetryLongPauses(t *testing.T) {
	p := pauses{next: 1, longest: math.MaxInt64}
	for range 100 {
		if got := p.after(errors.New("any")); got < 0 {
			t.Fatalf("got a pause of %v", got)
		}
	}
	if got := p.after(nil); got < math.MaxInt64/2 {
		t.Errorf("got %v, want the longest", got)
	}
}

// Patience ends a pause, whatever its length.
func TestRetryPatience(t *testing.T) {
	retrying(t, Retry{Attempts: 100, FirstPause: time.Hour}, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Get", 1e9, fault{before: unavailable()}))
		start := time.Now()
		_, err := c.Get(t.Context(), "k")
		wantErr(t, "Get", err, ErrUnreachable)
		if got := time.Since(start); got != defaultPatience+time.Millisecond {
			t.Errorf("looked for %v, want the patience", got)
		}
	})
}

// Q2: a pause does not have an id sent that went unanswered for 30 s.
func TestRetryPauseLongerThanSilence(t *testing.T) {
	retrying(t, Retry{FirstPause: 4 * silence}, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Acquire", 3, fault{after: unavailable()}))
		l := mustAcquire(t, c, "k", TTL(10*time.Second), Wait(10*time.Minute))
		calls := m.seen("Acquire")
		if len(calls) != 4 || requestID(calls[2]) != requestID(calls[0]) || requestID(calls[3]) == requestID(calls[0]) {
			t.Errorf("got %d sends, want three with one id and the fourth with another", len(calls))
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if !m.seen("Release")[0].Req.(*sharelockv1.ReleaseRequest).SentOnce {
			t.Error("the new id was sent once, the release does not say so")
		}

		m.setFault(faults("Acquire", 7, fault{before: unavailable()}))
		_, err := c.Acquire(t.Context(), "k", RequestID("mine"), Wait(10*time.Minute))
		wantErr(t, "Acquire", err, ErrUnreachable)
		if n := len(m.seen("Acquire")) - 4; n != 3 {
			t.Errorf("the caller's own id was sent %d times, want 3", n)
		}
	})
}

// The timeout ends a call whatever it is at, and says why it was still at it.
func TestRetryTimeout(t *testing.T) {
	const timeout = 2 * time.Second
	ended := func(t *testing.T, c *Client, call func(ctx context.Context) error) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := call(ctx)
		wantErr(t, "call", err, context.DeadlineExceeded)
		wantErr(t, "call", err, errTimeout)
		if got := time.Since(start); got != timeout {
			t.Errorf("the call ended after %v, want %v", got, timeout)
		}
		// The caller's own context is heeded if it ends first.
		ctx, cancel = context.WithTimeout(t.Context(), timeout/2)
		defer cancel()
		start = time.Now()
		own := call(ctx)
		wantErr(t, "call", own, context.DeadlineExceeded)
		if got := time.Since(start); got != timeout/2 || errors.Is(own, errTimeout) {
			t.Errorf("the call ended after %v with %v, want its context's end", got, own)
		}
		return err
	}
	acquire := func(c *Client) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := c.Acquire(ctx, "k", Wait(time.Minute))
			return err
		}
	}
	get := func(c *Client) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err }
	}
	t.Run("node hangs", func(t *testing.T) {
		retrying(t, Retry{Timeout: timeout}, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(func(fakeCall) fault { return fault{hang: true} })
			ended(t, c, acquire(c))
			ended(t, c, get(c))
		})
	})
	t.Run("nodes cannot serve", func(t *testing.T) {
		retrying(t, Retry{Timeout: timeout}, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(func(fakeCall) fault { return fault{before: noQuorum(0)} })
			wantErr(t, "Acquire", ended(t, c, acquire(c)), sharelock.ErrNoQuorum)
			wantErr(t, "Get", ended(t, c, get(c)), sharelock.ErrNoQuorum)
		})
	})
	t.Run("waiting in line", func(t *testing.T) {
		retrying(t, Retry{Timeout: timeout}, func(t *testing.T, m *fakeMesh, c *Client) {
			mustAcquire(t, c, "k")
			ended(t, c, acquire(c))
			synctest.Wait()
			if _, queue := m.holder("k"); queue != 0 {
				t.Errorf("%d wait, want nobody", queue)
			}
		})
	})
	t.Run("settling", func(t *testing.T) {
		retrying(t, Retry{Timeout: time.Second}, func(t *testing.T, m *fakeMesh, c *Client) {
			m.setFault(faults("Acquire", 2, fault{late: 1500 * time.Millisecond, after: unavailable()}))
			_, err := c.Acquire(t.Context(), "k")
			wantErr(t, "Acquire", err, errTimeout)
			time.Sleep(3 * time.Second)
			if token, _ := m.holder("k"); token != 0 {
				t.Errorf("token %v still holds the key", token)
			}
		})
	})
}

// lateContext ends some time after its deadline.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

// A node that notices a deadline before the caller's context does is not the reason
// why the call ended.
func TestDeadlineNoticedByNode(t *testing.T) {
	bubbleOf(t, true, func(t *testing.T, m *fakeMesh, c *Client) {
		m.setFault(faults("Get", 1, fault{before: status.Error(codes.DeadlineExceeded, "fake")}))
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the very reason")
		time.AfterFunc(time.Millisecond, func() { cancel(why) })
		_, err := c.Get(t.Context(), "k")
		wantErr(t, "a call that its node ended", err, context.DeadlineExceeded)
		err = c.call(lateContext{ctx, time.Now()}, bounds{}, func(context.Context, *node, time.Duration) error {
			return status.Error(codes.DeadlineExceeded, "fake")
		})
		wantErr(t, "a call whose deadline is over", err, why)
	})
}

// A lock is kept at the client's own pace until it cannot be saved: by renewals of its
// own as well as by a session.
func TestRetryKeepsLocks(t *testing.T) {
	retry := Retry{Attempts: 1, FirstPause: time.Hour, Timeout: 50 * time.Millisecond}
	failing := func(c fakeCall) fault {
		if c.Method == "Renew" && c.N%9 != 0 {
			return fault{delay: 60 * time.Millisecond, before: unavailable()}
		}
		return fault{}
	}
	t.Run("own renewals", func(t *testing.T) {
		retrying(t, retry, func(t *testing.T, m *fakeMesh, c *Client) {
			m.set(func() { m.refuse = &sharelock.Error{Err: sharelock.ErrQuota} })
			l := mustAcquire(t, c, "k", TTL(9*time.Second))
			m.setFault(failing)
			time.Sleep(time.Minute)
			mustHold(t, []*Lock{l})
			if n := own(m); n < 9*10 {
				t.Errorf("got %d renewals, want nine for each third of the TTL", n)
			}
		})
	})
	t.Run("session", func(t *testing.T) {
		retryBubble(t, true, retry, func(t *testing.T, m *fakeMesh, c *Client) {
			l := mustAcquire(t, c, "k", TTL(9*time.Second))
			m.setFault(failing)
			time.Sleep(time.Minute)
			m.set(func() { m.broken = status.Error(codes.Unavailable, "broken on purpose") })
			time.Sleep(time.Minute)
			mustHold(t, []*Lock{l})
			if c.nodes[0].session.Kept()+c.nodes[1].session.Kept() != 1 {
				t.Error("the lock is not attached")
			}
		})
	})
}

// With few attempts Dial still finds the one address that answers.
func TestRetryDial(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		_, opts := startMesh(t, "c:1")
		c, err := Dial(t.Context(), []string{"a:1", "b:1", "c:1"}, Options{DialOptions: opts, Retry: Retry{Attempts: 1}})
		if err != nil {
			t.Fatalf("Dial: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		start := time.Now()
		_, err = Dial(t.Context(), []string{"a:1", "b:1"}, Options{DialOptions: opts, Retry: Retry{Attempts: 1}})
		wantErr(t, "Dial with nobody there", err, ErrUnreachable)
		if got := time.Since(start); got >= defaultPatience {
			t.Errorf("looked for %v, want an attempt for each address", got)
		}
	})
}

func TestRetryInvalid(t *testing.T) {
	for field, retry := range map[string]Retry{
		"Retry.Attempts":     {Attempts: -1},
		"Retry.FirstPause":   {FirstPause: -1},
		"Retry.LongestPause": {LongestPause: -1},
		"Retry.Timeout":      {Timeout: -1},
		"Retry.FirstPause: ": {FirstPause: 2, LongestPause: 1},
	} {
		_, err := Dial(t.Context(), []string{"a:1"}, Options{Retry: retry})
		wantErr(t, field, err, sharelock.ErrInvalidArgument)
		e, ok := errors.AsType[*sharelock.Error](err)
		if !ok || e.Field != strings.TrimSuffix(field, ": ") {
			t.Errorf("%+v: got %v, want an error that names the field", retry, err)
		}
	}
	_, err := Dial(t.Context(), []string{"a:1"}, Options{Retry: Retry{Attempts: -1, Timeout: -1}})
	for _, field := range []string{"Retry.Attempts", "Retry.Timeout"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want %s in it, too", err, field)
		}
	}
}

// One pause that is given moves the default of the other.
func TestRetryDefaults(t *testing.T) {
	for give, want := range map[Retry]Retry{
		{}:                            {FirstPause: defaultFirstPause, LongestPause: defaultLongestPause},
		{FirstPause: time.Minute}:     {FirstPause: time.Minute, LongestPause: time.Minute},
		{LongestPause: 1}:             {FirstPause: 1, LongestPause: 1},
		{FirstPause: time.Nanosecond}: {FirstPause: 1, LongestPause: defaultLongestPause},
		{LongestPause: time.Minute}:   {FirstPause: defaultFirstPause, LongestPause: time.Minute},
		{FirstPause: 3, LongestPause: 3, Attempts: 2}: {FirstPause: 3, LongestPause: 3, Attempts: 2},
	} {
		if got := give.withDefaults(); got != want || give.check() != nil || want.check() != nil {
			t.Errorf("%+v: got %+v, want %+v", give, got, want)
		}
	}
}
