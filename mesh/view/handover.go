package view

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/owner/mutant"
)

// hearsMajority says whether a majority of the voters was heard within the last
// lease, by renewals or joins (V5). It needs l.mu.
func (l *Leader) hearsMajority(now time.Duration) bool {
	heard := l.heard(now)
	seats, err := l.agree.Seats()
	if err != nil {
		return false
	}
	voters, yes := 0, 0
	for _, s := range seats {
		if s.Voter {
			voters++
			if heard[s.ID] {
				yes++
			}
		}
	}
	return yes >= voters/2+1
}

// heard are the ids that asked for a renewal or to join within L stretched, or count as
// having done so (V5), and the leader's own. It needs l.mu.
func (l *Leader) heard(now time.Duration) map[string]bool {
	heard := map[string]bool{l.self: true}
	for who, m := range l.members {
		if now-m.renewed < stretched(l.lease()) && !m.left {
			heard[who.ID] = true
		}
	}
	for id, at := range l.asked {
		if now-at < stretched(l.lease()) {
			heard[id] = true
		}
	}
	for who := range l.stops.gone {
		delete(heard, who.ID) // V7: the leader counts everybody whom it has let go as absent
	}
	return heard
}

// handOver gives leadership to somebody who may hear more, at most once a minute
// (V5).
func (l *Leader) handOver(ctx context.Context, now time.Duration) {
	l.mu.Lock()
	due := l.memory.handedOver.due(now, time.Minute) || mutant.On(mutant.HandOverAlways)
	if due {
		l.memory.handedOver = handOver{true, now}
	}
	l.mu.Unlock()
	if !due {
		return
	}
	l.log.Warn("hears less than a majority, hands leadership over")
	l.transfer(ctx)
}

// transfer hands leadership to some other voter.
func (l *Leader) transfer(ctx context.Context) { l.transferTo(ctx, "") }

// transferTo hands leadership to the voter with this id.
func (l *Leader) transferTo(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, l.lease())
	defer cancel()
	if err := l.agree.Reseat(ctx, Change{kind: changeTransfer, id: id}); err != nil {
		l.log.Warn("leadership was not handed over", "error", err)
	}
}
