package owner

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
)

// observe makes the machine of a partition tell facts if somebody watches. It is called before
// every step of the machine.
func (sh *shard) observe(p *partition) {
	wanted := sh.service.watched.Wants(p.id)
	if wanted == p.m.Observed() {
		return
	}
	p.m.Observe(wanted)
	p.tail.Cut(p.m.Seq())
}

// tell makes events of the facts of a step, which leave like an answer: when all backups have the
// ops, and only by an owner that may still act (A2, A3). reason is that of a forced release.
func (sh *shard) tell(p *partition, reason string) {
	if len(sh.out.Facts) == 0 {
		return
	}
	now := time.Now().UTC()
	t := &telling{shard: sh, partition: p, events: make([]*Event, len(sh.out.Facts))}
	for i := range sh.out.Facts {
		f := &sh.out.Facts[i]
		e := &Event{Event: eventOf(f, now, reason), Partition: p.id, Epoch: sh.epoch, Seq: f.Seq}
		e.Cursor = e.Place().String()
		t.events[i] = e
	}
	clear(sh.out.Facts)
	sh.out.Facts = sh.out.Facts[:0]
	sh.out.Replies = append(sh.out.Replies, t.reply(p.m))
}

// eventOf returns what a fact tells.
func eventOf(f *machine.Fact, at time.Time, reason string) sharelock.Event {
	e := sharelock.Event{Key: f.Key, Token: f.Token, ClientID: f.ClientID, Principal: f.Principal, Mode: f.Mode, At: at, Waiters: f.Waiters}
	switch f.Kind {
	case ops.Grant:
		e.Type = sharelock.Acquired
	case ops.Enqueue:
		e.Type = sharelock.Queued
	case ops.Dequeue:
		e.Type, e.Reason = sharelock.LeftQueue, f.Why.String()
	default:
		switch e.Type = sharelock.Released; f.Why {
		case ops.Expired:
			e.Type = sharelock.Expired
		case ops.Forced:
			e.Type, e.Reason = sharelock.Forced, reason
		case ops.Cancelled:
			e.Reason = f.Why.String()
		}
	}
	return e
}

// A telling is the caller of an answer that is for those who watch: the events of one step.
type telling struct {
	shard     *shard
	partition *partition
	events    []*Event
}

func (t *telling) reply(m *machine.Machine) machine.Reply {
	return machine.Reply{Ref: Ref{Caller: t}, Answer: Answer{Outcome: Done}, Seq: m.Seq()}
}

// Alive implements Caller.
func (t *telling) Alive() bool { return true }

// Answer implements Caller. It is called in the shard's turn.
func (t *telling) Answer(_ uint64, a Answer) {
	w := &t.shard.service.watched
	if a.Outcome != Done {
		// The lease has run out, or a newer epoch has begun: what was decided may count or not.
		t.partition.tail.Lose()
		w.Lose()
		return
	}
	if w.WatchesKey(t.partition.id) {
		t.partition.tail.Add(t.events)
	} else {
		t.partition.tail.Cut(t.events[len(t.events)-1].Seq)
	}
	w.Tell(t.events)
}
