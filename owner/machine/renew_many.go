package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/mutant"
	"github.com/sgkandale/sharelock/owner/ops"
)

// MaxRenewals is the most holds in one request to renew many, MaxRenewalBytes the most bytes
// of their keys.
const (
	MaxRenewals     = 512
	MaxRenewalBytes = 16 << 10
)

// Renewal is one hold of a request to renew many.
type Renewal struct {
	Key   string
	Token sharelock.Token
	// TTL is how long the holder trusts the hold; a hold with a shorter one gets it.
	TTL time.Duration
}

// renewMany starts the TTLs of many holds afresh, each by itself: those that are
// grants are renewed, the others are named. A TTL that stays changes nothing in the
// copies, so one op, which changes nothing either, is the place in the log of all
// those renewals: its acknowledgements prove that no newer epoch has begun (A3).
func (t turn) renewMany(from Ref, r *Request) {
	var lost []uint32
	kept := -1
	t.m.touched += len(r.Renewals)
	for i, n := range r.Renewals {
		c := t.m.keys.get(n.Key).hold(n.Token)
		switch {
		case c == nil:
			t.m.handled += len(n.Key)
			lost = append(lost, uint32(i))
		case c.ttl() < n.TTL:
			t.commit(ops.Op{Kind: ops.Renew, Key: n.Key, Token: n.Token, TTL: n.TTL})
		default:
			t.m.handled += len(n.Key)
			t.m.arm(t.now, c)
			kept = i
		}
	}
	if kept >= 0 && !mutant.On(mutant.RenewWithoutLog) {
		t.commit(ops.Op{Kind: t.m.ReadKind(), Key: r.Renewals[kept].Key})
	}
	t.reply(from, Answer{Outcome: Done, Send: r.Send, Lost: lost})
}

// checkRenewals is checkRequest of a request to renew many.
func checkRenewals(r *Request) error {
	if len(r.Renewals) == 0 || len(r.Renewals) > MaxRenewals {
		return sharelock.Invalid("renewals", "are none, or too many")
	}
	size := 0
	for _, n := range r.Renewals {
		size += len(n.Key)
		if !ops.ValidTTL(n.TTL) || n.TTL > r.TTL {
			return sharelock.Invalid("ttl", "is out of range")
		}
	}
	if size > MaxRenewalBytes {
		return sharelock.Invalid("renewals", "have keys of too many bytes")
	}
	return nil
}
