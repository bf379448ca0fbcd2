package mesh

import (
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Between our types and those of the peer protocol. Every pair is one another's
// inverse.

func heldToProto(held []owner.Held) []*peerv1.Held {
	p := make([]*peerv1.Held, len(held))
	for i, h := range held {
		p[i] = &peerv1.Held{Partition: h.Partition, Have: h.Have, Seq: h.Seq}
	}
	return p
}

func heldFromProto(p []*peerv1.Held) []owner.Held {
	held := make([]owner.Held, len(p))
	for i, h := range p {
		held[i] = owner.Held{Partition: h.GetPartition(), Have: h.GetHave(), Seq: h.GetSeq()}
	}
	return held
}

// basesToProto makes the messages of a sync: small bases together, a large one in
// parts.
func basesToProto(epoch uint32, bases []owner.Base) []*peerv1.SyncRequest {
	var all []*peerv1.SyncRequest
	cur, size := &peerv1.SyncRequest{Epoch: epoch}, 0
	flush := func() {
		all = append(all, cur)
		cur, size = &peerv1.SyncRequest{Epoch: epoch}, 0
	}
	for _, b := range bases {
		held := &peerv1.Held{Partition: b.Partition, Have: b.Have, Seq: b.Seq}
		data := b.Data
		for len(data) > copyPart {
			cur.Bases = append(cur.Bases, &peerv1.Base{Held: held, Data: data[:copyPart], Log: b.Log, More: true})
			data = data[copyPart:]
			flush()
		}
		cur.Bases = append(cur.Bases, &peerv1.Base{Held: held, Data: data, Log: b.Log})
		if size += len(data); size >= copyPart || len(cur.Bases) >= maxBatch {
			flush()
		}
	}
	if len(cur.Bases) > 0 || len(all) == 0 {
		flush()
	}
	return all
}

// basesFrom puts the bases of a sync's messages together. part is what came of a
// base whose rest is in the next message; the new one is returned.
func basesFrom(p []*peerv1.Base, part []byte) (bases []owner.Base, rest []byte) {
	for _, b := range p {
		data := b.Data
		if part != nil {
			data = append(part, data...)
			part = nil
		}
		if b.GetMore() {
			part = append([]byte{}, data...)
			continue
		}
		h := b.GetHeld()
		bases = append(bases, owner.Base{
			Held: owner.Held{Partition: h.GetPartition(), Have: h.GetHave(), Seq: h.GetSeq()}, Data: data, Log: b.GetLog(),
		})
	}
	return bases, part
}

func holdToProto(h *sharelock.Hold) *peerv1.Hold {
	return &peerv1.Hold{
		Key: h.Key, Token: uint64(h.Token), ClientId: h.ClientID, RequestId: h.RequestID,
		Mode: uint32(h.Mode), Slots: h.Slots, TtlNs: int64(h.TTL), ExpiresInNs: int64(h.ExpiresIn), Metadata: h.Metadata,
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
			Key: h.GetKey(), Token: sharelock.Token(h.GetToken()), ClientID: h.GetClientId(), RequestID: h.GetRequestId(),
			Mode: sharelock.Mode(h.GetMode()), Slots: h.GetSlots(),
			TTL: ns(h.GetTtlNs()), ExpiresIn: ns(h.GetExpiresInNs()), Metadata: h.GetMetadata(), Node: node,
		}
	}
	return holds
}

func lockToProto(l *sharelock.Lock) *peerv1.Lock {
	if l == nil {
		return nil
	}
	p := &peerv1.Lock{
		Key: l.Key, Partition: l.Partition, Epoch: l.Epoch, Owner: l.Owner,
		Holds: holdsToProto(l.Holds), QuarantineNs: int64(l.Quarantine),
		HoldCount: uint32(l.HoldCount), WaiterCount: uint32(l.WaiterCount),
	}
	for i := range l.Waiters {
		w := &l.Waiters[i]
		p.Waiters = append(p.Waiters, &peerv1.Waiter{
			ClientId: w.ClientID, RequestId: w.RequestID, Mode: uint32(w.Mode), Slots: w.Slots,
			WaitingNs: int64(w.Waiting), Metadata: w.Metadata,
		})
	}
	return p
}

func lockFromProto(p *peerv1.Lock) *sharelock.Lock {
	if p == nil {
		return nil
	}
	l := &sharelock.Lock{
		Key: p.GetKey(), Partition: p.GetPartition(), Epoch: p.GetEpoch(), Owner: p.GetOwner(),
		Holds: holdsFromProto(p.GetHolds(), p.GetOwner()), Quarantine: ns(p.GetQuarantineNs()),
		HoldCount: int(p.GetHoldCount()), WaiterCount: int(p.GetWaiterCount()),
	}
	for _, w := range p.GetWaiters() {
		l.Waiters = append(l.Waiters, sharelock.Waiter{
			ClientID: w.GetClientId(), RequestID: w.GetRequestId(), Mode: sharelock.Mode(w.GetMode()), Slots: w.GetSlots(),
			Waiting: ns(w.GetWaitingNs()), Metadata: w.GetMetadata(),
		})
	}
	return l
}
