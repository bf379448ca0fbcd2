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
		nets: []net{
			owner("TestSchedule15f.*", invariant.Replicated),
			sim("TestSimClockStandsStill", cluster.OneHolder, cluster.Linearizable),
		},
	},
	{
		// The node that takes a request looks at the lease, too, before and after, so only the owner's
		// own tests see this one.
		name: "no-lease-check", rule: "A2",
		breaks: "an owner lets an answer leave without looking at its lease",
		nets: []net{
			owner("TestSchedule07.*", invariant.Leased),
		},
	},
	{
		name: "serve-without-lease", rule: "A2, Q4",
		breaks: "nobody looks at the lease",
		nets: []net{
			owner("TestSchedule07.*", invariant.Leased),
			sim("TestSimCutOffOwner", cluster.OneHolder),
		},
	},
	{
		name: "cur-goes-back", rule: "A1",
		breaks: "an older view is installed too",
		nets: []net{
			owner("TestEpochsMustAgree", invariant.EpochsGrow),
		},
	},
	{
		name: "pending-kept", rule: "A1",
		breaks: "answers that wait for acknowledgements survive a newer view",
		nets: []net{
			owner("TestSchedule01.*", invariant.TokensGrow, invariant.OneHolder),
		},
	},
	{
		name: "old-acks", rule: "A1",
		breaks: "acknowledgements of an older epoch count",
		nets: []net{
			owner("TestSchedule01.*", invariant.Replicated),
			owner("TestAcknowledgementOfAnOlderEpoch", invariant.Replicated),
		},
	},
	{
		name: "ack-unapplied", rule: "A3",
		breaks: "a backup acknowledges operations that it has not applied",
		nets: []net{
			owner("TestBackupTakesOver", invariant.Replicated),
			sim("TestSimClockStandsStill", cluster.OneHolder),
		},
		seeds: 4,
	},
	{
		name: "accept-gap", rule: "A3",
		breaks: "a backup goes on behind a gap in the log",
		nets: []net{
			owner("TestSchedule15f.*", invariant.Replicated, invariant.EqualCopies),
		},
	},
	{
		name: "renew-without-log", rule: "A3",
		breaks: "a renewal is not replicated",
		nets: []net{
			owner("TestSchedule11LongerTTL.*", invariant.OneHolder),
			sim("TestSimClockStandsStill", cluster.OneHolder),
			sim("TestSimLongerTTLIsNotLost", cluster.OneHolder),
		},
	},
	{
		name: "read-without-log", rule: "A3",
		breaks: "a linearizable read has no place in the log",
		nets: []net{
			sim("TestSimClockStandsStill", cluster.Linearizable),
		},
	},
	{
		name: "no-bound", rule: "Q6",
		breaks: "a partition takes requests beyond the bound of what it may keep",
		nets: []net{
			lockMachine("TestPartitionIsBounded", invariant.Bounded),
			lockMachine("TestShareOfAConnection", invariant.Bounded),
		},
	},
}
