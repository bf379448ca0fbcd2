//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client"
)

// crash kills (-9) a number of nodes at once, a few times in succession, under load: the owner of a
// key with waiters, and the first backups of the key. No lock is lost, no call fails, the queue
// keeps its order, and every key can be acquired again soon after the lease has ended.
func crash(r *rehearsal, rounds, deaths int) {
	all := r.procs
	clients := r.clients(all...)
	held := holdThirty(r.t, clients)
	l := newLoad(r.t, 200, longTTL, clients, never)
	each := pick(500*time.Millisecond, 5*time.Second)
	for round := range rounds {
		time.Sleep(each) // time for the load
		key, owner, backups := r.keyAt(clients[0], fmt.Sprint("crash", round), func(owner *proc, backups []*proc) bool {
			return owner == all[round%len(all)] && len(backups) >= deaths
		})
		victims := append([]*proc{owner}, backups[:deaths-1]...)
		q := newQueue(r, key, clients)
		killed := time.Now()
		names := ""
		for _, p := range victims {
			r.kill(p)
			names += p.name
		}
		r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, victims...)...) })
		again := time.Now()
		r.await("every key is granted again", 20*time.Second, func() bool { return l.since(again, every) })
		gap, of := l.gap(killed, every)
		r.t.Logf("killed %s: longest time without a grant %v (%s)", names, gap, of)
		if limit := 2*lease + time.Second; full() && gap > limit { // on a loaded machine real time proves nothing
			r.t.Errorf("%s was not granted for %v, want at most %v", of, gap, limit)
		}
		held.check(r.t, clients[0])
		q.end()
		r.again(victims...)
		r.t.Logf("%s back after %v", names, r.await("all are back", 30*time.Second, func() bool { return r.whole(all...) }))
	}
	l.end()
	held.check(r.t, clients[0])
	held.release(r.t)
}

// Without backups (ring.replicas: 1) a lock may be lost with its owner. Nobody gets its key before the lock
// must have expired.
func TestProcessesOneCopy(t *testing.T) {
	t.Parallel()
	maxTTL := pick(2*time.Second, 60*time.Second)
	r := newRehearsal(t, 3, fmt.Sprintf("ring:\n  replicas: 1\nlocks:\n  max_ttl: %v\n  default_ttl: 2s\n", maxTTL))
	r.form(3)
	if t.Run("PausedOwner", func(t *testing.T) { pausedLoneOwner(r.of(t), maxTTL) }) {
		t.Run("KillOne", func(t *testing.T) { crashWithoutBackups(r.of(t), maxTTL) })
	}
}

// kill -9 of one of three nodes: keys of the others stay available, keys of the dead one are available
// after lease and quarantine and not before, and the node takes part again.
func crashWithoutBackups(r *rehearsal, maxTTL time.Duration) {
	all, dead := r.procs, r.procs[0]
	clients := r.clients(all...)
	lost := map[string]bool{}
	for i := range loadKeys {
		loc, err := clients[0].Locate(context.Background(), loadKey(i))
		if err != nil {
			r.t.Fatal(err)
		}
		lost[loadKey(i)] = loc.Owner == dead.name
	}
	of := func(key string) bool { return lost[key] }
	// A release whose answer was lost with the node finds its lock gone.
	l := newLoad(r.t, 200, 2*time.Second, clients, func(err error) bool {
		return errors.Is(err, client.ErrLost) || errors.Is(err, sharelock.ErrQuarantined)
	})
	time.Sleep(pick(500*time.Millisecond, 5*time.Second)) // time for the load
	killed := time.Now()
	r.kill(dead)
	// What was granted before the kill and not answered is answered within a moment or never.
	back := r.await("a key of the dead node is granted again", maxTTL*11/10+15*time.Second, func() bool {
		return l.any(killed.Add(time.Second), of)
	})
	r.t.Logf("keys of the dead node came back after %v (not before %v is allowed)", back, maxTTL)
	if back < maxTTL {
		r.t.Errorf("a key of the dead node was granted after %v, within the longest TTL, %v", back, maxTTL)
	}
	r.again(dead)
	r.t.Log("it was back in", r.await("it is back", 20*time.Second, func() bool { return r.together(all...) }))
	now := time.Now()
	r.await("every key is granted", maxTTL*11/10+15*time.Second, func() bool { return l.since(now, every) })
	l.end()
	others, key := l.gap(killed, func(k string) bool { return !lost[k] })
	gap, _ := l.gap(killed, of)
	r.t.Logf("longest time without a grant: %v for keys of the others (%s), %v for keys of the dead node", others, key, gap)
	if full() && others > lease { // on a loaded machine real time proves nothing
		r.t.Errorf("keys of living owners stopped for %v", others)
	}
}

// kill -9 of all three nodes: the mesh forms again by itself, and tokens keep growing.
func TestProcessesKillAllAndRestart(t *testing.T) {
	t.Parallel()
	maxTTL := pick(time.Second, 60*time.Second)
	r := newRehearsal(t, 3, fmt.Sprintf("locks:\n  max_ttl: %v\n  default_ttl: 1s\n", maxTTL))
	all := r.form(3)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	before := map[string]sharelock.Token{}
	cl := r.clients(all...)[0]
	for i := range 20 {
		l, err := cl.Acquire(ctx, loadKey(i), client.TTL(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		before[loadKey(i)] = l.Token()
	}
	killed := time.Now()
	for _, p := range all {
		r.kill(p)
	}
	r.again(all...)
	t.Log("one mesh again after", r.await("the mesh is back", 30*time.Second, func() bool { return r.together(all...) }))
	for i := range 20 {
		l, err := cl.Acquire(ctx, loadKey(i), client.TTL(time.Second), client.Wait(maxTTL*2+10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if at := time.Since(killed); at < maxTTL {
			t.Errorf("%s granted %v after the crash, within the longest TTL, %v", loadKey(i), at, maxTTL)
		}
		if l.Token() <= before[loadKey(i)] {
			t.Errorf("%s: token %d after %d", loadKey(i), l.Token(), before[loadKey(i)])
		}
	}
	t.Log("every key granted again after", time.Since(killed))
}
