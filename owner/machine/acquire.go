package machine

import (
	"fmt"
	"maps"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/ops"
)

// acquire answers one send of an acquire. What happens depends first on what is known of its
// request id (Q2).
func (t turn) acquire(from Ref, r *Request) {
	k := t.m.keys.get(r.Key)
	principal := t.m.principalOf(r)
	c := k.findFor(principal, r.RequestID)
	switch {
	case c != nil && !t.m.keys.isOf(c, r.ClientID):
		// Two clients that number their requests alike must not share a lock.
		t.fail(from, r.Send, sharelock.Invalid("request_id", "is in use by another client"))
	case c != nil && c.held():
		t.repeat(from, r, c)
	case c != nil:
		t.reattach(from, r, t.m.keys.extra(c))
	case t.m.isOver(r.Key, principal, r.RequestID):
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrRequestOver})
	default:
		t.first(from, r, k)
	}
}

// repeat answers a retry that finds its grant: it gets the same token and counts as a renewal (Q2).
func (t turn) repeat(from Ref, r *Request, c *claim) {
	t.restart(c, ops.Op{Kind: ops.Renew, Key: r.Key, Token: c.token, TTL: r.TTL, Resent: true})
	h := t.m.hold(t.now, c)
	h.TTL = min(h.TTL, r.TTL) // see outlasts
	t.done(from, r.Send, h)
}

// inUse describes the slots with which a key is in use.
func inUse(slots uint32) string {
	if slots > 1 {
		return fmt.Sprintf("it has %d slots", slots)
	}
	return "it is a mutex, without slots"
}

// first handles a request id that was never seen.
func (t turn) first(from Ref, r *Request, k keyEntry) {
	m := t.m
	if !k.idle() && k.slots() != r.Slots {
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrModeConflict, Message: inUse(k.slots())})
		return
	}
	free, unsure := m.quarantine == 0 && k.admits(r.Mode), false
	if free {
		var waits bool
		waits, unsure = t.expects(k)
		free = !waits
	}
	switch {
	case !free && r.Wait <= 0:
		t.fail(from, r.Send, t.refusal(k))
	case k.idle() && m.full:
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrQuota, Message: "the owner of the key has as many locks as it may"})
	case m.room(r) != nil:
		t.fail(from, r.Send, m.room(r))
	case free && m.spent():
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrNotReady, Message: "the tokens of this epoch are used up"})
	case !free && k.waiters() >= m.maxWaiters:
		t.fail(from, r.Send, &sharelock.Error{Err: sharelock.ErrTooManyWaiters})
	case !t.admit(from, r, !free):
		// It has been answered.
	case free:
		op := m.newClaim(ops.Grant, r)
		op.Token = m.nextToken()
		c := t.commit(op)
		t.done(from, r.Send, m.holdAs(t.now, c, r.Key, r.ClientID, r.RequestID))
	default:
		w := m.keys.extra(t.commit(m.newClaim(ops.Enqueue, r)))
		m.note(w, func(w *waiterState) {
			w.ref, w.send, w.limit = from, r.Send, t.now+min(r.Wait, ops.MaxSpan)
		})
		if unsure {
			t.mark(w.contended) // perhaps all waiters before it are passed over
		}
		t.queued(from, r.Send, r, w)
	}
}

// queued answers that a request waits and, if the request asks for it, its place in the queue.
func (t turn) queued(to Ref, send uint32, r *Request, w *claimExtra) {
	a := Answer{Outcome: Queued, Send: send}
	if r.Tell {
		a.Position = t.position(w)
	}
	t.reply(to, a)
}

// positionMost is the largest number of waiters that are counted for a position.
const positionMost = StepEntries / 2

// position returns the place of a waiter in its queue, from 1, or 0 if more waiters come before it
// than a step may look at.
func (t turn) position(w *claimExtra) uint32 {
	list := &w.contended.waiters
	if list.first.prev == w {
		return uint32(list.n)
	}
	n := uint32(1)
	for x := w; x != list.first; x = x.prev {
		if t.m.touched++; n == positionMost {
			return 0
		}
		n++
	}
	return n
}

func (m *Machine) newClaim(kind ops.Kind, r *Request) ops.Op {
	op := ops.Op{
		Kind: kind, Key: r.Key, ClientID: r.ClientID, RequestID: r.RequestID,
		TTL: r.TTL, Mode: r.Mode, Slots: r.Slots, OwnID: r.OwnID, Resent: r.Send > 1,
		Principal: m.principalOf(r), Conn: m.connOf(r),
		MaxHold: m.maxHoldOf(r), Unseen: true,
	}
	if len(r.Metadata) > 0 {
		op.Metadata = maps.Clone(r.Metadata)
	}
	return op
}

// expects reports whether there is a waiter that is not passed over (Q5). unsure reports that this
// is only assumed, because there are more waiters than a step may look at.
func (t turn) expects(k keyEntry) (yes, unsure bool) {
	if k.contended == nil || k.contended.waiters.n == 0 {
		return false, false
	}
	if t.m.sync(k.contended); k.contended.listening == 0 {
		return false, false
	}
	if t.m.isMarked(k.contended) {
		return true, true
	}
	left := serveMost
	for w := range k.queue {
		t.fresh(w)
		if t.m.touched++; w.settles != 0 || w.ref.Alive() {
			return true, false
		}
		if left--; left == 0 {
			return true, true
		}
	}
	return false, false
}

// reattach handles a new send of a waiter (Q5). The waiter is alive, listens at from, and waits as
// long as this send says. The copies do not change.
func (t turn) reattach(from Ref, r *Request, w *claimExtra) {
	t.fresh(w)
	if old := w.ref; old != from && old.Alive() {
		t.fail(old, w.send, &sharelock.Error{Err: sharelock.ErrRequestOver, Message: "another call took over this request id"})
	}
	// The newer of two sends of one call counts, in whatever order they arrive.
	if w.ref != from || r.Send >= w.send {
		w.send, w.ttl = r.Send, r.TTL
		w.limit = t.now + min(max(r.Wait, 0), ops.MaxSpan)
	}
	t.m.note(w, func(w *waiterState) { w.ref, w.seen, w.settles, w.resent = from, t.now, 0, true })
	t.serve(w.contended)
	switch {
	case w.claim.held():
	case w.limit <= t.now:
		t.giveUp(w)
	default:
		t.queued(from, w.send, r, w)
	}
}

// serveMost is the largest number of waiters that one call of serve looks at, serveBytes about the
// largest number of bytes that it handles.
const (
	serveMost  = 100
	serveBytes = 8 << 10
)

// serve grants a key to as many of its waiters as it can, in their order, up to the first that must
// be waited for. It is called whenever a hold or a waiter has gone, has come back, or is not waited
// for any more. If the queue is longer than a step may look at, serveMarked goes on until it has
// looked at all of it, and starts again if serve was called in the meantime.
func (t turn) serve(ck *contendedKey) {
	if t.m.isMarked(ck); ck.resume == nil {
		ck.restart = false
		t.serveFrom(ck, ck.waiters.first)
		return
	}
	ck.restart = true
}

// serveFrom is serve, from the given waiter on.
func (t turn) serveFrom(ck *contendedKey, first *claimExtra) {
	k := t.m.keys.contendedEntry(ck)
	ck.resume = nil
	if t.m.quarantine != 0 || !k.admits(sharelock.Shared) {
		return
	}
	left, before := serveMost, t.m.handled
	for w := first; w != nil; left-- {
		if left == 0 || t.m.handled-before > serveBytes {
			ck.resume = w
			t.mark(ck)
			return
		}
		t.m.touched++
		t.fresh(w)
		// A grant removes w from the queue.
		next := ck.waiters.after(w)
		switch {
		case w.settles != 0:
			// Q5: it is waited for, for one period after an activation.
			return
		case !w.ref.Alive():
			// Q5: passed over, but it keeps its place.
		case !k.admits(w.claim.mode()) || t.m.spent():
			// FIFO across modes: nobody overtakes it.
			return
		default:
			t.grantWaiter(w)
		}
		w = next
	}
}

// grantWaiter gives the key to a waiter that is attached.
func (t turn) grantWaiter(w *claimExtra) {
	// After half a period the request may have been sent again, even if that send has not arrived
	// yet.
	c, was, freed := w.claim, w.waiterState, w.contended.freed
	resent := c.is(isResent) || was.resent || t.now-was.since >= rules.Period(was.ttl)/2
	t.commit(ops.Op{
		Kind: ops.Grant, Waited: true, Key: w.contended.name, RequestID: w.request, Principal: t.m.keys.principalOf(c),
		Token: t.m.nextToken(), TTL: was.ttl, Resent: resent, ClaimMode: c.mode(), Lasted: t.now - was.since,
	})
	t.done(was.ref, was.send, t.m.hold(t.now, c))
	if freed != 0 {
		t.out.Replies[len(t.out.Replies)-1].Freed = max(freed, was.since)
	}
}

// lookAt does what is due for a waiter.
func (t turn) lookAt(w *claimExtra) {
	attached := w.ref.Caller != nil
	switch {
	case w.settles != 0 && w.settles <= t.now:
		t.m.note(w, func(w *waiterState) { w.settles = 0 })
		t.mark(w.contended)
	case attached && w.limit <= t.now && w.ref.Alive():
		// The one before it may have gone at this very moment.
		if t.serve(w.contended); !w.claim.held() {
			t.giveUp(w)
		}
	case attached && w.limit <= t.now:
		// Its caller has gone without saying so: this counts as a detach.
		t.m.note(w, func(w *waiterState) { w.ref = Ref{} })
		t.mark(w.contended)
	default:
		t.leave(w, ops.Silent, true)
		if attached {
			t.fail(w.ref, w.send, &sharelock.Error{Err: sharelock.ErrRequestOver, Message: "the waiter was silent for three periods"})
		}
	}
}

// giveUp ends a wait that is over.
func (t turn) giveUp(w *claimExtra) {
	name := w.contended.name
	// The id is remembered in any case. Its next send may be under way and would otherwise be
	// granted to a caller that was told that the wait is over.
	t.leave(w, ops.WaitOver, true)
	t.fail(w.ref, w.send, t.refusal(t.m.keys.get(name)))
}

// leave removes a waiter and marks its key.
func (t turn) leave(w *claimExtra, why ops.Why, remember bool) {
	ck := w.contended
	t.commit(ops.Op{
		Kind: ops.Dequeue, Key: ck.name, RequestID: w.request, Principal: t.m.keys.principalOf(w.claim), Why: why, Remember: remember,
		ClaimMode: w.claim.mode(), Lasted: t.now - t.m.waitingOf(w).since,
	})
	t.mark(ck)
}

// mark makes the turn serve the key when everything else is done. If ten thousand waiters end at
// once, their queue is walked once and not for each of them.
func (t turn) mark(ck *contendedKey) {
	if ck != nil && ck.waiters.n > 0 && !t.m.isMarked(ck) {
		ck.marked = true
		t.m.marked.Push(ck)
		t.m.busy = true
	}
}

// isMarked reports whether a contended key is marked. Marks, and where a contended key is served
// on, are of an era.
func (m *Machine) isMarked(ck *contendedKey) bool {
	if ck.served != m.era {
		ck.served, ck.marked, ck.resume, ck.restart = m.era, false, nil, false
	}
	return ck.marked
}

// serveMarked serves marked keys until the turn has touched that many entries or bytes.
func (t turn) serveMarked(entries, size int) {
	m := t.m
	for n := m.marked.Len(); n > 0 && t.within(entries, size); n-- {
		m.touched++
		ck := *m.marked.At(0)
		m.marked.Drop(1)
		ck.marked = false
		at, again := ck.resume, ck.restart
		if ck.restart = false; at == nil {
			at = ck.waiters.first
		}
		if t.serveFrom(ck, at); again && !ck.marked {
			t.mark(ck) // from the beginning
		}
	}
}
