package owner

import (
	"time"

	"github.com/sgkandale/sharelock/internal/compact"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/owner/feed"
	"github.com/sgkandale/sharelock/owner/journal"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/ring"
)

// maxParked bounds the requests that wait in one partition for its activation. Further ones are
// answered Retry at once.
const maxParked = 4096

// A partition is one partition on this member: its copy, and what the member may do with it in the
// current epoch. It may be used only with its shard's turn.
type partition struct {
	// m is the copy. It is nil for the empty copy of epoch 0, that is, if and only if have is 0.
	m *machine.Machine
	// owned is set if this member is the owner in the current epoch, backup if it is a backup of
	// owner.
	owned, backup bool
	// recorded is set if the journal was told that the copy follows the epoch, from base on.
	recorded bool
	// broken is set, until the next epoch, if the copy does not fit the ops that its owner sends.
	broken bool
	// active is set if the partition is owned and its activation in the current epoch is done (A2).
	active bool
	// draining is set while a chore lets answers leave; see shard.drain.
	draining bool
	id       uint32
	// have is the epoch in which m was last synced (section 4.1).
	have uint32
	// from is the epoch of the copy that was chosen for the epoch, or 0 if there was none. Only the
	// owner uses it. base is where the log of the epoch began. Both are for the journal.
	from uint32
	base journal.Base
	// parked are the requests that came before the partition was active.
	parked []item
	// log has what the backups have not acknowledged. Only the owner uses it.
	log oplog
	// tail has the last events that were told. Only the owner uses it.
	tail  feed.Tail
	owner ring.Identity
	// staged has the pieces of this epoch's base that have come while others are missing; it is
	// nil before the first.
	staged *staged
}

// part returns the partition with this number, which must be one of the shard's.
func (sh *shard) part(p uint32) *partition {
	return sh.parts[int(p)/len(sh.service.shards)]
}

// install installs a view, which is one step for each shard (A1): what is pending in older epochs
// is dropped, and no partition is active until it is activated in the new epoch.
func (sh *shard) install(epoch uint32, r *ring.Ring) {
	sh.flush()
	sh.traces.drop()
	ended := sh.epoch
	sh.epoch, sh.release = epoch, r.View().Release
	sh.hasNext = false
	owned := 0
	for _, p := range sh.parts {
		sh.endRecord(p, ended)
		sh.silence(p)
		owner, _ := r.Owner(p.id)
		p.staged = nil
		p.owner, p.owned = owner.Identity, owner.Identity == sh.service.self
		p.backup, p.broken = r.Position(p.id, sh.service.self) > 0, false
		if p.m != nil {
			sh.rearm(p)
		}
		if p.owned {
			owned++
		}
	}
	sh.countDormant(owned - sh.dormant)
}

// countDormant counts partitions that are owned and not active, and says whether there are any.
func (sh *shard) countDormant(more int) {
	if sh.dormant += more; sh.dormant == 0 {
		sh.settled.Store(sh.epoch)
	} else {
		sh.settled.Store(0)
	}
}

// activate starts to serve a partition (section 4.5), the parked requests first.
func (sh *shard) activate(now time.Duration, p *partition, epoch uint32, backups []ring.Member) {
	p.have = epoch
	p.log.begin(backups, p.m.Seq())
	p.m.SetRelease(sh.release)
	p.m.SetQuota(sh.service.ledger)
	sh.service.ledger.Add(p.m, 1)
	p.m.Activate(now, epoch, sh.service.name)
	p.m.Observe(false) // a watch begins afresh in every epoch
	p.active = true
	sh.countDormant(-1)
	sh.beginRecord(p, p.from)
	sh.count(p.m.Len())
	sh.rearm(p)
	if len(p.parked) > 0 {
		sh.do(chore{step: func() (int, bool) {
			if sh.epoch != epoch || !p.active {
				return 0, true // silence has answered the rest
			}
			return sh.unpark(p), len(p.parked) == 0
		}})
	}
}

// unpark handles some of the parked requests and returns how many. Requests that come meanwhile
// are parked behind them.
func (sh *shard) unpark(p *partition) (touched int) {
	n := min(len(p.parked), unparkStep)
	for i := range p.parked[:n] {
		it := &p.parked[i]
		switch {
		case it.req.Kind == Acquire && !it.ref.Alive():
			// Nobody would take the grant, and the caller's cancel comes behind it.
		case sh.now-it.at > rules.MaxAge:
			retry(it.ref, it.req)
		default:
			sh.step(sh.now, p, it)
		}
		p.parked[i] = item{}
	}
	if p.parked = p.parked[n:]; len(p.parked) == 0 {
		p.parked = nil
	}
	return n
}

// unparkStep is the number of parked requests that one step handles.
const unparkStep = 16

// replace makes m, which was synced in epoch have, the copy of a partition. With nil the partition
// has no copy.
func (sh *shard) replace(p *partition, m *machine.Machine, have uint32) {
	if p.m, p.have = m, have; m != nil {
		m.SetBounds(sh.service.bounds)
		m.SetMaxHold(sh.service.maxHold)
	}
}

// held calls take for each copy of this shard.
func (sh *shard) held(take func(Held)) {
	for _, p := range sh.parts {
		if p.m != nil {
			take(Held{Partition: p.id, Have: p.have, Seq: p.m.Seq()})
		}
	}
}

// silence drops everything that is pending in a partition. All of it is answered Retry (A1).
func (sh *shard) silence(p *partition) {
	if p.active {
		sh.count(-p.m.Len())
		sh.service.ledger.Add(p.m, -1)
		sh.countDormant(1)
	}
	p.active = false
	sh.sendAway(p.log.pending)
	p.log, p.draining = oplog{}, false
	if parked := p.parked; len(parked) > 0 {
		p.parked = nil
		sh.do(chore{step: func() (int, bool) {
			n := min(len(parked), machine.StepEntries/4)
			for i := range parked[:n] {
				retry(parked[i].ref, parked[i].req)
			}
			parked = parked[n:]
			return n, len(parked) == 0
		}})
	}
	if m := p.m; m != nil {
		if m.Detach(); m.Unswept() {
			sh.do(chore{step: func() (int, bool) {
				done := m.Sweep(func(r Ref, send uint32) { r.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: send}) })
				return sh.saw(m), done
			}})
		}
	}
}

// sendAway answers Retry instead of the given answers, which must not leave any more.
func (sh *shard) sendAway(list compact.Queue[machine.Reply]) {
	if list.Len() == 0 {
		return
	}
	sh.do(chore{step: func() (int, bool) {
		n := min(list.Len(), machine.StepEntries/4)
		for i := range n {
			r := list.At(i)
			r.Ref.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: r.Answer.Send})
		}
		list.Drop(n)
		return n, list.Len() == 0
	}})
}

// retry tells the caller of a request to send it again (Q1).
func retry(ref Ref, r *Request) {
	ref.Caller.Answer(ref.ID, Answer{Outcome: Retry, Send: r.Send})
}
