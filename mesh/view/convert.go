package view

import (
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// Between our types and those of the peer protocol. Every pair is one another's
// inverse.

// IdentityToProto is an identity as messages carry it.
func IdentityToProto(i ring.Identity) *peerv1.Identity {
	return &peerv1.Identity{Id: i.ID, Counter: i.Counter, Nonce: i.Nonce}
}

// MemberToProto is a member as messages carry it.
func MemberToProto(m ring.Member) *peerv1.Member {
	return &peerv1.Member{
		Identity: IdentityToProto(m.Identity), Name: m.Name,
		Peer: m.Peer, Gossip: m.Gossip, Http: m.HTTP, Grpc: m.GRPC, Leaving: m.Leaving, Evicted: m.Evicted,
		Release: m.Release, HoldRelease: m.Hold,
	}
}

// MemberFromProto is its inverse.
func MemberFromProto(m *peerv1.Member) ring.Member {
	return ring.Member{
		Identity: IdentityFromProto(m.GetIdentity()), Name: m.GetName(),
		Peer: m.GetPeer(), Gossip: m.GetGossip(), HTTP: m.GetHttp(), GRPC: m.GetGrpc(), Leaving: m.GetLeaving(), Evicted: m.GetEvicted(),
		Release: m.GetRelease(), Hold: m.GetHoldRelease(),
	}
}

// ViewToProto is a view as messages carry it.
func ViewToProto(v ring.View) *peerv1.View {
	p := &peerv1.View{Epoch: v.Epoch, Replicas: uint32(v.Replicas), Placement: uint32(v.Placement), Release: v.Release}
	for _, m := range v.Members {
		p.Members = append(p.Members, MemberToProto(m))
	}
	return p
}

// ViewFromProto is its inverse.
func ViewFromProto(p *peerv1.View) ring.View {
	v := ring.View{Epoch: p.GetEpoch(), Replicas: int(p.GetReplicas()), Placement: int(p.GetPlacement()), Release: p.GetRelease()}
	for _, m := range p.GetMembers() {
		v.Members = append(v.Members, MemberFromProto(m))
	}
	return v
}

// StateToProto is a state as messages, and Raft's snapshots, carry it.
func StateToProto(s State) *peerv1.History {
	p := &peerv1.History{Cluster: s.Cluster, FirstEpoch: s.History.First}
	for _, v := range s.History.Views {
		p.Views = append(p.Views, ViewToProto(v))
	}
	return p
}

// StateFromProto is its inverse; nil gives the zero state.
func StateFromProto(p *peerv1.History) State {
	s := State{Cluster: p.GetCluster(), History: ring.History{First: p.GetFirstEpoch()}}
	for _, v := range p.GetViews() {
		s.History.Views = append(s.History.Views, ViewFromProto(v))
	}
	return s
}

// IdentityFromProto is its inverse; nil gives the zero identity.
func IdentityFromProto(i *peerv1.Identity) ring.Identity {
	return ring.Identity{ID: i.GetId(), Counter: i.GetCounter(), Nonce: i.GetNonce()}
}
