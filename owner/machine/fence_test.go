package machine

import (
	"errors"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// fence is what a client sends that gives its request up, by a way of its own.
func fence(client, id string) Request {
	return Request{Kind: Cancel, Key: "k", ClientID: client, RequestID: id, Send: 1, Drop: true}
}

// Q2, Q6: a fence that overtakes its acquire makes the id over, so that the acquire is
// never granted.
func TestFenceComesFirst(t *testing.T) {
	p := newPlay(t, 10)
	client, other := Ref{&listener{name: "client"}, 1}, Ref{&listener{name: "other"}, 2}
	p.step(other, fence("c", "r1"))
	if a := p.acquire(client, "k", "r1", time.Minute); !errors.Is(a.Err, sharelock.ErrRequestOver) {
		t.Errorf("%s: an acquire that was given up is answered %+v", invariant.OneGrant, a.Answer)
	}
	p.check()
}

// A fence ends a place in the queue and a grant by whatever call they came, and the call
// that still waits is told.
func TestFenceEndsWhatIsThere(t *testing.T) {
	p := newPlay(t, 10)
	holder, waiter, fencer := Ref{&listener{name: "holder"}, 1}, Ref{&listener{name: "waiter"}, 2}, Ref{&listener{name: "fencer"}, 3}
	p.acquire(holder, "k", "r1", 0)
	p.acquire(waiter, "k", "r2", time.Minute)
	told := false
	for _, a := range p.step(fencer, fence("c", "r2")) {
		told = told || a.Ref == waiter && a.Outcome == Failed && errors.Is(a.Err, sharelock.ErrRequestOver)
	}
	p.check()
	if !told {
		t.Error("the call whose place was given up was not told")
	}
	if l, _ := p.m.Lock(p.now, "k"); len(l.Waiters) != 0 {
		t.Errorf("%d still wait", len(l.Waiters))
	}
	p.step(fencer, fence("c", "r1"))
	p.check()
	if l, _ := p.m.Lock(p.now, "k"); len(l.Holds) != 0 {
		t.Errorf("%q is still held", ids(l.Holds))
	}
	for _, id := range []string{"r1", "r2"} {
		if a := p.acquire(waiter, "k", id, time.Minute); !errors.Is(a.Err, sharelock.ErrRequestOver) {
			t.Errorf("%s: %s, given up, is answered %+v", invariant.OneGrant, id, a.Answer)
		}
	}
}

// A client cannot give up the request of another that numbers its requests alike.
func TestFenceOfAnotherClient(t *testing.T) {
	p := newPlay(t, 10)
	holder, fencer := Ref{&listener{name: "holder"}, 1}, Ref{&listener{name: "fencer"}, 2}
	p.acquire(holder, "k", "r1", 0)
	replies := p.step(fencer, fence("another", "r1"))
	if len(replies) != 1 || !errors.Is(replies[0].Err, sharelock.ErrInvalidArgument) {
		t.Errorf("answered %+v, want an invalid argument", replies)
	}
	if l, _ := p.m.Lock(p.now, "k"); ids(l.Holds) != "r1" {
		t.Errorf("held by %q, want r1", ids(l.Holds))
	}
	p.check()
}
