package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/session"
	"github.com/sgkandale/sharelock/internal/clientid"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

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
