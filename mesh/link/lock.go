package link

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

func holdToProto(h *sharelock.Hold) *peerv1.Hold {
	return &peerv1.Hold{
		Key: h.Key, Token: uint64(h.Token), ClientId: h.ClientID, RequestId: h.RequestID, Principal: h.Principal,
		Mode: uint32(h.Mode), Slots: h.Slots, TtlNs: int64(h.TTL), ExpiresInNs: int64(h.ExpiresIn), Metadata: h.Metadata,
		MaxHoldNs: int64(h.MaxHold), EndsInNs: int64(h.EndsIn),
	}
}

func holdsToProto(holds []sharelock.Hold) []*peerv1.Hold {
	if len(holds) == 0 {
		return nil
	}
	p := make([]*peerv1.Hold, len(holds))
	for i := range holds {
		p[i] = holdToProto(&holds[i])
	}
	return p
}

func holdsFromProto(p []*peerv1.Hold, node string) []sharelock.Hold {
	if len(p) == 0 {
		return nil
	}
	holds := make([]sharelock.Hold, len(p))
	for i, h := range p {
		holds[i] = sharelock.Hold{
			Key: h.GetKey(), Token: sharelock.Token(h.GetToken()), ClientID: h.GetClientId(), RequestID: h.GetRequestId(), Principal: h.GetPrincipal(),
			Mode: sharelock.Mode(intconv.Uint8(h.GetMode())), Slots: h.GetSlots(),
			TTL: time.Duration(h.GetTtlNs()), ExpiresIn: time.Duration(h.GetExpiresInNs()), MaxHold: time.Duration(h.GetMaxHoldNs()), EndsIn: time.Duration(h.GetEndsInNs()), Metadata: h.GetMetadata(), Node: node,
		}
	}
	return holds
}

// LockToProto makes the message of a lock that was read.
func LockToProto(l *sharelock.KeyState) *peerv1.Lock {
	if l == nil {
		return nil
	}
	p := &peerv1.Lock{
		Key: l.Key, Partition: l.Partition, Epoch: l.Epoch, Owner: l.Owner,
		Holds: holdsToProto(l.Holds), QuarantineNs: int64(l.Quarantine),
		HoldCount: intconv.Uint32(l.HoldCount), WaiterCount: intconv.Uint32(l.WaiterCount),
	}
	for i := range l.Waiters {
		w := &l.Waiters[i]
		p.Waiters = append(p.Waiters, &peerv1.Waiter{
			ClientId: w.ClientID, RequestId: w.RequestID, Principal: w.Principal, Mode: uint32(w.Mode), Slots: w.Slots,
			WaitingNs: int64(w.Waiting), Metadata: w.Metadata,
		})
	}
	return p
}

// LockFromProto is the inverse of LockToProto.
func LockFromProto(p *peerv1.Lock) *sharelock.KeyState {
	if p == nil {
		return nil
	}
	l := &sharelock.KeyState{
		Key: p.GetKey(), Partition: p.GetPartition(), Epoch: p.GetEpoch(), Owner: p.GetOwner(),
		Holds: holdsFromProto(p.GetHolds(), p.GetOwner()), Quarantine: time.Duration(p.GetQuarantineNs()),
		HoldCount: int(p.GetHoldCount()), WaiterCount: int(p.GetWaiterCount()),
	}
	for _, w := range p.GetWaiters() {
		l.Waiters = append(l.Waiters, sharelock.Waiter{
			ClientID: w.GetClientId(), RequestID: w.GetRequestId(), Principal: w.GetPrincipal(), Mode: sharelock.Mode(intconv.Uint8(w.GetMode())), Slots: w.GetSlots(),
			Waiting: time.Duration(w.GetWaitingNs()), Metadata: w.GetMetadata(),
		})
	}
	return l
}
