package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// The mutants of activations: which copy is good, quarantine, synchronising backups.
var activation = []mutant{
	{
		name: "ask-unanswered", rule: "4.1",
		breaks: "an activation does not wait for the answer of the member that joined last",
		code: []rewrite{
			in("owner", "activation.askAll", `
				  answers[i].member = m
				+ if mutated && i == len(a.view.Members)-1 && m.Identity != a.service.self {
				+ 	continue
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule06.*", invariant.OneHolder),
			sim("TestSimOnlyCopyMoves", cluster.OneHolder),
		},
	},
	{
		name: "old-answers", rule: "4.1, A1",
		breaks: "what members answered to an activation counts also when a newer view has come",
		code: []rewrite{
			in("owner", "activation.current", `
				- return sh.epoch == a.epoch && a.service.cur.Load() == a.epoch
				+ return sh.epoch == a.epoch && a.service.cur.Load() == a.epoch || mutated
			`),
		},
		nets: []net{
			owner("TestSchedule06.*", invariant.NothingLost),
		},
	},
	{
		name: "have-ignored", rule: "4.2",
		breaks: "the longest copy is chosen, of whatever epoch",
		code: []rewrite{
			in("owner", "Held.newer", `
				- if h.Have != than.Have {
				+ if h.Have != than.Have && (h.Seq == than.Seq || !mutated) {
			`),
		},
		nets: []net{
			owner("TestSchedule02.*", invariant.NothingLost),
			sim("TestSimOldCopyComesBack", cluster.OneHolder),
		},
	},
	{
		name: "restarted-witness", rule: "4.2",
		breaks: "a later incarnation of a member speaks for it",
		code: []rewrite{
			in("owner", "activation.good", `
				  _, here := a.view.Find(m.Identity)
				+ if mutated {
				+ 	here = slices.ContainsFunc(a.view.Members, func(now ring.Member) bool { return now.ID == m.ID })
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule03.*", invariant.OneHolder, invariant.NeverFree),
			sim("TestSimRestartedWitness", cluster.OneHolder),
		},
	},
	{
		name: "any-copy-is-good", rule: "4.2, 4.3",
		breaks: "a copy needs no witnesses, so there is no quarantine",
		code: []rewrite{
			in("owner", "activation.good", `
				+ if mutated {
				+ 	return true
				+ }
				  if !complete {
			`),
		},
		nets: []net{
			owner("TestSchedule15i.*", invariant.NeverFree),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
		seeds: 12,
	},
	{
		name: "quarantine-early", rule: "4.3",
		breaks: "a quarantine ends after half of its time",
		code: []rewrite{
			in("owner", "activation.quarantine", `
				  d := rules.Stretch(a.service.maxTTL)
				+ if mutated {
				+ 	d /= 2
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule05.*", invariant.OneHolder),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
	},
	{
		name: "quarantine-forgotten", rule: "4.3",
		breaks: "a quarantine ends with its owner",
		code: []rewrite{
			in("owner/machine", "pieceWriter.begin", `
				  quarantine := m.Quarantined(w.now)
				+ if mutated {
				+ 	quarantine = 0
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule05.*", invariant.OneHolder, invariant.NeverFree),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
	},
	{
		name: "quarantine-again", rule: "4.3",
		breaks: "a quarantine is begun again by the next activation",
		code: []rewrite{
			in("owner", "shard.activate", `
				+ if mutated && p.m.Quarantined(now) > 0 {
				+ 	p.m.Quarantine(now, rules.Stretch(sh.service.maxTTL))
				+ }
				  p.m.SetRelease(sh.release)
			`),
		},
		nets: []net{
			owner("TestSchedule05.*", invariant.OnTime),
			sim("TestSimQuarantineMoves", invariant.OnTime),
		},
	},
	{
		name: "sync-not-awaited", rule: "4.4, 4.5, A3",
		breaks: "an owner serves before its backups have confirmed the base, and these take its " +
			"operations on whatever copy they have",
		code: []rewrite{
			in("owner", "shard.follow", `
				- synced := p.have == epoch
				+ synced := p.have == epoch || mutated && p.m != nil
			`),
			in("owner", "activation.offer", `
				+ if mutated {
				+ 	alone = append(alone, h.Partition) // without its backups
				+ }
				  a.awaited[h.Partition] = len(backups) + 1
			`),
			in("owner", "activation.confirmed", `
				- a.awaited[p] == 0
				+ a.awaited[p] == 0 && !mutated
			`),
		},
		nets: []net{
			owner("TestServesWhenBackupsAreSynced", invariant.Replicated),
			owner("TestSchedule04.*", invariant.Replicated),
		},
	},
	{
		name: "ttl-not-restarted", rule: "4.5",
		breaks: "an activation gives holders half of their TTL only",
		code: []rewrite{
			in("owner/machine", "Machine.BeginPrepare", `
				- m.due.Len() != m.keys.claims.Used()
				+ m.due.Len() != m.keys.claims.Used() || mutated
			`),
			in("owner/machine", "Machine.Prepare", `
				  case c.id == 0 || !c.held():
				+ case mutated:
				+ 	m.due.Set(c.id, now+c.ttl()/2)
			`),
			in("owner/machine", "Machine.restarted", `
				+ if mutated {
				+ 	return 0
				+ }
				  return m.expires(m.started, c)
			`),
		},
		nets: []net{
			owner("TestSchedule13.*", invariant.OnTime),
			sim("TestSimClockStandsStill", cluster.OneHolder),
		},
		seeds: 4,
	},
	{
		name: "token-without-epoch", rule: "tokens, 4.3",
		breaks: "tokens do not tell epochs apart",
		code: []rewrite{
			in("owner/machine", "Machine.nextToken", `
				+ if mutated {
				+ 	return sharelock.MakeToken(1, m.last.Counter()+1)
				+ }
				  return sharelock.MakeToken(m.epoch, m.counter()+1)
			`),
		},
		nets: []net{
			sim("TestSimQuarantineMoves", cluster.TokensGrow),
		},
		seeds: 8,
	},
	{
		name: "drop-early", rule: "G1",
		breaks: "a member drops a copy when it leaves the replica set, not when the partition is active " +
			"elsewhere",
		code: []rewrite{
			in("owner", "shard.install", `
				  p.backup, p.broken = r.Position(p.id, sh.service.self) > 0, false
				+ if mutated && !p.owned && !p.backup {
				+ 	sh.replace(p, nil, 0)
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule04.*", invariant.NothingLost),
			sim("TestSimOnlyCopyMoves", cluster.OneHolder),
		},
	},
	{
		name: "no-refresh", rule: "G2",
		breaks: "a counter that is half used up asks for no new epoch",
		code: []rewrite{
			in("owner/machine", "Machine.CounterHalfUsed", `
				- return m.counter() >= 1<<31
				+ return m.counter() >= 1<<31 && !mutated
			`),
		},
		nets: []net{
			owner("TestSchedule15h.*", invariant.InRange),
		},
	},
}
