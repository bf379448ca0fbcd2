package mesh

import (
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/owner"
	peerv1 "github.com/sgkandale/sharelock/proto/sharelock/peer/v1"
)

// Flags of a call between members.
const (
	flagOwnID = 1 << iota
	flagSentOnce
	flagDrop
)

// flagCurrent, in an answer's outcome, is the answer to a check.
const flagCurrent = 1 << 8

func callToProto(id uint64, epoch uint32, r *owner.Request) *peerv1.Call {
	c := &peerv1.Call{
		Id: id, Epoch: epoch, Kind: uint32(r.Kind), Key: r.Key, Token: uint64(r.Token),
		ClientId: r.ClientID, RequestId: r.RequestID, TtlNs: int64(r.TTL), WaitNs: int64(r.Wait),
		Mode: uint32(r.Mode), Slots: r.Slots, Send: r.Send, Metadata: r.Metadata, Reason: r.Reason,
	}
	if r.OwnID {
		c.Flags |= flagOwnID
	}
	if r.SentOnce {
		c.Flags |= flagSentOnce
	}
	if r.Drop {
		c.Flags |= flagDrop
	}
	return c
}

func callFromProto(c *peerv1.Call) *owner.Request {
	return &owner.Request{
		Kind: owner.Kind(c.GetKind()), Key: c.GetKey(), Token: sharelock.Token(c.GetToken()),
		ClientID: c.GetClientId(), RequestID: c.GetRequestId(), TTL: ns(c.GetTtlNs()), Wait: ns(c.GetWaitNs()),
		Mode: sharelock.Mode(c.GetMode()), Slots: c.GetSlots(), Send: c.GetSend(), Metadata: c.GetMetadata(),
		Reason: c.GetReason(),
		OwnID:  c.GetFlags()&flagOwnID != 0, SentOnce: c.GetFlags()&flagSentOnce != 0, Drop: c.GetFlags()&flagDrop != 0,
	}
}

// errorNumbers are the errors that owners answer with. The position is on the
// wire, from 1: append only.
var errorNumbers = []error{
	sharelock.ErrInternal,
	sharelock.ErrInvalidArgument,
	sharelock.ErrLockHeld,
	sharelock.ErrNotHeld,
	sharelock.ErrStaleToken,
	sharelock.ErrModeConflict,
	sharelock.ErrRequestOver,
	sharelock.ErrTooManyWaiters,
	sharelock.ErrQuota,
	sharelock.ErrNoQuorum,
	sharelock.ErrNotReady,
	sharelock.ErrQuarantined,
}

func answerToProto(id uint64, epoch uint32, a *owner.Answer) *peerv1.Answer {
	p := &peerv1.Answer{Id: id, Send: a.Send, Outcome: uint32(a.Outcome), Epoch: epoch, Holds: holdsToProto(a.Holds), Lock: lockToProto(a.Lock)}
	if a.Current {
		p.Outcome |= flagCurrent
	}
	if a.Err == nil {
		return p
	}
	p.Error = 1
	for i, e := range errorNumbers {
		if errors.Is(a.Err, e) {
			p.Error = uint32(i + 1)
		}
	}
	p.Message = a.Err.Error()
	var detail *sharelock.Error
	if errors.As(a.Err, &detail) {
		p.Message, p.Queue, p.RetryAfterNs = detail.Message, uint32(detail.Queue), int64(detail.RetryAfter)
		p.Holds, p.Field = holdsToProto(detail.Holds), detail.Field
	}
	return p
}

// answerFromProto reads an answer of the member with this name.
func answerFromProto(p *peerv1.Answer, from string) owner.Answer {
	a := owner.Answer{
		Outcome: owner.Outcome(p.GetOutcome() &^ flagCurrent), Send: p.GetSend(),
		Current: p.GetOutcome()&flagCurrent != 0, Lock: lockFromProto(p.GetLock()),
	}
	holds := holdsFromProto(p.GetHolds(), from)
	if p.GetError() == 0 && a.Outcome != owner.Failed {
		a.Holds = holds
		return a
	}
	sentinel := sharelock.ErrInternal
	if n := int(p.GetError()); n > 0 && n <= len(errorNumbers) {
		sentinel = errorNumbers[n-1]
	}
	a.Err = &sharelock.Error{
		Err: sentinel, Message: p.GetMessage(), Field: p.GetField(), Holds: holds,
		Queue: int(p.GetQueue()), RetryAfter: ns(p.GetRetryAfterNs()),
	}
	return a
}
