// Package ringproto translates between the types of package ring and the messages of the peer
// protocol.
package ringproto

import (
	"github.com/sgkandale/sharelock/internal/intconv"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// EncodeIdentity returns an identity as messages carry it.
func EncodeIdentity(i ring.Identity) *peerv1.Identity {
	return &peerv1.Identity{Id: i.ID, Counter: i.Counter, Nonce: i.Nonce}
}

// DecodeIdentity is the inverse of EncodeIdentity; of nil it returns the zero identity.
func DecodeIdentity(i *peerv1.Identity) ring.Identity {
	return ring.Identity{ID: i.GetId(), Counter: i.GetCounter(), Nonce: i.GetNonce()}
}

// EncodeMember returns a member as messages carry it.
func EncodeMember(m ring.Member) *peerv1.Member {
	return &peerv1.Member{
		Identity: EncodeIdentity(m.Identity), Name: m.Name,
		Peer: m.Peer, Gossip: m.Gossip, Http: m.HTTP, Grpc: m.GRPC, Leaving: m.Leaving, Evicted: m.Evicted,
		Release: m.Release, HoldRelease: m.Hold,
	}
}

// DecodeMember is the inverse of EncodeMember.
func DecodeMember(m *peerv1.Member) ring.Member {
	return ring.Member{
		Identity: DecodeIdentity(m.GetIdentity()), Name: m.GetName(),
		Peer: m.GetPeer(), Gossip: m.GetGossip(), HTTP: m.GetHttp(), GRPC: m.GetGrpc(), Leaving: m.GetLeaving(), Evicted: m.GetEvicted(),
		Release: m.GetRelease(), Hold: m.GetHoldRelease(),
	}
}

// EncodeView returns a view as messages carry it.
func EncodeView(v ring.View) *peerv1.View {
	p := &peerv1.View{Epoch: v.Epoch, Replicas: intconv.Uint32(v.Replicas), Placement: intconv.Uint32(v.Placement), Release: v.Release}
	for _, m := range v.Members {
		p.Members = append(p.Members, EncodeMember(m))
	}
	return p
}

// DecodeView is the inverse of EncodeView.
func DecodeView(p *peerv1.View) ring.View {
	v := ring.View{Epoch: p.GetEpoch(), Replicas: int(p.GetReplicas()), Placement: int(p.GetPlacement()), Release: p.GetRelease()}
	for _, m := range p.GetMembers() {
		v.Members = append(v.Members, DecodeMember(m))
	}
	return v
}
