package api

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// strangerTime is how long a session may go on without good credentials if callers without any may
// do nothing. Its client can send other credentials meanwhile.
const strangerTime = 10 * time.Second

// guard is a session in the gate: who is at the other end, by its newest credentials. A session is
// authenticated by its first message, again by each message with a token, and again when the rules
// change. While its credentials are refused its calls are answered with the reason.
type guard struct {
	gate    *gate
	session *session
	remote  net.Addr
	// cred are the credentials of the connection, or of the gRPC call. Only the reader uses it.
	cred auth.Credentials
	// heard is set once the first message was authenticated. Only the reader uses it.
	heard bool

	mu sync.Mutex // guards what follows
	// who is the caller; nil while its credentials are refused, and refusal is the reason.
	who     *auth.Identity
	refusal error
	// since is when the session began to be a stranger's; zero while it is not.
	since time.Time
	// principal is that of the session's first good credentials; all later ones must be of it.
	principal string
	// release frees the session's place among the connections of the principal. It is nil without
	// a place, and then crowded is the reason. ended is set when the session is over, and takes none.
	release func()
	crowded error
	ended   bool
	// trail are the calls in flight that the audit log wants to know the end of.
	trail trail
}

// errNotYet refuses what comes before the first message. Nothing does.
var errNotYet = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has not sent a message yet"}

// guard returns the guard of a session that is about to begin; nil without a gate.
func (g *gate) guard(s *session, c auth.Credentials, remote net.Addr) *guard {
	if g == nil {
		return nil
	}
	return &guard{gate: g, session: s, remote: remote, cred: c, refusal: errNotYet, since: time.Now()}
}

// hear takes the credentials of a message, which apply to everything in it.
func (g *guard) hear(ctx context.Context, message []byte) error {
	token, err := sessionwire.ReadToken(message)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if g.heard && len(token) == 0 {
		return nil
	}
	g.heard = true
	c := g.cred
	if len(token) > 0 {
		c.Bearer = string(token)
	}
	who, err := g.gate.auth.Authenticate(ctx, c)
	if err != nil {
		v := g.visit(nil)
		v.refused(ctx, err)
		if g.stands() {
			return nil
		}
	}
	g.settle(nil, who, err)
	return nil
}

// stands reports whether the credentials that the session has are still good. A newer token that is
// refused then takes nothing away: this node may not have read yet of a token that was replaced, or
// may not reach its issuer.
func (g *guard) stands() bool {
	who, err := g.caller()
	if err != nil {
		return false
	}
	_, err = g.gate.auth.Refresh(who)
	return err == nil
}

// settle takes the result of an authentication, opens the session if it is the first good one, and
// takes back what the caller may not have any more. If was is not nil, the result replaces that
// identity only: a message may have brought newer credentials meanwhile.
func (g *guard) settle(was, who *auth.Identity, err error) {
	g.mu.Lock()
	if was != nil && g.who != was {
		g.mu.Unlock()
		return
	}
	first := err == nil && g.principal == ""
	switch {
	case first && g.ended:
		first, err = false, errNotYet
	case first:
		g.principal = who.Principal()
		g.crowded = g.connect(who)
	case err == nil && who.Principal() != g.principal:
		err = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: fmt.Sprintf(
			"the session is of %q, and the credential of %q: open another session", g.principal, who.Principal())}
	}
	g.who, g.refusal = who, err
	switch {
	case err != nil:
		g.who = nil
		if g.since.IsZero() {
			g.since = time.Now()
		}
	case !who.Nobody():
		g.since = time.Time{}
	}
	principal := g.principal
	g.mu.Unlock()
	if first {
		g.session.begin(principal)
		return
	}
	if calls := g.session.backend(); calls != nil {
		calls.Revoke(g.allowed())
	}
}

// connect takes a place among the connections of the principal. It needs mu.
func (g *guard) connect(who *auth.Identity) (err error) {
	g.release, err = g.gate.quotas.Connect(who.Principal(), who.Limits().MaxConnections)
	return err
}

// placed returns nil if the session has a place among the connections of its principal, or gets one
// now. Without one it acquires nothing, but what it has may be renewed and released: a quota costs
// nobody a lock.
func (g *guard) placed(who *auth.Identity) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.crowded != nil && !g.ended {
		g.crowded = g.connect(who)
	}
	return g.crowded
}

// leave frees the session's place in the quotas of its principal.
func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.release != nil {
		g.release()
	}
}

// caller returns who is at the other end, or why nobody is.
func (g *guard) caller() (*auth.Identity, error) {
	g.mu.Lock()
	who, err := g.who, g.refusal
	g.mu.Unlock()
	if err == nil {
		err = g.gate.auth.Expired(who)
	}
	return who, err
}

// allowed returns a function that returns why the caller, as it is now, may not have a key, or nil.
// The function also returns whether it may have any hold of the key.
func (g *guard) allowed() func(key string) (anyHold bool, err error) {
	who, refused := g.caller()
	return func(key string) (anyHold bool, err error) {
		if refused != nil {
			return false, refused
		}
		_, err = who.Check(auth.Acquire, key)
		return who.May(auth.Force, key), err
	}
}

// checkCalls puts into each call whether it is allowed.
func (g *guard) checkCalls(calls []sessionwire.Call) {
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

// checkHold puts into a hold that is to be attached whether that is allowed.
func (g *guard) checkHold(k *sessionwire.Keep) {
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

// mayReadRing reports whether the caller may know the owners of all partitions.
func (g *guard) mayReadRing() bool {
	who, err := g.caller()
	if err == nil {
		_, err = who.CheckAny(auth.Read)
	}
	return err == nil
}

// look authenticates the session again under the newest rules.
func (g *guard) look() {
	g.mu.Lock()
	who, since := g.who, g.since
	g.mu.Unlock()
	if who != nil {
		if fresh, err := g.gate.auth.Refresh(who); err != nil || !fresh.Same(who) {
			g.settle(who, fresh, err)
		}
	}
	if !since.IsZero() && time.Since(since) > strangerTime {
		_, err := g.caller()
		if err == nil {
			err = errStranger
		}
		g.session.end(pb.ToStatus(err).Err())
	}
}

// errStranger ends a session whose client has presented nothing.
var errStranger = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has presented no credentials, and callers without any may do nothing"}

// visit returns a visit for the audit log.
func (g *guard) visit(who *auth.Identity) *visit {
	return &visit{gate: g.gate, audit: g.gate.audit, who: who, from: entrance{door: doorSession, method: pb.LockService_Session_FullMethodName, remote: g.remote}}
}

// follow remembers a call whose end the audit log wants to know.
func (g *guard) follow(who *auth.Identity, c *sessionwire.Call, rule string) {
	v := g.visit(who)
	v.verb, v.key, v.rule, v.from.method = auth.Acquire, c.Key, rule, methodOf(c.Kind)
	g.trail.begin(c.ID, v)
}

// methodOf returns the name of the unary call that a call of a session stands for.
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
