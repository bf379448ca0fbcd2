package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// The mutants of requests: at the owner, on the way to it, in the client.
var requests = []mutant{
	{
		name: "local-fallback", rule: "Q1, Q4",
		breaks: "a node grants by itself what the owner does not answer",
		nets: []net{
			owner("TestLiveHandOver", invariant.OneHolder),
			sim("TestSimLongerTTLIsNotLost", cluster.OneHolder, cluster.Linearizable),
		},
	},
	{
		name: "grant-twice", rule: "Q2",
		breaks: "a retry does not find its grant and gets another",
		nets: []net{
			owner("TestSchedule11WhichSend.*", invariant.OneGrant),
			sim("TestSimSameRequest", cluster.OneGrant),
		},
	},
	{
		name: "unseen-not-fenced", rule: "Q2, Q6",
		breaks: "an id that is given up before it was seen is not remembered",
		nets: []net{
			lockMachine("TestFenceComesFirst", invariant.OneGrant),
		},
	},
	{
		name: "holder-not-told", rule: "3",
		breaks: "nobody tells a holder that its lock was taken away by force",
		nets: []net{
			sim("TestForcedHolderIsTold", invariant.OnTime),
		},
	},
	{
		name: "over-forgotten", rule: "Q2",
		breaks: "ids that are over are not remembered",
		nets: []net{
			owner("TestSchedule12.*", invariant.OneGrant),
			sim("TestSimSameRequest", cluster.OneGrant),
		},
	},
	{
		name: "release-any-token", rule: "Q2",
		breaks: "a release of a token that is over ends the hold of another",
		nets: []net{
			owner("TestSchedule12.*", invariant.NothingLost),
			sim("TestSimLateRelease", cluster.OneHolder),
		},
	},
	{
		name: "not-stretched", rule: "Q3",
		breaks: "an owner expires a lock after its TTL by its own clock",
		nets: []net{
			owner("TestSchedule11WhichSend.*", invariant.OnTime),
			sim("TestSimFastClock", cluster.OneHolder),
		},
	},
	{
		name: "any-send", rule: "Q3",
		breaks: "the answer to an earlier send counts as one to the newest",
		nets: []net{
			sim("TestSimWhichSend", cluster.OneHolder),
		},
	},
	{
		name: "safe-from-answer", rule: "Q3",
		breaks: "a node counts a grant's life from its answer",
		nets: []net{
			sim("TestSimSlowOwner", cluster.OneHolder),
		},
	},
	{
		name: "newest-keepalive", rule: "Q3",
		breaks: "a node counts the renewal of a hold from the newest keepalive, not from the one before " +
			"the renewal began",
		nets: []net{
			sim("TestSimKeptAsOf", cluster.OneHolder),
		},
	},
	{
		name: "renewed-unconfirmed", rule: "Q3, A2",
		breaks: "a node tells a session that a hold was renewed though its owner did not say so",
		nets: []net{
			sim("TestSimKeptUnconfirmed", cluster.OneHolder),
		},
	},
	{
		name: "life-from-answer", rule: "Q3",
		breaks: "a client counts its lock's life from the answer",
		code: []rewrite{
			in("client", "acquisition.send", `
				  a.granted, a.deadline = hold, sent+hold.SafeFor
				+ if mutated {
				+ 	a.deadline = now + hold.SafeFor
				+ }
			`),
			in("client", "stream.kept", `
				- if sent, ok := st.alive.sentAt(k.Keepalive); ok {
				+ sent, ok := st.alive.sentAt(k.Keepalive)
				+ if mutated {
				+ 	sent, ok = st.s.now(), true
				+ }
				+ if ok {
			`),
			in("client", "keeper.renew", `
				+ if mutated {
				+ 	sent = k.c.now()
				+ }
				  l.alone = false
			`),
		},
		nets: []net{
			sim("TestSimSlowAnswer", cluster.OneHolder),
		},
	},
	{
		name: "pass-over-fifo", rule: "Q5",
		breaks: "the last waiter is granted, not the first",
		nets: []net{
			owner("TestPlacesOutliveTheOwner", invariant.Fair),
			sim("TestSimInLine", cluster.Fair),
		},
	},
	{
		name: "no-settling", rule: "Q5",
		breaks: "after an activation nobody waits for waiters to re-attach",
		nets: []net{
			owner("TestPlacesOutliveTheOwner", invariant.Fair),
		},
	},
	{
		name: "broken-passed-over", rule: "Q5",
		breaks: "nobody waits for waiters whose link to the owner broke",
		nets: []net{
			owner("TestSchedule14BrokenLink", invariant.Fair),
			sim("TestSimForwardingNodeDies", cluster.Fair),
		},
	},
}
