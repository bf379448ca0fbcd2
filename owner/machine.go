package owner

import (
	"math"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
)

// Machine is one copy of a partition and the rules for deciding about it. Make
// one with [NewMachine]; it is the empty copy then. It is not safe for concurrent
// use.
//
// Every method that takes now takes the time on this node's clock, which must not
// go backwards.
type Machine struct {
	// What all copies have in common.

	partition uint32
	// keys that are held or waited for, each with at least one claim.
	keys keys
	// finished are the request ids that are over (Q2).
	finished finished
	// seq is the number of ops applied.
	seq uint64
	// last is the largest token ever granted.
	last sharelock.Token
	// quarantine is when the quarantine ends; 0 is none (section 4.3).
	quarantine time.Duration

	// waiters is the number of claims that wait.
	waiters int
	// used is what all of that takes (Q6).
	used usage

	// What only the owner has.

	// active is between Activate and Detach.
	active     bool
	full       bool
	bounds     Bounds
	maxWaiters int
	epoch      uint32
	node       string
	// release is that of the view in which the owner acts (W1).
	release uint32
	// due holds every claim while active. What it held then is kept until somebody
	// else decides about this copy.
	due deadlines
	// marked are crowds that the turn under way will serve; empty between turns.
	marked []*crowd
}

// Out collects what a machine decides. The caller empties it by cutting both
// slices to zero length, and may then use it again.
type Out struct {
	// Ops in the order in which they were applied.
	Ops []Op
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
func NewMachine(partition uint32, maxWaiters int) *Machine {
	return &Machine{partition: partition, maxWaiters: maxWaiters, bounds: DefaultBounds, keys: newKeys(), finished: newFinished()}
}

// Activate makes this copy the owner's in an epoch (section 4.5). Every TTL starts
// afresh and every waiter settles for one period. node is the name put into
// holds. Waiters that were attached are forgotten; see Detach.
func (m *Machine) Activate(now time.Duration, epoch uint32, node string) {
	m.active, m.epoch, m.node = true, epoch, node
	m.forget(now)
	m.quarantine = m.quarantineAt(now)
	if !m.rearm(now) {
		m.due.clear()
		for k := range m.keys.sorted {
			for c := range k.holds {
				m.due.set(c.id, restarted(now, c))
			}
		}
	}
	for _, cr := range m.keys.queued() {
		for w := range m.keys.crowded(cr).queue {
			w.waiting = waiting{}
			m.arm(now, w.claim)
			if !mutant.On(mutant.NoSettling) {
				w.settles = now + period(w.ttl)
			}
			m.watch(w)
		}
	}
}

// rearm starts the time of all holds afresh in the deadlines that the same owner had
// before, which costs next to nothing: the holds are there, and none ends earlier. It
// is false if that is not so.
func (m *Machine) rearm(now time.Duration) bool {
	if m.due.len() != m.keys.claims.used() {
		return false
	}
	for i := range m.due.len() {
		e := m.due.heap.at(i)
		c := m.keys.claims.at(e.id)
		if !c.held() {
			continue
		}
		if e.due = restarted(now, c); e.due < e.at {
			return false
		}
	}
	return true
}

// restarted is when a hold is due whose time starts afresh with an activation.
func restarted(now time.Duration, c *claim) time.Duration {
	if mutant.On(mutant.TTLNotRestarted) {
		return now + c.ttl()/2
	}
	return expires(now, c)
}

// Detach ends what Activate began, when a newer epoch begins or the node stops:
// every waiter that is attached is forgotten, fn being told where it was, and
// until the next Activate requests are answered Retry (A1).
func (m *Machine) Detach(fn func(Ref)) {
	m.active = false
	for _, cr := range m.keys.queued() {
		for w := range m.keys.crowded(cr).queue {
			if w.ref.Caller != nil {
				fn(w.ref)
			}
			w.waiting = waiting{}
		}
	}
}

// Broke says that the way to a caller broke, not that the caller has gone: its
// waiters may come back another way and settle for one period, as after an
// activation (Q5).
func (m *Machine) Broke(now time.Duration, caller Caller) {
	if !m.active || m.waiters == 0 || mutant.On(mutant.BrokenPassedOver) {
		return
	}
	for _, cr := range m.keys.queued() {
		for w := range m.keys.crowded(cr).queue {
			if w.ref.Caller == caller {
				w.ref, w.settles = Ref{}, now+period(w.ttl)
				m.watch(w)
			}
		}
	}
}

// Quarantine makes the partition grant nothing for d from now (section 4.3). The
// caller has stretched d.
func (m *Machine) Quarantine(now, d time.Duration) {
	m.quarantine = m.clip(now, now+min(d, maxSpan))
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

// SetFull says whether this node has as many keys as it may: a request that would
// add one fails with sharelock.ErrQuota.
func (m *Machine) SetFull(full bool) { m.full = full }

// Step handles one request and adds the ops and answers to out. Whatever is due
// by now happens first, as by Tick. Every request is answered; one that is
// answered Queued is answered again later. m keeps nothing of r but its strings.
func (m *Machine) Step(now time.Duration, from Ref, r *Request, out *Out) {
	t := turn{m: m, now: now, out: out}
	if !m.active {
		t.reply(from, Answer{Outcome: Retry, Send: r.Send})
		return
	}
	m.tick(now, out)
	if err := checkRequest(r); err != nil {
		t.fail(from, r.Send, err)
		return
	}
	switch r.Kind {
	case Acquire:
		t.acquire(from, r)
	case Renew:
		t.renew(from, r)
	case Release, ReleaseClient:
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
	t.serveMarked()
	m.tidy()
}

// Tick does everything that is due: expiries, waits that are over, silent
// waiters, the end of settling and of a quarantine. On a copy that is not active
// it only forgets finished ids.
func (m *Machine) Tick(now time.Duration, out *Out) {
	m.tick(now, out)
	m.tidy()
}

func (m *Machine) tick(now time.Duration, out *Out) {
	m.forget(now)
	if !m.active {
		return
	}
	t := turn{m: m, now: now, out: out}
	if m.quarantine != 0 && m.quarantine <= now {
		m.quarantine = 0
		for _, cr := range m.keys.queued() {
			t.serve(cr)
		}
	}
	for {
		id := m.due.over(now)
		if id == 0 {
			break
		}
		if c := m.keys.claims.at(id); c.held() {
			t.expire(c)
		} else {
			t.lookAt(m.keys.more(c))
		}
	}
	t.serveMarked()
}

// forget drops request ids whose time is over.
func (m *Machine) forget(now time.Duration) {
	m.finished.forget(now, stepEntries, m.forgotten)
}

// tidy gives memory back after much has ended. Between turns only: claims move.
func (m *Machine) tidy() {
	var due deadlines
	if m.keys.tidy(func(from, to uint32) {
		if m.active {
			due.set(to, m.due.due(from))
		}
	}) {
		m.due = due
	}
}

// Next is when Tick has something to do; ok is false when never.
func (m *Machine) Next() (at time.Duration, ok bool) {
	m.due.first()
	return m.Look()
}

// Look is when to ask Next again: no later than Next, but found without work.
func (m *Machine) Look() (at time.Duration, ok bool) {
	soonest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if until, some := m.finished.first(); some {
		soonest(until)
	}
	if m.active && m.quarantine != 0 {
		soonest(m.quarantine)
	}
	if m.active && m.due.len() > 0 {
		soonest(m.due.heap.at(0).at)
	}
	return at, ok
}

// Keys calls fn for every key that is held or waited for, in any order, until it
// returns false. fn must not change the machine.
func (m *Machine) Keys(fn func(key string) bool) {
	for k := range m.keys.each {
		if !fn(string(k.name())) {
			return
		}
	}
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
