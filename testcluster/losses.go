package testcluster

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// expiryTime bounds Expire.
const expiryTime = 10 * time.Second

// Expire ends all holds of a key now, as if their TTLs were over. A program's branch for a lost lock
// is tested with it: the locks of the cluster's clients end with client.ErrLost at once, and whoever
// waits for the key is served. A client that the cluster has not dialled learns of the loss when it
// renews the lock next.
//
// It fails with sharelock.ErrNotHeld if nobody holds the key, and if the key's owner cannot act now,
// such as while the mesh replaces a node that has failed; see WaitReady.
func (c *Cluster) Expire(key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), expiryTime)
	defer cancel()
	return c.in.Expire(ctx, key)
}

// FreezeRenewals makes sure that nothing renews a lock any more: neither its client, nor a node on
// behalf of the client's session, nor Lock.Renew, which blocks until its context or the lock ends.
// The lock is lost when its TTL is over, as it is when no node can be reached: contexts of
// Lock.Context end a tenth of the TTL earlier, then Lock.Done is closed, and a little later the owner
// of the key lets the hold expire and serves whoever waits.
//
// The lock must belong to a client of the cluster, or FreezeRenewals panics. It does nothing to a
// lock that has ended.
func (c *Cluster) FreezeRenewals(l *client.Lock) { c.in.FreezeRenewals(l) }
