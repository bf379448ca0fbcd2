package machine

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
)

// A new epoch begins while a queue is served that is longer than one step may look at, and
// the same member goes on as owner. The queue is served on.
func TestServesOnInANewEpoch(t *testing.T) {
	p := newPlay(t, manyClaims)
	gone := &counter{}
	manyWaitFor(p, gone)
	gone.dead = true
	p.step(Ref{gone, 0}, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, 1)})
	if p.m.marked.Len() == 0 {
		t.Fatal("the queue was looked at in one step")
	}
	p.m.detachAll(func(Ref) {})
	p.check()
	p.m.Activate(p.now, 2, "n")
	back := Ref{&counter{}, 1}
	if r := p.acquire(back, "k", "w5", time.Minute); r.Outcome != Queued {
		t.Fatalf("a waiter comes back: %+v", r.Answer)
	}
	p.out = Out{}
	p.pass(rules.LongestPeriod)
	p.check()
	if len(p.out.Replies) == 0 || p.out.Replies[0].Ref != back || p.out.Replies[0].Outcome != Done {
		t.Errorf("the only waiter that came back was not granted: %d replies", len(p.out.Replies))
	}
}

// sparse makes a machine with few locks that has had many, of whose memory only a part has
// been given back.
func sparse(t *testing.T, left int) *play {
	p := newPlay(t, 0)
	n := 5 * StepEntries
	for i := range n {
		p.acquire(Ref{&counter{}, 1}, fmt.Sprint("k", i), "r", 0)
	}
	for i := range n - left {
		p.step(Ref{&counter{}, 1}, Request{Kind: Release, Key: fmt.Sprint("k", i), Token: sharelock.MakeToken(1, uint32(i+1))})
	}
	if p.check(); !p.m.keys.untidy() {
		t.Fatal("all memory has been given back")
	}
	return p
}

// Finished ids are forgotten between the preparation and the activation: the locks that
// were there still expire.
func TestPreparedCopyKeepsItsDeadlines(t *testing.T) {
	p := sparse(t, 1250)
	p.m.Detach()
	p.m.BeginPrepare()
	for !p.m.Prepare(p.now) {
	}
	p.m.Tick(p.now, &p.out)
	p.m.Activate(p.now, 2, "n")
	p.check()
	p.pass(rules.Stretch(time.Minute))
	if p.m.Len() != 0 {
		t.Errorf("%d locks have not expired", p.m.Len())
	}
}

// They are forgotten between two pieces of a copy: the pieces fit together.
func TestPiecesFitWhileIDsAreForgotten(t *testing.T) {
	p := sparse(t, 1200)
	p.m.Detach()
	d := NewAssembler(0, 0)
	for at, last := []byte(nil), false; !last; {
		var piece []byte
		var err error
		if piece, at, last, err = p.m.Piece(p.now, at, nil); err != nil {
			t.Fatal(err)
		}
		if err := d.Add(p.now, piece); err != nil {
			t.Fatal(err)
		}
		p.m.Tick(p.now, &p.out)
	}
	if m, err := d.Machine(); err != nil || m.Len() != 1200 {
		t.Errorf("the pieces do not fit together: %v", err)
	}
}

// After a quarantine every key with a waiter is served, though memory could be given back
// before all are.
func TestQuarantineEndsForAll(t *testing.T) {
	p := newPlay(t, 1)
	p.m.Quarantine(p.now, time.Second)
	here, gone := &counter{}, &counter{}
	const n, first, most = 4000, 2000, 600
	for i := range n {
		from := here
		if i >= first && i < first+most {
			from = gone
		}
		if r := p.acquire(Ref{from, uint64(i)}, fmt.Sprint("k", i), "r", time.Minute); r.Outcome != Queued {
			t.Fatalf("%+v", r.Answer)
		}
	}
	gone.dead = true
	p.pass(time.Second)
	p.check()
	if p.m.Waiters() != most {
		t.Errorf("%d wait, want the %d whose callers have gone", p.m.Waiters(), most)
	}
}

// A link breaks that many waiters came over, and others give up meanwhile, so that memory
// could be given back: all of the link's waiters settle.
func TestBrokenLinkSettlesAll(t *testing.T) {
	const n, few = 3400, 400
	p := newPlay(t, n)
	others, link := &counter{}, &counter{}
	cancel := func(i int) {
		p.step(Ref{others, uint64(i)}, Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint("w", i), Send: 1, Drop: true})
	}
	p.acquire(Ref{others, n}, "k", "holder", 0)
	for i := range n {
		p.acquire(Ref{others, uint64(i)}, "k", fmt.Sprint("w", i), time.Minute)
	}
	for i := range few {
		cancel(i)
	}
	for i := range few { // in the places of those that gave up, behind the others in the queue
		p.acquire(Ref{link, uint64(i)}, "k", fmt.Sprint("l", i), time.Minute)
	}
	upTo := p.m.BrokeFrom()
	for upTo > StepEntries {
		upTo = p.m.Broke(p.now, link, upTo)
	}
	for i := few; i < n-few; i++ {
		cancel(i)
	}
	for upTo > 0 {
		upTo = p.m.Broke(p.now, link, upTo)
	}
	p.check()
	settle := 0
	for w := range p.m.keys.get("k").queue {
		if w.settles != 0 {
			settle++
		}
	}
	if settle != few {
		t.Errorf("%d waiters settle, want %d", settle, few)
	}
	p.step(Ref{others, 0}, Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint("w", n-1), Send: 1, Drop: true})
	if p.m.keys.claims.Room() > n/2 {
		t.Error("memory was not given back afterwards")
	}
}
