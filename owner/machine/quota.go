package machine

import "errors"

// A Quota counts what principals have at a member, in all its active partitions, and bounds it. An
// active machine calls it for each claim that has a principal.
type Quota interface {
	// Admit counts one more claim, which waits or holds, and returns nil; or it returns why there may
	// not be one. Its error may be ErrUncounted.
	Admit(principal string, waits bool) error
	// Granted counts a waiter as a hold.
	Granted(principal string)
	// Ended takes off a claim that has ended.
	Ended(principal string, waited bool)
}

// ErrUncounted of a Quota means that it is not known yet whether the principal may have one more claim.
// The request is answered Retry.
var ErrUncounted = errors.New("the claims of the principal are being counted")

// SetQuota sets what bounds the claims of principals while the machine is active. Nil, as in a new
// machine, bounds nothing.
func (m *Machine) SetQuota(q Quota) { m.quota = q }

// admit reports whether the principal of an acquire may have one more claim, which is counted then.
// Otherwise the request is answered.
func (t turn) admit(from Ref, r *Request, waits bool) bool {
	principal := t.m.principalOf(r)
	if principal == "" || t.m.quota == nil {
		return true
	}
	err := t.m.quota.Admit(principal, waits)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrUncounted):
		t.reply(from, Answer{Outcome: Retry, Send: r.Send})
	default:
		t.fail(from, r.Send, err)
	}
	return false
}

// counted returns the quota that must be told of a change of a claim, or nil.
func (m *Machine) counted(c *claim) Quota {
	if !m.active || !c.is(hasPrincipal) {
		return nil
	}
	return m.quota
}
