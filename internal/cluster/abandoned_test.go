package cluster_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/virtual"
)

// A caller without a request id disconnects while the owner is unreachable for longer than the caller's
// node waits for it. What was granted is released as soon as the owner is back.
func TestSimAbandonedWhileOwnerIsAway(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		const ttl = 2 * time.Minute
		c := cluster.Start(inRAM(t), cluster.Options{
			// No member is evicted while the pair is cut.
			Net: cluster.Memory, Nodes: 3, Timing: 30 * time.Second, MaxTTL: ttl, Configure: copies(1),
			Without: []cluster.Invariant{cluster.Linearizable},
		})
		ctx := patient(t)
		must(t, c.WaitMembers(ctx, 3))
		const entry, owner = 0, 1
		key := keyOwnedBy(t, c, owner)
		other := keyOwnedBy(t, c, owner, key)
		holder, err := c.Client(owner).Acquire(ctx, key)
		must(t, err)
		calling, leave := context.WithCancel(ctx)
		left := make(chan error, 1)
		go func() {
			left <- post(calling, c, entry, key, `{"clientId":"c","wait":"1m"}`)
		}()
		waitQueue(ctx, t, c, owner, key, 1)
		undelivered, err := c.Node(entry).Acquire(ctx, sharelock.AcquireRequest{Key: other, ClientID: "c", TTL: ttl})
		must(t, err)

		c.Cut(entry, owner)
		c.Cut(owner, entry)
		must(t, holder.Release(ctx))
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that left was answered %v", err)
		}
		released := c.Node(entry).TakeBack(undelivered)
		pause(ctx, 5*time.Second)
		c.Reset(entry, owner) // what was sent is lost
		c.Mend(entry, owner)
		c.Mend(owner, entry)

		last := outside(ctx, t, c, "last", owner)
		for _, k := range []string{key, other} {
			l, err := last.Acquire(ctx, k, client.Wait(ttl/4))
			if err != nil {
				t.Errorf("%q is left: %v", k, err)
				continue
			}
			must(t, l.Release(ctx))
		}
		select {
		case <-released:
		case <-ctx.Done():
			t.Error("the release does not end")
		}
	})
}

// post sends an acquire over HTTP and returns why it failed.
func post(ctx context.Context, c *cluster.Cluster, node int, key, body string) error {
	web := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return c.DialContext(ctx, addr) },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.Addrs(node).HTTP+"/v1/locks/"+key, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	return errors.Join(resp.Body.Close(), errors.New(resp.Status))
}

// Q2: an acquire with a request id whose wait ends while the owner is unreachable is refused, and its id
// is over: an earlier send of the same id, through another node, is not granted when it arrives late.
func TestSimWaitEndsWhileOwnerIsAway(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := cluster.Start(inRAM(t), cluster.Options{Net: cluster.Memory, Nodes: 3, Without: []cluster.Invariant{cluster.Linearizable}})
		ctx := patient(t)
		must(t, c.WaitMembers(ctx, 3))
		const entry, owner, other = 0, 1, 2
		key := keyOwnedBy(t, c, owner)
		holder, err := c.Client(entry).Acquire(ctx, key)
		must(t, err)
		c.Kill(owner)
		request := sharelock.AcquireRequest{Key: key, ClientID: "c", RequestID: "own", TTL: time.Second, Wait: 10 * time.Millisecond}
		if _, err := c.Node(entry).Acquire(ctx, request); !errors.Is(err, sharelock.ErrLockHeld) {
			t.Errorf("the wait ended with %v, want %v", err, sharelock.ErrLockHeld)
		}
		must(t, holder.Release(ctx))
		request.Wait = time.Minute
		if h, err := c.Node(other).Acquire(ctx, request); !errors.Is(err, sharelock.ErrRequestOver) {
			t.Errorf("an earlier send that comes late is answered %+v, %v, want %v", h, err, sharelock.ErrRequestOver)
		}
	})
}
