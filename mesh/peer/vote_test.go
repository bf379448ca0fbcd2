package peer

import (
	"testing"

	"github.com/sgkandale/sharelock/internal/memnet"
	"github.com/sgkandale/sharelock/internal/virtual"
	"github.com/sgkandale/sharelock/mesh/view"
)

// fixedRaft is a Raft whose term and index do not change.
type fixedRaft struct{}

func (fixedRaft) Leads() bool     { return false }
func (fixedRaft) Term() uint64    { return 7 }
func (fixedRaft) Applied() uint64 { return 42 }

// V1, V4: a process says what its vote is, and whether it may be counted on.
func TestVote(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		n, abstains := memnet.New(1), false
		a := start(t, n, "a", []byte("one"), nil)
		start(t, n, "b", []byte("one"), func(cfg *ServerConfig) {
			cfg.Raft, cfg.Double = fixedRaft{}, func() bool { return false }
			cfg.Abstains = func() bool { return abstains }
		})
		for _, abstains = range []bool{false, true} {
			got, err := a.Vote(t.Context(), "b")
			if want := (view.Vote{Term: 7, Applied: 42, Abstains: abstains}); err != nil || got != want {
				t.Errorf("the vote is %+v, %v, want %+v", got, err, want)
			}
		}
	})
}
