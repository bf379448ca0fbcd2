package gate

import (
	"context"
	"errors"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/audit"
	"github.com/sgkandale/sharelock/internal/auth"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// event returns the event of a visit, without its result.
func (v *visit) event() audit.Event {
	e := audit.Event{Door: v.from.door, Method: v.from.method, Verb: v.verb.String(), Key: v.key, Rule: v.rule}
	if v.from.remote != nil {
		e.Remote = v.from.remote.String()
	}
	if v.who != nil {
		e.Principal, e.Credential = v.who.Principal(), string(v.who.Kind())
	}
	return e
}

// refused records a call that is not allowed, or whose credentials are not valid.
func (v *visit) refused(ctx context.Context, err error) {
	v.rule = ""
	e := v.event()
	e.Reason = err.Error()
	v.audit.Deny(ctx, e)
}

// Done records a call that was allowed, before it is answered. It does nothing for a call that did
// not pass through a gate.
func Done(ctx context.Context, result any, err error) {
	if visitOf(ctx) == nil {
		return
	}
	var token sharelock.Token
	if r, ok := result.(interface{ GetHold() *pb.Hold }); ok && err == nil {
		token = sharelock.Token(r.GetHold().GetToken())
	}
	Finished(ctx, token, err)
}

// Finished is Done for a result that is not a message.
func Finished(ctx context.Context, token sharelock.Token, err error) {
	if v := visitOf(ctx); v != nil && v.rule != "" {
		v.finished(ctx, token, err)
	}
}

// finished records the result of a call that the rules allow. The owner of the key may still deny it,
// because the hold is another principal's.
func (v *visit) finished(ctx context.Context, token sharelock.Token, err error) {
	log := v.audit
	denied := errors.Is(err, sharelock.ErrPermissionDenied)
	always := denied || v.verb == auth.Force || v.verb == auth.Admin
	if !always && (v.verb != auth.Acquire || !log.Calls()) {
		return
	}
	e := v.event()
	e.Token = uint64(token)
	switch {
	case denied:
		e.Reason = err.Error()
		log.Deny(ctx, e)
		return
	case err != nil:
		e.Result, e.Reason = audit.Failed, err.Error()
	case v.verb == auth.Force:
		e.Result = audit.Forced
	default:
		e.Result = audit.Allowed
	}
	if always {
		log.Record(ctx, e)
	} else {
		log.Call(e)
	}
}
