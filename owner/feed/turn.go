package feed

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock/internal/pace"
)

const (
	// readBurst is how long prefixes are read without a rest after a time without reads. It is
	// enough to read all partitions for one watch.
	readBurst = 20 * time.Millisecond
	// readPiece is how much is read between two rests.
	readPiece = time.Millisecond
)

// A Turn makes the reads of prefixes visit the partitions of a member one at a time, and rest for
// as long as the visits took. All watches of prefixes read everything again in a new view; without
// turns, many such watches would leave the shards little time for calls.
type Turn struct {
	clock func() time.Duration
	// free has a value while no visit is in progress. The visit that has taken the value owns pace
	// and cost.
	free chan struct{}
	pace pace.Pace
	// cost is how long visits have taken since the last rest.
	cost time.Duration
}

// NewTurn returns the turn of a member with this clock.
func NewTurn(clock func() time.Duration) *Turn {
	t := &Turn{clock: clock, free: make(chan struct{}, 1), pace: pace.Pace{Credit: readBurst}}
	t.free <- struct{}{}
	return t
}

// Visit waits for its turn, calls fn, and rests if that is due. It returns false if ctx has ended
// before fn was called.
func (t *Turn) Visit(ctx context.Context, fn func()) bool {
	select {
	case <-t.free:
	case <-ctx.Done():
		return false
	}
	defer func() { t.free <- struct{}{} }()
	began := t.clock()
	fn()
	if t.cost += t.clock() - began; t.cost < readPiece {
		return true
	}
	// Twice the cost is spent: the visits have taken the cost already, and the rest takes as much
	// again.
	rest := time.NewTimer(t.pace.Spend(time.Now(), 2*t.cost))
	defer rest.Stop()
	t.cost = 0
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
	return true
}
