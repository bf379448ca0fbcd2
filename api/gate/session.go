package gate

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// StrangerTime is how long a session may continue without valid credentials if callers without any may
// do nothing. Its client can send other credentials in this time.
const StrangerTime = 10 * time.Second

// Guard is the gate's side of a session: it knows the caller, by the session's newest credentials. A
// session is authenticated by its first message, again by each message with a token, and again when the
// rules change. While its credentials are refused, its calls are answered with the reason.
type Guard struct {
	gate    *Gate
	session Session
	remote  net.Addr
	// cred are the credentials of the connection, or of the gRPC call. Only the reader uses it.
	cred auth.Credentials
	// heard is set once the first message was authenticated. Only the reader uses it.
	heard bool

	mu sync.Mutex // guards what follows
	// who is the caller; it is nil while the credentials are refused, and refusal is then the reason.
	who     *auth.Identity
	refusal error
	// since is when the session last became one without valid credentials; zero if it has some.
	since time.Time
	// principal is the one of the session's first valid credentials. Later ones must have the same.
	principal string
	// release frees the session's place among the connections of the principal. Without a place it is
	// nil, and crowded is the reason. ended is set when the session is over; then it takes no place.
	release func()
	crowded error
	ended   bool
	// trail holds the calls in flight whose end the audit log records.
	trail Trail

	// watches are those of the session; guarded by gate.mu.
	watches map[*waiting]struct{}
}

// errNotYet refuses calls before the first message. There are none.
var errNotYet = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has not sent a message yet"}

// Session is a session that a [Guard] guards. Its methods may be called from any goroutine, and do not block.
type Session interface {
	// Begin opens the session for its principal. It is called once, with the first valid credentials.
	Begin(principal string)
	// Revoke ends what allowed refuses; see Revoke of api.Session. It has no effect before Begin.
	Revoke(allowed func(key string) (anyHold bool, err error))
	// End ends the session with an error, once everything is sent.
	End(err error)
}

// Guard returns the guard of a session that is about to begin, with the credentials of its
// connection; nil without authentication.
func (g *Gate) Guard(s Session, c auth.Credentials, remote net.Addr) *Guard {
	if !g.Authenticates() {
		return nil
	}
	return &Guard{gate: g, session: s, remote: remote, cred: c, refusal: errNotYet, since: time.Now(), watches: map[*waiting]struct{}{}}
}

// Hear applies the credentials of a message, which count for everything in it.
func (g *Guard) Hear(ctx context.Context, message []byte) error {
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

// stands reports whether the present credentials of the session are still valid. A newer token that is
// refused then changes nothing: perhaps this node has not yet read about a token that was replaced, or
// cannot reach its issuer.
func (g *Guard) stands() bool {
	who, err := g.caller()
	if err != nil {
		return false
	}
	_, err = g.gate.auth.Refresh(who)
	return err == nil
}

// settle applies the result of an authentication. It opens the session if it is the first valid one, and
// revokes what the caller may no longer have. If was is not nil, the result replaces only that
// identity, because a message may have brought newer credentials meanwhile.
func (g *Guard) settle(was, who *auth.Identity, err error) {
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
		g.session.Begin(principal)
		return
	}
	g.session.Revoke(g.allowed())
	g.lookAtWatches()
}

// lookAtWatches ends the watches that the caller, as it is now, may not have.
func (g *Guard) lookAtWatches() {
	g.gate.mu.Lock()
	all := slices.Collect(maps.Keys(g.watches))
	g.gate.mu.Unlock()
	for _, w := range all {
		w.look(g.caller())
	}
}

// connect takes a place among the connections of the principal. The caller must hold mu.
func (g *Guard) connect(who *auth.Identity) (err error) {
	g.release, err = g.gate.quotas.Connect(who.Principal(), who.Limits().MaxConnections)
	return err
}

// placed returns nil if the session has a place among the connections of its principal, or gets one
// now. Without a place the session cannot acquire, but it may renew and release what it has: a quota
// never costs a lock.
func (g *Guard) placed(who *auth.Identity) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.crowded != nil && !g.ended {
		g.crowded = g.connect(who)
	}
	return g.crowded
}

// Register makes the gate check the session again when the rules change, until Leave.
func (g *Guard) Register() {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	g.gate.sessions[g] = struct{}{}
}

// Leave ends what Register began, and frees the session's place in the quotas of its principal.
func (g *Guard) Leave() {
	g.gate.mu.Lock()
	delete(g.gate.sessions, g)
	g.gate.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.release != nil {
		g.release()
	}
}

// Trail returns the calls in flight whose end the audit log records.
func (g *Guard) Trail() *Trail { return &g.trail }

// caller returns the identity of the caller, or why there is none.
func (g *Guard) caller() (*auth.Identity, error) {
	g.mu.Lock()
	who, err := g.who, g.refusal
	g.mu.Unlock()
	if err == nil {
		err = g.gate.auth.Expired(who)
	}
	return who, err
}

// look authenticates the session again under the newest rules.
func (g *Guard) look() {
	g.mu.Lock()
	who, since := g.who, g.since
	g.mu.Unlock()
	if who != nil {
		if fresh, err := g.gate.auth.Refresh(who); err != nil || !fresh.Same(who) {
			g.settle(who, fresh, err)
		}
	}
	if !since.IsZero() && time.Since(since) > StrangerTime {
		_, err := g.caller()
		if err == nil {
			err = errStranger
		}
		g.session.End(pb.ToStatus(err).Err())
	}
}

// errStranger ends a session whose client has presented no credentials.
var errStranger = &sharelock.Error{Err: sharelock.ErrUnauthenticated, Message: "the session has presented no credentials, and callers without any may do nothing"}
