package machine

import (
	"maps"
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// An excerpt bounds what a read lists of one key. A semaphore may have very many holders with two
// KiB of metadata each.
type excerpt struct {
	// most bounds the number of holds and that of waiters, bytes the bytes of both together.
	most, bytes int
	// client, if not empty, selects the holds and waiters of this client that principal may end,
	// or anybody's if that is empty. after selects the holds with a larger token.
	client, principal string
	after             sharelock.Token
}

// everything has no bounds.
var everything = excerpt{most: math.MaxInt, bytes: math.MaxInt}

// entryBytes is about how many bytes a hold or a waiter takes in a message, without its key, ids
// and metadata.
const entryBytes = 96

// HoldBytes returns about how many bytes a hold takes in a message.
func HoldBytes(h *sharelock.Hold) int {
	return entryBytes + len(h.Key) + len(h.ClientID) + len(h.RequestID) + len(h.Principal) + ops.MetadataSize(h.Metadata)
}

// WaiterBytes returns about how many bytes a waiter takes in a message.
func WaiterBytes(w *sharelock.Waiter) int {
	return entryBytes + len(w.ClientID) + len(w.RequestID) + len(w.Principal) + ops.MetadataSize(w.Metadata)
}

// check answers whether a token is a grant. Like a read it is linearizable.
func (t turn) check(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	c := k.hold(r.Token)
	if c == nil && t.m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	t.place(r.Key)
	l := sharelock.KeyState{Key: r.Key, HoldCount: k.held(), WaiterCount: k.waiters()}
	l.Holds, _ = t.m.holds(t.now, k, excerpt{most: sharelock.MaxHolders, bytes: 2 * readBytes})
	t.reply(from, Answer{Outcome: Done, Send: r.Send, Current: c != nil, Lock: &l})
}

// Lock returns the state of a key, or false if nobody holds it or waits for it. The state shares no
// memory with the machine. On a copy that is not active the times are 0.
func (m *Machine) Lock(now time.Duration, name string) (sharelock.KeyState, bool) {
	return m.read(now, name, everything)
}

// Excerpt is Lock with at most most holds and most waiters, and about that many bytes of both
// together. The counts are those of all.
func (m *Machine) Excerpt(now time.Duration, name string, most, bytes int) (sharelock.KeyState, bool) {
	m.touched++
	return m.read(now, name, excerpt{most: most, bytes: bytes})
}

// read is Lock with a part of the holds and waiters. The counts are those of all.
func (m *Machine) read(now time.Duration, name string, x excerpt) (sharelock.KeyState, bool) {
	k := m.keys.get(name)
	if k.idle() {
		return sharelock.KeyState{}, false
	}
	l := m.lock(now, k, name)
	all := x.bytes
	if l.WaiterCount > 0 {
		x.bytes /= 2 // however much the holds take, some waiters are listed too
	}
	holds, left := m.holds(now, k, x)
	l.Holds, x.bytes = holds, all-(x.bytes-left)
	l.Waiters = m.queued(now, k, x)
	return l, true
}

// lock returns the state of a key without its holds and waiters.
func (m *Machine) lock(now time.Duration, k keyEntry, name string) sharelock.KeyState {
	return sharelock.KeyState{
		Key: name, Partition: m.partition, Owner: m.node, Epoch: m.epoch, Quarantine: m.Quarantined(now),
		HoldCount: k.held(), WaiterCount: k.waiters(),
	}
}

// holds returns the oldest holds of a key, and how many bytes are left of the bound.
func (m *Machine) holds(now time.Duration, k keyEntry, x excerpt) (holds []sharelock.Hold, left int) {
	if n := min(k.held(), x.most); n > 0 && x.client == "" && x.after == 0 {
		holds = make([]sharelock.Hold, 0, min(n, x.bytes/entryBytes+1))
	}
	for c := range k.holds {
		if len(holds) == x.most || x.bytes <= 0 {
			break
		}
		m.touched++
		if c.token <= x.after || !m.selects(&x, c) {
			continue
		}
		h := m.hold(now, c)
		holds = append(holds, h)
		x.bytes -= HoldBytes(&h)
	}
	return holds, max(x.bytes, 0)
}

// queued returns the first waiters of a key.
func (m *Machine) queued(now time.Duration, k keyEntry, x excerpt) (waiters []sharelock.Waiter) {
	for w := range k.queue {
		if len(waiters) == x.most || x.bytes <= 0 {
			break
		}
		m.touched++
		if !m.selects(&x, w.claim) {
			continue
		}
		size := m.waiterBytes(w)
		x.bytes -= size
		m.handled += size
		waiters = append(waiters, m.waiterOf(now, w))
	}
	return waiters
}

// selects reports whether an excerpt has a claim, as far as its client and principal decide that.
func (m *Machine) selects(x *excerpt, c *claim) bool {
	return x.client == "" || m.keys.isOf(c, x.client) && m.keys.belongs(c, x.principal)
}

// holders returns the holds that a refusal names: the oldest, without their metadata.
func (m *Machine) holders(now time.Duration, k keyEntry) []sharelock.Hold {
	holds := make([]sharelock.Hold, 0, min(k.held(), sharelock.MaxHolders))
	for c := range k.holds {
		if len(holds) == sharelock.MaxHolders {
			break
		}
		m.touched++
		name, client, request := m.keys.ids(c)
		holds = append(holds, m.describe(now, c, name, client, request))
	}
	return holds
}

// hold returns what others see of a hold.
func (m *Machine) hold(now time.Duration, c *claim) sharelock.Hold {
	name, client, request := m.keys.ids(c)
	return m.holdAs(now, c, name, client, request)
}

// holdAs is hold for a caller that has the key and ids of the hold as strings.
func (m *Machine) holdAs(now time.Duration, c *claim, name, client, request string) sharelock.Hold {
	h := m.describe(now, c, name, client, request)
	h.Metadata = maps.Clone(m.keys.meta(c))
	m.handled += ops.MetadataSize(h.Metadata)
	return h
}

// describe is holdAs without the metadata.
func (m *Machine) describe(now time.Duration, c *claim, name, client, request string) sharelock.Hold {
	h := sharelock.Hold{
		Key: name, Token: c.token, ClientID: client, RequestID: request, Principal: m.keys.principalOf(c),
		Mode: c.mode(), Slots: m.keys.of(c).slots(), TTL: c.ttl(), Node: m.node, MaxHold: m.keys.maxHold(c),
	}
	m.handled += len(name) + len(client) + len(request) + len(h.Principal)
	if m.active {
		h.ExpiresIn = max(m.dueTime(c)-now, 0)
	}
	if m.active && h.MaxHold > 0 {
		// Q3: a tenth less, as the holder's clock may be slower.
		h.EndsIn = max(rules.Unstretch(m.keys.extra(c).ends-now+1)-1, 1)
	}
	return h
}
