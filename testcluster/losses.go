package testcluster

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// expiryTime bounds Expire.
const expiryTime = 10 * time.Second

// Expire ends all holds of a key now, as if their TTLs were over. Use it to test how a program handles a
// lost lock: the locks of the cluster's clients end with client.ErrLost at once, and the waiters of the
// key are served. A client that the cluster has not dialled learns of the loss when it renews the lock
// next.
//
// It fails with sharelock.ErrNotHeld if nobody holds the key. It also fails if the key's owner cannot act
// now, for example while the mesh replaces a failed node; see WaitReady.
func (c *Cluster) Expire(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), expiryTime)
	defer cancel()
	return c.in.Expire(ctx, key)
}

// FreezeRenewals stops all renewals of a lock: those of its client and those of a node for the client's
// session. Lock.Renew then blocks until its context or the lock ends. The lock is lost when its TTL is
// over, as it is when no node can be reached: contexts of Lock.Context end a tenth of the TTL earlier,
// then Lock.Done is closed, and a little later the owner of the key lets the hold expire and serves the
// waiters.
//
// The lock must belong to a client of the cluster, or FreezeRenewals panics. It does nothing to a
// lock that has ended.
func (c *Cluster) FreezeRenewals(l *client.Lock) { c.in.FreezeRenewals(l) }
