package view

import (
	"github.com/sgkandale/sharelock/internal/ringproto"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// StateToProto returns a state in the form of messages and of Raft's snapshots.
func StateToProto(s State) *peerv1.History {
	p := &peerv1.History{Cluster: s.Cluster, FirstEpoch: s.History.First}
	for _, v := range s.History.Views {
		p.Views = append(p.Views, ringproto.EncodeView(v))
	}
	return p
}

// StateFromProto is the inverse of StateToProto. It returns the zero State for nil.
func StateFromProto(p *peerv1.History) State {
	s := State{Cluster: p.GetCluster(), History: ring.History{First: p.GetFirstEpoch()}}
	for _, v := range p.GetViews() {
		s.History.Views = append(s.History.Views, ringproto.DecodeView(v))
	}
	return s
}
