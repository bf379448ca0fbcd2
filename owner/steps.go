package owner

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// handle does an item: a function runs, a request goes to its partition's machine. Requests for a
// partition that is not active yet are parked.
func (sh *shard) handle(now time.Duration, it *item) {
	if it.fn != nil {
		it.fn(sh)
		return
	}
	p := sh.part(it.partition)
	switch {
	case !p.owned || now-it.at > rules.MaxAge:
		retry(it.ref, it.req)
	case !p.active || len(p.parked) > 0:
		if len(p.parked) >= maxParked {
			retry(it.ref, it.req)
			return
		}
		p.parked = append(p.parked, *it)
	default:
		sh.step(now, p, it)
	}
}

// step hands one request to the machine. The time that it was parked counts against its wait; but
// a request that may wait never becomes a try, whose id the machine would not remember (Q2).
func (sh *shard) step(now time.Duration, p *partition, it *item) {
	if it.req.TTL > sh.service.maxTTL {
		// A quarantine would end before the lock (section 4.3). The node that took the request
		// has checked the TTL against its own configuration, which is not the cluster's.
		it.ref.Caller.Answer(it.ref.ID, Answer{Outcome: Failed, Send: it.req.Send, Err: sharelock.Invalid("ttl", "is above the mesh's max_ttl")})
		return
	}
	if p.log.full() {
		retry(it.ref, it.req)
		return
	}
	if it.req.Kind == Acquire && it.req.Wait > 0 {
		if parked := now - it.at; parked > 0 {
			sh.shortened = *it.req
			sh.shortened.Wait = max(sh.shortened.Wait-parked, 1)
			it.req = &sh.shortened
		}
	}
	limit := sh.service.maxLocks
	p.m.SetFull(limit > 0 && sh.service.locks.Load() >= int64(limit))
	before := p.m.Len()
	if it.req.Kind != RenewMany {
		sh.done++
	}
	from := it.ref
	if it.req.Kind == Force && sh.service.forced != nil {
		from.Caller = forcing{it.ref.Caller, sh.service, it.req.Reason}
	}
	sh.observe(p)
	if sh.traces != nil {
		sh.traces.begin(now, p, sh.epoch, from, it.req)
	}
	p.m.Step(now, from, it.req, &sh.out)
	if it.req.Kind == Acquire {
		sh.totals.refused(it, &sh.out)
	}
	sh.saw(p.m)
	sh.tell(p, it.req.Reason)
	sh.shortened = Request{} // it would keep the memory of the request
	sh.after(p, before)
}

// after takes what a machine has decided. Ops go to the backups, and answers wait until these have
// acknowledged; without backups answers leave with the batch. before is the number of keys that
// the machine had before.
func (sh *shard) after(p *partition, before int) {
	if len(sh.out.Ops) > 0 {
		sh.totals.decided(sh.out.Ops, p.m)
	}
	if sh.traces != nil {
		sh.traces.decided(p, sh.release, &sh.out)
	}
	if len(p.log.backups) == 0 {
		sh.pen.Decided(sh.place(p), sh.out.Ops)
		sh.ready = append(sh.ready, sh.out.Replies...)
	} else {
		if len(sh.out.Ops) > 0 {
			p.log.append(sh.now, sh.out.Ops, &sh.encoded)
			sh.recordLast(p, len(sh.out.Ops))
			sh.touched = append(sh.touched, p)
		}
		p.log.pending.Push(sh.out.Replies...)
		sh.ready = p.log.ack(0, ring.Identity{}, Ack{}, sh.ready)
		sh.drain(p)
	}
	clear(sh.out.Replies)
	clear(sh.out.Ops)
	sh.out.Replies, sh.out.Ops = sh.out.Replies[:0], sh.out.Ops[:0]
	if p.active {
		sh.count(p.m.Len() - before)
	}
	sh.rearm(p)
	if p.m.CounterHalfUsed() {
		sh.service.refresh.Store(true)
	}
}

// forcing is the caller of a Force. When its answer leaves, all backups know what was taken away,
// so the holders may be told.
type forcing struct {
	Caller
	service *Service
	reason  string
}

// Answer implements Caller.
func (f forcing) Answer(id uint64, a Answer) {
	if a.Outcome == Done {
		f.service.forced(a.Holds, f.reason)
	}
	f.Caller.Answer(id, a)
}

// count adds d to the number of keys in active partitions.
func (sh *shard) count(d int) {
	if d != 0 {
		sh.service.locks.Add(int64(d))
	}
}
