package cluster

import (
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/linear"
)

// mostLinear is the longest history that is checked for Linearizable when a test
// ends: beyond it, the search takes longer than most tests. Linear gives the calls
// to whoever wants more.
const mostLinear = 50_000

// Linear gives the calls as package linear takes them.
func (h *History) Linear() []linear.Call {
	calls := h.Calls()
	granted := map[[2]string]sharelock.Token{}
	for _, c := range calls {
		if c.Op == Acquire && c.OK() {
			granted[[2]string{c.Key, c.RequestID}] = c.Token
		}
	}
	list := make([]linear.Call, 0, len(calls))
	for _, c := range calls {
		if c.Op == GiveUp {
			// A release, if there was a grant that somebody was told of. Whether there was one
			// left to release is not answered.
			if c.Token = granted[[2]string{c.Key, c.RequestID}]; c.Token == 0 {
				continue
			}
			c.Op, c.Err, c.End = Release, errUnknown, time.Time{}
		}
		list = append(list, c.linear())
	}
	return list
}

// errUnknown is the outcome of a release of which nothing is known.
var errUnknown = errors.New("the outcome is unknown")

func (c Call) linear() linear.Call {
	l := linear.Call{
		Key: c.Key, Client: c.Client, Op: linear.Op(c.Op), RequestID: c.RequestID, Mode: c.Mode, Slots: c.Slots,
		Start: c.Start, End: c.End, Token: c.Token, SafeUntil: c.SafeUntil, Current: c.Current,
		Holds: shown(c.Holds), Some: c.HoldCount > len(c.Holds),
	}
	if c.Op == Expire {
		l.Op = linear.Force // to the model it is all one who ends a hold
	}
	switch {
	case c.OK():
		l.Outcome = linear.OK
	case c.Op == Acquire && errors.Is(c.Err, sharelock.ErrLockHeld):
		l.Outcome = linear.Refused
		if refusal, ok := errors.AsType[*sharelock.Error](c.Err); ok {
			l.Holds = shown(refusal.Holds)
		}
	case c.Op == Acquire || c.Op == Check:
		// Whatever else is answered, an earlier send of it may have been granted.
	case errors.Is(c.Err, sharelock.ErrNotHeld) || errors.Is(c.Err, sharelock.ErrStaleToken):
		l.Outcome = linear.Refused
	}
	return l
}

func shown(holds []sharelock.Hold) []linear.Hold {
	var list []linear.Hold
	for _, h := range holds {
		list = append(list, linear.Hold{Token: h.Token, RequestID: h.RequestID, Client: h.ClientID})
	}
	return list
}

func (c *Cluster) checkLinearizable() error {
	if !c.opts.checks(Linearizable) {
		return nil
	}
	calls := c.history.Linear()
	if len(calls) == 0 || len(calls) > mostLinear {
		return nil
	}
	err := linear.Check(calls, c.troubled(calls[0].Start))
	if err != nil && !errors.Is(err, linear.ErrUndecided) { // that is no proof of anything
		return &ViolationError{Linearizable, err.Error()}
	}
	return nil
}

// troubled is from when on a node may have lost state or been removed from the view:
// since something was done to a node. In real time a machine that is too busy does
// the same without being asked.
func (c *Cluster) troubled(first time.Time) time.Time {
	if c.net == nil {
		return first
	}
	for _, e := range c.history.Events() {
		if e.Kind != Started || e.At.After(first) {
			return e.At
		}
	}
	return time.Time{}
}
