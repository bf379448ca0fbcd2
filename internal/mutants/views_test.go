package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// The mutants of agreeing on views and granting leases.
var views = []mutant{
	{
		name: "found-unasked", rule: "V0",
		breaks: "--found founds a cluster without asking the seeds",
		code: []rewrite{
			in("mesh/founding", "Founder.mayFound", `
				  return f.seedsReady()
				  }
				+ if mutated {
				+ 	return nil, ""
				+ }
			`),
		},
		nets: []net{
			sim("TestSimFoundedTwice", cluster.OneHolder),
		},
	},
	{
		name: "no-term-check", rule: "V2",
		breaks: "a proposal of an earlier leadership takes effect",
		code: []rewrite{
			in("mesh/view", "fsm.apply", `
				- cmd.GetTerm() == l.Term
				+ (cmd.GetTerm() == l.Term || mutated)
			`),
		},
		nets: []net{
			agreement("TestSchedule08c.*", invariant.LeaseInView),
		},
	},
	{
		name: "lead-not-awaited", rule: "V2",
		breaks: "a leader acts before its own `lead` is applied",
		code: []rewrite{
			in("mesh/view", "Lead", `
				+ if mutated {
				+ 	return newLeader(ctx, cfg, cfg.Agreement.Term()), nil
				+ }
				  term, err := cfg.Agreement.Lead(ctx)
			`),
		},
		nets: []net{
			agreement("TestSchedule08b.*", invariant.LeaseInView),
		},
	},
	{
		name: "nobody-assumed", rule: "V5",
		breaks: "a new leader counts nobody as having renewed",
		code: []rewrite{
			in("mesh/view", "newLeader", `
				  renewed := l.step
				+ if mutated {
				+ 	renewed -= rules.Stretch(l.lease())
				+ }
			`),
		},
		nets: []net{
			agreement("TestSchedule08a.*", invariant.LeaseInView),
		},
	},
	{
		name: "seconds-unbounded", rule: "epoch",
		breaks: "a wall clock that is wrong by decades makes epochs",
		code: []rewrite{
			in("mesh/view", "nextEpoch", `
				- seconds < maxSeconds
				+ seconds < maxSeconds || mutated
			`),
		},
		nets: []net{
			agreement("TestSchedule15h.*", invariant.InRange),
		},
	},
	{
		name: "earlier-round", rule: "V4",
		breaks: "a renewal is served by a round that had begun before it arrived, as VerifyLeader would",
		code: []rewrite{
			in("mesh/view", "rounds.wait", `
				  mine := r.next
				+ if mutated && r.cur != nil {
				+ 	mine = r.cur
				+ }
			`),
		},
		nets: []net{
			agreement("TestSchedule09StaleConfirmation", invariant.Confirmed),
		},
	},
	{
		name: "non-voters-counted", rule: "V4",
		breaks: "non-voters confirm a leader too",
		code: []rewrite{
			in("mesh/view", "Leader.confirm", `
				- !s.Voter
				+ !s.Voter && !mutated
			`),
		},
		nets: []net{
			agreement("TestSchedule09NonVotersDoNotCount", invariant.Confirmed),
		},
	},
	{
		name: "lease-from-answer", rule: "V4",
		breaks: "a member counts its lease from the answer",
		code: []rewrite{
			in("mesh/member", "Member.take", `
				+ if mutated {
				+ 	sent = m.cfg.Clock()
				+ }
				  if err := m.cfg.Views.Offer(view.StateFromProto(resp.GetHistory())); err != nil {
			`),
		},
		nets: []net{
			membership("TestSchedule07LeaseCountsFromTheSend", invariant.LeaseFromSend),
		},
	},
	{
		name: "lease-before-view", rule: "V4",
		breaks: "an answer counts before its view is installed",
		code: []rewrite{
			in("mesh/member", "Member.take", `
				- now.Epoch < resp.GetEpoch()
				+ now.Epoch < resp.GetEpoch() && !mutated
			`),
		},
		nets: []net{
			membership("TestSchedule10.*", invariant.LeaseInView),
		},
	},
	{
		name: "removal-not-stretched", rule: "V5",
		breaks: "a member is removed after L by the leader's clock",
		code: []rewrite{
			in("mesh/view", "Leader.draft", `
				  silent := now - st.renewed
				+ if mutated && silent >= l.lease() {
				+ 	silent = rules.Stretch(l.lease())
				+ }
			`),
		},
		nets: []net{
			agreement("TestSchedule07LeaseOfACutOffMember", invariant.LeaseInView),
		},
	},
	{
		name: "removal-without-wait", rule: "V5",
		breaks: "a member that is replaced or evicted is removed at once",
		code: []rewrite{
			in("mesh/view", "Leader.draft", `
				  silent := now - st.renewed
				+ if mutated && (st.replaced || st.deaf) {
				+ 	silent = rules.Stretch(l.lease())
				+ }
			`),
		},
		nets: []net{
			agreement("TestReplacedMemberIsWaitedOut", invariant.LeaseInView),
		},
	},
	{
		name: "renew-undecided", rule: "V5",
		breaks: "a member is renewed while its removal is being decided",
		code: []rewrite{
			in("mesh/view", "Leader.Renew", `
				- if m.stopped ||
				+ if m.stopped && !mutated ||
			`),
		},
		nets: []net{
			agreement("TestSchedule07NoRenewalUntilDecided", invariant.LeaseInView),
		},
	},
	{
		name: "renew-doomed", rule: "V5, V6",
		breaks: "a member is renewed though it is to be replaced or evicted, so that it never goes",
		code: []rewrite{
			in("mesh/view", "Leader.Renew", `
				- m.replaced || m.deaf {
				+ (m.replaced || m.deaf) && !mutated {
			`),
		},
		nets: []net{
			agreement("TestReplacedMemberIsWaitedOut", invariant.DeadGo),
			agreement("TestSchedule16hDeaf", invariant.DeadGo),
		},
	},
	{
		name: "pause-ignored", rule: "V5",
		breaks: "a leader that was paused goes on with its waits",
		code: []rewrite{
			in("mesh/view", "Leader.notice", `
				- now-l.step > l.lease()/2
				+ now-l.step > l.lease()/2 && !mutated
			`),
		},
		nets: []net{
			agreement("TestPausedLeaderStartsAgain|TestPausedInAProposal", invariant.LiveStay),
		},
	},
	{
		name: "minority-removes", rule: "V5",
		breaks: "a leader that hears a minority of the voters removes the others",
		code: []rewrite{
			in("mesh/view", "Leader.look", `
				- lonely := len(d.silent) > 0 && !l.hearsMajority(now)
				+ lonely := len(d.silent) > 0 && !l.hearsMajority(now) && !mutated
			`),
		},
		nets: []net{
			agreement("TestMinorityHandsOver", invariant.LiveStay),
		},
	},
	{
		name: "hand-over-always", rule: "V5",
		breaks: "a leader that hears a minority of the voters hands over again and again",
		code: []rewrite{
			in("mesh/view", "Leader.handOver", `
				- due, voters := l.memory.handedOver.due(now, time.Minute), l.voters()
				+ due, voters := l.memory.handedOver.due(now, time.Minute) || mutated, l.voters()
			`),
		},
		nets: []net{
			agreement("TestMinorityHandsOver", invariant.Quiet),
		},
	},
	{
		name: "join-while-late", rule: "V3",
		breaks: "joins are proposed while somebody has missed two renewals",
		code: []rewrite{
			in("mesh/view", "Leader.draft", `
				- if !late {
				+ if !late || mutated {
			`),
		},
		nets: []net{
			agreement("TestNoJoinWhileSomebodyIsLate", invariant.Quiet),
		},
	},
	{
		name: "join-unreached", rule: "V3",
		breaks: "a joiner need not have reached those who stay",
		code: []rewrite{
			in("mesh/view", "Leader.mayJoin", `
				- !j.reached[m.Identity]
				+ !j.reached[m.Identity] && !mutated
			`),
		},
		nets: []net{
			agreement("TestSchedule15a.*", invariant.AllReached),
		},
	},
	{
		name: "no-dial-back", rule: "V3",
		breaks: "a joiner is not dialled back",
		code: []rewrite{
			in("mesh/peer", "DialBacks.Check", `
				- d.remembers(m)
				+ mutated || d.remembers(m)
			`),
		},
		nets: []net{
			sim("TestSimUndiallable", invariant.Quiet),
		},
	},
	{
		name: "no-back-off", rule: "V3",
		breaks: "a process that keeps coming and going is admitted at once",
		code: []rewrite{
			in("mesh/view", "Memory.mayReturn", `
				- return m.backOffLeft(p, now, lease) == 0
				+ return m.backOffLeft(p, now, lease) == 0 || mutated
			`),
		},
		nets: []net{
			agreement("TestSchedule15cComebacksBackOff", invariant.Quiet),
		},
	},
	{
		name: "forget-back-off", rule: "V3",
		breaks: "the back-off of a process that keeps coming and going is forgotten when a minute has " +
			"passed since its last removal, though it was the back-off that kept it out",
		code: []rewrite{
			in("mesh/view", "Memory.noteRemoval", `
				+ if mutated {
				+ 	calm = now-c.removed > calmAfter
				+ }
				  if calm {
			`),
		},
		nets: []net{
			agreement("TestSchedule15cBackOffIsKept", invariant.Quiet),
		},
	},
	{
		name: "answers-count", rule: "V5",
		breaks: "a member that takes a view counts as having renewed",
		code: []rewrite{
			in("mesh/view", "Leader.push", `
				  l.log.Debug("view not pushed", "member", m.Name, "epoch", s.Epoch(), "error", err)
				+ return
				  }
				+ if mutated {
				+ 	l.mu.Lock()
				+ 	defer l.mu.Unlock()
				+ 	if st := l.members[m.Identity]; st != nil {
				+ 		st.renewed = l.clock()
				+ 	}
				+ }
			`),
		},
		nets: []net{
			agreement("TestSchedule15e.*", invariant.DeadGo),
		},
	},
	{
		name: "skip-unknown", rule: "W3",
		breaks: "Raft's state machine skips commands and fields that it does not know",
		code: []rewrite{
			in("mesh/view", "fsm.apply", `
				- err := known(&c); err != nil
				+ err := known(&c); err != nil && !mutated
			`),
		},
		nets: []net{
			agreement("TestUnknownCommandStops", invariant.SameDecisions),
		},
	},
	{
		name: "evict-unmarked", rule: "V6a",
		breaks: "a member in a broken pair is not marked leaving, but removed as if it were silent",
		code: []rewrite{
			in("mesh/view", "Leader.draft", `
				- case silent >= rules.Stretch(l.lease()):
				+ case silent >= rules.Stretch(l.lease()), mutated && m.Identity == l.chosen:
			`),
		},
		nets: []net{
			agreement("TestSchedule16MarkedUntilTold", invariant.LiveStay),
			sim("TestSchedule16iOneCopy", invariant.NothingLost),
		},
	},
	{
		name: "remove-untold", rule: "V6a, V7",
		breaks: "a marked member is removed before G1 has told it of every partition",
		code: []rewrite{
			in("mesh/view", "Leader.draft", `
				- case m.Evicted && st.told:
				+ case m.Evicted && (st.told || mutated):
			`),
			in("owner", "Service.Told", `
				+ if mutated {
				+ 	return s.partitions
				+ }
				  n := 0
			`),
		},
		nets: []net{
			agreement("TestSchedule16MarkedUntilTold", invariant.LiveStay),
			sim("TestSchedule16iOneCopy", invariant.NothingLost),
		},
	},
	{
		name: "strangers-refused", rule: "V1",
		breaks: "a voter refuses a candidate that it does not know as a voter",
		code: []rewrite{
			in("mesh/view", "admitted", `
				- voter == nil
				+ voter == nil || mutated
			`),
		},
		nets: []net{
			agreement("TestVoterThatWasAwayElectsANewOne", invariant.DeadGo),
		},
	},
	{
		name: "let-go-unsettled", rule: "V7",
		breaks: "a process is let go while a change of the seats is under way",
		code: []rewrite{
			in("mesh/view", "Leader.settled", `
				+ if mutated {
				+ 	return true, ""
				+ }
				  ctx, cancel := context.WithTimeout(ctx, l.lease()/2)
			`),
		},
		nets: []net{
			agreement("TestLetGoWhenSettled", invariant.LiveStay),
		},
	},
	{
		name: "no-hand-over", rule: "V5",
		breaks: "a leader removes a silent member that another voter hears",
		code: []rewrite{
			in("mesh/view", "Leader.silent", `
				- if l.named[m.Identity] ||
				+ if l.named[m.Identity] || mutated ||
			`),
		},
		nets: []net{
			agreement("TestSchedule16gLeaderIsCutOff", invariant.LiveStay),
			sim("TestSchedule16iOneCopy", invariant.NothingLost),
		},
	},
	{
		name: "complainer-believed", rule: "V6",
		breaks: "a complaint speaks against the other one only",
		code: []rewrite{
			in("mesh/view", "Leader.suspects", `
				+ if mutated {
				+ 	return l.complains(b, a)
				+ }
				  return l.complains(a, b) || l.complains(b, a)
			`),
		},
		nets: []net{
			agreement("TestSchedule15b.*", invariant.LiveStay),
		},
	},
}
