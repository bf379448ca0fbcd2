package owner

import (
	"github.com/sgkandale/sharelock/owner/ledger"
	"github.com/sgkandale/sharelock/ring"
)

// Claims is what a principal has at one member, or at several.
type Claims = ledger.Claims

// Principals returns what every principal has in the active partitions of this member, if anything.
func (s *Service) Principals() map[string]Claims { return s.ledger.Principals() }

// BeginCount begins to count a principal's claims at all members, in an epoch. It returns false if they
// cannot be counted now: the epoch is another, or a partition of this member is not active yet.
func (s *Service) BeginCount(epoch uint32, principal string) bool {
	return s.settled(epoch) && s.ledger.BeginCount(epoch, principal)
}

// Reveal returns what a principal has at this member, for another member that counts, and takes its room
// away. It returns false if that is not known now, or if this member counts as well and comes first:
// of two counts at the same time at most one succeeds.
func (s *Service) Reveal(by ring.Identity, epoch uint32, principal string) (c Claims, ok bool) {
	if !s.settled(epoch) {
		return Claims{}, false
	}
	return s.ledger.Reveal(s.self.String() < by.String(), epoch, principal)
}

// EndCount ends a count of an epoch. others are what the other members have together; ok is false if one
// of them has not said so.
func (s *Service) EndCount(epoch uint32, principal string, others Claims, ok bool) {
	s.ledger.EndCount(epoch, principal, others, ok)
}

// settled reports whether all partitions that this member owns in an epoch are active in it.
// It asks each shard only, since others may make this member ask often.
func (s *Service) settled(epoch uint32) bool {
	for _, sh := range s.shards {
		if sh.settled.Load() != epoch {
			return false
		}
	}
	return s.cur.Load() == epoch
}
