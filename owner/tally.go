package owner

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/owner/machine"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A WaitResult says how the wait of an acquire ended.
type WaitResult int

const (
	// WaitGranted: it got the lock, at once or after a wait.
	WaitGranted WaitResult = iota
	// WaitHeld: the lock was held until the wait was over.
	WaitHeld
	// WaitCancelled: its caller gave up or was silent.
	WaitCancelled
	// WaitError: it was refused for another reason.
	WaitError

	waitResults = iota
)

// An End says what ended a hold.
type End int

// The values of End.
const (
	EndReleased End = iota
	EndExpired
	EndForced
	// EndCancelled: the caller gave up an acquire that had been granted.
	EndCancelled

	endings = iota
)

// endOf returns the End of a hold that ended for this reason.
func endOf(why ops.Why) End {
	switch why {
	case ops.Expired:
		return EndExpired
	case ops.Forced:
		return EndForced
	case ops.Cancelled:
		return EndCancelled
	default:
		return EndReleased
	}
}

// Totals are what a member has counted as an owner since it started.
type Totals struct {
	// Wait has how long acquires waited in the queue of the owner, by their mode, exclusive or
	// shared, and by how the wait ended. An acquire that is answered at once has waited for 0.
	Wait [2][waitResults]metrics.Histogram
	// Hold has how long holds lasted. It counts from when this member learned of the grant.
	Hold [endings]metrics.Histogram
	// Handover has, for grants to waiters, the time from the end of the hold before to when the
	// answer left, with the operations at all backups.
	Handover metrics.Histogram
	// Replication has how long operations took from the decision to the last acknowledgement. Of
	// each partition one operation at a time is measured.
	Replication metrics.Histogram
	// Activation has how long it took until all partitions of this member were active in a view.
	Activation metrics.Histogram
}

// Grants returns the number of grants.
func (t *Totals) Grants() (n uint64) {
	for mode := range t.Wait {
		n += t.Wait[mode][WaitGranted].Count()
	}
	return n
}

// Ends returns the number of holds that have ended.
func (t *Totals) Ends() (n uint64) {
	for end := range t.Hold {
		n += t.Hold[end].Count()
	}
	return n
}

func (t *Totals) add(o *Totals) {
	for mode := range t.Wait {
		for result := range t.Wait[mode] {
			t.Wait[mode][result].Add(&o.Wait[mode][result])
		}
	}
	for end := range t.Hold {
		t.Hold[end].Add(&o.Hold[end])
	}
	t.Handover.Add(&o.Handover)
	t.Replication.Add(&o.Replication)
	t.Activation.Add(&o.Activation)
}

// decided counts what a machine has decided.
func (t *Totals) decided(list []ops.Op, m *machine.Machine) {
	for i := range list {
		switch op := &list[i]; op.Kind {
		case ops.Grant:
			mode := op.Mode
			if op.Waited {
				mode = op.ClaimMode
			}
			t.wait(mode, WaitGranted, op.Lasted)
		case ops.Release:
			t.Hold[endOf(op.Why)].Observe(op.Lasted)
		case ops.Dequeue:
			result := WaitCancelled
			switch {
			case op.Why == ops.WaitOver && m.InQuarantine():
				result = WaitError
			case op.Why == ops.WaitOver:
				result = WaitHeld
			}
			t.wait(op.ClaimMode, result, op.Lasted)
		}
	}
}

// refused counts an acquire that was refused at once, so that no operation tells of it.
func (t *Totals) refused(it *item, out *machine.Out) {
	for i := range out.Replies {
		r := &out.Replies[i]
		if r.Outcome != Failed || r.Ref != it.ref || hasWaited(it.req.RequestID, out.Ops) {
			continue
		}
		result := WaitError
		if errors.Is(r.Err, sharelock.ErrLockHeld) {
			result = WaitHeld
		}
		t.wait(it.req.Mode, result, 0)
	}
}

// hasWaited reports whether a request has just left the queue, so that it is counted with the others
// that wait.
func hasWaited(id string, list []ops.Op) bool {
	return slices.ContainsFunc(list, func(op ops.Op) bool { return op.Kind == ops.Dequeue && op.RequestID == id })
}

func (t *Totals) wait(mode sharelock.Mode, result WaitResult, d time.Duration) {
	i := 0
	if mode == sharelock.Shared {
		i = 1
	}
	t.Wait[i][result].Observe(d)
}

// activated counts an activation of all partitions.
func (s *Service) activated(took time.Duration) {
	s.activationsMu.Lock()
	defer s.activationsMu.Unlock()
	s.activations.Observe(took)
}

// Totals asks every shard. It is not for a hot path.
func (s *Service) Totals() *Totals {
	var all Totals
	var mu sync.Mutex
	s.everyShard(func(sh *shard) {
		mu.Lock()
		defer mu.Unlock()
		all.add(&sh.totals)
	})
	s.activationsMu.Lock()
	defer s.activationsMu.Unlock()
	all.Activation.Add(&s.activations)
	return &all
}
