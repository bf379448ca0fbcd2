package mutants

import (
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/testcluster"
)

// entry says by what a mutant must be caught: by every one of its nets, and within
// so many seeds by the random run.
type entry struct {
	mutant mutant.Mutant
	rule   string
	nets   []net
	// seeds is how many seeds of the random run may be needed; 0: it is not tried,
	// since what it would have to meet is too rare.
	seeds int
}

// net is one or more tests, of which one must fail.
type net struct {
	// dir is the folder of the tests, tests a regular expression for their names.
	dir, tests string
	// by are the invariants of which the failure must name one. Without any, the test
	// itself is the evidence.
	by []testcluster.Invariant
}

// caughtByRandomRun are the invariants of which the random run must name one.
var caughtByRandomRun = []testcluster.Invariant{
	testcluster.OneHolder, testcluster.TokensGrow, testcluster.OneGrant, testcluster.Fair,
	testcluster.Consistent, testcluster.Linearizable,
}

func owner(tests string) net { return net{dir: "owner", tests: tests} }

// agreement is a test of mesh/view, membership one of mesh.
func agreement(tests string) net { return net{dir: "mesh/view", tests: tests} }

func membership(tests string) net { return net{dir: "mesh", tests: tests} }

func sim(test string, by ...testcluster.Invariant) net {
	return net{dir: "testcluster", tests: test, by: by}
}

// table has every mutant once.
var table = []entry{
	{mutant.AnswerEarly, "A3", []net{owner("TestSchedule15f.*"), sim("TestSimClockStandsStill", testcluster.OneHolder, testcluster.Linearizable)}, 0},
	{mutant.NoLeaseCheck, "A2", []net{owner("TestSchedule07.*")}, 0},
	{mutant.ServeWithoutLease, "A2, Q4", []net{owner("TestSchedule07.*"), sim("TestSimCutOffOwner", testcluster.OneHolder)}, 0},
	{mutant.CurGoesBack, "A1", []net{owner("TestEpochsMustAgree")}, 0},
	{mutant.PendingKept, "A1", []net{owner("TestSchedule01.*")}, 0},
	{mutant.OldAcks, "A1", []net{owner("TestSchedule01.*")}, 0},
	{mutant.AckUnapplied, "A3", []net{owner("TestBackupTakesOver"), sim("TestSimClockStandsStill", testcluster.OneHolder)}, 4},
	{mutant.AcceptGap, "A3", []net{owner("TestSchedule15f.*")}, 0},
	{mutant.RenewWithoutLog, "A3", []net{owner("TestSchedule11LongerTTL.*"), sim("TestSimClockStandsStill", testcluster.OneHolder), sim("TestSimLongerTTLIsNotLost", testcluster.OneHolder)}, 0},
	{mutant.ReadWithoutLog, "A3", []net{sim("TestSimClockStandsStill", testcluster.Linearizable)}, 0},

	{mutant.AskUnanswered, "4.1", []net{owner("TestSchedule06.*"), sim("TestSimOnlyCopyMoves", testcluster.OneHolder)}, 0},
	{mutant.OldAnswers, "4.1, A1", []net{owner("TestSchedule06.*")}, 0},
	{mutant.HaveIgnored, "4.2", []net{owner("TestSchedule02.*"), sim("TestSimOldCopyComesBack", testcluster.OneHolder)}, 0},
	{mutant.RestartedWitness, "4.2", []net{owner("TestSchedule03.*"), sim("TestSimRestartedWitness", testcluster.OneHolder)}, 0},
	{mutant.AnyCopyIsGood, "4.2, 4.3", []net{owner("TestSchedule15i.*"), sim("TestSimQuarantineMoves", testcluster.OneHolder)}, 12},
	{mutant.QuarantineEarly, "4.3", []net{owner("TestSchedule05.*"), sim("TestSimQuarantineMoves", testcluster.OneHolder)}, 0},
	{mutant.QuarantineForgotten, "4.3", []net{owner("TestSchedule05.*"), sim("TestSimQuarantineMoves", testcluster.OneHolder)}, 0},
	{mutant.QuarantineAgain, "4.3", []net{owner("TestSchedule05.*"), sim("TestSimQuarantineMoves")}, 0},
	{mutant.SyncNotAwaited, "4.4, 4.5", []net{owner("TestServesWhenBackupsAreSynced"), owner("TestSchedule04.*")}, 0},
	{mutant.TTLNotRestarted, "4.5", []net{owner("TestSchedule13.*"), sim("TestSimClockStandsStill", testcluster.OneHolder)}, 4},
	{mutant.TokenWithoutEpoch, "tokens", []net{sim("TestSimQuarantineMoves", testcluster.TokensGrow)}, 8},
	{mutant.DropEarly, "G1", []net{owner("TestSchedule04.*"), sim("TestSimOnlyCopyMoves", testcluster.OneHolder)}, 0},
	{mutant.NoRefresh, "G2", []net{owner("TestSchedule15h.*")}, 0},

	{mutant.LocalFallback, "Q1, Q4", []net{owner("TestLiveHandOver"), sim("TestSimLongerTTLIsNotLost", testcluster.OneHolder, testcluster.Linearizable)}, 0},
	{mutant.GrantTwice, "Q2", []net{owner("TestSchedule11WhichSend.*"), sim("TestSimSameRequest", testcluster.OneGrant)}, 0},
	{mutant.OverForgotten, "Q2", []net{owner("TestSchedule12.*"), sim("TestSimSameRequest", testcluster.OneGrant)}, 0},
	{mutant.ReleaseAnyToken, "Q2", []net{owner("TestSchedule12.*"), sim("TestSimLateRelease", testcluster.OneHolder)}, 0},
	{mutant.NotStretched, "Q3", []net{owner("TestSchedule11WhichSend.*"), sim("TestSimFastClock", testcluster.OneHolder)}, 0},
	{mutant.AnySend, "Q3", []net{sim("TestSimWhichSend", testcluster.OneHolder)}, 0},
	{mutant.SafeFromAnswer, "Q3", []net{sim("TestSimSlowOwner", testcluster.OneHolder)}, 0},
	{mutant.LifeFromAnswer, "Q3", []net{sim("TestSimSlowAnswer", testcluster.OneHolder)}, 0},
	{mutant.PassOverFIFO, "Q5", []net{owner("TestSchedule14.*"), sim("TestSimInLine", testcluster.Fair)}, 0},
	{mutant.NoSettling, "Q5", []net{owner("TestSchedule14FIFO.*")}, 0},
	{mutant.BrokenPassedOver, "Q5", []net{owner("TestSchedule14BrokenLink"), sim("TestSimForwardingNodeDies")}, 0},

	{mutant.NoTermCheck, "V2", []net{agreement("TestSchedule08c.*")}, 0},
	{mutant.LeadNotAwaited, "V2", []net{agreement("TestSchedule08b.*")}, 0},
	{mutant.NobodyAssumed, "V5", []net{agreement("TestSchedule08a.*")}, 0},
	{mutant.SecondsUnbounded, "epoch", []net{agreement("TestSchedule15h.*")}, 0},
	{mutant.EarlierRound, "V4", []net{agreement("TestSchedule09StaleConfirmation")}, 0},
	{mutant.NonVotersCounted, "V4", []net{agreement("TestSchedule09NonVotersDoNotCount")}, 0},
	{mutant.LeaseFromAnswer, "V4", []net{membership("TestSchedule07LeaseCountsFromTheSend")}, 0},
	{mutant.LeaseBeforeView, "V4", []net{membership("TestSchedule10.*")}, 0},
	{mutant.RemovalNotStretched, "V5", []net{agreement("TestSchedule07LeaseOfACutOffMember")}, 0},
	{mutant.RemovalWithoutWait, "V5", []net{agreement("TestReplacedMemberIsWaitedOut")}, 0},
	{mutant.RenewUndecided, "V5", []net{agreement("TestSchedule07NoRenewalUntilDecided")}, 0},
	{mutant.RenewDoomed, "V5, V6", []net{agreement("TestReplacedMemberIsWaitedOut|TestSchedule15b.*")}, 0},
	{mutant.PauseIgnored, "V5", []net{agreement("TestPausedLeaderStartsAgain|TestPausedInAProposal")}, 0},
	{mutant.MinorityRemoves, "V5", []net{agreement("TestMinorityHandsOver")}, 0},
	{mutant.HandOverAlways, "V5", []net{agreement("TestMinorityHandsOver")}, 0},
	{mutant.JoinWhileLate, "V3", []net{agreement("TestNoJoinWhileSomebodyIsLate")}, 0},
	{mutant.JoinUnreached, "V3", []net{agreement("TestSchedule15a.*")}, 0},
	{mutant.NoBackOff, "V3", []net{agreement("TestSchedule15c.*")}, 0},
	{mutant.AnswersCount, "V5", []net{agreement("TestSchedule15e.*")}, 0},
	{mutant.ComplainerBelieved, "V6", []net{agreement("TestSchedule15b.*")}, 0},
}
