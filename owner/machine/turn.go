package machine

import (
	"fmt"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner/ops"
)

// A turn is one Step or Tick under way.
type turn struct {
	m   *Machine
	now time.Duration
	out *Out
	// entries and size are what the machine had touched at the beginning of the turn.
	entries, size int
}

// turn begins a turn.
func (m *Machine) turn(now time.Duration, out *Out) turn {
	return turn{m: m, now: now, out: out, entries: m.touched, size: m.handled}
}

// within reports whether the turn has touched fewer entries and bytes than that.
func (t turn) within(entries, size int) bool {
	return t.m.touched-t.entries < entries && t.m.handled-t.size < size
}

// tidy frees memory at the end of a turn, if the turn has not touched too much.
func (t turn) tidy() {
	if t.within(StepEntries-TidyEntries-serveMost, StepBytes-2*tidyBytes) {
		t.m.Tidy()
	}
}

// commit applies a decision and adds it to the log. It returns the claim that the op is about,
// unless the op ends it.
func (t turn) commit(op ops.Op) *claim {
	t.out.Ops = append(t.out.Ops, op)
	t.m.handled += op.Size()
	var fact Fact
	told := false
	if t.m.observed {
		fact, told = t.m.factOf(&op)
	}
	c, err := t.m.apply(t.now, &t.out.Ops[len(t.out.Ops)-1])
	if err != nil {
		// The decision was made about the very state to which the op is applied.
		panic(fmt.Sprintf("owner: a decision does not fit its own state: %v", err))
	}
	if told {
		fact.Seq, fact.Waiters = t.m.seq, t.m.keys.get(op.Key).waiters()
		t.out.Facts = append(t.out.Facts, fact)
	}
	return c
}

func (t turn) reply(to Ref, a Answer) {
	t.out.Replies = append(t.out.Replies, Reply{Ref: to, Answer: a, Seq: t.m.seq})
}

func (t turn) done(to Ref, send uint32, holds ...sharelock.Hold) {
	t.reply(to, Answer{Outcome: Done, Send: send, Holds: holds})
}

func (t turn) fail(to Ref, send uint32, err error) {
	t.reply(to, Answer{Outcome: Failed, Send: send, Err: err})
}

// lost returns the error for a token that is not a grant.
func lost(k keyEntry) error {
	if k.held() == 0 {
		return &sharelock.Error{Err: sharelock.ErrNotHeld}
	}
	return &sharelock.Error{Err: sharelock.ErrStaleToken}
}

// quarantined returns the error for requests whose answer depends on the state that was lost.
func (t turn) quarantined() error {
	return &sharelock.Error{
		Err:        sharelock.ErrQuarantined,
		Message:    "the key's earlier state was lost",
		RetryAfter: t.m.Quarantined(t.now),
	}
}

// refusal returns the error for a request that may not wait, or not any longer.
func (t turn) refusal(k keyEntry) error {
	if t.m.quarantine != 0 {
		return t.quarantined()
	}
	return &sharelock.Error{Err: sharelock.ErrLockHeld, Holds: t.m.holders(t.now, k), Queue: k.waiters()}
}

// checkRequest returns an error if a request is invalid. The node that took the request has checked
// it already; this check keeps a broken member from damaging a copy.
func checkRequest(r *Request) error {
	switch {
	case r.Kind < Acquire || r.Kind > RenewMany || r.Kind == retired:
		return sharelock.Invalid("kind", fmt.Sprintf("%d is unknown", r.Kind))
	case !ops.ValidKey(r.Key):
		return sharelock.Invalid("key", "is empty or too long")
	case !ops.ValidPrincipal(r.Principal):
		return sharelock.Invalid("principal", "is too long")
	}
	switch r.Kind {
	case Acquire:
		return checkAcquire(r)
	case Force:
		if r.Token == 0 {
			return sharelock.Invalid("token", "is missing")
		}
		if len(r.ClientID) > ops.MaxBy {
			return sharelock.Invalid("client_id", "is too long")
		}
	case Renew:
		if r.TTL != 0 && !ops.ValidTTL(r.TTL) {
			return sharelock.Invalid("ttl", "is out of range")
		}
		if !ops.ValidMetadata(r.Metadata) {
			return sharelock.Invalid("metadata", "is too large")
		}
	case Cancel, Detach:
		if !ops.ValidRequestID(r.RequestID) {
			return sharelock.Invalid("request_id", "is empty or too long")
		}
	case RenewMany:
		return checkRenewals(r)
	}
	return nil
}

func checkAcquire(r *Request) error {
	switch {
	case !ops.ValidClient(r.ClientID):
		return sharelock.Invalid("client_id", "is empty or too long")
	case !ops.ValidRequestID(r.RequestID):
		return sharelock.Invalid("request_id", "is empty or too long")
	case !ops.ValidTTL(r.TTL):
		return sharelock.Invalid("ttl", "is out of range")
	case !ops.ValidFamily(r.Mode, r.Slots):
		return sharelock.Invalid("slots", "do not fit the mode")
	case !ops.ValidMetadata(r.Metadata):
		return sharelock.Invalid("metadata", "is too large")
	case !ops.ValidMaxHold(r.MaxHold):
		return sharelock.Invalid("max_hold", "is out of range")
	}
	return nil
}
