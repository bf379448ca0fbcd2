package machine

import (
	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A Fact is what an op has meant for its key, for those who watch the key.
type Fact struct {
	// Kind is ops.Grant, ops.Enqueue, ops.Release or ops.Dequeue, and Why is why the hold or the
	// wait has ended.
	Kind ops.Kind
	Why  ops.Why
	Mode sharelock.Mode
	// Seq is the sequence number of the op.
	Seq                      uint64
	Key, ClientID, Principal string
	// Token is that of the hold; 0 for a waiter.
	Token sharelock.Token
	// Waiters is the length of the queue after the op.
	Waiters int
}

// Observe sets whether the machine adds facts to what it decides.
func (m *Machine) Observe(on bool) { m.observed = on }

// Observed reports whether the machine adds facts to what it decides.
func (m *Machine) Observed() bool { return m.observed }

// factOf returns what an op means that is about to be applied; Seq and Waiters are not known yet.
// It returns false for ops that change nothing that can be watched.
func (m *Machine) factOf(op *ops.Op) (Fact, bool) {
	f := Fact{Kind: op.Kind, Why: op.Why, Mode: op.Mode, Key: op.Key, ClientID: op.ClientID, Principal: op.Principal, Token: op.Token}
	var c *claim
	switch k := m.keys.get(op.Key); {
	case op.Kind == ops.Enqueue, op.Kind == ops.Grant && !op.Waited:
		return f, true
	case op.Kind == ops.Release:
		c = k.hold(op.Token)
	case op.Kind == ops.Grant, op.Kind == ops.Dequeue:
		c = k.find(op.Principal, op.RequestID)
	}
	if c == nil {
		return Fact{}, false
	}
	_, f.ClientID, _ = m.keys.ids(c)
	f.Mode, f.Principal = c.mode(), m.keys.principalOf(c)
	return f, true
}
