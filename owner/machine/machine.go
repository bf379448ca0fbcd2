package machine

import (
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/owner/ops"
)

// Machine is one copy of a partition and the rules for deciding about it. Make
// one with [NewMachine]; it is the empty copy then. It is not safe for concurrent
// use.
//
// Every method that takes now takes the time on this node's clock, which must not
// go backwards.
type Machine struct {
	// A step finds most of its machine's memory out of the caches: the requests of a node go
	// to a thousand partitions in turn. So what nearly every step needs comes first, and what
	// few need comes last.

	// active is between Activate and Detach.
	active bool
	// full: this node has as many keys as it may.
	full bool
	// busy: there may be something in jobs that goes on in the next steps.
	busy bool
	// prepared: the next activation takes no time.
	prepared bool
	epoch    uint32
	// seq is the number of ops applied.
	seq uint64
	// last is the largest token ever granted.
	last sharelock.Token
	// quarantine is when the quarantine ends; 0 is none (section 4.3).
	quarantine time.Duration
	// waiters is the number of claims that wait.
	waiters int
	// started is when this copy was activated, era the number of that among its
	// activations and their ends.
	started time.Duration
	// touched and handled count the entries and bytes that steps have looked at; see Touched.
	touched, handled int

	era       uint32
	partition uint32
	// used is what the claims and finished ids take (Q6).
	used       usage
	bounds     Bounds
	maxWaiters int
	maxHold    time.Duration
	// finished are the request ids that are over (Q2).
	finished finishedIDs
	// keys that are held or waited for, each with at least one claim.
	keys keyTable
	// due holds every claim while active. What it held then is kept until somebody
	// else decides about this copy.
	due compact.Deadlines

	// node is the name put into holds.
	node string
	// release is that of the view in which the owner acts (W1).
	release uint32
	jobs
}

// jobs is what an owner has begun and goes on with in its next steps. Whatever is added sets
// Machine.busy.
type jobs struct {
	// preparing is what is left to do for the next activation.
	preparing preparing
	// unswept are the records of waiters that Sweep has not seen, unserved those that the
	// end of a quarantine has not.
	unswept, unserved int
	// scans are under way.
	scans []*Scan
	// reads are under way, see reading; unread those that a Detach has ended.
	reads, unread compact.Queue[*pendingRead]
	// marked are contended keys to be served: by the turn under way, or, those that it had no room
	// for, by the next.
	marked compact.Queue[*contendedKey]
}

// anyLeft reports whether an active machine has something to go on with.
func (j *jobs) anyLeft() bool {
	return j.unserved > 0 || j.marked.Len() > 0 || j.reads.Len() > 0 || len(j.scans) > 0
}

// Out collects what a machine decides. The caller empties it by cutting both
// slices to zero length, and may then use it again.
type Out struct {
	// Ops in the order in which they were applied.
	Ops []ops.Op
	// Replies in the order in which they were decided.
	Replies []Reply
}

// Reply is an answer and where it goes.
type Reply struct {
	Ref
	Answer
	// Seq is the machine's sequence number when the answer was decided: it may
	// leave once all ops up to Seq are acknowledged (A3).
	Seq uint64
}

// NewMachine is the empty copy of a partition. maxWaiters bounds the queue of
// each key; with 0 nobody may wait.
func New(partition uint32, maxWaiters int) *Machine {
	return &Machine{partition: partition, maxWaiters: maxWaiters, bounds: DefaultBounds, keys: newKeyTable(), finished: newFinishedIDs()}
}

// Activate makes this copy the owner's in an epoch (section 4.5). Every TTL starts
// afresh and every waiter settles for one period. node is the name put into
// holds. Waiters that were attached are forgotten; see Detach.
//
// What that means for each claim is found out when it matters: see dueOf and fresh. So
// it takes no time once the copy is prepared; see Prepare.
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

// BeginPrepare begins to prepare the copy for an activation.
func (m *Machine) BeginPrepare() {
	m.prepared = false
	m.preparing = preparing{waiters: m.keys.extras.Last()}
	if m.due.Len() != m.keys.claims.Used() || mutant.On(mutant.TTLNotRestarted) {
		m.preparing.claims = m.keys.claims.Last()
	}
}

// preparing is what of a copy has not been prepared: the records up to these numbers.
type preparing struct{ waiters, claims int }

// Prepare prepares the next part of the copy for an activation, and reports whether that
// was all. In between, the copy must not change but for ids that are forgotten.
//
// Every claim gets an entry among the deadlines that is not late, whenever the activation
// will be. If the same owner goes on, the entries of holds are there.
func (m *Machine) Prepare(now time.Duration) (done bool) {
	left := StepEntries
	p := &m.preparing
	for ; p.claims > 0 && left > 0; p.claims-- {
		left--
		c := m.keys.claims.At(uint32(p.claims))
		switch {
		case c.id == 0 || !c.held():
		case mutant.On(mutant.TTLNotRestarted):
			m.due.Set(c.id, now+c.ttl()/2)
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

// restarted is when a hold is due at the earliest: its time has started afresh with the
// activation.
func (m *Machine) restarted(c *claim) time.Duration {
	if mutant.On(mutant.TTLNotRestarted) {
		return 0
	}
	return m.expires(m.started, c)
}

// dueOf is when a claim is due whose entry says due: not before what its activation gave
// it.
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

// dueTime is when a claim of an owner is due.
func (m *Machine) dueTime(c *claim) time.Duration { return m.dueOf(m.due.Entry(c.id)) }

// waitingOf is what the owner knows of a waiter. If that is of an earlier activation, the
// waiter settles since this one.
func (m *Machine) waitingOf(w *claimExtra) waiterState {
	if w.era == m.era {
		return w.waiterState
	}
	fresh := waiterState{era: m.era, ttl: w.claim.ttl(), seen: m.started, since: m.started}
	if !mutant.On(mutant.NoSettling) {
		fresh.settles = m.started + rules.Period(fresh.ttl)
	}
	return fresh
}

// note changes what the owner knows of a waiter, which is of this activation or becomes
// so.
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

// sync brings the count of a contended key's waiters that listen up to this activation, in which
// they settle, and reports whether it was of an earlier one.
func (m *Machine) sync(ck *contendedKey) (earlier bool) {
	if earlier = ck.era != m.era; earlier {
		ck.era, ck.listening = m.era, ck.waiters.n
	}
	return earlier
}

// fresh brings what the owner knows of a waiter up to this activation. Who listened for it
// before is told to come again, if that has not been done; see Detach.
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

// Detach ends what Activate began, when a newer epoch begins or the node stops: until the
// next Activate requests are answered Retry (A1). It takes no time: whoever is attached is
// forgotten by Sweep, a part at a time.
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
	// Whoever waits is served anew after the next activation. Marks are of an era.
	m.unserved, m.marked, m.scans, m.reads = 0, compact.Queue[*contendedKey]{}, nil, compact.Queue[*pendingRead]{}
	m.busy = false
}

// Sweep forgets waiters that were attached before the last Detach, and reads that were
// under way, a part of them, and tells fn where they were. It returns false if there are
// more.
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

// Unswept reports whether Sweep has something to do.
func (m *Machine) Unswept() bool { return m.unswept > 0 || m.unread.Len() > 0 }

// Broke says that the way to a caller broke, not that the caller has gone: its
// waiters may come back another way and settle for one period, as after an
// activation (Q5). It looks at the waiters up to a number, from above, and returns up to
// which it has to be called again; 0 is that it is done. The first number is that of
// BrokeFrom.
func (m *Machine) Broke(now time.Duration, caller Caller, upTo int) (rest int) {
	if !m.active || m.waiters == 0 || mutant.On(mutant.BrokenPassedOver) {
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

// BrokeFrom is where Broke begins.
func (m *Machine) BrokeFrom() int { return m.keys.extras.Last() }

// Quarantine makes the partition grant nothing for d from now (section 4.3). The
// caller has stretched d.
func (m *Machine) Quarantine(now, d time.Duration) {
	m.quarantine = m.clip(now, now+min(d, ops.MaxSpan))
}

// Quarantined is how long the quarantine still lasts; 0 when there is none.
func (m *Machine) Quarantined(now time.Duration) time.Duration {
	return max(m.quarantineAt(now)-now, 0)
}

// quarantineAt is the end of a quarantine that has not ended by now, or 0.
func (m *Machine) quarantineAt(now time.Duration) time.Duration {
	return m.clip(now, m.quarantine)
}

func (m *Machine) clip(now, end time.Duration) time.Duration {
	if end == 0 || end <= now {
		return 0
	}
	return end
}

// setRelease says in which release's view the machine acts from its next activation on (W1).
func (m *Machine) SetRelease(release uint32) { m.release = release }

// SetFull says whether this node has as many keys as it may: a request that would
// add one fails with sharelock.ErrQuota.
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

// Tick does everything that is due: expiries, waits that are over, silent
// waiters, the end of settling and of a quarantine. On a copy that is not active
// it only forgets finished ids. What is too much for one step it leaves to the next.
func (m *Machine) Tick(now time.Duration, out *Out) {
	t := m.turn(now, out)
	t.tick()
	if m.active {
		t.goOn()
		// In another copy no claim has ended, and claims must keep their numbers: it may be
		// prepared for an activation, or be read in pieces.
		t.tidy()
	}
}

// The parts of a step, and how much a step may have touched when a part of it goes on: the
// sum of all stays below stepEntries and stepBytes. A request has room for the largest, which
// is a RenewMany.
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

// goOn serves the contended keys that are marked at the end of a turn.
func (t turn) goOn() {
	if m := t.m; m.busy {
		t.serveMarked(serveStop, serveStopBytes)
		m.busy = m.anyLeft()
	}
}

// serveAfterQuarantine serves the keys with waiters after a quarantine, some at a time.
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

// Touched returns how many entries were looked at since it was called last, and how many
// bytes of keys, ids and metadata, and of messages.
func (m *Machine) Touched() (entries, size int) {
	entries, size = m.touched, m.handled
	m.touched, m.handled = 0, 0
	return entries, size
}

// forget drops request ids whose time is over.
func (m *Machine) forget(now time.Duration) {
	m.finished.forget(now, tickMost/4, func(o finishedID) {
		m.touched++
		m.forgotten(o)
	})
}

// tidy goes on to give memory back after much has ended. Between turns only: claims move,
// to lower numbers. What goes through them by their numbers, a part at a time, goes from
// above, so that it passes none over.
func (m *Machine) Tidy() {
	if !m.keys.untidy() && !m.keys.sparse() {
		return
	}
	touched, size := m.keys.tidy(m.due.Renumber)
	m.due.Trim(m.keys.claims.Last())
	m.touched += touched
	m.handled += size
}

// Next is when Tick has something to do; ok is false when never.
func (m *Machine) Next() (at time.Duration, ok bool) {
	if m.active {
		m.due.First(tickMost, m.dueOf)
	}
	return m.Look()
}

// Look is when to ask Next again: no later than Next, but found without work.
func (m *Machine) Look() (at time.Duration, ok bool) {
	soonest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if m.finished.next != never {
		soonest(m.finished.next)
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

// Seq is the number of ops applied since the empty copy.
func (m *Machine) Seq() uint64 { return m.seq }

// Len is the number of keys that are held or waited for.
func (m *Machine) Len() int { return m.keys.len() }

// Waiters is the number of requests that wait.
func (m *Machine) Waiters() int { return m.waiters }

// CounterHalfUsed reports that half of the tokens of this epoch are used up, so
// that a new epoch is wanted (G2).
func (m *Machine) CounterHalfUsed() bool {
	return m.counter() >= 1<<31 && !mutant.On(mutant.NoRefresh)
}

// counter is the number of the last token of this epoch.
func (m *Machine) counter() uint32 {
	if m.last.Epoch() != m.epoch {
		return 0
	}
	return m.last.Counter()
}

// spent reports that this epoch has no further token: the counter never overflows
// (G2), and a token never repeats or falls, even if an epoch were used twice.
func (m *Machine) spent() bool {
	return m.last.Epoch() > m.epoch || m.counter() == math.MaxUint32
}

func (m *Machine) nextToken() sharelock.Token {
	if mutant.On(mutant.TokenWithoutEpoch) {
		return sharelock.MakeToken(1, m.last.Counter()+1)
	}
	return sharelock.MakeToken(m.epoch, m.counter()+1)
}
