//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/client"
)

// Three nodes with the default configuration, and changes and faults one after the other. None of them
// costs a lock or fails a call.
func TestProcessesThree(t *testing.T) {
	r := newRehearsal(t, 3, "")
	steps := []struct {
		name string
		run  func(*rehearsal)
	}{
		{"LateSeed", lateSeed},
		{"FourthJoins", fourthJoins},
		{"RollingRestart", func(r *rehearsal) { rollingRestart(r, 3) }},
		{"KillOne", func(r *rehearsal) { crash(r, pick(1, 3), 1) }},
		{"PausedOwner", pausedOwner},
		{"PausedForwarder", pausedForwarder},
		{"LeaveByRequest", leaveByRequest},
	}
	for _, s := range steps {
		if !t.Run(s.name, func(t *testing.T) { s.run(r.of(t)) }) {
			return // the next steps need the mesh as this step leaves it
		}
	}
}

// Five nodes keep three copies, so any two may die at the same time.
func TestProcessesFive(t *testing.T) {
	r := newRehearsal(t, 5, "")
	r.form(5)
	if t.Run("KillTwo", func(t *testing.T) { crash(r.of(t), pick(1, 5), 2) }) {
		t.Run("RollingRestart", func(t *testing.T) { rollingRestart(r.of(t), pick(2, 5)) })
	}
}

// Nodes that are started in any order, one of them late, form one mesh, and not earlier.
func lateSeed(r *rehearsal) {
	c, a := r.start(2), r.start(0)
	time.Sleep(pick(time.Second, 30*time.Second)) // the late start is what is tested
	if a.ready() || c.ready() {
		r.t.Error("two of three seeds founded the mesh on their own")
	}
	b := r.start(1)
	r.t.Log("one mesh after", r.await("three nodes are one mesh", 20*time.Second, func() bool { return r.whole(a, b, c) }))
}

// A fourth node joins, and leaves. Any key can be acquired at any node, and a waiter at another node gets
// it at the release.
func fourthJoins(r *rehearsal) {
	three := r.procs
	d := r.start(3)
	all := r.procs
	r.t.Log("the fourth joined after", r.await("the fourth node is in", 20*time.Second, func() bool { return r.together(all...) }))

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var clients []*client.Client
	for _, p := range all {
		c := r.client(p)
		defer c.Close() //nolint:errcheck // what it holds ends with its TTL
		clients = append(clients, c)
	}
	var handover []time.Duration
	for i := range 4 * len(all) {
		key := fmt.Sprintf("any/%d", i)
		first, err := clients[i%4].Acquire(ctx, key)
		if err != nil {
			r.t.Fatal(err)
		}
		var got time.Time
		var second sync.WaitGroup
		second.Go(func() {
			second, err := clients[(i+1)%4].Acquire(ctx, key)
			if err != nil {
				r.t.Error(err)
				return
			}
			got = time.Now()
			if second.Token() <= first.Token() {
				r.t.Errorf("%s: token %d after %d", key, second.Token(), first.Token())
			}
			if err := second.Release(ctx); err != nil {
				r.t.Error(err)
			}
		})
		r.await("the second acquirer is queued", 5*time.Second, func() bool {
			l, err := clients[(i+2)%4].Get(ctx, key)
			return err == nil && len(l.Waiters) == 1
		})
		released := time.Now()
		if err := first.Release(ctx); err != nil {
			r.t.Fatal(err)
		}
		second.Wait()
		handover = append(handover, got.Sub(released))
	}
	slices.Sort(handover)
	r.t.Log("from release to the grant at another node: median", handover[len(handover)/2], "most", handover[len(handover)-1])

	r.stop(d)
	r.procs = three
	r.await("the fourth node is out", 20*time.Second, func() bool { return r.whole(three...) })
}

// One node after the other leaves in good order (SIGTERM) and comes back, under load and with a queue for
// a key of its own. No call fails, no lock is lost, and the queue keeps its order.
func rollingRestart(r *rehearsal, nodes int) {
	all := r.procs
	clients := r.clients(all...)
	held := holdThirty(r.t, clients)
	begin := time.Now()
	l := newLoad(r.t, 200, longTTL, clients, never)
	each := pick(200*time.Millisecond, 5*time.Second)
	for _, p := range all[:nodes] {
		time.Sleep(each) // time for the load
		key, _, _ := r.keyAt(clients[0], "line/"+p.name, func(owner *proc, _ []*proc) bool { return owner == p })
		q := newQueue(r, key, clients)
		left := time.Now()
		r.stop(p)
		took := time.Since(left)
		r.await("the others go on", 20*time.Second, func() bool { return r.together(but(all, p)...) })
		held.check(r.t, clients[0])
		q.end()
		r.again(p)
		back := r.await("it is back", 20*time.Second, func() bool { return r.whole(all...) })
		r.t.Logf("%s left in %v and was back in %v", p.name, took, back)
	}
	l.end()
	held.release(r.t)
	gap, key := l.gap(begin, every)
	r.t.Log("longest time without a grant of a key under load:", gap, key)
}

// A request to leave, over either API, is answered before the process ends, and costs no lock.
func leaveByRequest(r *rehearsal) {
	a, b, c := r.procs[0], r.procs[1], r.procs[2]
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cl := r.client(c)
	defer cl.Close() //nolint:errcheck // what it holds ends with its TTL
	held := holdThirty(r.t, []*client.Client{cl})
	resp, err := http.Post("http://"+a.host+":50051/v1/mesh/leave", "application/json", nil) //nolint:noctx // bounded by the test
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Errorf("leave over HTTP: %v, %v", resp, err)
	}
	if err == nil {
		resp.Body.Close() //nolint:errcheck // only its status counts
	}
	at := r.client(b)
	if err := at.Leave(ctx, false); err != nil {
		r.t.Errorf("leave over gRPC: %v", err)
	}
	at.Close() //nolint:errcheck // nothing is held
	for _, p := range []*proc{a, b} {
		select {
		case <-p.ended:
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				r.t.Errorf("%s ended with exit code %d", p.name, code)
			}
		case <-time.After(20 * time.Second):
			r.t.Errorf("%s does not end after it has left", p.name)
		}
	}
	r.await("c is alone", 20*time.Second, func() bool { return r.together(c) })
	held.check(r.t, cl)
}
