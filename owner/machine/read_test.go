package machine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// reader asks in these tests.
var reader = Ref{&listener{}, 1}

// semaphore is a machine in which a key has this many holders and waiters, each with this
// much metadata.
func semaphore(t *testing.T, holders, waiters, metadata int) *play {
	t.Helper()
	p := newPlay(t, waiters+1)
	meta := map[string]string{}
	if metadata > 0 {
		meta["why"] = strings.Repeat("x", metadata)
	}
	for i := range holders + waiters {
		r := Request{
			Kind: Acquire, Key: "k", ClientID: fmt.Sprint("c", i%100), RequestID: fmt.Sprint("r", i), TTL: time.Hour, Wait: time.Hour,
			Slots: uint32(max(holders, 2)), Send: 1, Metadata: meta,
		}
		p.out = Out{}
		p.m.Step(p.now, reader, &r, &p.out)
	}
	return p
}

// read gives the answer to a request that reads, in as many steps as that needs.
func (p *play) read(r Request) Answer {
	p.t.Helper()
	p.step(reader, r)
	for len(p.out.Replies) == 0 {
		if at, ok := p.m.Next(); !ok || at > p.now {
			p.t.Fatal("a read stands still")
		}
		p.m.Tick(p.now, &p.out)
		p.check()
	}
	return p.out.Replies[0].Answer
}

// messageBytes is what a lock takes in a message, about.
func messageBytes(l *sharelock.KeyState) int {
	size := 0
	for i := range l.Holds {
		size += HoldBytes(&l.Holds[i])
	}
	for i := range l.Waiters {
		size += entryBytes + len(l.Waiters[i].ClientID) + len(l.Waiters[i].RequestID) + ops.MetadataSize(l.Waiters[i].Metadata)
	}
	return size
}

// Whatever a key has, a read of it lists a bounded part, holders and waiters, and counts
// all of them.
func TestReadIsBounded(t *testing.T) {
	for _, tt := range []struct{ holders, waiters, metadata, wantHolds, wantWaiters int }{
		{9000, 0, 0, 1000, 0},
		{9000, 9000, 0, 1000, 1000},
		{3000, 0, 2040, 122, 0},
		{3000, 2000, 2040, 61, 61},
		{3, 2000, 2040, 3, 119},
		{300, 3, 2040, 61, 3},
	} {
		p := semaphore(t, tt.holders, tt.waiters, tt.metadata)
		for _, r := range []Request{{Kind: Get, Key: "k", Send: 7}, {Kind: Check, Key: "k", Token: 1<<32 | 1, Send: 7}} {
			a := p.read(r)
			holds, waiters := tt.wantHolds, tt.wantWaiters
			if r.Kind == Check {
				holds, waiters = min(tt.holders, sharelock.MaxHolders), 0
			}
			l := a.Lock
			if len(a.Holds) != 0 || l.HoldCount != tt.holders || l.WaiterCount != tt.waiters || len(l.Waiters) != waiters {
				t.Errorf("%+v, kind %d: lists %d of %d and %d of %d, and %d holds beside", tt, r.Kind, len(l.Holds), l.HoldCount, len(l.Waiters), l.WaiterCount, len(a.Holds))
			}
			if len(l.Holds) != holds && (r.Kind == Get || tt.metadata == 0) {
				t.Errorf("%+v, kind %d: lists %d holds", tt, r.Kind, len(l.Holds))
			}
			// What is listed last may go beyond the bound.
			if size := messageBytes(l); size > sharelock.MaxListedBytes+2*2300 {
				t.Errorf("%+v, kind %d: %d bytes", tt, r.Kind, size)
			}
			for i, h := range l.Holds {
				if h.Token.Counter() != uint32(i+1) {
					t.Fatalf("%+v: hold %d has token %v", tt, i, h.Token)
				}
			}
		}
	}
}

// A refusal names ten holders without their metadata, and counts the queue.
func TestRefusalIsBounded(t *testing.T) {
	p := semaphore(t, 500, 20, 2000)
	a := p.step(reader, Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "late", TTL: time.Minute, Slots: 500, Send: 1})[0]
	e, ok := errors.AsType[*sharelock.Error](a.Err)
	if !ok || e.Err != sharelock.ErrLockHeld || len(e.Holds) != 10 || e.Queue != 20 {
		t.Fatalf("refused with %+v", a.Err)
	}
	for i, h := range e.Holds {
		if h.RequestID != fmt.Sprint("r", i) || h.ClientID == "" || h.Token == 0 || h.TTL != time.Hour || h.Metadata != nil {
			t.Errorf("holder %d is %+v", i, h)
		}
	}
}

// All holds of a key can be read page by page, and those of one client alone.
func TestReadInPages(t *testing.T) {
	p := semaphore(t, 2500, 200, 0)
	var seen int
	for r := (Request{Kind: Get, Key: "k", Send: 1}); ; {
		l := p.read(r).Lock
		if len(l.Holds) == 0 {
			break
		}
		for _, h := range l.Holds {
			if seen++; h.Token.Counter() != uint32(seen) {
				t.Fatalf("hold %d has token %v", seen, h.Token)
			}
		}
		r.Token = l.Holds[len(l.Holds)-1].Token
	}
	if seen != 2500 {
		t.Errorf("%d holds were read, want 2500", seen)
	}
	l := p.read(Request{Kind: Get, Key: "k", ClientID: "c7", Send: 1}).Lock
	if len(l.Holds) != 25 || len(l.Waiters) != 2 || l.HoldCount != 2500 {
		t.Errorf("c7 has %d holds of %d and %d places, want 25 of 2500 and 2", len(l.Holds), l.HoldCount, len(l.Waiters))
	}
	for _, h := range l.Holds {
		if h.ClientID != "c7" {
			t.Errorf("a hold of %s is listed for c7", h.ClientID)
		}
	}
}

// A3: a read that takes several steps shows what the key is at its end, the metadata and
// TTLs of renewals included that came after the holds were looked at.
func TestReadSeesRenewalsOnItsWay(t *testing.T) {
	const holders = 500
	p := semaphore(t, holders, 0, 0)
	p.step(reader, Request{Kind: Get, Key: "k", Send: 7})
	if len(p.out.Replies) != 0 {
		t.Fatal("the read took one step")
	}
	token := sharelock.MakeToken(1, 3)
	meta := map[string]string{"phase": "two"}
	replies := p.step(reader, Request{Kind: Renew, Key: "k", Token: token, TTL: 2 * time.Hour, Metadata: meta, Send: 8})
	if replies[0].Answer.Outcome != Done {
		t.Fatalf("%+v", replies[0].Answer)
	}
	late := p.step(reader, Request{Kind: Acquire, Key: "k", ClientID: "late", RequestID: "late", TTL: time.Hour, Wait: time.Hour, Slots: holders, Send: 9})
	if late[len(late)-1].Answer.Outcome != Queued {
		t.Fatalf("%+v", late)
	}
	a := replies[:0]
	for len(a) == 0 {
		p.out = Out{}
		p.m.Tick(p.now, &p.out)
		a = p.out.Replies
	}
	l := a[0].Answer.Lock
	if len(l.Waiters) != 1 {
		t.Errorf("%d waiters, want the one that came after the renewal", len(l.Waiters))
	}
	if h := l.Holds[2]; h.Token != token || h.Metadata["phase"] != "two" || h.TTL != 2*time.Hour || h.ExpiresIn <= time.Hour {
		t.Errorf("the renewed hold is listed as %+v", h)
	}
}

// An excerpt stays within its bounds, whatever the key has.
func TestExcerptIsBounded(t *testing.T) {
	const most, bytes = 100, 16 << 10
	p := semaphore(t, 1000, 1000, 2040)
	l, ok := p.m.Excerpt(p.now, "k", most, bytes)
	if size := messageBytes(&l); !ok || size > bytes+2*2300 || l.HoldCount != 1000 || l.WaiterCount != 1000 || len(l.Holds) == 0 || len(l.Waiters) == 0 {
		t.Errorf("%d bytes, %d holds and %d waiters are listed of %d and %d", size, len(l.Holds), len(l.Waiters), l.HoldCount, l.WaiterCount)
	}
}
