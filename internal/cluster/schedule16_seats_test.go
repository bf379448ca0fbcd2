package cluster_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// V1: a voter does not reach the leader any more, but is reached by it and votes. Soon after, the
// other one of three voters crashes, so for a while the leader has heard from the dead voter more
// recently than from the living one. If it moved the seat of the one that votes, nobody could
// commit that, nor elect a leader before the dead voter has returned. If it moved the seat of the
// dead one, it would hear a majority and remove the one that votes, which has the last copy of what
// the dead one had.
func TestSchedule16SeatOfAVoterThatVotes(t *testing.T) {
	row := 0
	for _, walled := range []int{1, 2} {
		for part := 3; part >= 0; part-- {
			if row++; sparse(row - 1) {
				continue
			}
			tr := trouble{
				nodes: 4, replicas: 2 + part%2, cuts: []cut{{from: walled, to: 0, wall: true}},
				crash: []int{3 - walled}, after: (sceneLease / 16) * (1 + 2*time.Duration(part)),
			}
			t.Run(fmt.Sprint(tr), func(t *testing.T) { virtual.Test(t, tr.run) })
		}
	}
}
