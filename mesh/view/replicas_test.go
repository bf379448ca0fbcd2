package view

import (
	"testing"

	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
	"github.com/sgkandale/sharelock/ring"
)

// R is one more than the number of voters that a quorum can lose, and at least two, or what was
// fixed when the cluster was founded. Only members on the ring count.
func TestReplicas(t *testing.T) {
	tests := []struct {
		fixed uint32
		want  [10]int // by the number of members on the ring
	}{
		{0, [10]int{1, 1, 2, 2, 2, 3, 3, 3, 3, 3}},
		{1, [10]int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{2, [10]int{1, 1, 2, 2, 2, 2, 2, 2, 2, 2}},
		{3, [10]int{1, 1, 2, 3, 3, 3, 3, 3, 3, 3}},
		{5, [10]int{1, 1, 2, 3, 4, 5, 5, 5, 5, 5}},
	}
	for _, tt := range tests {
		c := Constants{&peerv1.Cluster{Replicas: tt.fixed}}
		for placed := range 10 {
			for leaving := range 3 {
				v := ring.View{Members: make([]ring.Member, placed+leaving)}
				for i := range leaving {
					v.Members[i].Leaving = true
				}
				if got := Replicas(c, v); got != tt.want[placed] {
					t.Errorf("ring.replicas %d, %d members on the ring, %d leaving: R = %d, want %d", tt.fixed, placed, leaving, got, tt.want[placed])
				}
			}
		}
	}
}
