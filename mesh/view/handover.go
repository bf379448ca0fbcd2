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

// voters are the ids of the voters; none if they are not known just now.
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

// heard are the ids that asked for a renewal or to join within L stretched, or count as
// renewed, and the leader's own. It needs l.mu.
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
		delete(heard, who.ID) // V7: the leader counts everybody whom it has let go as absent
	}
	return heard
}

// silence is what V5 wants to be done about a member that has been silent for L
// stretched.
type silence int

const (
	// silenceRemove: it is removed.
	silenceRemove silence = iota
	// silenceWait: a voter has not said yet who calls it, or a hand-over is under way.
	silenceWait
	// silenceHandOver: another voter hears the member, and shall lead.
	silenceHandOver
)

// claimsFrom is the silence of a member after which voters' claims about it count (V5):
// before that a member that has crashed may have called them as well.
func claimsFrom(lease time.Duration) time.Duration { return 4 * lease / 5 }

// silent decides what is to be done about a member that has been silent for L stretched
// (V5). It is the leader that may be cut off, so a voter that hears the member and
// everybody else leads instead, once for each silence. It needs l.mu.
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
		// One that renews irregularly still renews, until its lease has run out.
		if v.Identity != m.Identity && v.heard < st.renewed+claimsFrom(l.lease()) {
			return silenceWait, ""
		}
	}
	for _, v := range l.joiningVoters(now, m) {
		// One that has just started is given the time in which all who can call it do so,
		// but one that starts again and again delays nothing for longer than that.
		young := now-v.first < callTime(l.lease()) && now-st.renewed < rules.Stretch(l.lease())+callTime(l.lease())
		if young || v.heard < st.renewed+claimsFrom(l.lease()) {
			return silenceWait, ""
		}
	}
	if heir := l.heir(now, view, m); heir != "" {
		return silenceHandOver, heir
	}
	return silenceRemove, ""
}

// callTime is for how long a call to a voter counts in its claims (V5).
func callTime(lease time.Duration) time.Duration { return 2 * lease / 5 }

// claimant is another process with a vote, and what it says of who calls it (V5).
type claimant struct {
	ring.Member
	// first is when a process that asks to join asked first, heard when it, or a member,
	// was heard last.
	first, heard time.Duration
	callers      map[ring.Identity]bool
}

// otherVoters are the members with a vote whose leases have not run out, without this
// process. It needs l.mu.
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

// joiningVoters are the voters that ask to join, as one does that has started again; but
// not a later start of the silent member's own process. It needs l.mu.
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

// heir is the id of an unmarked voter that is called by the silent member and by every
// other member that calls this process (V5); or "". One that asks to join is as good, and
// if there is no other it may be a marked one: the only bridge of a cut pair may be in a
// broken pair itself. It needs l.mu.
func (l *Leader) heir(now time.Duration, view ring.View, silent ring.Member) (heir string) {
	for _, v := range slices.Concat(l.otherVoters(now, view), l.joiningVoters(now, silent)) {
		st := l.members[v.Identity]
		switch {
		case v.Identity == silent.Identity || !v.callers[silent.Identity] || st != nil && st.leaving:
		case !l.calledByAll(now, view, v):
		case !v.Leaving:
			return v.ID
		case v.Evicted && heir == "":
			heir = v.ID
		}
	}
	return heir
}

// successor is the id of an unmarked voter that every member calls that renews, to which
// a leader hands over that is chosen or marked (V6a); or "". It needs l.mu.
func (l *Leader) successor(now time.Duration, view ring.View) string {
	for _, v := range l.otherVoters(now, view) {
		if !v.Leaving && !l.members[v.Identity].leaving && l.renews(now, v.Member) && l.calledByAll(now, view, v) {
			return v.ID
		}
	}
	return ""
}

// calledByAll reports whether a voter says that every member calls it that calls this
// process. It needs l.mu.
func (l *Leader) calledByAll(now time.Duration, view ring.View, v claimant) bool {
	for _, m := range view.Members {
		calls := l.renews(now, m) || l.called != nil && l.called(m.Identity)
		if m.ID != v.ID && calls && !v.callers[m.Identity] {
			return false
		}
	}
	return true
}

// mayYield limits how often a leader that is chosen or marked tries to hand over (V6a).
// It needs l.mu.
func (l *Leader) mayYield(now time.Duration) bool {
	return l.memory.yielded.due(now, 10*l.lease())
}

// yield is the voter to which a leader that is marked leaving hands over (V6a, V7), or
// "". It needs l.mu.
func (l *Leader) yield(now time.Duration, view ring.View) string {
	self, in := view.FindID(l.self)
	if !in || !self.Leaving || !l.memory.yielded.due(now, l.lease()) {
		return ""
	}
	return l.successor(now, view)
}

// handOver gives leadership to somebody who may hear more, at most once a minute
// (V5).
func (l *Leader) handOver(ctx context.Context, now time.Duration) {
	l.mu.Lock()
	due := l.memory.handedOver.due(now, time.Minute)
	if due {
		l.memory.handedOver = handOver{true, now}
	}
	l.mu.Unlock()
	if !due {
		return
	}
	l.log.Warn("hearing from less than a majority: handing over leadership")
	l.transfer(ctx)
}

// handTo gives leadership to a certain voter. silent is the member because of whose
// silence it does so; the zero identity if there is none.
func (l *Leader) handTo(ctx context.Context, heir string, silent ring.Identity) {
	if silent != (ring.Identity{}) {
		turn, cancel := context.WithTimeout(ctx, l.lease()/2)
		err := l.peers.TakeOver(turn, heir, l.term, silent)
		cancel()
		if err != nil {
			// Who was not told would hand over for the same silence again.
			l.log.Warn("leadership was not handed over", "to", heir, "error", err)
			return
		}
	}
	l.transferTo(ctx, heir)
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
