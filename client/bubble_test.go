package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/virtual"
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
