package owner

import (
	"github.com/sgkandale/sharelock/ring"
)

// flush sends the ops of the batch to the backups, and the answers that no longer wait for
// acknowledgements to their callers, in the order in which they were decided.
//
// A2: an answer leaves only if, after the last acknowledgement, this member's lease is still valid
// and the shard's epoch is still the current one. Otherwise the caller is told to retry. What was
// decided is not undone; the retry finds it.
func (sh *shard) flush() {
	sh.flushRecords()
	sh.replicate()
	if len(sh.ready) > 0 {
		now := sh.service.clock()
		valid := sh.service.leaseValid(now)
		current := sh.epoch == sh.service.cur.Load()
		if pause := sh.service.pause; pause != nil {
			pause(PointAnswer)
		}
		if g, gathers := sh.ready[0].Caller.(Gatherer); gathers && sh.inline && sh.alone == nil && len(sh.ready) == 1 {
			sh.alone = g
			g.Hold()
		}
		for i := range sh.ready {
			r := &sh.ready[i]
			if current && valid {
				if r.Freed != 0 {
					sh.totals.Handover.Observe(now - r.Freed)
				}
				r.Answer.At = now
				if sh.traces != nil {
					sh.traces.answered(r.Ref, &r.Answer)
				}
				r.Ref.Caller.Answer(r.ID, r.Answer)
			} else {
				if sh.traces != nil {
					sh.traces.answered(r.Ref, &Answer{Outcome: Retry})
				}
				r.Ref.Caller.Answer(r.ID, Answer{Outcome: Retry, Send: r.Answer.Send})
			}
		}
		clear(sh.ready)
		sh.ready = sh.ready[:0]
	}
}

// replicate hands the unsent ops of the touched partitions to the links, in one message for each
// backup (A4).
func (sh *shard) replicate() {
	if len(sh.touched) == 0 {
		return
	}
	rest := 0
	for _, p := range sh.touched {
		unsent := false
		for i := range p.log.backups {
			r := &p.log.backups[i]
			if e, some := p.log.unsent(p.id, r); some {
				e.Traces = p.log.traces
				sh.outbox.add(&r.member, e)
			}
			unsent = unsent || r.sent < p.log.last()
		}
		p.log.traces = nil
		if unsent { // more than may be sent in one step
			sh.touched[rest] = p
			rest++
		}
	}
	clear(sh.touched[rest:])
	sh.touched = sh.touched[:rest]
	for i, m := range sh.outbox.to {
		sh.service.peers.Replicate(m, sh.epoch, sh.outbox.entries[i])
	}
	sh.outbox.empty()
}

// drain lets answers leave, a part at a time, that were too many for one step.
func (sh *shard) drain(p *partition) {
	if p.draining || !p.log.behind() {
		return
	}
	p.draining = true
	epoch := sh.epoch
	sh.do(chore{step: func() (int, bool) {
		if sh.epoch != epoch || !p.active {
			return 0, true
		}
		before := len(sh.ready)
		sh.ready = p.log.ack(0, ring.Identity{}, Ack{}, sh.ready)
		p.draining = p.log.behind()
		return len(sh.ready) - before + 1, !p.draining
	}})
}
