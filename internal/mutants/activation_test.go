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
		nets: []net{
			owner("TestSchedule06.*", invariant.OneHolder),
			sim("TestSimOnlyCopyMoves", cluster.OneHolder),
		},
	},
	{
		name: "old-answers", rule: "4.1, A1",
		breaks: "what members answered to an activation counts also when a newer view has come",
		nets: []net{
			owner("TestSchedule06.*", invariant.NothingLost),
		},
	},
	{
		name: "have-ignored", rule: "4.2",
		breaks: "the longest copy is chosen, of whatever epoch",
		nets: []net{
			owner("TestSchedule02.*", invariant.NothingLost),
			sim("TestSimOldCopyComesBack", cluster.OneHolder),
		},
	},
	{
		name: "restarted-witness", rule: "4.2",
		breaks: "a later incarnation of a member speaks for it",
		nets: []net{
			owner("TestSchedule03.*", invariant.OneHolder, invariant.NeverFree),
			sim("TestSimRestartedWitness", cluster.OneHolder),
		},
	},
	{
		name: "any-copy-is-good", rule: "4.2, 4.3",
		breaks: "a copy needs no witnesses, so there is no quarantine",
		nets: []net{
			owner("TestSchedule15i.*", invariant.NeverFree),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
		seeds: 12,
	},
	{
		name: "quarantine-early", rule: "4.3",
		breaks: "a quarantine ends after half of its time",
		nets: []net{
			owner("TestSchedule05.*", invariant.OneHolder),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
	},
	{
		name: "quarantine-forgotten", rule: "4.3",
		breaks: "a quarantine ends with its owner",
		nets: []net{
			owner("TestSchedule05.*", invariant.OneHolder, invariant.NeverFree),
			sim("TestSimQuarantineMoves", cluster.OneHolder),
		},
	},
	{
		name: "quarantine-again", rule: "4.3",
		breaks: "a quarantine is begun again by the next activation",
		nets: []net{
			owner("TestSchedule05.*", invariant.OnTime),
			sim("TestSimQuarantineMoves", invariant.OnTime),
		},
	},
	{
		name: "sync-not-awaited", rule: "4.4, 4.5, A3",
		breaks: "an owner serves before its backups have confirmed the base, and these take its " +
			"operations on whatever copy they have",
		nets: []net{
			owner("TestServesWhenBackupsAreSynced", invariant.Replicated),
			owner("TestSchedule04.*", invariant.Replicated),
		},
	},
	{
		name: "ttl-not-restarted", rule: "4.5",
		breaks: "an activation gives holders half of their TTL only",
		nets: []net{
			owner("TestSchedule13.*", invariant.OnTime),
			sim("TestSimClockStandsStill", cluster.OneHolder),
		},
		seeds: 4,
	},
	{
		name: "token-without-epoch", rule: "tokens, 4.3",
		breaks: "tokens do not tell epochs apart",
		nets: []net{
			sim("TestSimQuarantineMoves", cluster.TokensGrow),
		},
		seeds: 8,
	},
	{
		name: "drop-early", rule: "G1",
		breaks: "a member drops a copy when it leaves the replica set, not when the partition is active " +
			"elsewhere",
		nets: []net{
			owner("TestSchedule04.*", invariant.NothingLost),
			sim("TestSimOnlyCopyMoves", cluster.OneHolder),
		},
	},
	{
		name: "no-refresh", rule: "G2",
		breaks: "a counter that is half used up asks for no new epoch",
		nets: []net{
			owner("TestSchedule15h.*", invariant.InRange),
		},
	},
}
