package mutant

import "github.com/sgkandale/sharelock/internal/invariant"

// The names of invariants, which are package invariant's.
const (
	OneHolder     = invariant.OneHolder
	TokensGrow    = invariant.TokensGrow
	OneGrant      = invariant.OneGrant
	Fair          = invariant.Fair
	EqualCopies   = invariant.EqualCopies
	Replicated    = invariant.Replicated
	Leased        = invariant.Leased
	EpochsGrow    = invariant.EpochsGrow
	NothingLost   = invariant.NothingLost
	NeverFree     = invariant.NeverFree
	OnTime        = invariant.OnTime
	Bounded       = invariant.Bounded
	InRange       = invariant.InRange
	LeaseInView   = invariant.LeaseInView
	LeaseFromSend = invariant.LeaseFromSend
	Confirmed     = invariant.Confirmed
	LiveStay      = invariant.LiveStay
	DeadGo        = invariant.DeadGo
	AllReached    = invariant.AllReached
	SameDecisions = invariant.SameDecisions
	Quiet         = invariant.Quiet
)
