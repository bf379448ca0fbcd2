package owner

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
)

// An Event is what a member tells of a key that it owns, and where that stands in the log of the
// key's partition. Events of one epoch are told in the order of the log. An Event is shared by all
// that it is told to and must not be changed.
type Event struct {
	sharelock.Event
	Partition, Epoch uint32
	Seq              uint64
}

// Place returns where the event stands in the log.
func (e *Event) Place() Cursor { return Cursor{Epoch: e.Epoch, Seq: e.Seq} }

// watched has the feeds of a service, and what they watch. As long as there is no feed, it costs
// one load for each step.
type watched struct {
	mu sync.Mutex
	// feeds is replaced at every change; mu serialises the changes.
	feeds atomic.Pointer[[]*Feed]
	// all counts the prefixes that are watched, keys the watched keys of each partition.
	all  atomic.Int32
	keys []atomic.Int32
}

// wants reports whether anything of a partition is watched.
func (w *watched) wants(p uint32) bool {
	return w.feeds.Load() != nil && (w.all.Load() > 0 || w.keys[p].Load() > 0)
}

func (w *watched) add(f *Feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := append(slices.Clone(w.list()), f)
	w.feeds.Store(&list)
}

func (w *watched) remove(f *Feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := slices.DeleteFunc(slices.Clone(w.list()), func(x *Feed) bool { return x == f }); len(list) > 0 {
		w.feeds.Store(&list)
		return
	}
	w.feeds.Store(nil)
}

// list returns the feeds. The slice must not be changed.
func (w *watched) list() []*Feed {
	if list := w.feeds.Load(); list != nil {
		return *list
	}
	return nil
}

// observe makes the machine of a partition tell facts if somebody watches. It is called before
// every step of the machine.
func (sh *shard) observe(p *partition) {
	wanted := sh.service.watched.wants(p.id)
	if wanted == p.m.Observed() {
		return
	}
	p.m.Observe(wanted)
	p.tail = tail{from: p.m.Seq(), last: p.m.Seq()}
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
		t.partition.tail = tail{from: math.MaxUint64} // nothing from before can be resumed
		for _, f := range w.list() {
			f.lose()
		}
		return
	}
	if w.keys[t.partition.id].Load() > 0 {
		t.partition.tail.add(t.events)
	} else {
		t.partition.tail.cut(t.events[len(t.events)-1].Seq)
	}
	for _, f := range w.list() {
		f.offer(t.events)
	}
}

// tailMost is how many of its last events a partition keeps, for watches that are resumed.
const tailMost = 256

// A tail has the last events that a partition has told. It is kept only while a key of the
// partition is watched.
type tail struct {
	// All events with sequence numbers from from+1 to last are in events.
	from, last uint64
	events     []*Event
}

// add adds events that were told.
func (t *tail) add(events []*Event) {
	t.events = append(t.events, events...)
	t.last = events[len(events)-1].Seq
	if more := len(t.events) - tailMost; more >= tailMost/4 {
		t.from = t.events[more-1].Seq
		t.events = slices.Delete(t.events, 0, more)
	}
}

// cut forgets all events up to a sequence number.
func (t *tail) cut(seq uint64) { *t = tail{from: seq, last: seq} }

// after returns the events of a key after a sequence number. It returns false if some may be
// missing.
func (t *tail) after(key string, seq uint64) (events []*Event, ok bool) {
	if seq < t.from || seq > t.last {
		return nil, false
	}
	for _, e := range t.events {
		if e.Seq > seq && e.Key == key {
			events = append(events, e)
		}
	}
	return events, true
}
