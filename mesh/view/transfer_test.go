package view

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sgkandale/sharelock/internal/virtual"
)

// A voter that was asked to take over leadership, and did not, is not asked again for a while in
// the same leadership: a second transfer can block forever in the library.
func TestTransfersPause(t *testing.T) {
	virtual.Test(t, func(t *testing.T) {
		var ts transfers
		ask := func(term uint64, want error, voters ...raft.ServerID) {
			t.Helper()
			if err := ts.begin(term, voters...); !errors.Is(err, want) {
				t.Errorf("term %d, %v: %v, want %v", term, voters, err, want)
			}
		}
		ask(1, nil, "a")
		ask(1, errAskedInVain, "a")
		ask(1, errAskedInVain, "b", "a") // any of them
		ask(1, nil, "b")
		ts.answered("b")
		ask(1, nil, "b")
		time.Sleep(transferPause - 1)
		ask(1, errAskedInVain, "a")
		time.Sleep(time.Nanosecond)
		ask(1, nil, "a", "b")
		ask(2, nil, "a", "b") // another leadership has channels of its own
		ask(2, errAskedInVain, "b")
	})
}
