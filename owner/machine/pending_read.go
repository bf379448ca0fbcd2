package machine

import (
	"maps"
	"slices"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// readMost is the largest number of entries that one step of a read looks at, readBytes about the
// largest number of bytes that it copies. maxReads is how many reads may be under way in a
// partition.
const (
	readMost  = 100
	readBytes = 8 << 10
	maxReads  = StepEntries / 2
)

// A pendingRead is a Get under way. If it needs more than one step, it goes on in the next ones
// while the key changes. Claims that come meanwhile are looked at, too, and claims that go are
// taken out again. So when it ends, which is its place in the log, it has the state of that moment
// (A3).
type pendingRead struct {
	m    *Machine
	from Ref
	send uint32
	key  string
	x    excerpt
	// contended is the key that is read. It is nil before the read begins and once the key has
	// ended or is not contended any more.
	contended *contendedKey
	// hold and waiter are the claims to look at next, or nil if there are no more.
	hold, waiter *claimExtra
	holds        []sharelock.Hold
	waiters      []sharelock.Waiter
	// spent is how many bytes holds and waiters take.
	spent int
	// goneHolds and goneWaiters are claims that have gone and may be among holds and waiters, by
	// token and by request id.
	goneHolds   map[sharelock.Token]bool
	goneWaiters map[waiterID]bool
}

// A waiterID tells the waiters of a key apart.
type waiterID struct{ principal, request string }

func waiterIDOf(w *sharelock.Waiter) waiterID { return waiterID{w.Principal, w.RequestID} }

// get reads a key. The read is linearizable: it has a place in the log (A3). A request may name a
// client or a token, see excerpt.
func (t turn) get(from Ref, r *Request) {
	m := t.m
	if m.quarantine != 0 {
		t.fail(from, r.Send, t.quarantined())
		return
	}
	x := excerpt{most: sharelock.MaxListed, bytes: sharelock.MaxListedBytes, client: r.ClientID, after: r.Token}
	if !r.AnyHold {
		x.principal = m.principalOf(r)
	}
	read := &pendingRead{m: m, from: from, send: r.Send, key: r.Key, x: x}
	switch {
	case read.step(t):
	case m.reads.Len() == 0:
		m.reads.Push(read)
		m.busy = true
	case m.reads.Len() < maxReads:
		read.end() // it goes on when those before it are done
		m.reads.Push(read)
		m.busy = true
	default:
		read.end()
		t.reply(from, Answer{Outcome: Retry, Send: r.Send})
	}
}

// read goes on with the reads under way.
func (t turn) read() {
	m := t.m
	for m.reads.Len() > 0 && t.within(tickMost, tickBytes) {
		if !(*m.reads.At(0)).step(t) {
			return
		}
		m.reads.Drop(1)
	}
}

// begin begins to read a contended key, or starts again.
func (r *pendingRead) begin(ck *contendedKey) {
	r.contended, ck.read = ck, r
	r.hold, r.waiter = ck.holds.first, ck.waiters.first
	r.holds, r.waiters, r.spent, r.goneHolds, r.goneWaiters = nil, nil, 0, nil, nil
}

// end detaches the read from its key.
func (r *pendingRead) end() {
	if r.contended != nil {
		r.contended.read = nil
		r.contended, r.hold, r.waiter = nil, nil, nil
	}
}

// step looks at the next claims and, if those were the last, answers.
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
		case k.contended.read != nil: // another read of the key comes first
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
	l.Waiters = slices.DeleteFunc(r.waiters, func(w sharelock.Waiter) bool { return r.goneWaiters[waiterIDOf(&w)] })
	r.end()
	r.answer(t, l)
	return true
}

func (r *pendingRead) answer(t turn, l sharelock.KeyState) {
	r.place(t)
	t.reply(r.from, Answer{Outcome: Done, Send: r.send, Lock: &l})
}

func (r *pendingRead) place(t turn) {
	t.place(r.key)
}

func (r *pendingRead) lookAtHold(t turn) {
	c := r.hold.claim
	if most := r.holdBytes(); len(r.holds) >= r.x.most || r.spent >= most {
		r.hold = nil // enough are listed
		return
	}
	r.hold = r.contended.holds.after(r.hold)
	if c.token <= r.x.after || !r.m.selects(&r.x, c) {
		return
	}
	h := r.m.hold(t.now, c)
	r.holds = append(r.holds, h)
	r.spent += HoldBytes(&h)
}

// holdBytes returns how many bytes holds may take. However many holds there are, some waiters are
// listed, too.
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
	if !r.m.selects(&r.x, w.claim) {
		return
	}
	size := r.m.waiterBytes(w)
	r.spent += size
	r.m.handled += size
	r.waiters = append(r.waiters, r.m.waiterOf(t.now, w))
}

// came is called for a claim that was added at the end of the key's holds or queue.
func (r *pendingRead) came(x *claimExtra) {
	if id := r.waiterID(x); !x.claim.held() && r.goneWaiters[id] { // the id waits again
		delete(r.goneWaiters, id)
		r.waiters = slices.DeleteFunc(r.waiters, func(w sharelock.Waiter) bool { return waiterIDOf(&w) == id })
	}
	switch {
	case !x.claim.held() && r.waiter == nil:
		r.waiter = x
	case x.claim.held() && r.hold == nil:
		r.hold = x
	}
}

// goes is called for a claim that is about to leave the key's holds or queue.
func (r *pendingRead) goes(x *claimExtra) {
	if !x.claim.held() {
		if r.waiter == x {
			r.waiter = r.contended.waiters.after(x)
		}
		if r.goneWaiters == nil {
			r.goneWaiters = map[waiterID]bool{}
		}
		r.goneWaiters[r.waiterID(x)] = true
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

func (r *pendingRead) waiterID(x *claimExtra) waiterID {
	return waiterID{r.m.keys.principalOf(x.claim), x.request}
}

// renewed is called for a hold of the key whose TTL or metadata has changed.
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

// waiterBytes returns about how many bytes a waiter takes in a message.
func (m *Machine) waiterBytes(w *claimExtra) int {
	return entryBytes + len(w.client) + len(w.request) + len(m.keys.principalOf(w.claim)) + ops.MetadataSize(w.meta)
}

// waiterOf returns what others see of a waiter.
func (m *Machine) waiterOf(now time.Duration, w *claimExtra) sharelock.Waiter {
	one := sharelock.Waiter{
		ClientID: w.client, RequestID: w.request, Principal: m.keys.principalOf(w.claim),
		Mode: w.claim.mode(), Slots: w.contended.slots, Metadata: maps.Clone(w.meta),
	}
	if m.active {
		one.Waiting = now - m.waitingOf(w).since
	}
	return one
}

// ReadKind returns the kind of op that gives a read its place in the log.
func (m *Machine) ReadKind() ops.Kind { return ops.ReadKind(m.release) }
