package view

import (
	"context"
	"time"
)

// keepVoters makes one change of Raft's configuration after the other (V1).
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

// changeVoters makes the next change; false if there is none, or it failed.
func (l *Leader) changeVoters(ctx context.Context) bool {
	e, err := l.electorate(ctx)
	if err != nil {
		return false
	}
	c := e.next()
	if c.kind == changeNone {
		return false
	}
	turn, cancel := context.WithTimeout(ctx, 5*l.lease())
	defer cancel()
	if err := l.agree.Reseat(turn, c); err != nil {
		if ctx.Err() == nil { // a transfer ends this leadership
			l.log.Warn("voters not changed", "change", c.String(), "error", err)
		}
		return false
	}
	l.log.Info("voters changed", "change", c.String())
	return true
}

func (l *Leader) electorate(ctx context.Context) (electorate, error) {
	seats, err := l.agree.Seats()
	if err != nil {
		return electorate{}, err
	}
	e := electorate{self: l.self, seats: seats, ready: map[string]bool{}}
	for _, m := range l.agree.State().View().Members {
		if m.Leaving {
			e.leaving = append(e.leaving, m.ID)
		} else {
			e.stay = append(e.stay, m.ID)
		}
	}
	now := l.clock()
	l.mu.Lock()
	e.live = l.heard(now)
	l.mu.Unlock()
	index := l.agree.Applied()
	for _, s := range seats {
		if s.Voter || !e.live[s.ID] {
			continue
		}
		turn, cancel := context.WithTimeout(ctx, l.lease()/4)
		_, applied, err := l.peers.Term(turn, s.ID)
		cancel()
		e.ready[s.ID] = err == nil && applied >= index
	}
	return e, nil
}
