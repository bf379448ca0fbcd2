package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// The mutants of requests: at the owner, in the forwarding node, in the client.
var requests = []mutant{
	{
		name: "local-fallback", rule: "Q1, Q4",
		breaks: "a node grants by itself what the owner does not answer",
		code: []rewrite{
			in("mesh/route", "request.aim", `
				  m, ok := v.Ring.Owner(partition)
				+ if mutated && len(q.sends) > 0 {
				+ 	m.Identity = q.router.cfg.Self // the owner has not answered
				+ }
			`),
			in("owner", "shard.handle", `
				  p := sh.part(it.partition)
				+ if mutated && !p.owned {
				+ 	p.owned, p.m = true, emptyMachine(p.id, sh.service.waiters)
				+ 	sh.activate(now, p, sh.epoch, nil)
				+ }
			`),
			add("owner", `
				import "github.com/sgkandale/sharelock/owner/machine"

				func emptyMachine(partition uint32, waiters int) *machine.Machine { return machine.New(partition, waiters) }
			`),
		},
		nets: []net{
			owner("TestLiveHandOver", invariant.OneHolder),
			sim("TestSimLongerTTLIsNotLost", cluster.OneHolder, cluster.Linearizable),
		},
	},
	{
		name: "grant-twice", rule: "Q2",
		breaks: "a retry does not find its grant and gets another",
		code: []rewrite{
			in("owner/machine", "turn.acquire", `
				  c := k.findFor(principal, r.RequestID)
				+ if mutated && c != nil && c.held() {
				+ 	t.end(c, ops.Released, "", false)
				+ 	k, c = t.m.keys.get(r.Key), nil
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule11WhichSend.*", invariant.OneGrant),
			sim("TestSimSameRequest", cluster.OneGrant),
		},
	},
	{
		name: "unseen-not-fenced", rule: "Q2, Q6",
		breaks: "an id that is given up before it was seen is not remembered",
		code: []rewrite{
			in("owner/machine", "turn.cancel", `
				- !t.m.isOver(r.Key, principal, r.RequestID)
				+ !t.m.isOver(r.Key, principal, r.RequestID) && !mutated
			`),
		},
		nets: []net{
			lockMachine("TestFenceComesFirst", invariant.OneGrant),
		},
	},
	{
		name: "holder-not-told", rule: "3",
		breaks: "nobody tells a holder that its lock was taken away by force",
		code: []rewrite{
			in("owner", "forcing.Answer", `
				- a.Outcome == Done
				+ a.Outcome == Done && !mutated
			`),
		},
		nets: []net{
			sim("TestForcedHolderIsTold", invariant.OnTime),
		},
	},
	{
		name: "over-forgotten", rule: "Q2",
		breaks: "ids that are over are not remembered",
		code: []rewrite{
			in("owner/machine", "turn.acquire", `
				- case t.m.isOver(r.Key, principal, r.RequestID):
				+ case t.m.isOver(r.Key, principal, r.RequestID) && !mutated:
			`),
		},
		nets: []net{
			owner("TestSchedule12.*", invariant.OneGrant),
			sim("TestSimSameRequest", cluster.OneGrant),
		},
	},
	{
		name: "release-any-token", rule: "Q2",
		breaks: "a release of a token that is over ends the hold of another",
		code: []rewrite{
			in("owner/machine", "turn.release", `
				  c := k.hold(r.Token)
				+ if mutated && c == nil {
				+ 	c = k.firstHold()
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule12.*", invariant.NothingLost),
			sim("TestSimLateRelease", cluster.OneHolder),
		},
	},
	{
		name: "renew-any-principal", rule: "Q7",
		breaks: "a principal renews and releases the holds of others",
		code: []rewrite{
			in("owner/machine", "Machine.mayEnd", `
				- return r.AnyHold ||
				+ return mutated || r.AnyHold ||
			`),
		},
		nets: []net{
			lockMachine("TestHoldsOfAnotherPrincipal", invariant.OwnHolds),
			sim("TestSimPrincipalsOutliveTheOwner", invariant.OwnHolds),
		},
	},
	{
		name: "ids-of-everybody", rule: "Q7",
		breaks: "a request id finds the grant of another principal",
		code: []rewrite{
			in("owner/machine", "keyEntry.findFor", `
				  c := k.find(principal, request)
				+ if mutated && c == nil {
				+ 	c = k.findWhere(request, func(*claim) bool { return true })
				+ }
			`),
		},
		nets: []net{
			lockMachine("TestSameIDOfTwoPrincipals", invariant.OwnHolds),
			sim("TestSimPrincipalsOutliveTheOwner", invariant.OwnHolds),
		},
	},
	{
		name: "principal-forgotten", rule: "Q7",
		breaks: "a copy does not have the principals of its holds",
		code: []rewrite{
			in("owner/machine", "Assembler.claim", `
				  op.TTL = d.r.Duration()
				+ if mutated {
				+ 	op.Principal = ""
				+ }
			`),
		},
		nets: []net{
			lockMachine("TestPrincipalsAreCopied", invariant.OwnHolds),
		},
	},
	{
		name: "quota-per-member", rule: "Q8",
		breaks: "a member does not count what a principal has at others",
		code: []rewrite{
			in("owner/ledger", "Ledger.EndCount", `
				  maxHolds, maxWaiters := l.of(principal)
				+ if mutated {
				+ 	others = Claims{}
				+ }
			`),
		},
		nets: []net{
			quotas("TestRoomOfAPrincipal", invariant.Bounded),
			sim("TestSimQuotaOfAPrincipal", invariant.Bounded),
		},
	},
	{
		name: "not-stretched", rule: "Q3",
		breaks: "an owner expires a lock after its TTL by its own clock",
		code: []rewrite{
			in("owner/machine", "Machine.expires", `
				  at := now + rules.Stretch(c.ttl())
				+ if mutated {
				+ 	at = now + c.ttl()
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule11WhichSend.*", invariant.OnTime),
			sim("TestSimFastClock", cluster.OneHolder),
		},
	},
	{
		name: "any-send", rule: "Q3",
		breaks: "the answer to an earlier send counts as one to the newest",
		code: []rewrite{
			in("mesh/route", "request.heard", `
				- a.Send == q.lastSend()
				+ a.Send == q.lastSend() || mutated
			`),
		},
		nets: []net{
			sim("TestSimWhichSend", cluster.OneHolder),
		},
	},
	{
		name: "safe-from-answer", rule: "Q3",
		breaks: "a node counts a grant's life from its answer",
		code: []rewrite{
			in("mesh/route", "request.result", `
				+ if mutated && r.Kind == owner.Acquire {
				+ 	h.SafeFor = q.router.cfg.Clock() - q.began + h.TTL
				+ }
				  return h, nil
			`),
		},
		nets: []net{
			sim("TestSimSlowOwner", cluster.OneHolder),
		},
	},
	{
		name: "newest-keepalive", rule: "Q3",
		breaks: "a node counts the renewal of a hold from the newest keepalive, not from the one before " +
			"the renewal began",
		code: []rewrite{
			in("mesh/keepalive", "Keeper.renewed", `
				+ if mutated {
				+ 	k.asked = s.alive
				+ }
				  k.asOf = k.asked
			`),
		},
		nets: []net{
			sim("TestSimKeptAsOf", cluster.OneHolder),
		},
	},
	{
		name: "renewed-unconfirmed", rule: "Q3, A2",
		breaks: "a node tells a session that a hold was renewed though its owner did not say so",
		code: []rewrite{
			in("mesh/keepalive", "Keeper.settle", `
				- done := g.answer.Outcome == owner.Done
				+ done := g.answer.Outcome == owner.Done || mutated
			`),
		},
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
			in("client/internal/session", "stream.kept", `
				- if sent, ok := st.alive.sentAt(k.Keepalive); ok {
				+ sent, ok := st.alive.sentAt(k.Keepalive)
				+ if mutated {
				+ 	sent, ok = st.s.Now(), true
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
		code: []rewrite{
			in("owner/machine", "turn.serveFrom", `
				+ if mutated && first != nil {
				+ 	first = first.prev // the last
				+ }
				  left, before := serveMost, t.m.handled
			`),
		},
		nets: []net{
			owner("TestPlacesOutliveTheOwner", invariant.Fair),
			sim("TestSimInLine", cluster.Fair),
		},
	},
	{
		name: "no-settling", rule: "Q5",
		breaks: "after an activation nobody waits for waiters to re-attach",
		code: []rewrite{
			in("owner/machine", "Machine.waitingOf", `
				- fresh.settles = m.started + rules.Period(fresh.ttl)
				+ if !mutated {
				+ 	fresh.settles = m.started + rules.Period(fresh.ttl)
				+ }
			`),
		},
		nets: []net{
			owner("TestPlacesOutliveTheOwner", invariant.Fair),
		},
	},
	{
		name: "broken-passed-over", rule: "Q5",
		breaks: "nobody waits for waiters whose link to the owner broke",
		code: []rewrite{
			in("owner/machine", "Machine.Broke", `
				- if !m.active || m.waiters == 0 {
				+ if !m.active || m.waiters == 0 || mutated {
			`),
		},
		nets: []net{
			owner("TestSchedule14BrokenLink", invariant.Fair),
			sim("TestSimForwardingNodeDies", cluster.Fair),
		},
	},
}
