package testcluster_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/testcluster"
)

// An expired lock has ended for its holder and its contexts, for the owner and its backups, and for
// who waits. That holds for young locks and for those that a session keeps alive.
func TestExpire(t *testing.T) {
	const ttl = 10 * time.Second
	for _, tc := range []struct {
		name string
		held time.Duration
	}{{"young", 0}, {"kept alive", 2 * ttl}} {
		t.Run(tc.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := testcluster.Start(t, testcluster.Options{Nodes: 3, Net: testcluster.Memory, MaxTTL: ttl})
				holder, next := dial(t, c), dial(t, c)
				lock, err := holder.Acquire(t.Context(), "k")
				must(t, err)
				work, cancel := lock.Context(t.Context())
				defer cancel()
				served := make(chan error, 1)
				go func() {
					_, err := next.Acquire(t.Context(), "k", client.Wait(time.Minute))
					served <- err
				}()
				time.Sleep(tc.held + time.Second)
				must(t, lock.Err())

				began := time.Now()
				must(t, c.Expire("k"))
				if err := lock.Err(); !errors.Is(err, client.ErrLost) {
					t.Errorf("the lock ended with %v", err)
				}
				if cause := context.Cause(work); !errors.Is(cause, client.ErrLost) {
					t.Errorf("its context ended with %v", cause)
				}
				must(t, <-served)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the next in line was served after %v", took)
				}
				c.Kill(c.Owner("k"))
				must(t, c.WaitMembers(t.Context(), 2))
				if _, err := holder.RenewToken(t.Context(), "k", lock.Token(), 0); !errors.Is(err, sharelock.ErrStaleToken) {
					t.Errorf("after a crash of the owner, renewing the lost lock: %v", err)
				}
			})
		})
	}
}

// All holders of a key lose it, and a key that nobody holds is an error.
func TestExpireShared(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := testcluster.Start(t, testcluster.Options{Nodes: 1, Net: testcluster.Memory})
		if err := c.Expire("k"); !errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("nobody holds it: %v", err)
		}
		var locks []*client.Lock
		for range 3 {
			lock, err := dial(t, c).Acquire(t.Context(), "k", client.Shared())
			must(t, err)
			locks = append(locks, lock)
		}
		must(t, c.Expire("k"))
		for _, lock := range locks {
			if err := lock.Err(); !errors.Is(err, client.ErrLost) {
				t.Errorf("a lock ended with %v", err)
			}
		}
		c.Kill(0)
		if err := c.Expire("k"); err == nil || errors.Is(err, sharelock.ErrNotHeld) {
			t.Errorf("no node runs: %v", err)
		}
	})
}

// A client that the cluster does not know learns of it at its next renewal.
func TestExpireElsewhere(t *testing.T) {
	const ttl = 2 * time.Second
	c := testcluster.Start(t, testcluster.Options{Nodes: 1, MaxTTL: ttl})
	cl, err := client.Dial(t.Context(), []string{c.Addrs(0).GRPC}, client.Options{})
	must(t, err)
	defer cl.Close()
	lock, err := cl.Acquire(t.Context(), "k")
	must(t, err)
	must(t, c.Expire("k"))
	select {
	case <-lock.Done():
	case <-time.After(ttl):
		t.Fatal("a TTL later it is still held")
	}
	if err := lock.Err(); !errors.Is(err, client.ErrLost) {
		t.Errorf("it ended with %v", err)
	}
	another, err := cl.Acquire(t.Context(), "k")
	must(t, err)
	defer func() {
		if recover() == nil {
			t.Error("its renewals can be frozen, it seems")
		}
	}()
	c.FreezeRenewals(another)
}

// A frozen lock ends as one does whose renewals go unanswered, however it was kept before, and when
// it is renewed by hand.
func TestFreezeRenewals(t *testing.T) {
	const ttl = 10 * time.Second
	for _, tc := range []struct {
		name string
		held time.Duration
	}{{"young", 0}, {"renewed once", ttl / 2}, {"kept alive", 3 * ttl}} {
		t.Run(tc.name, func(t *testing.T) {
			virtual.Test(t, func(t *testing.T) {
				c := testcluster.Start(t, testcluster.Options{Nodes: 3, Net: testcluster.Memory, MaxTTL: ttl})
				cl := dial(t, c)
				lock, err := cl.Acquire(t.Context(), "k")
				must(t, err)
				other, err := cl.Acquire(t.Context(), "other")
				must(t, err)
				work, cancel := lock.Context(t.Context())
				defer cancel()
				time.Sleep(tc.held)

				c.FreezeRenewals(lock)
				frozen := time.Now()
				left := lock.Remaining()
				must(t, lock.Err())
				if err := lock.Renew(t.Context(), 0); !errors.Is(err, client.ErrLost) {
					t.Errorf("renewed by hand: %v", err)
				}
				if took := time.Since(frozen); took < left-time.Millisecond || took > left+time.Second {
					t.Errorf("it ended after %v; %v were left", took, left)
				}
				if cause := context.Cause(work); !errors.Is(cause, client.ErrLost) {
					t.Errorf("its context ended with %v", cause)
				}
				must(t, other.Err())
				// The owner gives the key to the next a tenth of the TTL later.
				_, err = cl.Acquire(t.Context(), "k", client.Wait(ttl/5))
				must(t, err)
				c.FreezeRenewals(lock) // has ended
				for _, call := range c.History().Calls() {
					if call.Key == "k" && call.Op == "renew" && call.OK() && call.Start.After(frozen) {
						t.Errorf("renewed at +%v: %+v", call.Start.Sub(frozen), call)
					}
				}
			})
		})
	}
}

// What Expire does is in the history, so that the checks at the end of the test know of it.
func TestExpireIsRecorded(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		c := testcluster.Start(t, testcluster.Options{Nodes: 1, Net: testcluster.Memory})
		_, err := dial(t, c).Acquire(t.Context(), "k", client.NoRenew())
		must(t, err)
		must(t, c.Expire("k"))
		_, err = dial(t, c).Acquire(t.Context(), "k", client.NoRenew())
		must(t, err)
		if got, want := calls(c, "k"), []string{"acquire", "expire", "acquire"}; !slices.Equal(got, want) {
			t.Errorf("the history has %v, want %v", got, want)
		}
		must(t, c.Check())
	})
}
