package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/mesh"
)

// control records the control of a client.
func (c *Cluster) control(ctl clienthook.Control) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.controls = append(c.controls, ctl)
}

// clients returns the controls of all clients that the cluster has dialled.
func (c *Cluster) clients() []clienthook.Control {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.controls)
}

// Expire ends all holds of a key, as if their TTLs were over now. First they expire at the clients
// of this cluster that have them, as they do when no renewal is answered in time. Then the owner of
// the key lets the holds expire, tells its backups and serves the waiters. A client that the cluster
// has not dialled notices at its next renewal.
//
// It returns when the key can be granted again, with sharelock.ErrNotHeld if nobody holds the key,
// and with the owner's error if the owner cannot act now.
func (c *Cluster) Expire(ctx context.Context, key string) error {
	owner := c.Owner(key)
	if owner < 0 {
		return fmt.Errorf("expire %q: %w", key, sharelock.ErrNotReady)
	}
	node := c.Node(owner)
	if node == nil {
		return fmt.Errorf("expire %q: node %d, its owner, does not run", key, owner)
	}
	state, err := node.Get(ctx, key)
	if err == nil && len(state.Holds) == 0 {
		err = sharelock.ErrNotHeld
	}
	for _, h := range state.Holds {
		if err == nil {
			err = c.expire(ctx, node, key, h.Token)
		}
	}
	if err != nil {
		return fmt.Errorf("expire %q: %w", key, err)
	}
	return nil
}

func (c *Cluster) expire(ctx context.Context, owner *mesh.Node, key string, token sharelock.Token) error {
	call := c.history.begin(Call{Client: "testcluster", Op: Expire, Key: key, Token: token})
	for _, ctl := range c.clients() {
		ctl.Expire(key, token)
	}
	err := owner.Expire(key, token)
	if err == nil {
		// The answer comes after the backups have the end of the hold (A3).
		_, err = owner.CheckToken(ctx, key, token)
	}
	c.history.end(call, func(call *Call) { call.Err = err })
	if errors.Is(err, sharelock.ErrNotHeld) {
		return nil // it was released, or expired by itself, in between
	}
	return err
}

// FreezeRenewals stops all renewals of a lock: those of its client and those of the node that keeps it
// for the client's session. Lock.Renew then blocks until the lock ends. The lock is lost when its TTL
// is over, at the client first and then at the owner. The lock must belong to a client of this cluster.
// If it has ended already, nothing happens.
func (c *Cluster) FreezeRenewals(l *client.Lock) {
	for _, ctl := range c.clients() {
		if ctl.Freeze(l.Key(), l.Token()) {
			return
		}
	}
	if l.Err() == nil {
		panic("cluster: the lock is held by a client that is not the cluster's")
	}
}
