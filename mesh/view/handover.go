package view

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/ring"
)

// hearsMajority reports whether a majority of the voters was heard within the last
// lease, by renewals or joins (V5). It needs l.mu.
func (l *Leader) hearsMajority(now time.Duration) bool {
	heard := l.heard(now)
	voters, yes := 0, 0
	for id := range l.voters() {
		voters++
		if heard[id] {
			yes++
		}
	}
	return voters > 0 && yes >= voters/2+1
}

// voters returns the ids of the voters, or none if Raft's configuration cannot be read.
func (l *Leader) voters() map[string]bool {
	voters := map[string]bool{}
	seats, err := l.agree.Seats()
	if err != nil {
		return voters
	}
	for _, s := range seats {
		if s.Voter {
			voters[s.ID] = true
		}
	}
	return voters
}

// heard returns the ids of the processes that asked for a renewal or to join within L stretched, or
// count as renewed, and the leader's own id. It needs l.mu.
func (l *Leader) heard(now time.Duration) map[string]bool {
	heard := map[string]bool{l.self: true}
	for who, m := range l.members {
		if now-m.renewed < rules.Stretch(l.lease()) && !m.left {
			heard[who.ID] = true
		}
	}
	for id, at := range l.asked {
		if now-at < rules.Stretch(l.lease()) {
			heard[id] = true
		}
	}
	for who := range l.stops.gone {
		delete(heard, who.ID) // V7: processes that were let go count as absent
	}
	return heard
}

// silence is what to do about a member that has been silent for L stretched (V5).
type silence int

const (
	// silenceRemove removes it.
	silenceRemove silence = iota
	// silenceWait waits: a voter has not reported its callers yet, or a hand-over is in progress.
	silenceWait
	// silenceHandOver hands leadership to another voter, which hears the member.
	silenceHandOver
)

// claimsFrom returns how long a member must have been silent before voters' claims about it count
// (V5). Earlier claims may be based on calls that the member made before it crashed.
func claimsFrom(lease time.Duration) time.Duration { return 4 * lease / 5 }

// silent decides what to do about a member that has been silent for L stretched (V5). The leader
// itself may be cut off, so it hands leadership to a voter that hears the member and everybody
// else, once for each silence. It needs l.mu.
func (l *Leader) silent(now time.Duration, view ring.View, m ring.Member) (silence, string) {
	st := l.members[m.Identity]
	if l.named[m.Identity] || l.called != nil && l.called(m.Identity) {
		return silenceRemove, ""
	}
	if st.handed {
		if now-st.handedAt < l.lease() {
			return silenceWait, ""
		}
		return silenceRemove, "" // leadership stayed here
	}
	for _, v := range l.otherVoters(now, view) {
		// A voter that misses renewals may still renew, until its lease has ended.
		if v.Identity != m.Identity && (v.heard < st.renewed+claimsFrom(l.lease()) || l.promotedJustNow(now, v)) {
			return silenceWait, ""
		}
	}
	for _, v := range l.joiningVoters(now, m) {
		// A voter that has just started gets callTime, in which every member that can call it does
		// so. A voter that restarts again and again cannot delay the decision for longer.
		young := now-v.first < callTime(l.lease()) && now-st.renewed < rules.Stretch(l.lease())+callTime(l.lease())
		if young || v.heard < st.renewed+claimsFrom(l.lease()) {
			return silenceWait, ""
		}
	}
	if st.deadHeirs != nil && now-st.triedAt >= l.lease() {
		return silenceRemove, ""
	}
	if heir := l.heir(now, view, m); heir != "" {
		return silenceHandOver, heir
	}
	if st.deadHeirs != nil {
		return silenceWait, "" // one of them may answer again, or M's renewals arrive
	}
	return silenceRemove, ""
}

// diedBefore reports whether a voter was asked to take over and did not answer, and was not heard
// from since.
func (st *standing) diedBefore(v claimant) bool {
	at, asked := st.deadHeirs[v.ID]
	return asked && v.heard <= at
}

// promotedJustNow reports whether a voter was promoted so recently that its last claim may lack
// members that did not call it yet. A promotion delays no decision for longer than L. It needs l.mu.
func (l *Leader) promotedJustNow(now time.Duration, v claimant) bool {
	at, promoted := l.promoted[v.ID]
	return promoted && v.heard < at+callTime(l.lease()) && now < at+l.lease()
}

// callTime returns for how long a call to a voter counts in its claims (V5).
func callTime(lease time.Duration) time.Duration { return 2 * lease / 5 }

// claimant is another voter with its claim: the members whose calls reach it (V5).
type claimant struct {
	ring.Member
	// first is when a process that asks to join first asked; heard is when the voter was last
	// heard.
	first, heard time.Duration
	callers      map[ring.Identity]bool
}

// otherVoters returns the members that vote and whose leases have not ended, without this process.
// It needs l.mu.
func (l *Leader) otherVoters(now time.Duration, view ring.View) (list []claimant) {
	voters := l.voters()
	for _, m := range view.Members {
		st := l.members[m.Identity]
		if m.ID != l.self && voters[m.ID] && !st.mute && !st.assumed && !st.left && !st.replaced && now-st.renewed < rules.Stretch(l.lease()) {
			list = append(list, claimant{Member: m, heard: st.renewed, callers: st.callers})
		}
	}
	return list
}

// joiningVoters returns the voters that ask to join, as a voter does after a restart. A later start
// of the silent member's own process is left out. It needs l.mu.
func (l *Leader) joiningVoters(now time.Duration, silent ring.Member) (list []claimant) {
	voters := l.voters()
	for _, id := range slices.Sorted(maps.Keys(l.joins)) {
		j := l.joins[id]
		if id != l.self && id != silent.ID && voters[id] && j.fresh(now, l.lease()) && !j.double() {
			list = append(list, claimant{Member: j.member, first: j.first, heard: j.at, callers: j.callers})
		}
	}
	return list
}

// heir returns the id of a voter that is called by the silent member and by every other member that
// calls this process, or "" (V5). The voter is a member or asks to join. A marked one is the last
// choice: the only voter that reaches both sides of a cut may be in a broken pair itself. It needs
// l.mu.
func (l *Leader) heir(now time.Duration, view ring.View, silent ring.Member) (heir string) {
	for _, v := range slices.Concat(l.otherVoters(now, view), l.joiningVoters(now, silent)) {
		st := l.members[v.Identity]
		switch {
		case v.Identity == silent.Identity || !v.callers[silent.Identity] || st != nil && st.leaving:
		case l.members[silent.Identity].diedBefore(v):
		case !l.calledByAll(now, view, v):
		case !v.Leaving:
			return v.ID
		case v.Evicted && heir == "":
			heir = v.ID
		}
	}
	return heir
}

// successor returns the id of an unmarked voter that every renewing member calls, or "". A leader
// that is chosen or marked hands leadership to it (V6a). It needs l.mu.
func (l *Leader) successor(now time.Duration, view ring.View) string {
	for _, v := range l.otherVoters(now, view) {
		if !v.Leaving && !l.members[v.Identity].leaving && l.renews(now, v.Member) && l.calledByAll(now, view, v) {
			return v.ID
		}
	}
	return ""
}

// calledByAll reports whether a voter claims to be called by every member that calls this process.
// It needs l.mu.
func (l *Leader) calledByAll(now time.Duration, view ring.View, v claimant) bool {
	for _, m := range view.Members {
		calls := l.renews(now, m) || l.called != nil && l.called(m.Identity)
		if m.ID != v.ID && calls && !v.callers[m.Identity] {
			return false
		}
	}
	return true
}

// mayYield reports whether a leader that is chosen or marked may try again to hand over (V6a). It
// needs l.mu.
func (l *Leader) mayYield(now time.Duration) bool {
	return l.memory.yielded.due(now, 10*l.lease())
}

// yield returns the voter to which this leader hands leadership if it is marked leaving (V6a, V7),
// or "". It needs l.mu.
func (l *Leader) yield(now time.Duration, view ring.View) string {
	self, in := view.FindID(l.self)
	if !in || !self.Leaving || !l.memory.yielded.due(now, l.lease()) {
		return ""
	}
	return l.successor(now, view)
}

// handOver hands leadership to another voter that answers, because it may hear more, at most once a
// minute (V5).
func (l *Leader) handOver(ctx context.Context, now time.Duration) {
	l.mu.Lock()
	due, voters := l.memory.handedOver.due(now, time.Minute), l.voters()
	l.mu.Unlock()
	if !due {
		return
	}
	answering := l.ask(ctx, slices.Sorted(maps.Keys(voters)))
	if len(answering) == 0 {
		return // Raft ends this leadership
	}
	list := slices.Sorted(maps.Keys(answering))
	heir := list[l.term%uint64(len(list))] // later leaderships try others
	l.mu.Lock()
	l.memory.handedOver = handOver{true, now}
	l.mu.Unlock()
	l.log.Warn("hearing from less than a majority: handing over leadership", "to", heir)
	_ = l.transferTo(ctx, heir)
}

// handTo hands leadership to a given voter. silent is the member whose silence is the reason, or
// the zero Identity. If the voter has died, the next one that hears the member is tried.
func (l *Leader) handTo(ctx context.Context, heir string, silent ring.Identity) {
	if silent == (ring.Identity{}) {
		_ = l.transferTo(ctx, heir)
		return
	}
	turn, cancel := context.WithTimeout(ctx, l.lease()/2)
	err := l.peers.TakeOver(turn, heir, l.term, silent)
	cancel()
	if err == nil {
		err = l.transferTo(ctx, heir)
	} else {
		// A voter that was not told would hand over for the same silence again.
		l.log.Warn("leadership was not handed over", "to", heir, "error", err)
	}
	if err == nil || ctx.Err() != nil || l.ask(ctx, []string{heir})[heir] {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if st := l.members[silent]; st != nil && st.handed {
		if st.deadHeirs == nil {
			st.deadHeirs, st.triedAt = map[string]time.Duration{}, st.handedAt
		}
		st.handed, st.deadHeirs[heir] = false, l.clock()
	}
}

// transferTo hands leadership to the voter with this id. It logs the error that it returns.
func (l *Leader) transferTo(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, l.lease())
	defer cancel()
	err := l.agree.Reseat(ctx, Change{kind: changeTransfer, id: id})
	if err != nil {
		l.log.Warn("leadership was not handed over", "error", err)
	}
	return err
}
