package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/testcluster/locktest"
)

// TestConformance runs the suite against a mesh through every API. Its keys have owners all over
// the mesh, so a client of one node meets owners that are this node and owners that are not.
func TestConformance(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Timing: 2 * time.Second})
	t.Run("Node", func(t *testing.T) {
		locktest.Run(t, func(_ *testing.T, id string) locktest.Locker { return nodeLocker{c, 0, id} })
	})
	t.Run("Client", func(t *testing.T) {
		locktest.Run(t, func(t *testing.T, id string) locktest.Locker {
			cl, err := c.Dial(limited(t), client.Options{ClientID: id}, 1)
			must(t, err)
			t.Cleanup(func() { must(t, cl.Close()) })
			return clientLocker{cl}
		})
	})
	t.Run("HTTP", func(t *testing.T) {
		locktest.Run(t, func(t *testing.T, id string) locktest.Locker {
			l := httpLocker{base: "http://" + c.Addrs(2).HTTP, id: id, client: &http.Client{Transport: &http.Transport{}}}
			t.Cleanup(l.client.CloseIdleConnections)
			return l
		})
	})
}

// nodeLocker calls a node in this program directly.
type nodeLocker struct {
	c  *cluster.Cluster
	i  int
	id string
}

func (l nodeLocker) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	r.ClientID = l.id
	return l.c.Node(l.i).Acquire(ctx, r)
}

func (l nodeLocker) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error) {
	return l.c.Node(l.i).Renew(ctx, key, token, ttl, nil)
}

func (l nodeLocker) Release(ctx context.Context, key string, token sharelock.Token) error {
	_, err := l.c.Node(l.i).Release(ctx, key, token, false)
	return err
}

func (l nodeLocker) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	return l.c.Node(l.i).Get(ctx, key)
}

func (l nodeLocker) CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	return l.c.Node(l.i).CheckToken(ctx, key, token)
}

// clientLocker uses the Go client.
type clientLocker struct{ *client.Client }

func (l clientLocker) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	opts := []client.Option{
		client.NoRenew(), client.TTL(r.TTL), client.Wait(r.Wait), client.Slots(r.Slots),
		client.Metadata(r.Metadata), client.RequestID(r.RequestID),
	}
	if r.Mode == sharelock.Shared {
		opts = append(opts, client.Shared())
	}
	lock, err := l.Client.Acquire(ctx, r.Key, opts...)
	if err != nil {
		return sharelock.Hold{}, err
	}
	return lock.Hold(), nil
}

func (l clientLocker) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error) {
	return l.RenewToken(ctx, key, token, ttl)
}

func (l clientLocker) Release(ctx context.Context, key string, token sharelock.Token) error {
	_, err := l.ReleaseToken(ctx, key, token)
	return err
}

// httpLocker uses HTTP and JSON, as a program in another language would.
type httpLocker struct {
	base, id string
	client   *http.Client
}

// The parts of the JSON API that the suite checks.
type (
	jsonHold struct {
		Key, Token, ClientID, RequestID, Mode, TTL, ExpiresIn, SafeFor, Node string

		Slots    uint32
		Metadata map[string]string
	}
	jsonError struct {
		Reason, Message string
		Details         struct {
			Holds       []jsonHold
			QueueLength int
		}
	}
	jsonAnswer struct {
		Hold *jsonHold
		Lock *struct {
			Key     string
			Holds   []jsonHold
			Waiters []struct{ ClientID, RequestID string }
		}
		Error *jsonError
	}
)

func (h jsonHold) hold() sharelock.Hold {
	token, _ := strconv.ParseUint(h.Token, 10, 63)
	seconds := func(s string) time.Duration {
		d, _ := time.ParseDuration(s)
		return d
	}
	mode := sharelock.Exclusive
	if h.Mode == "SHARED" {
		mode = sharelock.Shared
	}
	return sharelock.Hold{
		Key: h.Key, Token: sharelock.Token(token), ClientID: h.ClientID, RequestID: h.RequestID, Mode: mode, Slots: h.Slots,
		TTL: seconds(h.TTL), ExpiresIn: seconds(h.ExpiresIn), SafeFor: seconds(h.SafeFor), Node: h.Node, Metadata: h.Metadata,
	}
}

// reasons maps the reasons in error bodies to errors.
func reasons() map[string]error {
	return map[string]error{
		"INVALID_ARGUMENT": sharelock.ErrInvalidArgument, "LOCK_HELD": sharelock.ErrLockHeld, "NOT_HELD": sharelock.ErrNotHeld,
		"STALE_TOKEN": sharelock.ErrStaleToken, "MODE_CONFLICT": sharelock.ErrModeConflict, "REQUEST_OVER": sharelock.ErrRequestOver,
	}
}

func (l httpLocker) call(ctx context.Context, method, path string, body any) (jsonAnswer, error) {
	var a jsonAnswer
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return a, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, l.base+path, &sent)
	if err != nil {
		return a, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read from
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return a, fmt.Errorf("%s %s: %s: %w", method, path, resp.Status, err)
	}
	if resp.StatusCode == http.StatusOK {
		return a, nil
	}
	if a.Error == nil {
		return a, fmt.Errorf("%s %s: %s without an error", method, path, resp.Status)
	}
	e := &sharelock.Error{Err: reasons()[a.Error.Reason], Message: a.Error.Message, Queue: a.Error.Details.QueueLength}
	if e.Err == nil {
		return a, fmt.Errorf("%s %s: %s: %+v", method, path, resp.Status, a.Error)
	}
	for _, h := range a.Error.Details.Holds {
		e.Holds = append(e.Holds, h.hold())
	}
	return a, e
}

func (l httpLocker) path(key string) string { return "/v1/locks/" + url.PathEscape(key) }

func (l httpLocker) hold(a jsonAnswer, err error) (sharelock.Hold, error) {
	if err != nil {
		return sharelock.Hold{}, err
	}
	if a.Hold == nil {
		return sharelock.Hold{}, errors.New("an answer without a hold")
	}
	return a.Hold.hold(), nil
}

// seconds formats a duration as proto3 JSON does.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 9, 64) + "s" }

func (l httpLocker) Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error) {
	return l.hold(l.call(ctx, http.MethodPost, l.path(r.Key), map[string]any{
		"clientId": l.id, "requestId": r.RequestID, "ttl": seconds(r.TTL), "wait": seconds(r.Wait),
		"mode": r.Mode.String(), "slots": r.Slots, "metadata": r.Metadata,
	}))
}

func (l httpLocker) Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration) (sharelock.Hold, error) {
	body := map[string]any{"token": token.String()}
	if ttl != 0 {
		body["ttl"] = seconds(ttl)
	}
	return l.hold(l.call(ctx, http.MethodPatch, l.path(key), body))
}

func (l httpLocker) Release(ctx context.Context, key string, token sharelock.Token) error {
	_, err := l.call(ctx, http.MethodDelete, l.path(key)+"?token="+token.String(), nil)
	return err
}

func (l httpLocker) Get(ctx context.Context, key string) (sharelock.KeyState, error) {
	a, err := l.call(ctx, http.MethodGet, l.path(key), nil)
	if err != nil {
		return sharelock.KeyState{}, err
	}
	if a.Lock == nil {
		return sharelock.KeyState{}, errors.New("an answer without a lock")
	}
	lock := sharelock.KeyState{Key: a.Lock.Key}
	for _, h := range a.Lock.Holds {
		lock.Holds = append(lock.Holds, h.hold())
	}
	for _, w := range a.Lock.Waiters {
		lock.Waiters = append(lock.Waiters, sharelock.Waiter{ClientID: w.ClientID, RequestID: w.RequestID})
	}
	return lock, nil
}

func (l httpLocker) CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error) {
	_, err := l.call(ctx, http.MethodGet, l.path(key)+"/token/"+token.String(), nil)
	if errors.Is(err, sharelock.ErrStaleToken) {
		return sharelock.TokenCheck{}, nil
	}
	return sharelock.TokenCheck{Current: err == nil}, err
}
