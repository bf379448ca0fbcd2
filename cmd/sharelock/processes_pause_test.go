//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// answer is the answer to an acquire of a program that uses plain HTTP.
type answer struct {
	sent, got time.Time
	status    int
	hold      struct {
		Token   sharelock.Token `json:",string"`
		SafeFor string
	}
	err error
}

// believable reports whether its client may consider itself the holder (Q3: it counts from its send).
func (a *answer) believable() bool {
	safe, err := time.ParseDuration(a.hold.SafeFor)
	return a.err == nil && a.status == http.StatusOK && err == nil && a.got.Sub(a.sent) < safe
}

func (a *answer) String() string {
	return fmt.Sprintf("status %d, token %d, safe for %s, after %v, error %v", a.status, a.hold.Token, a.hold.SafeFor, a.got.Sub(a.sent), a.err)
}

// post asks a node for a key, and does nothing else for the program.
func post(p *proc, key string, ttl, wait time.Duration) <-chan *answer {
	done := make(chan *answer, 1)
	a := &answer{sent: time.Now()}
	go func() {
		body := fmt.Sprintf(`{"clientId":"plain","ttl":"%fs","wait":"%fs"}`, ttl.Seconds(), wait.Seconds())
		to := &http.Client{Timeout: 10 * time.Minute}
		resp, err := to.Post("http://"+p.host+":50051/v1/locks/"+strings.ReplaceAll(key, "/", "%2F"), "application/json", strings.NewReader(body)) //nolint:noctx // bounded by the client
		a.got, a.err = time.Now(), err
		if err == nil {
			a.status = resp.StatusCode
			var all struct{ Hold any }
			all.Hold = &a.hold
			a.err = json.NewDecoder(resp.Body).Decode(&all)
			resp.Body.Close() //nolint:errcheck // it was read
		}
		done <- a
	}()
	return done
}

// inLine returns when n clients wait for a key.
func (r *rehearsal) inLine(c *client.Client, key string, n int) {
	r.t.Helper()
	r.await("they are in line", 10*time.Second, func() bool {
		l, err := c.Get(context.Background(), key)
		return err == nil && len(l.Waiters) == n
	})
}

// acquire acquires a lock that its client keeps alive, through nodes that keep running.
func (r *rehearsal) acquire(c *client.Client, key string, opts ...client.Option) *client.Lock {
	r.t.Helper()
	l, err := c.Acquire(context.Background(), key, opts...)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// meanwhile returns when all nodes are together again. It fails the test if a node that was paused made a
// plain client believe that it holds a key that other held all the time.
func (r *rehearsal) meanwhile(plain <-chan *answer, other *client.Lock, c *client.Client) {
	r.t.Helper()
	r.await("all are together again", 30*time.Second, func() bool { return r.whole(r.procs...) })
	holding(r.t, other).check(r.t, c)
	released := time.Now()
	holding(r.t, other).release(r.t)
	select {
	case a := <-plain:
		r.t.Logf("the node that was paused says %v", a)
		if a.believable() && (a.got.Before(released) || a.hold.Token <= other.Token()) {
			r.t.Errorf("the node that was paused says %v while another holds the key with token %d", a, other.Token())
		}
	case <-time.After(30 * time.Second):
		r.t.Error("the node that was paused never answers")
	}
}

// An owner is stopped for longer than its lease between a request and its answer: it waits for its backup,
// which acknowledges while the owner is stopped. The others take over and grant the key. The owner's
// answer when it continues must not be a grant that a client may believe (A2).
func pausedOwner(r *rehearsal) {
	all := r.procs
	anyone := r.client(all...)
	defer anyone.Close() //nolint:errcheck // nothing is held
	key, owner, backups := r.keyAt(anyone, "paused", func(owner *proc, _ []*proc) bool { return owner == all[1] })
	rest := r.client(but(all, owner)...)
	defer rest.Close() //nolint:errcheck // all is released

	r.pause(backups[0])
	plain := post(owner, key, time.Second, 0)
	time.Sleep(200 * time.Millisecond) // the owner has the request now, or finds it when it continues
	r.pause(owner)
	r.goOn(backups[0])
	r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, owner)...) })
	other := r.acquire(rest, key, client.TTL(longTTL), client.Wait(30*time.Second))
	r.goOn(owner)
	r.meanwhile(plain, other, rest)
}

// A node that forwards a request to its owner is stopped for longer than its lease and the lock's TTL,
// while the owner grants. The grant that the node passes on when it continues has expired, and says so
// (Q3).
func pausedForwarder(r *rehearsal) {
	all := r.procs
	anyone := r.client(all...)
	defer anyone.Close() //nolint:errcheck // nothing is held
	between := all[2]
	key, _, _ := r.keyAt(anyone, "led", func(owner *proc, backups []*proc) bool {
		return owner != between && !slices.Contains(backups, between)
	})
	rest := r.client(but(all, between)...)
	defer rest.Close() //nolint:errcheck // all is released

	first := r.acquire(rest, key)
	plain := post(between, key, time.Second, time.Minute)
	r.inLine(rest, key, 1)
	r.pause(between)
	if err := first.Release(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, between)...) })
	other := r.acquire(rest, key, client.TTL(longTTL), client.Wait(30*time.Second))
	r.goOn(between)
	r.meanwhile(plain, other, rest)
}

// The only copy of a lock, and of its queue, is at an owner that is stopped until the lock has expired and
// another is granted elsewhere. By the owner's state when it continues, the next waiter would be granted:
// it must not be.
func pausedLoneOwner(r *rehearsal, maxTTL time.Duration) {
	all := r.procs
	anyone := r.client(all...)
	defer anyone.Close() //nolint:errcheck // nothing is held
	key, owner, _ := r.keyAt(anyone, "alone", func(owner *proc, _ []*proc) bool { return owner == all[1] })
	rest := r.client(but(all, owner)...)
	defer rest.Close() //nolint:errcheck // all is released

	r.acquire(anyone, key, client.TTL(time.Second), client.NoRenew())
	plain := post(owner, key, maxTTL, 3*maxTTL+time.Minute)
	r.inLine(anyone, key, 1)
	r.pause(owner)
	r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, owner)...) })
	other := r.acquire(rest, key, client.TTL(maxTTL), client.Wait(2*maxTTL+10*time.Second))
	r.goOn(owner)
	r.meanwhile(plain, other, rest)
}
