package mesh

import (
	"context"
	"time"
)

// keepVoters makes one change of Raft's configuration after the other (V1).
func (l *leader) keepVoters(ctx context.Context) {
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
func (l *leader) changeVoters(ctx context.Context) bool {
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
	if err := l.agree.reseat(turn, c); err != nil {
		if ctx.Err() == nil { // a transfer ends this leadership
			l.log.Warn("voters not changed", "change", c.String(), "error", err)
		}
		return false
	}
	l.log.Info("voters changed", "change", c.String())
	return true
}

func (l *leader) electorate(ctx context.Context) (electorate, error) {
	seats, err := l.seats()
	if err != nil {
		return electorate{}, err
	}
	e := electorate{self: string(l.agree.self), seats: seats, ready: map[string]bool{}}
	for _, m := range l.agree.fsm.state().view().Members {
		if m.Leaving {
			e.leaving = append(e.leaving, m.ID)
		} else {
			e.stay = append(e.stay, m.ID)
		}
	}
	now := l.node.clock()
	l.mu.Lock()
	e.live = l.heard(now)
	l.mu.Unlock()
	index := l.agree.applied()
	for _, s := range seats {
		if s.voter || !e.live[s.id] {
			continue
		}
		turn, cancel := context.WithTimeout(ctx, l.lease()/4)
		r, err := l.node.peers.term(turn, s.id)
		cancel()
		e.ready[s.id] = err == nil && r.GetApplied() >= index
	}
	return e, nil
}
