package mutants

import (
	"github.com/sgkandale/sharelock/internal/cluster"
	"github.com/sgkandale/sharelock/owner/mutant"
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
	// by are the invariants of which the failure must name one.
	by []string
}

// caughtByRandomRun are the invariants of which the random run must name one.
var caughtByRandomRun = names([]cluster.Invariant{
	cluster.OneHolder, cluster.TokensGrow, cluster.OneGrant, cluster.Fair,
	cluster.Consistent, cluster.Linearizable,
})

func names[I ~string](list []I) []string {
	var names []string
	for _, i := range list {
		names = append(names, string(i))
	}
	return names
}

func owner(tests string, by ...mutant.Invariant) net { return net{"owner", tests, names(by)} }

// agreement is a test of mesh/view, membership one of mesh.
func agreement(tests string, by ...mutant.Invariant) net { return net{"mesh/view", tests, names(by)} }

func membership(tests string, by ...mutant.Invariant) net { return net{"mesh", tests, names(by)} }

func sim[I ~string](test string, by ...I) net { return net{"internal/cluster", test, names(by)} }

// table has every mutant once.
var table = []entry{
	{mutant.AnswerEarly, "A3", []net{owner("TestSchedule15f.*", mutant.Replicated), sim("TestSimClockStandsStill", cluster.OneHolder, cluster.Linearizable)}, 0},
	{mutant.NoLeaseCheck, "A2", []net{owner("TestSchedule07.*", mutant.Leased)}, 0},
	{mutant.ServeWithoutLease, "A2, Q4", []net{owner("TestSchedule07.*", mutant.Leased), sim("TestSimCutOffOwner", cluster.OneHolder)}, 0},
	{mutant.CurGoesBack, "A1", []net{owner("TestEpochsMustAgree", mutant.EpochsGrow)}, 0},
	{mutant.PendingKept, "A1", []net{owner("TestSchedule01.*", mutant.TokensGrow, mutant.OneHolder)}, 0},
	{mutant.OldAcks, "A1", []net{owner("TestSchedule01.*", mutant.Replicated), owner("TestAcknowledgementOfAnOlderEpoch", mutant.Replicated)}, 0},
	{mutant.AckUnapplied, "A3", []net{owner("TestBackupTakesOver", mutant.Replicated), sim("TestSimClockStandsStill", cluster.OneHolder)}, 4},
	{mutant.AcceptGap, "A3", []net{owner("TestSchedule15f.*", mutant.Replicated, mutant.EqualCopies)}, 0},
	{mutant.RenewWithoutLog, "A3", []net{owner("TestSchedule11LongerTTL.*", mutant.OneHolder), sim("TestSimClockStandsStill", cluster.OneHolder), sim("TestSimLongerTTLIsNotLost", cluster.OneHolder)}, 0},
	{mutant.ReadWithoutLog, "A3", []net{sim("TestSimClockStandsStill", cluster.Linearizable)}, 0},
	{mutant.NoBound, "Q6", []net{owner("TestPartitionIsBounded", mutant.Bounded), owner("TestShareOfAConnection", mutant.Bounded)}, 0},

	{mutant.AskUnanswered, "4.1", []net{owner("TestSchedule06.*", mutant.OneHolder), sim("TestSimOnlyCopyMoves", cluster.OneHolder)}, 0},
	{mutant.OldAnswers, "4.1, A1", []net{owner("TestSchedule06.*", mutant.NothingLost)}, 0},
	{mutant.HaveIgnored, "4.2", []net{owner("TestSchedule02.*", mutant.NothingLost), sim("TestSimOldCopyComesBack", cluster.OneHolder)}, 0},
	{mutant.RestartedWitness, "4.2", []net{owner("TestSchedule03.*", mutant.OneHolder, mutant.NeverFree), sim("TestSimRestartedWitness", cluster.OneHolder)}, 0},
	{mutant.AnyCopyIsGood, "4.2, 4.3", []net{owner("TestSchedule15i.*", mutant.NeverFree), sim("TestSimQuarantineMoves", cluster.OneHolder)}, 12},
	{mutant.QuarantineEarly, "4.3", []net{owner("TestSchedule05.*", mutant.OneHolder), sim("TestSimQuarantineMoves", cluster.OneHolder)}, 0},
	{mutant.QuarantineForgotten, "4.3", []net{owner("TestSchedule05.*", mutant.OneHolder, mutant.NeverFree), sim("TestSimQuarantineMoves", cluster.OneHolder)}, 0},
	{mutant.QuarantineAgain, "4.3", []net{owner("TestSchedule05.*", mutant.OnTime), sim("TestSimQuarantineMoves", mutant.OnTime)}, 0},
	{mutant.SyncNotAwaited, "4.4, 4.5", []net{owner("TestServesWhenBackupsAreSynced", mutant.Replicated), owner("TestSchedule04.*", mutant.Replicated)}, 0},
	{mutant.TTLNotRestarted, "4.5", []net{owner("TestSchedule13.*", mutant.OnTime), sim("TestSimClockStandsStill", cluster.OneHolder)}, 4},
	{mutant.TokenWithoutEpoch, "tokens", []net{sim("TestSimQuarantineMoves", cluster.TokensGrow)}, 8},
	{mutant.DropEarly, "G1", []net{owner("TestSchedule04.*", mutant.NothingLost), sim("TestSimOnlyCopyMoves", cluster.OneHolder)}, 0},
	{mutant.NoRefresh, "G2", []net{owner("TestSchedule15h.*", mutant.InRange)}, 0},

	{mutant.LocalFallback, "Q1, Q4", []net{owner("TestLiveHandOver", mutant.OneHolder), sim("TestSimLongerTTLIsNotLost", cluster.OneHolder, cluster.Linearizable)}, 0},
	{mutant.GrantTwice, "Q2", []net{owner("TestSchedule11WhichSend.*", mutant.OneGrant), sim("TestSimSameRequest", cluster.OneGrant)}, 0},
	{mutant.UnseenNotFenced, "Q2, Q6", []net{owner("TestFenceComesFirst", mutant.OneGrant)}, 0},
	{mutant.HolderNotTold, "3", []net{sim("TestForcedHolderIsTold", mutant.OnTime)}, 0},
	{mutant.OverForgotten, "Q2", []net{owner("TestSchedule12.*", mutant.OneGrant), sim("TestSimSameRequest", cluster.OneGrant)}, 0},
	{mutant.ReleaseAnyToken, "Q2", []net{owner("TestSchedule12.*", mutant.NothingLost), sim("TestSimLateRelease", cluster.OneHolder)}, 0},
	{mutant.NotStretched, "Q3", []net{owner("TestSchedule11WhichSend.*", mutant.OnTime), sim("TestSimFastClock", cluster.OneHolder)}, 0},
	{mutant.AnySend, "Q3", []net{sim("TestSimWhichSend", cluster.OneHolder)}, 0},
	{mutant.SafeFromAnswer, "Q3", []net{sim("TestSimSlowOwner", cluster.OneHolder)}, 0},
	{mutant.NewestKeepalive, "Q3", []net{sim("TestSimKeptAsOf", cluster.OneHolder)}, 0},
	{mutant.RenewedUnconfirmed, "Q3, A2", []net{sim("TestSimKeptUnconfirmed", cluster.OneHolder)}, 0},
	{mutant.LifeFromAnswer, "Q3", []net{sim("TestSimSlowAnswer", cluster.OneHolder)}, 0},
	{mutant.PassOverFIFO, "Q5", []net{owner("TestPlacesOutliveTheOwner", mutant.Fair), sim("TestSimInLine", cluster.Fair)}, 0},
	{mutant.NoSettling, "Q5", []net{owner("TestPlacesOutliveTheOwner", mutant.Fair)}, 0},
	{mutant.BrokenPassedOver, "Q5", []net{owner("TestSchedule14BrokenLink", mutant.Fair), sim("TestSimForwardingNodeDies", cluster.Fair)}, 0},

	{mutant.FoundUnasked, "V0", []net{sim("TestSimFoundedTwice", cluster.OneHolder)}, 0},
	{mutant.NoTermCheck, "V2", []net{agreement("TestSchedule08c.*", mutant.LeaseInView)}, 0},
	{mutant.LeadNotAwaited, "V2", []net{agreement("TestSchedule08b.*", mutant.LeaseInView)}, 0},
	{mutant.NobodyAssumed, "V5", []net{agreement("TestSchedule08a.*", mutant.LeaseInView)}, 0},
	{mutant.SecondsUnbounded, "epoch", []net{agreement("TestSchedule15h.*", mutant.InRange)}, 0},
	{mutant.EarlierRound, "V4", []net{agreement("TestSchedule09StaleConfirmation", mutant.Confirmed)}, 0},
	{mutant.NonVotersCounted, "V4", []net{agreement("TestSchedule09NonVotersDoNotCount", mutant.Confirmed)}, 0},
	{mutant.LeaseFromAnswer, "V4", []net{membership("TestSchedule07LeaseCountsFromTheSend", mutant.LeaseFromSend)}, 0},
	{mutant.LeaseBeforeView, "V4", []net{membership("TestSchedule10.*", mutant.LeaseInView)}, 0},
	{mutant.RemovalNotStretched, "V5", []net{agreement("TestSchedule07LeaseOfACutOffMember", mutant.LeaseInView)}, 0},
	{mutant.RemovalWithoutWait, "V5", []net{agreement("TestReplacedMemberIsWaitedOut", mutant.LeaseInView)}, 0},
	{mutant.RenewUndecided, "V5", []net{agreement("TestSchedule07NoRenewalUntilDecided", mutant.LeaseInView)}, 0},
	{mutant.RenewDoomed, "V5, V6", []net{agreement("TestReplacedMemberIsWaitedOut", mutant.DeadGo), agreement("TestSchedule16hDeaf", mutant.DeadGo)}, 0},
	{mutant.PauseIgnored, "V5", []net{agreement("TestPausedLeaderStartsAgain|TestPausedInAProposal", mutant.LiveStay)}, 0},
	{mutant.MinorityRemoves, "V5", []net{agreement("TestMinorityHandsOver", mutant.LiveStay)}, 0},
	{mutant.HandOverAlways, "V5", []net{agreement("TestMinorityHandsOver", mutant.Quiet)}, 0},
	{mutant.JoinWhileLate, "V3", []net{agreement("TestNoJoinWhileSomebodyIsLate", mutant.Quiet)}, 0},
	{mutant.JoinUnreached, "V3", []net{agreement("TestSchedule15a.*", mutant.AllReached)}, 0},
	{mutant.NoDialBack, "V3", []net{sim("TestSimUndiallable", mutant.Quiet)}, 0},
	{mutant.NoBackOff, "V3", []net{agreement("TestSchedule15cComebacksBackOff", mutant.Quiet)}, 0},
	{mutant.ForgetBackOff, "V3", []net{agreement("TestSchedule15cBackOffIsKept", mutant.Quiet)}, 0},
	{mutant.AnswersCount, "V5", []net{agreement("TestSchedule15e.*", mutant.DeadGo)}, 0},
	{mutant.SkipUnknown, "W3", []net{agreement("TestUnknownCommandStops", mutant.SameDecisions)}, 0},
	{mutant.EvictUnmarked, "V6a", []net{agreement("TestSchedule16MarkedUntilTold", mutant.LiveStay), sim("TestSchedule16iOneCopy", mutant.NothingLost)}, 0},
	{mutant.RemoveUntold, "V6a, V7", []net{agreement("TestSchedule16MarkedUntilTold", mutant.LiveStay), sim("TestSchedule16iOneCopy", mutant.NothingLost)}, 0},
	{mutant.StrangersRefused, "V1", []net{agreement("TestVoterThatWasAwayElectsANewOne", mutant.DeadGo)}, 0},
	{mutant.LetGoUnsettled, "V7", []net{agreement("TestLetGoWhenSettled", mutant.LiveStay)}, 0},
	{mutant.NoHandOver, "V5", []net{agreement("TestSchedule16gLeaderIsCutOff", mutant.LiveStay), sim("TestSchedule16iOneCopy", mutant.NothingLost)}, 0},
	{mutant.ComplainerBelieved, "V6", []net{agreement("TestSchedule15b.*", mutant.LiveStay)}, 0},
}
