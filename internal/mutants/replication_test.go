package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/internal/invariant"
)

// The mutants of an owner and its backups: leases, epochs, the log, bounds.
var replication = []mutant{
	{
		name: "answer-early", rule: "A3",
		breaks: "an owner answers before its backups have acknowledged",
		code: []rewrite{
			in("owner", "oplog.ack", `
				- l.pending.At(n).Seq <= commit
				+ (l.pending.At(n).Seq <= commit || mutated)
			`),
		},
		nets: []net{
			owner("TestSchedule15f.*", invariant.Replicated),
			sim("TestSimClockStandsStill", cluster.OneHolder, cluster.Linearizable),
		},
	},
	{
		name: "told-early", rule: "A2, A3",
		breaks: "an owner tells those who watch before its backups have acknowledged",
		code: []rewrite{
			in("owner", "shard.tell", `
				- sh.out.Replies = append(sh.out.Replies, t.reply(p.m))
				+ if mutated {
				+ 	t.Answer(0, Answer{Outcome: Done})
				+ } else {
				+ 	sh.out.Replies = append(sh.out.Replies, t.reply(p.m))
				+ }
			`),
		},
		nets: []net{
			owner("TestFeedWaitsForTheBackups", invariant.Replicated),
			sim("TestSimWatchTellsWhatIsCommitted", cluster.Told),
		},
	},
	{
		name: "told-void", rule: "A3",
		breaks: "the history has what an owner that was lost has decided alone",
		code: []rewrite{
			in("owner/journal", "line.counts", `
				- return kept && m.Seq <= last
				+ return kept && m.Seq <= last || mutated
			`),
		},
		nets: []net{
			sim("TestSimPastOfALostOwner", cluster.Past),
		},
	},
	{
		// The node that takes a request also checks the lease, before and after, so only the owner's own tests
		// catch this mutant.
		name: "no-lease-check", rule: "A2",
		breaks: "an owner lets an answer leave without looking at its lease",
		code: []rewrite{
			in("owner", "shard.flush", `
				- valid := sh.service.leaseValid(now)
				+ valid := sh.service.leaseValid(now) || mutated
			`),
		},
		nets: []net{
			owner("TestSchedule07.*", invariant.Leased),
		},
	},
	{
		name: "serve-without-lease", rule: "A2, Q4",
		breaks: "nobody looks at the lease",
		code: []rewrite{
			in("owner", "Service.leaseValid", `
				- return s.leaseLeft(now) > 0
				+ return s.leaseLeft(now) > 0 || mutated
			`),
		},
		nets: []net{
			owner("TestSchedule07.*", invariant.Leased),
			sim("TestSimCutOffOwner", cluster.OneHolder),
		},
	},
	{
		name: "cur-goes-back", rule: "A1",
		breaks: "an older view is installed too",
		code: []rewrite{
			in("mesh/epoch", "Views.Offer", `
				- s.Epoch() <= old.Epoch
				+ s.Epoch() <= old.Epoch && !mutated
			`),
			in("owner", "Service.Install", `
				- epoch <= s.cur.Load()
				+ epoch <= s.cur.Load() && !mutated
			`),
		},
		nets: []net{
			owner("TestEpochsMustAgree", invariant.EpochsGrow),
		},
	},
	{
		name: "pending-kept", rule: "A1",
		breaks: "answers that wait for acknowledgements survive a newer view",
		code: []rewrite{
			in("owner", "oplog.begin", `
				- l.pending = compact.Queue[machine.Reply]{}
				+ if !mutated {
				+ 	l.pending = compact.Queue[machine.Reply]{}
				+ }
			`),
			in("owner", "shard.silence", `
				- sh.sendAway(p.log.pending)
				- p.log, p.draining = oplog{}, false
				+ if !mutated {
				+ 	sh.sendAway(p.log.pending)
				+ 	p.log, p.draining = oplog{}, false
				+ }
			`),
		},
		nets: []net{
			owner("TestSchedule01.*", invariant.TokensGrow, invariant.OneHolder),
		},
	},
	{
		name: "old-acks", rule: "A1",
		breaks: "acknowledgements of an older epoch count",
		code: []rewrite{
			in("owner", "Service.Acked", `
				- sh.epoch != epoch
				+ sh.epoch != epoch && !mutated
			`),
		},
		nets: []net{
			owner("TestSchedule01.*", invariant.Replicated),
			owner("TestAcknowledgementOfAnOlderEpoch", invariant.Replicated),
		},
	},
	{
		name: "ack-unapplied", rule: "A3",
		breaks: "a backup acknowledges operations that it has not applied",
		code: []rewrite{
			in("owner/machine", "Machine.Apply", `
				+ if mutated {
				+ 	m.seq++
				+ 	return nil
				+ }
				  _, err := m.apply(now, op)
			`),
		},
		nets: []net{
			owner("TestBackupTakesOver", invariant.Replicated),
			sim("TestSimClockStandsStill", cluster.OneHolder),
		},
		seeds: 4,
	},
	{
		name: "accept-gap", rule: "A3",
		breaks: "a backup goes on behind a gap in the log",
		code: []rewrite{
			in("owner", "shard.follow", `
				+ if mutated && e.First > p.m.Seq()+1 {
				+ 	p.m.SkipTo(e.First - 1)
				+ }
				  if e.First > p.m.Seq()+1 {
			`),
			add("owner/machine", `func (m *Machine) SkipTo(seq uint64) { m.seq = seq }`),
		},
		nets: []net{
			owner("TestSchedule15f.*", invariant.Replicated, invariant.EqualCopies),
		},
	},
	{
		name: "renew-without-log", rule: "A3",
		breaks: "a renewal is not replicated",
		code: []rewrite{
			in("owner/machine", "turn.restart", `
				  case !t.outlasts(c, op.TTL):
				- 	t.commit(op)
				+ 	if mutated && !op.Resent {
				+ 		c.setTTL(op.TTL)
				+ 		t.m.arm(t.now, c)
				+ 	} else {
				+ 		t.commit(op)
				+ 	}
			`),
			in("owner/machine", "turn.renewMany", `
				- if kept >= 0 {
				+ if kept >= 0 && !mutated {
			`),
		},
		nets: []net{
			owner("TestSchedule11LongerTTL.*", invariant.OneHolder),
			sim("TestSimClockStandsStill", cluster.OneHolder),
			sim("TestSimLongerTTLIsNotLost", cluster.OneHolder),
		},
	},
	{
		name: "read-without-log", rule: "A3",
		breaks: "a linearizable read has no place in the log",
		code: []rewrite{
			in("owner/machine", "pendingRead.place", `
				- t.place(r.key)
				+ if !mutated {
				+ 	t.place(r.key)
				+ }
			`),
		},
		nets: []net{
			sim("TestSimClockStandsStill", cluster.Linearizable),
		},
	},
	{
		name: "no-bound", rule: "Q6",
		breaks: "a partition takes requests beyond the bound of what it may keep",
		code: []rewrite{
			in("owner/machine", "Machine.room", `
				+ if mutated {
				+ 	return nil
				+ }
				  if m.keys.claims.Used()+m.beyond() >= m.bounds.Entries {
			`),
			in("owner/machine", "Machine.metaRoom", `
				- more <= 0
				+ more <= 0 || mutated
			`),
			in("owner/machine", "Machine.fenceRoom", `
				+ if mutated {
				+ 	return nil
				+ }
				  if m.finished.Len() >= m.bounds.finished() {
			`),
		},
		nets: []net{
			lockMachine("TestPartitionIsBounded", invariant.Bounded),
			lockMachine("TestShareOfAConnection", invariant.Bounded),
		},
	},
}
