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
	// beganLost is set if the state was lost, so that there has been a quarantine.
	beganLost bool
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
