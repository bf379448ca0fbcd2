package view

import (
	"context"
	"maps"
	"time"
)

// keepVoters makes changes of Raft's configuration, one after the other (V1), and lets processes go
// that wait for it (V7). It does both so that no process is let go while a change is in progress.
func (l *Leader) keepVoters(ctx context.Context) {
	tick := time.NewTicker(max(l.lease()/20, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for l.changeVoters(ctx) { // until there is nothing to change now
		}
	}
}

// changeVoters makes the next change or, if none is due, lets a process go. It reports whether to
// call it again at once.
func (l *Leader) changeVoters(ctx context.Context) bool {
	e, err := l.electorate(ctx)
	if err != nil || e.closing {
		return false
	}
	l.sayAbsent(e)
	if e.depends(e.next()) {
		voters, _ := e.split()
		e.confirmed = l.ask(ctx, voters)
	}
	c, heir := e.next(), e.heir()
	switch {
	case e.mute[e.self] && heir == "":
		// Any attempt to write would end its leadership, and there is no voter to take over.
		return false
	case heir != "" && (e.mute[e.self] || c.kind == changeNone && e.marked(e.self)):
		// V7: a marked leader hands over leadership once no seat has to change. A leader whose disk
		// fails cannot change the seats, and hands over at once.
		c = Change{changeTransfer, heir}
	}
	if c.kind == changeNone {
		return l.letGo(ctx, e)
	}
	if c.kind == changePromote {
		defer l.notePromotion(c.id)
		l.notePromotion(c.id) // it votes as soon as the change is appended
	}
	turn, cancel := context.WithTimeout(ctx, 5*l.lease())
	defer cancel()
	if err := l.agree.Reseat(turn, c); err != nil {
		if ctx.Err() == nil { // a transfer ends this leadership
			l.sayFailed(c, err)
		}
		return false
	}
	l.log.Info("voters changed", "change", l.describe(c))
	return c.kind != changeTransfer
}

// notePromotion records that a process is becoming a voter.
func (l *Leader) notePromotion(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promoted[id] = l.clock()
}

// sayFailed logs a change that failed: once, and again every failedEvery leases while the same
// change fails.
func (l *Leader) sayFailed(c Change, err error) {
	now := l.clock()
	if l.failed.change == c && now-l.failed.at < failedEvery*l.lease() {
		l.log.Debug("voters not changed", "change", l.describe(c), "error", err)
		return
	}
	l.failed.change, l.failed.at = c, now
	l.log.Warn("voters not changed", "change", l.describe(c), "error", err)
}

// describe returns the text of a change for the log, with the name of the process.
func (l *Leader) describe(c Change) string { return Change{c.kind, l.nameOf(c.id)}.String() }

// nameOf returns the name of a process and its id.
func (l *Leader) nameOf(id string) string {
	if name := l.agree.State().NameOf(id); name != "" {
		return name + " (" + id + ")"
	}
	return id
}

// failedEvery is the number of leases after which a change that still fails is logged again.
const failedEvery = 10

// electorate returns what the leader knows now, to decide about seats.
func (l *Leader) electorate(ctx context.Context) (electorate, error) {
	seats, err := l.agree.Seats()
	if err != nil {
		return electorate{}, err
	}
	view := l.agree.State().View()
	e := electorate{self: l.self, seats: seats, ready: map[string]bool{}}
	for _, m := range view.Members {
		if m.Leaving {
			e.leaving = append(e.leaving, m.ID)
		} else {
			e.stay = append(e.stay, m.ID)
		}
	}
	now := l.clock()
	l.mu.Lock()
	e.live = l.heard(now)
	e.closing = l.stops.closing
	e.given = maps.Clone(l.given)
	l.putStops(&e, now, view)
	e.mute = map[string]bool{}
	for who, m := range l.members {
		if m.mute {
			e.mute[who.ID] = true
		}
	}
	l.putAbsences(&e, now)
	for id, j := range l.joins {
		if _, in := view.FindID(id); !in && now-j.at <= l.lease() {
			e.joiners = true
		}
	}
	l.mu.Unlock()
	index := l.agree.Applied()
	for _, s := range seats {
		if !s.Voter && e.live[s.ID] {
			e.ready[s.ID] = l.caughtUp(ctx, s.ID, index)
		}
	}
	return e, nil
}

// ask returns those of the other voters that confirm this leadership now. A change of the seats
// must not rely on voters that were last heard from a lease ago, and must not move the seat of one
// that does not reach this leader but is reached by it and votes (V1).
func (l *Leader) ask(ctx context.Context, voters []string) map[string]bool {
	// A process that stops waits for LeaveTime at most, whatever the lease is (V7).
	ctx, cancel := context.WithTimeout(ctx, min(l.lease()/4, time.Second))
	defer cancel()
	l.mu.Lock()
	for who := range l.stops.gone {
		voters = without(voters, who.ID) // they may answer until they end
	}
	l.mu.Unlock()
	voters = without(voters, l.self)
	confirmed := map[string]bool{}
	answers, ok := l.poll(ctx, voters, func(v Vote) bool { return v.Term == l.term && !v.Abstains })
	if !ok {
		return confirmed // the node is stopping
	}
	for range voters {
		confirmed[<-answers] = true
	}
	delete(confirmed, "")
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range confirmed {
		delete(l.absences, id)
	}
	return confirmed
}

// putAbsences updates since when voters have been absent, and sets e.overdue for those absent for
// the seat grace (V1). It needs l.mu.
func (l *Leader) putAbsences(e *electorate, now time.Duration) {
	e.overdue = map[string]bool{}
	voters, _ := e.split()
	_, absent := e.divide(voters)
	since := make(map[string]time.Duration, len(absent))
	for _, id := range absent {
		at, known := l.absences[id]
		if !known {
			at = now
		}
		since[id] = at
		e.overdue[id] = l.grace > 0 && now-at >= l.grace
	}
	l.absences = since
}
