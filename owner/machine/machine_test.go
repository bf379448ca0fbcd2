package machine

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// counter is a Caller that counts how often it is asked whether it lives.
type counter struct {
	asked int
	dead  bool
}

func (c *counter) Answer(uint64, Answer) {}
func (c *counter) Alive() bool           { c.asked++; return !c.dead }

// play is a machine with a clock in a test's hand.
type play struct {
	t   testing.TB
	m   *Machine
	now time.Duration
	out Out
}

func newPlay(t testing.TB, maxWaiters int) *play {
	p := &play{t: t, m: New(0, maxWaiters)}
	p.m.Activate(0, 1, "n")
	return p
}

// step gives the replies to one request; it is checked that the machine is sound.
func (p *play) step(from Ref, r Request) []Reply {
	p.t.Helper()
	p.out = Out{}
	p.m.Step(p.now, from, &r, &p.out)
	return p.out.Replies
}

// pass lets time pass, and does all that is due, a step at a time.
func (p *play) pass(d time.Duration) {
	p.now += d
	for at, ok := p.m.Next(); ok && at <= p.now; at, ok = p.m.Next() {
		p.m.Tick(p.now, &p.out)
	}
}

func (p *play) check() {
	p.t.Helper()
	if err := p.m.Check(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) acquire(from Ref, key, id string, wait time.Duration) Reply {
	p.t.Helper()
	replies := p.step(from, Request{Kind: Acquire, Key: key, ClientID: "c", RequestID: id, TTL: time.Minute, Wait: wait, Send: 1})
	return replies[len(replies)-1]
}

func ids(holds []sharelock.Hold) string {
	var s []string
	for _, h := range holds {
		s = append(s, h.RequestID)
	}
	return strings.Join(s, " ")
}

// A waiter is cancelled at the very moment of its grant. In whatever order the
// two arrive, the lock goes to the next in the queue, at once and exactly once.
func TestCancelAtTheMomentOfTheGrant(t *testing.T) {
	release := Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, 1), SentOnce: true}
	cancel := Request{Kind: Cancel, Key: "k", RequestID: "r2", Send: 1, Drop: true}
	for _, tc := range []struct {
		name  string
		order []Request
	}{
		{"grant first", []Request{release, cancel}},
		{"cancel first", []Request{cancel, release}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlay(t, 10)
			a, b, c := Ref{&listener{name: "a"}, 1}, Ref{&listener{name: "b"}, 2}, Ref{&listener{name: "c"}, 3}
			p.acquire(a, "k", "r1", 0)
			p.acquire(b, "k", "r2", time.Minute)
			p.acquire(c, "k", "r3", time.Minute)
			granted := 0
			for _, r := range tc.order {
				from := b
				if r.Kind == Release {
					from = a
				}
				for _, reply := range p.step(from, r) {
					if reply.Ref == c && reply.Outcome == Done && ids(reply.Holds) == "r3" {
						granted++
					}
				}
				p.check()
			}
			if granted != 1 {
				t.Errorf("r3 was granted %d times, want once", granted)
			}
			l, _ := p.m.Lock(p.now, "k")
			if ids(l.Holds) != "r3" || len(l.Waiters) != 0 {
				t.Errorf("held by %q, %d wait; want r3 and nobody", ids(l.Holds), len(l.Waiters))
			}
			// The given up request is not granted any more, even if it comes again.
			if tc.name == "grant first" {
				if r := p.acquire(b, "k", "r2", time.Minute); !errors.Is(r.Err, sharelock.ErrRequestOver) {
					t.Errorf("r2 again: %+v, want over", r.Answer)
				}
			}
		})
	}
}

const manyClaims = 10_000

// manyWaitFor makes a key with one holder and many waiters of one caller.
func manyWaitFor(p *play, caller Caller) {
	p.acquire(Ref{caller, 0}, "k", "holder", 0)
	for i := range manyClaims {
		if r := p.acquire(Ref{caller, uint64(i + 1)}, "k", fmt.Sprint("w", i), time.Minute); r.Outcome != Queued {
			p.t.Fatalf("waiter %d: %+v", i, r.Answer)
		}
	}
	p.check()
}

func (p *play) wantNothing() {
	p.t.Helper()
	p.check()
	m := p.m
	if m.Len() != 0 || m.Waiters() != 0 || m.due.Len() != 0 || m.finished.Len() != 0 {
		p.t.Errorf("left are %d keys, %d waiters, %d deadlines, %d finished ids; want none",
			m.Len(), m.Waiters(), m.due.Len(), m.finished.Len())
	}
	wantNoRoom(p.t, m)
}

// wantNoRoom: no container of a machine has room for many more than there are.
func wantNoRoom(t testing.TB, m *Machine) {
	t.Helper()
	k, f := &m.keys, &m.finished
	for what, room := range map[string]int{
		"deadlines": m.due.Room(),
		"keys":      k.uncontended.Room(), "contended keys": k.contended.Room(), "claims": k.claims.Room(), "claims with more": k.extras.Room(),
		"finished ids": f.Room(),
	} {
		if room >= compact.ShrinkFrom {
			t.Errorf("room for %d %s is left", room, what)
		}
	}
	if k.texts.Room() >= 4<<10 {
		t.Errorf("room for %d bytes of text is left", k.texts.Room())
	}
}

// Ten thousand waiters give up, from the end that is dearest to a list: nothing is
// left, and the work is not quadratic.
func TestManyWaitersGiveUp(t *testing.T) {
	p := newPlay(t, manyClaims)
	caller := &counter{}
	manyWaitFor(p, caller)
	caller.asked = 0
	for i := manyClaims - 1; i >= 0; i-- {
		p.step(Ref{caller, uint64(i + 1)}, Request{Kind: Cancel, Key: "k", RequestID: fmt.Sprint("w", i), Send: 1, Drop: true})
	}
	p.step(Ref{caller, 0}, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, 1)})
	p.wantNothing()
	if caller.asked > 4*manyClaims {
		t.Errorf("asked %d times whether %d waiters live", caller.asked, manyClaims)
	}
}

// Ten thousand waiters die with their connection while nobody holds the key.
func TestManyWaitersDie(t *testing.T) {
	p := newPlay(t, manyClaims)
	caller := &counter{}
	manyWaitFor(p, caller)
	caller.dead, caller.asked = true, 0
	p.step(Ref{caller, 0}, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, 1)})
	p.pass(silentPeriods * rules.LongestPeriod)
	if p.m.Len() != 0 || p.m.finished.Len() != manyClaims {
		t.Errorf("%d keys and %d finished ids after the silence", p.m.Len(), p.m.finished.Len())
	}
	p.pass(finished.Keep)
	p.wantNothing()
	if caller.asked > 4*manyClaims {
		t.Errorf("asked %d times whether %d waiters live", caller.asked, manyClaims)
	}
}

// Ten thousand waiters outlive their owner and do not come back.
func TestManyWaitersSettle(t *testing.T) {
	p := newPlay(t, manyClaims)
	caller := &counter{}
	manyWaitFor(p, caller)
	// Without a Detach: who was attached is forgotten all the same.
	p.m.Activate(p.now, 2, "n2")
	p.check()
	p.step(Ref{caller, 0}, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(1, 1)})
	p.pass(rules.LongestPeriod)
	p.check()
	if r := p.acquire(Ref{caller, 1}, "k", "new", 0); r.Outcome != Done {
		t.Errorf("a key that only settled waiters want: %+v", r.Answer)
	}
	p.step(Ref{caller, 1}, Request{Kind: Release, Key: "k", Token: sharelock.MakeToken(2, 1)})
	p.pass(2*rules.LongestPeriod + finished.Keep)
	p.pass(finished.Keep)
	p.wantNothing()
}

// As many locks as there may be expire in one moment: the machine is as small as
// before.
func TestManyKeysLeaveNothing(t *testing.T) {
	n := DefaultBounds.Entries
	before := heapInUse()
	p := newPlay(t, 0)
	from := Ref{&listener{}, 1}
	for i := range n {
		p.acquire(from, fmt.Sprint("key", i), "r", 0)
	}
	if p.m.Len() != n {
		t.Fatalf("%d keys, want %d", p.m.Len(), n)
	}
	p.check()
	p.pass(rules.Stretch(time.Minute))
	p.pass(finished.Keep)
	p.out = Out{}
	p.wantNothing()
	if grown := heapInUse() - before; grown > 1<<20 {
		t.Errorf("%d bytes are left of %d locks", grown, n)
	}
	runtime.KeepAlive(p.m)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// A hundred thousand short locks with long TTLs leave no deadlines behind.
func TestShortLocksLeaveNoDeadlines(t *testing.T) {
	p := newPlay(t, 0)
	from := Ref{&listener{}, 1}
	for i := range 100_000 {
		hold := p.acquire(from, "k", "r", 0).Holds[0]
		if p.m.due.Len() != 1 {
			t.Fatalf("%d deadlines for one lock in round %d", p.m.due.Len(), i)
		}
		p.step(from, Request{Kind: Release, Key: "k", Token: hold.Token})
	}
	p.wantNothing()
}

// An epoch that is activated twice must not give a token twice.
func TestTokensGrowEvenInOneEpoch(t *testing.T) {
	p := newPlay(t, 0)
	from := Ref{&listener{}, 1}
	first := p.acquire(from, "k", "r1", 0).Holds[0].Token
	p.step(from, Request{Kind: Release, Key: "k", Token: first})
	again := New(0, 0)
	if err := again.Decode(p.now, p.m.Encode(p.now)); err != nil {
		t.Fatal(err)
	}
	again.Activate(p.now, 1, "n")
	p.m = again
	if second := p.acquire(from, "k", "r2", 0).Holds[0].Token; second <= first {
		t.Errorf("token %v after %v", second, first)
	}
	// And an epoch of the past gives none at all.
	p.m.detachAll(func(Ref) {})
	p.m.Activate(p.now, 0, "n")
	if r := p.acquire(from, "other", "r3", 0); !errors.Is(r.Err, sharelock.ErrNotReady) {
		t.Errorf("granted in an older epoch: %+v", r.Answer)
	}
}

// The metadata of a lock belongs to nobody else.
func TestMetadataIsNotShared(t *testing.T) {
	p := newPlay(t, 1)
	meta := map[string]string{"why": "demo"}
	want := maps.Clone(meta)
	r := Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "r", TTL: time.Minute, Metadata: meta}
	p.step(Ref{&listener{}, 1}, r)
	meta["why"] = "changed by the caller"
	l, _ := p.m.Lock(p.now, "k")
	l.Holds[0].Metadata["why"] = "changed by a reader"
	if l, _ := p.m.Lock(p.now, "k"); !maps.Equal(l.Holds[0].Metadata, want) {
		t.Errorf("metadata is %v, want %v", l.Holds[0].Metadata, want)
	}
}

// Whatever times a request names, no sum of them overflows.
func TestLongTimes(t *testing.T) {
	p := newPlay(t, 2)
	from := Ref{&listener{}, 1}
	r := Request{Kind: Acquire, Key: "k", ClientID: "c", RequestID: "r", TTL: math.MaxInt64, Wait: math.MaxInt64}
	if reply := p.step(from, r)[0]; !errors.Is(reply.Err, sharelock.ErrInvalidArgument) {
		t.Errorf("the longest TTL: %+v", reply.Answer)
	}
	p.acquire(from, "k", "holder", 0)
	if reply := p.acquire(from, "k", "waiter", math.MaxInt64); reply.Outcome != Queued {
		t.Errorf("the longest wait: %+v", reply.Answer)
	}
	if reply := p.acquire(from, "k", "waiter", math.MinInt64); !errors.Is(reply.Err, sharelock.ErrLockHeld) {
		t.Errorf("the shortest wait: %+v", reply.Answer)
	}
	p.m.Quarantine(p.now, math.MaxInt64)
	if left := p.m.Quarantined(p.now); left != ops.MaxSpan {
		t.Errorf("the longest quarantine is %v", left)
	}
	p.check()
}

// An op that does not fit is refused and changes nothing.
func TestApplyRefusesWhatDoesNotFit(t *testing.T) {
	token := func(n uint32) sharelock.Token { return sharelock.MakeToken(1, n) }
	base := []ops.Op{
		{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: "held", Token: token(5), TTL: time.Second},
		{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "waits", TTL: time.Second},
		{Kind: ops.Enqueue, Key: "s", ClientID: "c", RequestID: "waits", TTL: time.Second, Slots: 2},
	}
	for _, tc := range []struct {
		name string
		op   ops.Op
		want error
	}{
		{"token does not grow", ops.Op{Kind: ops.Grant, Key: "new", ClientID: "c", RequestID: "r", Token: token(5), TTL: 1}, ops.ErrDiverged},
		{"key is held", ops.Op{Kind: ops.Grant, Key: "k", ClientID: "c", RequestID: "r", Token: token(6), TTL: 1}, ops.ErrDiverged},
		{"key is held, waiter", ops.Op{Kind: ops.Grant, Waited: true, Key: "k", RequestID: "waits", Token: token(6), TTL: 1}, ops.ErrDiverged},
		{"id is held", ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "held", TTL: 1}, ops.ErrDiverged},
		{"id waits", ops.Op{Kind: ops.Enqueue, Key: "k", ClientID: "c", RequestID: "waits", TTL: 1}, ops.ErrDiverged},
		{"other slots", ops.Op{Kind: ops.Grant, Key: "s", ClientID: "c", RequestID: "r", Token: token(6), TTL: 1}, ops.ErrDiverged},
		{"no such waiter", ops.Op{Kind: ops.Grant, Waited: true, Key: "k", RequestID: "held", Token: token(6), TTL: 1}, ops.ErrDiverged},
		{"no such key", ops.Op{Kind: ops.Grant, Waited: true, Key: "x", RequestID: "waits", Token: token(6), TTL: 1}, ops.ErrDiverged},
		{"renew of nothing", ops.Op{Kind: ops.Renew, Key: "k", Token: token(4), TTL: 1}, ops.ErrDiverged},
		{"release of nothing", ops.Op{Kind: ops.Release, Key: "x", Token: token(5), Why: ops.Released}, ops.ErrDiverged},
		{"dequeue of a hold", ops.Op{Kind: ops.Dequeue, Key: "k", RequestID: "held", Why: ops.Silent}, ops.ErrDiverged},
		{"remember a hold", ops.Op{Kind: ops.Remember, Key: "k", RequestID: "held"}, ops.ErrDiverged},
		{"no kind", ops.Op{Key: "k"}, ops.ErrMalformed},
		{"no TTL", ops.Op{Kind: ops.Renew, Key: "k", Token: token(5)}, ops.ErrMalformed},
		{"no key", ops.Op{Kind: ops.Read}, ops.ErrMalformed},
		{"long key", ops.Op{Kind: ops.Read, Key: strings.Repeat("k", sharelock.MaxKeyBytes+1)}, ops.ErrMalformed},
		{"no client", ops.Op{Kind: ops.Enqueue, Key: "x", RequestID: "r", TTL: 1}, ops.ErrMalformed},
		{"no request id", ops.Op{Kind: ops.Enqueue, Key: "x", ClientID: "c", TTL: 1}, ops.ErrMalformed},
		{"shared semaphore", ops.Op{Kind: ops.Enqueue, Key: "x", ClientID: "c", RequestID: "r", TTL: 1, Slots: 2, Mode: sharelock.Shared}, ops.ErrMalformed},
		{"huge token", ops.Op{Kind: ops.Renew, Key: "k", Token: 1 << 63, TTL: 1}, ops.ErrMalformed},
		{"no reason", ops.Op{Kind: ops.Release, Key: "k", Token: token(5)}, ops.ErrMalformed},
		{"a flag too many", ops.Op{Kind: ops.Read, Key: "k", Remember: true}, ops.ErrMalformed},
		{"too much metadata", ops.Op{
			Kind: ops.Enqueue, Key: "x", ClientID: "c", RequestID: "r", TTL: 1,
			Metadata: map[string]string{"x": strings.Repeat("y", sharelock.MaxMetadataBytes)},
		}, ops.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := New(0, 10)
			for i := range base {
				if err := m.Apply(0, &base[i]); err != nil {
					t.Fatal(err)
				}
			}
			before := m.Encode(0)
			if err := m.Apply(0, &tc.op); !errors.Is(err, tc.want) {
				t.Errorf("got error %v, want %v", err, tc.want)
			}
			if !bytes.Equal(before, m.Encode(0)) {
				t.Error("the copy has changed")
			}
			if err := m.Check(); err != nil {
				t.Error(err)
			}
		})
	}
	m := New(0, 10)
	m.Activate(0, 1, "n")
	if err := m.Apply(0, &base[0]); !errors.Is(err, ops.ErrDiverged) {
		t.Errorf("an owner follows: %v", err)
	}
}

// 4.5: an owner that goes on in a newer epoch starts all TTLs afresh without any work
// for each lock but that.
func TestGoingOnIsCheap(t *testing.T) {
	m := heldMachine(1000)
	now, epoch := time.Second, uint32(1)
	allocs := testing.AllocsPerRun(10, func() {
		now, epoch = now+time.Second, epoch+1
		m.detachAll(func(Ref) {})
		m.Activate(now, epoch, "n")
	})
	if allocs > 0 {
		t.Errorf("%v allocations with 1000 locks held", allocs)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for range 1000 / tickMost { // each puts some deadlines right
		m.Next()
	}
	if at, _ := m.Next(); at != now+rules.Stretch(time.Minute) {
		t.Errorf("the first TTL ends at %v, %v after the activation", at, at-now)
	}
}

// rememberFinished adds a request id of a key to those that are over.
func rememberFinished(m *Machine, queue int, key, request string, until time.Duration) {
	m.finished.Add(queue, finished.ID{Digest: finished.DigestOf(key, "", request), Until: until})
}
