package view

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/rules"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// stops is what a leader knows about the processes that were told to stop (V7).
type stops struct {
	// told are the processes that said so, until they are let go or fall silent.
	told map[ring.Identity]*stop
	// gone are the processes that were let go, each with the time at which it last asked, see
	// forgetGone. They count as absent. One whose answer was lost asks again and gets the same
	// answer.
	gone map[ring.Identity]time.Duration
	// closing: all members of the view were told to stop, so the leader does nothing but let them
	// go. closed is when that began.
	closing bool
	closed  time.Duration
}

// stop is one process that was told to stop.
type stop struct {
	forGood bool
	// at is when it last said so.
	at time.Duration
	// done: it has given up its lease and asks to be let go. order is its position among the
	// processes that do.
	done  bool
	order int
	// why is what it waits for, as last logged.
	why string
}

func newStops() stops {
	return stops{told: map[ring.Identity]*stop{}, gone: map[ring.Identity]time.Duration{}}
}

// forget removes the earlier starts of a process that joins, so that it counts as live again.
func (s *stops) forget(joins ring.Identity) {
	for who := range s.gone {
		if who.ID == joins.ID && who != joins {
			delete(s.gone, who)
		}
	}
	for who := range s.told {
		if who.ID == joins.ID && who != joins {
			delete(s.told, who)
		}
	}
}

// forgetGone removes processes from gone that have been silent for so long that they count as
// absent anyway. It removes none while all members stop, see dismissAll.
func (s *stops) forgetGone(now time.Duration) {
	if s.closing {
		return
	}
	for who, asked := range s.gone {
		if now-asked > goneFor {
			delete(s.gone, who)
		}
	}
}

// goneFor is how long a process that was let go is remembered after it asked last. It asks
// for at most ten seconds (V7).
const goneFor = time.Minute

// told records what a renewal says about stopping. It needs l.mu.
func (l *Leader) told(who ring.Identity, req *peerv1.RenewRequest, arrived time.Duration) {
	if !req.GetLeaving() && !req.GetDone() {
		return
	}
	st := l.stops.told[who]
	if st == nil {
		st = &stop{}
		l.stops.told[who] = st
		l.wake()
	}
	st.at, st.forGood = max(st.at, arrived), req.GetForGood()
	if req.GetDone() && !st.done {
		order := 0
		for _, other := range l.stops.told {
			order = max(order, other.order)
		}
		st.done, st.order = true, order+1
	}
}

// mayStop reports whether a process that was told to stop may do so, because it was let go or
// because all members were told to stop. That needs no round of V4: it is decided already, and the
// voters that a round would ask may have stopped.
func (l *Leader) mayStop(who ring.Identity, req *peerv1.RenewRequest, arrived time.Duration) bool {
	if !req.GetLeaving() && !req.GetDone() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, let := l.stops.gone[who]; let {
		l.stops.gone[who] = arrived
		if st := l.stops.told[who]; st != nil {
			st.at = max(st.at, arrived) // the answer was lost
		}
		return true
	}
	if !l.stops.closing {
		return false
	}
	l.told(who, req, arrived)
	if who.ID == l.self {
		return false // this process stops last, see dismissAll
	}
	l.stops.gone[who] = arrived
	l.wake()
	return true
}

// closes reports whether all members of the view, this process included, were told to stop, and no
// process can join (V7). Once it has returned true it always does: no further view is made. It
// needs l.mu.
func (l *Leader) closes(now time.Duration, view ring.View) bool {
	if l.stops.closing || len(view.Members) == 0 {
		return l.stops.closing
	}
	// A process that said so and then fell silent has died.
	for who, st := range l.stops.told {
		if now-st.at > rules.Stretch(l.lease()) {
			delete(l.stops.told, who)
		}
	}
	self := false
	for who := range l.stops.told {
		self = self || who.ID == l.self
	}
	for _, m := range view.Members {
		if l.stops.told[m.Identity] == nil {
			return false
		}
	}
	// A process that joins keeps what the members hold, and can take a seat.
	if self && len(l.admissible(now, view.Members)) > 0 {
		return false
	}
	if self {
		l.log.Info("all members were told to stop")
		l.stops.closing, l.stops.closed = true, now
	}
	return self
}

// dismissAll lets this process stop when all others that were told to stop know that they may, or
// no longer ask (V7). It reports whether it did.
func (l *Leader) dismissAll(now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now-l.stops.closed < l.lease()/4 && l.votersAreLeft() {
		// A new leader may not have heard yet from processes that have left the view and wait to be
		// let go.
		return false
	}
	for who, st := range l.stops.told {
		patience := l.lease()
		if _, let := l.stops.gone[who]; let {
			// A process whose answer was lost asks again after lease/40. All answers in flight are
			// lost when this process stops.
			patience /= 10
		}
		if who.ID != l.self && now-st.at < patience {
			return false
		}
	}
	if l.dismiss != nil {
		l.dismiss()
	}
	return true
}

// votersAreLeft reports whether another voter has not been let go. It needs l.mu.
func (l *Leader) votersAreLeft() bool {
	gone := map[string]bool{l.self: true}
	for who := range l.stops.gone {
		gone[who.ID] = true
	}
	for id := range l.voters() {
		if !gone[id] {
			return true
		}
	}
	return false
}

// sayFarewell continues to tell the others that they may stop after the leadership has ended, as it
// does when the first voters have stopped.
func (l *Leader) sayFarewell(tick <-chan time.Time) {
	for {
		l.mu.Lock()
		closing := l.stops.closing
		l.mu.Unlock()
		if !closing || l.dismissAll(l.clock()) {
			return
		}
		select {
		case <-l.stopping:
			return
		case <-tick:
		case <-l.kick:
		}
	}
}

// letGo lets one process go that has left the view and whose vote is not needed; this process comes
// last (V7). It reports whether it did.
func (l *Leader) letGo(ctx context.Context, e electorate) bool {
	for _, id := range e.waiting {
		if id == e.self && len(e.waiting) > 1 {
			continue
		}
		ok, warn, wait := e.release(id)
		if ok {
			ok, wait = l.settled(ctx)
		}
		l.mu.Lock()
		who, st := l.waits(id)
		if st == nil {
			l.mu.Unlock()
			continue
		}
		if ok {
			l.stops.gone[who] = l.clock()
			delete(l.stops.told, who)
		}
		news := st.why != wait
		st.why = wait
		l.mu.Unlock()
		switch {
		case ok && warn != "":
			l.log.Warn("letting a needed voter stop", "process", l.nameOf(id), "leaves", warn)
		case ok:
			l.log.Info("letting a process stop", "process", l.nameOf(id))
		case news:
			l.log.Info("a process waits until it may stop", "process", l.nameOf(id), "why", wait)
		}
		if ok {
			return true
		}
	}
	return false
}

// waits returns the process with this id that asks to be let go. It needs l.mu.
func (l *Leader) waits(id string) (ring.Identity, *stop) {
	for who, st := range l.stops.told {
		if who.ID == id && st.done {
			return who, st
		}
	}
	return ring.Identity{}, nil
}

// settled reports whether no change of the seats is in progress. Committing a change may need the
// vote of a process whose vote is not needed afterwards.
func (l *Leader) settled(ctx context.Context) (ok bool, wait string) {
	ctx, cancel := context.WithTimeout(ctx, l.lease()/2)
	defer cancel()
	if err := l.agree.Settle(ctx); err != nil {
		return false, "the seats are not settled"
	}
	return true, ""
}

// caughtUp reports whether a process has applied Raft's log up to an index.
func (l *Leader) caughtUp(ctx context.Context, id string, index uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, l.lease()/4)
	defer cancel()
	v, err := l.peers.Vote(ctx, id)
	return err == nil && v.Applied >= index
}

// putStops fills in what the leader knows about the processes that stop. It needs l.mu.
func (l *Leader) putStops(e *electorate, now time.Duration, view ring.View) {
	e.stopping, e.forGood = map[string]bool{}, map[string]bool{}
	var waiting []ring.Identity
	for who, st := range l.stops.told {
		e.stopping[who.ID] = true
		e.forGood[who.ID] = st.forGood
		if _, in := view.Find(who); !in && st.done && now-st.at <= l.lease() {
			waiting = append(waiting, who)
		}
	}
	slices.SortFunc(waiting, func(a, b ring.Identity) int {
		return cmp.Compare(l.stops.told[a].order, l.stops.told[b].order)
	})
	for _, who := range waiting {
		e.waiting = append(e.waiting, who.ID)
	}
}
