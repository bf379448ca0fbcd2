package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/internal/virtual"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// A front that takes calls and never answers holds up no call for ever: each has a bounded time, and goes to
// another node.
func TestCallsGoOnBehindAHangingFront(t *testing.T) {
	calls := map[string]func(ctx context.Context, c *Client, l *Lock) error{
		"get": func(ctx context.Context, c *Client, l *Lock) error { _, err := c.Get(ctx, l.Key()); return err },
		"list": func(ctx context.Context, c *Client, _ *Lock) error {
			_, err := c.List(ctx, sharelock.ListRequest{})
			return err
		},
		"check": func(ctx context.Context, c *Client, l *Lock) error {
			_, err := c.CheckToken(ctx, l.Key(), l.Token())
			return err
		},
		"renew": func(ctx context.Context, c *Client, l *Lock) error {
			_, err := c.RenewToken(ctx, l.Key(), l.Token(), 0)
			return err
		},
		"give": func(ctx context.Context, c *Client, l *Lock) error {
			_, err := c.ReleaseToken(ctx, l.Key(), l.Token())
			return err
		},
		"force": func(ctx context.Context, c *Client, l *Lock) error {
			_, err := c.ForceRelease(ctx, l.Key(), 0, "x")
			return err
		},
		"adopt": func(ctx context.Context, c *Client, l *Lock) error {
			_, err := c.Adopt(ctx, l.Key(), l.Token()+1)
			if errors.Is(err, sharelock.ErrStaleToken) {
				err = nil
			}
			return err
		},
		"lock": func(ctx context.Context, _ *Client, l *Lock) error { return l.Renew(ctx, 0) },
		"free": func(ctx context.Context, _ *Client, l *Lock) error { return l.Release(ctx) },
		"take": func(ctx context.Context, c *Client, _ *Lock) error {
			_, err := c.TryAcquire(ctx, "another")
			return err
		},
	}
	for name, call := range calls {
		for _, all := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				bubbleOf(t, false, func(t *testing.T, m *fakeMesh, c *Client) {
					l := mustAcquire(t, c, "k", TTL(10*time.Minute))
					m.setFault(func(call fakeCall) fault { return fault{hang: all || call.Node == "a:1"} })
					ctx, cancel := context.WithCancel(t.Context()) // without a deadline
					defer cancel()
					defer time.AfterFunc(time.Hour, cancel).Stop()
					began := time.Now()
					err := call(ctx, c, l)
					took := time.Since(began)
					if all && (!errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "does not answer")) {
						t.Errorf("with no other: %v", err)
					} else if !all && (err != nil || took > answerTime+time.Second) {
						t.Errorf("beside a node: %v after %v", err, took)
					}
					if most := 2*answerTime + 2*time.Second; took > most {
						t.Errorf("it took %v, want %v at most", took, most)
					}
					m.setFault(nil)
				})
			})
		}
	}
}

// lateLocks ends calls at the moment at which their deadline passes, before the caller has noticed.
type lateLocks struct {
	sharelockv1.LockServiceClient
}

func (lateLocks) Renew(ctx context.Context, _ *sharelockv1.RenewRequest, _ ...grpc.CallOption) (*sharelockv1.RenewResponse, error) {
	end, _ := ctx.Deadline()
	time.Sleep(time.Until(end))
	return nil, status.Error(codes.DeadlineExceeded, "stream terminated")
}

// A node knows the deadline of a call, and may end the call at the moment at which it passes. Whichever of the
// two notices first, the node has not answered in time.
func TestNodeNoticesTheDeadlineFirst(t *testing.T) {
	for range 200 {
		virtual.Test(t, func(t *testing.T) {
			n, c := &node{addr: "a:1", locks: lateLocks{}}, &Client{life: t.Context(), cleanup: t.Context()}
			renew := func(ctx context.Context, n *node, _ time.Duration) error {
				_, err := n.locks.Renew(ctx, nil)
				return err
			}
			err, timedOut := c.try(t.Context(), bounds{answer: answerTime}, n, 0, renew)
			if !timedOut || !strings.Contains(err.Error(), "does not answer") {
				t.Fatalf("got %v, timed out: %t, want that the node does not answer", err, timedOut)
			}
			_, err = c.unary(t.Context(), n, true, &sessionwire.Call{Kind: sessionwire.CallRenew})
			if err == nil || !strings.Contains(err.Error(), "does not answer") {
				t.Fatalf("got %v, want that the node does not answer", err)
			}
		})
	}
}
