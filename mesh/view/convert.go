package view

import (
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// StateToProto returns a state as messages, and Raft's snapshots, carry it.
func StateToProto(s State) *peerv1.History {
	p := &peerv1.History{Cluster: s.Cluster, FirstEpoch: s.History.First}
	for _, v := range s.History.Views {
		p.Views = append(p.Views, ringproto.EncodeView(v))
	}
	return p
}

// StateFromProto is the inverse of StateToProto; of nil it returns the zero state.
func StateFromProto(p *peerv1.History) State {
	s := State{Cluster: p.GetCluster(), History: ring.History{First: p.GetFirstEpoch()}}
	for _, v := range p.GetViews() {
		s.History.Views = append(s.History.Views, ringproto.DecodeView(v))
	}
	return s
}
