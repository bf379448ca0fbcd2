package view

import (
	"context"
	"sync"
)

// rounds lets many renewals share one round of confirmations. A round serves only renewals that
// arrived before it began (V4).
type rounds struct {
	// confirm makes one round; spawn starts a goroutine, or returns false.
	confirm func() bool
	spawn   func(func()) bool

	mu   sync.Mutex
	next *round // not begun yet; guarded by mu
	cur  *round // in progress; guarded by mu
	busy bool   // work runs; guarded by mu
}

type round struct {
	done chan struct{}
	ok   bool
}

// wait returns the result of a round that begins after the call.
func (r *rounds) wait(ctx context.Context) bool {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.busy {
		r.busy = r.spawn(r.work)
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.ok
	case <-ctx.Done():
		return false
	}
}

// work runs rounds until no caller waits for another.
func (r *rounds) work() {
	for {
		r.mu.Lock()
		cur := r.next
		r.next, r.cur, r.busy = nil, cur, cur != nil
		r.mu.Unlock()
		if cur == nil {
			return
		}
		cur.ok = r.confirm()
		close(cur.done)
	}
}

// confirm is one round of V4. It reports whether a majority of the voters, this process included,
// confirmed after the round began that their Raft term is still the leader's.
func (l *Leader) confirm() bool {
	seats, err := l.agree.Seats()
	if err != nil {
		return false
	}
	// Leads is read before Term. In the other order a leader that was replaced in between would
	// pass. The term is sufficient because a voter raises its term before it votes.
	if !l.agree.Leads() || l.agree.Term() != l.term {
		return false
	}
	voters, yes := 0, 0
	var others []string
	for _, s := range seats {
		switch {
		case !s.Voter:
			continue
		case s.ID == l.self:
			yes++
		default:
			others = append(others, s.ID)
		}
		voters++
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.lease()/4)
	defer cancel()
	answers, ok := l.poll(ctx, others, func(v Vote) bool { return v.Term == l.term })
	if !ok {
		return false // the node is stopping
	}
	for left := len(others); yes < voters/2+1 && left > 0; left-- {
		if <-answers != "" {
			yes++
		}
	}
	return yes >= voters/2+1 && l.agree.Term() == l.term
}

// poll asks processes for their votes, all at once. For each of them the channel receives a value:
// its id if it answers and accept returns true for its vote, else "". poll returns false if not all
// of them were asked because the node is stopping; then fewer or no values are sent.
func (l *Leader) poll(ctx context.Context, ids []string, accept func(Vote) bool) (answers <-chan string, ok bool) {
	ch := make(chan string, len(ids))
	for _, id := range ids {
		if !l.spawn(func() {
			v, err := l.peers.Vote(ctx, id)
			if err != nil || !accept(v) {
				id = ""
			}
			ch <- id
		}) {
			return ch, false
		}
	}
	return ch, true
}
