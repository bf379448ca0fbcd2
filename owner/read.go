package owner

import (
	"maps"
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// excerpt bounds what a read lists of one key, since a semaphore may have a million
// holders with two KiB of metadata each.
type excerpt struct {
	// most is the most holds, and the most waiters; bytes the most bytes of both.
	most, bytes int
	// client leaves only what this client has; empty is everybody. after leaves the holds
	// with a larger token.
	client string
	after  sharelock.Token
}

// everything is no bound at all.
var everything = excerpt{most: math.MaxInt, bytes: math.MaxInt}

// entryBytes is about what a hold or a waiter takes in a message beside its key, ids and
// metadata.
const entryBytes = 96

// get reads a key, linearizably: the op has its place in the log (A3). A request may name
// a client or a token, see excerpt.
func (t turn) get(from Ref, r *Request) {
	if t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	if !mutant.On(mutant.ReadWithoutLog) {
		t.commit(Op{Kind: t.m.place(), Key: r.Key})
	}
	x := excerpt{most: sharelock.MaxListed, bytes: sharelock.MaxListedBytes, client: r.ClientID, after: r.Token}
	l, ok := t.m.read(t.now, r.Key, x)
	if !ok {
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrNotHeld})
		return
	}
	t.reply(from, Answer{Outcome: Done, Send: r.Send, Lock: &l})
}

// check says whether a token is a grant, linearizably.
func (t turn) check(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	c := k.hold(r.Token)
	if c == nil && t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	t.commit(Op{Kind: t.m.place(), Key: r.Key})
	l := sharelock.Lock{Key: r.Key, HoldCount: k.held(), WaiterCount: k.waiters()}
	l.Holds, _ = t.m.holds(t.now, k, excerpt{most: sharelock.MaxListed, bytes: sharelock.MaxListedBytes})
	t.reply(from, Answer{Outcome: Done, Send: r.Send, Current: c != nil, Lock: &l})
}

// Lock is the state of a key; false when nobody holds it or waits for it. It
// shares nothing with the machine. On a copy that is not active the times are 0.
func (m *Machine) Lock(now time.Duration, name string) (sharelock.Lock, bool) {
	return m.read(now, name, everything)
}

// read is Lock with a part of the holds and waiters. The counts are of all.
func (m *Machine) read(now time.Duration, name string, x excerpt) (sharelock.Lock, bool) {
	k := m.keys.get(name)
	if k.idle() {
		return sharelock.Lock{}, false
	}
	l := sharelock.Lock{
		Key: name, Partition: m.partition, Owner: m.node, Epoch: m.epoch, Quarantine: m.Quarantined(now),
		HoldCount: k.held(), WaiterCount: k.waiters(),
	}
	all, left := x.bytes, 0
	if l.WaiterCount > 0 {
		x.bytes /= 2 // however much the holds take, some waiters are listed too
	}
	l.Holds, left = m.holds(now, k, x)
	x.bytes = all - (x.bytes - left)
	l.Waiters = m.queued(now, k, x)
	return l, true
}

// holds are the oldest holds of a key, and the bytes that are left of the bound.
func (m *Machine) holds(now time.Duration, k key, x excerpt) (holds []sharelock.Hold, left int) {
	if n := min(k.held(), x.most); n > 0 && x.client == "" && x.after == 0 {
		holds = make([]sharelock.Hold, 0, min(n, x.bytes/entryBytes+1))
	}
	for c := range k.holds {
		if len(holds) == x.most || x.bytes <= 0 {
			break
		}
		if c.token <= x.after || x.client != "" && !m.keys.isOf(c, x.client) {
			continue
		}
		h := m.hold(now, c)
		holds = append(holds, h)
		x.bytes -= HoldBytes(&h)
	}
	return holds, max(x.bytes, 0)
}

// queued are the first waiters of a key.
func (m *Machine) queued(now time.Duration, k key, x excerpt) (waiters []sharelock.Waiter) {
	for w := range k.queue {
		if len(waiters) == x.most || x.bytes <= 0 {
			break
		}
		if x.client != "" && w.client != x.client {
			continue
		}
		x.bytes -= entryBytes + len(w.client) + len(w.request) + metadataSize(w.meta)
		one := sharelock.Waiter{
			ClientID: w.client, RequestID: w.request, Mode: w.claim.mode(), Slots: k.slots(), Metadata: maps.Clone(w.meta),
		}
		if m.active {
			one.Waiting = now - m.waitingOf(w).since
		}
		waiters = append(waiters, one)
	}
	return waiters
}

// holders are the holds that a refusal names: the oldest, without their metadata.
func (m *Machine) holders(now time.Duration, k key) []sharelock.Hold {
	holds := make([]sharelock.Hold, 0, min(k.held(), sharelock.MaxHolders))
	for c := range k.holds {
		if len(holds) == sharelock.MaxHolders {
			break
		}
		name, client, request := m.keys.ids(c)
		holds = append(holds, m.describe(now, c, name, client, request))
	}
	return holds
}

// uses reports whether a client holds a key or waits for it.
func (m *Machine) uses(name, client string) bool {
	k := m.keys.get(name)
	for c := range k.holds {
		if m.keys.isOf(c, client) {
			return true
		}
	}
	for w := range k.queue {
		if w.client == client {
			return true
		}
	}
	return false
}

// hold is what others see of a hold.
func (m *Machine) hold(now time.Duration, c *claim) sharelock.Hold {
	name, client, request := m.keys.ids(c)
	return m.holdAs(now, c, name, client, request)
}

// holdAs is hold for who has the hold's key and ids in strings.
func (m *Machine) holdAs(now time.Duration, c *claim, name, client, request string) sharelock.Hold {
	h := m.describe(now, c, name, client, request)
	h.Metadata = maps.Clone(m.keys.meta(c))
	return h
}

// describe is holdAs without the metadata.
func (m *Machine) describe(now time.Duration, c *claim, name, client, request string) sharelock.Hold {
	h := sharelock.Hold{
		Key: name, Token: c.token, ClientID: client, RequestID: request,
		Mode: c.mode(), Slots: m.keys.of(c).slots(), TTL: c.ttl(), Node: m.node, MaxHold: m.keys.maxHold(c),
	}
	if m.active {
		h.ExpiresIn = max(m.dueTime(c)-now, 0)
	}
	if m.active && h.MaxHold > 0 {
		// Q3: a tenth less, as the holder's clock may be slower.
		h.EndsIn = max(unstretch(m.keys.more(c).ends-now+1)-1, 1)
	}
	return h
}
