package machine

import (
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/machine/finished"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A Machine is one copy of a partition and the rules for deciding about it. Create one with [New].
// It is not safe for concurrent use.
//
// The argument now of methods is the time on this node's clock, which must not go backwards.
type Machine struct {
	// The requests of a node go to a thousand partitions in turn, so a step finds most of its
	// machine's memory outside the processor's caches. Therefore the fields that nearly every step
	// needs come first, and those that few steps need come last.

	// active is set between Activate and Detach.
	active bool
	// full is set if this node has as many keys as it may; see SetFull.
	full bool
	// busy is set if jobs may have something with which the next steps go on.
	busy bool
	// prepared is set if the copy is prepared, so that the next activation takes no time.
	prepared bool
	// observed is set if what is decided is told as facts.
	observed bool
	epoch    uint32
	// seq is the number of ops applied.
	seq uint64
	// last is the largest token that was ever granted.
	last sharelock.Token
	// quarantine is when the quarantine ends; 0 is none (section 4.3).
	quarantine time.Duration
	// waiters is the number of waiters.
	waiters int
	// started is when this copy was activated. era counts its activations and detachments.
	started time.Duration
	// touched and handled count the entries and bytes that steps have touched; see Touched.
	touched, handled int

	era       uint32
	partition uint32
	// used is what claims and finished ids take (Q6).
	used       usage
	bounds     Bounds
	maxWaiters int
	maxHold    time.Duration
	// finished has the request ids that are over (Q2).
	finished finished.IDs
	// keys has the keys that are held or waited for, each with at least one claim.
	keys keyTable
	// due has the deadlines of all claims while the machine is active. Afterwards it is kept until
	// another owner decides about this copy.
	due compact.Deadlines

	// node is the name put into holds.
	node string
	// release is that of the view in which the owner acts (W1).
	release uint32
	// quota bounds the claims of principals; nil bounds nothing.
	quota Quota
	jobs
}

// jobs is the work that an owner has begun and goes on with in its next steps. Adding to it sets
// Machine.busy.
type jobs struct {
	// preparing is the rest of the preparation for the next activation.
	preparing preparing
	// unswept is the number in keyTable.extras up to which Sweep has not looked at waiters;
	// unserved is that of serveAfterQuarantine. Both count down to 0.
	unswept, unserved int
	// scans are the scans under way.
	scans []*Scan
	// reads are the reads under way; unread are those that a Detach has ended.
	reads, unread compact.Queue[*pendingRead]
	// marked has the contended keys that have to be served at the end of this turn or, if that is
	// too much for one turn, in the next ones.
	marked compact.Queue[*contendedKey]
}

// anyLeft reports whether an active machine has work to go on with.
func (j *jobs) anyLeft() bool {
	return j.unserved > 0 || j.marked.Len() > 0 || j.reads.Len() > 0 || len(j.scans) > 0
}

// Out collects what a machine decides. The caller may reuse it after setting the length of both
// slices to zero.
type Out struct {
	// Ops are in the order in which they were applied.
	Ops []ops.Op
	// Replies are in the order in which they were decided.
	Replies []Reply
	// Facts are what the ops mean to those who watch, if the machine is observed; see Observe.
	Facts []Fact
}

// A Reply is an answer and where it goes.
type Reply struct {
	Ref
	Answer
	// Seq is the machine's sequence number when the answer was decided. The answer may leave when
	// all ops up to Seq have been acknowledged (A3).
	Seq uint64
	// Freed, in the answer to a waiter that was granted, is when a hold ended in whose place the
	// grant is. It is 0 if that is not known, and in all other answers.
	Freed time.Duration
}

// New returns the empty copy of a partition. maxWaiters bounds the queue of each key; with 0 nobody
// may wait.
func New(partition uint32, maxWaiters int) *Machine {
	return &Machine{partition: partition, maxWaiters: maxWaiters, bounds: DefaultBounds, keys: newKeyTable(), finished: finished.New()}
}

// Activate makes this copy the owner's in an epoch (section 4.5). Every TTL starts afresh and every
// waiter settles for one period. node is the name that is put into holds. Waiters that were
// attached are forgotten; see Detach.
//
// It changes no claims: what it means for each of them is computed when needed, see dueOf and
// fresh. So it takes no time if the copy is prepared; see Prepare.
func (m *Machine) Activate(now time.Duration, epoch uint32, node string) {
	if !m.prepared {
		m.BeginPrepare()
		for !m.Prepare(now) {
		}
	}
	m.prepared = false // for the next epoch
	m.active, m.epoch, m.node, m.started = true, epoch, node, now
	m.era++
	m.quarantine = m.quarantineAt(now)
}

// BeginPrepare begins to prepare the copy for an activation. Prepare goes on.
func (m *Machine) BeginPrepare() {
	m.prepared = false
	m.preparing = preparing{waiters: m.keys.extras.Last()}
	if m.due.Len() != m.keys.claims.Used() {
		m.preparing.claims = m.keys.claims.Last()
	}
}

// preparing says what has not been prepared yet: the records up to these numbers.
type preparing struct{ waiters, claims int }

// Prepare prepares the next part of the copy for an activation and reports whether it was the last.
// Between the parts the copy must not change, except that finished ids may be forgotten.
//
// Every claim gets an entry among the deadlines that is not too late, whenever the activation
// comes. If the same owner goes on, the holds have their entries already.
func (m *Machine) Prepare(now time.Duration) (done bool) {
	left := StepEntries
	p := &m.preparing
	for ; p.claims > 0 && left > 0; p.claims-- {
		left--
		c := m.keys.claims.At(uint32(p.claims))
		switch {
		case c.id == 0 || !c.held():
		case m.due.Entry(c.id) == nil:
			m.due.Set(c.id, m.expires(now, c))
		}
	}
	for ; p.waiters > 0 && left > 0; p.waiters-- {
		left--
		if w := *m.keys.extras.At(uint32(p.waiters)); w != nil && !w.claim.held() {
			m.due.Set(w.claim.id, now) // fresh finds out when
		}
	}
	m.touched += StepEntries - left
	m.prepared = p.claims == 0 && p.waiters == 0
	return m.prepared
}

// restarted returns the earliest deadline of a hold: its TTL started afresh with the activation.
func (m *Machine) restarted(c *claim) time.Duration {
	return m.expires(m.started, c)
}

// dueOf returns the deadline of a claim with the given entry. It is not before what the activation
// gave the claim.
func (m *Machine) dueOf(e *compact.Deadline) time.Duration {
	c := m.keys.claims.At(e.ID)
	if c.held() {
		return max(e.Due, m.restarted(c))
	}
	if w := m.keys.extra(c); w.era != m.era {
		w := m.waitingOf(w)
		return w.due()
	}
	return e.Due
}

// dueTime returns the deadline of a claim at the owner.
func (m *Machine) dueTime(c *claim) time.Duration { return m.dueOf(m.due.Entry(c.id)) }

// waitingOf returns what the owner knows of a waiter. If what is stored is of an earlier
// activation, the waiter has been settling since the present one.
func (m *Machine) waitingOf(w *claimExtra) waiterState {
	if w.era == m.era {
		return w.waiterState
	}
	fresh := waiterState{era: m.era, ttl: w.claim.ttl(), seen: m.started, since: m.started}
	fresh.settles = m.started + rules.Period(fresh.ttl)
	return fresh
}

// note changes what the owner knows of a waiter; afterwards it belongs to the present activation.
func (m *Machine) note(w *claimExtra, change func(*waiterState)) {
	m.sync(w.contended)
	was := w.era != m.era || w.listens()
	change(&w.waiterState)
	switch is := w.listens(); {
	case is && !was:
		w.contended.listening++
	case was && !is:
		w.contended.listening--
	}
	m.watch(w)
}

// sync brings the count of listening waiters of a contended key up to this activation, in which all
// of them settle at first. It reports whether the count was of an earlier activation.
func (m *Machine) sync(ck *contendedKey) (earlier bool) {
	if earlier = ck.era != m.era; earlier {
		ck.era, ck.listening = m.era, ck.waiters.n
	}
	return earlier
}

// fresh brings what the owner knows of a waiter up to this activation. The caller that listened in
// an earlier one is told to retry, if Sweep has not done so.
func (t turn) fresh(w *claimExtra) {
	if w.era == t.m.era || w.claim.held() {
		return
	}
	old := w.waiterState
	t.m.note(w, func(now *waiterState) { *now = t.m.waitingOf(w) })
	if old.ref.Caller != nil {
		t.reply(old.ref, Answer{Outcome: Retry, Send: old.send})
	}
}

// Detach ends what Activate began, when a newer epoch begins or the node stops. Until the next
// Activate all requests are answered Retry (A1). It takes no time; Sweep then forgets the callers
// of waiters, a part at a time.
func (m *Machine) Detach() {
	m.active = false
	m.era++
	if m.unswept = 0; m.waiters > 0 {
		m.unswept = m.keys.extras.Last()
	}
	for i := range m.reads.Len() {
		r := *m.reads.At(i)
		r.end()
		m.unread.Push(r)
	}
	// The queues are served again after the next activation. Marks belong to an era.
	m.unserved, m.marked, m.scans, m.reads = 0, compact.Queue[*contendedKey]{}, nil, compact.Queue[*pendingRead]{}
	m.busy = false
}

// Sweep forgets some of the callers of waiters that were attached before the last Detach, and of
// reads that were under way, and calls fn for each with the number of its newest send. It returns
// false if there are more.
func (m *Machine) Sweep(fn func(Ref, uint32)) (done bool) {
	left := StepEntries
	for ; m.unread.Len() > 0 && left > 0; left-- {
		m.touched++
		r := *m.unread.At(0)
		m.unread.Drop(1)
		fn(r.from, r.send)
	}
	for ; m.unswept > 0 && left > 0; left-- {
		m.touched++
		m.unswept = min(m.unswept, m.keys.extras.Last())
		if m.unswept == 0 {
			break
		}
		w := *m.keys.extras.At(uint32(m.unswept))
		m.unswept--
		if w == nil || w.era == m.era && m.active {
			continue
		}
		if w.ref.Caller != nil {
			fn(w.ref, w.send)
		}
		w.waiterState = waiterState{}
	}
	return !m.Unswept()
}

// Unswept reports whether Sweep has anything to do.
func (m *Machine) Unswept() bool { return m.unswept > 0 || m.unread.Len() > 0 }

// Broke tells the machine that the way to a caller broke. The caller need not be gone: its waiters
// may come back another way, so they settle for one period, as after an activation (Q5). It looks
// at some waiters with numbers up to upTo, the highest first, and returns the upTo of the next
// call, or 0 if it is done. The first call takes BrokeFrom.
func (m *Machine) Broke(now time.Duration, caller Caller, upTo int) (rest int) {
	if !m.active || m.waiters == 0 {
		return 0
	}
	upTo = min(upTo, m.keys.extras.Last())
	for left := StepEntries; upTo > 0 && left > 0; upTo-- {
		left--
		m.touched++
		w := *m.keys.extras.At(uint32(upTo))
		if w != nil && !w.claim.held() && w.era == m.era && w.ref.Caller == caller {
			m.note(w, func(w *waiterState) { w.ref, w.settles = Ref{}, now+rules.Period(w.ttl) })
		}
	}
	return upTo
}

// BrokeFrom returns the number with which Broke begins.
func (m *Machine) BrokeFrom() int { return m.keys.extras.Last() }

// Quarantine makes the partition grant nothing for d from now on (section 4.3). The caller has
// stretched d.
func (m *Machine) Quarantine(now, d time.Duration) {
	m.quarantine = m.clip(now, now+min(d, ops.MaxSpan))
}

// Quarantined returns how long the quarantine still lasts, or 0 if there is none.
func (m *Machine) Quarantined(now time.Duration) time.Duration {
	return max(m.quarantineAt(now)-now, 0)
}

// InQuarantine reports whether the partition was in quarantine in the last turn.
func (m *Machine) InQuarantine() bool { return m.quarantine != 0 }

// quarantineAt returns the end of the quarantine, or 0 if it has ended by now.
func (m *Machine) quarantineAt(now time.Duration) time.Duration {
	return m.clip(now, m.quarantine)
}

func (m *Machine) clip(now, end time.Duration) time.Duration {
	if end == 0 || end <= now {
		return 0
	}
	return end
}

// SetRelease says in which release's view the machine acts from its next activation on (W1).
func (m *Machine) SetRelease(release uint32) { m.release = release }

// SetFull sets whether this node has as many keys as it may. If so, a request that would add one
// fails with sharelock.ErrQuota.
func (m *Machine) SetFull(full bool) { m.full = full }

// Step handles one request and adds the ops and answers to out. Whatever is due
// by now happens first, as by Tick. Every request is answered; one that is
// answered Queued is answered again later. m keeps nothing of r but its strings.
func (m *Machine) Step(now time.Duration, from Ref, r *Request, out *Out) {
	t := m.turn(now, out)
	if !m.active {
		t.reply(from, Answer{Outcome: Retry, Send: r.Send})
		return
	}
	t.tick()
	if err := checkRequest(r); err != nil {
		t.fail(from, r.Send, err)
		return
	}
	switch r.Kind {
	case Acquire:
		t.acquire(from, r)
	case Renew:
		t.renew(from, r)
	case Release:
		t.release(from, r)
	case Force:
		t.force(from, r)
	case Get:
		t.get(from, r)
	case Check:
		t.check(from, r)
	case Cancel:
		t.cancel(from, r)
	case Detach:
		t.detach(from, r)
	case RenewMany:
		t.renewMany(from, r)
	}
	t.goOn()
	t.tidy()
}

// Tick does everything that is due: expiries, waits that are over, silent waiters, the end of
// settling and of a quarantine. On a copy that is not active it only forgets finished ids. What is
// too much for one step is left to the next.
func (m *Machine) Tick(now time.Duration, out *Out) {
	t := m.turn(now, out)
	t.tick()
	if m.active {
		t.goOn()
		// In a copy that is not active no claim has ended. Its claims must keep their numbers,
		// since it may be being prepared for an activation or read in pieces.
		t.tidy()
	}
}

// The parts of a step go on as long as the step has touched less than these limits, which leave
// room for the other parts: the sum stays below StepEntries and StepBytes. The largest request, a
// RenewMany, has room, too.
const (
	tickMost       = 200
	tickBytes      = 16 << 10
	serveStop      = 600
	serveStopBytes = 36 << 10
)

// tick does what is due before a request is handled.
func (t turn) tick() {
	m := t.m
	m.forget(t.now)
	if !m.active {
		return
	}
	if m.quarantine != 0 && m.quarantine <= t.now {
		m.quarantine = 0
		m.unserved = m.keys.extras.Last()
		m.busy = true
	}
	if m.busy {
		t.serveAfterQuarantine()
	}
	for t.within(tickMost, tickBytes) {
		left := tickMost / 4
		id := m.due.Over(t.now, &left, m.dueOf)
		m.touched += tickMost/4 - left
		if id == 0 {
			if left > 0 {
				break // nothing more is due
			}
			continue
		}
		m.touched++
		if c := m.keys.claims.At(id); c.held() {
			t.expire(c)
		} else {
			w := m.keys.extra(c)
			t.fresh(w)
			t.lookAt(w)
		}
	}
	if m.busy {
		t.serveMarked(tickMost, tickBytes)
		t.read()
	}
}

// goOn serves marked keys at the end of a turn.
func (t turn) goOn() {
	if m := t.m; m.busy {
		t.serveMarked(serveStop, serveStopBytes)
		m.busy = m.anyLeft()
	}
}

// serveAfterQuarantine serves some of the keys with waiters after a quarantine.
func (t turn) serveAfterQuarantine() {
	m := t.m
	m.unserved = min(m.unserved, m.keys.extras.Last())
	for ; m.unserved > 0 && t.within(tickMost, tickBytes); m.unserved-- {
		m.touched++
		if w := *m.keys.extras.At(uint32(m.unserved)); w != nil && !w.claim.held() && w.contended.waiters.first == w {
			t.serve(w.contended)
		}
	}
}

// Touched returns how many entries were touched since the last call, and how many bytes of keys,
// ids, metadata and messages.
func (m *Machine) Touched() (entries, size int) {
	entries, size = m.touched, m.handled
	m.touched, m.handled = 0, 0
	return entries, size
}

// forget drops request ids whose time is over.
func (m *Machine) forget(now time.Duration) {
	m.finished.Forget(now, tickMost/4, func(o finished.ID) {
		m.touched++
		m.forgotten(o)
	})
}

// Tidy frees a part of the memory that is unused after many claims have ended. It may only be
// called between turns, because claims move to lower numbers. Loops over claim numbers that do a
// part at a time go from the highest to the lowest, so that they miss no claim that moves.
func (m *Machine) Tidy() {
	if !m.keys.untidy() && !m.keys.sparse() {
		return
	}
	touched, size := m.keys.tidy(m.due.Renumber)
	m.due.Trim(m.keys.claims.Last())
	m.touched += touched
	m.handled += size
}

// Next returns when Tick has something to do; ok is false if never.
func (m *Machine) Next() (at time.Duration, ok bool) {
	if m.active {
		m.due.First(tickMost, m.dueOf)
	}
	return m.Look()
}

// Look returns when to ask Next again. That is no later than Next, but costs less to find.
func (m *Machine) Look() (at time.Duration, ok bool) {
	soonest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if next := m.finished.Next(); next != finished.Never {
		soonest(next)
	}
	if m.active && (m.busy && (m.unserved > 0 || m.marked.Len() > 0 || m.reads.Len() > 0) || m.keys.untidy()) {
		soonest(0)
	}
	if m.active && m.quarantine != 0 {
		soonest(m.quarantine)
	}
	if m.active && m.due.Len() > 0 {
		soonest(m.due.Soonest())
	}
	return at, ok
}

// Seq returns the number of ops applied since the empty copy.
func (m *Machine) Seq() uint64 { return m.seq }

// Len returns the number of keys that are held or waited for.
func (m *Machine) Len() int { return m.keys.len() }

// Waiters returns the number of requests that wait.
func (m *Machine) Waiters() int { return m.waiters }

// Holds returns the number of holds.
func (m *Machine) Holds() int { return m.keys.claims.Used() - m.waiters }

// LongestWait returns how long the first of all waiters has waited since it came to this owner, or 0
// if nobody waits.
func (m *Machine) LongestWait(now time.Duration) time.Duration {
	if w := m.keys.earliest; w != nil {
		return now - m.waitingOf(w).since
	}
	return 0
}

// CounterHalfUsed reports whether half of the tokens of this epoch are used up, so that a new epoch
// is wanted (G2).
func (m *Machine) CounterHalfUsed() bool {
	return m.counter() >= 1<<31
}

// counter returns the number of the last token of this epoch.
func (m *Machine) counter() uint32 {
	if m.last.Epoch() != m.epoch {
		return 0
	}
	return m.last.Counter()
}

// spent reports whether this epoch has no further token. So the counter never overflows (G2), and
// tokens always grow, even if an epoch were used twice.
func (m *Machine) spent() bool {
	return m.last.Epoch() > m.epoch || m.counter() == math.MaxUint32
}

func (m *Machine) nextToken() sharelock.Token {
	return sharelock.MakeToken(m.epoch, m.counter()+1)
}
