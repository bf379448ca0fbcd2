package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// MaxRenewals is the largest number of holds in one RenewMany, MaxRenewalBytes the largest number
// of bytes of their keys and principals.
const (
	MaxRenewals     = 512
	MaxRenewalBytes = 16 << 10
)

// A Renewal is one hold of a RenewMany.
type Renewal struct {
	Key   string
	Token sharelock.Token
	// TTL is how long the holder trusts the hold. A hold with a shorter TTL gets this one, and one with
	// a longer TTL gets it when less than that is left.
	TTL time.Duration
	// Principal is that of the session to which the hold is attached. It is empty if the session
	// may renew whatever anybody has.
	Principal string
}

// renewMany starts the TTLs of many holds afresh. Those that are grants are renewed, and the answer
// names the others; of holds of other principals it says so. A renewal that keeps the TTL changes nothing in the copies. So one op, which
// changes nothing either, is the place in the log of all such renewals: its acknowledgements prove
// that no newer epoch has begun (A3).
func (t turn) renewMany(from Ref, r *Request) {
	var lost, denied []uint32
	kept := -1
	t.m.touched += len(r.Renewals)
	for i, n := range r.Renewals {
		c := t.m.keys.get(n.Key).hold(n.Token)
		switch {
		case c == nil:
			t.m.handled += len(n.Key)
			lost = append(lost, uint32(i))
		case !t.m.keys.belongs(c, t.m.known(n.Principal)):
			t.m.handled += len(n.Key)
			denied = append(denied, uint32(i))
		case t.outlasts(c, n.TTL):
			t.m.handled += len(n.Key)
			kept = i
		case c.ttl() != n.TTL:
			t.commit(ops.Op{Kind: ops.Renew, Key: n.Key, Token: n.Token, TTL: n.TTL})
		default:
			t.m.handled += len(n.Key)
			t.m.arm(t.now, c)
			kept = i
		}
	}
	if kept >= 0 {
		t.commit(ops.Op{Kind: t.m.ReadKind(), Key: r.Renewals[kept].Key})
	}
	answer := Answer{Outcome: Done, Send: r.Send}
	if len(lost) > 0 || len(denied) > 0 {
		answer.Unrenewed = &Unrenewed{Lost: lost, Denied: denied}
	}
	t.reply(from, answer)
}

// checkRenewals is checkRequest for a RenewMany.
func checkRenewals(r *Request) error {
	if len(r.Renewals) == 0 || len(r.Renewals) > MaxRenewals {
		return sharelock.Invalid("renewals", "are none, or too many")
	}
	size := 0
	for _, n := range r.Renewals {
		size += len(n.Key) + len(n.Principal)
		if !ops.ValidPrincipal(n.Principal) {
			return sharelock.Invalid("principal", "is too long")
		}
		if !ops.ValidTTL(n.TTL) || n.TTL > r.TTL {
			return sharelock.Invalid("ttl", "is out of range")
		}
	}
	if size > MaxRenewalBytes {
		return sharelock.Invalid("renewals", "have keys and principals of too many bytes")
	}
	return nil
}
