package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/owner/ops"
)

// The most entries that one step of a read looks at, and about the most bytes that it
// copies; and how many reads may be under way in a partition.
const (
	readMost  = 100
	readBytes = 8 << 10
	maxReads  = StepEntries / 2
)

// reading is a Get under way. One that needs more than a step goes on in the next ones,
// while the key changes: what comes meanwhile is looked at, too, and what goes is taken out
// again. So at its end, which is its place in the log, it is what the key is then (A3).
type pendingRead struct {
	m    *Machine
	from Ref
	send uint32
	key  string
	x    excerpt
	// ck is the contended key that is read; nil before the read begins, and once the contended key
	// has ended.
	contended *contendedKey
	// hold and waiter are the claims to look at next; nil is that all have been looked at.
	hold, waiter *claimExtra
	holds        []sharelock.Hold
	waiters      []sharelock.Waiter
	// spent is what holds and waiters take.
	spent int
	// goneHolds and goneWaiters are claims that have gone, by token and request id, and may
	// be among them.
	goneHolds   map[sharelock.Token]bool
	goneWaiters map[string]bool
}

// get reads a key, linearizably: the op has its place in the log (A3). A request may name
// a client or a token, see excerpt.
func (t turn) get(from Ref, r *Request) {
	m := t.m
	if m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	x := excerpt{most: sharelock.MaxListed, bytes: sharelock.MaxListedBytes, client: r.ClientID, after: r.Token}
	read := &pendingRead{m: m, from: from, send: r.Send, key: r.Key, x: x}
	switch {
	case read.step(t):
	case m.reads.Len() == 0:
		m.reads.Push(read)
		m.busy = true
	case m.reads.Len() < maxReads:
		read.end() // it has its turn later
		m.reads.Push(read)
		m.busy = true
	default:
		read.end()
		t.reply(from, Answer{Outcome: Retry, Send: r.Send})
	}
}

// read goes on with the reads that are under way.
func (t turn) read() {
	m := t.m
	for m.reads.Len() > 0 && t.within(tickMost, tickBytes) {
		if !(*m.reads.At(0)).step(t) {
			return
		}
		m.reads.Drop(1)
	}
}

// begin begins to read a contended key, or does so anew.
func (r *pendingRead) begin(ck *contendedKey) {
	r.contended, ck.read = ck, r
	r.hold, r.waiter = ck.holds.first, ck.waiters.first
	r.holds, r.waiters, r.spent, r.goneHolds, r.goneWaiters = nil, nil, 0, nil, nil
}

// end lets go of the contended key.
func (r *pendingRead) end() {
	if r.contended != nil {
		r.contended.read = nil
		r.contended, r.hold, r.waiter = nil, nil, nil
	}
}

// step looks at the next claims, and answers when those were the last.
func (r *pendingRead) step(t turn) (done bool) {
	m := r.m
	if r.contended == nil {
		switch k := m.keys.get(r.key); {
		case k.idle():
			r.place(t)
			t.fail(r.from, r.send, &sharelock.Error{Err: sharelock.ErrNotHeld})
			return true
		case k.contended == nil:
			m.touched++
			l, _ := m.read(t.now, r.key, r.x)
			r.answer(t, l)
			return true
		case k.contended.read != nil: // by the read whose turn it is
			return false
		default:
			r.begin(k.contended)
		}
	}
	for left, before := readMost, m.handled; r.hold != nil || r.waiter != nil; left-- {
		if left == 0 || m.handled-before > readBytes {
			return false
		}
		m.touched++
		if r.hold != nil {
			r.lookAtHold(t)
		} else {
			r.lookAtWaiter(t)
		}
	}
	k := m.keys.contendedEntry(r.contended)
	l := m.lock(t.now, k, r.key)
	l.Holds = slices.DeleteFunc(r.holds, func(h sharelock.Hold) bool { return r.goneHolds[h.Token] })
	l.Waiters = slices.DeleteFunc(r.waiters, func(w sharelock.Waiter) bool { return r.goneWaiters[w.RequestID] })
	r.end()
	r.answer(t, l)
	return true
}

func (r *pendingRead) answer(t turn, l sharelock.KeyState) {
	r.place(t)
	t.reply(r.from, Answer{Outcome: Done, Send: r.send, Lock: &l})
}

func (r *pendingRead) place(t turn) {
	if !mutant.On(mutant.ReadWithoutLog) {
		t.place(r.key)
	}
}

func (r *pendingRead) lookAtHold(t turn) {
	c := r.hold.claim
	if most := r.holdBytes(); len(r.holds) >= r.x.most || r.spent >= most {
		r.hold = nil // no more are listed
		return
	}
	r.hold = r.contended.holds.after(r.hold)
	if c.token <= r.x.after || r.x.client != "" && !r.m.keys.isOf(c, r.x.client) {
		return
	}
	h := r.m.hold(t.now, c)
	r.holds = append(r.holds, h)
	r.spent += HoldBytes(&h)
}

// holdBytes is the part of the bytes that holds may take: however many there are, some
// waiters are listed, too.
func (r *pendingRead) holdBytes() int {
	if r.contended.waiters.n > 0 {
		return r.x.bytes / 2
	}
	return r.x.bytes
}

func (r *pendingRead) lookAtWaiter(t turn) {
	w := r.waiter
	if len(r.waiters) >= r.x.most || r.spent >= r.x.bytes {
		r.waiter = nil
		return
	}
	r.waiter = r.contended.waiters.after(w)
	if r.x.client != "" && w.client != r.x.client {
		return
	}
	size := waiterBytes(w)
	r.spent += size
	r.m.handled += size
	r.waiters = append(r.waiters, r.m.waiterOf(t.now, w))
}

// came is told of a claim that is the last of the contended key's holds, or of its queue.
func (r *pendingRead) came(x *claimExtra) {
	if !x.claim.held() && r.goneWaiters[x.request] { // the id waits again
		delete(r.goneWaiters, x.request)
		r.waiters = slices.DeleteFunc(r.waiters, func(w sharelock.Waiter) bool { return w.RequestID == x.request })
	}
	switch {
	case !x.claim.held() && r.waiter == nil:
		r.waiter = x
	case x.claim.held() && r.hold == nil:
		r.hold = x
	}
}

// goes is told of a claim that leaves the contended key's holds, or its queue, and is in it still.
func (r *pendingRead) goes(x *claimExtra) {
	if !x.claim.held() {
		if r.waiter == x {
			r.waiter = r.contended.waiters.after(x)
		}
		if r.goneWaiters == nil {
			r.goneWaiters = map[string]bool{}
		}
		r.goneWaiters[x.request] = true
		return
	}
	if r.hold == x {
		r.hold = r.contended.holds.after(x)
	}
	if r.goneHolds == nil {
		r.goneHolds = map[sharelock.Token]bool{}
	}
	r.goneHolds[x.claim.token] = true
}

// renewed is told of a hold of the contended key that has another TTL or other metadata now.
func (r *pendingRead) renewed(now time.Duration, c *claim) {
	i, listed := slices.BinarySearchFunc(r.holds, c.token, func(h sharelock.Hold, t sharelock.Token) int {
		switch {
		case h.Token < t:
			return -1
		case h.Token > t:
			return 1
		default:
			return 0
		}
	})
	if !listed {
		return
	}
	h := r.m.hold(now, c)
	r.spent += HoldBytes(&h) - HoldBytes(&r.holds[i])
	r.holds[i] = h
}

// place gives a read its place in the log.
func (t turn) place(key string) {
	t.commit(ops.Op{Kind: t.m.ReadKind(), Key: key})
}

// waiterBytes is about what a waiter takes in a message.
func waiterBytes(w *claimExtra) int {
	return entryBytes + len(w.client) + len(w.request) + ops.MetadataSize(w.meta)
}

// waiterOf is what others see of a waiter.
func (m *Machine) waiterOf(now time.Duration, w *claimExtra) sharelock.Waiter {
	one := sharelock.Waiter{
		ClientID: w.client, RequestID: w.request, Mode: w.claim.mode(), Slots: w.contended.slots, Metadata: maps.Clone(w.meta),
	}
	if m.active {
		one.Waiting = now - m.waitingOf(w).since
	}
	return one
}

// readKind returns the kind of op that gives a read its place in the log.
func (m *Machine) ReadKind() ops.Kind { return ops.ReadKind(m.release) }
