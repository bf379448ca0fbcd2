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

// transferPause is how long a voter that was asked to take over leadership, and did not, is not
// asked again within one leadership.
//
// The library (1.8.0) asks the goroutine that replicates to the voter to catch up, through a
// channel of capacity 1, and waits for an answer for at most an election timeout. If that goroutine
// is in a call that gets no answer, the request stays in the channel. A second transfer then
// blocks. If leadership ends meanwhile, it blocks forever, and the process refuses every change
// with [raft.ErrLeadershipTransferInProgress] when it leads again. transferPause is a few times
// longer than the longest call and the library's pause after it (some 10 s).
const transferPause = time.Minute

// errAskedInVain is returned for a voter within transferPause.
var errAskedInVain = errors.New("it did not take over when asked during this leadership")

// transfers remembers which voters were asked to take over leadership and did not. The zero value
// is ready. It is safe for concurrent use.
type transfers struct {
	mu    sync.Mutex
	term  uint64                      // guarded by mu, like the rest
	asked map[raft.ServerID]time.Time // in term: when each was asked last
}

// begin records that voters are asked in a term. It returns an error if one of them was asked
// within transferPause.
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
		// The library does not say which voter it chooses.
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

// callFailed is the prefix of the library's error for a transfer that got as far as the call that
// makes the voter a candidate: then nothing is left in the channel. The library has no sentinel
// error for this. If its text changes, the voter is asked again only after transferPause.
const callFailed = "failed to make TimeoutNow RPC"
