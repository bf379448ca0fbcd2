package cluster

import (
	"errors"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/linear"
)

// mostLinear is the length of the longest history that is checked for Linearizable at the end
// of a test. For longer ones the search takes longer than most tests. A test that wants more
// can use Linear.
const mostLinear = 50_000

// Linear returns the calls in the form that package linear checks.
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
			// Giving up releases the grant, if the client learned of one. The answer does not say
			// whether there was still a hold to release.
			if c.Token = granted[[2]string{c.Key, c.RequestID}]; c.Token == 0 {
				continue
			}
			c.Op, c.Err, c.End = Release, errUnknown, time.Time{}
		}
		list = append(list, c.linear())
	}
	return list
}

// errUnknown marks a release whose outcome is unknown.
var errUnknown = errors.New("the outcome is unknown")

func (c Call) linear() linear.Call {
	l := linear.Call{
		Key: c.Key, Client: c.Client, Op: linear.Op(c.Op), RequestID: c.RequestID, Mode: c.Mode, Slots: c.Slots,
		Start: c.Start, End: c.End, Token: c.Token, SafeUntil: c.SafeUntil, Current: c.Current,
		Holds: shown(c.Holds), Some: c.HoldCount > len(c.Holds),
	}
	if c.Op == Expire {
		l.Op = linear.Force // the model does not distinguish who ends a hold
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
		// Any other answer leaves open whether an earlier send of the request was granted.
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
	if err != nil && !errors.Is(err, linear.ErrUndecided) { // an undecided search proves nothing
		return &ViolationError{Linearizable, err.Error()}
	}
	return nil
}

// troubled returns from when on a node may have lost state or been removed from the view:
// since the first fault, or since the first call in real time, because there an overloaded
// machine has the same effect.
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
