package view

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transferPause is for how long a voter is not asked again to take leadership over, within one
// leadership, after it was asked in vain.
//
// The library (1.8.0) asks the goroutine that replicates to the voter to catch up, through a
// channel with room for one, and does not wait for an answer for longer than an election
// timeout. If that goroutine is in a call that gets no answer, the question stays in the channel.
// A second transfer then blocks; if leadership ends meanwhile, it blocks for ever, and the process
// refuses every change with [raft.ErrLeadershipTransferInProgress] when it leads again. The pause
// is a few times longer than the longest call and the pause after it (some 10 s).
const transferPause = time.Minute

// errAskedInVain is why leadership is not transferred to a voter.
var errAskedInVain = errors.New("it did not take over when asked during this leadership")

// transfers remembers which voters were asked in vain to take leadership over. The zero value is
// ready. It is safe for concurrent use.
type transfers struct {
	mu    sync.Mutex
	term  uint64                      // guarded by mu, like the rest
	asked map[raft.ServerID]time.Time // in term: when each was asked last
}

// begin notes that voters are asked in a term, or returns an error if one of them was lately.
func (ts *transfers) begin(term uint64, voters ...raft.ServerID) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if term != ts.term || ts.asked == nil {
		ts.term, ts.asked = term, map[raft.ServerID]time.Time{}
	}
	now := time.Now()
	for _, id := range voters {
		if at, ok := ts.asked[id]; ok && now.Sub(at) < transferPause {
			return fmt.Errorf("%s: %w", id, errAskedInVain)
		}
	}
	for _, id := range voters {
		ts.asked[id] = now
	}
	return nil
}

// answered forgets that voters were asked.
func (ts *transfers) answered(voters ...raft.ServerID) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, id := range voters {
		delete(ts.asked, id)
	}
}

// transfer hands leadership to a voter, or to any other voter if id is empty, and waits until it
// has changed.
func (a *Raft) transfer(ctx context.Context, lib *raft.Raft, id raft.ServerID) error {
	start := func() raft.Future { return lib.LeadershipTransferToServer(id, raft.ServerAddress(id)) }
	voters := []raft.ServerID{id}
	if id == "" {
		// The library does not tell which one it chooses.
		start, voters = func() raft.Future { return lib.LeadershipTransfer() }, nil
		for _, s := range a.latest() {
			if s.Suffrage == raft.Voter && s.ID != a.self {
				voters = append(voters, s.ID)
			}
		}
	}
	if err := a.transfers.begin(lib.CurrentTerm(), voters...); err != nil {
		return err
	}
	_, err := await(ctx, start)
	if err != nil && strings.HasPrefix(err.Error(), callFailed) {
		a.transfers.answered(voters...)
	}
	return err
}

// callFailed begins the library's error of a transfer that came as far as the call that makes the
// voter a candidate: nothing is left in the channel. The library has no sentinel for it. Were the
// text another, the voter would be asked again a minute later.
const callFailed = "failed to make TimeoutNow RPC"
