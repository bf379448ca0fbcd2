package gate

import (
	"context"

	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// allowed returns a function that reports why the caller, with its present rights, may not have a key, or
// nil. The function also reports whether the caller may have any hold of the key.
func (g *Guard) allowed() func(key string) (anyHold bool, err error) {
	who, refused := g.caller()
	return func(key string) (anyHold bool, err error) {
		if refused != nil {
			return false, refused
		}
		_, err = who.Check(auth.Acquire, key)
		return who.May(auth.Force, key), err
	}
}

// CheckCalls sets Err of each call that is not allowed, and AnyHold of the others.
func (g *Guard) CheckCalls(calls []sessionwire.Call) {
	who, err := g.caller()
	log := g.gate.audit
	for i := range calls {
		c := &calls[i]
		if err != nil {
			c.Err = err
			continue
		}
		rule, denied := who.Check(auth.Acquire, c.Key)
		if denied == nil && c.Kind == sessionwire.CallAcquire {
			denied = g.placed(who)
		}
		if denied == nil && c.Kind == sessionwire.CallAcquire {
			denied = g.gate.quotas.Call(who.Principal(), who.Limits().MaxCallsPerSecond)
		}
		switch {
		case denied != nil:
			v := g.visit(who)
			v.verb, v.key, v.from.method = auth.Acquire, c.Key, methodOf(c.Kind)
			v.refused(context.Background(), denied)
			c.Err = denied
		case c.Err == nil:
			c.AnyHold = who.May(auth.Force, c.Key)
			if log.Calls() {
				g.follow(who, c, rule)
			}
		}
	}
}

// CheckHold sets Err of a hold that may not be attached, and AnyHold of the others.
func (g *Guard) CheckHold(k *sessionwire.Keep) {
	who, err := g.caller()
	if err == nil {
		_, err = who.Check(auth.Acquire, k.Key)
	}
	if err != nil {
		v := g.visit(who)
		v.verb, v.key, v.from.method = auth.Acquire, k.Key, "attach"
		v.refused(context.Background(), err)
		k.Err = err
		return
	}
	k.AnyHold = who.May(auth.Force, k.Key)
}

// MayReadRing reports whether the caller may know the owners of all partitions.
func (g *Guard) MayReadRing() bool {
	who, err := g.caller()
	if err == nil {
		_, err = who.CheckAny(auth.Read)
	}
	return err == nil
}

// visit returns a visit for the audit log.
func (g *Guard) visit(who *auth.Identity) *visit {
	return &visit{gate: g.gate, audit: g.gate.audit, who: who, from: entrance{door: DoorSession, method: pb.LockService_Session_FullMethodName, remote: g.remote}}
}

// follow registers a call whose end the audit log records.
func (g *Guard) follow(who *auth.Identity, c *sessionwire.Call, rule string) {
	v := g.visit(who)
	v.verb, v.key, v.rule, v.from.method = auth.Acquire, c.Key, rule, methodOf(c.Kind)
	g.trail.begin(c.ID, v)
}

// methodOf returns the name of the unary call that corresponds to a call of a session.
func methodOf(kind sessionwire.CallKind) string {
	switch kind {
	case sessionwire.CallAcquire:
		return pb.LockService_Acquire_FullMethodName
	case sessionwire.CallRenew:
		return pb.LockService_Renew_FullMethodName
	case sessionwire.CallRelease:
		return pb.LockService_Release_FullMethodName
	case sessionwire.CallGiveUp:
		return pb.LockService_GiveUp_FullMethodName
	default:
		return pb.LockService_Session_FullMethodName
	}
}
